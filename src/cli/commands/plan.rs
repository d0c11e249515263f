//! `dewpoint plan`: what `apply` would do.

use crate::cli::args::{Plan as Options, PlanFormat};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::planning;
use crate::cli::terminal::print;
use crate::plan::{Goal, Plan};
use crate::report::{plan_json, plan_text};

/// Shows the plan.
///
/// # Errors
/// When it cannot be made.
pub async fn run(context: &Context, options: &Options) -> miette::Result<Exit> {
    let loaded = context.load()?;
    let goal = if options.destroy {
        Goal::Destroy
    } else {
        Goal::Apply
    };
    let planned = planning::make(context, loaded, goal, planning::Wishes::default()).await?;
    match options.format {
        PlanFormat::Json => print(&plan_json::render(&planned.plan)),
        PlanFormat::Text => show(context, &planned.plan, &planned.cloud.place, options.steps),
    }
    tracing::info!(calls = planned.cloud.client.calls(), "calls to the API");
    if options.detailed_exitcode && planned.plan.has_changes() {
        return Ok(Exit::Changes);
    }
    Ok(Exit::Success)
}

/// Prints a plan as text.
pub fn show(context: &Context, plan: &Plan, place: &str, all_steps: bool) {
    print(&plan_text::render(
        plan,
        plan_text::View {
            palette: context.terminal.out,
            place,
            all_steps,
            width: context.terminal.width,
        },
    ));
}
