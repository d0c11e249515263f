//! What the SSH side does to droplets, done to real guests: files there and back, volumes, seal.

#[path = "../support/real_guests.rs"]
mod real_guests;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use dewpoint::desired::spec::VolumeUse;
use dewpoint::digest::Digest;
use dewpoint::guest::{
    FirstBoot, GuestError, HostKey, Identity, Mounted, Session, Target, UserKey, collect,
    copy_digest, copy_to, derive_host_key, generate_key_file, has_run_once, mark_run_once,
    mount_volume, open_key, seal, sync_path, unmount, wait_first_boot,
};
use dewpoint::local::guests::{BootSpec, GuestHost, GuestImage, Tier};
use dewpoint::manifest::schema::Filesystem;

pub fn main() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == dewpoint::local::SUPERVISOR)
    {
        dewpoint::local::guests::supervisor_main();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    if !real_guests::are_to_run("guest_files", folder) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let rig = Rig::start(folder).await;
        volumes(&rig).await;
        files(&rig, folder).await;
        sealed(&rig).await;
        rig.host.close().await;
    });
    println!("guest_files: 3 passed, 0 failed");
}

struct Rig {
    host: GuestHost,
    port: u16,
    identity: Identity,
    host_key: HostKey,
    key_line: String,
}

impl Rig {
    async fn start(folder: &Utf8Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let pair = generate_key_file(&folder.join("id"), "test").expect("a key");
        let identity = open_key(&UserKey::File(pair.private))
            .await
            .expect("opened");
        let host_key = derive_host_key(&identity, "demo", "main")
            .await
            .expect("derived");
        Self {
            host: GuestHost::open(folder, Tier::Namespaces, port)
                .await
                .expect("guests"),
            port,
            key_line: identity.public_key_line(),
            identity,
            host_key,
        }
    }

    async fn boot(&self, droplet: u8, image: GuestImage) -> Session {
        let private = self.host_key.private_openssh();
        let pem: String = private
            .expose()
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect();
        let address = Ipv4Addr::new(127, 78, 0, droplet);
        let spec = BootSpec {
            droplet: u64::from(droplet),
            hostname: format!("guest-{droplet}"),
            image,
            authorized_keys: vec![self.key_line.clone()],
            user_data: Some(format!(
                "#cloud-config\nssh_keys:\n  ed25519_private: |\n{pem}"
            )),
            address,
            private: None,
        };
        self.host.boot(spec).await.expect("a guest");
        let target = Target {
            address: IpAddr::V4(address),
            port: self.port,
            user: "root".to_owned(),
            label: format!("droplet.guest-{droplet}"),
        };
        Session::connect(
            &target,
            &self.identity,
            &self.host_key.pin(),
            Duration::from_secs(20),
        )
        .await
        .expect("a login")
    }
}

fn base() -> GuestImage {
    GuestImage::Base {
        slug: "ubuntu-24-04-x64".to_owned(),
    }
}

async fn ok(session: &Session, command: &str) -> String {
    let (code, said) = session.exec_capture(command).await.expect("it runs");
    assert_eq!(code, 0, "{command}: {said}");
    said.trim().to_owned()
}

