//! `apply FILE`: carries out a saved plan, exactly as it was saved.

use std::collections::BTreeMap;

use camino::Utf8Path;

use crate::cli::applied;
use crate::cli::args::{Apply, shared_flags};
use crate::cli::context::{Context, Loaded};
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::locks::{self, Locks};
use crate::cli::plan_file;
use crate::cli::terminal::print;
use crate::plan::Goal;
use crate::plan::saved::Saved;
use crate::report::hints::{Given, Next};
use crate::secret::Secret;

/// Carries out a saved plan. It was approved by being given: nobody is asked.
///
/// # Errors
/// When it is no plan, something has moved since it was made, it was applied before, or it cannot
/// be started. What fails later is reported and becomes the exit code.
pub async fn run(context: &Context, options: &Apply, file: &Utf8Path) -> miette::Result<Exit> {
    let saved = plan_file::read(file)?;
    let context = &plan_file::context(context, options, &saved)?;
    let goal = saved.plan.goal;
    let loaded = match goal {
        Goal::Destroy | Goal::DestroyProject | Goal::Sweep => context.load_to_look()?,
        Goal::Apply | Goal::Test | Goal::Run => context.load()?,
    };
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
    let patience = locks.patience.max(options.holding.patience());
    let making = locks.making();
    making
        .take_for(context, &loaded, patience, &saved.plan)
        .await?;
    let planned = plan_file::reopen(context, loaded, saved).await?;
    super::apply::refuse_without_guests(&planned)?;
    if !context.global.quiet {
        super::plan::show(context, &planned.plan, &planned.cloud.place, false)?;
    }
    if !planned.plan.has_steps() {
        applied::note_as_is(&planned);
        return Ok(Exit::Success);
    }
    let next = Next {
        flags: context.flags(),
        shared: shared_flags(&options.approval.locking, &options.storing),
        given: Given::Saved,
    };
    let ended = execution::execute_from(
        context,
        planned,
        secrets,
        options.holding.patience(),
        locks,
        &next,
        Some(from),
    )
    .await?;
    print(&ended.text)?;
    Ok(ended.exit)
}
