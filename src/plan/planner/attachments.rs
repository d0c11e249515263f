//! Volumes where they are: which leave a droplet, which go, and what stands in the way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::address::Address;
use crate::desired::Desired;
use crate::live::{DropletStatus, Live, LiveVolume};
use crate::manifest::schema::Scope as VolumeScope;
use crate::plan::build::{Draft, PlannedDroplet};
use crate::plan::census::Census;
use crate::plan::droplet_verdict::{DropletVerdict, not_running_help};
use crate::plan::error::{Refusal, RefusalKind};
use crate::plan::narrow::{self, Narrow};
use crate::plan::step::StepId;

/// Of the droplets that have volumes those that a plan knows, by their ids.
pub(super) struct Known<'d> {
    /// Droplets of the manifest that are used, and what a narrowed plan leaves.
    ours: HashSet<u64>,
    /// Of those, the ones that a narrowed plan leaves as they are.
    left_out: HashMap<u64, Cow<'d, Address>>,
}

impl<'d> Known<'d> {
    pub(super) fn of(
        droplets: &[DropletVerdict<'d>],
        census: &Census<'_>,
        draft: &Draft<'_>,
    ) -> Self {
        let mut known = Self {
            ours: HashSet::new(),
            left_out: HashMap::new(),
        };
        let has_volumes = |id: u64| draft.attached.volumes.contains_key(&id);
        for verdict in droplets {
            let Some(live) = verdict.live.filter(|live| has_volumes(live.id)) else {
                continue;
            };
            known.ours.insert(live.id);
            if verdict.left_out {
                let address = Cow::Borrowed(&verdict.droplet.address);
                known.left_out.insert(live.id, address);
            }
        }
        for left in census.left.iter().filter(|left| has_volumes(left.id)) {
            known.ours.insert(left.id);
            let address = census.address_of(draft.scope, left);
            known.left_out.entry(left.id).or_insert(Cow::Owned(address));
        }
        known
    }
}

/// Ids of throw-away copies of volumes that a droplet has and keeps.
pub(super) fn copies_in_use<'a>(
    droplets: &[DropletVerdict<'a>],
    draft: &Draft<'a>,
) -> BTreeSet<&'a str> {
    let mut ids = BTreeSet::new();
    for verdict in droplets {
        let Some(live) = verdict.live else { continue };
        let copies = verdict.droplet.mounts.iter();
        for copy in copies.filter_map(|mount| mount.copy.as_ref()) {
            ids.extend(draft.live_copy(live, copy).map(|volume| volume.id.as_str()));
        }
    }
    ids
}

/// Volumes of the environment that the manifest no longer has, leftover copies of volumes among them.
pub(super) fn doomed_volumes<'a>(
    desired: &Desired,
    live: &'a Live,
    copies: &BTreeSet<&str>,
    draft: &Draft<'_>,
) -> Vec<&'a LiveVolume> {
    let wanted: BTreeSet<&str> = desired
        .volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    let mut doomed: Vec<_> = live
        .volumes
        .iter()
        .filter(|volume| draft.owner.in_environment(&volume.tags))
        .filter(|volume| !wanted.contains(volume.name.as_str()))
        .filter(|volume| !copies.contains(volume.id.as_str()))
        .collect();
    doomed.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    doomed
}

/// Detaches volumes from droplets that stay and no longer mount them, or whose turn comes later.
pub(super) fn release_moved_volumes<'a>(
    desired: &'a Desired,
    droplets: &[DropletVerdict<'a>],
    doomed: &BTreeSet<&str>,
    narrow: &Narrow<'_>,
    draft: &mut Draft<'a>,
) {
    let names: BTreeMap<&Address, &str> = desired
        .volumes
        .iter()
        .map(|volume| (&volume.address, volume.name.as_str()))
        .collect();
    for verdict in droplets {
        let Some(live) = verdict.live else { continue };
        let wanted: BTreeSet<&str> = verdict
            .droplet
            .mounts
            .iter()
            .filter(|mount| {
                mount.copy.is_some()
                    || (!draft.is_filled(&mount.volume)
                        && draft
                            .turns
                            .is_first(&mount.volume, &verdict.droplet.address))
            })
            .filter_map(|mount| match &mount.copy {
                None => names.get(&Address::volume(&mount.volume)).copied(),
                Some(copy) => Some(copy.name.as_str()),
            })
            .collect();
        let moved: Vec<_> = draft
            .attached
            .to(live.id)
            .into_iter()
            .filter(
                |volume| match (verdict.left_out, doomed.contains(volume.id.as_str())) {
                    (false, is_doomed) => is_doomed || !wanted.contains(volume.name.as_str()),
                    (true, is_doomed) => is_doomed && narrow.releases(),
                },
            )
            .collect();
        if verdict.left_out && !moved.is_empty() {
            draft.notices.push(format!(
                "{} lets go of what is destroyed: what runs there in the background stops until the next apply",
                verdict.droplet.address
            ));
        }
        if !moved.is_empty() {
            let steps = draft.draw_release(live, &verdict.droplet.address, &moved, true);
            draft.releases.insert(live.id, steps);
        }
    }
}

