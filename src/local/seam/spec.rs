//! What the account asks of the insides of droplets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What a guest is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestImage {
    /// A public image; what it stands for here is said by [`super::Probe::base`].
    Base {
        /// Its slug.
        slug: String,
    },
    /// A snapshot taken here.
    Snapshot {
        /// Its image id.
        image: u64,
    },
}

/// A guest to boot.
#[derive(Debug, Clone)]
pub struct BootSpec {
    /// The droplet's id.
    pub droplet: u64,
    /// Its host name.
    pub hostname: String,
    /// What it is made from; of no effect when the droplet has booted before.
    pub image: GuestImage,
    /// Public keys that may log in as root, as lines.
    pub authorized_keys: Vec<String>,
    /// Its user data: a cloud-config whose `ssh_keys.ed25519_private` becomes its host key.
    pub user_data: Option<String>,
    /// Where its SSH server listens: in 127.0.0.0/8.
    pub address: Ipv4Addr,
    /// Its address on the network that the guests have among themselves; none to stay alone.
    pub private: Option<Ipv4Addr>,
}

/// What a guest may use at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in MiB, page cache and what lies in /tmp included; `None` for no limit. Where no
    /// memory controller can be written there is none either: the tier tells.
    pub memory_mib: Option<u32>,
    /// Processors; of machines alone.
    pub vcpus: Option<u32>,
    /// Disk in GiB; of machines alone.
    pub disk_gib: Option<u32>,
}

/// What there is, as the account has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Ids of droplets.
    pub droplets: BTreeSet<u64>,
    /// Ids of snapshots of droplets.
    pub images: BTreeSet<u64>,
    /// Ids of volumes.
    pub volumes: BTreeSet<String>,
    /// Ids of snapshots of volumes.
    pub volume_snapshots: BTreeSet<String>,
}
