//! What becomes of each resource: the planner's verdicts, gathered under the manifest's entries.

use std::collections::{BTreeMap, BTreeSet};

use super::Known;
use super::applied::{self, stands};
use super::difference::{Effect, Outcome, ResourceChange, StepChange};
use super::fields::{self, Fields};
use super::steps;
use crate::address::Address;
use crate::desired::Desired;
use crate::live::{Live, LiveVolume};
use crate::manifest::Manifest;
use crate::manifest::schema::Scope;
use crate::plan::{Action, Cause, Change, FieldChange, Outlook, Reason, RefusalKind};

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
        if let Some(fate) = fate(change, old, new, &standing) {
            fates.entry(entry(&fate.address)).or_default().push(fate);
        }
    }
    for (id, (address, name)) in &standing.things {
        if !seen.contains(id.as_str()) {
            left_behind(address, name, old, new, &mut fates);
        }
    }
    single_use(old, new, &mut fates);
    refusals(new, outlook, &mut fates);
    replaced_keys(old, new, &mut fates);

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

/// What stands of the old manifest: address and name by id.
struct Standing {
    things: BTreeMap<String, (Address, String)>,
    /// What images are called by the ids made up for them.
    images: Vec<(String, String)>,
}

impl Standing {
    fn of(old: Option<&Known<'_>>, live: &Live) -> Self {
        let mut things = BTreeMap::new();
        let images = live
            .images
            .iter()
            .map(|image| (format!("image {}", image.id), image.name.clone()))
            .collect();
        let Some(Known { desired, .. }) = old else {
            return Self { things, images };
        };
        for droplet in &live.droplets {
            if let Some(of) = desired.droplets.iter().find(|of| of.name == droplet.name) {
                let what = (of.address.clone(), droplet.name.clone());
                things.insert(droplet.id.to_string(), what);
            }
        }
        for volume in &live.volumes {
            if let Some(of) = desired.volumes.iter().find(|of| of.name == volume.name) {
                let what = (of.address.clone(), volume.name.clone());
                things.insert(volume.id.clone(), what);
            }
        }
        for image in &live.images {
            let found = desired.snapshots.iter();
            if let Some(of) = found.clone().find(|of| of.image_name == image.name) {
                let what = (of.address.clone(), image.name.clone());
                things.insert(image.id.to_string(), what);
            }
        }
        for firewall in &live.firewalls {
            let what = (Address::Firewall, firewall.name.clone());
            things.insert(firewall.id.clone(), what);
        }
        for key in &live.ssh_keys {
            things.insert(key.id.to_string(), (Address::SshKey, key.name.clone()));
        }
        Self { things, images }
    }
}

/// The manifest's entry that an address belongs to.
fn entry(address: &Address) -> Address {
    match address {
        Address::Droplet { name, .. } => Address::droplet(name),
        other => other.clone(),
    }
}

fn entries_of(manifest: &Manifest) -> Vec<Address> {
    let volumes = manifest.volumes.keys().cloned().map(Address::Volume);
    let snapshots = manifest.snapshots.keys().cloned().map(Address::Snapshot);
    let droplets = manifest.droplets.keys().map(|name| Address::droplet(name));
    volumes.chain(snapshots).chain(droplets).collect()
}

