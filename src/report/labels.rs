//! What steps and changes are called where their address alone would mislead.

use super::groups::title_of;
use crate::address::Address;
use crate::desired::names;
use crate::plan::{Change, Plan, Step, StepKind};

/// What a step stands under: its address; all droplets of a create; `environment` for
/// its tags, which are no resource's.
#[must_use]
pub(super) fn step_label(step: &Step) -> String {
    match &step.kind {
        StepKind::CreateDroplets { droplets, .. }
            if droplets.len() > 1 && matches!(step.address, Address::Droplet { .. }) =>
        {
            title_of(droplets.iter().map(|droplet| &droplet.address))
        }
        StepKind::CreateTags { .. } | StepKind::DeleteTags { .. } => "environment".to_owned(),
        _ => step.address.to_string(),
    }
}

/// What a step is called: where it belongs and what it does.
#[must_use]
pub(super) fn step_title(step: &Step) -> String {
    format!("{} {}", step_label(step), step.kind.title())
}

/// Whether a change is of a builder that an earlier run left: it bears its snapshot's address.
#[must_use]
pub(super) fn is_builder(plan: &Plan, change: &Change) -> bool {
    names::is_builder_of(
        &plan.project,
        &plan.environment,
        &change.address,
        &change.name,
    )
}
