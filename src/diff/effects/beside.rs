//! What becomes of things on which the planner passes no verdict, or not one for each.

use std::collections::BTreeSet;

use super::{Fate, Fates, because, entry};
use crate::address::Address;
use crate::diff::Known;
use crate::diff::applied::stands;
use crate::diff::difference::Outcome;
use crate::manifest::schema::Scope;
use crate::plan::{Outlook, RefusalKind};

/// Something of the old manifest that the planner leaves alone.
pub(super) fn left_behind(
    address: &Address,
    name: &str,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    fates: &mut Fates,
) {
    let Some(old) = old else { return };
    let manifest = &new.side.manifest;
    let same_project = old.side.manifest.project == manifest.project;
    let goes_on = match address {
        // Its older ones stay among those that are kept.
        Address::Snapshot(of) => same_project && manifest.snapshots.contains_key(&**of),
        _ => false,
    };
    if goes_on {
        return;
    }
    let own = |of: &str| {
        let volume = old.side.manifest.volumes.get(of);
        volume.is_none_or(|volume| volume.existing.is_none())
    };
    let is_environments = |of: &str| {
        let volume = old.side.manifest.volumes.get(of);
        volume.is_some_and(|volume| volume.scope == Scope::Environment)
    };
    let (outcome, text) = match address {
        Address::Volume(of) if !own(of) => (
            Outcome::Dropped,
            "someone's own: it is no longer used, and never touched".to_owned(),
        ),
        _ if !same_project => (
            Outcome::LeftBehind,
            format!("it is project {}'s", old.side.manifest.project),
        ),
        Address::Volume(of) if is_environments(of) => (
            Outcome::LeftBehind,
            format!("it is environment {}'s", old.side.manifest.environment),
        ),
        Address::Volume(_) | Address::Snapshot(_) => (
            Outcome::LeftBehind,
            "it is no longer in the manifest; only `dewpoint destroy --project` destroys it"
                .to_owned(),
        ),
        _ => (
            Outcome::LeftBehind,
            format!("it is environment {}'s", old.side.manifest.environment),
        ),
    };
    fates.entry(entry(address)).or_default().push(Fate {
        outcome,
        address: address.clone(),
        name: name.to_owned(),
        reasons: because(text),
    });
}

/// Droplets that are made for their runs and stand in no account.
pub(super) fn single_use(old: Option<&Known<'_>>, new: &Known<'_>, fates: &mut Fates) {
    let before = old.map_or(&[][..], |old| &old.desired.droplets);
    let after = &new.desired.droplets;
    fn names(droplets: &[crate::desired::Droplet]) -> BTreeSet<&str> {
        let names = droplets.iter().map(|droplet| droplet.name.as_str());
        names.collect()
    }
    let (old_names, new_names) = (names(before), names(after));
    let mut push = |outcome, droplet: &crate::desired::Droplet, text: &str| {
        fates
            .entry(entry(&droplet.address))
            .or_default()
            .push(Fate {
                outcome,
                address: droplet.address.clone(),
                name: droplet.name.as_str().to_owned(),
                reasons: because(text),
            });
    };
    for droplet in after.iter().filter(|droplet| !stands(droplet)) {
        if !old_names.contains(droplet.name.as_str()) {
            push(
                Outcome::Created,
                droplet,
                "it is made for its runs, and destroyed after them",
            );
        }
    }
    for droplet in before.iter().filter(|droplet| !stands(droplet)) {
        if !new_names.contains(droplet.name.as_str()) {
            push(
                Outcome::Dropped,
                droplet,
                "it was made for its runs alone, so nothing of it stands",
            );
        }
    }
}

/// A volume or snapshot for which something is refused that cannot be done: nothing becomes of it.
pub(super) fn refusals(new: &Known<'_>, outlook: &Outlook, fates: &mut Fates) {
    for refusal in &outlook.refusals {
        let (Some(address), RefusalKind::Shrink | RefusalKind::Filesystem | RefusalKind::Region) =
            (&refusal.address, refusal.kind)
        else {
            continue;
        };
        let name = match address {
            Address::Volume(_) => {
                let mut volumes = new.desired.volumes.iter();
                volumes
                    .find(|volume| volume.address == *address)
                    .map(|volume| &volume.name)
            }
            Address::Snapshot(name) => new.desired.snapshot(name).map(|of| &of.image_name),
            _ => continue,
        };
        let fate = Fate {
            outcome: Outcome::Refused,
            address: address.clone(),
            name: name.cloned().unwrap_or_default(),
            reasons: because(refusal.reason.clone()),
        };
        fates.insert(address.clone(), vec![fate]);
    }
}

/// One key in the place of another is one change.
pub(super) fn replaced_keys(old: Option<&Known<'_>>, new: &Known<'_>, fates: &mut Fates) {
    let Some(of) = fates.get_mut(&Address::SshKey) else {
        return;
    };
    let goes = of.iter().any(|fate| fate.outcome == Outcome::Destroyed);
    let comes = of.iter().any(|fate| fate.outcome == Outcome::Created);
    if let (true, true, Some(old)) = (goes, comes, old) {
        let name = of[0].name.clone();
        let (before, after) = (&old.side.manifest.ssh.key, &new.side.manifest.ssh.key);
        *of = vec![Fate {
            outcome: Outcome::Replaced,
            address: Address::SshKey,
            name,
            reasons: because(format!("ssh.key {before} -> {after}")),
        }];
    }
}
