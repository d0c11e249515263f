//! Real guests, driven over real SSH: what design promises of the `namespaces` tier.

use std::net::Ipv4Addr;
use std::sync::Arc;

use camino::Utf8Path;
use dewpoint::local::guests::{BootSpec, GuestHost, GuestImage, Tier, probe};
use russh::client;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::ChannelMsg;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};

fn main() {
    if std::env::args_os().nth(1).is_some_and(|word| word == dewpoint::local::SUPERVISOR) {
        dewpoint::local::guests::supervisor_main();
    }
    // Listing, as test runners ask for it.
    if std::env::args().any(|word| word == "--list") {
        println!("guests: test");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    let found = probe(folder);
    if found.tier == Tier::Api {
        println!("NOT RUN: this machine cannot do guests: {}", found.reasons.join("; "));
        assert!(std::env::var_os("CI").is_none(), "CI must run the guests' tests");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(the_life_of_guests(folder));
    runtime.block_on(hostile_guest(folder));
    assert_nothing_left(folder);
    println!("guests: 2 passed, 0 failed");
}

struct Login {
    key: Arc<PrivateKey>,
}

impl Login {
    fn new(seed: u8) -> Self {
        let pair = Ed25519Keypair::from_seed(&[seed; 32]);
        Self { key: Arc::new(PrivateKey::new(KeypairData::Ed25519(pair), "").expect("a key")) }
    }

    fn line(&self) -> String {
        self.key.public_key().to_openssh().expect("a line")
    }

    fn pem(&self) -> String {
        self.key.to_openssh(LineEnding::LF).expect("a key file").to_string()
    }
}

struct Pin(PublicKey);

impl client::Handler for Pin {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()))
    }
}

/// What a command came to: exit status (or `None` for a signal), output and errors together.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    status: Option<u32>,
    output: String,
}

async fn connect(address: (Ipv4Addr, u16), login: &Login, host: &Login) -> Result<client::Handle<Pin>, russh::Error> {
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut handle = client::connect(config, address, Pin(host.key.public_key().clone())).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&login.key), None);
    match handle.authenticate_publickey("root", key).await? {
        client::AuthResult::Success => Ok(handle),
        client::AuthResult::Failure { .. } => Err(russh::Error::NotAuthenticated),
    }
}

async fn run(handle: &client::Handle<Pin>, command: &str) -> Came {
    let mut channel = handle.channel_open_session().await.expect("a channel");
    channel.exec(true, command).await.expect("a command");
    channel.eof().await.expect("an end of input");
    let mut came = Came { status: None, output: String::new() };
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                came.output.push_str(&String::from_utf8_lossy(&data));
            }
            ChannelMsg::ExitStatus { exit_status } => came.status = Some(exit_status),
            _ => {}
        }
    }
    came
}

