//! What a careless script does as root inside stays inside.

use std::net::Ipv4Addr;

use camino::Utf8Path;
use dewpoint::local::guests::{GuestHost, Options, Tier};

use super::login::{Login, base, connect, free_port, run, spec};

pub async fn commands(folder: &Utf8Path, options: Options) {
    let port = free_port();
    let host = GuestHost::open_with(folder, Tier::Namespaces, port, options)
        .await
        .expect("guests");
    let (login, key) = (Login::new(1), Login::new(2));
    host.boot(spec(9, base(), &login, &key))
        .await
        .expect("a guest");
    let guest = connect((Ipv4Addr::new(127, 77, 0, 9), port), &login, &key)
        .await
        .expect("a login");
    let before = fingerprint();
    for command in [
        "sysctl -w kernel.hostname=owned",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo c > /proc/sysrq-trigger",
        "date -s 2001-01-01",
        "mount -t devtmpfs none /mnt",
        "mknod /tmp/disk b 8 0",
        "swapoff -a && exit 1; swapon /dev/zero",
        "dmesg --clear",
        "umount -l /usr",
        "kill -9 1; kill -STOP 1; [ -d /proc/1 ] && exit 1",
    ] {
        let came = run(&guest, command).await;
        assert_ne!(
            came.status,
            Some(0),
            "{command} must fail in a guest: {}",
            came.output
        );
    }
    // Every part of the root is an overlay of its own, and each is attacked; the many files below
    // /usr/share and /usr/lib would only take longer in the same way.
    let _ = run(
        &guest,
        "rm -rf --no-preserve-root /etc /var /opt /root /home /srv /boot /dev/* /run/* \
         /usr/sbin /usr/games /usr/bin 2>/dev/null",
    )
    .await;
    assert_eq!(before, fingerprint(), "the host must be as it was");
    host.destroy(9).await.expect("no droplet 9");
    host.close().await;
}

/// What of the host a guest could have changed.
fn fingerprint() -> Vec<String> {
    [
        "/proc/sys/kernel/hostname",
        "/etc/passwd",
        "/etc/os-release",
        "/usr/bin/env",
        "/proc/swaps",
    ]
    .iter()
    .map(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        format!("{path} {}", dewpoint::digest::Digest::of_bytes(&bytes))
    })
    .collect()
}
