//! `apply FILE`: carries out a saved plan, exactly as it was saved.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::cli::applied;
use crate::cli::args::Apply;
use crate::cli::context::{Context, Loaded};
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::locks::{self, Locks};
use crate::cli::plan_file;
use crate::cli::terminal::print;
use crate::plan::Goal;
use crate::plan::saved::Saved;
use crate::secret::Secret;

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
    let locking = &options.approval.locking;
    let locks = locks::take(
        context,
        &loaded,
        locks::name_of(goal),
        locking,
        Some(&options.storing),
    )
    .await?;
    let here = loaded.clone();
    let done = run_locked(context, options, file, saved, here, secrets, &locks).await;
    locks.release(context, &loaded, &done).await;
    done
}

async fn run_locked(
    context: &Context,
    options: &Apply,
    file: &Utf8Path,
    saved: Saved,
    loaded: Loaded,
    secrets: BTreeMap<String, Secret<String>>,
    locks: &Locks,
) -> miette::Result<Exit> {
    let from = plan_file::check_here(&saved, &loaded, file, jiff::Timestamp::now())?;
    let planned = plan_file::reopen(context, loaded, saved).await?;
    super::apply::refuse_without_guests(&planned)?;
    if !context.global.quiet {
        super::plan::show(context, &planned.plan, &planned.cloud.place, false)?;
    }
    if !planned.plan.has_steps() {
        applied::note_as_is(&planned);
        return Ok(Exit::Success);
    }
    let ended = execution::execute_from(
        context,
        planned,
        secrets,
        options.holding.patience(),
        locks,
        Some(from),
    )
    .await?;
    print(&ended.text)?;
    Ok(ended.exit)
}
