//! Data that is at risk: told first, and loudly.

use std::collections::BTreeMap;

use super::Known;
use super::difference::{Outcome, ResourceChange, Risk, RiskKind};
use super::effects::volumes::is_filled_again;
use super::effects::{entry, renames};
use crate::address::Address;
use crate::manifest::schema::Volume;
use crate::plan::{Outlook, Refusal, RefusalKind, cost};

/// Everything that is lost, left behind or no longer protected, the worst first.
pub(super) fn risks(
    old: &Known<'_>,
    new: &Known<'_>,
    resources: &[ResourceChange],
    after: &Outlook,
    refused: &[&Refusal],
) -> Vec<Risk> {
    let mut risks = filled_again(old, new, after);
    for change in resources {
        let Address::Volume(name) = &change.address else {
            continue;
        };
        for effect in &change.effects {
            risks.extend(volume(old, new, resources, name, effect.outcome));
        }
    }
    for refusal in refused {
        let (
            Some(address @ Address::Volume(_)),
            RefusalKind::Shrink | RefusalKind::Filesystem | RefusalKind::Region,
        ) = (&refusal.address, refusal.kind)
        else {
            continue;
        };
        risks.push(Risk {
            kind: RiskKind::Refused,
            address: address.clone(),
            text: format!("{}; apply refuses it, and touches nothing", refusal.reason),
            advice: refusal.help.clone(),
        });
    }
    risks.extend(unprotected(old, new, resources));
    risks.sort();
    risks.dedup();
    risks
}

fn volume(
    old: &Known<'_>,
    new: &Known<'_>,
    resources: &[ResourceChange],
    name: &str,
    outcome: Outcome,
) -> Option<Risk> {
    let address = Address::volume(name);
    let before = old.side.manifest.volumes.get(name);
    let desired = old.desired.volumes.iter().find(|of| of.address == address);
    let (size, price) = match desired.and_then(|of| of.size) {
        Some(size) => (
            format!("{size} "),
            format!(" for {}/month", cost::volume_monthly(size)),
        ),
        None => (String::new(), String::new()),
    };
    let called = desired.map_or(name, |of| of.name.as_str());
    let goes_on = new.side.manifest.volumes.contains_key(name);
    let successor = before.and_then(|before| successor(before, new, resources));
    let shrinks = |successor: &String| {
        let size = before.and_then(|before| before.size);
        let new = new.side.manifest.volumes.get(successor);
        size.filter(|size| new.is_some_and(|new| new.size < Some(*size)))
    };
    let (kind, text) = match outcome {
        Outcome::Destroyed => (
            RiskKind::Destroyed,
            format!("the {size}volume `{called}` is destroyed with all it holds"),
        ),
        Outcome::LeftBehind | Outcome::Dropped => {
            let finds = if goes_on {
                "; what mounts it finds another volume"
            } else {
                ", and nothing mounts it any more"
            };
            (
                RiskKind::LeftBehind,
                format!("the {size}volume `{called}` stays on DigitalOcean{price}{finds}"),
            )
        }
        _ => return None,
    };
    let advice = match successor {
        Some(successor) => {
            let mut advice = format!(
                "if `volume.{successor}` is to be the same volume under another name, write `was: {name}` there: then its data is kept"
            );
            if let Some(size) = shrinks(&successor) {
                advice.push_str(&format!(
                    "; its size stays `{size}` then, for a volume cannot shrink"
                ));
            }
            advice
        }
        None if goes_on => {
            "if that is not meant, leave its name, `scope` and `existing` as they were".to_owned()
        }
        None if kind == RiskKind::Destroyed => {
            "keep it in the manifest until its data is copied elsewhere".to_owned()
        }
        None => "put it back into the manifest to use it again".to_owned(),
    };
    Some(Risk {
        kind,
        address,
        text,
        advice,
    })
}

/// The one volume that is new and could be a lost one under another name.
fn successor(lost: &Volume, new: &Known<'_>, resources: &[ResourceChange]) -> Option<String> {
    let fits = |volume: &Volume| {
        volume.existing.is_none()
            && lost.existing.is_none()
            && volume.was.is_none()
            && volume.filesystem == lost.filesystem
            && volume.scope == lost.scope
    };
    let mut created = resources
        .iter()
        .filter(|change| {
            let mut effects = change.effects.iter();
            effects.all(|effect| effect.outcome == Outcome::Created)
        })
        .filter_map(|change| match &change.address {
            Address::Volume(name) => Some(name.as_str()),
            _ => None,
        })
        .filter(|name| new.side.manifest.volumes.get(*name).is_some_and(fits));
    match (created.next(), created.next()) {
        (Some(only), None) => Some(only.to_owned()),
        _ => None,
    }
}

/// Volumes that hold something, and are filled again.
fn filled_again(old: &Known<'_>, new: &Known<'_>, after: &Outlook) -> Vec<Risk> {
    let filled = after
        .changes
        .iter()
        .filter(|change| is_filled_again(change));
    filled
        .map(|change| {
            let Address::Volume(name) = &change.address else {
                unreachable!("only volumes are filled");
            };
            let was = renames(Some(old), new).remove(&**name);
            let before = old.side.manifest.volumes.get(was.as_deref().unwrap_or(name));
            let runs = match before.and_then(|before| before.populate.as_ref()) {
                Some(_) => "its `populate` runs again, over",
                None => "its new `populate` runs over",
            };
            Risk {
                kind: RiskKind::FilledAgain,
                address: change.address.clone(),
                text: format!(
                    "{runs} what `{}` holds: the script may overwrite or delete it",
                    change.name
                ),
                advice: "write the script so that it is right on a full volume, too; or fill a volume of another name, and keep this one meanwhile".to_owned(),
            }
        })
        .collect()
}

/// What the old manifest protects and the new one does not; instances of a droplet are told once.
fn unprotected(old: &Known<'_>, new: &Known<'_>, resources: &[ResourceChange]) -> Vec<Risk> {
    let (before, after) = (&old.side.manifest.protect, &new.side.manifest.protect);
    let renamed: BTreeMap<Address, Address> = renames(Some(old), new)
        .into_iter()
        .map(|(now, was)| (Address::Volume(was.into()), Address::Volume(now.into())))
        .collect();
    let desired = &old.desired;
    let volumes = desired.volumes.iter().map(|volume| &volume.address);
    let snapshots = desired.snapshots.iter().map(|snapshot| &snapshot.address);
    let droplets = desired.droplets.iter().map(|droplet| &droplet.address);
    let risks: BTreeMap<(Address, &String), Risk> = volumes
        .chain(snapshots)
        .chain(droplets)
        .filter_map(|address| {
            let pattern = before.iter().find(|pattern| address.matches(pattern))?;
            let now = renamed.get(address).unwrap_or(address);
            if after.iter().any(|pattern| now.matches(pattern)) {
                return None;
            }
            let address = entry(now);
            let mut effects = resources
                .iter()
                .filter(|change| change.address == address)
                .flat_map(|change| &change.effects);
            let goes = effects.any(|effect| {
                matches!(
                    effect.outcome,
                    Outcome::Destroyed | Outcome::Replaced | Outcome::Rebuilt
                )
            });
            let risk = Risk {
                kind: RiskKind::Unprotected,
                address: address.clone(),
                text: if goes {
                    format!("`protect` no longer lists `{pattern}`, and this very change destroys or replaces it")
                } else {
                    format!("`protect` no longer lists `{pattern}`: it may be destroyed or replaced")
                },
                advice: format!("keep `{pattern}` under `protect`"),
            };
            Some(((address, pattern), risk))
        })
        .collect();
    risks.into_values().collect()
}
