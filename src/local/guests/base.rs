//! The base below every image: the host's own root, reduced to what is the distribution's.
//!
//! `/usr` is the host's, shared as it is. Of `/etc` and `/var` an allow-list is copied: what is not
//! on it (keys, credentials, logs, databases) never reaches a guest.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use camino::Utf8Path;

use super::error::GuestError;
use super::shims;
use super::supervisor::PARTS;

/// What of the host's /etc belongs to the distribution rather than to the host.
const ETC: [&str; 48] = [
    "alternatives",
    "apt",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "debconf.conf",
    "debian_version",
    "default",
    "deluser.conf",
    "adduser.conf",
    "dpkg",
    "environment",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "init.d",
    "inputrc",
    "issue",
    "java-11-openjdk",
    "java-17-openjdk",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.cache",
    "libaudit.conf",
    "locale.alias",
    "locale.gen",
    "localtime",
    "login.defs",
    "lsb-release",
    "mime.types",
    "mke2fs.conf",
    "nsswitch.conf",
    "os-release",
    "pam.conf",
    "pam.d",
    "passwd",
    "perl",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "python3.11",
    "security",
    "services",
    "shells",
    "skel",
];

/// Further names, kept apart so that each list stays readable: they differ between distributions.
const ETC_MORE: [&str; 15] = [
    "ssl/certs",
    "ssl/openssl.cnf",
    "systemd/journald.conf",
    "systemd/logind.conf",
    "systemd/system.conf",
    "systemd/user.conf",
    "terminfo",
    "timezone",
    "ucf.conf",
    "update-motd.d",
    "xdg",
    "python3.12",
    "python3.13",
    "rc0.d",
    "xattr.conf",
];

/// What of the host's /var belongs to the distribution: the package database.
const VAR: [&str; 6] = [
    "lib/dpkg",
    "lib/apt",
    "lib/ucf",
    "lib/pam",
    "lib/python",
    "cache/debconf/templates.dat",
];

/// The distribution of the host, as os-release names it.
#[derive(Debug, Clone)]
pub(in crate::local) struct Release {
    /// Such as `debian`.
    pub id: String,
    /// Such as `12`; empty where there is none.
    pub version: String,
    /// Such as `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
}

/// Reads the distribution of the host.
pub(super) fn release() -> Release {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"').to_owned())
    };
    Release {
        id: field("ID").unwrap_or_default(),
        version: field("VERSION_ID").unwrap_or_default(),
        name: field("PRETTY_NAME").unwrap_or_else(|| "an unnamed Linux".to_owned()),
    }
}

/// The distribution of the host, such as `Debian GNU/Linux 12 (bookworm)`.
pub(super) fn distribution() -> String {
    release().name
}

/// What an upgrade of the host changes: its distribution and the state of its package database.
pub(super) fn host_fingerprint() -> String {
    let changed = fs::metadata("/var/lib/dpkg/status")
        .or_else(|_| fs::metadata("/var/lib/rpm/rpmdb.sqlite"))
        .and_then(|data| data.modified())
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |time| time.as_secs());
    format!("{} {changed}", distribution())
}

/// What the base depends on; the number counts how its contents have changed.
fn fingerprint() -> String {
    format!("{} 2 {}", env!("CARGO_PKG_VERSION"), host_fingerprint())
}

