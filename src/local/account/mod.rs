//! The account of the local cloud: all of its state, and what each request does to it.
//!
//! What comes in: requests as values and the time. What goes out: answers as values, and jobs: work
//! that takes time and is done elsewhere ([`Account::effect`] says what, [`Account::finish`] takes
//! the outcome).
//!
//! **Invariants:** no I/O, no clock and no randomness in here; each event of a droplet that has not
//! ended is exactly one job; ids are never used twice; wire types are this folder's own, never
//! those of the client.

mod actions;
mod droplet_actions;
mod droplet_create;
mod droplets;
mod effects;
mod firewalls;
mod images;
mod jobs;
mod keys;
mod outcomes;
mod pages;
mod routes;
mod tags;
#[cfg(test)]
mod tests;
mod volume_actions;
mod volumes;
mod vpcs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::catalog::{self, Image};
use super::exchange::Millis;
use super::latency::{Latency, Wait};
use super::seam::Tier;
use crate::digest::Digest;

pub use actions::{Action, ActionStatus};
pub use droplets::{Droplet, DropletStatus};
pub use effects::{Effect, Start};
pub use firewalls::Firewall;
pub use jobs::{Job, JobKind};
pub use keys::Key;
pub use outcomes::Done;
pub use tags::Tag;
pub use volumes::{Volume, VolumeSnapshot};
pub use vpcs::Vpc;

/// What an account is set up with; chosen anew each time the service starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How long things take.
    pub latency: Latency,
    /// How many droplets there may be at once.
    pub droplet_limit: u32,
    /// How many volumes; 0 for no limit.
    pub volume_limit: u32,
    /// What droplets are: public images stand for something else in each tier.
    pub tier: Tier,
    /// Whether requests beyond the API's limits are refused; without, none is held back.
    pub rate_limits: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            latency: Latency::FAST,
            droplet_limit: 120,
            volume_limit: 0,
            tier: Tier::Api,
            rate_limits: false,
        }
    }
}

/// All state of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Makes ids and addresses of this account differ from another's.
    seed: String,
    counters: Counters,
    keys: BTreeMap<u64, Key>,
    tags: BTreeMap<String, Tag>,
    droplets: BTreeMap<u64, Droplet>,
    images: BTreeMap<u64, Image>,
    volumes: BTreeMap<String, Volume>,
    volume_snapshots: BTreeMap<String, VolumeSnapshot>,
    firewalls: BTreeMap<String, Firewall>,
    vpcs: BTreeMap<String, Vpc>,
    actions: BTreeMap<u64, Action>,
    jobs: BTreeMap<u64, Job>,
    /// Jobs that nobody has begun to work on.
    #[serde(skip)]
    fresh: Vec<u64>,
    /// When keys were listed lately.
    #[serde(skip)]
    key_lists: VecDeque<Millis>,
    #[serde(skip)]
    config: Config,
    #[serde(skip)]
    public_images: Vec<Image>,
    /// What users of snapshots should know, by image.
    #[serde(skip)]
    image_warnings: BTreeMap<u64, String>,
}

/// The last id of each kind that was given out.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Counters {
    droplet: u64,
    action: u64,
    image: u64,
    key: u64,
    job: u64,
    uuid: u64,
}

impl Counters {
    fn max(&self, other: &Self) -> Self {
        Self {
            droplet: self.droplet.max(other.droplet),
            action: self.action.max(other.action),
            image: self.image.max(other.image),
            key: self.key.max(other.key),
            job: self.job.max(other.job),
            uuid: self.uuid.max(other.uuid),
        }
    }
}

impl Account {
    /// An empty account. `seed` makes its ids and addresses differ from those of another.
    #[must_use]
    pub fn new(seed: &str, config: Config) -> Self {
        let mut account = Self {
            seed: seed.to_owned(),
            // Where DigitalOcean's own ids stood in autumn 2026: nothing must rely on small ids.
            counters: Counters {
                droplet: 540_000_000,
                action: 2_900_000_000,
                image: 210_000_000,
                key: 52_000_000,
                job: 0,
                uuid: 0,
            },
            keys: BTreeMap::new(),
            tags: BTreeMap::new(),
            droplets: BTreeMap::new(),
            images: BTreeMap::new(),
            volumes: BTreeMap::new(),
            volume_snapshots: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            vpcs: BTreeMap::new(),
            actions: BTreeMap::new(),
            jobs: BTreeMap::new(),
            fresh: Vec::new(),
            key_lists: VecDeque::new(),
            config: Config::default(),
            public_images: Vec::new(),
            image_warnings: BTreeMap::new(),
        };
        account.configure(config);
        account
    }

