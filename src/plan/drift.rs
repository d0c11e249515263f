//! Drift: how what exists differs from what was last applied.
//!
//! There is no state file, so what exists alone does not tell an edit of the manifest from a change
//! by hand. What was last applied does: planned once more, it would change nothing. Whatever it
//! would change was changed by somebody else. The record of it is history, kept by the caller; a plan
//! only takes the causes it shows from it, never what it does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::change::{Action, Cause, Change, FieldChange, Reason};
use super::error::{Refusal, RefusalKind};
use super::{Options, Plan, planner, renames};
use crate::address::Address;
use crate::desired::Desired;
use crate::live::{DropletStatus, Live, LiveDroplet, ownership};
use crate::units::Gib;

/// One resource that is no longer as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// Which one.
    pub address: Address,
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its id there, when it is there.
    pub id: Option<String>,
    /// What has become of it.
    pub kind: DriftKind,
    /// What is known beyond the fields, in words.
    pub reasons: Vec<String>,
    /// Which fields differ.
    pub fields: Vec<DriftField>,
}

/// What has become of something that was applied.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// It is another than it was.
    Changed,
    /// It is not there any more.
    Gone,
    /// It is there, bears the environment's tags or name, and was not applied.
    Unasked,
}

/// A field that differs from what was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftField {
    /// Its name, as in a plan.
    pub field: String,
    /// What was applied; absent when there was none.
    pub applied: Option<String>,
    /// What was found; absent when there is none, or it cannot be read back.
    pub found: Option<String>,
}

/// Finds what is no longer as it was applied; `now` is seconds since 1970. Sorted by address.
#[must_use]
pub fn drift(applied: &Desired, live: &Live, now: i64) -> Vec<Drift> {
    let (changes, refusals) = differences(applied, live, now);
    let mut found: Vec<Drift> = changes.iter().filter_map(of_change).collect();
    for refusal in refusals {
        // What no plan can mend has drifted all the same.
        if let (true, Some(address)) = (tells_drift(refusal.kind), refusal.address) {
            let grown = (refusal.kind == RefusalKind::Shrink)
                .then(|| grown(applied, live, &address))
                .flatten();
            let drift = about(&mut found, &address, || Drift {
                name: name_of(applied, &address),
                id: grown.as_ref().map(|(id, _)| id.clone()),
                ..changed(&address)
            });
            match grown {
                Some((_, field)) => drift.fields.push(field),
                None => drift.reasons.push(refusal.reason),
            }
        }
    }
    for change in &changes {
        let Some((live, field)) = power(change, live) else {
            continue;
        };
        let drift = about(&mut found, &change.address, || Drift {
            name: live.name.clone(),
            id: change.id.clone(),
            ..changed(&change.address)
        });
        drift.fields.push(field);
    }
    found.sort_by(|a, b| {
        (&a.address, a.kind, &a.name, &a.id).cmp(&(&b.address, b.kind, &b.name, &b.id))
    });
    found
}

/// What is told of a resource; made by `otherwise` when nothing is yet.
fn about<'f>(
    found: &'f mut Vec<Drift>,
    address: &Address,
    otherwise: impl FnOnce() -> Drift,
) -> &'f mut Drift {
    let known = found.iter().position(|drift| drift.address == *address);
    let position = known.unwrap_or_else(|| {
        found.push(otherwise());
        found.len() - 1
    });
    &mut found[position]
}

/// A resource that is another than it was, of which nothing is known yet.
fn changed(address: &Address) -> Drift {
    Drift {
        address: address.clone(),
        name: String::new(),
        id: None,
        kind: DriftKind::Changed,
        reasons: Vec::new(),
        fields: Vec::new(),
    }
}

/// The id and the size of a volume that is larger than it was applied: no plan makes it smaller.
fn grown(applied: &Desired, live: &Live, address: &Address) -> Option<(String, DriftField)> {
    let mut volumes = applied.volumes.iter();
    let volume = volumes.find(|volume| volume.address == *address)?;
    let found = live.volumes.iter().find(|live| {
        live.region == applied.scope.region
            && [
                live.name.as_str(),
                ownership::called(&live.name, &live.tags),
            ]
            .contains(&volume.name.as_str())
    })?;
    let field = DriftField {
        field: "size".to_owned(),
        applied: volume.size.map(|size| size.to_string()),
        found: Some(Gib(found.size_gib).to_string()),
    };
    Some((found.id.clone(), field))
}

