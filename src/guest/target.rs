//! Paths on a droplet that files may be put at. Pure.

use super::error::GuestError;

/// Folders that are the system's: nothing is laid over them as a whole.
const SYSTEM: [&str; 36] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/snap",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/lib/dewpoint",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Folders whose files are not files.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Checks a folder that a source is brought into.
pub(super) fn check_folder(path: &str) -> Result<(), GuestError> {
    check(path)?;
    if SYSTEM.contains(&path) {
        return Err(bad(path, "it is a folder of the system"));
    }
    Ok(())
}

/// Checks a path that a recipe copies to. Single files may well go into a folder of the system.
pub(super) fn check(path: &str) -> Result<(), GuestError> {
    let Some(below) = path.strip_prefix('/') else {
        return Err(bad(path, "it is not absolute"));
    };
    if below.is_empty() {
        return Err(bad(path, "it is the root of all files"));
    }
    if path.chars().any(char::is_control) {
        return Err(bad(path, "it has control characters"));
    }
    if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad(path, "it has empty parts, `.` or `..`"));
    }
    if KERNEL
        .iter()
        .any(|folder| path == *folder || path.starts_with(&format!("{folder}/")))
    {
        return Err(bad(path, "what is there are no files, but the kernel's"));
    }
    Ok(())
}

/// A pattern of sh's `case` that names every folder of the system: for the droplet, which alone
/// knows where links lead.
pub(super) fn system_pattern() -> String {
    let kernel = KERNEL.map(|folder| format!("{folder}/*"));
    format!("/|{}|{}", SYSTEM.join("|"), kernel.join("|"))
}

pub(super) fn bad(path: &str, problem: &'static str) -> GuestError {
    GuestError::BadTarget {
        path: path.chars().filter(|c| !c.is_control()).collect(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_absolute_paths_below_the_system_will_do() {
        for good in ["/opt/app", "/srv/a b", "/home/ci/app", "/mnt/models/x"] {
            assert!(check_folder(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "//",
            "opt/app",
            "./x",
            "/opt/../etc",
            "/opt/./x",
            "/opt//x",
            "/opt/",
            "/etc",
            "/usr",
            "/var/lib",
            "/proc/1",
            "/dev/shm",
            "/opt/a\nb",
            "/opt/\0",
        ] {
            assert!(check_folder(bad).is_err(), "{bad:?}");
        }
        assert!(check("/etc/nginx.conf").is_ok());
        assert!(check("/sys/x").is_err());
    }
}
