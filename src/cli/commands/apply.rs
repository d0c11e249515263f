//! `apply`, `test` and `destroy`: plan, ask, execute.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::cli::applied;
use crate::cli::approval;
use crate::cli::args::{Apply, Destroy, Locking, Narrowing, Storing, Test, shared_flags};
use crate::cli::context::{Context, Loaded};
use crate::cli::error::CliError;
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::locks::{self, Locks};
use crate::cli::max_cost;
use crate::cli::planning::{self, Planned};
use crate::cli::terminal::{print, tell};
use crate::live::Live;
use crate::plan::{Goal, Plan, StepKind, check};
use crate::report::hints::{Flags, Given, Next};
use crate::secret::Secret;
use crate::units::Money;

/// Realises the manifest.
///
/// # Errors
/// When it cannot be planned, is not approved, or cannot be started. What fails later is reported
/// and becomes the exit code.
pub async fn apply(context: &Context, options: &Apply) -> miette::Result<Exit> {
    let Apply {
        plan,
        approval,
        holding,
        narrowing,
        only_destroy,
        keep_builder,
        max_cost,
        storing,
    } = options;
    if let Some(file) = plan {
        return super::apply_file::run(context, options, file).await;
    }
    carry_out(
        context,
        Goal::Apply,
        planning::Wishes {
            unprotect: &approval.unprotect,
            keep_builder: *keep_builder,
            targets: &narrowing.targets,
            replace: &narrowing.replace,
            only_destroy: *only_destroy,
            hold_patience: holding.patience(),
        },
        *max_cost,
        &approval.locking,
        storing,
        Asked {
            options: options_of(narrowing, &approval.unprotect, *only_destroy),
            until_made: addresses("--replace", &narrowing.replace),
            again: again(*keep_builder, *max_cost),
            is_part: *only_destroy || !narrowing.targets.is_empty(),
            question: (!approval.yes).then_some("Carry out this plan?"),
        },
    )
    .await
}

/// Realises the manifest, runs, and empties the environment whatever happened.
///
/// # Errors
/// As [`apply`].
pub async fn test(context: &Context, options: &Test) -> miette::Result<Exit> {
    if options.watch {
        return super::run::watch_all(context, &options.locking, &options.storing).await;
    }
    carry_out(
        context,
        Goal::Test,
        planning::Wishes {
            unprotect: &options.unprotect,
            keep_builder: options.keep_builder,
            targets: &options.narrowing.targets,
            replace: &options.narrowing.replace,
            only_destroy: false,
            hold_patience: options.holding.patience(),
        },
        options.max_cost,
        &options.locking,
        &options.storing,
        Asked {
            options: options_of(&options.narrowing, &options.unprotect, false),
            until_made: addresses("--replace", &options.narrowing.replace),
            again: again(options.keep_builder, options.max_cost),
            is_part: !options.narrowing.targets.is_empty(),
            question: None,
        },
    )
    .await
}

/// Empties the environment.
///
/// # Errors
/// As [`apply`].
pub async fn destroy(context: &Context, options: &Destroy) -> miette::Result<Exit> {
    let Destroy {
        approval,
        project,
        storing,
    } = options;
    let (goal, question) = if *project {
        (
            Goal::DestroyProject,
            "Destroy the environment AND the project's volumes and snapshots, with all they hold?",
        )
    } else {
        (Goal::Destroy, "Destroy the environment?")
    };
    carry_out(
        context,
        goal,
        planning::Wishes {
            unprotect: &approval.unprotect,
            ..planning::Wishes::default()
        },
        None,
        &approval.locking,
        storing,
        Asked {
            options: options_of(&Narrowing::default(), &approval.unprotect, false),
            question: (!approval.yes).then_some(question),
            ..Asked::default()
        },
    )
    .await
}

/// What was asked for, as it was typed.
#[derive(Debug, Default)]
struct Asked {
    /// Options that say what a plan is about, for `plan` too.
    options: Flags,
    /// Those of them that are done with once all is made.
    until_made: Flags,
    /// Others that are to be given again.
    again: Flags,
    /// Whether a part of the plan was asked for.
    is_part: bool,
    /// What is asked before the plan is carried out.
    question: Option<&'static str>,
}

