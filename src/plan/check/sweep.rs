//! Judges the plan of a sweep: it removes, and only what tags prove to be dewpoint's, when nothing
//! that stays needs it.

use std::collections::BTreeSet;

use super::Violation;
use crate::desired::names;
use crate::live::Live;
use crate::live::claims::{Claim, Lease, claim, environment_of, expiry_of, lease, project_of};
use crate::live::ownership::{self, environment_tag};
use crate::plan::Plan;
use crate::plan::step::{DropletRef, FirewallRef, Step, StepKind, TaggedResource, VolumeRef};

/// What a sweep's plan removes without proof.
pub(super) fn unproven(plan: &Plan, live: &Live) -> Vec<Violation> {
    let destroyed: BTreeSet<u64> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::DestroyDroplet {
                droplet: DropletRef::Known { id, .. },
                ..
            } => Some(*id),
            _ => None,
        })
        .collect();
    let deleted: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::DeleteVolume {
                volume: VolumeRef::Known { id },
                ..
            } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    let pruned: BTreeSet<u64> = plan
        .steps
        .iter()
        .filter_map(|step| match step.kind {
            StepKind::Prune { id, .. } => Some(id),
            _ => None,
        })
        .collect();
    let judge = Judge {
        live,
        destroyed,
        deleted,
        pruned,
    };
    plan.steps
        .iter()
        .filter_map(|step| {
            judge.problem(step).map(|text| Violation {
                step: Some(step.id),
                text,
            })
        })
        .collect()
}

struct Judge<'a> {
    live: &'a Live,
    destroyed: BTreeSet<u64>,
    deleted: BTreeSet<&'a str>,
    pruned: BTreeSet<u64>,
}

impl Judge<'_> {
    fn problem(&self, step: &Step) -> Option<String> {
        let (ok, what) = match &step.kind {
            StepKind::DestroyDroplet {
                droplet: DropletRef::Known { id, name },
                ..
            } => (self.is_droplet_ours(*id), format!("droplet {name}")),
            StepKind::Detach {
                volume: VolumeRef::Known { id },
                droplet: DropletRef::Known { id: droplet, .. },
                ..
            } => (
                self.destroyed.contains(droplet) && self.volume_claim(id, false),
                format!("volume {id}"),
            ),
            StepKind::DeleteVolume {
                volume: VolumeRef::Known { id },
                name,
                ..
            } => (self.volume_claim(id, true), format!("volume {name}")),
            // It gets the expiry of its environment, so that it is found again.
            StepKind::UpdateTags {
                resource: TaggedResource::Volume,
                id,
                add,
                remove,
            } => (
                self.deleted.contains(id.as_str())
                    && remove.is_empty()
                    && add.iter().all(|tag| expiry_of(tag).is_some()),
                format!("volume {id}"),
            ),
            StepKind::DeleteFirewall {
                firewall: FirewallRef::Known(id),
                name,
            } => (self.is_wall_alone(id, name), format!("firewall {name}")),
            StepKind::DeleteSshKey {
                name,
                forget_private_key: false,
                ..
            } => (self.is_key_alone(name), format!("key {name}")),
            StepKind::DeleteTags { names } => {
                let held = names.iter().find(|tag| !self.is_tag_free(tag));
                (
                    held.is_none(),
                    format!("tag {}", held.map_or("", String::as_str)),
                )
            }
            StepKind::Prune { id, name } => {
                let image = self.live.images.iter().find(|image| image.id == *id);
                let ok = image.is_some_and(|image| match claim(&image.tags) {
                    Claim::Owned {
                        project,
                        environment: None,
                    } => names::snapshot_of(project, &image.name).is_some(),
                    _ => false,
                });
                (ok, format!("snapshot {name}"))
            }
            other => return Some(format!("a sweep does not {}", other.title())),
        };
        (!ok).then(|| format!("{what} is not proven to be dewpoint's and over"))
    }

    fn is_droplet_ours(&self, id: u64) -> bool {
        let droplet = self.live.droplets.iter().find(|droplet| droplet.id == id);
        droplet.is_some_and(|droplet| {
            let is_ours = matches!(claim(&droplet.tags), Claim::Owned { .. });
            let is_timed = matches!(lease(&droplet.tags), Lease::Until(_));
            is_ours && (is_timed || droplet.name.contains("-builder."))
        })
    }

    fn volume_claim(&self, id: &str, of_environment: bool) -> bool {
        let volume = self.live.volumes.iter().find(|volume| volume.id == id);
        volume.is_some_and(|volume| match claim(&volume.tags) {
            Claim::Owned { environment, .. } => !of_environment || environment.is_some(),
            _ => false,
        })
    }

    /// Whether nothing that stays bears a tag.
    fn is_free(&self, tag: &String) -> bool {
        let live = self.live;
        let droplets = live.droplets.iter();
        let volumes = live.volumes.iter();
        let images = live.images.iter();
        !droplets
            .filter(|droplet| !self.destroyed.contains(&droplet.id))
            .any(|droplet| droplet.tags.contains(tag))
            && !volumes
                .filter(|volume| !self.deleted.contains(volume.id.as_str()))
                .any(|volume| volume.tags.contains(tag))
            && !images
                .filter(|image| !self.pruned.contains(&image.id))
                .any(|image| image.tags.contains(tag))
    }

    fn is_wall_alone(&self, id: &str, name: &str) -> bool {
        let wall = self.live.firewalls.iter().find(|wall| wall.id == id);
        wall.is_some_and(|wall| {
            let [tag] = wall.tags.as_slice() else {
                return false;
            };
            let is_named = environment_of(tag).is_some_and(|(project, environment)| {
                names::environment(project, environment) == name && wall.name == name
            });
            is_named && self.is_free(tag)
        })
    }

    fn is_key_alone(&self, name: &str) -> bool {
        let live = self.live;
        let mut tags: BTreeSet<String> = live.tags.iter().cloned().collect();
        tags.extend(live.firewalls.iter().flat_map(|wall| wall.tags.clone()));
        let mut same = tags
            .iter()
            .filter_map(|tag| environment_of(tag))
            .filter(|(project, environment)| names::environment(project, environment) == name)
            .peekable();
        same.peek().is_some()
            && same
                .all(|(project, environment)| self.is_free(&environment_tag(project, environment)))
    }

    fn is_tag_free(&self, tag: &String) -> bool {
        let is_dewpoints = tag == ownership::TAG
            || project_of(tag).is_some()
            || environment_of(tag).is_some()
            || ownership::is_tag_of_one(tag);
        is_dewpoints && self.is_free(tag)
    }
}
