//! Steps of a recipe and runs: which are new, gone, different or elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::CopiedFiles;
use super::difference::{FileAction, FileChange, StepAction, StepChange};
use super::fields::{Collected, Fields, differences};
use crate::guest::Entry;
use crate::manifest::schema::{
    Copy, Droplet, PopulateStep, Provision, Ready, RunStep, Snapshot, Volume, When,
};
use crate::plan::FieldChange;

/// A step as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// Its own name, if it has one.
    name: Option<String>,
    /// What it is called otherwise.
    called: String,
    /// `run` or `copy`: only steps of one kind are the same one.
    kind: &'static str,
    fields: Fields,
    /// What it copies: path and digest; files by path.
    copies: Option<String>,
}

/// Fields of a recipe's step that the snapshot is not built anew for.
const NOT_IN_RECIPE: [&str; 3] = ["name", "timeout", "from"];

/// How the recipe of a snapshot differs.
pub(super) fn recipe(
    old: Option<&Snapshot>,
    new: Option<&Snapshot>,
    old_copies: &CopiedFiles,
    new_copies: &CopiedFiles,
) -> Vec<StepChange> {
    let steps = |snapshot: Option<&Snapshot>, copies: &CopiedFiles| -> Vec<Step> {
        let steps = snapshot.map_or(&[][..], |snapshot| &snapshot.provision);
        steps.iter().map(|step| provision(step, copies)).collect()
    };
    let old = steps(old, old_copies);
    let new = steps(new, new_copies);
    compare(
        &old,
        &new,
        &|name| !NOT_IN_RECIPE.contains(&name),
        &|a, b| match (
            a.and_then(|step| step.copies.as_ref()),
            b.and_then(|step| step.copies.as_ref()),
        ) {
            (Some(a), Some(b)) => files(a, b, old_copies, new_copies),
            _ => Vec::new(),
        },
    )
}

/// How the runs of a droplet differ.
pub(super) fn runs(old: Option<&Droplet>, new: Option<&Droplet>) -> Vec<StepChange> {
    let steps = |droplet: Option<&Droplet>| -> Vec<Step> {
        let steps = droplet.map_or(&[][..], |droplet| &droplet.run);
        steps.iter().map(run).collect()
    };
    compare(&steps(old), &steps(new), &|_| false, &|_, _| Vec::new())
}

/// How what fills a volume differs.
pub(super) fn populate(old: Option<&Volume>, new: Option<&Volume>) -> Vec<StepChange> {
    let steps = |volume: Option<&Volume>| -> Vec<Step> {
        let populate = volume.and_then(|volume| volume.populate.as_ref());
        let steps = populate.map_or(&[][..], |populate| &populate.run);
        steps.iter().map(filling).collect()
    };
    compare(&steps(old), &steps(new), &|_| false, &|_, _| Vec::new())
}

fn filling(step: &PopulateStep) -> Step {
    let PopulateStep {
        name,
        command,
        timeout,
    } = step;
    let mut fields = Collected::default();
    fields.some("name", name.as_ref());
    fields.add("command", command);
    fields.some("timeout", timeout.map(|timeout| timeout.to_string()));
    Step {
        name: name.clone(),
        called: beginning(command),
        kind: "run",
        fields: fields.0,
        copies: None,
    }
}

fn provision(step: &Provision, copies: &CopiedFiles) -> Step {
    let Provision {
        name,
        run,
        copy,
        env,
        timeout,
    } = step;
    let mut fields = Collected::default();
    fields.some("name", name.as_ref());
    fields.some("run", run.as_ref());
    let mut copied = None;
    if let Some(Copy { from, to }) = copy {
        fields.add("from", from);
        fields.add("to", to);
        if let Some(found) = copies.get(from) {
            fields.add("contents", found.digest.short());
            copied = Some(from.clone());
        }
    }
    let mut variables: Vec<(&String, &String)> = env.iter().collect();
    variables.sort();
    for (name, value) in variables {
        fields.add(format!("env.{name}"), value);
    }
    fields.some("timeout", timeout.map(|timeout| timeout.to_string()));
    let called = match (run, copy) {
        (Some(script), _) => beginning(script),
        (None, Some(copy)) => format!("copy {}", copy.from),
        (None, None) => String::new(),
    };
    Step {
        name: name.clone(),
        called,
        kind: if copy.is_some() { "copy" } else { "run" },
        fields: fields.0,
        copies: copied,
    }
}

