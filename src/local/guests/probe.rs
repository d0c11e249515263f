//! Which tier this machine can do, found out by doing.

use std::fs;
use std::path::Path;

use camino::Utf8Path;

use super::base;
use crate::local::seam::{Probe, Tier};

/// Finds out what this machine can do with guests of its own kernel whose state lies in `state_dir` (which exists).
#[must_use]
pub fn probe(state_dir: &Utf8Path) -> Probe {
    let mut reasons = Vec::new();
    if !rustix::process::geteuid().is_root() {
        reasons.push("dewpoint must run as root (for example with sudo)".to_owned());
    }
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 19) {
        reasons.push(format!(
            "the kernel must be 5.19 or newer (this is {release}): id-mapped overlays came with it"
        ));
    }
    if fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|text| text.trim() == "0")
    {
        reasons.push(
            "user namespaces must be allowed (sysctl user.max_user_namespaces is 0)".to_owned(),
        );
    }
    let overlay = fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay"))
        || Path::new("/sys/module/overlay").exists()
        // A module is loaded by its first mount; a name the kernel cannot resolve fails here.
        || rustix::mount::fsopen("overlay", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).is_ok();
    if !overlay {
        reasons.push("the kernel must know the overlay file system".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        reasons.push("/dev/loop-control must exist: volumes are loop devices".to_owned());
    }
    if !base::is_merged() {
        reasons.push(
            "the host must have a merged /usr (/bin, /sbin and /lib are links into it)".to_owned(),
        );
    }
    match rustix::fs::statfs(state_dir.as_std_path()) {
        Ok(data) if data.f_type == 0x794c_7630 => {
            reasons.push(format!(
                "{state_dir} must not lie on an overlay file system itself (choose another with --local-dir)"
            ));
        }
        Ok(_) => {}
        Err(error) => reasons.push(format!("{state_dir} cannot be looked at: {error}")),
    }
    if state_dir.starts_with("/usr") {
        reasons.push("the state folder must not lie in /usr, which guests share".to_owned());
    }
    if reasons.is_empty() {
        let base = Some(format!(
            "the root of this machine ({})",
            base::distribution()
        ));
        Probe {
            tier: Tier::Namespaces,
            reasons: lacks(),
            base,
        }
    } else {
        Probe {
            tier: Tier::Api,
            reasons,
            base: None,
        }
    }
}

/// What guests of this machine lack.
fn lacks() -> Vec<String> {
    // Opening it loads the module where there is one.
    match fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
    {
        Ok(_) => Vec::new(),
        Err(error) => vec![format!(
            "guests cannot reach each other: /dev/net/tun cannot be opened ({error})"
        )],
    }
}
