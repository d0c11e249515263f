//! The planner's verdicts as what becomes of things, with reasons in the manifests' words.

use super::standing::Standing;
use super::{Fate, because, is_wanted, volumes};
use crate::address::Address;
use crate::diff::applied::stands;
use crate::diff::difference::Outcome;
use crate::diff::{Known, fields};
use crate::manifest::schema::ImageSource;
use crate::plan::{Action, Cause, Change, Reason};

pub(super) fn fate(
    change: &Change,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    standing: &Standing,
) -> Option<Fate> {
    if change
        .id
        .as_ref()
        .is_some_and(|id| standing.copies.contains_key(id))
    {
        // It is told with its droplet.
        return None;
    }
    let before = change.id.as_ref().and_then(|id| standing.things.get(id));
    let had = |address: &Address| {
        let same_project =
            old.is_some_and(|old| old.side.manifest.project == new.side.manifest.project);
        same_project
            && old.is_some_and(|old| {
                old.desired
                    .snapshots
                    .iter()
                    .any(|of| of.address == *address)
            })
    };
    let outcome = match change.action {
        Action::Keep => {
            return ends_after_runs(change, new);
        }
        Action::Update => Outcome::Changed,
        Action::Create if had(&change.address) => Outcome::Rebuilt,
        Action::Create => Outcome::Created,
        Action::DestroyThenCreate => Outcome::Replaced,
        Action::CreateThenDestroy => Outcome::Rebuilt,
        Action::Delete => Outcome::Destroyed,
    };
    let address = match (before, outcome) {
        // Some addresses of what goes are guessed from names.
        (Some((address, _)), Outcome::Destroyed) => address.clone(),
        _ => change.address.clone(),
    };
    let reasons = match (&address, outcome) {
        // What differs says it all.
        (Address::Droplet { .. } | Address::Firewall, Outcome::Changed) => Vec::new(),
        (Address::Droplet { name, .. }, Outcome::Destroyed) if !is_wanted(new, &change.name) => {
            because(if new.side.manifest.droplets.contains_key(&**name) {
                "its `count` or `matrix` no longer asks for it"
            } else {
                "it is no longer in the manifest"
            })
        }
        (Address::Droplet { .. }, Outcome::Created)
            if old.is_some_and(|old| is_wanted(old, &change.name)) =>
        {
            because("until now it was destroyed after its runs; from now on it stays")
        }
        (Address::Volume(_), Outcome::Changed) => volumes::reasons(change, old, new),
        (Address::Volume(name), Outcome::Created) => {
            let volume = new.side.manifest.volumes.get(&**name);
            because(
                match volume.is_some_and(|volume| volume.populate.is_some()) {
                    true => "it is new, and filled by its `populate`",
                    false => "it is new and empty",
                },
            )
        }
        _ => reasons(change, old, new, standing),
    };
    Some(Fate {
        outcome,
        address,
        name: change.name.clone(),
        reasons,
    })
}

/// A droplet that stood to stay, and now goes after its runs.
fn ends_after_runs(change: &Change, new: &Known<'_>) -> Option<Fate> {
    let droplets = &new.desired.droplets;
    let droplet = droplets.iter().find(|of| of.address == change.address)?;
    (!stands(droplet)).then(|| Fate {
        outcome: Outcome::Destroyed,
        address: change.address.clone(),
        name: change.name.clone(),
        reasons: because("it stands, and goes once its next runs have succeeded"),
    })
}

/// The planner's reasons, in the manifests' words.
fn reasons(
    change: &Change,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    standing: &Standing,
) -> Vec<Reason> {
    if change.fields.iter().any(|field| field.field == "spec")
        && let Some(old) = old
    {
        let given: Vec<Reason> = fields::differences(
            &fields::settings(&old.side.manifest),
            &fields::settings(&new.side.manifest),
            |_| false,
        )
        .into_iter()
        .filter(|field| matches!(field.field.as_str(), "ssh.key" | "ssh.host_key"))
        .flat_map(|field| {
            because(format!(
                "{} {} -> {}",
                field.field,
                field.old.unwrap_or_default(),
                field.new.unwrap_or_default()
            ))
        })
        .collect();
        if !given.is_empty() {
            return given;
        }
    }
    change
        .reasons
        .iter()
        .map(|reason| {
            let mut text = reason.text.clone();
            for (made_up, name) in &standing.images {
                text = text.replace(made_up, name);
            }
            if let (Cause::Upstream, Some(below)) = (reason.cause, made_from(&change.address, new))
            {
                text = format!("snapshot.{below}, which it is made from, is built anew");
            }
            Reason {
                cause: reason.cause,
                text,
            }
        })
        .collect()
}

/// The snapshot below a snapshot.
fn made_from<'a>(address: &Address, new: &'a Known<'_>) -> Option<&'a str> {
    let Address::Snapshot(name) = address else {
        return None;
    };
    match &new.side.manifest.snapshots.get(&**name)?.from {
        ImageSource::Snapshot(reference) => Some(&reference.snapshot),
        ImageSource::Slug(_) | ImageSource::Id(_) => None,
    }
}