fn options_of(narrowing: &Narrowing, unprotect: &[String], only_destroy: bool) -> Flags {
    let flags = addresses("--target", &narrowing.targets);
    let flags = flags.and(addresses("--unprotect", unprotect));
    match only_destroy {
        true => flags.switch("--only-destroy"),
        false => flags,
    }
}

fn addresses(option: &'static str, given: &[String]) -> Flags {
    given.iter().fold(Flags::default(), |flags, address| {
        flags.option(option, address)
    })
}

fn again(keep_builder: bool, max_cost: Option<Money>) -> Flags {
    let mut flags = Flags::default();
    if keep_builder {
        flags = flags.switch("--keep-builder");
    }
    match max_cost {
        Some(most) => flags.option("--max-cost", &most.0.to_string()),
        None => flags,
    }
}

/// The command that shows the plan for a goal.
const fn plan_of(goal: Goal) -> &'static str {
    match goal {
        Goal::Apply | Goal::Test | Goal::Run | Goal::Sweep => "plan",
        Goal::Destroy => "plan --destroy",
        Goal::DestroyProject => "plan --destroy --project",
    }
}

async fn carry_out(
    context: &Context,
    goal: Goal,
    wishes: planning::Wishes<'_>,
    max_cost: Option<Money>,
    locking: &Locking,
    storing: &Storing,
    asked: Asked,
) -> miette::Result<Exit> {
    if asked.question.is_some() && !context.terminal.can_ask {
        // Nobody could approve: say so before the first call.
        let plan = format!("{}{}", plan_of(goal), asked.options.and(asked.until_made));
        return Err(CliError::NoTerminal { plan }.into());
    }
    let (loaded, secrets) = match goal {
        Goal::Destroy | Goal::DestroyProject | Goal::Sweep => {
            (context.load_to_look()?, BTreeMap::new())
        }
        Goal::Apply | Goal::Test | Goal::Run => {
            let loaded = context.load()?;
            let secrets = execution::secrets(&loaded.manifest, None)?;
            (loaded, secrets)
        }
    };
    // From before the look at the cloud until the end: nobody else changes what was planned on.
    let locks = locks::take(
        context,
        &loaded,
        locks::name_of(goal),
        locking,
        Some(storing),
    )
    .await?;
    let next = Next {
        flags: context.flags(),
        shared: shared_flags(locking, storing),
        given: Given::Command {
            text: format!("{}{}{}", locks::name_of(goal), asked.options, asked.again),
            until_made: asked.until_made,
            is_part: asked.is_part,
        },
    };
    let done = carry_out_locked(
        context,
        loaded.clone(),
        goal,
        wishes,
        max_cost,
        asked.question,
        secrets,
        &locks,
        &next,
    );
    let done = done.await;
    locks.release(context, &loaded, &done).await;
    done
}

