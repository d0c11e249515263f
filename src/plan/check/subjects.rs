//! What the steps of a plan are about, by number, looked up once for all rules.
//!
//! A large plan outgrows the processor's caches: rules that look each droplet up by its name, or go
//! through all steps for a few of them, wait for memory most of the time.

use std::collections::HashMap;

use super::References;
use crate::live::Live;
use crate::plan::Plan;
use crate::plan::step::{DropletRef, RunSpec, Step, StepId, StepKind, VolumeRef, position_of};
use crate::shared::Shared;

/// Stands for no number.
const NONE: u32 = u32::MAX;

/// What the rules ask of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    CreateDroplets,
    CreateFirewall,
    CreateVolume,
    CloneVolume,
    SnapshotVolume,
    DeleteVolume,
    Attach,
    Detach,
    Unmount,
    Gather,
    /// A run, in the background or not.
    Run,
    StopBackground,
    PowerOff,
    TakeSnapshot,
    DestroyDroplet,
    KeepDroplet,
    /// Tags or prunes a snapshot.
    Snapshots,
    Other,
}

impl Class {
    pub(super) const fn of(kind: &StepKind) -> Self {
        match kind {
            StepKind::CreateDroplets { .. } => Self::CreateDroplets,
            StepKind::CreateFirewall { .. } => Self::CreateFirewall,
            StepKind::CreateVolume { .. } => Self::CreateVolume,
            StepKind::CloneVolume { .. } => Self::CloneVolume,
            StepKind::SnapshotVolume { .. } => Self::SnapshotVolume,
            StepKind::DeleteVolume { .. } => Self::DeleteVolume,
            StepKind::Attach { .. } => Self::Attach,
            StepKind::Detach { .. } => Self::Detach,
            StepKind::Unmount { .. } => Self::Unmount,
            StepKind::Gather { .. } => Self::Gather,
            StepKind::StopBackground { .. } => Self::StopBackground,
            StepKind::PowerOff { .. } => Self::PowerOff,
            StepKind::TakeSnapshot { .. } => Self::TakeSnapshot,
            StepKind::DestroyDroplet { .. } => Self::DestroyDroplet,
            StepKind::KeepDroplet { .. } => Self::KeepDroplet,
            StepKind::TagSnapshot { .. } | StepKind::Prune { .. } => Self::Snapshots,
            StepKind::Run { .. } => Self::Run,
            _ => Self::Other,
        }
    }
}

/// What is known of a step.
#[derive(Clone, Copy)]
struct Fact {
    class: Class,
    droplet: u32,
    volume: u32,
}

/// Droplets and volumes of steps and of what exists by numbers, from 0 each, and the steps that few
/// rules ask for.
#[derive(Default)]
pub(super) struct Subjects<'a> {
    /// By step.
    facts: Vec<Fact>,
    /// By step the number of the first droplet it makes, and of the volume.
    made: Vec<(u32, u32)>,
    known_droplets: HashMap<u64, u32>,
    known_volumes: HashMap<&'a str, u32>,
    /// By a droplet's number its position among those that exist.
    live_droplets: Vec<u32>,
    /// How many droplets and volumes there are.
    droplets: u32,
    volumes: u32,
    /// Steps on a droplet that no step makes.
    unmade: Vec<StepId>,
    /// Steps that make droplets.
    pub creates: Vec<&'a Step>,
    /// Events of droplets.
    pub events: Vec<StepId>,
    /// Steps that decide what volumes there are and who has them.
    pub holdings: Vec<StepId>,
    /// Steps that run something, and what.
    pub runs: Vec<(StepId, &'a RunSpec)>,
    /// Steps that end what runs in the background, or must not be while it runs.
    pub ends: Vec<StepId>,
    /// Steps that tag or prune snapshots.
    pub snapshots: Vec<&'a Step>,
    /// The droplet that was looked up last: the next step mostly is about it, too.
    last: Last<'a>,
}

/// A droplet that was looked up, and its number.
#[derive(Default, Clone, Copy)]
enum Last<'a> {
    #[default]
    None,
    Known(u64, u32),
    /// The step that makes it, its name and its position there.
    Created(StepId, &'a Shared<str>, usize, u32),
}

impl<'a> Subjects<'a> {
    /// Of what exists, before any step was noted.
    pub(super) fn new(plan: &'a Plan, live: &'a Live) -> Self {
        let count = plan.steps.len();
        let mut subjects = Self {
            facts: Vec::with_capacity(count),
            made: vec![(NONE, NONE); count],
            known_droplets: HashMap::with_capacity(live.droplets.len()),
            known_volumes: HashMap::with_capacity(live.volumes.len()),
            ..Self::default()
        };
        subjects.live_droplets.reserve(live.droplets.len());
        for (position, droplet) in live.droplets.iter().enumerate() {
            // Those that exist have the first numbers, in their order, but for one that is listed twice.
            let number = subjects.known_droplet(droplet.id) as usize;
            if number == subjects.live_droplets.len() {
                subjects.live_droplets.push(as_number(position));
            }
            for volume in &droplet.volume_ids {
                subjects.known_volume(volume);
            }
        }
        for volume in &live.volumes {
            subjects.known_volume(&volume.id);
            for &droplet in &volume.droplet_ids {
                subjects.known_droplet(droplet);
            }
        }
        subjects
    }

