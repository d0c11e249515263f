//! What goes and what stays: the last good snapshot, droplets made for a plan, copies of volumes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Checker;
use super::subjects::{Class, Subjects};
use crate::address::Address;
use crate::desired::names;
use crate::live::LiveImage;
use crate::live::ownership::{self, is_clone};
use crate::plan::Goal;
use crate::plan::step::{ImageRef, StepId, StepKind};

impl<'a> Checker<'a> {
    pub(super) fn a_good_snapshot_is_left(&mut self) {
        if self.plan.goal == Goal::DestroyProject {
            return;
        }
        let steps = std::mem::take(&mut self.subjects.snapshots);
        let pruned: BTreeSet<u64> = steps
            .iter()
            .filter_map(|step| match step.kind {
                StepKind::Prune { id, .. } => Some(id),
                _ => None,
            })
            .collect();
        let lineage =
            |name: &str| names::snapshot_of(&self.plan.project, name).map(ToOwned::to_owned);
        fn called(image: &LiveImage) -> &str {
            ownership::called(&image.name, &image.tags)
        }
        let left: BTreeSet<String> = self
            .live
            .images
            .iter()
            .filter(|image| image.status == "available" && self.owner.in_project(&image.tags))
            .filter(|image| !pruned.contains(&image.id))
            .filter_map(|image| lineage(called(image)))
            .collect();
        // What is tagged in this plan, by the name it stands for.
        let mut tagged: BTreeMap<String, StepId> = BTreeMap::new();
        for step in &steps {
            let StepKind::TagSnapshot { image, .. } = &step.kind else {
                continue;
            };
            let name = match image {
                ImageRef::Taken(take) => match self.plan.step(*take).map(|take| &take.kind) {
                    Some(StepKind::TakeSnapshot { name, .. }) => Some(name.as_str()),
                    _ => None,
                },
                ImageRef::Id(id) => {
                    let image = self.live.images.iter().find(|image| image.id == *id);
                    image.map(called)
                }
                ImageRef::Slug(_) => None,
            };
            if let Some(name) = name.and_then(lineage) {
                tagged.insert(name, step.id);
            }
        }
        for step in &steps {
            let StepKind::Prune { id, name } = &step.kind else {
                continue;
            };
            let image = self.live.images.iter().find(|image| image.id == *id);
            let Some(lineage) = lineage(image.map_or(name, called)) else {
                continue;
            };
            let replaced = tagged
                .get(&lineage)
                .is_some_and(|tag| self.comes_before(*tag, step.id, true));
            if !replaced && !left.contains(&lineage) {
                self.wrong(
                    step.id,
                    format!("it could remove the last good snapshot of {lineage}"),
                );
            }
        }
    }

    pub(super) fn ephemeral_droplets_go(&mut self, gone: &Gone) {
        let is_destroyed = |droplet: Option<usize>| {
            droplet.is_some_and(|droplet| gone.destroys[droplet].is_some())
        };
        let passing: HashSet<&str> = self
            .plan
            .activities
            .iter()
            .filter(|activity| activity.single_use)
            .map(|activity| activity.name.as_str())
            .collect();
        let test = self.plan.goal == Goal::Test;
        for step in std::mem::take(&mut self.subjects.creates) {
            let StepKind::CreateDroplets { droplets, .. } = &step.kind else {
                continue;
            };
            let first = self.subjects.made_droplet(step.id);
            for (position, droplet) in droplets.iter().enumerate() {
                let is_builder =
                    matches!(droplet.address, Address::Snapshot(_) | Address::Volume(_));
                let must_go = test || is_builder || passing.contains(droplet.name.as_str());
                if must_go && !is_destroyed(first.map(|first| first + position)) {
                    self.wrong(
                        step.id,
                        format!("droplet {} is never destroyed", droplet.name),
                    );
                }
            }
        }
        if test {
            for droplet in &self.live.droplets {
                let ours = self.owner.in_environment(&droplet.tags);
                if ours && !is_destroyed(self.subjects.droplet_of(droplet.id)) {
                    self.wrong(None, format!("droplet {} is never destroyed", droplet.name));
                }
            }
        }
    }

