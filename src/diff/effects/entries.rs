//! How entries of the two manifests differ, and what follows where nothing that stands changes.

use std::collections::BTreeSet;

use super::{Fate, because, renames};
use crate::address::Address;
use crate::diff::difference::{Outcome, StepChange};
use crate::diff::fields::{self, Fields};
use crate::diff::{CopiedFiles, Known, steps};
use crate::plan::FieldChange;

pub(super) fn entry_fields(
    address: &Address,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    forced: &BTreeSet<&str>,
) -> Vec<FieldChange> {
    let of = |known: &Known<'_>, address: &Address| -> Option<Fields> {
        let manifest = &known.side.manifest;
        match address {
            Address::Volume(name) => manifest.volumes.get(&**name).map(fields::volume),
            Address::Snapshot(name) => manifest.snapshots.get(&**name).map(fields::snapshot),
            Address::Droplet { name, .. } => manifest.droplets.get(&**name).map(fields::droplet),
            Address::Firewall | Address::SshKey => None,
        }
    };
    let mut before_address = address.clone();
    let mut name = None;
    if let Address::Volume(now) = address
        && let Some(was) = renames(old, new).remove(&**now)
    {
        name = Some((was.clone(), now.clone()));
        before_address = Address::Volume(was.into());
    }
    let mut before = old.and_then(|old| of(old, &before_address));
    let after = of(new, address);
    if let (Address::Droplet { .. }, Some(before)) = (address, &mut before) {
        // The same volume under another name is mounted as it was.
        for (now, was) in renames(old, new) {
            let was = format!("volume {was}");
            for (field, _) in before.iter_mut().filter(|(field, _)| *field == was) {
                *field = format!("volume {now}");
            }
        }
    }
    let is_snapshot = matches!(address, Address::Snapshot(_));
    let exists = before.is_some() && after.is_some();
    let mut differences = fields::differences(
        &before.unwrap_or_default(),
        &after.unwrap_or_default(),
        |field| exists && (forced.contains(field) || (is_snapshot && field == "from")),
    );
    let counted = |known: &Known<'_>| {
        let Address::Droplet { name, .. } = address else {
            return false;
        };
        let droplet = known.side.manifest.droplets.get(&**name);
        droplet.is_some_and(|droplet| droplet.matrix.is_empty())
    };
    for field in differences
        .iter_mut()
        .filter(|field| exists && field.field == "count")
    {
        // What is not written is one.
        let one = |of: Option<&Known<'_>>| of.is_some_and(counted).then(|| "1".to_owned());
        field.old = field.old.take().or_else(|| one(old));
        field.new = field.new.take().or_else(|| one(Some(new)));
    }
    if let Some((was, now)) = name {
        differences.insert(
            0,
            FieldChange {
                field: "name".to_owned(),
                old: Some(was),
                new: Some(now.as_str().to_owned()),
                forces_replace: false,
                known_after_apply: false,
            },
        );
    }
    differences
}

pub(super) fn entry_steps(
    address: &Address,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
) -> Vec<StepChange> {
    let nothing = CopiedFiles::new();
    let before = old.map(|old| &old.side.manifest);
    let after = &new.side.manifest;
    match address {
        Address::Snapshot(name) => steps::recipe(
            before.and_then(|before| before.snapshots.get(&**name)),
            after.snapshots.get(&**name),
            old.map_or(&nothing, |old| &old.side.copies),
            &new.side.copies,
        ),
        Address::Droplet { name, .. } => steps::runs(
            before.and_then(|before| before.droplets.get(&**name)),
            after.droplets.get(&**name),
        ),
        Address::Volume(name) => {
            let was = renames(old, new).remove(&**name);
            steps::populate(
                before.and_then(|before| before.volumes.get(was.as_deref().unwrap_or(name))),
                after.volumes.get(&**name),
            )
        }
        Address::Firewall | Address::SshKey => Vec::new(),
    }
}

/// What differs for things of which nothing else becomes anything.
pub(super) fn later(
    address: &Address,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    fields: &[FieldChange],
    steps: &[StepChange],
    fates: &mut Vec<Fate>,
) {
    let counts = |field: &FieldChange| field.field != "count" && !field.field.starts_with("matrix");
    if steps.is_empty() && !fields.iter().any(counts) {
        return;
    }
    let told: BTreeSet<String> = fates.iter().map(|fate| fate.name.clone()).collect();
    let nothing_else = fates.is_empty();
    let mut push = |outcome, address: &Address, name: &str, reasons| {
        if !told.contains(name) {
            fates.push(Fate {
                outcome,
                address: address.clone(),
                name: name.to_owned(),
                reasons,
            });
        }
    };
    match address {
        Address::Droplet { name, .. } => {
            for droplet in &new.desired.droplets {
                let is_of =
                    matches!(&droplet.address, Address::Droplet { name: of, .. } if of == name);
                let existed = old.is_some_and(|old| {
                    old.desired
                        .droplets
                        .iter()
                        .any(|of| of.name == droplet.name)
                });
                if is_of && existed {
                    push(Outcome::Later, &droplet.address, &droplet.name, Vec::new());
                }
            }
        }
        Address::Snapshot(name) if nothing_else => {
            let keep =
                |known: &Known<'_>| known.side.manifest.snapshots.get(&**name).map(|of| of.keep);
            let (outcome, reasons) = match (old.and_then(keep), keep(new)) {
                (Some(before), Some(after)) if after < before => (
                    Outcome::Changed,
                    because(format!(
                        "of older ones, those beyond `keep: {after}` are destroyed"
                    )),
                ),
                _ => (Outcome::Later, Vec::new()),
            };
            if let Some(of) = new.desired.snapshot(name) {
                push(outcome, address, &of.image_name, reasons);
            }
        }
        Address::Volume(_) if nothing_else => {
            let volumes = &new.desired.volumes;
            if let Some(of) = volumes.iter().find(|of| of.address == *address) {
                let reasons = match of.size {
                    Some(_) => Vec::new(),
                    None => because("someone's own: it is used, and never changed"),
                };
                push(Outcome::Later, address, &of.name, reasons);
            }
        }
        _ => {}
    }
}