    /// Takes another configuration; also what follows reading an account from its file.
    pub fn configure(&mut self, config: Config) {
        self.public_images = catalog::public_images(config.tier);
        self.config = config;
    }

    /// Brings up to date what changes by time alone.
    pub fn settle(&mut self, now: Millis) {
        for volume in self.volumes.values_mut() {
            if volume.free_at.is_some_and(|at| at <= now) {
                volume.free_at = None;
                volume.droplet = None;
            }
        }
        for firewall in self.firewalls.values_mut() {
            let gone: BTreeSet<u64> = firewall
                .leaving
                .iter()
                .filter(|(_, at)| **at <= now)
                .map(|(droplet, _)| *droplet)
                .collect();
            firewall.leaving.retain(|_, at| *at > now);
            firewall
                .droplet_ids
                .retain(|droplet| !gone.contains(droplet));
        }
        for droplet in self.droplets.values_mut() {
            if let Some((size, disk, at)) = &droplet.resizing
                && *at <= now
            {
                droplet.size.clone_from(size);
                droplet.disk_gib = *disk;
                droplet.resizing = None;
            }
        }
    }

    /// Takes the place of this account with another, whose open jobs begin anew; ids that were given
    /// out here are not given out again.
    pub fn become_other(&mut self, mut other: Self, now: Millis) {
        other.configure(self.config.clone());
        other.counters = other.counters.max(&self.counters);
        other.seed.clone_from(&self.seed);
        *self = other;
        self.resume(now);
    }

    /// How many droplets, volumes and snapshots there are.
    #[must_use]
    pub fn census(&self) -> (usize, usize, usize) {
        (
            self.droplets.len(),
            self.volumes.len(),
            self.images.len() + self.volume_snapshots.len(),
        )
    }

    fn wait(&self, wait: Wait) -> Millis {
        self.config.latency.of(wait)
    }

    /// A UUID that no other resource has.
    fn uuid(&mut self) -> String {
        self.counters.uuid += 1;
        let digest = Digest::of_bytes(format!("{} {}", self.seed, self.counters.uuid).as_bytes());
        let hex = digest.as_str();
        // The marks of version 4, variant 1.
        format!(
            "{}-{}-4{}-a{}-{}",
            &hex[0..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..32]
        )
    }

    /// The loopback address of a droplet: 127.x is the account's, the rest the droplet's own.
    fn public_address(&self, droplet: u64) -> Ipv4Addr {
        let digest = Digest::of_bytes(self.seed.as_bytes());
        let salt = u64::from_str_radix(&digest.as_str()[..4], 16).unwrap_or(0);
        // Not 127.0 (localhost, resolvers) and not 127.1 (Debian's own host name).
        let second = u8::try_from(16 + salt % 224).unwrap_or(16);
        let [third, fourth] = self.host_part(droplet);
        Ipv4Addr::new(127, second, third, fourth)
    }

    fn private_address(&self, droplet: u64) -> Ipv4Addr {
        let [third, fourth] = self.host_part(droplet);
        Ipv4Addr::new(10, 108, third, fourth)
    }

    /// Two octets that no droplet which lives at the same time has.
    fn host_part(&self, droplet: u64) -> [u8; 2] {
        const HOSTS: u64 = 254;
        let taken: BTreeSet<[u8; 2]> = self
            .droplets
            .values()
            .map(|droplet| {
                let octets = droplet.address.octets();
                [octets[2], octets[3]]
            })
            .collect();
        let mut slot = droplet;
        loop {
            let third = u8::try_from(slot / HOSTS % 255).unwrap_or(0);
            let fourth = u8::try_from(1 + slot % HOSTS).unwrap_or(1);
            // As long as there are fewer droplets than addresses, one is found.
            if !taken.contains(&[third, fourth]) || slot > droplet + 64_000 {
                return [third, fourth];
            }
            slot += 1;
        }
    }
}
