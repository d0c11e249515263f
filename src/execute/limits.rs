//! Limits: how much goes on at once, each with a name and a reason. They pick no order: what is
//! ready starts in the plan's order.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Step, StepId, StepKind};

/// What is scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Limit {
    /// Steps that talk to the API. Mostly they wait, and the client bounds the requests
    /// themselves; this bounds what waits for the client.
    Api,
    /// SSH handshakes: each costs this machine a file descriptor and some milliseconds of
    /// arithmetic, and a hundred at once make each other miss their deadlines.
    Handshakes,
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
            StepKind::Connect { .. } => Self::Handshakes,
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
    /// Steps that connect.
    pub handshakes: usize,
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
            handshakes: 64,
            transfers: 16,
            commands: usize::MAX,
        }
    }

    const fn room(&self, limit: Limit) -> usize {
        let room = match limit {
            Limit::Api => self.api,
            Limit::Handshakes => self.handshakes,
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
    ready: BTreeMap<Limit, BTreeSet<StepId>>,
    running: BTreeMap<Limit, usize>,
}

impl Queue {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            ready: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    pub(super) fn push(&mut self, step: &Step) {
        self.ready
            .entry(Limit::of(step))
            .or_default()
            .insert(step.id);
    }

    /// The next step that may start and has room; it counts as running from here on.
    pub(super) fn pop(&mut self) -> Option<StepId> {
        for (limit, ready) in &mut self.ready {
            let running = self.running.entry(*limit).or_default();
            if *running < self.limits.room(*limit)
                && let Some(step) = ready.pop_first()
            {
                *running += 1;
                return Some(step);
            }
        }
        None
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
            .collect()
    }
}
