//! What goes and what stays: the last good snapshot, droplets made for a plan, copies of volumes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Checker, DropletKey, VolumeKey};
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
        let pruned: BTreeSet<u64> = self
            .steps()
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
        for step in self.steps() {
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
        for step in self.steps() {
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

    pub(super) fn ephemeral_droplets_go(&mut self) {
        let destroyed: HashSet<DropletKey<'a>> = self
            .steps()
            .filter_map(|step| match &step.kind {
                StepKind::DestroyDroplet { droplet, .. } => Some(DropletKey::of(droplet)),
                _ => None,
            })
            .collect();
        let passing: HashSet<&str> = self
            .plan
            .activities
            .iter()
            .filter(|activity| activity.single_use)
            .map(|activity| activity.name.as_str())
            .collect();
        let test = self.plan.goal == Goal::Test;
        for step in self.steps() {
            let StepKind::CreateDroplets { droplets, .. } = &step.kind else {
                continue;
            };
            for droplet in droplets {
                let is_builder =
                    matches!(droplet.address, Address::Snapshot(_) | Address::Volume(_));
                let must_go = test || is_builder || passing.contains(droplet.name.as_str());
                let key = DropletKey::Created(step.id, &droplet.name);
                if must_go && !destroyed.contains(&key) {
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
                if ours && !destroyed.contains(&DropletKey::Known(droplet.id)) {
                    self.wrong(None, format!("droplet {} is never destroyed", droplet.name));
                }
            }
        }
    }

    /// A throw-away copy of a volume goes after its droplet, and none is without one.
    pub(super) fn clones_go_with_their_droplets(&mut self) {
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
        let mut holders: BTreeMap<VolumeKey<'a>, Option<DropletKey<'a>>> = BTreeMap::new();
        for volume in &self.live.volumes {
            if !self.owner.in_environment(&volume.tags) || !is_clone(&volume.tags) {
                continue;
            }
            let by_droplets = has.get(volume.id.as_str()).copied();
            let by_volume = volume.droplet_ids.iter();
            let by_volume = by_volume.filter_map(|id| positions.get(id).copied());
            // Either side may lag behind: of those that either names the first.
            let holder = by_droplets.into_iter().chain(by_volume).min();
            let holder = holder.map(|at| DropletKey::Known(self.live.droplets[at].id));
            holders.insert(VolumeKey::Known(&volume.id), holder);
        }
        for step in self.steps() {
            match &step.kind {
                StepKind::CloneVolume { .. } => {
                    holders.insert(VolumeKey::Created(step.id), None);
                }
                StepKind::Attach {
                    volume, droplet, ..
                } => {
                    if let Some(holder) = holders.get_mut(&VolumeKey::of(volume)) {
                        *holder = Some(DropletKey::of(droplet));
                    }
                }
                _ => {}
            }
        }
        let ends = Ends::of(self);
        for (volume, holder) in holders {
            let destroy = holder.and_then(|holder| ends.destroys.get(&holder).copied());
            let delete = ends.deletes.get(&volume).copied();
            let made = match volume {
                VolumeKey::Created(step) => Some(step),
                VolumeKey::Known(_) => None,
            };
            // One that no longer mounts it lets go of it before.
            let detach = holder.and_then(|holder| ends.detaches.get(&(volume, holder)).copied());
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
struct Ends<'a> {
    destroys: HashMap<DropletKey<'a>, StepId>,
    deletes: HashMap<VolumeKey<'a>, StepId>,
    detaches: HashMap<(VolumeKey<'a>, DropletKey<'a>), StepId>,
}

impl<'a> Ends<'a> {
    fn of(checker: &Checker<'a>) -> Self {
        let mut ends = Self {
            destroys: HashMap::new(),
            deletes: HashMap::new(),
            detaches: HashMap::new(),
        };
        for step in checker.steps() {
            match &step.kind {
                StepKind::DestroyDroplet { droplet, .. } => {
                    let key = DropletKey::of(droplet);
                    ends.destroys.entry(key).or_insert(step.id);
                }
                StepKind::DeleteVolume { volume, .. } => {
                    let key = VolumeKey::of(volume);
                    ends.deletes.entry(key).or_insert(step.id);
                }
                StepKind::Detach {
                    volume, droplet, ..
                } => {
                    let key = (VolumeKey::of(volume), DropletKey::of(droplet));
                    ends.detaches.entry(key).or_insert(step.id);
                }
                _ => {}
            }
        }
        ends
    }
}
