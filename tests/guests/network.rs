//! The network that guests have among themselves.

use camino::Utf8Path;
use dewpoint::local::guests::{GuestHost, Tier};

use super::WITHOUT;
use super::login::{Login, base, connect, free_port, ok, private, run, spec};

pub async fn between_guests(folder: &Utf8Path) {
    let port = free_port();
    let host = GuestHost::open_with(folder, Tier::Namespaces, port, WITHOUT)
        .await
        .expect("guests");
    let (login, key) = (Login::new(1), Login::new(2));
    let specs = [1, 2].map(|droplet| spec(droplet, base(), &login, &key));
    for spec in &specs {
        host.boot(spec.clone()).await.expect("a guest");
    }
    let server = connect((specs[0].address, port), &login, &key).await;
    let server = server.expect("a login");
    let client = connect((specs[1].address, port), &login, &key).await;
    let client = client.expect("a login");
    let (near, far) = (private(2), private(1));
    ok(
        &server,
        "mkdir /root/site; head -c 20000000 /dev/urandom >/root/site/data; \
         cd /root/site; setsid python3 -m http.server 8000 >/root/log 2>&1 </dev/null &",
    )
    .await;
    let wait = format!(
        "for n in $(seq 100); do python3 -c 'import socket; socket.create_connection((\"{far}\", 8000), 1)' 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
    );
    ok(&client, &wait).await;

    // Directly, through what leads out, and by name; whole, and from where it says.
    let digest = ok(&server, "sha256sum </root/site/data").await;
    let direct = format!("curl -sf --noproxy '*' http://{far}:8000/data | sha256sum");
    assert_eq!(ok(&client, &direct).await, digest);
    let through = format!("curl -sf http://{far}:8000/data | sha256sum");
    assert_eq!(ok(&client, &through).await, digest);
    ok(
        &client,
        &format!("echo '{far} server worker-3.12' >>/etc/hosts"),
    )
    .await;
    for name in ["server", "worker-3.12"] {
        let named = format!("curl -sf http://{name}:8000/data | sha256sum");
        assert_eq!(ok(&client, &named).await, digest);
    }
    let log = ok(&server, "cut -d' ' -f1 /root/log | sort -u").await;
    assert!(log.lines().any(|line| line == near.to_string()), "{log}");

    // Nothing answers where nothing listens, and nobody is where nobody is.
    let refused = format!("curl -s --noproxy '*' --max-time 5 http://{far}:8001/");
    assert_eq!(run(&client, &refused).await.status, Some(7));
    let nobody = "curl -s --noproxy '*' --max-time 1 http://10.108.200.200/";
    assert_eq!(run(&client, nobody).await.status, Some(28));
    // One that was started anew is on the network again, one that is gone is not.
    host.power_off(1).await;
    assert_eq!(
        run(
            &client,
            &format!("curl -s --noproxy '*' --max-time 1 http://{far}:8000/")
        )
        .await
        .status,
        Some(28)
    );
    host.boot(specs[0].clone()).await.expect("a guest");
    assert_eq!(run(&client, &refused).await.status, Some(7));
    for droplet in [1, 2] {
        host.destroy(droplet).await.expect("no droplet");
    }
    host.close().await;
}