#[expect(clippy::too_many_arguments, reason = "the second half of one function")]
async fn carry_out_locked(
    context: &Context,
    loaded: Loaded,
    goal: Goal,
    wishes: planning::Wishes<'_>,
    max_cost: Option<Money>,
    question: Option<&str>,
    secrets: BTreeMap<String, Secret<String>>,
    locks: &Locks,
    next: &Next,
) -> miette::Result<Exit> {
    let patience = locks.patience.max(wishes.hold_patience);
    let under = (locks.making(), patience);
    let planned = match goal {
        Goal::Apply | Goal::Test | Goal::DestroyProject => {
            planning::make_under(context, loaded.clone(), goal, wishes, under).await?
        }
        Goal::Destroy | Goal::Run | Goal::Sweep => {
            planning::make(context, loaded.clone(), goal, wishes).await?
        }
    };
    refuse_without_guests(&planned)?;
    // Whoever approves reads it first; when nobody is asked, `--quiet` leaves it out.
    if question.is_some() || !context.global.quiet {
        super::plan::show(context, &planned.plan, &planned.cloud.place, false)?;
    }
    max_cost::check(max_cost, &planned.plan)?;
    refuse_unsafe(&planned.plan, &planned.live)?;
    if !planned.plan.has_steps() {
        applied::note_as_is(&planned);
        return Ok(Exit::Success);
    }
    if let Some(question) = question {
        approval::ask(context, &planned, question, locks, patience).await?;
    }
    let may_leave = goal == Goal::DestroyProject && destroys_a_builder(&planned.plan);
    let ended =
        execution::execute(context, planned, secrets, wishes.hold_patience, locks, next).await?;
    print(&ended.text)?;
    if !may_leave || ended.exit != Exit::Success {
        return Ok(ended.exit);
    }
    // A snapshot that was still being taken of a builder is in no list before that has ended, and the
    // builder could only be destroyed then: by now it is there, billed, and nobody's.
    let planned = planning::make_under(context, loaded, goal, wishes, under).await?;
    if !planned.plan.has_steps() {
        return Ok(ended.exit);
    }
    tell("a snapshot of a builder was still being taken: it is destroyed, too");
    if !context.global.quiet {
        super::plan::show(context, &planned.plan, &planned.cloud.place, false)?;
    }
    refuse_unsafe(&planned.plan, &planned.live)?;
    let no_secrets = BTreeMap::new();
    let ended = execution::execute(
        context,
        planned,
        no_secrets,
        wishes.hold_patience,
        locks,
        next,
    )
    .await?;
    print(&ended.text)?;
    Ok(ended.exit)
}

/// Whether a plan destroys a droplet that a snapshot is made of, or that fills a volume.
fn destroys_a_builder(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| {
        matches!(step.kind, StepKind::DestroyDroplet { .. })
            && matches!(step.address, Address::Snapshot(_))
    })
}

/// A plan is judged apart from the planner before anything of it is done.
pub(super) fn refuse_unsafe(plan: &Plan, live: &Live) -> Result<(), CliError> {
    check::check(plan, live).map_err(|violations| CliError::BadPlan {
        violations: violations
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    })
}

/// A plan that logs in somewhere cannot be carried out where there are no guests.
pub(super) fn refuse_without_guests(planned: &Planned) -> Result<(), CliError> {
    if planned.cloud.no_guests.is_empty() {
        return Ok(());
    }
    let steps = planned
        .plan
        .steps
        .iter()
        .filter(|step| needs_guest(&step.kind) && !step.cleanup)
        .count();
    if steps == 0 {
        return Ok(());
    }
    Err(CliError::NoGuests {
        steps,
        reasons: planned.cloud.no_guests.join("; "),
    })
}

const fn needs_guest(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::Provision { .. }
            | StepKind::Mount { .. }
            | StepKind::Sync { .. }
            | StepKind::Run { .. }
            | StepKind::Collect { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Cost, Step, StepId};

    #[test]
    fn a_plan_that_touches_what_is_not_ours_is_not_carried_out() {
        let mut plan = Plan {
            version: 1,
            project: "shop".to_owned(),
            environment: "main".to_owned(),
            region: "nyc3".to_owned(),
            goal: Goal::Apply,
            desired_digest: crate::digest::Digest::of_bytes(b""),
            live_digest: crate::digest::Digest::of_bytes(b""),
            changes: vec![],
            activities: vec![],
            steps: vec![],
            edges: vec![],
            cost: Cost::default(),
            notices: vec![],
        };
        assert!(refuse_unsafe(&plan, &Live::default()).is_ok());
        plan.steps.push(Step {
            id: StepId(0),
            address: crate::address::Address::Snapshot("base".into()),
            kind: StepKind::Prune {
                id: 7,
                name: "theirs".to_owned(),
            },
            cleanup: false,
            expected_seconds: 1,
        });
        let error = refuse_unsafe(&plan, &Live::default()).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "this plan is not safe to carry out: step 1: image 7 is not ours"
        );
    }
}
