//! `apply` and `test`: verdicts first, then the steps they ask for.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Draft, End, PlannedDroplet, Taker, empty_tags, streamed};
use super::census::Census;
use super::change::{Action, Cause};
use super::compare::{firewall, snapshot, ssh_key, volume};
use super::cost::{Kept, Up};
use super::droplet_verdict::{DropletVerdict, droplet_verdicts};
use super::error::{Refusal, RefusalKind, Refusals};
use super::narrow::{self, Narrow};
use super::step::{FirewallRef, StepId};
use super::teardown::volume_address;
use super::{Goal, Options, Plan, preflight, protect};
use crate::address::Address;
use crate::desired::{Desired, Image, Snapshot, names};
use crate::live::ownership;
use crate::live::{DropletStatus, Live, LiveDroplet, LiveImage, LiveVolume};
use crate::manifest::schema::Scope as VolumeScope;

/// Why something goes at the end of a test.
pub(super) const TEST: &str = "`test` empties the environment when it is done";

pub(super) fn plan(
    desired: &Desired,
    live: &Live,
    options: &Options,
    now: i64,
) -> Result<Plan, Refusals> {
    let (draft, up, kept) = draw(desired, live, options, now);
    let notice = options.narrows().then(|| {
        let (whole, _, _) = draw(desired, live, &options.whole(), now);
        narrow::tell(options, &draft, &whole)
    });
    let mut plan = draft.finish(streamed(desired), &up, &kept)?;
    plan.notices.splice(0..0, notice);
    Ok(plan)
}

