//! systemd as process 1: services, and ways to end a guest from inside.

use std::net::Ipv4Addr;

use camino::Utf8Path;
use dewpoint::local::guests::{GuestHost, Options, Tier};

use super::login::{Login, base, connect, free_port, ok, run, spec};

pub async fn services(folder: &Utf8Path) {
    let port = free_port();
    let host = GuestHost::open(folder, Tier::Namespaces, port)
        .await
        .expect("guests");
    if !host.has_systemd() {
        println!("guests: NOT RUN: no systemd or no writable cgroup v2 here");
        return;
    }
    let (login, key) = (Login::new(1), Login::new(2));
    let start = std::time::Instant::now();
    host.boot(spec(11, base(), &login, &key))
        .await
        .expect("a guest");
    println!("guests: booted after {} ms", start.elapsed().as_millis());
    let address = (Ipv4Addr::new(127, 77, 0, 11), port);
    let guest = connect(address, &login, &key).await.expect("a login");
    ok(&guest, "cloud-init status --wait").await;
    println!("guests: settled after {} ms", start.elapsed().as_millis());
    assert_eq!(
        ok(&guest, "cat /proc/1/comm; systemctl is-system-running").await,
        "systemd\nrunning",
        "{}",
        ok(&guest, "systemctl --failed --no-pager").await
    );
    let unit =
        "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    ok(
        &guest,
        &format!("printf '{unit}' > /etc/systemd/system/app.service && systemctl daemon-reload && systemctl enable --now app"),
    )
    .await;
    assert_eq!(ok(&guest, "systemctl is-active app").await, "active");
    ok(&guest, "systemd-run --wait --pipe true").await;
    ok(&guest, "journalctl -u app --no-pager | grep -i started").await;

    // A reboot is one: the same droplet, another process 1, the service up again by itself.
    ok(&guest, "touch /run/before").await;
    let mut off = host.take_powered_off().expect("first to ask");
    let _ = run(&guest, "systemctl reboot").await;
    while !matches!(
        connect(address, &login, &key).await,
        Ok(guest) if run(&guest, "[ ! -e /run/before ] && systemctl is-active app").await.status == Some(0)
    ) {
        assert!(off.is_empty(), "it must come back from the reboot");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    // Shut down from outside and powered off from inside are both noticed.
    host.shut_down(11).await;
    assert_eq!(off.recv().await, Some(11));
    assert!(!host.is_running(11).await);
    host.boot(spec(11, base(), &login, &key))
        .await
        .expect("the guest again");
    let guest = connect(address, &login, &key).await.expect("a login");
    ok(&guest, "cloud-init status --wait").await;
    let _ = run(&guest, "systemctl poweroff").await;
    assert_eq!(off.recv().await, Some(11));
    host.destroy(11).await.expect("no droplet 11");
    host.close().await;
}

pub async fn reboot_without(folder: &Utf8Path) {
    let port = free_port();
    let host = GuestHost::open_with(folder, Tier::Namespaces, port, Options { systemd: false })
        .await
        .expect("guests");
    let (login, key) = (Login::new(1), Login::new(2));
    host.boot(spec(12, base(), &login, &key))
        .await
        .expect("a guest");
    let address = (Ipv4Addr::new(127, 77, 0, 12), port);
    let guest = connect(address, &login, &key).await.expect("a login");
    let came = run(&guest, "systemctl enable --now app").await;
    assert!(
        came.status == Some(1) && came.output.contains("has no systemd"),
        "{came:?}"
    );
    ok(&guest, "touch /run/before; echo kept > /root/kept").await;
    let _ = run(&guest, "reboot").await;
    let again = loop {
        match connect(address, &login, &key).await {
            Ok(guest) if run(&guest, "[ ! -e /run/before ]").await.status == Some(0) => {
                break guest;
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    assert_eq!(ok(&again, "cat /root/kept").await, "kept");
    host.destroy(12).await.expect("no droplet 12");
    host.close().await;
}
