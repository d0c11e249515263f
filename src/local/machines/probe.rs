//! Whether there can be machines here, and what they would be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use camino::Utf8Path;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::arguments::Accelerator;
use super::base::{self, Base};
use super::keeper::Keeper;
use crate::local::seam::{Missing, Probe, Tier};

/// What runs machines.
pub(super) const QEMU: &str = "qemu-system-x86_64";
/// What makes and copies their disks.
pub(super) const QEMU_IMG: &str = "qemu-img";
/// What makes the base of Debian's packages.
pub(super) const MMDEBSTRAP: &str = "mmdebstrap";
/// What the packages are checked against.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What is always needed, and the Debian package it is in.
const PROGRAMS: [(&str, &str); 3] = [
    (QEMU, "qemu-system-x86"),
    (QEMU_IMG, "qemu-utils"),
    ("mkfs.ext4", "e2fsprogs"),
];
/// What building the base needs besides.
const BUILDERS: [(&str, &str); 2] = [(MMDEBSTRAP, "mmdebstrap"), ("unshare", "util-linux")];

/// All that machines need and that is not here; their base is looked for in `state_dir`. Nothing when
/// there can be machines.
#[must_use]
pub fn missing(state_dir: &Utf8Path) -> Vec<Missing> {
    let arch = std::env::consts::ARCH;
    let is_root = rustix::process::geteuid().is_root();
    look(arch, is_root, base::is_built(state_dir), find, |path| {
        path.exists()
    })
}

fn look(
    arch: &str,
    is_root: bool,
    is_built: bool,
    find: impl Fn(&str) -> Option<PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> Vec<Missing> {
    let mut missing = Vec::new();
    if arch != "x86_64" {
        missing.push(Missing {
            what: format!("an x86-64 processor (this is {arch})"),
            package: None,
        });
    }
    let builders: &[_] = if is_built { &[] } else { &BUILDERS };
    for (program, package) in PROGRAMS.iter().chain(builders) {
        if find(program).is_none() {
            missing.push(Missing {
                what: format!("the program {program}"),
                package: Some(package),
            });
        }
    }
    if !is_built {
        if !exists(Path::new(KEYRING)) {
            missing.push(Missing {
                what: format!("Debian's keys, {KEYRING}"),
                package: Some("debian-archive-keyring"),
            });
        }
        if !is_root {
            missing.push(Missing {
                what: "root, to build the base once (for example with sudo)".to_owned(),
                package: None,
            });
        }
    }
    missing
}

/// A program in the `PATH`, or where only root's has it.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| {
            use std::os::unix::fs::PermissionsExt as _;
            file.metadata()
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
}

/// What machines with their base in `state_dir` are. Their base must have been built.
pub async fn probe(state_dir: &Utf8Path) -> Probe {
    let (accelerator, mut reasons) = match Base::open(state_dir) {
        Ok(base) => match Keeper::start() {
            Ok(keeper) => accelerator(&keeper, &base).await,
            Err(error) => (Accelerator::Tcg, vec![error.to_string()]),
        },
        Err(error) => (Accelerator::Tcg, vec![error.to_string()]),
    };
    reasons.push("machines cannot reach each other".to_owned());
    let how = match accelerator {
        Accelerator::Kvm => "QEMU with KVM",
        Accelerator::Tcg => "QEMU with TCG, which is slow",
    };
    Probe {
        tier: Tier::Vm,
        reasons,
        base: Some(format!("{} machine ({how})", base::RELEASE)),
    }
}

/// What is to run machines here, and why it is not KVM. It is found out once.
pub(super) async fn accelerator(keeper: &Keeper, base: &Base) -> (Accelerator, Vec<String>) {
    static FOUND: OnceCell<(Accelerator, Vec<String>)> = OnceCell::const_new();
    FOUND
        .get_or_init(|| find_accelerator(keeper, base))
        .await
        .clone()
}

async fn find_accelerator(keeper: &Keeper, base: &Base) -> (Accelerator, Vec<String>) {
    let why = match std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Err(error) => format!("/dev/kvm cannot be opened ({error})"),
        Ok(_) => match begins(keeper, base).await {
            Ok(true) => return (Accelerator::Kvm, Vec::new()),
            Ok(false) => "with it the kernel of machines does not begin".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    (
        Accelerator::Tcg,
        vec![format!("machines do without KVM: {why}")],
    )
}

/// How long the kernel may take to its first word: some 0.3 s.
const TO_BEGIN: Duration = Duration::from_secs(5);

/// Whether the kernel of machines gets to its first word with KVM: that the device can be opened does
/// not mean that it works, as where one virtual machine is in another.
async fn begins(keeper: &Keeper, base: &Base) -> std::io::Result<bool> {
    let mut command = Command::new(QEMU);
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        .args(["-accel", "kvm", "-cpu", "host", "-m", "256"])
        .args(["-kernel", base.kernel.as_str(), "-serial", "stdio"])
        .args(["-append", "console=ttyS0 panic=-1"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut child = keeper.spawn(command, Vec::new()).await?;
    let mut said = Vec::new();
    let mut output = child.stdout.take();
    let listening = async {
        let mut chunk = [0; 4096];
        while let Some(output) = &mut output {
            match output.read(&mut chunk).await {
                Ok(count) if count > 0 => said.extend_from_slice(&chunk[..count]),
                _ => return false,
            }
            if said.windows(13).any(|window| window == b"Linux version") {
                return true;
            }
        }
        false
    };
    let begins = tokio::time::timeout(TO_BEGIN, listening)
        .await
        .unwrap_or(false);
    child.kill().await?;
    Ok(begins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::seam::ways_out;

    #[test]
    fn all_that_is_missing_is_named_at_once_with_where_to_get_it() {
        let nothing = look("x86_64", false, false, |_| None, |_| false);
        let what: Vec<&str> = nothing
            .iter()
            .map(|missing| missing.what.as_str())
            .collect();
        assert_eq!(
            what,
            [
                "the program qemu-system-x86_64",
                "the program qemu-img",
                "the program mkfs.ext4",
                "the program mmdebstrap",
                "the program unshare",
                "Debian's keys, /usr/share/keyrings/debian-archive-keyring.gpg",
                "root, to build the base once (for example with sudo)",
            ]
        );
        assert!(
            ways_out(&nothing).contains(
                "`apt-get install qemu-system-x86 qemu-utils e2fsprogs mmdebstrap util-linux debian-archive-keyring`"
            ),
            "{}",
            ways_out(&nothing)
        );
    }

    #[test]
    fn a_base_that_is_built_needs_nothing_to_build_it() {
        let here = |program: &str| {
            (program != MMDEBSTRAP).then(|| PathBuf::from("/usr/bin").join(program))
        };
        assert_eq!(look("x86_64", false, true, here, |_| false), []);
        let elsewhere = look("aarch64", true, true, here, |_| false);
        assert_eq!(elsewhere.len(), 1);
        assert_eq!(elsewhere[0].what, "an x86-64 processor (this is aarch64)");
        assert!(ways_out(&elsewhere).starts_with("there is no way around it"));
    }
}
