//! Guests beside each other: ports, and memory.

use std::net::Ipv4Addr;

use camino::Utf8Path;
use dewpoint::local::guests::{GuestHost, Limits, Options, Tier};

use super::login::{Login, base, connect, free_port, ok, run, spec};

/// Two guests listen on every address at the ports of the host's own services, at once; a server
/// of the host on all of its addresses is in nobody's way.
pub async fn same_ports(folder: &Utf8Path) {
    let port = free_port();
    let host = GuestHost::open_with(folder, Tier::Namespaces, port, Options { systemd: false })
        .await
        .expect("guests");
    // What a host's sshd does. Where there is one, it is the very thing.
    let sshd = std::net::TcpListener::bind(("0.0.0.0", 22));
    let (login, key) = (Login::new(1), Login::new(2));
    for droplet in [21, 22] {
        host.boot(spec(droplet, base(), &login, &key))
            .await
            .expect("a guest");
        let address = (
            Ipv4Addr::new(127, 77, 0, u8::try_from(droplet).expect("small")),
            port,
        );
        let guest = connect(address, &login, &key).await.expect("a login");
        ok(
            &guest,
            r#"cat > /root/bind.pl <<'END'
use Socket;
foreach my $port (22, 80, 443, 3306, 5432, 6379) {
  socket(my $s, PF_INET, SOCK_STREAM, 0) or die; push @all, $s;
  bind($s, sockaddr_in($port, INADDR_ANY)) or die "$port: $!"; listen($s, 5) or die;
}
open(my $up, '>', '/run/bound'); close($up); sleep;
END
perl /root/bind.pl </dev/null >/root/out 2>&1 & until [ -e /run/bound ]; do [ ! -s /root/out ] || { cat /root/out; exit 1; }; sleep 0.01; done"#,
        )
        .await;
    }
    drop(sshd);
    for droplet in [21, 22] {
        host.destroy(droplet).await.expect("no droplet");
    }
    host.close().await;
}

/// A guest that takes all the memory it can loses the process that did; its neighbour and the
/// guest itself go on.
pub async fn memory_hog(folder: &Utf8Path) {
    let port = free_port();
    let host = GuestHost::open(folder, Tier::Namespaces, port)
        .await
        .expect("guests");
    if !host.limits_memory() {
        println!("guests: NOT RUN: no memory controller can be written here");
        return;
    }
    let (login, key) = (Login::new(1), Login::new(2));
    let limits = Limits {
        memory_mib: Some(256),
        ..Limits::default()
    };
    for droplet in [31, 32] {
        host.boot_within(spec(droplet, base(), &login, &key), limits)
            .await
            .expect("a guest");
    }
    let (hog, neighbour) = (
        connect((Ipv4Addr::new(127, 77, 0, 31), port), &login, &key)
            .await
            .expect("a login"),
        connect((Ipv4Addr::new(127, 77, 0, 32), port), &login, &key)
            .await
            .expect("a login"),
    );
    // Bounded, should the limit not hold: the host must live to tell.
    let came = run(
        &hog,
        "perl -e 'my @all; push @all, \"x\" x 1048576 for 1..1024; print scalar @all'",
    )
    .await;
    assert_eq!(came.status, None, "it must be ended: {}", came.output);
    // Files in memory count too, but never take all of it.
    let came = run(&hog, "head -c 1G /dev/zero > /dev/shm/full").await;
    assert_ne!(came.status, Some(0), "{}", came.output);
    assert!(
        ok(&hog, "echo alive").await == "alive",
        "the guest must live on"
    );
    assert_eq!(ok(&neighbour, "echo alive").await, "alive");
    for droplet in [31, 32] {
        assert!(host.is_running(droplet).await);
        host.destroy(droplet).await.expect("no droplet");
    }
    host.close().await;
}
