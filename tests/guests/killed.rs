//! A cloud process that is killed leaves nothing.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use dewpoint::local::guests::{GuestHost, Known, Limits, Options, Tier};

use super::login::{Login, base, connect, free_port, ok, spec};
use super::{CLOUD, nothing_left};

/// How long the kernel may take to end everything.
const BOUND: Duration = Duration::from_secs(5);

/// The cloud process: guests of both kinds, one with a mounted volume and processes that do not
/// want to end. Says `up`, then waits to be killed.
pub async fn cloud(folder: &Utf8Path) {
    let (login, key) = (Login::new(1), Login::new(2));
    for (droplet, systemd) in [(41, true), (42, false)] {
        let port = free_port();
        // A folder has one host at a time.
        let folder = folder.join(droplet.to_string());
        let host = GuestHost::open_with(&folder, Tier::Namespaces, port, Options { systemd })
            .await
            .expect("guests");
        let limits = Limits {
            memory_mib: Some(512),
            ..Limits::default()
        };
        host.boot_within(spec(droplet, base(), &login, &key), limits)
            .await
            .expect("a guest");
        let address = Ipv4Addr::new(127, 77, 0, u8::try_from(droplet).expect("small"));
        let guest = connect((address, port), &login, &key)
            .await
            .expect("a login");
        let volume = format!("v{droplet}");
        host.create_volume(&volume, 1, None)
            .await
            .expect("a volume");
        host.attach(&volume, "data", droplet)
            .await
            .expect("attached");
        ok(
            &guest,
            "mkfs.ext4 -q /dev/sda && mount /dev/sda /mnt && cd /mnt && echo kept > file && sync; \
             for n in 1 2 3; do setsid sh -c 'trap : TERM INT HUP; while :; do sleep 1000; done' </dev/null >/dev/null 2>&1 & done",
        )
        .await;
        // Neither ends before this process does.
        std::mem::forget((host, guest));
    }
    println!("up");
    std::future::pending().await
}