/// That a droplet which was applied, and would stay, does not run: no plan powers it on.
fn power<'l>(change: &Change, live: &'l Live) -> Option<(&'l LiveDroplet, DriftField)> {
    if !matches!(change.address, Address::Droplet { .. }) || change.action == Action::Delete {
        return None;
    }
    let id: u64 = change.id.as_ref()?.parse().ok()?;
    let droplet = live.droplets.iter().find(|droplet| droplet.id == id)?;
    let word = match &droplet.status {
        DropletStatus::New | DropletStatus::Active => return None,
        DropletStatus::Off => "off",
        DropletStatus::Other(word) => word,
    };
    let field = DriftField {
        field: "power".to_owned(),
        applied: Some("on".to_owned()),
        found: Some(word.to_owned()),
    };
    Some((droplet, field))
}

/// What a plan puts down to somebody else's doing when nothing tells what was applied: only what no
/// manifest asks for, such as a tag of dewpoint that was lost.
#[must_use]
pub fn certain(plan: &Plan) -> Vec<Drift> {
    let mut found = Vec::new();
    for change in &plan.changes {
        let reasons: Vec<String> = change
            .reasons
            .iter()
            .filter(|reason| reason.cause == Cause::Drift)
            .map(|reason| reason.text.clone())
            .collect();
        if !reasons.is_empty() {
            found.push(Drift {
                address: change.address.clone(),
                name: change.name.clone(),
                id: change.id.clone(),
                kind: DriftKind::Changed,
                reasons,
                fields: Vec::new(),
            });
        }
    }
    found
}

impl Plan {
    /// Tells changes that undo somebody else's doing from those that the manifest asks for, by what
    /// was last applied; `now` is seconds since 1970. No step depends on it.
    pub fn tell_drift(&mut self, applied: &Desired, live: &Live, now: i64) {
        let (drifted, _) = differences(applied, live, now);
        for change in &mut self.changes {
            let same = |other: &&Change| {
                other.address == change.address
                    && other.name == change.name
                    && other.id == change.id
                    && is_drift(other)
            };
            if let Some(drifted) = drifted.iter().find(same) {
                attribute(change, drifted);
            }
        }
    }
}

/// Gives the cause of a change, of which `drifted` is the part that was not asked for.
fn attribute(change: &mut Change, drifted: &Change) {
    if change.action == Action::Keep {
        return;
    }
    if change.action == Action::Delete {
        for reason in &mut change.reasons {
            if reason.cause == Cause::Manifest {
                reason.cause = Cause::Drift;
                UNASKED.clone_into(&mut reason.text);
            }
        }
        return;
    }
    if change.id.is_none() || change.action == Action::CreateThenDestroy {
        // Made although it was applied before; another recipe has another name.
        for reason in &mut change.reasons {
            if reason.cause == Cause::Manifest {
                reason.cause = Cause::Drift;
                GONE.clone_into(&mut reason.text);
            }
        }
        if change.reasons.is_empty() {
            change.reasons.push(Reason {
                cause: Cause::Drift,
                text: GONE.to_owned(),
            });
        }
        return;
    }
    let (theirs, ours): (Vec<&FieldChange>, Vec<_>) = change
        .fields
        .iter()
        .partition(|field| drifted.fields.contains(field));
    if ours.is_empty() {
        for reason in &mut change.reasons {
            blame(reason);
        }
        return;
    }
    // Some of it is the manifest's, some is not: reasons that name a field are told apart, those
    // that speak of all fields are not.
    let mut rest: Vec<&str> = Vec::new();
    for field in theirs {
        let told = change.reasons.iter_mut().find(|reason| {
            reason.cause == Cause::Manifest
                && drifted.reasons.contains(reason)
                && is_about(&reason.text, &field.field)
        });
        match told {
            Some(reason) => blame(reason),
            None => rest.push(&field.field),
        }
    }
    if !rest.is_empty() {
        change.reasons.push(Reason {
            cause: Cause::Drift,
            text: format!("{OUTSIDE}: {}", rest.join(", ")),
        });
    }
}

/// Puts a difference that the manifest seemed to ask for down to somebody else.
fn blame(reason: &mut Reason) {
    if reason.cause == Cause::Manifest {
        reason.cause = Cause::Drift;
        reason.text = format!("{}: {OUTSIDE}", reason.text);
    }
}

/// Why something differs that the manifest did not change.
const OUTSIDE: &str = "changed outside of dewpoint";
/// Why something is made that was applied already.
const GONE: &str = "it was applied before, and was deleted since, by hand or by a sweep";
/// Why something goes that was never applied.
const UNASKED: &str = "it is not in the manifest, and was not applied from here";

