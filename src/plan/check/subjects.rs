//! What the steps of a plan are about, by number, looked up once for all rules.
//!
//! A large plan outgrows the processor's caches: rules that look each droplet up by its name, or go
//! through all steps for a few of them, wait for memory most of the time.

use std::collections::HashMap;

use super::references;
use crate::live::Live;
use crate::plan::Plan;
use crate::plan::step::{
    DropletRef, FirewallRef, ImageRef, Step, StepId, StepKind, VolumeRef, VolumeUse,
};
use crate::shared::Shared;

/// Stands for no number.
const NONE: u32 = u32::MAX;

/// Droplets and volumes of steps and of what exists by numbers, from 0 each, and the steps that few
/// rules ask for.
#[derive(Default)]
pub(super) struct Subjects<'a> {
    /// By step its droplet and its volume.
    by_step: Vec<(u32, u32)>,
    /// By step the number of the first droplet it makes, and of the volume.
    made: Vec<(u32, u32)>,
    known_droplets: HashMap<u64, u32>,
    known_volumes: HashMap<&'a str, u32>,
    /// How many droplets and volumes there are.
    droplets: u32,
    volumes: u32,
    /// Steps on a droplet that no step makes.
    unmade: Vec<StepId>,
    /// Steps that make droplets.
    pub creates: Vec<&'a Step>,
    /// Events of droplets.
    pub events: Vec<&'a Step>,
    /// Steps that decide what volumes there are and who has them.
    pub holdings: Vec<&'a Step>,
    /// Steps that start something in the background.
    pub backgrounds: Vec<&'a Step>,
    /// Steps that end what runs in the background, or must not be while it runs.
    pub ends: Vec<&'a Step>,
    /// Steps that tag or prune snapshots.
    pub snapshots: Vec<&'a Step>,
    /// Steps that touch what exists, or what is found by its name.
    pub touching: Vec<&'a Step>,
    /// Steps that make something, or find it by name and tag.
    pub naming: Vec<&'a Step>,
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
    pub(super) fn of(plan: &'a Plan, live: &'a Live) -> Self {
        let count = plan.steps.len();
        let mut subjects = Self {
            by_step: Vec::with_capacity(count),
            made: vec![(NONE, NONE); count],
            known_droplets: HashMap::with_capacity(live.droplets.len()),
            known_volumes: HashMap::with_capacity(live.volumes.len()),
            ..Self::default()
        };
        for droplet in &live.droplets {
            subjects.known_droplet(droplet.id);
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
        for step in &plan.steps {
            let (droplet, volume, image, firewall) = references(&step.kind);
            let is_known = matches!(droplet, Some(DropletRef::Known { .. }))
                || matches!(volume, Some(VolumeRef::Known { .. }))
                || matches!(image, Some(ImageRef::Id(_)))
                || matches!(firewall, Some(FirewallRef::Known(_)));
            if is_known || touches(&step.kind) {
                subjects.touching.push(step);
            }
            if names(&step.kind) {
                subjects.naming.push(step);
            }
            let droplet = droplet.map_or(NONE, |droplet| subjects.add_droplet(plan, step, droplet));
            let volume = volume.map_or(NONE, |volume| subjects.add_volume(volume));
            subjects.by_step.push((droplet, volume));
            subjects.sort(step);
        }
        subjects
    }

    /// Puts a step where rules look for it.
    fn sort(&mut self, step: &'a Step) {
        match &step.kind {
            StepKind::CreateDroplets { .. } => self.creates.push(step),
            StepKind::PowerOff { .. } | StepKind::TakeSnapshot { .. } => self.events.push(step),
            StepKind::Attach { .. } | StepKind::Detach { .. } => {
                self.events.push(step);
                self.holdings.push(step);
            }
            StepKind::DestroyDroplet { .. } => {
                self.events.push(step);
                self.holdings.push(step);
                self.ends.push(step);
            }
            StepKind::SnapshotVolume { .. }
            | StepKind::CloneVolume { .. }
            | StepKind::DeleteVolume { .. } => self.holdings.push(step),
            StepKind::StopBackground { .. } | StepKind::Unmount { .. } => self.ends.push(step),
            StepKind::Run { run, .. } if run.background.is_some() => self.backgrounds.push(step),
            StepKind::TagSnapshot { .. } | StepKind::Prune { .. } => self.snapshots.push(step),
            _ => {}
        }
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
                if *by == last && (name.is_same(called) || name == called) =>
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
        let mut positions = (from..droplets.len()).chain(0..from);
        let at =
            positions.find(|at| droplets[*at].name.is_same(name) || droplets[*at].name == *name)?;
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
        number(self.by_step[step.0 as usize].0)
    }

    /// The volume that a step works on.
    pub(super) fn volume(&self, step: StepId) -> Option<usize> {
        number(self.by_step[step.0 as usize].1)
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

    /// A volume that exists, or of which a droplet or a step says so.
    pub(super) fn volume_of(&self, id: &str) -> Option<usize> {
        self.known_volumes.get(id).copied().and_then(number)
    }
}

/// Whether a step touches what exists although it does not refer to it.
const fn touches(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::UpdateTags { .. }
            | StepKind::ResizeVolume { .. }
            | StepKind::DeleteVolumeSnapshot { .. }
            | StepKind::Prune { .. }
            | StepKind::UpdateFirewall { .. }
            | StepKind::DeleteSshKey { .. }
            | StepKind::Mount {
                usage: VolumeUse::Own,
                ..
            }
    )
}

/// Whether a step makes something, or finds it by name and tag.
const fn names(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::CreateDroplets { .. }
            | StepKind::DestroyDroplet { .. }
            | StepKind::KeepDroplet { .. }
            | StepKind::SnapshotVolume { .. }
            | StepKind::TagVolume { .. }
            | StepKind::CreateVolume { .. }
            | StepKind::CloneVolume { .. }
            | StepKind::TakeSnapshot { .. }
            | StepKind::CreateFirewall { .. }
            | StepKind::UpdateFirewall { .. }
            | StepKind::CreateSshKey { .. }
            | StepKind::DeleteTags { .. }
    )
}

fn number(number: u32) -> Option<usize> {
    (number != NONE).then_some(number as usize)
}

fn as_number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer droplets than 4 billion")
}
