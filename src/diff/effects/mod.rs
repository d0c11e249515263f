//! What becomes of each resource: the planner's verdicts, gathered under the manifest's entries.

mod beside;
mod entries;
mod standing;
mod verdicts;
pub(super) mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use self::entries::{entry_fields, entry_steps, later};
use self::standing::Standing;
use super::Known;
use super::applied;
use super::difference::{Effect, Outcome, ResourceChange};
use crate::address::Address;
use crate::desired::Desired;
use crate::live::{Live, LiveVolume};
use crate::manifest::Manifest;
use crate::plan::{Cause, FieldChange, Outlook, Reason};

/// What becomes of one thing.
#[derive(Debug, Clone)]
struct Fate {
    outcome: Outcome,
    address: Address,
    name: String,
    reasons: Vec<Reason>,
}

/// Fates by the manifest's entry.
type Fates = BTreeMap<Address, Vec<Fate>>;

/// Someone's own volumes are taken for being there, unless the old manifest knew them elsewhere.
pub(super) fn add_existing(desired: &Desired, live: &mut Live) {
    for volume in &desired.volumes {
        let is_known = live.volumes.iter().any(|live| live.name == volume.name);
        if volume.size.is_none() && !is_known {
            live.volumes.push(LiveVolume {
                id: format!("existing {}", volume.name),
                name: volume.name.clone(),
                region: desired.scope.region.clone(),
                size_gib: 1,
                droplet_ids: Vec::new(),
                tags: Vec::new(),
                created_at: applied::NOW,
            });
        }
    }
}

/// What becomes of every resource that anything becomes of.
pub(super) fn resources(
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    live: &Live,
    outlook: &Outlook,
) -> Vec<ResourceChange> {
    let mut fates = Fates::new();
    let standing = Standing::of(old, live);
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for change in &outlook.changes {
        if let Some(id) = &change.id {
            seen.insert(id);
        }
        if let Some(fate) = verdicts::fate(change, old, new, &standing) {
            fates.entry(entry(&fate.address)).or_default().push(fate);
        }
    }
    for (id, (address, name)) in &standing.things {
        if !seen.contains(id.as_str()) {
            beside::left_behind(address, name, old, new, &mut fates);
        }
    }
    volumes::copies_that_go(outlook, &standing, &mut fates);
    beside::single_use(old, new, &mut fates);
    beside::refusals(new, outlook, &mut fates);
    beside::replaced_keys(old, new, &mut fates);

    let mut entries: BTreeSet<Address> = fates.keys().cloned().collect();
    entries.extend(entries_of(&new.side.manifest));
    entries.extend(old.iter().flat_map(|old| entries_of(&old.side.manifest)));
    entries
        .into_iter()
        .filter_map(|address| {
            let mut of = fates.remove(&address).unwrap_or_default();
            let changes = outlook
                .changes
                .iter()
                .filter(|change| entry(&change.address) == address);
            let forced: BTreeSet<&str> = changes
                .clone()
                .flat_map(|change| &change.fields)
                .filter(|field| field.forces_replace)
                .map(|field| field.field.as_str())
                .collect();
            let (fields, steps) = match &address {
                Address::Firewall => (
                    changes
                        .flat_map(|change| &change.fields)
                        .cloned()
                        .collect::<Vec<FieldChange>>(),
                    Vec::new(),
                ),
                Address::SshKey => (Vec::new(), Vec::new()),
                _ => (
                    entry_fields(&address, old, new, &forced),
                    entry_steps(&address, old, new),
                ),
            };
            later(&address, old, new, &fields, &steps, &mut of);
            volumes::access(&address, old, new, &mut of);
            if of.is_empty() {
                return None;
            }
            Some(ResourceChange {
                effects: grouped(of),
                address,
                fields,
                steps,
            })
        })
        .collect()
}

/// The manifest's entry that an address belongs to.
pub(super) fn entry(address: &Address) -> Address {
    match address {
        Address::Droplet { name, .. } => Address::droplet(name),
        other => other.clone(),
    }
}

fn entries_of(manifest: &Manifest) -> Vec<Address> {
    let volumes = manifest.volumes.keys().map(|name| Address::volume(name));
    let snapshots = manifest
        .snapshots
        .keys()
        .map(|name| Address::snapshot(name));
    let droplets = manifest.droplets.keys().map(|name| Address::droplet(name));
    volumes.chain(snapshots).chain(droplets).collect()
}

fn because(text: impl Into<String>) -> Vec<Reason> {
    vec![Reason {
        cause: Cause::Manifest,
        text: text.into(),
    }]
}

/// Whether a manifest asks for a droplet of that name.
fn is_wanted(known: &Known<'_>, name: &str) -> bool {
    let mut droplets = known.desired.droplets.iter();
    droplets.any(|droplet| droplet.name.as_str() == name)
}

/// Old names of volumes by the names they are given.
pub(super) fn renames(old: Option<&Known<'_>>, new: &Known<'_>) -> BTreeMap<String, String> {
    let Some(old) = old else {
        return BTreeMap::new();
    };
    let before = &old.side.manifest.volumes;
    let after = &new.side.manifest.volumes;
    after
        .iter()
        .filter_map(|(name, volume)| Some((name.clone(), volume.was.clone()?)))
        .filter(|(name, was)| {
            before.contains_key(was) && !before.contains_key(name) && !after.contains_key(was)
        })
        .collect()
}

/// Instances that share outcome and reasons, the loudest first.
fn grouped(mut fates: Vec<Fate>) -> Vec<Effect> {
    fates.sort_by(|a, b| {
        (a.outcome, &a.reasons, &a.address, &a.name)
            .cmp(&(b.outcome, &b.reasons, &b.address, &b.name))
    });
    let mut effects: Vec<Effect> = Vec::new();
    for fate in fates {
        match effects.last_mut() {
            Some(last) if last.outcome == fate.outcome && last.reasons == fate.reasons => {
                last.addresses.push(fate.address);
                last.names.push(fate.name);
            }
            _ => effects.push(Effect {
                outcome: fate.outcome,
                addresses: vec![fate.address],
                names: vec![fate.name],
                reasons: fate.reasons,
            }),
        }
    }
    effects
}