/// Old names of volumes by the names they are given.
fn renames(old: Option<&Known<'_>>, new: &Known<'_>) -> BTreeMap<String, String> {
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

fn fate(
    change: &Change,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    standing: &Standing,
) -> Option<Fate> {
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
            because(if new.side.manifest.droplets.contains_key(name) {
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
        _ => reasons(change, old, new, standing),
    };
    Some(Fate {
        outcome,
        address,
        name: change.name.clone(),
        reasons,
    })
}

/// Whether a manifest asks for a droplet of that name.
fn is_wanted(known: &Known<'_>, name: &str) -> bool {
    let mut droplets = known.desired.droplets.iter();
    droplets.any(|droplet| droplet.name == name)
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

fn because(text: impl Into<String>) -> Vec<Reason> {
    vec![Reason {
        cause: Cause::Manifest,
        text: text.into(),
    }]
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
            Reason {
                cause: reason.cause,
                text,
            }
        })
        .collect()
}

/// Something of the old manifest that the planner leaves alone.
fn left_behind(
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
        Address::Snapshot(of) => same_project && manifest.snapshots.contains_key(of),
        _ => false,
    };
    if goes_on {
        return;
    }
    let own = |of: &String| {
        let volume = old.side.manifest.volumes.get(of);
        volume.is_none_or(|volume| volume.existing.is_none())
    };
    let is_environments = |of: &String| {
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
fn single_use(old: Option<&Known<'_>>, new: &Known<'_>, fates: &mut Fates) {
    let before = old.map_or(&[][..], |old| &old.desired.droplets);
    let after = &new.desired.droplets;
    let names = |droplets: &[crate::desired::Droplet]| -> BTreeSet<String> {
        droplets
            .iter()
            .map(|droplet| droplet.name.clone())
            .collect()
    };
    let (old_names, new_names) = (names(before), names(after));
    let mut push = |outcome, droplet: &crate::desired::Droplet, text: &str| {
        fates
            .entry(entry(&droplet.address))
            .or_default()
            .push(Fate {
                outcome,
                address: droplet.address.clone(),
                name: droplet.name.clone(),
                reasons: because(text),
            });
    };
    for droplet in after.iter().filter(|droplet| !stands(droplet)) {
        if !old_names.contains(&droplet.name) {
            push(
                Outcome::Created,
                droplet,
                "it is made for its runs, and destroyed after them",
            );
        }
    }
    for droplet in before.iter().filter(|droplet| !stands(droplet)) {
        if !new_names.contains(&droplet.name) {
            push(
                Outcome::Dropped,
                droplet,
                "it was made for its runs alone, so nothing of it stands",
            );
        }
    }
}

/// A volume or snapshot for which something is refused that cannot be done: nothing becomes of it.
fn refusals(new: &Known<'_>, outlook: &Outlook, fates: &mut Fates) {
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
fn replaced_keys(old: Option<&Known<'_>>, new: &Known<'_>, fates: &mut Fates) {
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

fn entry_fields(
    address: &Address,
    old: Option<&Known<'_>>,
    new: &Known<'_>,
    forced: &BTreeSet<&str>,
) -> Vec<FieldChange> {
    let of = |known: &Known<'_>, address: &Address| -> Option<Fields> {
        let manifest = &known.side.manifest;
        match address {
            Address::Volume(name) => manifest.volumes.get(name).map(fields::volume),
            Address::Snapshot(name) => manifest.snapshots.get(name).map(fields::snapshot),
            Address::Droplet { name, .. } => manifest.droplets.get(name).map(fields::droplet),
            Address::Firewall | Address::SshKey => None,
        }
    };
    let mut before_address = address.clone();
    let mut name = None;
    if let Address::Volume(now) = address
        && let Some(was) = renames(old, new).remove(now)
    {
        name = Some((was.clone(), now.clone()));
        before_address = Address::Volume(was);
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
    if let Some((was, now)) = name {
        differences.insert(
            0,
            FieldChange {
                field: "name".to_owned(),
                old: Some(was),
                new: Some(now),
                forces_replace: false,
                known_after_apply: false,
            },
        );
    }
    differences
}

fn entry_steps(address: &Address, old: Option<&Known<'_>>, new: &Known<'_>) -> Vec<StepChange> {
    let nothing = super::CopiedFiles::new();
    let before = old.map(|old| &old.side.manifest);
    let after = &new.side.manifest;
    match address {
        Address::Snapshot(name) => steps::recipe(
            before.and_then(|before| before.snapshots.get(name)),
            after.snapshots.get(name),
            old.map_or(&nothing, |old| &old.side.copies),
            &new.side.copies,
        ),
        Address::Droplet { name, .. } => steps::runs(
            before.and_then(|before| before.droplets.get(name)),
            after.droplets.get(name),
        ),
        _ => Vec::new(),
    }
}

/// What differs for things of which nothing else becomes anything.
fn later(
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
                |known: &Known<'_>| known.side.manifest.snapshots.get(name).map(|of| of.keep);
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
