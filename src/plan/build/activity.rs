//! What every apply does anyway with a droplet, in words.

use super::Draft;
use super::droplet::{End, PlannedDroplet};
use super::snapshot::image_name;
use crate::desired::spec::{BackgroundSpec, SourceSpec};
use crate::desired::{Desired, Droplet, Mount};
use crate::plan::change::{Activity, ActivityRun, FieldChange};
use crate::plan::compare::made;

impl Draft<'_> {
    /// Notes what is done on a droplet, unless that is nothing.
    pub(super) fn note_activity(&mut self, desired: &Desired, planned: &PlannedDroplet<'_>) {
        let droplet = planned.droplet;
        let single_use = planned.is_single_use();
        let nothing_runs = droplet.source.is_none() && droplet.runs.is_empty();
        if nothing_runs && planned.end == End::Stays {
            return;
        }
        let after_run = match planned.end {
            End::Stays => "stays".to_owned(),
            End::Destroyed => "is destroyed whatever happens".to_owned(),
            End::DestroyedOnSuccess(None) => "is destroyed if every run succeeded".to_owned(),
            End::DestroyedOnSuccess(Some(keep)) => {
                format!("is destroyed if every run succeeded, else kept for {keep}")
            }
        };
        let fields = if single_use {
            described(desired, droplet)
        } else {
            Vec::new()
        };
        self.activities.push(Activity {
            address: droplet.address.clone(),
            name: droplet.name.clone(),
            single_use,
            source: droplet.source.as_ref().map(|source| source_text(source)),
            runs: droplet
                .runs
                .iter()
                .map(|run| ActivityRun {
                    name: run.spec.name.clone(),
                    command: run.spec.command.clone(),
                    timeout: run.spec.timeout,
                    once: run.spec.once.is_some(),
                    background: run.spec.background.as_ref().map(ready_text),
                })
                .collect(),
            after_run,
            fields,
        });
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
