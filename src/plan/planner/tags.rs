//! Tags that the plan needs to be there, and those that are borne on.

use std::collections::BTreeSet;

use crate::live::{LiveDroplet, LiveVolume};
use crate::plan::build::Draft;
use crate::plan::census::Census;
use crate::plan::compare::{firewall, snapshot, volume};
use crate::plan::droplet_verdict::DropletVerdict;
use crate::shared::Texts;

/// The tags of what a narrowed plan leaves as it is are borne on.
pub(super) fn bear_what_is_left(
    census: &Census<'_>,
    droplets: &[DropletVerdict<'_>],
    spared: &[&LiveVolume],
    draft: &mut Draft<'_>,
) {
    // One for each droplet of the manifest, in their order.
    let verdicts = droplets.iter().enumerate();
    let bystanders = verdicts.filter(|(_, verdict)| verdict.left_out);
    let instances = bystanders.flat_map(|(position, verdict)| {
        let found = census.instances(position).iter();
        let goes = |live: &LiveDroplet| verdict.remove.iter().any(|(gone, _)| gone.id == live.id);
        found.filter(move |live| !goes(live))
    });
    let tags = instances
        .chain(&census.left)
        .map(|droplet| &droplet.tags)
        .chain(spared.iter().map(|volume| &volume.tags));
    draft.bear_tags(tags.flatten());
}

/// Every tag that a create or an update of this plan names.
pub(super) fn named_tags(
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
    for verdict in volumes {
        let Some((populate, _)) = verdict.populate else {
            continue;
        };
        // That it is filled is said by a tag that is made when it is given: one that is made before
        // stays behind without a bearer when filling fails.
        if (verdict.live).is_some_and(|live| volume::is_marked_first(populate, live)) {
            named.insert(populate.marks.clone());
        }
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
    let mut last_copy: Option<&Texts> = None;
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
                makes_droplets = true;
                if !last_copy.is_some_and(|last| last.is_same(&copy.tags)) {
                    named.extend(copy.tags.iter().cloned());
                    last_copy = Some(&copy.tags);
                }
            }
        }
    }
    if makes_droplets {
        named.insert(expiry.to_owned());
    }
    named
}
