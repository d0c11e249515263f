//! The droplets of a local cloud, whichever tier they are of.

use std::time::Duration;

use camino::Utf8Path;
use tokio::sync::mpsc;

use super::guests::{BootSpec, GuestError, GuestHost, Known, Limits, Tier};
use super::machines::MachineHost;

/// All droplets of one local cloud.
pub(super) enum Host {
    /// Guests of this kernel, or none.
    Guests(GuestHost),
    /// Machines.
    Machines(MachineHost),
}

/// Hands a call on to whichever tier it is.
macro_rules! either {
    ($host:expr, $found:ident => $call:expr) => {
        match $host {
            Host::Guests($found) => $call,
            Host::Machines($found) => $call,
        }
    };
}

type Result<T> = std::result::Result<T, GuestError>;

impl Host {
    /// Opens the droplets whose state lies in a folder.
    ///
    /// # Errors
    /// When the folders or the base cannot be made.
    pub(super) async fn open(state_dir: &Utf8Path, tier: Tier, ssh_port: u16) -> Result<Self> {
        Ok(match tier {
            Tier::Vm => Self::Machines(MachineHost::open(state_dir, ssh_port).await?),
            tier => Self::Guests(GuestHost::open(state_dir, tier, ssh_port).await?),
        })
    }

    /// How long a droplet may take to shut down in good order. DigitalOcean's own action gives up too.
    pub(super) const fn to_shut_down(&self) -> Duration {
        match self {
            Self::Guests(_) => Duration::from_secs(30),
            // Each instruction of a machine may be ten or twenty of this one.
            Self::Machines(_) => Duration::from_secs(180),
        }
    }

    /// What users of a snapshot should know. Machines have their base to themselves.
    pub(super) fn image_warning(&self, image: u64) -> Option<String> {
        match self {
            Self::Guests(guests) => guests.image_warning(image),
            Self::Machines(_) => None,
        }
    }

    /// Droplets that powered themselves off. Can be taken once.
    pub(super) fn take_powered_off(&self) -> Option<mpsc::UnboundedReceiver<u64>> {
        either!(self, host => host.take_powered_off())
    }

    pub(super) async fn boot_within(&self, spec: BootSpec, limits: Limits) -> Result<()> {
        either!(self, host => host.boot_within(spec, limits).await)
    }

    pub(super) async fn shut_down(&self, droplet: u64) {
        either!(self, host => host.shut_down(droplet).await)
    }

    pub(super) async fn power_off(&self, droplet: u64) {
        either!(self, host => host.power_off(droplet).await)
    }

    pub(super) async fn is_running(&self, droplet: u64) -> bool {
        either!(self, host => host.is_running(droplet).await)
    }

    pub(super) async fn destroy(&self, droplet: u64) -> Result<()> {
        either!(self, host => host.destroy(droplet).await)
    }

    pub(super) async fn snapshot(&self, droplet: u64, image: u64) -> Result<u64> {
        either!(self, host => host.snapshot(droplet, image).await)
    }

    pub(super) async fn delete_image(&self, image: u64) -> Result<()> {
        either!(self, host => host.delete_image(image).await)
    }

    pub(super) async fn create_volume(
        &self,
        volume: &str,
        size_gib: u32,
        from: Option<&str>,
    ) -> Result<()> {
        either!(self, host => host.create_volume(volume, size_gib, from).await)
    }

    pub(super) async fn delete_volume(&self, volume: &str) -> Result<()> {
        either!(self, host => host.delete_volume(volume).await)
    }

    pub(super) async fn resize_volume(&self, volume: &str, size_gib: u32) -> Result<()> {
        either!(self, host => host.resize_volume(volume, size_gib).await)
    }

    pub(super) async fn attach(&self, volume: &str, name: &str, droplet: u64) -> Result<()> {
        either!(self, host => host.attach(volume, name, droplet).await)
    }

    pub(super) async fn detach(&self, volume: &str) {
        either!(self, host => host.detach(volume).await)
    }

    pub(super) async fn snapshot_volume(&self, volume: &str, snapshot: &str) -> Result<u64> {
        either!(self, host => host.snapshot_volume(volume, snapshot).await)
    }

    pub(super) async fn delete_volume_snapshot(&self, snapshot: &str) -> Result<()> {
        either!(self, host => host.delete_volume_snapshot(snapshot).await)
    }

    pub(super) async fn keep_only(&self, known: &Known) -> Result<()> {
        either!(self, host => host.keep_only(known).await)
    }

    pub(super) async fn close(&self) {
        either!(self, host => host.close().await)
    }
}
