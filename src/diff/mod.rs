//! What a change of a manifest means: what `apply` would do if the old one had been applied.
//!
//! What comes in: two manifests, what their recipes copy, and prices if there are any. What goes
//! out: a [`Difference`]. There is one set of rules for what can change in place, what must be made
//! anew and what is refused: the planner's. So the old manifest is taken for applied
//! (`applied`), the planner looks from there at the new one, and what it says is set beside what
//! differs in the manifests (`fields`, `steps`).
//!
//! **Invariant:** no I/O, no clock, no network; the same manifests give the same difference, and what
//! means nothing (order of keys, comments, layout) is no difference.

mod applied;
mod cost;
pub mod difference;
mod effects;
mod fields;
mod risks;
mod steps;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use difference::{
    Amounts, CostChange, Difference, Effect, FileAction, FileChange, Finding, LeftBehind, Outcome,
    ResourceChange, Risk, RiskKind, SideName, StepAction, StepChange,
};

use crate::desired::{self, Desired, DesiredError, GitCommit, Inputs, SshKey};
use crate::digest::Digest;
use crate::guest::Entry;
use crate::live::Catalog;
use crate::manifest::Manifest;
use crate::plan::{self, FieldChange, Options, Outlook, Refusal};

/// What recipes copy, by path as it is written in the manifest.
pub type CopiedFiles = BTreeMap<String, CopiedFile>;

/// What a recipe copies, as it is on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedFile {
    /// The digest that stands for it.
    pub digest: Digest,
    /// Its files by path below it; one with an empty path when it is a file itself.
    pub files: BTreeMap<String, Entry>,
    /// Of those, what git does not know.
    pub untracked: BTreeSet<String>,
}

/// A manifest and what was read for it.
#[derive(Debug, Clone)]
pub struct Side {
    /// Where it was read.
    pub name: String,
    /// The manifest.
    pub manifest: Manifest,
    /// What its recipes copy: all that [`desired::reads`] names.
    pub copies: CopiedFiles,
}

/// Prices of droplets, and when they were read.
#[derive(Debug, Clone, Copy)]
pub struct Prices<'a> {
    /// Sizes with their prices.
    pub catalog: &'a Catalog,
    /// When they were read.
    pub at: jiff::Timestamp,
}

/// A side with all that follows from it.
struct Known<'a> {
    side: &'a Side,
    desired: Desired,
}

impl<'a> Known<'a> {
    fn of(side: &'a Side) -> Result<Self, DesiredError> {
        let manifest = &side.manifest;
        let reads = desired::reads(manifest);
        let commits = reads.git.into_iter().map(|read| {
            let reference = read.reference.clone().unwrap_or_else(|| "HEAD".to_owned());
            // Where a branch stands is only asked when a plan is made.
            let commit = Digest::of(&(&read.url, &reference)).as_str()[..40].to_owned();
            (read, GitCommit { reference, commit })
        });
        let inputs = Inputs {
            // What tells keys apart without opening one.
            ssh_key: SshKey {
                public_key: manifest.ssh.key.clone(),
                fingerprint: Digest::of(&(
                    &manifest.project,
                    &manifest.environment,
                    &manifest.ssh.key,
                ))
                .short()
                .to_owned(),
                generated: manifest.ssh.key == "generated",
            },
            copies: side
                .copies
                .iter()
                .map(|(path, copied)| (path.clone(), copied.digest.clone()))
                .collect(),
            commits: commits.collect(),
        };
        Ok(Self {
            side,
            desired: desired::desired(manifest, &inputs)?,
        })
    }

    fn name(&self) -> SideName {
        let Manifest {
            project,
            environment,
            region,
            ..
        } = &self.side.manifest;
        SideName {
            name: self.side.name.clone(),
            project: project.clone(),
            environment: environment.clone(),
            region: region.clone(),
        }
    }
}

/// Compares two manifests; `old` is absent when there was none.
///
/// # Errors
/// When a manifest contradicts itself in a way its own checks let pass.
pub fn compare(
    old: Option<&Side>,
    new: &Side,
    prices: Option<Prices<'_>>,
) -> Result<Difference, DesiredError> {
    let old = old.map(Known::of).transpose()?;
    let new = Known::of(new)?;
    let catalog = prices.map(|prices| prices.catalog);
    let ttl = new.desired.ttl;
    let options = Options::default();
    let mut live = match &old {
        Some(old) => applied::applied(&old.desired, ttl, catalog),
        None => crate::live::Live {
            catalog: catalog.cloned().unwrap_or_default(),
            ..Default::default()
        },
    };
    let before = old
        .as_ref()
        .map(|old| plan::outlook(&old.desired, &live, &options, applied::NOW));
    effects::add_existing(&new.desired, &mut live);
    let after = plan::outlook(&new.desired, &live, &options, applied::NOW);
    let refused = refused(before.as_ref(), &after);
    let resources = effects::resources(old.as_ref(), &new, &live, &after);
    let left_behind = old
        .as_ref()
        .and_then(|old| cost::left_behind(old, &new, &live, prices));
    let mut difference = Difference {
        version: 1,
        old: old.as_ref().map(Known::name),
        new: new.name(),
        data_at_risk: Vec::new(),
        refused: refused.iter().map(|refusal| finding(refusal)).collect(),
        resources,
        settings: settings(old.as_ref(), &new),
        cost: cost::change(
            before.as_ref().map(|before| &before.cost),
            &after.cost,
            left_behind,
            !refused.is_empty(),
            prices,
        ),
        notices: Vec::new(),
    };
    if let Some(old) = &old {
        difference.data_at_risk = risks::risks(old, &new, &difference.resources, &after, &refused);
        if let Some(left) = &left_behind {
            difference.notices.push(cost::stays(old, &new, left));
        }
    }
    Ok(difference)
}

/// What the new manifest is refused for and the old one was not.
fn refused<'a>(before: Option<&Outlook>, after: &'a Outlook) -> Vec<&'a Refusal> {
    let before = before.map_or(&[][..], |before| &before.refusals);
    after
        .refusals
        .iter()
        .filter(|refusal| !before.contains(refusal))
        .collect()
}

fn finding(refusal: &Refusal) -> Finding {
    Finding {
        address: refusal.address.clone(),
        code: refusal.kind.code().to_owned(),
        reason: refusal.reason.clone(),
        help: refusal.help.clone(),
    }
}

/// What differs beside resources. Of a first manifest nothing is told that is a default's.
fn settings(old: Option<&Known<'_>>, new: &Known<'_>) -> Vec<FieldChange> {
    let Some(old) = old else { return Vec::new() };
    fields::differences(
        &fields::settings(&old.side.manifest),
        &fields::settings(&new.side.manifest),
        |_| false,
    )
}

/// The JSON Schema of differences: what `schemas/diff.schema.json` holds.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Difference).to_value()
}