    /// A throw-away copy of a volume goes after its droplet, and none is without one.
    pub(super) fn clones_go_with_their_droplets(&mut self, gone: &Gone) {
        if self.plan.goal == Goal::Run {
            return;
        }
        let mut positions: HashMap<u64, usize> = HashMap::new();
        let mut has: HashMap<&str, usize> = HashMap::new();
        for (at, droplet) in self.live.droplets.iter().enumerate() {
            positions.entry(droplet.id).or_insert(at);
            for volume in &droplet.volume_ids {
                has.entry(volume).or_insert(at);
            }
        }
        // Copies that exist, by their ids, then those that are made: with the step that makes them,
        // their numbers, and who has them.
        let mut copies: Vec<(Option<StepId>, Option<usize>)> = Vec::new();
        let mut holders: Vec<Option<usize>> = vec![None; self.subjects.volumes()];
        let mut known: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        for volume in &self.live.volumes {
            if !self.owner.in_environment(&volume.tags) || !is_clone(&volume.tags) {
                continue;
            }
            let by_droplets = has.get(volume.id.as_str()).copied();
            let by_volume = volume.droplet_ids.iter();
            let by_volume = by_volume.filter_map(|id| positions.get(id).copied());
            // Either side may lag behind: of those that either names the first.
            let holder = by_droplets.into_iter().chain(by_volume).min();
            let holder = holder.map(|at| self.live.droplets[at].id);
            let holder = holder.and_then(|id| self.subjects.droplet_of(id));
            known.insert(&volume.id, holder);
        }
        let mut is_copy = vec![false; self.subjects.volumes()];
        for (id, holder) in known {
            let number = self.subjects.volume_of(id);
            copies.push((None, number));
            if let Some(number) = number {
                (is_copy[number], holders[number]) = (true, holder);
            }
        }
        for &step in &self.subjects.holdings {
            match self.subjects.class(step) {
                Some(Class::CloneVolume) => {
                    let number = self.subjects.made_volume(step);
                    copies.push((Some(step), number));
                    if let Some(number) = number {
                        (is_copy[number], holders[number]) = (true, None);
                    }
                }
                Some(Class::Attach) => {
                    if let Some(volume) = self.subjects.volume(step)
                        && is_copy[volume]
                    {
                        holders[volume] = self.subjects.droplet(step);
                    }
                }
                _ => {}
            }
        }
        for (made, copy) in copies {
            let holder = copy.and_then(|copy| holders[copy]);
            let destroy = holder.and_then(|holder| gone.destroys[holder]);
            let delete = copy.and_then(|copy| gone.deletes[copy]);
            // One that no longer mounts it lets go of it before.
            let detach = copy
                .zip(holder)
                .and_then(|pair| gone.detaches.get(&pair).copied());
            match (destroy, delete) {
                (Some(destroy), Some(delete)) => {
                    let is_free = |by: StepId| self.comes_before(by, delete, false);
                    if !detach.is_some_and(is_free) && !is_free(destroy) {
                        self.wrong(delete, "its droplet may still have the clone");
                    }
                }
                (None, None) if holder.is_some() => {}
                (_, None) => self.wrong(made, "a clone of a volume is never deleted"),
                (None, Some(_)) => {}
            }
        }
    }
}

/// The first step that destroys each droplet, deletes each volume, takes it from each droplet.
pub(super) struct Gone {
    destroys: Vec<Option<StepId>>,
    deletes: Vec<Option<StepId>>,
    detaches: HashMap<(usize, usize), StepId>,
}

impl Gone {
    pub(super) fn of(subjects: &Subjects<'_>) -> Self {
        let mut gone = Self {
            destroys: vec![None; subjects.droplets()],
            deletes: vec![None; subjects.volumes()],
            detaches: HashMap::new(),
        };
        for &step in &subjects.holdings {
            let (droplet, volume) = (subjects.droplet(step), subjects.volume(step));
            match (subjects.class(step), droplet, volume) {
                (Some(Class::DestroyDroplet), Some(droplet), _) => {
                    gone.destroys[droplet].get_or_insert(step);
                }
                (Some(Class::DeleteVolume), _, Some(volume)) => {
                    gone.deletes[volume].get_or_insert(step);
                }
                (Some(Class::Detach), Some(droplet), Some(volume)) => {
                    gone.detaches.entry((volume, droplet)).or_insert(step);
                }
                _ => {}
            }
        }
        gone
    }
}
