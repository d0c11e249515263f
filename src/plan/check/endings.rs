//! What goes and what stays: the last good snapshot, droplets made for a plan, copies of volumes.

use std::collections::{BTreeMap, BTreeSet};

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
        let destroyed: BTreeSet<DropletKey<'a>> = self
            .steps()
            .filter_map(|step| match &step.kind {
                StepKind::DestroyDroplet { droplet, .. } => Some(DropletKey::of(droplet)),
                _ => None,
            })
            .collect();
        let passing: BTreeSet<&str> = self
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
        let mut holders: BTreeMap<VolumeKey<'a>, Option<DropletKey<'a>>> = BTreeMap::new();
        for volume in &self.live.volumes {
            if !self.owner.in_environment(&volume.tags) || !is_clone(&volume.tags) {
                continue;
            }
            let mut droplets = self.live.droplets.iter();
            let holder = droplets.find(|droplet| {
                droplet.volume_ids.contains(&volume.id) || volume.droplet_ids.contains(&droplet.id)
            });
            let holder = holder.map(|droplet| DropletKey::Known(droplet.id));
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
        for (volume, holder) in holders {
            let destroy = self.steps().find(|step| {
                matches!(&step.kind, StepKind::DestroyDroplet { droplet, .. } if Some(DropletKey::of(droplet)) == holder)
            });
            let delete = self.steps().find(|step| {
                matches!(&step.kind, StepKind::DeleteVolume { volume: of, .. } if VolumeKey::of(of) == volume)
            });
            let made = match volume {
                VolumeKey::Created(step) => Some(step),
                VolumeKey::Known(_) => None,
            };
            // One that no longer mounts it lets go of it before.
            let detach = self.steps().find(|step| {
                matches!(&step.kind, StepKind::Detach { volume: of, droplet, .. } if VolumeKey::of(of) == volume && Some(DropletKey::of(droplet)) == holder)
            });
            match (destroy, delete) {
                (Some(destroy), Some(delete)) => {
                    let is_free = |by: StepId| self.comes_before(by, delete.id, false);
                    let is_let_go = detach.is_some_and(|detach| is_free(detach.id));
                    if !is_let_go && !is_free(destroy.id) {
                        self.wrong(delete.id, "its droplet may still have the clone");
                    }
                }
                (None, None) if holder.is_some() => {}
                (_, None) => self.wrong(made, "a clone of a volume is never deleted"),
                (None, Some(_)) => {}
            }
        }
    }
}
