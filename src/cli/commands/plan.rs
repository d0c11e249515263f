//! `dewpoint plan`: what `apply` would do.

use crate::cli::args::{Plan as Options, PlanFormat};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::max_cost;
use crate::cli::plan_file;
use crate::cli::planning;
use crate::cli::terminal::{print, tell};
use crate::plan::{Goal, Plan};
use crate::report::{explain, fold, plan_json, plan_markdown, plan_text};

/// Shows the plan.
///
/// # Errors
/// When it cannot be made.
pub async fn run(context: &Context, options: &Options) -> miette::Result<Exit> {
    if options.refresh_only {
        return super::drift::run(context, options).await;
    }
    if let Some(file) = &options.out {
        // Said before anything is looked at.
        plan_file::may_write(file)?;
    }
    let loaded = context.load()?;
    let goal = match (options.destroy, options.project) {
        (true, true) => Goal::DestroyProject,
        (true, false) => Goal::Destroy,
        (false, _) => Goal::Apply,
    };
    let unset = if options.destroy {
        Vec::new()
    } else {
        execution::unset_secrets(&loaded.manifest)
    };
    let wishes = planning::Wishes {
        unprotect: &options.unprotect,
        targets: &options.narrowing.targets,
        replace: &options.narrowing.replace,
        only_destroy: options.only_destroy,
        ..planning::Wishes::default()
    };
    let mut planned = planning::make(context, loaded, goal, wishes).await?;
    if !unset.is_empty() {
        planned.plan.notices.push(format!(
            "secrets not set in the environment: {}; nothing is carried out without them",
            unset.join(", ")
        ));
    }
    if let Some(pattern) = &options.explain {
        print(&explain(context, &planned.plan, pattern)?)?;
        return Ok(Exit::Success);
    }
    match options.format {
        PlanFormat::Json => print(&plan_json::render(&planned.plan))?,
        PlanFormat::Markdown => print(&plan_markdown::render(
            &planned.plan,
            &planned.cloud.place,
            crate::report::markdown::MOST_BYTES,
        ))?,
        PlanFormat::Text => show(context, &planned.plan, &planned.cloud.place, options.steps)?,
    }
    max_cost::check(options.max_cost, &planned.plan)?;
    if let Some(file) = &options.out {
        plan_file::save(context, &planned, file)?;
        let local = if context.global.local { " --local" } else { "" };
        let file = crate::guest::quote(file.as_str());
        tell(&format!(
            "saved; carry it out with `dewpoint apply {file}{local}`"
        ));
    }
    tracing::info!("{} calls to the API", planned.cloud.client.calls());
    if options.detailed_exitcode && planned.plan.has_changes() {
        return Ok(Exit::Changes);
    }
    Ok(Exit::Success)
}

/// Why the steps of what a pattern names exist, and what they wait for.
fn explain(context: &Context, plan: &Plan, pattern: &str) -> Result<String, CliError> {
    let palette = context.terminal.out;
    let text = explain::render(plan, pattern, palette).ok_or_else(|| {
        let mut known: Vec<String> = explain::addresses(plan)
            .iter()
            .map(ToString::to_string)
            .collect();
        known.sort_by_key(|address| strsim::damerau_levenshtein(address, pattern));
        known.truncate(3);
        CliError::NothingToExplain {
            given: pattern.to_owned(),
            hint: match known.as_slice() {
                [] => "the plan knows no resource at all".to_owned(),
                known => format!("the nearest there are: {}", known.join(", ")),
            },
        }
    })?;
    Ok(if context.terminal.out_folds {
        fold::fold(&text, context.terminal.width())
    } else {
        text
    })
}

/// Prints a plan as text.
///
/// # Errors
/// When it cannot be written.
pub fn show(context: &Context, plan: &Plan, place: &str, all_steps: bool) -> Result<(), CliError> {
    print(&plan_text::render(
        plan,
        plan_text::View {
            palette: context.terminal.out,
            place,
            all_steps,
            width: context.terminal.width(),
            folds: context.terminal.out_folds,
        },
    ))
}
