//! `destroy`: the plan to nothing, from what exists alone.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Draft, because, empty_tags, streamed};
use super::change::{Action, Cause};
use super::compare::{firewall, lost};
use super::cost::{self, Kept, Up};
use super::error::{Refusal, RefusalKind, Refusals};
use super::graph::Graph;
use super::planner::TEST;
use super::step::{DeletedVolume, FirewallRef, StepId, StepKind, VolumeRef};
use super::{Goal, Plan, protect};
use crate::address::Address;
use crate::desired::{Desired, Scope, names};
use crate::live::ownership::{self, Whose};
use crate::live::{Live, LiveDroplet, LiveImage, LiveVolume, LiveVolumeSnapshot};
use crate::manifest::schema::Scope as VolumeScope;
use crate::units::Gib;

pub(super) fn destroy(
    scope: &Scope,
    live: &Live,
    whole_project: bool,
    unprotect: &[Address],
) -> Result<Plan, Refusals> {
    let goal = if whole_project {
        Goal::DestroyProject
    } else {
        Goal::Destroy
    };
    let mut draft = Draft::new(scope, live, goal);
    let command = if whole_project {
        "`destroy --project` empties the project"
    } else {
        "`destroy` empties the environment"
    };
    let (droplets, siblings) = sorted_droplets(scope, live, &draft);
    if whole_project && !siblings.is_empty() {
        refuse_siblings(&siblings, &mut draft);
    }
    let (doomed, kept_volumes) = sorted_volumes(live, whole_project, &draft);
    let doomed_ids: BTreeSet<&str> = doomed.iter().map(|volume| volume.id.as_str()).collect();

    let mut removed: BTreeMap<u64, StepId> = BTreeMap::new();
    for (droplet, whose) in &droplets {
        let address = droplet_address(scope, droplet);
        let step = draft.draw_removal(droplet, &address, None, |volume| {
            doomed_ids.contains(volume.id.as_str())
        });
        removed.insert(droplet.id, step);
        let reasons = if *whose == Whose::Ghost {
            because(
                Cause::Leftover,
                "it bears our name and no tags: an earlier destroy is under way, or failed",
            )
        } else {
            because(Cause::Command, command)
        };
        let fields = vec![lost("size", &droplet.size)];
        draft.change(
            &address,
            &droplet.name,
            Some(droplet.id.to_string()),
            Action::Delete,
            reasons,
            fields,
        );
    }
    destroy_volumes(scope, &doomed, &removed, command, &mut draft);
    let mut kept = Kept::default();
    destroy_volume_snapshots(scope, live, whole_project, command, &mut draft, &mut kept);
    for volume in &kept_volumes {
        kept.volumes.push(Gib(volume.size_gib));
        draft.change(
            &volume_address(scope, &volume.name),
            &volume.name,
            Some(volume.id.clone()),
            Action::Keep,
            because(
                Cause::Command,
                "the project's: `destroy --project` removes it",
            ),
            Vec::new(),
        );
    }
    let kept_images = destroy_images(scope, live, whole_project, command, &mut draft, &mut kept);
    destroy_access(scope, live, command, &mut draft);
    let something_stays = !kept_volumes.is_empty() || kept_images > 0;
    let tags = empty_tags(&live.tags, &draft.owner, something_stays, whole_project);
    draft.draw_tag_removal(&tags, false);
    protect::check(&scope.protect, unprotect, &mut draft);
    draft.finish(streamed(scope), &Up::default(), &kept)
}

