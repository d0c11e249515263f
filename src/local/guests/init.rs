//! The guest's process 1: it makes the root file system its own, then becomes systemd or, where
//! that cannot be, stays as the one who takes in orphans.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};

use super::shims;
use super::supervisor::limit_processes;
use super::sys;
use super::systemd;
use super::wire::Setup;

/// How long processes may take to end at power off before they are ended.
const GRACE: std::time::Duration = std::time::Duration::from_millis(500);

/// Lives as the guest's process 1. `go` brings a byte once the supervisor knows of it; `told` is
/// closed when the guest is set up, after a word on why when it cannot be. Never returns.
pub(super) fn run(setup: &Setup, go: OwnedFd, told: OwnedFd) -> ! {
    let has_started = rustix::io::read(&go, &mut [0_u8; 1]).is_ok_and(|count| count == 1);
    if !has_started {
        // The agent ended before.
        std::process::exit(1)
    }
    drop(go);
    let mut told = Some(told);
    if let Err(error) = live(setup, &mut told)
        && let Some(told) = told
    {
        // The agent may be gone.
        let _ = rustix::io::write(&told, error.to_string().as_bytes());
    }
    // The end of process 1 ends every process of the guest.
    std::process::exit(1)
}

fn live(setup: &Setup, told: &mut Option<OwnedFd>) -> io::Result<()> {
    // The end of the supervisor is the end of the guest.
    sys::die_with_parent()?;
    sys::hide_from_ptrace();
    enter(setup)?;
    if setup.groups.delegated.is_some() {
        systemd::prepare()?;
        // `told` and the socket to the cloud process close with this.
        return Err(systemd::command().exec());
    }
    shims::write_without_systemd()?;
    let signals = sys::signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGHUP])?;
    told.take();
    take_in_orphans(&signals)
}

/// What is left to do without systemd: take in orphans, and end when told from outside.
fn take_in_orphans(signals: &OwnedFd) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut how = None;
        while let Some(signal) = sys::next_signal(signals)? {
            // Only the supervisor and the agent have no id in here.
            match signal.number {
                libc::SIGTERM if signal.sender == 0 => how = Some(sys::End::PowerOff),
                libc::SIGHUP if signal.sender == 0 => how = Some(sys::End::Restart),
                _ => {}
            }
        }
        while sys::reap(-1, false).is_some() {}
        if let Some(how) = how {
            end_processes();
            return sys::end_namespace(how);
        }
    }
}

/// Asks every process to end, and gives them a moment.
fn end_processes() {
    // -1 from process 1 means every other process of the guest.
    if sys::kill(-1, libc::SIGTERM).is_err() {
        return;
    }
    let deadline = std::time::Instant::now() + GRACE;
    while std::time::Instant::now() < deadline {
        while sys::reap(-1, false).is_some() {}
        if sys::kill(-1, 0).is_err() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Makes the working folder the root, with its own /proc, /sys, /dev/pts, /run and /tmp.
fn enter(setup: &Setup) -> io::Result<()> {
    let step = |what: &'static str| {
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    // The copied mounts are locked to each other; pivot_root wants a root that is not.
    sys::cover_current_folder().map_err(step("bind the root"))?;
    let hardened = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(
        "proc",
        Path::new("proc"),
        Some("proc"),
        hardened | libc::MS_NOEXEC,
        "",
    )
    .map_err(step("mount /proc"))?;
    sys::mount(
        "sysfs",
        Path::new("sys"),
        Some("sysfs"),
        hardened | libc::MS_NOEXEC | libc::MS_RDONLY,
        "",
    )
    .map_err(step("mount /sys"))?;
    if setup.groups.delegated.is_some() {
        sys::mount(
            "cgroup2",
            Path::new("sys/fs/cgroup"),
            Some("cgroup2"),
            hardened | libc::MS_NOEXEC,
            "",
        )
        .map_err(step("mount /sys/fs/cgroup"))?;
    }
    let pts = "newinstance,ptmxmode=0666,mode=620,gid=5";
    sys::mount(
        "devpts",
        Path::new("dev/pts"),
        Some("devpts"),
        libc::MS_NOSUID | libc::MS_NOEXEC,
        pts,
    )
    .map_err(step("mount /dev/pts"))?;
    // What lies there is memory: a limit on the guest's must leave some for its processes. /tmp is
    // on the disk, as on a droplet.
    let (shared, run) = match setup.groups.memory.as_ref() {
        Some(limit) => (limit.bytes() / 2, limit.bytes() / 5),
        None => (1 << 30, 128 << 20),
    };
    for (name, target, options) in [
        ("shm", "dev/shm", format!("mode=1777,size={shared}")),
        ("run", "run", format!("mode=755,size={run}")),
    ] {
        sys::mount(name, Path::new(target), Some("tmpfs"), hardened, &options)
            .map_err(step("mount what lies in memory"))?;
    }
    for secret in ["kcore", "keys", "sysrq-trigger", "timer_list"] {
        let path = Path::new("proc").join(secret);
        if path.exists() {
            sys::mount("dev/null", &path, None, libc::MS_BIND, "")
                .map_err(step("mask a part of /proc"))?;
        }
    }
    sys::pivot_into_current_folder().map_err(step("pivot"))?;
    sys::loopback_up().map_err(step("switch loopback on"))?;
    rustix::system::sethostname(setup.hostname.as_bytes())?;
    limit_processes()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    populate(setup).map_err(step("write the first files"))
}

/// Empties /tmp, as a boot does.
fn empty_tmp() -> io::Result<()> {
    for entry in fs::read_dir("/tmp")? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// What cloud-init does on a droplet: host name, machine id, keys; at first boot only.
fn populate(setup: &Setup) -> io::Result<()> {
    shims::write_run()?;
    empty_tmp()?;
    if !setup.first_boot {
        return Ok(());
    }
    fs::write("/etc/hostname", format!("{}\n", setup.hostname))?;
    fs::write(
        "/etc/hosts",
        format!(
            "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {}\n",
            setup.hostname
        ),
    )?;
    fs::write("/etc/motd", &setup.motd)?;
    let mut id = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    fs::write("/etc/machine-id", format!("{}\n", hex::encode(id)))?;
    fs::create_dir_all("/root/.ssh")?;
    fs::set_permissions("/root/.ssh", fs::Permissions::from_mode(0o700))?;
    let mut keys = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open("/root/.ssh/authorized_keys")?;
    for key in &setup.authorized_keys {
        writeln!(keys, "{key}")?;
    }
    fs::create_dir_all("/var/lib/cloud/instance")?;
    fs::write("/var/lib/cloud/instance/boot-finished", "")?;
    Ok(())
}