/// Makes the base, or makes it anew when the host was upgraded since.
///
/// # Errors
/// When a file cannot be copied.
pub(super) fn prepare(folder: &Utf8Path) -> Result<(), GuestError> {
    let mark = folder.join("fingerprint");
    let wanted = fingerprint();
    if fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let failed = || GuestError::io(format!("cannot make the base of guests at {folder}"));
    let fresh = folder.with_extension("new");
    remove(fresh.as_std_path()).map_err(failed())?;
    for part in PARTS {
        fs::create_dir_all(fresh.join(part)).map_err(failed())?;
    }
    skeleton(fresh.join("root").as_std_path()).map_err(failed())?;
    let mut files = Copies::new();
    let etc = fresh.join("etc");
    for name in ETC.iter().chain(&ETC_MORE) {
        let from = Path::new("/etc").join(name);
        copy(&from, etc.join(name).as_std_path(), &mut files).map_err(failed())?;
    }
    // What the host itself has enabled is none of a guest's business.
    fs::create_dir_all(etc.join("systemd/system")).map_err(failed())?;
    let var = fresh.join("var");
    for name in [
        "cache/apt/archives/partial",
        "cache/debconf",
        "lib/misc",
        "log/apt",
        "spool",
        "mail",
        "opt",
        "local",
        "backups",
    ] {
        fs::create_dir_all(var.join(name)).map_err(failed())?;
    }
    for name in VAR {
        let from = Path::new("/var").join(name);
        copy(&from, var.join(name).as_std_path(), &mut files).map_err(failed())?;
    }
    copy_files(&files).map_err(failed())?;
    no_passwords(etc.as_std_path()).map_err(failed())?;
    fs::create_dir_all(var.join("tmp")).map_err(failed())?;
    fs::set_permissions(var.join("tmp"), fs::Permissions::from_mode(0o1777)).map_err(failed())?;
    symlink("/run", var.join("run")).map_err(failed())?;
    symlink("/run/lock", var.join("lock")).map_err(failed())?;
    shims::write_image(fresh.join("usr").as_std_path()).map_err(failed())?;
    shims::write_image_without_systemd(fresh.join("usr-without-systemd").as_std_path())
        .map_err(failed())?;
    fs::write(fresh.join("fingerprint"), wanted).map_err(failed())?;
    remove(folder.as_std_path()).map_err(failed())?;
    fs::rename(&fresh, folder).map_err(failed())
}

/// The folders of an empty root, and the links of a merged /usr.
fn skeleton(root: &Path) -> io::Result<()> {
    for name in [
        "boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys",
        "tmp", "usr", "var",
    ] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    for name in MERGED {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            symlink(target, root.join(name))?;
        }
    }
    Ok(())
}

/// The folders that a merged /usr replaces by links.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Whether the host has its programs in /usr alone.
pub(super) fn is_merged() -> bool {
    ["bin", "sbin", "lib"].iter().all(|name| {
        fs::symlink_metadata(Path::new("/").join(name)).is_ok_and(|data| data.is_symlink())
    })
}

/// A shadow file in which no account has a password.
fn no_passwords(etc: &Path) -> io::Result<()> {
    let accounts = fs::read_to_string(etc.join("passwd")).unwrap_or_default();
    let shadow: String = accounts
        .lines()
        .filter_map(|line| line.split(':').next())
        .map(|name| format!("{name}:*:19000:0:99999:7:::\n"))
        .collect();
    fs::write(etc.join("shadow"), shadow)?;
    fs::set_permissions(etc.join("shadow"), fs::Permissions::from_mode(0o640))
}

/// Copies of files that are still to be made, and with which modes.
type Copies = Vec<(PathBuf, PathBuf, u32)>;

/// Copies folders and links with modes, and notes the files to copy; what is not there is left
/// out. Files that only their owner may read are left out too: they are secrets of the host.
fn copy(from: &Path, to: &Path, files: &mut Copies) -> io::Result<()> {
    let Ok(data) = fs::symlink_metadata(from) else {
        return Ok(());
    };
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    if data.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    let mode = data.permissions().mode();
    if data.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()), files)?;
        }
        return fs::set_permissions(to, data.permissions());
    }
    if data.is_file() && (mode & 0o004 != 0 || from.starts_with("/var/lib")) {
        files.push((from.to_owned(), to.to_owned(), mode & 0o7777));
    }
    Ok(())
}

/// Copies files, many at once: what takes long is the first read of thousands of small ones.
fn copy_files(files: &Copies) -> io::Result<()> {
    const AT_ONCE: usize = 16;
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<()> {
        while let Some((from, to, mode)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            fs::copy(from, to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(*mode))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a copying thread ended early")))
        })
    })
}

/// Removes a folder and all in it; one that is not there is fine.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
