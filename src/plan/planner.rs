//! `apply` and `test`: verdicts first, then the steps they ask for.

mod attachments;
mod emptying;
mod others;
mod tags;

use std::collections::{BTreeMap, BTreeSet};

use attachments::{
    Known, check_attachments, check_holders, check_logins, check_names_of_copies, copies_in_use,
    doomed_volumes, release_moved_volumes,
};
use emptying::{emptied_tags, empty};
use others::{note_others, stays_outdated};
use tags::{bear_what_is_left, named_tags};

use super::build::{Draft, End, PlannedDroplet, Taker, streamed};
use super::census::Census;
use super::change::Cause;
use super::compare::{firewall, snapshot, ssh_key, volume};
use super::cost::{Kept, Up};
use super::droplet_verdict::{DropletVerdict, droplet_verdicts, shared_volumes};
use super::error::Refusals;
use super::narrow::{self, Narrow};
use super::step::StepId;
use super::teardown::volume_address;
use super::{Goal, Options, Plan, preflight, protect};
use crate::address::Address;
use crate::desired::{Desired, Image};
use crate::live::ownership;
use crate::live::{Live, LiveDroplet, LiveVolume};
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
    let known = Known::of(&droplets, &census, &draft);
    for (verdict, old) in renewed {
        let address = &verdict.volume.address;
        check_holders(address, old, &known, &removed, &mut draft);
        let holders = holders(old, &draft);
        let gone = draft.draw_volume_removal(old, address, &holders);
        draft.draw_volume(verdict, Some(gone));
    }
    for volume in &doomed_volumes {
        let address = volume_address(&desired.scope, &volume.name);
        check_holders(&address, volume, &known, &removed, &mut draft);
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
    check_attachments(&droplets, &known, &removed, &mut draft);
    check_names_of_copies(&droplets, &doomed, &mut draft);
    note_others(desired, live, &snapshots, &mut draft, &mut kept);
    let shared = shared_volumes(desired);
    for verdict in &droplets {
        verdict.note(desired, &shared, &mut draft);
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
