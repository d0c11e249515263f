//! Nothing that exists and is not ours is touched.

use std::collections::HashMap;

use super::{Checker, References};
use crate::desired::names;
use crate::live::ownership::{self, Whose, is_environment_tag};
use crate::live::{Live, LiveImage, LiveVolume};
use crate::plan::step::{
    DropletRef, FirewallRef, ImageRef, Step, StepKind, TaggedResource, VolumeRef, VolumeUse,
};
use crate::plan::{Goal, Plan};

/// What exists, by what steps call it.
pub(super) struct Known<'a> {
    volumes: HashMap<&'a str, &'a LiveVolume>,
    images: HashMap<u64, &'a LiveImage>,
    /// Of each name the first in the plan's region.
    named: HashMap<&'a str, &'a LiveVolume>,
    /// The droplet that was judged last, and whether it is ours: many steps are on one.
    judged: Option<(u64, bool)>,
}

impl<'a> Known<'a> {
    pub(super) fn of(plan: &Plan, live: &'a Live) -> Self {
        let mut named: HashMap<&str, &LiveVolume> = HashMap::new();
        let here = live.volumes.iter();
        for volume in here.filter(|volume| volume.region == plan.region) {
            named.entry(&volume.name).or_insert(volume);
        }
        Self {
            volumes: live.volumes.iter().map(|v| (v.id.as_str(), v)).collect(),
            images: live.images.iter().map(|i| (i.id, i)).collect(),
            named,
            judged: None,
        }
    }
}

impl<'a> Checker<'a> {
    pub(super) fn is_not_foreign(
        &mut self,
        step: &'a Step,
        references: References<'a>,
        known: &mut Known<'a>,
    ) {
        let (droplet, volume, _, firewall) = references;
        let tagged = match &step.kind {
            StepKind::UpdateTags { resource, id, .. } => Some((*resource, id.as_str())),
            _ => None,
        };
        let droplet = match (droplet, tagged) {
            (Some(DropletRef::Known { id, .. }), _) => Some(*id),
            (_, Some((TaggedResource::Droplet, id))) => id.parse().ok(),
            _ => None,
        };
        if let Some(id) = droplet {
            let judged = known.judged.filter(|(last, _)| *last == id);
            let ours = judged.map_or_else(
                || {
                    let droplet = match tagged {
                        None => self.subjects.droplet(step.id),
                        Some(_) => self.subjects.droplet_of(id),
                    };
                    let at = droplet.and_then(|droplet| self.subjects.live_droplet(droplet));
                    at.is_some_and(|at| {
                        let droplet = &self.live.droplets[at];
                        let our_name = droplet.name.starts_with(&self.name_prefix);
                        self.owner.droplet(&droplet.tags, our_name) != Whose::Foreign
                    })
                },
                |(_, ours)| ours,
            );
            known.judged = Some((id, ours));
            if !ours {
                self.wrong(step.id, format!("droplet {id} is not ours"));
            }
        }
        let volume = match (&step.kind, volume, tagged) {
            (StepKind::ResizeVolume { id, .. }, _, _) | (_, Some(VolumeRef::Known { id }), _) => {
                Some(id.as_str())
            }
            (_, _, Some((TaggedResource::Volume, id))) => Some(id),
            _ => None,
        };
        // Someone's own may be used; that nobody else has it meanwhile is another rule.
        let is_used = matches!(step.kind, StepKind::Attach { .. } | StepKind::Detach { .. });
        if let Some(id) = volume {
            let ours = known
                .volumes
                .get(id)
                .is_some_and(|volume| is_used || self.is_ours(&volume.tags));
            if !ours {
                self.wrong(step.id, format!("volume {id} is not ours"));
            }
        }
        if let StepKind::DeleteVolumeSnapshot { id, .. } = &step.kind {
            let mut snapshots = self.live.volume_snapshots.iter();
            let snapshot = snapshots.find(|snapshot| snapshot.id == *id);
            if !snapshot.is_some_and(|snapshot| self.is_ours(&snapshot.tags)) {
                self.wrong(step.id, format!("snapshot {id} of a volume is not ours"));
            }
        }
        if let StepKind::Mount {
            volume_name,
            usage: VolumeUse::Own,
            ..
        } = &step.kind
        {
            let found = known.named.get(volume_name.as_str());
            if found.is_some_and(|volume| !self.is_ours(&volume.tags)) {
                let text = format!("volume `{volume_name}` is not ours to format or grow");
                self.wrong(step.id, text);
            }
        }
        let image = match &step.kind {
            StepKind::Prune { id, .. }
            | StepKind::TagSnapshot {
                image: ImageRef::Id(id),
                ..
            }
            | StepKind::Transfer {
                image: ImageRef::Id(id),
                ..
            } => Some(*id),
            _ => None,
        };
        if let Some(id) = image {
            let ours = known.images.get(&id).is_some_and(|image| {
                let our_name = names::snapshot_of(&self.plan.project, &image.name).is_some();
                self.owner.in_project(&image.tags)
                    || (our_name && ownership::is_unclaimed(&image.tags))
            });
            if !ours {
                self.wrong(step.id, format!("image {id} is not ours"));
            }
        }
        self.firewall_and_key_are_ours(step, firewall);
    }

    fn firewall_and_key_are_ours(&mut self, step: &Step, firewall: Option<&FirewallRef>) {
        let wall = match (&step.kind, firewall) {
            (StepKind::UpdateFirewall { id, .. }, _) | (_, Some(FirewallRef::Known(id))) => {
                Some(id)
            }
            _ => None,
        };
        if let Some(id) = wall {
            let ours = self.live.firewalls.iter().any(|wall| {
                wall.id == *id
                    && wall.name == self.name
                    && (wall.tags.contains(&self.owner.environment_tag)
                        || !wall.tags.iter().any(|tag| is_environment_tag(tag)))
            });
            if !ours {
                self.wrong(step.id, format!("firewall {id} is not ours"));
            }
        }
        if let StepKind::DeleteSshKey { name: key, .. } = &step.kind
            && *key != self.name
        {
            self.wrong(step.id, format!("key `{key}` is not ours"));
        }
    }

    /// Whether tags are those of what the environment owns, or the project and no environment; of
    /// all the project's when the plan empties that.
    fn is_ours(&self, tags: &[String]) -> bool {
        let whole_project = self.plan.goal == Goal::DestroyProject;
        self.owner.in_environment(tags)
            || self.owner.in_project_only(tags)
            || (whole_project && self.owner.in_project(tags))
    }
}