async fn ok(handle: &client::Handle<Pin>, command: &str) -> String {
    let came = run(handle, command).await;
    assert_eq!(came.status, Some(0), "{command}: {}", came.output);
    came.output.trim().to_owned()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

fn spec(droplet: u64, image: GuestImage, login: &Login, host: &Login) -> BootSpec {
    let pem: String = host.pem().lines().map(|line| format!("    {line}\n")).collect();
    BootSpec {
        droplet,
        hostname: format!("guest-{droplet}"),
        image,
        authorized_keys: vec![login.line()],
        user_data: Some(format!("#cloud-config\nssh_keys:\n  ed25519_private: |\n{pem}")),
        address: Ipv4Addr::new(127, 77, 0, u8::try_from(droplet).expect("a small id")),
    }
}

fn base() -> GuestImage {
    GuestImage::Base { slug: "ubuntu-24-04-x64".to_owned() }
}

/// Boot, log in, snapshot, boot from it, a volume whose data outlives droplets, power off.
async fn the_life_of_guests(folder: &Utf8Path) {
    let port = free_port();
    let host = GuestHost::open(folder, Tier::Namespaces, port).await.expect("guests");
    let (login, key, stranger) = (Login::new(1), Login::new(2), Login::new(3));
    host.boot(spec(1, base(), &login, &key)).await.expect("a guest");
    let at = |droplet: u8| (Ipv4Addr::new(127, 77, 0, droplet), port);

    assert!(connect(at(1), &stranger, &key).await.is_err(), "a key nobody authorised must not log in");
    assert!(connect(at(1), &login, &stranger).await.is_err(), "another host key must end the connection");
    let guest = connect(at(1), &login, &key).await.expect("a login");
    assert_eq!(ok(&guest, "id -u; hostname; echo $HOME; cat /proc/1/comm | wc -l").await, "0\nguest-1\n/root\n1");
    assert_eq!(run(&guest, "echo out; echo err >&2; exit 3").await.status, Some(3));
    assert_eq!(run(&guest, "kill -TERM $$").await.status, None, "a signal is no exit status");
    ok(&guest, "cloud-init status --wait").await;

    // A command without a terminal goes on when its client goes away.
    let leaving = connect(at(1), &login, &key).await.expect("a login");
    let channel = leaving.channel_open_session().await.expect("a channel");
    channel.exec(true, "mkfifo /root/go; read line < /root/go; echo $line > /root/went").await.expect("a command");
    ok(&guest, "until [ -p /root/go ]; do sleep 0.01; done").await;
    drop(channel);
    leaving.disconnect(russh::Disconnect::ByApplication, "", "").await.expect("a goodbye");
    drop(leaving);
    ok(&guest, "echo still > /root/go; until [ -s /root/went ]; do sleep 0.01; done; grep still /root/went").await;

    // A snapshot is what was written; its droplets have an identity of their own.
    ok(&guest, "mkdir -p /opt/app && echo baked > /opt/app/file && echo data > /srv/data && rm /etc/os-release").await;
    let first = ok(&guest, "cat /etc/machine-id").await;
    host.power_off(1).await;
    assert!(!host.is_running(1).await);
    assert!(host.snapshot(1, 100).await.expect("a snapshot") > 0);
    host.destroy(1).await.expect("no droplet 1");
    host.boot(spec(2, GuestImage::Snapshot { image: 100 }, &login, &key)).await.expect("a guest of the snapshot");
    host.boot(spec(3, GuestImage::Snapshot { image: 100 }, &login, &key)).await.expect("another");
    let (two, three) = (connect(at(2), &login, &key).await.expect("a login"), connect(at(3), &login, &key).await.expect("a login"));
    for guest in [&two, &three] {
        assert_eq!(ok(guest, "cat /opt/app/file /srv/data; ls /etc/os-release 2>/dev/null || echo gone").await, "baked\ndata\ngone");
    }
    let (second, third) = (ok(&two, "cat /etc/machine-id").await, ok(&three, "cat /etc/machine-id").await);
    assert!(first != second && second != third && first != third, "machine ids must differ");
    ok(&two, "echo mine > /opt/app/file").await;
    assert_eq!(ok(&three, "cat /opt/app/file").await, "baked", "what one guest writes another must not see");

    // A volume is a disk with a real file system; its data outlives the droplet.
    host.create_volume("v1", 1, None).await.expect("a volume");
    host.attach("v1", "data", 2).await.expect("attached");
    let disk = "/dev/disk/by-id/scsi-0DO_Volume_data";
    assert_eq!(run(&two, &format!("blkid {disk}")).await.status, Some(2), "a blank disk has nothing on it");
    ok(&two, &format!("mkfs.ext4 -q {disk} && mkdir -p /mnt/data && mount -o defaults,noatime {disk} /mnt/data")).await;
    ok(&two, "echo kept > /mnt/data/file && sync && umount /mnt/data").await;
    host.detach("v1").await;
    host.destroy(2).await.expect("no droplet 2");
    host.resize_volume("v1", 2).await.expect("grown");
    host.attach("v1", "data", 3).await.expect("attached");
    ok(&three, &format!("e2fsck -fp {disk} && resize2fs {disk} && mkdir -p /mnt/data && mount {disk} /mnt/data")).await;
    assert_eq!(ok(&three, "cat /mnt/data/file; df -BG --output=size /mnt/data | tail -n 1 | tr -d ' '").await, "kept\n2G");

    // Power off from inside is noticed; everything is gone afterwards.
    let mut off = host.take_powered_off().expect("first to ask");
    let _ = run(&three, "poweroff").await;
    assert_eq!(off.recv().await, Some(3));
    host.delete_image(100).await.expect("no image");
    host.destroy(3).await.expect("no droplet 3");
    host.delete_volume("v1").await.expect("no volume");
    assert!(!folder.join("guests/layers/100").exists(), "a deleted layer that nobody uses must go");
    host.close().await;
}

/// What a careless script does as root inside stays inside.
async fn hostile_guest(folder: &Utf8Path) {
    let port = free_port();
    let host = GuestHost::open(folder, Tier::Namespaces, port).await.expect("guests");
    let (login, key) = (Login::new(1), Login::new(2));
    host.boot(spec(9, base(), &login, &key)).await.expect("a guest");
    let guest = connect((Ipv4Addr::new(127, 77, 0, 9), port), &login, &key).await.expect("a login");
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
        assert_ne!(came.status, Some(0), "{command} must fail in a guest: {}", came.output);
    }
    let _ = run(&guest, "rm -rf --no-preserve-root / 2>/dev/null").await;
    assert_eq!(before, fingerprint(), "the host must be as it was");
    host.destroy(9).await.expect("no droplet 9");
    host.close().await;
}

/// What of the host a guest could have changed.
fn fingerprint() -> Vec<String> {
    ["/proc/sys/kernel/hostname", "/etc/passwd", "/etc/os-release", "/usr/bin/env", "/proc/swaps"]
        .iter()
        .map(|path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            format!("{path} {}", dewpoint::digest::Digest::of_bytes(&bytes))
        })
        .collect()
}

fn assert_nothing_left(folder: &Utf8Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(folder.as_str()), "a mount was left: {mounts}");
    for entry in std::fs::read_dir("/sys/block").expect("disks") {
        let backing = entry.expect("a disk").path().join("loop/backing_file");
        let backing = std::fs::read_to_string(backing).unwrap_or_default();
        assert!(!backing.starts_with(folder.as_str()), "a loop device was left: {backing}");
    }
}
