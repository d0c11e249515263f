//! The end of a run: what failed, what was skipped for it, what each run step came to.

use std::fmt::Write as _;

use super::plan_text::duration;
use super::style::Palette;
use crate::execute::{Event, EventKind, Failure};
use crate::plan::{Plan, StepKind};

/// What became of one run step.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// The droplet's address.
    pub droplet: String,
    /// The run step's name.
    pub run: String,
    /// `None` when it was skipped.
    pub took_ms: Option<u64>,
    /// How it failed, if it did.
    pub failure: Option<Failure>,
    /// Why it was skipped, if it was.
    pub skipped: Option<String>,
}

/// What became of each run step, in the plan's order.
#[must_use]
pub fn run_results(plan: &Plan, events: &[Event]) -> Vec<RunResult> {
    let mut results = Vec::new();
    for step in &plan.steps {
        let StepKind::Run { run, .. } = &step.kind else {
            continue;
        };
        let mut result = RunResult {
            droplet: step.address.to_string(),
            run: run.name.clone(),
            took_ms: None,
            failure: None,
            skipped: Some("the run ended before it".to_owned()),
        };
        for event in events {
            match &event.kind {
                EventKind::Done {
                    step: id, took_ms, ..
                } if *id == step.id => {
                    result.took_ms = Some(*took_ms);
                    result.skipped = None;
                }
                EventKind::Failed {
                    step: id,
                    took_ms,
                    failure,
                } if *id == step.id => {
                    result.took_ms = Some(*took_ms);
                    result.failure = Some(failure.clone());
                    result.skipped = None;
                }
                EventKind::Skipped {
                    step: id, reason, ..
                } if *id == step.id => {
                    result.skipped = Some(reason.clone());
                }
                _ => {}
            }
        }
        results.push(result);
    }
    results
}

/// Renders the end of a run. `events` are those that are not output.
#[must_use]
pub fn render(plan: &Plan, events: &[Event], run_folder: &str, palette: Palette) -> String {
    let mut out = String::new();
    let results = run_results(plan, events);
    if !results.is_empty() {
        let _ = writeln!(out, "\n{}", palette.strong("Runs:"));
        let droplets = results.iter().map(|r| r.droplet.len()).max().unwrap_or(0);
        let runs = results.iter().map(|r| r.run.len()).max().unwrap_or(0);
        for result in &results {
            let (word, detail) = match (&result.failure, &result.skipped) {
                (Some(failure), _) if failure.allowed => {
                    (palette.changed("failed, allowed"), failure.message.clone())
                }
                (Some(failure), _) => (palette.bad("FAILED"), failure.message.clone()),
                (None, Some(reason)) => (palette.changed("skipped"), reason.clone()),
                (None, None) => (palette.good("ok"), String::new()),
            };
            let took = result.took_ms.map(duration).unwrap_or_default();
            let line = format!(
                "  {:droplets$}  {:runs$}  {took:>7}  {word}{}{detail}",
                result.droplet,
                result.run,
                if detail.is_empty() { "" } else { ": " },
            );
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    write_failures(&mut out, plan, events, palette);
    if let Some(Event {
        elapsed_ms,
        kind:
            EventKind::RunFinished {
                done,
                failed,
                skipped,
                interrupted,
                api_calls,
                cost,
                ..
            },
        ..
    }) = events.last()
    {
        let word = match (*interrupted, *failed) {
            (true, _) => palette.bad("Interrupted:"),
            (false, 0) => palette.good("Done:"),
            (false, _) => palette.bad("Failed:"),
        };
        let mut parts = vec![format!("{done} of {} steps done", plan.steps.len())];
        if *failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        if *skipped > 0 {
            parts.push(format!("{skipped} skipped"));
        }
        parts.push(format!("{} in all", duration(*elapsed_ms)));
        parts.push(format!("{api_calls} API calls"));
        if cost.0 > rust_decimal::Decimal::ZERO {
            parts.push(format!("{cost} of droplets"));
        }
        let _ = writeln!(out, "\n{word} {}.", parts.join(", "));
        let _ = writeln!(
            out,
            "{}",
            palette.faint(&format!("Logs, artifacts and journal: {run_folder}"))
        );
    }
    out
}

fn write_failures(out: &mut String, plan: &Plan, events: &[Event], palette: Palette) {
    for event in events {
        let EventKind::Failed { step, failure, .. } = &event.kind else {
            continue;
        };
        if failure.allowed {
            continue;
        }
        let Some(step) = plan.step(*step) else {
            continue;
        };
        let heading = format!("{} {}", step.address, step.kind.title());
        let _ = writeln!(
            out,
            "\n{} {} [{}]",
            palette.bad("error:"),
            palette.strong(&heading),
            failure.code
        );
        let _ = writeln!(out, "  {}", failure.message);
        for cause in &failure.causes {
            let _ = writeln!(out, "  caused by: {cause}");
        }
        if !failure.tail.is_empty() {
            let _ = writeln!(out, "  {}", palette.faint("last output:"));
            for line in &failure.tail {
                let _ = writeln!(out, "    {}", super::lines::clean(line));
            }
        }
        if let Some(help) = &failure.help {
            let _ = writeln!(out, "  {} {help}", palette.running("help:"));
        }
        let skipped = events
            .iter()
            .filter(|event| matches!(&event.kind, EventKind::Skipped { because: Some(id), .. } if *id == step.id))
            .count();
        if skipped > 0 {
            let steps = if skipped == 1 {
                "step was"
            } else {
                "steps were"
            };
            let _ = writeln!(out, "  {skipped} {steps} skipped because of this");
        }
    }
}