/// Droplets of the environment and ghosts of its names; and those of the project's others.
fn sorted_droplets<'a>(
    scope: &Scope,
    live: &'a Live,
    draft: &Draft<'_>,
) -> (Vec<(&'a LiveDroplet, Whose)>, Vec<&'a LiveDroplet>) {
    let builders: BTreeSet<String> = scope
        .snapshots
        .iter()
        .map(|name| names::builder(&scope.project, &scope.environment, name))
        .chain(scope.volumes.values().filter_map(|address| match address {
            Address::Volume(name) => {
                Some(names::populator(&scope.project, &scope.environment, name))
            }
            _ => None,
        }))
        .collect();
    let mut ours = Vec::new();
    let mut siblings = Vec::new();
    for droplet in &live.droplets {
        let our_name =
            scope.droplets.contains_key(&droplet.name) || builders.contains(&droplet.name);
        match draft.owner.droplet(&droplet.tags, our_name) {
            Whose::Foreign if draft.owner.in_project(&droplet.tags) => siblings.push(droplet),
            Whose::Foreign => {}
            whose => ours.push((droplet, whose)),
        }
    }
    ours.sort_by(|(a, _), (b, _)| (&a.name, a.id).cmp(&(&b.name, b.id)));
    siblings.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    (ours, siblings)
}

fn refuse_siblings(siblings: &[&LiveDroplet], draft: &mut Draft<'_>) {
    let names: Vec<String> = siblings
        .iter()
        .map(|droplet| {
            let tag = draft.owner.other_environment(&droplet.tags);
            let environment = tag.and_then(|tag| tag.rsplit(':').next());
            match environment {
                Some(environment) => format!("{} (environment {environment})", droplet.name),
                None => droplet.name.clone(),
            }
        })
        .collect();
    draft.refusals.push(Refusal {
        address: None,
        kind: RefusalKind::InUse,
        reason: format!(
            "other environments of the project have droplets: {}",
            names.join(", ")
        ),
        help: "destroy those environments first, each with `destroy --env NAME`".to_owned(),
    });
}

/// Volumes that go, and volumes of the project that stay.
fn sorted_volumes<'a>(
    live: &'a Live,
    whole_project: bool,
    draft: &Draft<'_>,
) -> (Vec<&'a LiveVolume>, Vec<&'a LiveVolume>) {
    let mut doomed = Vec::new();
    let mut kept = Vec::new();
    for volume in &live.volumes {
        if draft.owner.in_environment(&volume.tags)
            || (whole_project && draft.owner.in_project(&volume.tags))
        {
            doomed.push(volume);
        } else if draft.owner.in_project_only(&volume.tags) {
            kept.push(volume);
        }
    }
    for volumes in [&mut doomed, &mut kept] {
        volumes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    }
    (doomed, kept)
}

fn destroy_volumes<'a>(
    scope: &Scope,
    doomed: &[&'a LiveVolume],
    removed: &BTreeMap<u64, StepId>,
    command: &str,
    draft: &mut Draft<'a>,
) {
    for &volume in doomed {
        let address = volume_address(scope, &volume.name);
        let mut first = Vec::new();
        let holders: BTreeSet<u64> = draft
            .attached
            .droplets
            .get(volume.id.as_str())
            .cloned()
            .unwrap_or_default();
        for holder in holders {
            if let Some(&step) = removed.get(&holder) {
                first.push(step);
            } else {
                draft.refusals.push(Refusal {
                    address: Some(address.clone()),
                    kind: RefusalKind::AttachedElsewhere,
                    reason: draft.held_by(holder).0,
                    help: draft.held_by(holder).1,
                });
            }
        }
        draft.draw_volume_removal(volume, &address, &first);
        draft.change_volume_removal(volume, &address, Cause::Command, command);
    }
}

/// Snapshots of volumes: of the environment's, or of all of the project.
fn destroy_volume_snapshots<'a>(
    scope: &Scope,
    live: &'a Live,
    whole_project: bool,
    command: &str,
    draft: &mut Draft<'a>,
    kept: &mut Kept,
) {
    let mut snapshots: Vec<_> = live.volume_snapshots.iter().collect();
    snapshots.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    for snapshot in snapshots {
        let address = volume_address(scope, &snapshot.name);
        let id = Some(snapshot.id.clone());
        let goes = draft.owner.in_environment(&snapshot.tags)
            || (whole_project && draft.owner.in_project(&snapshot.tags));
        if goes {
            draft.draw_volume_snapshot_removal(snapshot, &address);
            let fields = vec![
                lost("size", gb(snapshot.size_mb)),
                lost(
                    "price",
                    format!("{}/month", cost::image_monthly(snapshot.size_mb)),
                ),
            ];
            let reasons = because(Cause::Command, format!("a snapshot of a volume: {command}"));
            draft.change(
                &address,
                &snapshot.name,
                id,
                Action::Delete,
                reasons,
                fields,
            );
        } else if draft.owner.in_project_only(&snapshot.tags) {
            kept.images_mb.push(snapshot.size_mb);
            let reasons = because(
                Cause::Command,
                "a snapshot of a volume, the project's: `destroy --project` removes it",
            );
            let fields = Vec::new();
            draft.change(&address, &snapshot.name, id, Action::Keep, reasons, fields);
        }
    }
}

/// Whether a run took a snapshot and could not tag it any more: its name alone tells whose it is.
pub(in crate::plan) fn is_untagged(scope: &Scope, image: &LiveImage) -> bool {
    ownership::is_unclaimed(&image.tags)
        && names::snapshot_of(&scope.project, &image.name)
            .is_some_and(|name| scope.snapshots.contains(name))
}