/// Draws a plan to its end, whatever is refused.
pub(super) fn draw<'a>(
    desired: &'a Desired,
    live: &'a Live,
    options: &Options,
    now: i64,
) -> (Draft<'a>, Up<'a>, Kept) {
    let goal = if options.goal == Goal::Test {
        Goal::Test
    } else {
        Goal::Apply
    };
    let mut draft = Draft::new(&desired.scope, live, goal);
    draft.keep_builder = options.keep_builder;
    let lease = i64::try_from(desired.ttl.0).unwrap_or(i64::MAX);
    let expiry = ownership::expires_tag(now.saturating_add(lease));

    let empties = draft.empties();
    let narrow = Narrow::of(desired, live, options, empties, &mut draft.refusals);

    // Verdicts.
    let mut key = ssh_key::compare(desired, live);
    key.wanted = narrow.makes(&Address::SshKey);
    if !narrow.removes(&Address::SshKey) {
        key.older.clear();
    }
    let wall = firewall::compare(desired, &draft.owner.environment_tag, live);
    let wall = narrow.firewall(wall);
    let volumes_by_name = volume::by_name(live);
    let volumes: Vec<volume::Verdict<'_>> = desired
        .volumes
        .iter()
        .filter_map(|volume| {
            let mut refusals = Vec::new();
            let verdict = volume::compare(
                desired,
                volume,
                &draft.owner,
                &volumes_by_name,
                narrow.replaces(&volume.address),
                &mut refusals,
            )
            .leased(desired.ttl, now, !empties);
            if narrow.makes(&volume.address) {
                draft.refusals.append(&mut refusals);
            }
            narrow.volume(verdict)
        })
        .collect();
    let images_by_name = snapshot::by_name(&desired.scope.project, live);
    let mut snapshots: Vec<snapshot::Verdict<'_>> = Vec::new();
    let mut below: BTreeMap<&str, snapshot::Below> = BTreeMap::new();
    for wanted in &desired.snapshots {
        let mut refusals = Vec::new();
        let mut beneath = match &wanted.from {
            Image::Snapshot(parent) => below.get(parent.as_str()).copied().unwrap_or_default(),
            Image::Slug(_) | Image::Id(_) => snapshot::Below::default(),
        };
        beneath.asked = narrow.replaces(&wanted.address);
        let verdict = snapshot::compare(
            desired,
            wanted,
            &draft.owner,
            &images_by_name,
            beneath,
            now,
            &mut refusals,
        );
        if narrow.makes(&wanted.address) {
            draft.refusals.append(&mut refusals);
        }
        below.insert(&wanted.name, verdict.for_those_above(&below));
        let newest = verdict.before;
        match narrow.snapshot(verdict) {
            Some(verdict) => snapshots.push(verdict),
            None => stays_outdated(wanted, newest, &mut draft),
        }
    }
    let mut census = Census::of(desired, live, &draft);
    census.narrow(&desired.scope, &narrow);
    let census = census;
    let droplets = droplet_verdicts(desired, live, &census, &snapshots, &draft, &narrow, now);
    for verdict in droplets.iter().filter(|verdict| verdict.left_out) {
        draft
            .bystanders
            .extend(verdict.live.map(|live| (verdict.droplet, live)));
    }

    // Steps.
    draft.draw_key(desired, &key);
    let named = named_tags(&draft, &wall, &volumes, &snapshots, &droplets, &expiry);
    draft.draw_tags(&named);
    draft.draw_firewall(&wall);
    census.tell(&mut draft);

    let mut kept = Kept::default();
    let mut renewed: Vec<(volume::Verdict<'a>, &LiveVolume)> = Vec::new();
    for verdict in volumes {
        let stays = !(draft.empties() && verdict.volume.scope == VolumeScope::Environment);
        if stays {
            // What is left out costs on as it is.
            let makes = narrow.makes(&verdict.volume.address);
            let left = verdict.live.filter(|_| !makes);
            let size = left.map(|live| crate::units::Gib(live.size_gib));
            let wanted = verdict.volume.size;
            kept.volumes
                .extend(wanted.map(|wanted| size.unwrap_or(wanted)));
        }
        match verdict.replaces {
            None => draft.draw_volume(verdict, None),
            Some(old) => {
                draft.expect_volume(&verdict, old);
                renewed.push((verdict, old));
            }
        }
    }
    let mut removed: BTreeMap<u64, StepId> = BTreeMap::new();
    let copies = copies_in_use(&droplets, &draft);
    // A copy goes with the droplet that has it.
    let going: BTreeSet<u64> = census
        .strays
        .iter()
        .copied()
        .chain(droplets.iter().flat_map(|verdict| {
            let removed = verdict.remove.iter();
            removed.map(|(live, _)| *live)
        }))
        .map(|live| live.id)
        .collect();
    let goes_with_a_droplet = |volume: &LiveVolume| {
        let holders = draft.attached.droplets.get(volume.id.as_str());
        holders.is_some_and(|holders| holders.iter().any(|holder| going.contains(holder)))
    };
    let (doomed_volumes, spared): (Vec<_>, Vec<_>) = doomed_volumes(desired, live, &copies, &draft)
        .into_iter()
        .partition(|volume| {
            let address = volume_address(&desired.scope, &volume.name);
            narrow.removes_volume(&address, &volume.name)
                || (ownership::is_clone(&volume.tags) && goes_with_a_droplet(volume))
        });
    bear_what_is_left(&census, &droplets, &spared, &mut draft);
    let doomed: BTreeSet<&str> = doomed_volumes
        .iter()
        .chain(renewed.iter().map(|(_, old)| old))
        .map(|volume| volume.id.as_str())
        .collect();
    let is_doomed = |volume: &LiveVolume| doomed.contains(volume.id.as_str());
    for stray in &census.strays {
        let address = census.address_of(&desired.scope, stray);
        let step = draft.draw_removal(stray, &address, None, is_doomed);
        removed.insert(stray.id, step);
    }
    for verdict in &snapshots {
        let leftovers: Vec<(&LiveDroplet, StepId)> = census
            .strays
            .iter()
            .filter(|stray| stray.name == verdict.snapshot.builder_name)
            .filter_map(|stray| Some((*stray, *removed.get(&stray.id)?)))
            .collect();
        draft.draw_snapshot(desired, verdict, &leftovers, &expiry);
    }
    for verdict in &droplets {
        // What is replaced runs on until what it is replaced by can be made.
        let counts = match &verdict.droplet.image {
            Image::Snapshot(name) if verdict.replaced => draft
                .images
                .get(name.as_str())
                .and_then(|image| image.counts),
            _ => None,
        };
        for (live, _) in &verdict.remove {
            let step = draft.draw_removal(live, &verdict.droplet.address, counts, is_doomed);
            removed.insert(live.id, step);
        }
    }
    let first = |verdict: &DropletVerdict<'_>| -> Vec<StepId> {
        verdict
            .remove
            .iter()
            .filter_map(|(live, _)| removed.get(&live.id).copied())
            .collect()
    };
    let takers: Vec<Taker<'_>> = droplets
        .iter()
        .filter(|verdict| !verdict.left_out)
        .map(|verdict| Taker {
            droplet: verdict.droplet,
            live: verdict.live.map(|live| live.id),
            first: first(verdict),
        })
        .collect();
    draft.decide_turns(&takers);
    release_moved_volumes(desired, &droplets, &doomed, &narrow, &mut draft);
    let holders = |volume: &LiveVolume, draft: &Draft<'_>| -> Vec<StepId> {
        let holders = draft.attached.droplets.get(volume.id.as_str());
        let holders = holders.into_iter().flatten();
        holders
            .filter_map(|droplet| removed.get(droplet).copied())
            .collect()
    };
    for (verdict, old) in renewed {
        let address = &verdict.volume.address;
        check_holders(address, old, &droplets, &removed, &census, &mut draft);
        let holders = holders(old, &draft);
        let gone = draft.draw_volume_removal(old, address, &holders);
        draft.draw_volume(verdict, Some(gone));
    }
    for volume in &doomed_volumes {
        let address = volume_address(&desired.scope, &volume.name);
        check_holders(&address, volume, &droplets, &removed, &census, &mut draft);
        let holders = holders(volume, &draft);
        draft.draw_volume_removal(volume, &address, &holders);
        let (cause, reason) = if ownership::is_clone(&volume.tags) {
            let reason =
                "a throw-away copy of a volume whose droplet is gone, or no longer mounts it";
            (Cause::Leftover, reason)
        } else {
            (Cause::Manifest, "it is no longer in the manifest")
        };
        draft.change_volume_removal(volume, &address, cause, reason);
    }
    let leftovers: Vec<(&LiveDroplet, StepId)> = census
        .strays
        .iter()
        .filter_map(|stray| Some((*stray, *removed.get(&stray.id)?)))
        .collect();
    draft.draw_populates(desired, &leftovers, &expiry);
    check_attachments(&droplets, &removed, &census, &mut draft);
    check_names_of_copies(&droplets, &doomed, &mut draft);
    note_others(desired, live, &snapshots, &mut draft, &mut kept);
    for verdict in &droplets {
        verdict.note(desired, &mut draft);
    }
    let mut up = Up::default();
    for (_, live) in &draft.bystanders {
        up.add(&live.size, true);
    }
    let planned: Vec<PlannedDroplet<'_>> = droplets
        .into_iter()
        .filter(|verdict| !verdict.left_out)
        .map(|verdict| {
            let stays = verdict.end == End::Stays;
            up.add(&verdict.droplet.size, stays);
            let mounts = verdict.droplet.mounts.iter();
            for mount in mounts.filter(|mount| mount.copy.is_some()) {
                let volume = draft.volumes.get(mount.volume.as_str());
                let size = volume.and_then(|planned| planned.volume.size);
                up.add_clone(size.map_or(0, |size| size.0), stays);
            }
            PlannedDroplet {
                first: first(&verdict),
                droplet: verdict.droplet,
                live: verdict.live,
                end: verdict.end,
                add: verdict.differences.add,
                remove: verdict.differences.remove,
            }
        })
        .collect();
    draft.draw_droplets(desired, &planned, &expiry);
    check_logins(&planned, &mut draft);
    if draft.empties() {
        empty(desired, &key, &wall, &mut draft);
    }
    let ephemeral = !draft.destroys.is_empty();
    let emptied = emptied_tags(live, &named, &kept, &draft);
    draft.draw_tag_removal(&emptied, ephemeral);

    // What only apply used to find out.
    preflight::check(desired, &planned, &up, &mut draft);
    protect::check(&desired.scope.protect, &options.unprotect, &mut draft);
    (draft, up, kept)
}