pub async fn leaves_nothing(folder: &Utf8Path) {
    let program = std::env::current_exe().expect("this program");
    let mut cloud = Command::new(&program)
        .arg(CLOUD)
        .arg(folder)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a cloud process");
    let mut line = String::new();
    BufReader::new(cloud.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(line.trim(), "up");
    let before = descendants(cloud.id());
    assert!(
        before.len() >= 12,
        "two guests of three processes, and three more in each: {before:?}"
    );
    assert!(nothing_left(folder).is_err(), "volumes must be in use");

    cloud.kill().expect("killed");
    cloud.wait().expect("ended");
    let start = Instant::now();
    let gone = loop {
        let left: Vec<&Process> = before.iter().filter(|process| process.lives()).collect();
        let files = nothing_left(folder).and_then(|()| groups_left(cloud.id()));
        match (left.as_slice(), files) {
            ([], Ok(())) => break Ok(()),
            (left, files) if start.elapsed() > BOUND => break Err(format!("{left:?} {files:?}")),
            _ => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    gone.expect("nothing left");
    println!(
        "guests: gone {} ms after the kill",
        start.elapsed().as_millis()
    );

    // What the guests wrote is there for the next cloud, until it is erased.
    let folder = &folder.join("41");
    let port = free_port();
    let host = GuestHost::open(folder, Tier::Namespaces, port)
        .await
        .expect("guests");
    let (login, key) = (Login::new(1), Login::new(2));
    host.boot(spec(41, base(), &login, &key))
        .await
        .expect("the guest again");
    host.attach("v41", "data", 41).await.expect("attached");
    let guest = connect((Ipv4Addr::new(127, 77, 0, 41), port), &login, &key)
        .await
        .expect("a login");
    assert_eq!(
        ok(
            &guest,
            "mount /dev/disk/by-id/scsi-0DO_Volume_data /mnt && cat /mnt/file"
        )
        .await,
        "kept"
    );
    ok(
        &guest,
        "useradd -m someone && su someone -c 'mkdir -m 0 ~/closed'",
    )
    .await;
    host.close().await;
    GuestHost::erase(folder).expect("erased");
    assert!(!folder.join("guests").exists());
}

/// A process: its id, and when it started, so that another of that id is not taken for it.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    started: String,
    parent: u32,
}

impl Process {
    fn read(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name before may hold spaces.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        // One that has ended and is only waited for has nothing any more.
        if fields.next()? == "Z" {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.to_owned();
        Some(Self {
            id,
            started,
            parent,
        })
    }

    fn lives(&self) -> bool {
        Self::read(self.id).is_some_and(|now| now.started == self.started)
    }
}

/// Everything that descends from a process.
fn descendants(ancestor: u32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let all: Vec<Process> = std::fs::read_dir("/proc")
        .expect("processes")
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect();
    let mut parents = vec![ancestor];
    let mut rest = all;
    while let Some(parent) = parents.pop() {
        let (children, others): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|process| process.parent == parent);
        rest = others;
        parents.extend(children.iter().map(|child| child.id));
        found.extend(children);
    }
    found
}

/// Whether a control group of a cloud process is there.
fn groups_left(cloud: u32) -> Result<(), String> {
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("control groups");
    let memory = own
        .lines()
        .find_map(|line| line.split_once(":memory:"))
        .map_or("", |(_, path)| path.trim_start_matches('/'));
    for root in [
        Utf8Path::new("/sys/fs/cgroup").to_owned(),
        "/sys/fs/cgroup/unified".into(),
        Utf8Path::new("/sys/fs/cgroup/memory").join(memory),
    ] {
        let prefix = format!("dewpoint-{cloud}-");
        let found = std::fs::read_dir(root)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .find(|name| name.starts_with(&prefix));
        if let Some(name) = found {
            return Err(format!("a control group was left: {name}"));
        }
    }
    Ok(())
}

/// Files of what a killed cloud was making, and its account never had, go; all else stays.
pub async fn unknown_files_go(folder: &Utf8Path) {
    let folder = folder.join("unknown");
    let host = GuestHost::open(&folder, Tier::Namespaces, free_port())
        .await
        .expect("guests");
    let guests = folder.join("guests");
    for volume in ["known", "unknown"] {
        host.create_volume(volume, 1, None).await.expect("a volume");
        host.snapshot_volume(volume, volume)
            .await
            .expect("a snapshot");
    }
    for id in ["7", "8"] {
        for (kind, chain) in [("layers", "[]".to_owned()), ("droplets", format!("[{id}]"))] {
            let path = guests.join(kind).join(id);
            std::fs::create_dir_all(&path).expect("a folder");
            std::fs::write(path.join("layers.json"), chain).expect("written");
        }
    }
    // Nobody knows of image 8, but droplet 9 is built on it.
    let built = guests.join("droplets/9");
    std::fs::create_dir_all(&built).expect("a folder");
    std::fs::write(built.join("layers.json"), "[8]").expect("written");
    let mut known = Known {
        droplets: [7, 9].into(),
        images: [7].into(),
        volumes: ["known".to_owned()].into(),
        volume_snapshots: ["known".to_owned()].into(),
    };
    let all = || {
        let mut all = Vec::new();
        for kind in ["droplets", "layers", "volumes", "volume-snapshots"] {
            for entry in guests.join(kind).read_dir_utf8().expect("a folder") {
                let name = entry.expect("an entry").file_name().to_owned();
                all.push(format!("{kind}/{name}"));
            }
        }
        all.sort();
        all
    };
    host.keep_only(&known).await.expect("tidied");
    let kept = [
        "droplets/7",
        "droplets/9",
        "layers/7",
        "layers/8",
        "volume-snapshots/known.img",
        "volumes/known.img",
    ];
    assert_eq!(all(), kept);
    known.droplets.remove(&9);
    host.keep_only(&known).await.expect("tidied");
    let kept: Vec<&str> = kept
        .into_iter()
        .filter(|name| !matches!(*name, "droplets/9" | "layers/8"))
        .collect();
    assert_eq!(all(), kept);
}
