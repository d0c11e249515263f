//! A local cloud whose droplets nothing can log in to: what is left of `tiers` where this program was built
//! without guests, as on macOS.

use std::ffi::OsStr;
use std::process::ExitCode;
use std::time::Duration;

use camino::Utf8Path;
use tokio::sync::mpsc;

use super::seam::{BootSpec, GuestError, Known, Limits, Missing, Probe, Tier};

type Result<T> = std::result::Result<T, GuestError>;

/// Why there are no guests.
const WHY: &str = if cfg!(target_os = "linux") {
    "this dewpoint was built without guests (the feature `guests`)"
} else {
    "guests need Linux"
};

/// Droplets of which the API alone knows.
pub(super) struct Host;

impl Host {
    pub(super) async fn open(_: &Utf8Path, _: Tier, _: u16) -> Result<Self> {
        Ok(Self)
    }

    pub(super) const fn to_shut_down(&self) -> Duration {
        Duration::ZERO
    }

    pub(super) fn image_warning(&self, _: u64) -> Option<String> {
        None
    }

    pub(super) fn take_powered_off(&self) -> Option<mpsc::UnboundedReceiver<u64>> {
        None
    }

    pub(super) async fn boot_within(&self, _: BootSpec, _: Limits) -> Result<()> {
        Ok(())
    }

    pub(super) async fn shut_down(&self, _: u64) {}

    pub(super) async fn power_off(&self, _: u64) {}

    pub(super) async fn is_running(&self, _: u64) -> bool {
        false
    }

    pub(super) async fn destroy(&self, _: u64) -> Result<()> {
        Ok(())
    }

    pub(super) async fn snapshot(&self, _: u64, _: u64) -> Result<u64> {
        Ok(0)
    }

    pub(super) async fn delete_image(&self, _: u64) -> Result<()> {
        Ok(())
    }

    pub(super) async fn create_volume(&self, _: &str, _: u32, _: Option<&str>) -> Result<()> {
        Ok(())
    }

    pub(super) async fn delete_volume(&self, _: &str) -> Result<()> {
        Ok(())
    }

    pub(super) async fn resize_volume(&self, _: &str, _: u32) -> Result<()> {
        Ok(())
    }

    pub(super) async fn attach(&self, _: &str, _: &str, _: u64) -> Result<()> {
        Ok(())
    }

    pub(super) async fn detach(&self, _: &str) {}

    pub(super) async fn snapshot_volume(&self, _: &str, _: &str) -> Result<u64> {
        Ok(0)
    }

    pub(super) async fn delete_volume_snapshot(&self, _: &str) -> Result<()> {
        Ok(())
    }

    pub(super) async fn keep_only(&self, _: &Known) -> Result<()> {
        Ok(())
    }

    pub(super) async fn close(&self) {}

    pub(super) fn wait_until_gone(_: &Utf8Path) -> Result<()> {
        Ok(())
    }

    /// A build with guests may have left some.
    pub(super) fn erase(state_dir: &Utf8Path) -> Result<()> {
        let folder = state_dir.join("guests");
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(GuestError::io(format!("cannot delete {folder}"))(error))
            }
            _ => Ok(()),
        }
    }
}

/// The API alone.
#[must_use]
pub fn probe(_: &Utf8Path) -> Probe {
    Probe {
        tier: Tier::Api,
        reasons: vec![WHY.to_owned()],
        base: None,
    }
}

pub(super) async fn probe_machines(state_dir: &Utf8Path) -> Probe {
    probe(state_dir)
}

/// A build with guests.
#[must_use]
pub fn machines_lack(_: &Utf8Path) -> Vec<Missing> {
    vec![Missing {
        what: format!("a dewpoint with guests ({WHY})"),
        package: None,
    }]
}

/// Never.
#[must_use]
pub fn are_machines_built(_: &Utf8Path) -> bool {
    false
}

/// Nothing to do: [`machines_lack`] has said that there are none.
///
/// # Errors
/// Never.
pub fn build_machines(_: &Utf8Path) -> Result<()> {
    Ok(())
}

pub(super) fn describe_image(_: Tier, _: &str) -> Option<String> {
    None
}

/// Never started for one.
#[must_use]
pub fn main_for_a_droplet(_: &OsStr) -> Option<ExitCode> {
    None
}
