//! A guest whose process 1 is systemd.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::proxy;

/// Where distributions with a merged /usr have it.
const PROGRAM: &str = "/usr/lib/systemd/systemd";

/// Units that can only fail in a guest, or that wait for what is not there: devices, consoles,
/// clocks and networks of the host. They are masked below /run, which everything in /etc outranks.
const MASKED: [&str; 21] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-modules-load.service",
    "kmod-static-nodes.service",
    "systemd-remount-fs.service",
    "systemd-random-seed.service",
    "systemd-firstboot.service",
    "systemd-machine-id-commit.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "getty.target",
    "console-getty.service",
];

/// Whether this host's systemd can be the guests'.
pub(super) fn is_there() -> bool {
    Path::new(PROGRAM).is_file() && Path::new("/usr/bin/systemctl").exists()
}

/// Writes what systemd reads before it starts anything, below /run: it is in no snapshot.
pub(super) fn prepare() -> io::Result<()> {
    let units = Path::new("/run/systemd/system");
    fs::create_dir_all(units)?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    symlink(
        "/usr/lib/systemd/system/multi-user.target",
        units.join("default.target"),
    )?;
    let environment: Vec<String> = proxy::environment()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let settings = Path::new("/run/systemd/system.conf.d");
    fs::create_dir_all(settings)?;
    fs::write(
        settings.join("dewpoint.conf"),
        format!(
            "[Manager]\nDefaultEnvironment={}\nDefaultTimeoutStopSec=15s\nShowStatus=no\n",
            environment.join(" ")
        ),
    )
}

/// What process 1 becomes.
pub(super) fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("--system")
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
        // Its own name for "a container of some kind": see systemd's CONTAINER_INTERFACE.
        .env("container", "dewpoint")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Where `systemctl` reaches it.
const SOCKET: &str = "/run/systemd/private";
/// How long it may take until it listens; SSH works without it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until `systemctl` can reach it, so that nobody who logs in comes too early for it.
pub(super) fn wait_until_it_listens() {
    let deadline = Instant::now() + PATIENCE;
    while UnixStream::connect(SOCKET).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Whether it has stopped its services and is about to end the guest: its last act is another
/// program's.
pub(super) fn is_going_down() -> bool {
    fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.starts_with("systemd-shutdow"))
}
