//! From a plan that is shown to one that may be carried out: somebody reads it, and others go on
//! meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use miette::Diagnostic;
use thiserror::Error;

use super::locks::Locks;
use super::plan_file::Moved;
use super::planning::{self, Planned};
use super::waiting::waiting;
use crate::cli::context::Context;
use crate::cloud;
use crate::live::Live;
use crate::live::ownership::Owner;
use crate::plan::seen::Seen;

/// What a plan was made from is not what is there once it is approved.
#[derive(Debug, Error, Diagnostic)]
#[error("what exists has moved while the plan was being approved; nothing was changed")]
#[diagnostic(
    code(dewpoint::cli::moved_meanwhile),
    help("run the same command again: it plans with what is there now")
)]
pub struct MovedMeanwhile {
    /// What is different.
    #[related]
    pub moved: Vec<Moved>,
}

/// Asks whether a plan is to be carried out. Who has the project's lock for it lets go of that while
/// somebody thinks, and takes it again for what was approved: which is carried out as it was shown, or
/// not at all.
///
/// # Errors
/// When it is not approved; when another run keeps the lock for longer than `patience`; when what the
/// plan was made from has moved.
pub(super) async fn ask(
    context: &Context,
    planned: &Planned,
    question: &str,
    locks: &Locks,
    patience: Duration,
) -> miette::Result<()> {
    let making = locks.making();
    let held = making.let_go().await;
    context.terminal.approve(question)?;
    if !held {
        return Ok(());
    }
    making
        .take_for(context, &planned.loaded, patience, &planned.plan)
        .await?;
    let moved = moved(context, planned).await?;
    if moved.is_empty() {
        return Ok(());
    }
    Err(MovedMeanwhile {
        moved: moved.into_iter().map(Moved).collect(),
    }
    .into())
}

/// What differs between what a plan was made from and what is there now.
async fn moved(context: &Context, planned: &Planned) -> miette::Result<Vec<String>> {
    let Planned { cloud, plan, .. } = planned;
    let query = planning::query(&planned.loaded, plan.goal, planned.identity.as_ref());
    let what = format!("an answer from {}", cloud.endpoint);
    let mut live = waiting(context, &what, cloud::observe(&cloud.client, &query)).await?;
    let owner = Owner::new(&plan.project, &plan.environment);
    // Looked at as it was for the plan.
    let lost: BTreeSet<&str> = planned
        .live
        .droplets
        .iter()
        .filter(|droplet| owner.in_project_only(&droplet.tags))
        .map(|droplet| droplet.name.as_str())
        .collect();
    if !lost.is_empty() {
        cloud.client.look_up_lost(&owner, &lost, &mut live).await?;
    }
    let seen = |live: &Live| Seen::of(plan, live);
    let then = seen(&planned.live);
    let differences = then.moved(&seen(&live));
    if differences.is_empty() {
        return Ok(differences);
    }
    // A volume may still name a droplet that is gone.
    let whole_project = plan.goal == crate::plan::Goal::DestroyProject;
    cloud
        .client
        .look_up_holders(&owner, whole_project, &mut live)
        .await?;
    Ok(then.moved(&seen(&live)))
}
