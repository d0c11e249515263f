//! Volumes that are filled again or copied: told where people look for it, in the manifests' words.

use std::collections::BTreeMap;

use super::standing::Standing;
use super::{Fate, Fates, because, renames};
use crate::address::Address;
use crate::diff::Known;
use crate::diff::difference::Outcome;
use crate::manifest::schema::{Access, Droplet, Populate};
use crate::plan::{Change, Outlook, Reason};

/// Whether a volume that stands is filled again.
pub(in crate::diff) fn is_filled_again(change: &Change) -> bool {
    change.id.is_some() && change.fields.iter().any(|field| field.field == "populate")
}

/// Why a volume is changed in place: each of what is done to it, for the planner names but the first.
pub(super) fn reasons(change: &Change, old: Option<&Known<'_>>, new: &Known<'_>) -> Vec<Reason> {
    let Address::Volume(name) = &change.address else {
        return change.reasons.clone();
    };
    let was = renames(old, new).remove(&**name);
    let mut reasons = Vec::new();
    if was.is_some() {
        reasons.extend(change.reasons.clone());
    }
    let mut fields = change.fields.iter();
    if let Some(size) = fields.find(|field| field.field == "size") {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        reasons.extend(because(format!(
            "it grows from {} to {}",
            value(&size.old),
            value(&size.new)
        )));
    }
    if is_filled_again(change) {
        let before = old.and_then(|old| {
            let volumes = &old.side.manifest.volumes;
            volumes
                .get(was.as_deref().unwrap_or(name))?
                .populate
                .as_ref()
        });
        let after = new.side.manifest.volumes.get(&**name);
        let after = after.and_then(|volume| volume.populate.as_ref());
        reasons.extend(because(match (before, after) {
            (Some(before), Some(after)) if fill_alike(before, after) => format!(
                "its `populate` runs again: {} is built anew",
                crate::diff::fields::image(&after.image)
            ),
            (Some(_), _) => "its `populate` changed, and runs again".to_owned(),
            (None, _) => "it has a `populate` now, which runs on it as it is".to_owned(),
        }));
    }
    if reasons.is_empty() {
        return change.reasons.clone();
    }
    reasons
}

/// Whether two do the same on an image of the same name.
fn fill_alike(a: &Populate, b: &Populate) -> bool {
    let commands = |populate: &Populate| -> Vec<String> {
        let steps = populate.run.iter();
        steps.map(|step| step.command.clone()).collect()
    };
    a.image == b.image && commands(a) == commands(b)
}

/// Copies of volumes that go are told with their droplets: nobody's manifest knows them.
pub(super) fn copies_that_go(outlook: &Outlook, standing: &Standing, fates: &mut Fates) {
    let gone = outlook
        .changes
        .iter()
        .filter(|change| change.action.destroys());
    for change in gone {
        let Some(copy) = change.id.as_ref().and_then(|id| standing.copies.get(id)) else {
            continue;
        };
        let of = fates.entry(super::entry(&copy.droplet)).or_default();
        let mut touched = of.iter_mut().filter(|fate| {
            matches!(
                fate.outcome,
                Outcome::Destroyed | Outcome::Replaced | Outcome::Changed
            )
        });
        match touched.find(|fate| fate.name == copy.droplet_name) {
            Some(fate) if fate.outcome == Outcome::Changed => {
                fate.reasons.extend(because(destroyed(&copy.volume)));
            }
            Some(fate) => fate.reasons.extend(because(format!(
                "its throw-away copy of volume.{} goes with it",
                copy.volume
            ))),
            None => of.push(Fate {
                outcome: Outcome::Changed,
                address: copy.droplet.clone(),
                name: copy.droplet_name.clone(),
                reasons: because(destroyed(&copy.volume)),
            }),
        }
    }
}

fn destroyed(volume: &str) -> String {
    format!("its throw-away copy of volume.{volume} is destroyed, with all that was written there")
}

/// What it means for a droplet that it has a copy of a volume from now on, or the volume itself.
pub(super) fn access(
    address: &Address,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    fates: &mut [Fate],
) {
    let (Address::Droplet { name, .. }, Some(old)) = (address, old) else {
        return;
    };
    let renamed = renames(Some(old), new);
    let of = |droplet: Option<&Droplet>| -> BTreeMap<String, Access> {
        let mounts = droplet.into_iter().flat_map(|droplet| &droplet.volumes);
        mounts
            .map(|mount| (mount.volume.clone(), mount.access))
            .collect()
    };
    let before = of(old.side.manifest.droplets.get(&**name));
    for (volume, access) in of(new.side.manifest.droplets.get(&**name)) {
        let was = renamed.get(&volume).unwrap_or(&volume);
        let text = match (before.get(was), access) {
            (Some(Access::Exclusive), Access::Clone) => format!(
                "it gets a throw-away copy of volume.{volume}: what it writes there goes with the droplet, and never reaches the volume"
            ),
            (Some(Access::Clone), Access::Exclusive) => format!(
                "it gets volume.{volume} itself: what it writes there stays, and who else has it waits for its turn"
            ),
            _ => continue,
        };
        for fate in fates.iter_mut() {
            if matches!(
                fate.outcome,
                Outcome::Replaced | Outcome::Changed | Outcome::Later
            ) {
                fate.reasons.extend(because(text.clone()));
            }
        }
    }
}
