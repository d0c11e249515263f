//! The base below every machine: Debian with a kernel, cloud-init and sshd, built once.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::process::{Command, Output, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use super::keeper::die_with_parent;
use super::metadata::RESOLVER;
use super::probe::{MMDEBSTRAP, QEMU_IMG};
use crate::local::guests::{GuestError, Release, describe_as};

/// What the base is, as os-release names it.
pub(super) const RELEASE: &str = "Debian GNU/Linux 12 (bookworm)";
const SUITE: &str = "bookworm";
/// Number of what follows here. Raise it when that changes in a way that machines notice.
const RECIPE: u32 = 1;

/// What a machine has; the rest is what these depend on.
const PACKAGES: [&str; 20] = [
    "ca-certificates",
    "cloud-init",
    "curl",
    "dbus",
    "e2fsprogs",
    "git",
    "ifupdown",
    "iproute2",
    "isc-dhcp-client",
    "less",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "netbase",
    "openssh-server",
    "procps",
    "rsync",
    "sudo",
    "systemd-sysv",
    "udev",
    "xfsprogs",
];

/// What has nothing to do on a machine that lives for minutes, and takes its time.
const MASKED: [&str; 6] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
];

/// As images of DigitalOcean have it. Root is who logs in; the root file system is the whole disk, so
/// that there is no partition to grow; no locale is left to be made.
const CLOUD_INIT: &str = "datasource_list: [ConfigDrive, DigitalOcean, NoCloud, None]
disable_root: false
ssh_pwauth: false
locale: false
growpart: {mode: \"off\"}
";

const LABEL: &str = "dewpoint-root";

/// A base that was built.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// Its root file system, a qcow2.
    pub(super) disk: Utf8PathBuf,
    /// Its kernel.
    pub(super) kernel: Utf8PathBuf,
    /// Its initial RAM disk.
    pub(super) initrd: Utf8PathBuf,
}

impl Base {
    /// The base in a state folder.
    ///
    /// # Errors
    /// When it has not been built.
    pub(super) fn open(state_dir: &Utf8Path) -> Result<Self, GuestError> {
        if !is_built(state_dir) {
            return Err(GuestError::Missing {
                what: "the base of machines".to_owned(),
            });
        }
        Ok(Self::at(&folder(state_dir)))
    }

    fn at(folder: &Utf8Path) -> Self {
        Self {
            disk: folder.join("root.qcow2"),
            kernel: folder.join("kernel"),
            initrd: folder.join("initrd"),
        }
    }
}

/// What a slug such as `ubuntu-24-04-x64` stands for where droplets are machines:
/// `ubuntu-24-04-x64 -> Debian GNU/Linux 12 (bookworm) machine, NOT Ubuntu 24.04`.
#[must_use]
pub fn describe_image(slug: &str) -> String {
    let release = Release {
        id: "debian".to_owned(),
        version: "12".to_owned(),
        name: RELEASE.to_owned(),
    };
    describe_as(slug, &release, &format!("{RELEASE} machine"))
}

fn folder(state_dir: &Utf8Path) -> Utf8PathBuf {
    let vm = state_dir.join("guests").join("vm");
    vm.join(format!("base-{RECIPE}"))
}

/// Whether the base is there: it appears whole.
#[must_use]
pub fn is_built(state_dir: &Utf8Path) -> bool {
    folder(state_dir).exists()
}

/// Builds the base, unless it is there. It takes minutes, some 600 MB that stay and as much again
/// while it works, and Debian's mirror.
///
/// # Errors
/// When a program fails: what it said.
pub fn build(state_dir: &Utf8Path) -> Result<(), GuestError> {
    let done = folder(state_dir);
    if done.exists() {
        return Ok(());
    }
    let fresh = done.with_extension("new");
    let built = build_in(&fresh).and_then(|()| {
        fs::rename(&fresh, &done).map_err(GuestError::io("cannot keep the base of machines"))
    });
    if built.is_err() {
        // The first error says more than one of tidying up.
        let _ = fs::remove_dir_all(&fresh);
    }
    built
}

