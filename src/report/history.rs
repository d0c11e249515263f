//! Past runs as text and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::style::Palette;
use crate::execute::StepState;
use crate::execute::error::INTERRUPTED;
use crate::execute::history::{How, PastRun, PastStep};
use crate::plan::Goal;
use crate::times::duration;

/// What a goal's command is.
#[must_use]
pub const fn command(goal: Option<Goal>) -> &'static str {
    match goal {
        Some(Goal::Apply) => "apply",
        Some(Goal::Test) => "test",
        Some(Goal::Run) => "run",
        Some(Goal::Destroy) => "destroy",
        Some(Goal::DestroyProject) => "destroy --project",
        Some(Goal::Sweep) => "sweep",
        None => "unknown",
    }
}

/// One line: id, when, what, how it ended.
#[must_use]
pub fn line(run: &PastRun, palette: Palette) -> String {
    palette.screen(line_of(run, palette))
}

fn line_of(run: &PastRun, palette: Palette) -> String {
    let when = run.began.map_or_else(
        || "unknown time       ".to_owned(),
        |began| began.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    );
    if run.goal.is_none() {
        return format!("{}  {when}  {}", run.id, palette.bad(run.how.words()));
    }
    let how = match run.how {
        How::Succeeded => palette.good(run.how.words()),
        How::Running => palette.running(run.how.words()),
        How::Interrupted | How::CutOff => palette.changed(run.how.words()),
        How::RunFailed | How::Failed | How::Unreadable => palette.bad(run.how.words()),
    };
    let exit = match run.exit {
        Some(0) => String::new(),
        Some(exit) => format!(", exit {exit}"),
        None if run.how == How::CutOff => ": its journal has no end".to_owned(),
        None => String::new(),
    };
    let took = match (&run.stored, run.how) {
        // Signs of life do not tell since when.
        (Some(_), How::Running | How::CutOff) if run.took_ms == 0 => String::new(),
        _ => format!(" after {}", duration(run.took_ms)),
    };
    let more = run.stored.as_ref().map_or_else(String::new, |stored| {
        let cost = run
            .cost
            .map_or_else(String::new, |cost| format!(", {cost}"));
        format!("{cost}, by {} on {}", stored.by.who, stored.by.machine)
    });
    format!(
        "{}  {when}  {} {}: {how}{took}{exit}{more}",
        run.id,
        command(run.goal),
        run.environment,
    )
}

/// A list of runs.
#[must_use]
pub fn list(runs: &[PastRun], palette: Palette) -> String {
    palette.screen(list_of(runs, palette))
}

fn list_of(runs: &[PastRun], palette: Palette) -> String {
    let mut out = String::new();
    if runs.is_empty() {
        out.push_str("No runs yet.\n");
    }
    for run in runs {
        let _ = writeln!(out, "{}", line(run, palette));
        for step in run.failed() {
            let code = exit_status(step);
            let word = match is_stopped(step) {
                true => palette.changed("stopped:"),
                false => palette.bad("failed:"),
            };
            let _ = writeln!(out, "    {word} {} {}{code}", step.address, step.title);
        }
        if run.how == How::CutOff {
            for step in run.open() {
                let _ = writeln!(out, "    not ended: {} {}", step.address, step.title);
            }
        }
        if let Some(problem) = &run.problem {
            let _ = writeln!(out, "    {}", palette.changed(problem));
        }
    }
    out
}

/// Whether it ended because of an interrupt: that is nobody's fault.
fn is_stopped(step: &PastStep) -> bool {
    let failure = step.failure.as_ref();
    failure.is_some_and(|failure| failure.code == INTERRUPTED)
}

fn exit_status(step: &PastStep) -> String {
    let status = step.failure.as_ref().and_then(|f| f.exit_status);
    status.map_or_else(String::new, |status| format!(" (exit status {status})"))
}

/// What stands above the output of a step.
#[must_use]
pub fn heading(step: &PastStep, palette: Palette) -> String {
    palette.screen(heading_of(step, palette))
}

fn heading_of(step: &PastStep, palette: Palette) -> String {
    let state = match step.state {
        StepState::Done => palette.good("ok"),
        StepState::Failed if is_stopped(step) => palette.changed("stopped"),
        StepState::Failed => palette.bad("failed"),
        StepState::FailedAllowed => palette.changed("failed, which is allowed"),
        StepState::Running | StepState::Waiting => palette.changed("not ended"),
        StepState::Skipped => "skipped".to_owned(),
    };
    let title = palette.strong(&format!("{} {}", step.address, step.title));
    format!("==> {title}: {state}{}", exit_status(step))
}

/// Runs as one JSON document.
#[must_use]
pub fn json(runs: &[PastRun]) -> String {
    let runs: Vec<Value> = runs.iter().map(value).collect();
    let mut text = serde_json::to_string_pretty(&json!({ "runs": runs })).expect("plain data");
    text.push('\n');
    text
}

