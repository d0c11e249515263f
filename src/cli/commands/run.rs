//! `dewpoint run`: source and run steps on droplets that are up, nothing else.

use std::time::Duration;

use crate::cli::args::Run;
use crate::cli::context::Context;
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::planning;
use crate::cli::terminal::{print, tell};
use crate::plan::{Goal, Selection};

/// Brings the source to the chosen droplets and runs their steps.
///
/// # Errors
/// When nothing is chosen, a droplet is not up, or it cannot be started. What fails later is
/// reported and becomes the exit code.
pub async fn run(context: &Context, options: &Run) -> miette::Result<Exit> {
    let loaded = context.load()?;
    let chosen = |address: &crate::address::Address| address.matches(&options.address);
    let secrets = execution::secrets(&loaded.manifest, Some(&chosen))?;
    let _lock = execution::lock(&loaded, Goal::Run, options.lock_timeout).await?;
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
    let ended = execution::execute(context, planned, secrets, Duration::ZERO).await?;
    print(&ended.text)?;
    Ok(ended.exit)
}