/// Ids of throw-away copies of volumes that a droplet has and keeps.
fn copies_in_use<'a>(droplets: &[DropletVerdict<'a>], draft: &Draft<'a>) -> BTreeSet<&'a str> {
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
fn doomed_volumes<'a>(
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
fn release_moved_volumes<'a>(
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
                None => names.get(&Address::Volume(mount.volume.clone())).copied(),
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
fn check_attachments<'a>(
    droplets: &[DropletVerdict<'a>],
    removed: &BTreeMap<u64, StepId>,
    census: &Census<'a>,
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
        check_holders(address, live, droplets, removed, census, draft);
    }
}

/// Refuses what would wait for a volume that a droplet has which this plan does not take it from.
fn check_holders<'a>(
    address: &Address,
    volume: &LiveVolume,
    droplets: &[DropletVerdict<'a>],
    removed: &BTreeMap<u64, StepId>,
    census: &Census<'a>,
    draft: &mut Draft<'a>,
) {
    check_left_out(address, volume, droplets, census, draft);
    let holders = draft.attached.droplets.get(volume.id.as_str());
    for holder in holders.cloned().into_iter().flatten() {
        let is_ours = || {
            let mut ours = droplets.iter().filter_map(|verdict| verdict.live);
            ours.any(|live| live.id == holder) || census.left.iter().any(|left| left.id == holder)
        };
        if removed.contains_key(&holder) || is_ours() {
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
fn check_logins(planned: &[PlannedDroplet<'_>], draft: &mut Draft<'_>) {
    for planned in planned {
        let Some(live) = planned.live else { continue };
        let word = match &live.status {
            DropletStatus::New | DropletStatus::Active => continue,
            DropletStatus::Off => "off",
            DropletStatus::Other(word) => word,
        };
        let address = &planned.droplet.address;
        let is_told = draft.refusals.iter().any(|refusal| {
            refusal.kind == RefusalKind::NotRunning && refusal.address.as_ref() == Some(address)
        });
        if draft.connects.contains_key(&live.id) && !is_told {
            draft.refusals.push(Refusal {
                address: Some(address.clone()),
                kind: RefusalKind::NotRunning,
                reason: format!(
                    "droplet {} is {word}, so nothing can be done about the volumes it mounts",
                    live.id
                ),
                help: "power it on, or delete it so that it is made anew".to_owned(),
            });
        }
    }
}

/// Whether a volume goes once a test is over.
fn goes_at_the_end(volume: &crate::desired::Volume, draft: &Draft<'_>) -> bool {
    draft.empties() && volume.scope == VolumeScope::Environment
}

/// Refuses copies of volumes whose names others have taken.
fn check_names_of_copies(
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
fn check_left_out<'a>(
    address: &Address,
    volume: &LiveVolume,
    droplets: &[DropletVerdict<'a>],
    census: &Census<'a>,
    draft: &mut Draft<'a>,
) {
    if draft.freed.contains_key(volume.id.as_str()) {
        return;
    }
    let holders = draft.attached.droplets.get(volume.id.as_str());
    for holder in holders.cloned().into_iter().flatten() {
        let bystander = droplets
            .iter()
            .find(|verdict| verdict.left_out && verdict.live.is_some_and(|live| live.id == holder));
        let stray = census.left.iter().find(|stray| stray.id == holder);
        let of_stray = || stray.map(|stray| census.address_of(draft.scope, stray));
        let holder = bystander.map(|verdict| verdict.droplet.address.clone());
        if let Some(holder) = holder.or_else(of_stray) {
            let refusal = narrow::held_by_left_out(address, &holder);
            draft.refusals.push(refusal);
        }
    }
}

/// The tags of what a narrowed plan leaves as it is are borne on.
fn bear_what_is_left(
    census: &Census<'_>,
    droplets: &[DropletVerdict<'_>],
    spared: &[&LiveVolume],
    draft: &mut Draft<'_>,
) {
    let bystanders = droplets.iter().filter(|verdict| verdict.left_out);
    let instances = bystanders.flat_map(|verdict| {
        let found = census.instances.get(verdict.droplet.name.as_str());
        let goes = |live: &LiveDroplet| verdict.remove.iter().any(|(gone, _)| gone.id == live.id);
        found.into_iter().flatten().filter(move |live| !goes(live))
    });
    let tags = instances
        .chain(&census.left)
        .map(|droplet| &droplet.tags)
        .chain(spared.iter().map(|volume| &volume.tags));
    draft.borne.extend(tags.flatten().cloned());
}

/// Says of a snapshot that a narrowed plan does not build that the one of an earlier recipe stays.
fn stays_outdated(wanted: &Snapshot, newest: Option<&LiveImage>, draft: &mut Draft<'_>) {
    let Some(image) = newest else { return };
    draft.change(
        &wanted.address,
        &image.name,
        Some(image.id.to_string()),
        Action::Keep,
        Vec::new(),
        Vec::new(),
    );
}

/// Every tag that a create or an update of this plan names.
fn named_tags(
    draft: &Draft<'_>,
    wall: &firewall::Verdict<'_>,
    volumes: &[volume::Verdict<'_>],
    snapshots: &[snapshot::Verdict<'_>],
    droplets: &[DropletVerdict<'_>],
    expiry: &str,
) -> BTreeSet<String> {
    let mut named: BTreeSet<String> = draft.firewall_tags(wall).into_iter().collect();
    for verdict in volumes {
        match verdict.live {
            None => named.extend(verdict.volume.tags.iter().cloned()),
            Some(_) => named.extend(verdict.add.iter().cloned()),
        }
        named.extend(verdict.lease.add.clone());
    }
    let mut makes_droplets = false;
    for (populate, _) in volumes.iter().filter_map(|verdict| verdict.populate) {
        named.extend([populate.tag.clone(), populate.marks.clone()]);
        named.extend(populate.droplet_tags.iter().cloned());
        makes_droplets = true;
    }
    for verdict in snapshots {
        if matches!(verdict.state, snapshot::State::Keep(_)) {
            continue;
        }
        named.extend(verdict.snapshot.tags.iter().cloned());
        if matches!(verdict.state, snapshot::State::Build) {
            named.extend(verdict.snapshot.builder_tags.iter().cloned());
            makes_droplets = true;
        }
    }
    let mut last: Option<&[String]> = None;
    for verdict in droplets.iter().filter(|verdict| !verdict.left_out) {
        match verdict.live {
            None => {
                makes_droplets = true;
                // Instances of one droplet have the same tags.
                if last != Some(&verdict.droplet.tags) {
                    named.extend(verdict.droplet.tags.iter().cloned());
                    last = Some(&verdict.droplet.tags);
                }
            }
            Some(_) => named.extend(verdict.differences.add.iter().cloned()),
        }
        let mounts = verdict.droplet.mounts.iter();
        for copy in mounts.filter_map(|mount| mount.copy.as_ref()) {
            let live = verdict.live.and_then(|live| draft.live_copy(live, copy));
            if live.is_none() {
                named.extend(copy.tags.iter().cloned());
                makes_droplets = true;
            }
        }
    }
    if makes_droplets {
        named.insert(expiry.to_owned());
    }
    named
}

/// What the project owns and this manifest does not speak of.
fn note_others<'a>(
    desired: &'a Desired,
    live: &'a Live,
    snapshots: &[snapshot::Verdict<'a>],
    draft: &mut Draft<'a>,
    kept: &mut Kept,
) {
    let wanted: BTreeSet<&str> = desired
        .volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    for volume in &live.volumes {
        let is_elsewhere = wanted.contains(volume.name.as_str())
            && draft.owner.in_environment(&volume.tags)
            && volume.region != desired.scope.region;
        if is_elsewhere && !draft.empties() {
            kept.volumes.push(crate::units::Gib(volume.size_gib));
            draft.notices.push(format!(
                "volume `{}` of the environment in {} stays, and costs on: `destroy` and `test` remove it",
                volume.name, volume.region
            ));
        }
        if !draft.owner.in_project_only(&volume.tags) {
            continue;
        }
        if !wanted.contains(volume.name.as_str()) {
            kept.volumes.push(crate::units::Gib(volume.size_gib));
            draft.notices.push(format!(
                "volume `{}` of the project is not in the manifest and stays",
                volume.name
            ));
        }
    }
    for snapshot in &live.volume_snapshots {
        if draft.owner.in_project_only(&snapshot.tags) {
            kept.images_mb.push(snapshot.size_mb);
        }
    }
    let pruned: BTreeSet<u64> = snapshots
        .iter()
        .flat_map(|verdict| verdict.prune.iter().map(|image| image.id))
        .collect();
    for image in &live.images {
        if !draft.owner.in_project(&image.tags) || pruned.contains(&image.id) {
            continue;
        }
        kept.images_mb.push(image.size_mb);
        let called = ownership::called(&image.name, &image.tags);
        let known = names::snapshot_of(&desired.scope.project, called)
            .is_some_and(|name| desired.scope.snapshots.contains(name));
        if !known {
            draft.notices.push(format!(
                "snapshot `{}` of the project is not in the manifest and stays",
                image.name
            ));
        }
    }
    for verdict in snapshots {
        match verdict.state {
            snapshot::State::Keep(_) => {}
            snapshot::State::Complete(image) => kept.images_mb.push(image.size_mb),
            snapshot::State::Build => kept.unknown.push(verdict.snapshot.address.to_string()),
        }
    }
}

/// `test`: everything the environment owns goes at the end.
fn empty<'a>(
    desired: &'a Desired,
    key: &ssh_key::Verdict<'a>,
    wall: &firewall::Verdict<'a>,
    draft: &mut Draft<'a>,
) {
    let mut passing: Vec<String> = Vec::new();
    if draft.key.is_some() {
        passing.push(Address::SshKey.to_string());
    }
    let firewall = match wall {
        firewall::Verdict::Create(_) => {
            passing.push(Address::Firewall.to_string());
            draft.firewall.map(FirewallRef::Created)
        }
        firewall::Verdict::Update(_, live, _) | firewall::Verdict::Keep(_, live) => {
            Some(FirewallRef::Known(live.id.clone()))
        }
        _ => None,
    };
    draft.draw_ephemeral_volumes(desired, &mut passing);
    draft.draw_left_behind();
    // A builder that is kept is kept to log in to.
    let strict = draft.keep_builder;
    if let Some(firewall) = firewall {
        draft.draw_firewall_removal(firewall, strict);
    }
    if draft.key.is_some() || key.ours {
        draft.draw_key_removal(&desired.ssh_key.fingerprint, strict);
    }
    if !passing.is_empty() {
        draft.notices.push(format!(
            "made for this test and removed at its end: {}",
            passing.join(", ")
        ));
    }
}

/// The tags that hold nothing any more once everything the environment owns is gone, those that
/// this very plan makes among them.
fn emptied_tags(
    live: &Live,
    named: &BTreeSet<String>,
    kept: &Kept,
    draft: &Draft<'_>,
) -> BTreeSet<String> {
    if !draft.empties() {
        return BTreeSet::new();
    }
    let mut tags: BTreeSet<String> = live.tags.iter().cloned().collect();
    tags.extend(named.iter().cloned());
    let tags: Vec<String> = tags.into_iter().collect();
    let something_stays =
        !(kept.volumes.is_empty() && kept.images_mb.is_empty() && kept.unknown.is_empty());
    empty_tags(&tags, &draft.owner, something_stays, false)
}