/// What a plan for `applied` would do, and what would stand in its way.
fn differences(applied: &Desired, live: &Live, now: i64) -> (Vec<Change>, Vec<Refusal>) {
    let renames = renames::Renames::find(&applied.scope, live);
    let mut refusals = renames.refusals.clone();
    let renamed = (!renames.is_empty()).then(|| renames.desired(applied));
    let wanted = renamed.as_ref().unwrap_or(applied);
    let (draft, _, _) = planner::draw(wanted, live, &Options::default(), now);
    refusals.extend(draft.refusals);
    (draft.changes, refusals)
}

/// Whether a change of a plan for what was applied says that somebody else was at it: what time
/// brings, what earlier runs left and what follows from another change does not.
fn is_drift(change: &Change) -> bool {
    let is_theirs = |reason: &Reason| matches!(reason.cause, Cause::Manifest | Cause::Drift);
    match change.action {
        Action::Keep => false,
        Action::Create => change.reasons.iter().all(is_theirs),
        // Copies to other regions and old snapshots that go are nobody's doing.
        Action::Update if matches!(change.address, Address::Snapshot(_)) => {
            change.fields.iter().any(is_of_itself)
        }
        Action::Update | Action::DestroyThenCreate | Action::CreateThenDestroy | Action::Delete => {
            change.reasons.iter().any(is_theirs)
        }
    }
}

/// Whether a reason speaks of one field, as in `size s-1vcpu-1gb -> s-2vcpu-2gb`.
fn is_about(reason: &str, field: &str) -> bool {
    let rest = reason.strip_prefix(field);
    rest.is_some_and(|rest| rest.starts_with(' '))
}

fn is_of_itself(field: &FieldChange) -> bool {
    !matches!(field.field.as_str(), "region" | "prune")
}

fn of_change(change: &Change) -> Option<Drift> {
    if !is_drift(change) {
        return None;
    }
    let kind = match (&change.address, change.action) {
        (_, Action::Create) | (Address::Snapshot(_), Action::CreateThenDestroy) => DriftKind::Gone,
        (_, Action::Delete) => DriftKind::Unasked,
        _ => DriftKind::Changed,
    };
    let fields: Vec<DriftField> = match kind {
        DriftKind::Gone | DriftKind::Unasked => Vec::new(),
        DriftKind::Changed => change
            .fields
            .iter()
            .filter(|field| field.old != field.new && !field.known_after_apply)
            .filter(|field| is_of_itself(field))
            .map(|field| DriftField {
                field: field.field.clone(),
                applied: field.new.clone(),
                found: field.old.clone(),
            })
            .collect(),
    };
    let told = |text: &str| fields.iter().any(|field| is_about(text, &field.field));
    let reasons = change
        .reasons
        .iter()
        // What the manifest is said to ask for, the fields say better.
        .filter(|reason| {
            reason.cause == Cause::Drift || (fields.is_empty() && kind == DriftKind::Changed)
        })
        .filter(|reason| !told(&reason.text))
        .map(|reason| reason.text.clone())
        .collect();
    Some(Drift {
        address: change.address.clone(),
        name: change.name.clone(),
        id: if kind == DriftKind::Gone {
            None
        } else {
            change.id.clone()
        },
        kind,
        reasons,
        fields,
    })
}

/// Whether something stands in the way because what exists has changed.
const fn tells_drift(kind: RefusalKind) -> bool {
    match kind {
        RefusalKind::NameTaken
        | RefusalKind::Owned
        | RefusalKind::Missing
        | RefusalKind::Shrink
        | RefusalKind::Filesystem
        | RefusalKind::Region
        | RefusalKind::AttachedElsewhere => true,
        RefusalKind::Held
        | RefusalKind::Size
        | RefusalKind::Image
        | RefusalKind::Disk
        | RefusalKind::AccountLimit
        | RefusalKind::AccountState
        | RefusalKind::Limits
        | RefusalKind::Protected
        | RefusalKind::NotRunning
        | RefusalKind::InUse
        | RefusalKind::NoSuchAddress
        | RefusalKind::NoSuchStep
        | RefusalKind::NotReplaced
        | RefusalKind::Internal => false,
    }
}

/// What a resource that was applied is called on DigitalOcean.
fn name_of(applied: &Desired, address: &Address) -> String {
    let volumes = applied
        .volumes
        .iter()
        .map(|v| (&v.address, v.name.as_str()));
    let snapshots = applied.snapshots.iter();
    let snapshots = snapshots.map(|s| (&s.address, s.image_name.as_str()));
    let droplets = applied
        .droplets
        .iter()
        .map(|d| (&d.address, d.name.as_str()));
    volumes
        .chain(snapshots)
        .chain(droplets)
        .find(|(known, _)| *known == address)
        .map_or_else(
            || applied.scope.environment_name(),
            |(_, name)| name.to_owned(),
        )
}
