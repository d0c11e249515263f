//! Data that is at risk: told first, and loudly.

use super::Known;
use super::difference::{Outcome, ResourceChange, Risk, RiskKind};
use crate::address::Address;
use crate::manifest::schema::Volume;
use crate::plan::{Refusal, RefusalKind, cost};

/// Everything that is lost, left behind or no longer protected, the worst first.
pub(super) fn risks(
    old: &Known<'_>,
    new: &Known<'_>,
    resources: &[ResourceChange],
    refused: &[&Refusal],
) -> Vec<Risk> {
    let mut risks = Vec::new();
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
    risks.extend(unprotected(old, new));
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
    let address = Address::Volume(name.to_owned());
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
        Some(successor) => format!(
            "if `volume.{successor}` is to be the same volume under another name, write `was: {name}` there: then its data is kept"
        ),
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
            && volume.size >= lost.size
    };
    let mut created = resources
        .iter()
        .filter(|change| {
            let mut effects = change.effects.iter();
            effects.all(|effect| effect.outcome == Outcome::Created)
        })
        .filter_map(|change| match &change.address {
            Address::Volume(name) => Some(name),
            _ => None,
        })
        .filter(|name| new.side.manifest.volumes.get(*name).is_some_and(fits));
    match (created.next(), created.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

/// What the old manifest protects and the new one does not.
fn unprotected(old: &Known<'_>, new: &Known<'_>) -> Vec<Risk> {
    let (before, after) = (&old.side.manifest.protect, &new.side.manifest.protect);
    let addresses = old
        .desired
        .volumes
        .iter()
        .map(|volume| &volume.address)
        .chain(
            old.desired
                .snapshots
                .iter()
                .map(|snapshot| &snapshot.address),
        )
        .chain(old.desired.droplets.iter().map(|droplet| &droplet.address));
    addresses
        .filter_map(|address| {
            let pattern = before.iter().find(|pattern| address.matches(pattern))?;
            if after.iter().any(|pattern| address.matches(pattern)) {
                return None;
            }
            Some(Risk {
                kind: RiskKind::Unprotected,
                address: address.clone(),
                text: format!(
                    "`protect` no longer lists `{pattern}`: it may be destroyed or replaced"
                ),
                advice: format!("keep `{pattern}` under `protect`"),
            })
        })
        .collect()
}