/// Returns how many snapshots stay.
fn destroy_images(
    scope: &Scope,
    live: &Live,
    whole_project: bool,
    command: &str,
    draft: &mut Draft<'_>,
    kept: &mut Kept,
) -> usize {
    let untagged = |image: &LiveImage| is_untagged(scope, image);
    let mut images: Vec<&LiveImage> = live
        .images
        .iter()
        .filter(|image| draft.owner.in_project(&image.tags) || untagged(image))
        .collect();
    images.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let mut count = 0;
    for image in images {
        let called = ownership::called(&image.name, &image.tags);
        let name = names::snapshot_of(&scope.project, called).unwrap_or(&image.name);
        let address = Address::snapshot(name);
        let id = Some(image.id.to_string());
        if !whole_project {
            count += 1;
            kept.images_mb.push(image.size_mb);
            let reasons = because(
                Cause::Command,
                "the project's: `destroy --project` removes it",
            );
            draft.change(&address, &image.name, id, Action::Keep, reasons, Vec::new());
            continue;
        }
        draft.draw_prune(image, &address);
        let fields = vec![
            lost("size", gb(image.size_mb)),
            lost(
                "price",
                format!("{}/month", cost::image_monthly(image.size_mb)),
            ),
        ];
        let reasons = if untagged(image) {
            because(
                Cause::Leftover,
                "it bears the project's name and no tags: a run took it and could not tag it any more",
            )
        } else {
            because(Cause::Command, command)
        };
        draft.change(&address, &image.name, id, Action::Delete, reasons, fields);
    }
    count
}

fn gb(size_mb: u64) -> String {
    format!("{}.{} GB", size_mb / 1_000, size_mb % 1_000 / 100)
}

/// The firewall and the key, once no droplet needs them.
fn destroy_access(scope: &Scope, live: &Live, command: &str, draft: &mut Draft<'_>) {
    let name = scope.environment_name();
    if let Some((wall, true)) = firewall::find(&name, &draft.owner.environment_tag, live) {
        draft.draw_firewall_removal(FirewallRef::Known(wall.id.clone()), true);
        draft.change(
            &Address::Firewall,
            &wall.name,
            Some(wall.id.clone()),
            Action::Delete,
            because(Cause::Command, command),
            Vec::new(),
        );
    }
    let mut keys: Vec<_> = live
        .ssh_keys
        .iter()
        .filter(|key| key.name == name)
        .collect();
    keys.sort_by_key(|key| key.id);
    for key in keys {
        draft.draw_key_removal(&key.fingerprint, true);
        draft.change(
            &Address::SshKey,
            &key.name,
            Some(key.id.to_string()),
            Action::Delete,
            because(Cause::Command, command),
            Vec::new(),
        );
    }
}

fn droplet_address(scope: &Scope, droplet: &LiveDroplet) -> Address {
    match scope.droplets.get(&droplet.name) {
        Some(known) => known.address.clone(),
        None => names::address_of_stray(&scope.project, &scope.environment, &droplet.name),
    }
}

/// The address of a volume: the manifest's, else one made from its name.
pub(super) fn volume_address(scope: &Scope, name: &str) -> Address {
    if let Some(address) = scope.volumes.get(name) {
        return address.clone();
    }
    let rest = name
        .strip_prefix(&format!("{}-{}-", scope.project, scope.environment))
        .or_else(|| name.strip_prefix(&format!("{}-", scope.project)))
        .filter(|rest| !rest.is_empty())
        .unwrap_or(name);
    Address::volume(rest)
}

impl<'a> Draft<'a> {
    /// Deletes a snapshot that nothing in this plan needs.
    fn draw_prune(&mut self, image: &LiveImage, address: &Address) {
        self.drop_tags(&image.tags);
        let kind = StepKind::Prune {
            id: image.id,
            name: image.name.clone(),
        };
        let expected = super::expected::seconds(&kind);
        self.graph.add(address.clone(), kind, expected);
    }

    /// Deletes a snapshot of a volume.
    fn draw_volume_snapshot_removal(
        &mut self,
        snapshot: &'a LiveVolumeSnapshot,
        address: &Address,
    ) -> StepId {
        let kind = StepKind::DeleteVolumeSnapshot {
            id: snapshot.id.clone(),
            name: snapshot.name.clone(),
        };
        let expected = super::expected::seconds(&kind);
        let step = self.graph.add(address.clone(), kind, expected);
        self.drop_tags(&snapshot.tags);
        step
    }