fn run(step: &RunStep) -> Step {
    let RunStep {
        name,
        command,
        background,
        ready,
        timeout,
        retries,
        allow_failure,
        when,
        artifacts,
    } = step;
    let mut fields = Collected::default();
    fields.add("command", command);
    if *background {
        fields.add("background", "true");
    }
    if let Some(Ready {
        tcp,
        http,
        command,
        timeout,
    }) = ready
    {
        fields.some("ready.tcp", tcp.map(|port| port.to_string()));
        fields.some("ready.http", http.as_ref());
        fields.some("ready.command", command.as_ref());
        fields.some("ready.timeout", timeout.map(|timeout| timeout.to_string()));
    }
    fields.some("timeout", timeout.map(|timeout| timeout.to_string()));
    if *retries > 0 {
        fields.add("retries", retries.to_string());
    }
    if *allow_failure {
        fields.add("allow_failure", "true");
    }
    if *when == When::Once {
        fields.add("when", "once");
    }
    fields.set("artifacts", artifacts);
    Step {
        name: Some(name.clone()),
        called: name.clone(),
        kind: "run",
        fields: fields.0,
        copies: None,
    }
}

/// What a script without a name is called: the beginning of its first line.
fn beginning(script: &str) -> String {
    let line = script
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or("script");
    match line.char_indices().nth(32) {
        Some((end, _)) => format!("{}...", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

type Forces<'a> = &'a dyn Fn(&str) -> bool;
type Files<'a> = &'a dyn Fn(Option<&Step>, Option<&Step>) -> Vec<FileChange>;

fn compare(old: &[Step], new: &[Step], forces: Forces<'_>, files: Files<'_>) -> Vec<StepChange> {
    let pairs = pair(old, new);
    let in_place = longest_increasing(&pairs);
    // A recipe is its steps in order; a run is not built into anything.
    let is_recipe = forces("run");
    let mut changes = Vec::new();
    for (position, step) in new.iter().enumerate() {
        let partner = pairs.get(&position).copied();
        let before = partner.map(|partner| &old[partner]);
        let fields = match before {
            Some(before) => differences(&before.fields, &step.fields, forces),
            None => described(step),
        };
        let moved = partner.is_some() && !in_place.contains(&position);
        let action = match (before, moved, fields.is_empty()) {
            (None, _, _) => StepAction::Added,
            (Some(_), true, _) => StepAction::Moved,
            (Some(_), false, false) => StepAction::Changed,
            (Some(_), false, true) => continue,
        };
        changes.push(StepChange {
            name: step.name.clone().unwrap_or_else(|| step.called.clone()),
            action,
            old: partner.map(number),
            new: Some(number(position)),
            forces_rebuild: is_recipe
                && (action != StepAction::Changed
                    || fields.iter().any(|field| forces(&field.field))),
            fields: fields
                .into_iter()
                .filter(|field| field.field != "contents")
                .collect(),
            files: files(before, Some(step)),
        });
    }
    let kept: BTreeSet<usize> = pairs.values().copied().collect();
    for (position, step) in old.iter().enumerate() {
        if kept.contains(&position) {
            continue;
        }
        let fields = described(step).into_iter().map(|field| FieldChange {
            old: field.new,
            new: None,
            ..field
        });
        changes.push(StepChange {
            name: step.name.clone().unwrap_or_else(|| step.called.clone()),
            action: StepAction::Removed,
            old: Some(number(position)),
            new: None,
            forces_rebuild: is_recipe,
            fields: fields.collect(),
            files: Vec::new(),
        });
    }
    changes
}

fn number(position: usize) -> u32 {
    u32::try_from(position + 1).unwrap_or(u32::MAX)
}

fn described(step: &Step) -> Vec<FieldChange> {
    differences(&Vec::new(), &step.fields, |_| false)
        .into_iter()
        .filter(|field| !matches!(field.field.as_str(), "name" | "contents"))
        .collect()
}

/// New positions with the old ones of the same step: by its name; else by what it is; else by its
/// turn among those of its kind between two that are the same.
fn pair(old: &[Step], new: &[Step]) -> BTreeMap<usize, usize> {
    let mut pairs = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (position, step) in new.iter().enumerate() {
        let Some(name) = &step.name else { continue };
        let found = old
            .iter()
            .position(|other| other.name.as_ref() == Some(name) && other.kind == step.kind);
        if let Some(found) = found.filter(|found| !taken.contains(found)) {
            pairs.insert(position, found);
            taken.insert(found);
        }
    }
    let rest = |steps: &[Step], taken: &dyn Fn(usize) -> bool| -> Vec<usize> {
        (0..steps.len())
            .filter(|position| !taken(*position))
            .collect()
    };
    let old_rest = rest(old, &|position| taken.contains(&position));
    let new_rest = rest(new, &|position| pairs.contains_key(&position));
    let keys = |steps: &[Step], rest: &[usize]| -> Vec<String> {
        rest.iter()
            .map(|position| format!("{} {:?}", steps[*position].kind, steps[*position].fields))
            .collect()
    };
    let ops = capture_diff_slices(
        Algorithm::Myers,
        &keys(old, &old_rest),
        &keys(new, &new_rest),
    );
    // What stands between two that are the same was edited there.
    let mut edited_old: Vec<usize> = Vec::new();
    let mut edited_new: Vec<usize> = Vec::new();
    let mut settle = |edited_old: &mut Vec<usize>, edited_new: &mut Vec<usize>| {
        for position in edited_new.drain(..) {
            let step = &new[position];
            let same_place = |other: usize| {
                let place = |step: &Step| {
                    step.fields
                        .iter()
                        .find(|(name, _)| name == "to")
                        .map(|(_, to)| to.clone())
                };
                place(&old[other]) == place(step)
            };
            let fitting = |other: &usize| {
                let other = &old[*other];
                // A step that has a name and one of another name are two.
                other.kind == step.kind && (other.name.is_none() || step.name.is_none())
            };
            let found = edited_old
                .iter()
                .position(|other| fitting(other) && same_place(*other))
                .or_else(|| edited_old.iter().position(fitting));
            if let Some(found) = found {
                pairs.insert(position, edited_old.remove(found));
            }
        }
        edited_old.clear();
    };
    for op in ops {
        if let DiffOp::Equal {
            old_index,
            new_index,
            len,
        } = op
        {
            settle(&mut edited_old, &mut edited_new);
            for offset in 0..len {
                edited_old.push(old_rest[old_index + offset]);
                edited_new.push(new_rest[new_index + offset]);
                settle(&mut edited_old, &mut edited_new);
            }
        } else {
            edited_old.extend(old_rest[op.old_range()].iter().copied());
            edited_new.extend(new_rest[op.new_range()].iter().copied());
        }
    }
    settle(&mut edited_old, &mut edited_new);
    pairs
}

/// New positions of the largest number of steps that stand in the order they stood in.
fn longest_increasing(pairs: &BTreeMap<usize, usize>) -> BTreeSet<usize> {
    let pairs: Vec<(usize, usize)> = pairs.iter().map(|(new, old)| (*new, *old)).collect();
    let mut best: Vec<(usize, Option<usize>)> = Vec::with_capacity(pairs.len());
    for (at, (_, old)) in pairs.iter().enumerate() {
        let before = (0..at)
            .filter(|&earlier| pairs[earlier].1 < *old)
            .max_by_key(|&earlier| (best[earlier].0, std::cmp::Reverse(earlier)));
        let length = before.map_or(1, |before| best[before].0 + 1);
        best.push((length, before));
    }
    let mut at = (0..best.len()).max_by_key(|&at| (best[at].0, std::cmp::Reverse(at)));
    let mut kept = BTreeSet::new();
    while let Some(position) = at {
        kept.insert(pairs[position].0);
        at = best[position].1;
    }
    kept
}

/// Which files of what is copied differ.
fn files(
    old_from: &str,
    new_from: &str,
    old_copies: &CopiedFiles,
    new_copies: &CopiedFiles,
) -> Vec<FileChange> {
    let (Some(old), Some(new)) = (old_copies.get(old_from), new_copies.get(new_from)) else {
        return Vec::new();
    };
    let paths: BTreeSet<&String> = old.files.keys().chain(new.files.keys()).collect();
    paths
        .into_iter()
        .filter_map(|path| {
            let action = match (old.files.get(path), new.files.get(path)) {
                (a, b) if a == b => return None,
                // What is in a folder says that it is there.
                (None, Some(Entry::Folder)) | (Some(Entry::Folder), None) => {
                    let other = if old.files.contains_key(path) {
                        old
                    } else {
                        new
                    };
                    let below = format!("{path}/");
                    if other.files.keys().any(|path| path.starts_with(&below)) {
                        return None;
                    }
                    if std::ptr::eq(other, new) {
                        FileAction::Added
                    } else {
                        FileAction::Removed
                    }
                }
                (None, _) => FileAction::Added,
                (_, None) => FileAction::Removed,
                (Some(Entry::File { sha256: a, .. }), Some(Entry::File { sha256: b, .. }))
                    if a == b =>
                {
                    FileAction::Mode
                }
                (Some(Entry::File { .. }), Some(Entry::File { .. }))
                | (Some(Entry::Link { .. }), Some(Entry::Link { .. })) => FileAction::Changed,
                _ => FileAction::Mode,
            };
            let whole = if path.is_empty() {
                new_from.to_owned()
            } else {
                format!("{}/{path}", new_from.trim_end_matches('/'))
            };
            Some(FileChange {
                path: whole,
                action,
                untracked: old.untracked.contains(path) || new.untracked.contains(path),
            })
        })
        .collect()
}
