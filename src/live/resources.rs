//! The resources of an account, reduced to what the planner compares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::ownership;

/// One observation of the account. Lists are sorted by id, so that equal accounts are equal values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Limits and state of the account.
    pub account: Account,
    /// Droplets that bear the environment's tag or whose name could be ours.
    pub droplets: Vec<LiveDroplet>,
    /// Droplets of others that volumes of the project are attached to; empty unless somebody asked.
    pub holders: Vec<LiveDroplet>,
    /// Every volume of the account.
    pub volumes: Vec<LiveVolume>,
    /// Every snapshot of a volume of the account; empty unless somebody asked.
    #[serde(default)]
    pub volume_snapshots: Vec<LiveVolumeSnapshot>,
    /// Every private image of the account (snapshots of droplets).
    pub images: Vec<LiveImage>,
    /// Every firewall of the account.
    pub firewalls: Vec<LiveFirewall>,
    /// The keys that were looked for: by fingerprint, or all of the account when none is at hand.
    pub ssh_keys: Vec<LiveSshKey>,
    /// Names of the account's tags that begin with `dewpoint`; empty unless a destroy asked for them.
    pub tags: Vec<String>,
    /// What can be had, and for how much.
    pub catalog: Catalog,
}

/// Limits and state of the account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Id of the team or user whose it is; empty when the API did not say.
    #[serde(default)]
    pub id: String,
    /// How many droplets the account may have at once; 0 when the API did not say.
    pub droplet_limit: u32,
    /// How many volumes; 0 means no limit or not said.
    pub volume_limit: u32,
    /// `active`, `warning` or `locked`.
    pub status: String,
}

/// Where a droplet is in its life, as far as dewpoint tells states apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropletStatus {
    /// Being made.
    New,
    /// Powered on.
    Active,
    /// Powered off.
    Off,
    /// Any other word of the API.
    Other(String),
}

/// A droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveDroplet {
    /// DigitalOcean's id.
    pub id: u64,
    /// Its name, which is also its host name.
    pub name: String,
    /// Where it is in its life.
    pub status: DropletStatus,
    /// Slug of its region.
    pub region: String,
    /// Slug of its size.
    pub size: String,
    /// Id of the image it was made from.
    pub image_id: u64,
    /// Slug of that image, when it is a public one.
    pub image_slug: Option<String>,
    /// Public IPv4 address, once there is one.
    pub public_ipv4: Option<std::net::Ipv4Addr>,
    /// Private IPv4 address, once there is one.
    pub private_ipv4: Option<std::net::Ipv4Addr>,
    /// Ids of the volumes that are attached to it.
    pub volume_ids: Vec<String>,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Id of its VPC, once there is one.
    pub vpc: Option<String>,
    /// When it was made, seconds since 1970.
    pub created_at: i64,
}

/// A block storage volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveVolume {
    /// DigitalOcean's id.
    pub id: String,
    /// Its name, unique in its region.
    pub name: String,
    /// Slug of its region.
    pub region: String,
    /// Its size in GiB.
    pub size_gib: u32,
    /// Ids of the droplets it is attached to: none or one.
    pub droplet_ids: Vec<u64>,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// When it was made, seconds since 1970.
    pub created_at: i64,
}

impl LiveVolume {
    /// The snapshot that is known to hold what the volume holds now.
    #[must_use]
    pub fn current_snapshot<'s>(
        &self,
        snapshots: &'s [LiveVolumeSnapshot],
    ) -> Option<&'s LiveVolumeSnapshot> {
        // Whoever has it may be writing.
        if !self.droplet_ids.is_empty() {
            return None;
        }
        snapshots
            .iter()
            .filter(|snapshot| snapshot.volume_id == self.id)
            .filter(|snapshot| {
                ownership::snap_tags(&snapshot.tags).any(|tag| self.tags.contains(tag))
            })
            .max_by_key(|snapshot| (snapshot.created_at, &snapshot.id))
    }
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveVolumeSnapshot {
    /// DigitalOcean's id.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// Id of the volume it was taken of.
    pub volume_id: String,
    /// Slugs of the regions where copies can be made from it.
    pub regions: Vec<String>,
    /// The size of a copy in GiB.
    pub min_disk_gib: u32,
    /// What it takes, in thousandths of a GB, and is billed for.
    pub size_mb: u64,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// When it was made, seconds since 1970.
    pub created_at: i64,
}

/// A private image: for dewpoint a snapshot of a builder droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveImage {
    /// DigitalOcean's id.
    pub id: u64,
    /// Its name; not unique on DigitalOcean.
    pub name: String,
    /// `available` when droplets can be made from it.
    pub status: String,
    /// Slugs of the regions that hold a copy.
    pub regions: Vec<String>,
    /// Disk in GiB that a droplet needs to be made from it.
    pub min_disk_gib: u32,
    /// What it takes, in thousandths of a GB, and is billed for.
    pub size_mb: u64,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// When it was made, seconds since 1970.
    pub created_at: i64,
}

/// A firewall. Cannot bear tags: it is ours by its exact name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFirewall {
    /// DigitalOcean's id.
    pub id: String,
    /// Its name, unique in the account.
    pub name: String,
    /// Rules for what may come in, normalised and sorted.
    pub inbound: Vec<FirewallRule>,
    /// Rules for what may go out, normalised and sorted.
    pub outbound: Vec<FirewallRule>,
    /// Tags of the droplets it covers, sorted.
    pub tags: Vec<String>,
    /// Droplets it covers by id, sorted.
    pub droplet_ids: Vec<u64>,
}

/// One rule, normalised so that equal meaning is equal value: peers sorted, `all` ports are `0`,
/// icmp has ports `0`, no `action`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct FirewallRule {
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// `22`, `8000-9000`, or `0` for all.
    pub ports: String,
    /// Addresses and networks of the other side, as written, sorted.
    pub addresses: Vec<String>,
    /// Tags of the droplets of the other side, sorted.
    pub tags: Vec<String>,
}

/// An SSH key of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSshKey {
    /// DigitalOcean's id.
    pub id: u64,
    /// Its name; not unique.
    pub name: String,
    /// MD5 fingerprint, colon-separated.
    pub fingerprint: String,
}
