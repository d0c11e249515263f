//! How long things take: the middle of what was seen of DigitalOcean, times a factor.

use serde::{Deserialize, Serialize};

use super::exchange::Millis;

/// How fast the local cloud is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// 1 is as slow as DigitalOcean, 0.01 a hundred times as fast.
    pub factor: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self::FAST
    }
}

/// A text that is no latency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no latency: write `fast`, `realistic` or a factor such as `0.1`")]
pub struct BadLatency(pub String);

impl std::str::FromStr for Latency {
    type Err = BadLatency;

    fn from_str(text: &str) -> Result<Self, BadLatency> {
        match text {
            "fast" => Ok(Self::FAST),
            "realistic" => Ok(Self::REALISTIC),
            _ => match text.parse::<f64>() {
                Ok(factor) if (0.0..=10.0).contains(&factor) => Ok(Self { factor }),
                _ => Err(BadLatency(text.to_owned())),
            },
        }
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.factor)
    }
}

/// Something that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A read's answer.
    Read,
    /// A write's answer.
    Write,
    /// The answer to a droplet create.
    CreateAnswer,
    /// From create to `active`.
    DropletActive,
    /// From `active` to a public address in the answers.
    Network,
    /// From create to a `vpc_uuid` in the answers.
    Vpc,
    /// From DELETE to 404.
    DropletGone,
    /// From a droplet's end to its volumes being free.
    VolumesFree,
    /// From a droplet's end to its id leaving firewalls.
    FirewallForgets,
    /// `shutdown`.
    Shutdown,
    /// `power_off`; DigitalOcean's worst, 303 s, is a fault to inject.
    PowerOff,
    /// `power_on`.
    PowerOn,
    /// `reboot`, `power_cycle`.
    Reboot,
    /// A snapshot of a small droplet.
    Snapshot,
    /// From a snapshot's end to its being listed.
    SnapshotListed,
    /// Until a resize shows in the droplet.
    ResizeShows,
    /// Until a resize is done.
    Resize,
    /// `rebuild`, `restore`.
    Rebuild,
    /// Other droplet actions.
    SmallAction,
    /// A copy of an image in another region.
    Transfer,
    /// Making a volume.
    VolumeCreate,
    /// Deleting a volume.
    VolumeDelete,
    /// Attaching a volume.
    Attach,
    /// Detaching a volume.
    Detach,
    /// A volume snapshot.
    VolumeSnapshot,
    /// The least time between two snapshots of a volume.
    VolumeSnapshotEvery,
    /// Until a firewall covers a droplet.
    Firewall,
    /// Until a new SSH key is known to droplet creates.
    KeyUsable,
}

impl Latency {
    /// As slow as DigitalOcean.
    pub const REALISTIC: Self = Self { factor: 1.0 };
    /// A hundred times as fast.
    pub const FAST: Self = Self { factor: 0.01 };

    /// How long something takes.
    #[must_use]
    pub fn of(self, wait: Wait) -> Millis {
        let seen = match wait {
            Wait::Read => 350,
            Wait::Write => 500,
            Wait::CreateAnswer => 1_900,
            Wait::DropletActive => 40_000,
            Wait::Network => 2_000,
            Wait::Vpc | Wait::Firewall => 15_000,
            Wait::DropletGone | Wait::KeyUsable => 9_000,
            Wait::VolumesFree | Wait::Shutdown => 10_000,
            Wait::FirewallForgets => 27_000,
            Wait::PowerOff | Wait::Reboot => 20_000,
            Wait::PowerOn => 15_000,
            Wait::Snapshot => 42_000,
            Wait::SnapshotListed | Wait::SmallAction => 5_000,
            Wait::ResizeShows => 18_000,
            Wait::Resize => 46_000,
            Wait::Rebuild => 22_000,
            Wait::Transfer => 180_000,
            Wait::VolumeCreate => 1_500,
            Wait::VolumeDelete => 1_000,
            Wait::Attach => 4_500,
            Wait::Detach => 3_500,
            Wait::VolumeSnapshot => 2_000,
            Wait::VolumeSnapshotEvery => 600_000,
        };
        // Within i64 by far: at most 600,000 times 10.
        (f64::from(seen) * self.factor).round() as Millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_factors_are_read() {
        assert_eq!("fast".parse(), Ok(Latency::FAST));
        assert_eq!("realistic".parse(), Ok(Latency::REALISTIC));
        assert_eq!("0.5".parse(), Ok(Latency { factor: 0.5 }));
        assert!("quick".parse::<Latency>().is_err());
        assert!("-1".parse::<Latency>().is_err());
        assert!("NaN".parse::<Latency>().is_err());
    }

    #[test]
    fn fast_is_a_hundredth() {
        assert_eq!(Latency::REALISTIC.of(Wait::DropletActive), 40_000);
        assert_eq!(Latency::FAST.of(Wait::DropletActive), 400);
    }
}
