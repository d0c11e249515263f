//! The life of a guest: boot, snapshot, volumes, the end.

use std::net::Ipv4Addr;

use camino::Utf8Path;
use dewpoint::local::guests::{GuestHost, GuestImage, Options, Tier};

use super::login::{Login, base, connect, free_port, ok, run, spec};

/// Boot, log in, snapshot, boot from it, a volume whose data outlives droplets, power off.
pub async fn of_guests(folder: &Utf8Path, options: Options) {
    let port = free_port();
    let host = GuestHost::open_with(folder, Tier::Namespaces, port, options)
        .await
        .expect("guests");
    let (login, key, stranger) = (Login::new(1), Login::new(2), Login::new(3));
    host.boot(spec(1, base(), &login, &key))
        .await
        .expect("a guest");
    let at = |droplet: u8| (Ipv4Addr::new(127, 77, 0, droplet), port);

    assert!(
        connect(at(1), &stranger, &key).await.is_err(),
        "a key nobody authorised must not log in"
    );
    assert!(
        connect(at(1), &login, &stranger).await.is_err(),
        "another host key must end the connection"
    );
    let guest = connect(at(1), &login, &key).await.expect("a login");
    assert_eq!(
        ok(
            &guest,
            "id -u; hostname; echo $HOME; cat /proc/1/comm | wc -l"
        )
        .await,
        "0\nguest-1\n/root\n1"
    );
    assert_eq!(
        run(&guest, "echo out; echo err >&2; exit 3").await.status,
        Some(3)
    );
    assert_eq!(
        run(&guest, "kill -TERM $$").await.status,
        None,
        "a signal is no exit status"
    );
    ok(&guest, "cloud-init status --wait").await;

    // A command without a terminal goes on when its client goes away.
    let leaving = connect(at(1), &login, &key).await.expect("a login");
    let channel = leaving.channel_open_session().await.expect("a channel");
    channel
        .exec(
            true,
            "mkfifo /root/go; read line < /root/go; echo $line > /root/went",
        )
        .await
        .expect("a command");
    ok(&guest, "until [ -p /root/go ]; do sleep 0.01; done").await;
    drop(channel);
    leaving
        .disconnect(russh::Disconnect::ByApplication, "", "")
        .await
        .expect("a goodbye");
    drop(leaving);
    ok(&guest, "echo still > /root/go; until [ -s /root/went ]; do sleep 0.01; done; grep still /root/went").await;

    // A snapshot is what was written; its droplets have an identity of their own.
    ok(&guest, "mkdir -p /opt/app && echo baked > /opt/app/file && echo data > /srv/data && rm /etc/os-release").await;
    let first = ok(&guest, "cat /etc/machine-id").await;
    host.power_off(1).await;
    assert!(!host.is_running(1).await);
    assert!(host.snapshot(1, 100).await.expect("a snapshot") > 0);
    host.destroy(1).await.expect("no droplet 1");
    host.boot(spec(2, GuestImage::Snapshot { image: 100 }, &login, &key))
        .await
        .expect("a guest of the snapshot");
    host.boot(spec(3, GuestImage::Snapshot { image: 100 }, &login, &key))
        .await
        .expect("another");
    let (two, three) = (
        connect(at(2), &login, &key).await.expect("a login"),
        connect(at(3), &login, &key).await.expect("a login"),
    );
    for guest in [&two, &three] {
        assert_eq!(
            ok(
                guest,
                "cat /opt/app/file /srv/data; ls /etc/os-release 2>/dev/null || echo gone"
            )
            .await,
            "baked\ndata\ngone"
        );
    }
    let (second, third) = (
        ok(&two, "cat /etc/machine-id").await,
        ok(&three, "cat /etc/machine-id").await,
    );
    assert!(
        first != second && second != third && first != third,
        "machine ids must differ"
    );
    ok(&two, "echo mine > /opt/app/file").await;
    assert_eq!(
        ok(&three, "cat /opt/app/file").await,
        "baked",
        "what one guest writes another must not see"
    );

    // A volume is a disk with a real file system; its data outlives the droplet.
    host.create_volume("v1", 1, None).await.expect("a volume");
    host.attach("v1", "data", 2).await.expect("attached");
    let disk = "/dev/disk/by-id/scsi-0DO_Volume_data";
    assert_eq!(
        run(&two, &format!("blkid {disk}")).await.status,
        Some(2),
        "a blank disk has nothing on it"
    );
    ok(&two, &format!("mkfs.ext4 -q {disk} && mkdir -p /mnt/data && mount -o defaults,noatime {disk} /mnt/data")).await;
    ok(
        &two,
        "echo kept > /mnt/data/file && sync && umount /mnt/data",
    )
    .await;
    host.detach("v1").await;
    host.destroy(2).await.expect("no droplet 2");
    host.resize_volume("v1", 2).await.expect("grown");
    host.attach("v1", "data", 3).await.expect("attached");
    ok(
        &three,
        &format!(
            "e2fsck -fp {disk} && resize2fs {disk} && mkdir -p /mnt/data && mount {disk} /mnt/data"
        ),
    )
    .await;
    assert_eq!(
        ok(
            &three,
            "cat /mnt/data/file; df -BG --output=size /mnt/data | tail -n 1 | tr -d ' '"
        )
        .await,
        "kept\n2G"
    );

    // Power off from inside is noticed; everything is gone afterwards.
    let mut off = host.take_powered_off().expect("first to ask");
    let _ = run(&three, "poweroff").await;
    assert_eq!(off.recv().await, Some(3));
    host.delete_image(100).await.expect("no image");
    host.destroy(3).await.expect("no droplet 3");
    host.delete_volume("v1").await.expect("no volume");
    assert!(
        !folder.join("guests/layers/100").exists(),
        "a deleted layer that nobody uses must go"
    );
    host.close().await;
}