/// Made once, kept, grown, taken off while in use, refused when it holds something else.
async fn volumes(rig: &Rig) {
    let session = rig.boot(1, base()).await;
    assert_eq!(
        wait_first_boot(&session).await.expect("booted"),
        FirstBoot::Done
    );
    rig.host
        .create_volume("v1", 1, None)
        .await
        .expect("a volume");
    rig.host.attach("v1", "data", 1).await.expect("attached");
    let mount = || {
        mount_volume(
            &session,
            "data",
            Filesystem::Ext4,
            VolumeUse::Own,
            "/mnt/data",
        )
    };
    let made = mount().await.expect("mounted");
    let expected = Mounted {
        formatted: true,
        ..Mounted::default()
    };
    assert_eq!(made, expected);
    ok(&session, "echo kept >/mnt/data/file").await;
    assert!(mount().await.expect("mounted").already);

    let error = mount_volume(&session, "data", Filesystem::Ext4, VolumeUse::Own, "/mnt")
        .await
        .expect_err("refused");
    assert!(matches!(error, GuestError::BadTarget { .. }), "{error:?}");
    // Somebody works there.
    ok(
        &session,
        "cd /mnt/data; exec 3<file; sleep 600 >/dev/null 2>&1 </dev/null & echo $! >/tmp/pid",
    )
    .await;
    let error = unmount(&session, "/mnt/data").await.expect_err("busy");
    assert!(error.to_string().contains("sleep 600"), "{error}");
    ok(&session, "kill $(cat /tmp/pid)").await;
    unmount(&session, "/mnt/data").await.expect("unmounted");
    unmount(&session, "/mnt/data").await.expect("nothing to do");

    rig.host.detach("v1").await;
    rig.host.resize_volume("v1", 2).await.expect("grown");
    rig.host.attach("v1", "data", 1).await.expect("attached");
    let grown = mount().await.expect("mounted");
    assert!(grown.grown && !grown.formatted, "{grown:?}");
    assert_eq!(
        ok(
            &session,
            "cat /mnt/data/file; df -BG --output=size /mnt/data | tail -n 1 | tr -d ' '"
        )
        .await,
        "kept\n2G"
    );
    unmount(&session, "/mnt/data").await.expect("unmounted");
    let error = mount_volume(
        &session,
        "data",
        Filesystem::Xfs,
        VolumeUse::Own,
        "/mnt/data",
    )
    .await
    .expect_err("refused");
    assert!(
        matches!(error, GuestError::WrongFilesystem { .. }),
        "{error:?}"
    );
    rig.host.detach("v1").await;
    rig.host.delete_volume("v1").await.expect("no volume");
    session.close().await;
}

/// There and back.
async fn files(rig: &Rig, folder: &Utf8Path) {
    let session = rig.boot(2, base()).await;
    let here = folder.join("here");
    let write = |path: &str, content: &str| {
        let path: Utf8PathBuf = here.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    };
    write("main.sh", "echo one >report.txt");
    write("lib/a", "a");
    sync_path(&session, &here, "/opt/app")
        .await
        .expect("synced");
    ok(&session, "cd /opt/app && sh main.sh").await;
    let again = sync_path(&session, &here, "/opt/app")
        .await
        .expect("synced");
    assert_eq!((again.sent, again.round_trips), (0, 1));
    write("main.sh", "echo two >report.txt");
    std::fs::remove_dir_all(here.join("lib")).expect("gone");
    let changed = sync_path(&session, &here, "/opt/app")
        .await
        .expect("synced");
    assert_eq!((changed.sent, changed.deleted), (1, 1));
    ok(&session, "cd /opt/app && sh main.sh && [ ! -e lib ]").await;
    let dest = folder.join("artifacts");
    let report = collect(&session, Some("/opt/app"), &["*.txt".to_owned()], &dest)
        .await
        .expect("collected");
    assert_eq!(report.files, ["report.txt"]);
    let content = std::fs::read_to_string(dest.join("report.txt")).expect("there");
    assert_eq!(content, "two\n");

    let digest = copy_digest(&here).expect("digested");
    copy_to(&session, &here, "/usr/local/share/demo", &digest)
        .await
        .expect("copied");
    ok(&session, "grep -q two /usr/local/share/demo/main.sh").await;
    let once = Digest::of_bytes(b"once");
    assert!(!has_run_once(&session, &once).await.expect("asked"));
    mark_run_once(&session, &once).await.expect("marked");
    assert!(has_run_once(&session, &once).await.expect("asked"));
    session.close().await;
}

/// A builder's snapshot boots again, as somebody else.
async fn sealed(rig: &Rig) {
    let mut off = rig.host.take_powered_off().expect("first to ask");
    let session = rig.boot(3, base()).await;
    let once = Digest::of_bytes(b"once");
    mark_run_once(&session, &once).await.expect("marked");
    ok(
        &session,
        "echo baked >/opt/baked; echo x >/root/.bash_history",
    )
    .await;
    let id = ok(&session, "cat /etc/machine-id").await;
    seal(&session, "root").await.expect("sealed");
    assert_eq!(off.recv().await, Some(3));
    rig.host.snapshot(3, 100).await.expect("a snapshot");
    rig.host.destroy(3).await.expect("no droplet 3");
    let from = rig.boot(4, GuestImage::Snapshot { image: 100 }).await;
    assert_eq!(
        ok(&from, "cat /opt/baked; ls -A /root").await,
        "baked\n.ssh"
    );
    assert_ne!(ok(&from, "cat /etc/machine-id").await, id);
    assert!(!has_run_once(&from, &once).await.expect("asked"));
}
