//! `apply FILE`: carries out a saved plan, exactly as it was saved.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::cli::args::Apply;
use crate::cli::context::Context;
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::plan_file;
use crate::cli::terminal::print;
use crate::plan::Goal;

/// Carries out a saved plan. It was approved by being given: nobody is asked.
///
/// # Errors
/// When it is no plan, something has moved since it was made, it was applied before, or it cannot
/// be started. What fails later is reported and becomes the exit code.
pub async fn run(context: &Context, options: &Apply, file: &Utf8Path) -> miette::Result<Exit> {
    let saved = plan_file::read(file)?;
    let context = &plan_file::context(context, options, &saved)?;
    let loaded = context.load()?;
    let goal = saved.plan.goal;
    let secrets = match goal {
        Goal::Destroy | Goal::DestroyProject | Goal::Sweep => BTreeMap::new(),
        Goal::Apply | Goal::Test | Goal::Run => execution::secrets(&loaded.manifest, None)?,
    };
    let _lock = execution::lock(&loaded, goal, options.approval.lock_timeout).await?;
    let from = plan_file::check_here(&saved, &loaded, file, jiff::Timestamp::now())?;
    let planned = plan_file::reopen(context, loaded, saved).await?;
    super::apply::refuse_without_guests(&planned)?;
    if !context.global.quiet {
        super::plan::show(context, &planned.plan, &planned.cloud.place, false)?;
    }
    if !planned.plan.has_steps() {
        return Ok(Exit::Success);
    }
    let ended = execution::execute_from(
        context,
        planned,
        secrets,
        options.holding.patience(),
        Some(from),
    )
    .await?;
    print(&ended.text)?;
    Ok(ended.exit)
}
