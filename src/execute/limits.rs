//! Limits: how much goes on at once, each with a name and a reason; and what comes first where there
//! is no room for all: the step with the longest chain of others behind it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Step, StepId, StepKind};

/// What is scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Limit {
    /// Steps that talk to the API. Mostly they wait, and the client bounds the requests
    /// themselves; this bounds what waits for the client.
    Api,
    /// Steps that log in: mostly they wait for a droplet to boot, and what they cost this machine is
    /// bounded where they connect; this bounds what waits for that.
    Logins,
    /// Files on their way to or from droplets: they share one disk and one uplink.
    Transfers,
    /// Commands on droplets: the droplets do the work.
    Commands,
}

impl Limit {
    /// Which limit a step counts against.
    pub(super) const fn of(step: &Step) -> Self {
        match step.kind {
            StepKind::CreateSshKey { .. }
            | StepKind::DeleteSshKey { .. }
            | StepKind::CreateTags { .. }
            | StepKind::DeleteTags { .. }
            | StepKind::CreateFirewall { .. }
            | StepKind::UpdateFirewall { .. }
            | StepKind::DeleteFirewall { .. }
            | StepKind::CreateVolume { .. }
            | StepKind::ResizeVolume { .. }
            | StepKind::DeleteVolume { .. }
            | StepKind::SnapshotVolume { .. }
            | StepKind::CloneVolume { .. }
            | StepKind::TagVolume { .. }
            | StepKind::DeleteVolumeSnapshot { .. }
            | StepKind::UpdateTags { .. }
            | StepKind::CreateDroplets { .. }
            | StepKind::TakeSnapshot { .. }
            | StepKind::TagSnapshot { .. }
            | StepKind::Prune { .. }
            | StepKind::Attach { .. }
            | StepKind::Detach { .. }
            | StepKind::DestroyDroplet { .. }
            | StepKind::KeepDroplet { .. }
            | StepKind::Transfer { .. } => Self::Api,
            StepKind::Connect { .. } => Self::Logins,
            StepKind::Sync { .. } | StepKind::Collect { .. } => Self::Transfers,
            StepKind::Gather { .. }
            | StepKind::Prepare { .. }
            | StepKind::StopBackground { .. }
            | StepKind::Provision { .. }
            | StepKind::PowerOff { .. }
            | StepKind::Mount { .. }
            | StepKind::Unmount { .. }
            | StepKind::Run { .. } => Self::Commands,
        }
    }
}

/// How many steps may run at once, by what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps that talk to the API.
    pub api: usize,
    /// Steps that log in.
    pub logins: usize,
    /// Steps that move files.
    pub transfers: usize,
    /// Steps that run commands on droplets.
    pub commands: usize,
}

impl Limits {
    /// For so many API requests at once: a step waits much longer than its requests take, so
    /// many steps share one.
    #[must_use]
    pub const fn for_parallelism(parallelism: usize) -> Self {
        Self {
            api: parallelism.saturating_mul(64),
            logins: 2_048,
            transfers: 16,
            commands: usize::MAX,
        }
    }

    const fn room(&self, limit: Limit) -> usize {
        let room = match limit {
            Limit::Api => self.api,
            Limit::Logins => self.logins,
            Limit::Transfers => self.transfers,
            Limit::Commands => self.commands,
        };
        // A limit of nothing would be a run that never ends.
        if room == 0 { 1 } else { room }
    }
}

/// Steps that may start, and how many of each sort have.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    /// How long the longest chain is that begins with each step, by its position.
    chains: Vec<u64>,
    ready: BTreeMap<Limit, BTreeSet<Place>>,
    running: BTreeMap<Limit, usize>,
}

/// A step's place: the longest chain first, and of chains as long the plan's order.
type Place = (Reverse<u64>, StepId);

impl Queue {
    /// An empty one, for steps whose chains are so long (see [`crate::plan::schedule::chains`]); a
    /// step that is not among them has none.
    pub(super) const fn new(limits: Limits, chains: Vec<u64>) -> Self {
        Self {
            limits,
            chains,
            ready: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// How long the longest chain is that begins with a step.
    pub(super) fn chain(&self, step: StepId) -> u64 {
        let known = self.chains.get(step.0 as usize);
        known.copied().unwrap_or_default()
    }

    pub(super) fn push(&mut self, step: &Step) {
        let place = (Reverse(self.chain(step.id)), step.id);
        self.ready.entry(Limit::of(step)).or_default().insert(place);
    }

    /// The next step that may start and has room; it counts as running from here on.
    pub(super) fn pop(&mut self) -> Option<StepId> {
        let has_room = |limit: &Limit| {
            let running = self.running.get(limit).copied().unwrap_or_default();
            running < self.limits.room(*limit)
        };
        let firsts = self.ready.iter().filter(|(limit, _)| has_room(limit));
        let firsts = firsts.filter_map(|(limit, ready)| Some((*ready.first()?, *limit)));
        let (place, limit) = firsts.min()?;
        self.ready.get_mut(&limit)?.remove(&place);
        *self.running.entry(limit).or_default() += 1;
        Some(place.1)
    }

    /// Gives back the room of a step.
    pub(super) fn release(&mut self, step: &Step) {
        if let Some(running) = self.running.get_mut(&Limit::of(step)) {
            *running = running.saturating_sub(1);
        }
    }

    /// Takes out every step that has not started, in the plan's order.
    pub(super) fn drain(&mut self) -> BTreeSet<StepId> {
        std::mem::take(&mut self.ready)
            .into_values()
            .flatten()
            .map(|(_, step)| step)
            .collect()
    }
}