/// Refuses what would wait for a volume that someone else holds. Of such a one no copy is made
/// either: what it holds may be half written.
pub(super) fn check_attachments<'a>(
    droplets: &[DropletVerdict<'a>],
    known: &Known<'_>,
    removed: &BTreeMap<u64, StepId>,
    draft: &mut Draft<'a>,
) {
    let mounted: BTreeSet<&str> = droplets
        .iter()
        .filter(|verdict| !verdict.left_out)
        .flat_map(|verdict| {
            let mounts = verdict.droplet.mounts.iter();
            mounts.filter(|mount| match (&mount.copy, verdict.live) {
                (Some(copy), Some(live)) => draft.live_copy(live, copy).is_none(),
                _ => true,
            })
        })
        .map(|mount| mount.volume.as_str())
        .collect();
    let used: Vec<(&Address, &LiveVolume)> = draft
        .volumes
        .iter()
        .filter(|(name, planned)| {
            let is_used = mounted.contains(*name) || planned.populate.is_some();
            is_used || goes_at_the_end(planned.volume, draft)
        })
        .filter_map(|(_, planned)| Some((&planned.volume.address, planned.live?)))
        .collect();
    for (address, live) in used {
        check_holders(address, live, known, removed, draft);
    }
}

/// Refuses what would wait for a volume that a droplet has which this plan does not take it from.
pub(super) fn check_holders(
    address: &Address,
    volume: &LiveVolume,
    known: &Known<'_>,
    removed: &BTreeMap<u64, StepId>,
    draft: &mut Draft<'_>,
) {
    check_left_out(address, volume, known, draft);
    let holders = draft.attached.droplets.get(volume.id.as_str());
    for holder in holders.cloned().into_iter().flatten() {
        if removed.contains_key(&holder) || known.ours.contains(&holder) {
            continue;
        }
        let (reason, help) = draft.held_by(holder);
        let is_shared = draft.owner.in_project_only(&volume.tags);
        draft.refusals.push(Refusal {
            address: Some(address.clone()),
            kind: match is_shared && draft.comes_free(volume, holder) {
                true => RefusalKind::Held,
                // The environment's own is nobody else's to use for a while.
                false => RefusalKind::AttachedElsewhere,
            },
            reason,
            help,
        });
    }
}

/// Refuses what would log in to a droplet that is off: also a turn of a volume takes a login.
pub(super) fn check_logins(planned: &[PlannedDroplet<'_>], draft: &mut Draft<'_>) {
    let told: HashSet<&Address> = draft
        .refusals
        .iter()
        .filter(|refusal| refusal.kind == RefusalKind::NotRunning)
        .filter_map(|refusal| refusal.address.as_ref())
        .collect();
    let mut refusals = Vec::new();
    for planned in planned {
        let Some(live) = planned.live else { continue };
        let word = match &live.status {
            DropletStatus::New | DropletStatus::Active => continue,
            DropletStatus::Off => "off",
            DropletStatus::Other(word) => word,
        };
        let address = &planned.droplet.address;
        if draft.connects.contains_key(&live.id) && !told.contains(address) {
            refusals.push(Refusal {
                address: Some(address.clone()),
                kind: RefusalKind::NotRunning,
                reason: format!(
                    "droplet {} is {word}, so nothing can be done about the volumes it mounts",
                    live.id
                ),
                help: not_running_help(address),
            });
        }
    }
    draft.refusals.extend(refusals);
}

/// Whether a volume goes once a test is over.
fn goes_at_the_end(volume: &crate::desired::Volume, draft: &Draft<'_>) -> bool {
    draft.empties() && volume.scope == VolumeScope::Environment
}

/// Refuses copies of volumes whose names others have taken.
pub(super) fn check_names_of_copies(
    droplets: &[DropletVerdict<'_>],
    doomed: &BTreeSet<&str>,
    draft: &mut Draft<'_>,
) {
    let region = &draft.scope.region;
    let taken: BTreeSet<&str> = draft
        .live
        .volumes
        .iter()
        .filter(|volume| volume.region == *region && !doomed.contains(volume.id.as_str()))
        .map(|volume| volume.name.as_str())
        .collect();
    let mut refusals = Vec::new();
    for verdict in droplets.iter().filter(|verdict| !verdict.left_out) {
        for mount in &verdict.droplet.mounts {
            let Some(copy) = &mount.copy else { continue };
            let live = verdict.live.and_then(|live| draft.live_copy(live, copy));
            if live.is_some() || !taken.contains(copy.name.as_str()) {
                continue;
            }
            refusals.push(Refusal {
                address: Some(verdict.droplet.address.clone()),
                kind: RefusalKind::NameTaken,
                reason: format!(
                    "{region} has a volume `{}` that is not the environment's, and its clone of volume.{} would have that name",
                    copy.name, mount.volume
                ),
                help: "rename the droplet or the volume in the manifest, or delete that volume"
                    .to_owned(),
            });
        }
    }
    draft.refusals.extend(refusals);
}

/// Refuses what would take a volume from a droplet that a narrowed plan leaves as it is.
fn check_left_out(
    address: &Address,
    volume: &LiveVolume,
    known: &Known<'_>,
    draft: &mut Draft<'_>,
) {
    if draft.freed.contains_key(volume.id.as_str()) {
        return;
    }
    let holders = draft.attached.droplets.get(volume.id.as_str());
    for holder in holders.cloned().into_iter().flatten() {
        if let Some(holder) = known.left_out.get(&holder) {
            let refusal = narrow::held_by_left_out(address, holder);
            draft.refusals.push(refusal);
        }
    }
}