fn build_in(fresh: &Utf8Path) -> Result<(), GuestError> {
    let failed =
        |what: &'static str| GuestError::io(format!("cannot build machines' base: {what}"));
    match fs::remove_dir_all(fresh) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(failed("an earlier try is in the way"))?,
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(fresh)
        .map_err(failed("no folder can be made"))?;
    let (root, raw) = (fresh.join("root"), fresh.join("root.raw"));
    let base = Base::at(fresh);

    // Namespaces of its own: what it mounts is gone with it, however it ends.
    let include = format!("--include={}", PACKAGES.join(","));
    run(Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .args([
            "--propagation",
            "private",
            MMDEBSTRAP,
            "--quiet",
            "--mode=root",
        ])
        .args(["--variant=minbase", "--architectures=amd64", &include])
        .args([SUITE, root.as_str()]))
    .map_err(failed("mmdebstrap failed"))?;
    finish(&root).map_err(failed("a file cannot be written"))?;
    take_boot_files(&root, &base).map_err(failed("it has no kernel"))?;

    fs::File::create_new(&raw)
        .and_then(|file| file.set_len(SIZE))
        .map_err(failed("no disk can be made"))?;
    run(Command::new("mkfs.ext4").args([
        "-q",
        "-F",
        "-L",
        LABEL,
        "-d",
        root.as_str(),
        raw.as_str(),
    ]))
    .map_err(failed("mkfs.ext4 failed"))?;
    fs::remove_dir_all(&root).map_err(failed("its folder cannot be removed"))?;
    run(Command::new(QEMU_IMG)
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args([raw.as_str(), base.disk.as_str()]))
    .map_err(failed("qemu-img failed"))?;
    fs::remove_file(&raw).map_err(failed("its disk cannot be removed"))
}

/// Size of its file system: cloud-init grows it to the droplet's.
const SIZE: u64 = 4 << 30;

/// Runs a program to its end, which comes with this thread's at the latest.
///
/// # Errors
/// When it cannot be started, or fails: what it said last.
fn run(command: &mut Command) -> io::Result<Output> {
    die_with_parent(command);
    let path = std::env::var("PATH").unwrap_or_default();
    let output = command
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().map(str::trim).collect();
    Err(io::Error::other(format!(
        "{} ({})",
        last.join("; "),
        output.status
    )))
}

/// Makes of the distribution what an image of DigitalOcean is.
fn finish(root: &Utf8Path) -> io::Result<()> {
    let etc = root.join("etc");
    fs::write(
        etc.join("cloud/cloud.cfg.d/99-digitalocean.cfg"),
        CLOUD_INIT,
    )?;
    fs::write(
        etc.join("fstab"),
        format!("LABEL={LABEL} / ext4 discard,noatime,errors=remount-ro 0 1\n"),
    )?;
    fs::write(
        etc.join("motd"),
        format!("A machine of dewpoint's local cloud: {RELEASE}.\n"),
    )?;
    // Not what this system has, nor a link to what a machine has no more.
    for name in ["resolv.conf", "hostname"] {
        match fs::remove_file(etc.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::write(etc.join("resolv.conf"), format!("nameserver {RESOLVER}\n"))?;
    // What each machine has its own of.
    fs::write(etc.join("machine-id"), "")?;
    for entry in etc.join("ssh").read_dir_utf8()? {
        let path = entry?.into_path();
        if path
            .file_name()
            .is_some_and(|name| name.starts_with("ssh_host_"))
        {
            fs::remove_file(path)?;
        }
    }
    for unit in MASKED {
        symlink("/dev/null", etc.join("systemd/system").join(unit))?;
    }
    Ok(())
}

fn take_boot_files(root: &Utf8Path, base: &Base) -> io::Result<()> {
    for (prefix, to) in [("vmlinuz-", &base.kernel), ("initrd.img-", &base.initrd)] {
        let mut found = None;
        for entry in root.join("boot").read_dir_utf8()? {
            let path = entry?.into_path();
            if path
                .file_name()
                .is_some_and(|name| name.starts_with(prefix))
            {
                found = found.max(Some(path));
            }
        }
        fs::copy(found.ok_or(io::ErrorKind::NotFound)?, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_stands_for_is_never_taken_for_more() {
        assert_eq!(
            describe_image("ubuntu-24-04-x64"),
            "ubuntu-24-04-x64 -> Debian GNU/Linux 12 (bookworm) machine, NOT Ubuntu 24.04"
        );
        assert_eq!(
            describe_image("debian-12-x64"),
            "debian-12-x64 -> Debian GNU/Linux 12 (bookworm) machine"
        );
        assert_eq!(
            describe_image("debian-13-x64"),
            "debian-13-x64 -> Debian GNU/Linux 12 (bookworm) machine, NOT Debian 13"
        );
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = run(Command::new("sh").args(["-c", "echo no such suite >&2; exit 3"]))
            .expect_err("it fails");
        assert_eq!(error.to_string(), "no such suite (exit status: 3)");
    }

    #[test]
    fn a_base_is_there_whole_or_not_at_all() {
        let state = tempfile::tempdir().expect("a folder");
        let state = Utf8Path::from_path(state.path()).expect("UTF-8");
        assert!(!is_built(state));
        assert!(matches!(Base::open(state), Err(GuestError::Missing { .. })));
        fs::create_dir_all(folder(state).with_extension("new")).expect("begun");
        assert!(!is_built(state));
        fs::rename(folder(state).with_extension("new"), folder(state)).expect("done");
        assert!(Base::open(state).is_ok());
    }
}
