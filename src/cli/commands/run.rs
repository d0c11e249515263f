//! `dewpoint run`: source and run steps on droplets that are up, nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::args::Run;
use crate::cli::context::{Context, Loaded};
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::locks;
use crate::cli::planning;
use crate::cli::terminal::{print, tell};
use crate::execute::shared_lock::Lease;
use crate::plan::{Goal, Selection};
use crate::secret::Secret;

/// Brings the source to the chosen droplets and runs their steps.
///
/// # Errors
/// When nothing is chosen, a droplet is not up, or it cannot be started. What fails later is
/// reported and becomes the exit code.
pub async fn run(context: &Context, options: &Run) -> miette::Result<Exit> {
    let loaded = context.load()?;
    let chosen = |address: &crate::address::Address| address.matches(&options.address);
    let secrets = execution::secrets(&loaded.manifest, Some(&chosen))?;
    let locks = locks::take(
        context,
        &loaded,
        locks::name_of(Goal::Run),
        &options.locking,
    )
    .await?;
    let done = run_locked(context, options, loaded, secrets, locks.lease()).await;
    locks.release().await;
    done
}

async fn run_locked(
    context: &Context,
    options: &Run,
    loaded: Loaded,
    secrets: BTreeMap<String, Secret<String>>,
    lease: Option<Lease>,
) -> miette::Result<Exit> {
    let selection = Selection {
        address: options.address.clone(),
        step: options.step.clone(),
    };
    let planned = planning::make_run(context, loaded, &selection).await?;
    super::apply::refuse_without_guests(&planned)?;
    if !planned.plan.has_steps() {
        tell("nothing to run: the droplet has no source and no run steps");
        return Ok(Exit::Success);
    }
    let ended = execution::execute(context, planned, secrets, Duration::ZERO, lease).await?;
    print(&ended.text)?;
    Ok(ended.exit)
}
