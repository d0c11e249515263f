//! What steps learned that later steps of the plan refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::plan::StepId;

/// A droplet that a step made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MadeDroplet {
    pub(super) id: u64,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) private: Option<Ipv4Addr>,
}

/// What steps learned. Shared by all of them.
#[derive(Debug, Default)]
pub(super) struct Outputs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Creates that were asked for, and whether it is still open what came of them.
    asked: BTreeMap<StepId, bool>,
    droplets: BTreeMap<(StepId, String), MadeDroplet>,
    volumes: BTreeMap<StepId, String>,
    volume_snapshots: BTreeMap<StepId, String>,
    images: BTreeMap<StepId, u64>,
    firewalls: BTreeMap<StepId, String>,
    inventories: BTreeMap<StepId, Arc<(String, String)>>,
    changed_sources: BTreeSet<String>,
    /// Names of droplets that were destroyed.
    destroyed: BTreeSet<String>,
}

impl Outputs {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one insert: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A create is about to be asked for.
    pub(super) fn ask(&self, step: StepId) {
        self.known().asked.insert(step, true);
    }

    /// A create has ended: nothing more will come of it.
    pub(super) fn settle(&self, step: StepId) {
        self.known().asked.insert(step, false);
    }

    /// A create was not asked for after all.
    pub(super) fn forget(&self, step: StepId) {
        self.known().asked.remove(&step);
    }

    /// Whether a create was ever asked for, and if so, whether something may still come of it.
    pub(super) fn asked(&self, step: StepId) -> Option<bool> {
        self.known().asked.get(&step).copied()
    }

    pub(super) fn made_droplet(&self, step: StepId, name: &str, made: MadeDroplet) {
        self.known().droplets.insert((step, name.to_owned()), made);
    }

    pub(super) fn destroyed_droplet(&self, name: &str) {
        self.known().destroyed.insert(name.to_owned());
    }

    /// Whether a droplet of that name was destroyed.
    pub(super) fn is_destroyed(&self, name: &str) -> bool {
        self.known().destroyed.contains(name)
    }

    pub(super) fn droplet(&self, step: StepId, name: &str) -> Option<MadeDroplet> {
        self.known().droplets.get(&(step, name.to_owned())).copied()
    }

    pub(super) fn made_volume(&self, step: StepId, id: String) {
        self.known().volumes.insert(step, id);
    }

    pub(super) fn volume(&self, step: StepId) -> Option<String> {
        self.known().volumes.get(&step).cloned()
    }

    pub(super) fn took_volume_snapshot(&self, step: StepId, id: String) {
        self.known().volume_snapshots.insert(step, id);
    }

    pub(super) fn volume_snapshot(&self, step: StepId) -> Option<String> {
        self.known().volume_snapshots.get(&step).cloned()
    }

    pub(super) fn took_image(&self, step: StepId, id: u64) {
        self.known().images.insert(step, id);
    }

    pub(super) fn image(&self, step: StepId) -> Option<u64> {
        self.known().images.get(&step).copied()
    }

    /// The inventory, and the lines of `/etc/hosts`.
    pub(super) fn gathered(&self, step: StepId, inventory: String, hosts: String) {
        let texts = Arc::new((inventory, hosts));
        self.known().inventories.insert(step, texts);
    }

    pub(super) fn inventory(&self, step: StepId) -> Option<Arc<(String, String)>> {
        self.known().inventories.get(&step).cloned()
    }

    /// Files of a droplet's source were sent or deleted.
    pub(super) fn changed_source(&self, droplet: &str) {
        self.known().changed_sources.insert(droplet.to_owned());
    }

    pub(super) fn is_source_changed(&self, droplet: &str) -> bool {
        self.known().changed_sources.contains(droplet)
    }

    pub(super) fn made_firewall(&self, step: StepId, id: String) {
        self.known().firewalls.insert(step, id);
    }

    pub(super) fn firewall(&self, step: StepId) -> Option<String> {
        self.known().firewalls.get(&step).cloned()
    }
}