/// A run as JSON.
#[must_use]
pub fn value(run: &PastRun) -> Value {
    let steps: Vec<Value> = run.steps.iter().map(step_value).collect();
    let mut value = json!({
        "id": run.id,
        "began": run.began.map(|began| began.to_string()),
        "project": run.project,
        "environment": run.environment,
        "command": command(run.goal),
        "result": run.how,
        "exit": run.exit,
        "took_ms": run.took_ms,
        "cost": run.cost,
        "folder": run.folder,
        "steps": steps,
        "problem": run.problem,
    });
    if let Some(stored) = &run.stored {
        value["who"] = json!(stored.by.who);
        value["machine"] = json!(stored.by.machine);
        value["stored"] = json!(stored.address);
    }
    if run.folder == "" {
        // Only its name was looked at.
        for unknown in ["folder", "steps"] {
            value[unknown] = Value::Null;
        }
    }
    value
}

/// A step of a run as JSON.
#[must_use]
pub fn step_value(step: &PastStep) -> Value {
    let state = match step.state {
        StepState::Waiting | StepState::Running => "not_ended",
        StepState::Done => "done",
        StepState::FailedAllowed => "failed_allowed",
        StepState::Failed => "failed",
        StepState::Skipped => "skipped",
    };
    json!({
        "address": step.address,
        "title": step.title,
        "state": state,
        "exit_status": step.failure.as_ref().and_then(|failure| failure.exit_status),
        "failure": step.failure.as_ref().map(|failure| &failure.message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::execute::{Failure, FailureClass};
    use crate::plan::StepId;

    fn run(how: How, exit: Option<u8>, states: &[StepState]) -> PastRun {
        let steps = states.iter().zip(0..).map(|(state, id)| PastStep {
            id: StepId(id),
            address: Address::droplet("runner"),
            title: format!("run step-{id}"),
            name: Some(format!("step-{id}")),
            state: *state,
            failure: (*state == StepState::Failed).then(|| Failure {
                class: FailureClass::RunStep,
                allowed: false,
                code: "dewpoint::execute::run_failed".to_owned(),
                message: "it failed".to_owned(),
                help: None,
                causes: vec![],
                exit_status: Some(4),
                script: vec![],
                tail: vec![],
            }),
            log: None,
        });
        PastRun {
            id: "01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q".to_owned(),
            folder: "/w/.dewpoint/runs/01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q".into(),
            began: Some("2026-08-01T12:00:00Z".parse().expect("a time")),
            project: "app".to_owned(),
            environment: "main".to_owned(),
            goal: Some(Goal::Test),
            how,
            exit,
            took_ms: 72_000,
            cost: None,
            steps: steps.collect(),
            problem: None,
            stored: None,
        }
    }

    #[test]
    fn what_others_wrote_steers_nothing() {
        use crate::report::tests::seemly::{HOSTILE, assert_seemly};
        let mut run = run(How::RunFailed, Some(3), &[StepState::Failed]);
        run.steps[0].title.push_str(HOSTILE);
        run.project.push_str(HOSTILE);
        for coloured in [false, true] {
            let palette = Palette::new(coloured);
            assert_seemly(&heading(&run.steps[0], palette), coloured);
            assert_seemly(&list(std::slice::from_ref(&run), palette), coloured);
        }
    }

    #[test]
    fn what_an_interrupt_stopped_has_not_failed() {
        let mut stopped = run(How::Interrupted, Some(130), &[StepState::Failed]);
        let failure = stopped.steps[0].failure.as_mut().expect("a failure");
        failure.code = INTERRUPTED.to_owned();
        failure.exit_status = None;
        let heading = heading(&stopped.steps[0], Palette::PLAIN);
        assert_eq!(heading, "==> droplet.runner run step-0: stopped");
        let shown = list(&[stopped], Palette::PLAIN);
        insta::assert_snapshot!(crate::report::fold::fold(&shown, 80), @r"
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  test main: interrupted after
            1m12s, exit 130
            stopped: droplet.runner run step-0
        ");
        insta::assert_snapshot!(crate::report::fold::fold(&shown, 160), @r"
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  test main: interrupted after 1m12s, exit 130
            stopped: droplet.runner run step-0
        ");
    }

    #[test]
    fn each_end_is_told() {
        let mut broken = run(How::Unreadable, None, &[]);
        broken.goal = None;
        broken.problem = Some("cannot read it".to_owned());
        let runs = [
            run(How::Running, None, &[StepState::Running]),
            run(How::Succeeded, Some(0), &[StepState::Done]),
            run(
                How::RunFailed,
                Some(3),
                &[StepState::Done, StepState::Failed],
            ),
            run(How::Interrupted, Some(130), &[]),
            run(How::CutOff, None, &[StepState::Done, StepState::Running]),
            broken,
        ];
        insta::assert_snapshot!(list(&runs, Palette::PLAIN), @r"
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  test main: running after 1m12s
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  test main: succeeded after 1m12s
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  test main: a run step failed after 1m12s, exit 3
            failed: droplet.runner run step-1 (exit status 4)
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  test main: interrupted after 1m12s, exit 130
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  test main: interrupted after 1m12s: its journal has no end
            not ended: droplet.runner run step-1
        01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q  2026-08-01 12:00:00Z  unreadable
            cannot read it
        ");
        assert_eq!(list(&[], Palette::PLAIN), "No runs yet.\n");
        let one: Value = serde_json::from_str(&json(&runs[2..3])).expect("JSON");
        assert_eq!(one["runs"][0]["steps"][1]["exit_status"], 4);
        assert_eq!(one["runs"][0]["result"], "run_failed");
    }
}