    /// `test`: deletes what is left of the environment's volumes where this plan is not about them:
    /// in other regions, and snapshots of those that are gone.
    pub(super) fn draw_left_behind(&mut self) {
        let (live, owner) = (self.live, &self.owner);
        let volumes = live.volumes.iter();
        let mut volumes: Vec<&'a LiveVolume> = volumes
            .filter(|volume| owner.in_environment(&volume.tags))
            .collect();
        let snapshots = live.volume_snapshots.iter();
        let mut snapshots: Vec<&'a LiveVolumeSnapshot> = snapshots
            .filter(|snapshot| owner.in_environment(&snapshot.tags))
            .collect();
        if volumes.is_empty() && snapshots.is_empty() {
            return;
        }
        let deleted = |graph: &Graph| -> BTreeSet<String> {
            let volumes = graph.kinds().filter_map(|kind| match kind {
                StepKind::DeleteVolume {
                    volume: VolumeRef::Known { id },
                    ..
                } => Some(id.clone()),
                _ => None,
            });
            volumes.collect()
        };
        let gone = deleted(&self.graph);
        volumes.retain(|volume| !gone.contains(&volume.id));
        volumes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        for volume in volumes {
            let address = volume_address(self.scope, &volume.name);
            let holders = self.attached.droplets.get(volume.id.as_str());
            let holders: BTreeSet<u64> = holders.cloned().unwrap_or_default();
            let mut first = Vec::new();
            for holder in holders {
                match self.destroyed.get(&holder) {
                    Some(&step) => first.push(step),
                    None if self.freed.contains_key(volume.id.as_str()) => {}
                    None => {
                        let (reason, help) = self.held_by(holder);
                        self.refusals.push(Refusal {
                            address: Some(address.clone()),
                            kind: RefusalKind::AttachedElsewhere,
                            reason,
                            help,
                        });
                    }
                }
            }
            self.draw_volume_removal(volume, &address, &first);
            self.change_volume_removal(volume, &address, Cause::Command, TEST);
        }
        let gone = deleted(&self.graph);
        // Those of a volume that goes now go with it.
        snapshots.retain(|snapshot| !self.goes_with_its_volume(snapshot, &gone));
        snapshots.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        let copies = self.graph.makers_of_copies();
        for snapshot in snapshots {
            let address = volume_address(self.scope, &snapshot.name);
            let step = self.draw_volume_snapshot_removal(snapshot, &address);
            for &copy in &copies {
                self.graph
                    .after(copy, step, "copies may be made from it before it goes");
            }
            let fields = vec![lost("size", gb(snapshot.size_mb))];
            self.change(
                &address,
                &snapshot.name,
                Some(snapshot.id.clone()),
                Action::Delete,
                because(Cause::Command, format!("a snapshot of a volume: {TEST}")),
                fields,
            );
        }
    }

    /// Whether whoever deletes the volume of a snapshot deletes that too.
    fn goes_with_its_volume(&self, snapshot: &LiveVolumeSnapshot, gone: &BTreeSet<String>) -> bool {
        let mut volumes = self.live.volumes.iter();
        let volume = volumes.find(|volume| volume.id == snapshot.volume_id);
        gone.contains(&snapshot.volume_id)
            && volume.is_some_and(|volume| !ownership::is_clone(&volume.tags))
            && ownership::snap_tags(&snapshot.tags).next().is_some()
    }

    /// `test`: deletes the environment's own volumes; `passing` gets those that this plan made.
    pub(super) fn draw_ephemeral_volumes(
        &mut self,
        desired: &'a Desired,
        passing: &mut Vec<String>,
    ) {
        for volume in &desired.volumes {
            if volume.scope != VolumeScope::Environment {
                continue;
            }
            let Address::Volume(name) = &volume.address else {
                continue;
            };
            let Some(planned) = self.volumes.get(name.as_str()).cloned() else {
                continue;
            };
            if planned.live.is_none() {
                passing.push(volume.address.to_string());
            }
            let kind = StepKind::DeleteVolume {
                volume: planned.reference,
                name: volume.name.as_str().into(),
                // What this plan takes has no id yet.
                sort: DeletedVolume::WithSnapshots,
            };
            let expected = super::expected::seconds(&kind);
            let step = self
                .graph
                .add_cleanup(volume.address.clone(), kind, expected);
            if let Some(made) = planned.made {
                self.graph
                    .after(made, step, "it is made or grown before it goes");
            }
            let held = planned.live.map(|live| live.id.as_str());
            let freed = held.and_then(|id| self.freed.get(id).copied());
            let let_go = self.let_go.get(name.as_str()).into_iter().flatten();
            for before in let_go.copied().chain(freed) {
                self.graph
                    .after(before, step, "a volume goes once no droplet can hold it");
            }
        }
    }
}
