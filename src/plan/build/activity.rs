//! What every apply does anyway with a droplet, in words.

use super::Draft;
use super::droplet::{End, PlannedDroplet};
use super::snapshot::image_name;
use crate::desired::spec::{BackgroundSpec, SourceSpec};
use crate::desired::{Desired, Droplet, Mount};
use crate::plan::change::{Activity, ActivityRun, FieldChange};
use crate::plan::compare::made;

impl<'a> Draft<'a> {
    /// Notes what is done on a droplet, unless that is nothing.
    pub(super) fn note_activity(&mut self, desired: &Desired, planned: &PlannedDroplet<'a>) {
        let droplet = planned.droplet;
        let nothing_runs = droplet.source.is_none() && droplet.runs.is_empty();
        if nothing_runs && planned.end == End::Stays {
            return;
        }
        // What is told of the one before is told of most.
        let told = self.told.as_ref().filter(|last| {
            last.end == planned.end
                && last.single_use == planned.is_single_use()
                && are_alike(last.droplet, droplet)
        });
        let activity = match (told, self.activities.last()) {
            (Some(_), Some(last)) => Activity {
                address: droplet.address.clone(),
                name: droplet.name.clone(),
                ..last.clone()
            },
            _ => activity(desired, planned),
        };
        self.told = Some(Told {
            droplet,
            end: planned.end,
            single_use: activity.single_use,
        });
        self.activities.push(activity);
    }
}

/// Of which droplet it was told last what is done on it.
pub(in crate::plan) struct Told<'a> {
    droplet: &'a Droplet,
    end: End,
    single_use: bool,
}

/// Whether two droplets are surely of one kind, which what they share tells without being read.
fn are_alike(one: &Droplet, other: &Droplet) -> bool {
    let sources = match (&one.source, &other.source) {
        (Some(one), Some(other)) => one.is_same(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    let mut mounts = one.mounts.iter().zip(&other.mounts);
    let mut runs = one.runs.iter().zip(&other.runs);
    one.tags.is_same(&other.tags)
        && sources
        && one.mounts.len() == other.mounts.len()
        && mounts.all(|(one, other)| one.path.is_same(&other.path))
        && one.runs.len() == other.runs.len()
        && runs.all(|(one, other)| one.artifacts.is_same(&other.artifacts))
}

fn activity(desired: &Desired, planned: &PlannedDroplet<'_>) -> Activity {
    let droplet = planned.droplet;
    let single_use = planned.is_single_use();
    let after_run = match planned.end {
        End::Stays => "stays".into(),
        End::Destroyed => "is destroyed whatever happens".into(),
        End::DestroyedOnSuccess(None) => "is destroyed if every run succeeded".into(),
        End::DestroyedOnSuccess(Some(keep)) => {
            format!("is destroyed if every run succeeded, else kept for {keep}").into()
        }
    };
    let fields = if single_use {
        described(desired, droplet)
    } else {
        Vec::new()
    };
    let source = droplet.source.as_ref();
    let runs = droplet.runs.iter().map(|run| ActivityRun {
        name: run.spec.name.clone(),
        command: run.spec.command.clone(),
        timeout: run.spec.timeout,
        once: run.spec.once.is_some(),
        background: run.spec.background.as_ref().map(ready_text),
    });
    Activity {
        address: droplet.address.clone(),
        name: droplet.name.clone(),
        single_use,
        source: source.map(|source| source_text(source).into()),
        runs: runs.collect::<Vec<_>>().into(),
        after_run,
        fields: fields.into(),
    }
}

/// What a droplet that is made will be.
pub(in crate::plan) fn described(desired: &Desired, droplet: &Droplet) -> Vec<FieldChange> {
    let mut fields = vec![
        made("size", droplet.size.as_str()),
        made("image", image_name(desired, &droplet.image)),
    ];
    for mount in &droplet.mounts {
        fields.push(made("volume", mount_text(mount)));
    }
    let own: Vec<&str> = droplet
        .tags
        .iter()
        .map(String::as_str)
        .filter(|tag| !tag.starts_with("dewpoint"))
        .collect();
    if !own.is_empty() {
        fields.push(made("tags", own.join(", ")));
    }
    fields
}

/// What is mounted where, in words.
pub(in crate::plan) fn mount_text(mount: &Mount) -> String {
    let copy = if mount.copy.is_some() {
        "a clone of "
    } else {
        ""
    };
    format!("{copy}{} at {}", mount.volume, mount.path)
}

/// When a background step is ready, in words.
fn ready_text(background: &BackgroundSpec) -> String {
    background
        .ready
        .as_ref()
        .map_or_else(|| "it runs".to_owned(), |ready| ready.probe.to_string())
}

fn source_text(source: &SourceSpec) -> String {
    match source {
        SourceSpec::Git {
            url,
            reference,
            commit,
            ..
        } => {
            let short: String = commit.chars().take(8).collect();
            format!("{url} @ {reference} ({short})")
        }
        SourceSpec::Path { path, into } => format!("{path} -> {into}"),
    }
}