    /// Takes note of the next step.
    pub(super) fn note(&mut self, plan: &'a Plan, step: &'a Step, references: References<'a>) {
        let (droplet, volume, _, _) = references;
        let droplet = droplet.map_or(NONE, |droplet| self.add_droplet(plan, step, droplet));
        let volume = volume.map_or(NONE, |volume| self.add_volume(volume));
        let class = Class::of(&step.kind);
        self.facts.push(Fact {
            class,
            droplet,
            volume,
        });
        if let StepKind::Run { run, .. } = &step.kind {
            self.runs.push((step.id, &**run));
        }
        match class {
            Class::CreateDroplets => self.creates.push(step),
            Class::PowerOff | Class::TakeSnapshot => self.events.push(step.id),
            Class::Attach | Class::Detach => {
                self.events.push(step.id);
                self.holdings.push(step.id);
            }
            Class::DestroyDroplet => {
                self.events.push(step.id);
                self.holdings.push(step.id);
                self.ends.push(step.id);
            }
            Class::SnapshotVolume | Class::CloneVolume | Class::DeleteVolume => {
                self.holdings.push(step.id);
            }
            Class::StopBackground | Class::Unmount => self.ends.push(step.id),
            Class::Snapshots => self.snapshots.push(step),
            _ => {}
        }
    }

    /// The steps that were noted.
    pub(super) fn all(&self) -> impl Iterator<Item = StepId> + use<> {
        (0..as_number(self.facts.len())).map(StepId)
    }

    /// What a step is, if it was noted.
    pub(super) fn class(&self, step: StepId) -> Option<Class> {
        Some(self.facts.get(step.0 as usize)?.class)
    }

    fn add_droplet(&mut self, plan: &'a Plan, step: &Step, droplet: &'a DropletRef) -> u32 {
        match (droplet, self.last) {
            (DropletRef::Known { id, .. }, Last::Known(last, number)) if *id == last => number,
            (DropletRef::Known { id, .. }, _) => {
                let number = self.known_droplet(*id);
                self.last = Last::Known(*id, number);
                number
            }
            (DropletRef::Created { step: by, name }, Last::Created(last, called, _, number))
                if *by == last && name.is_same(called) =>
            {
                number
            }
            (DropletRef::Created { step: by, name }, last) => {
                // Of one step the next one mostly comes next.
                let from = match last {
                    Last::Created(last, _, at, _) if last == *by => at,
                    _ => 0,
                };
                if let Some((number, at)) = self.created_droplet(plan, *by, name, from) {
                    self.last = Last::Created(*by, name, at, number);
                    return number;
                }
                self.unmade.push(step.id);
                self.droplets += 1;
                self.droplets - 1
            }
        }
    }

    /// The number of a droplet that a step makes, and its position there.
    fn created_droplet(
        &mut self,
        plan: &Plan,
        by: StepId,
        name: &Shared<str>,
        from: usize,
    ) -> Option<(u32, usize)> {
        let StepKind::CreateDroplets { droplets, .. } = &plan.step(by)?.kind else {
            return None;
        };
        let at = position_of(droplets, name, from)?;
        let (first, _) = &mut self.made[by.0 as usize];
        if *first == NONE {
            *first = self.droplets;
            self.droplets += as_number(droplets.len());
        }
        Some((*first + as_number(at), at))
    }

    fn add_volume(&mut self, volume: &'a VolumeRef) -> u32 {
        match volume {
            VolumeRef::Known { id } => self.known_volume(id),
            VolumeRef::Created { step } => {
                let mut made = self.made.get_mut(step.0 as usize);
                if let Some((_, number)) = &mut made
                    && *number != NONE
                {
                    return *number;
                }
                let number = self.volumes;
                self.volumes += 1;
                // That a step is not there is told by another rule.
                if let Some((_, made)) = made {
                    *made = number;
                }
                number
            }
        }
    }

    fn known_droplet(&mut self, id: u64) -> u32 {
        *self.known_droplets.entry(id).or_insert_with(|| {
            self.droplets += 1;
            self.droplets - 1
        })
    }

    fn known_volume(&mut self, id: &'a str) -> u32 {
        *self.known_volumes.entry(id).or_insert_with(|| {
            self.volumes += 1;
            self.volumes - 1
        })
    }

    /// Whether a step is on a droplet that no step makes.
    pub(super) fn is_on_unmade(&self, step: StepId) -> bool {
        self.unmade.binary_search(&step).is_ok()
    }

    pub(super) fn droplets(&self) -> usize {
        self.droplets as usize
    }

    pub(super) fn volumes(&self) -> usize {
        self.volumes as usize
    }

    /// The droplet that a step works on.
    pub(super) fn droplet(&self, step: StepId) -> Option<usize> {
        number(self.facts[step.0 as usize].droplet)
    }

    /// The volume that a step works on.
    pub(super) fn volume(&self, step: StepId) -> Option<usize> {
        number(self.facts[step.0 as usize].volume)
    }

    /// The first of the droplets that a step makes, if others work on any of them.
    pub(super) fn made_droplet(&self, step: StepId) -> Option<usize> {
        number(self.made[step.0 as usize].0)
    }

    /// The volume that a step makes, if others work on it.
    pub(super) fn made_volume(&self, step: StepId) -> Option<usize> {
        number(self.made[step.0 as usize].1)
    }

    /// A droplet that exists, or of which a volume or a step says so.
    pub(super) fn droplet_of(&self, id: u64) -> Option<usize> {
        self.known_droplets.get(&id).copied().and_then(number)
    }

    /// The position, among the droplets that exist, of one.
    pub(super) fn live_droplet(&self, droplet: usize) -> Option<usize> {
        self.live_droplets.get(droplet).map(|at| *at as usize)
    }

    /// A volume that exists, or of which a droplet or a step says so.
    pub(super) fn volume_of(&self, id: &str) -> Option<usize> {
        self.known_volumes.get(id).copied().and_then(number)
    }
}

fn number(number: u32) -> Option<usize> {
    (number != NONE).then_some(number as usize)
}

fn as_number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer droplets than 4 billion")
}
