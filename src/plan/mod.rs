//! The plan: desired + live + options + now -> changes, and steps in an order that every edge explains.
//!
//! **Invariant:** no I/O, no clock, no randomness, and the same inputs give the same plan, byte for
//! byte. A plan is executed exactly as it was made: whatever only execution can know is a typed
//! reference to the step that will know it. petgraph's types stay inside `graph`.

pub mod adopt;
mod build;
mod census;
pub mod change;
pub mod check;
mod compare;
pub mod cost;
pub mod drift;
mod droplet_verdict;
pub mod durations;
mod error;
mod expected;
mod graph;
mod holder;
pub mod inventory;
mod json_schema;
mod narrow;
mod outlook;
mod planner;
mod preflight;
mod protect;
mod renames;
mod run;
pub mod saved;
pub mod schedule;
pub mod seen;
pub mod step;
pub mod sweep;
mod teardown;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use change::{Action, Activity, Cause, Change, FieldChange, Reason};
pub use cost::{Basis, Cost};
pub use drift::{Drift, DriftField, DriftKind};
pub use durations::{Durations, Observation, Pace};
pub use error::{Refusal, RefusalKind, Refusals};
pub use holder::{environment_of, held_by};
pub use json_schema::json_schema;
pub use outlook::{Outlook, outlook};
pub use run::Selection;
pub use saved::Saved;
pub use step::{Edge, EdgeKind, Step, StepId, StepKind};

use crate::address::Address;
use crate::desired::{Desired, Scope};
use crate::digest::Digest;
use crate::live::Live;

/// What the caller asks for beside what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `Apply` or `Test`; the others are [`destroy`]'s.
    pub goal: Goal,
    /// Protected resources that may be destroyed or replaced this once.
    pub unprotect: Vec<Address>,
    /// Whether builders of snapshots stay when something went wrong on them.
    pub keep_builder: bool,
    /// Addresses, in which `*` stands for any characters: only these, and what they need, are changed
    /// and worked on. All of them when there are none.
    pub targets: Vec<String>,
    /// Addresses, likewise, of what is made anew although nothing is wrong with it.
    pub replace: Vec<String>,
    /// Whether only what should not be there is removed, and nothing else done.
    pub only_destroy: bool,
}

impl Options {
    /// Whether something of the plan is left out.
    #[must_use]
    pub fn narrows(&self) -> bool {
        self.only_destroy || !self.targets.is_empty()
    }

    /// The same without leaving anything out.
    fn whole(&self) -> Self {
        Self {
            targets: Vec::new(),
            only_destroy: false,
            ..self.clone()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            goal: Goal::Apply,
            unprotect: Vec::new(),
            keep_builder: false,
            targets: Vec::new(),
            replace: Vec::new(),
            only_destroy: false,
        }
    }
}

/// Plans the way from what exists to what should; `now` is seconds since 1970.
///
/// # Errors
/// Everything that stands in the way, at once.
pub fn plan(desired: &Desired, live: &Live, options: &Options, now: i64) -> Result<Plan, Refusals> {
    let renames = renames::Renames::find(&desired.scope, live);
    Refusals::or(renames.refusals.clone(), ())?;
    if renames.is_empty() {
        planner::plan(desired, live, options, now)
    } else {
        planner::plan(&renames.desired(desired), live, options, now)
    }
}

/// Plans source and run steps on droplets that are up, and nothing else.
///
/// # Errors
/// When nothing is chosen, or a droplet that is chosen is not up.
pub fn run(desired: &Desired, live: &Live, selection: &Selection) -> Result<Plan, Refusals> {
    run::run(desired, live, selection)
}

/// Plans the way to an empty environment, or an empty project, from what exists alone.
///
/// # Errors
/// Everything that stands in the way, at once.
pub fn destroy(
    scope: &Scope,
    live: &Live,
    whole_project: bool,
    unprotect: &[Address],
) -> Result<Plan, Refusals> {
    // What a manifest calls two things does not keep either from being destroyed.
    let renames = renames::Renames::find(scope, live);
    if renames.is_empty() {
        teardown::destroy(scope, live, whole_project, unprotect)
    } else {
        teardown::destroy(&renames.scope(scope), live, whole_project, unprotect)
    }
}

/// What a plan is made to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// What the manifest says (`apply`).
    Apply,
    /// What the manifest says, run, then the environment emptied, whatever happened (`test`).
    Test,
    /// Source and run steps on droplets that are up, and nothing else (`run`).
    Run,
    /// An empty environment; what the project owns stays (`destroy`).
    Destroy,
    /// An empty environment and an empty project (`destroy --project`).
    DestroyProject,
    /// An account without what has expired or was left behind (`sweep`).
    Sweep,
}

/// A plan: what will change, why, in which steps, for how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[must_use]
pub struct Plan {
    /// Version of the plan's format: 1.
    pub version: u32,
    /// Name of the project.
    pub project: String,
    /// Name of the environment.
    pub environment: String,
    /// Slug of the region.
    pub region: String,
    /// What the plan is made to reach.
    pub goal: Goal,
    /// Digest of the desired state it was made from.
    #[schemars(with = "String")]
    pub desired_digest: Digest,
    /// Digest of what it rests on in the live state: see [`seen::Seen`].
    #[schemars(with = "String")]
    pub live_digest: Digest,
    /// What becomes of each resource, kept ones too, sorted by address.
    pub changes: Vec<Change>,
    /// What every apply does anyway: runs, and the cycle of single-use droplets. Not changes.
    pub activities: Vec<Activity>,
    /// The steps; a step's id is its position here.
    pub steps: Vec<Step>,
    /// What must come before what, and why; sorted.
    pub edges: Vec<Edge>,
    /// What it costs.
    pub cost: Cost,
    /// What the reader should know beside: one sentence each.
    pub notices: Vec<String>,
}

impl Plan {
    /// Whether anything is to be created, changed, replaced or deleted. Activities are not changes.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.changes
            .iter()
            .any(|change| change.action != Action::Keep)
    }

    /// Whether executing it would do anything at all.
    #[must_use]
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Slugs of the public images that it makes droplets from.
    #[must_use]
    pub fn public_images(&self) -> BTreeSet<String> {
        let slug = |step: &Step| match &step.kind {
            StepKind::CreateDroplets { spec, .. } => match &spec.image {
                step::ImageRef::Slug(slug) => Some(slug.clone()),
                _ => None,
            },
            _ => None,
        };
        self.steps.iter().filter_map(slug).collect()
    }

    /// Names of the droplets that it makes.
    #[must_use]
    pub fn new_droplets(&self) -> BTreeSet<&str> {
        self.steps
            .iter()
            .filter_map(|step| match &step.kind {
                StepKind::CreateDroplets { droplets, .. } => Some(droplets),
                _ => None,
            })
            .flatten()
            .map(|droplet| droplet.name.as_str())
            .collect()
    }

    /// The step of that id.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(id.0 as usize)
    }
}

#[cfg(test)]
pub(crate) mod tests;
