//! A run as one page that stands alone: no script, no request, readable by day and by night.
//!
//! All that comes from outside (names, output, messages) goes through [`maud`], which escapes it,
//! and the page's own policy forbids it to load or run anything.

mod chart;
mod found_tests;
mod sections;
mod steps;
#[cfg(test)]
mod tests;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::chart::{Chart, Mark, chart};
use super::history::command;
use crate::execute::history::{How, PastRun};
use crate::execute::past_files::PastFiles;
use crate::execute::{Event, EventKind};
use crate::times::{about, duration};

/// More of a kind than this are folded, or drawn smaller: a page of hundreds must be read, too.
const MANY: usize = 30;
const STYLE: &str = include_str!("style.css");
/// Nothing is loaded, nothing is run; styles stand in the page itself.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// What a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The run.
    pub run: &'a PastRun,
    /// What it left.
    pub files: &'a PastFiles,
    /// Whether the page lies in the run's folder, so that its files can be linked to.
    pub is_in_folder: bool,
}

/// Renders a page.
#[must_use]
pub fn render(page: Page<'_>) -> String {
    let chart = chart(&page.files.events, page.files.plan.as_ref());
    let title = title(page.run);
    let parts = [
        ("failures", "What failed", sections::failures(&chart)),
        ("runs", "Runs", sections::runs(page, &chart)),
        ("tests", "Tests", sections::tests(page)),
        ("timeline", "Timeline", sections::timeline(&chart)),
        (
            "critical-path",
            "Critical path",
            sections::critical_path(&chart),
        ),
        ("steps", "Steps", steps::steps(page, &chart)),
        ("artifacts", "Artifacts", sections::artifacts(page)),
        ("notes", "Notes", sections::notes(&page.files.events)),
    ];
    let parts: Vec<Part> = parts
        .into_iter()
        .map(|(id, title, text)| Part { id, title, text })
        .filter(|part| !part.text.0.is_empty())
        .collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) " - dewpoint" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(page, &chart))
                (contents(&parts))
                @for part in &parts { (part.text) }
            }
        }
    }
    .into_string()
}

/// A part of a page, under a heading of its own.
struct Part {
    id: &'static str,
    title: &'static str,
    text: Markup,
}

/// Links to the parts, which may lie far below.
fn contents(parts: &[Part]) -> Markup {
    html! {
        @if parts.len() > 1 {
            nav { @for part in parts { a href={ "#" (part.id) } { (part.title) } " " } }
        }
    }
}

fn title(run: &PastRun) -> String {
    match run.goal {
        Some(goal) => format!(
            "{} {} / {}",
            command(Some(goal)),
            run.project,
            run.environment
        ),
        None => format!("run {}", run.id),
    }
}

/// The word for how a run ended, and its class.
fn verdict(run: &PastRun) -> Markup {
    let class = match run.how {
        How::Succeeded => "ok",
        How::RunFailed | How::Failed | How::Unreadable => "failed",
        How::Interrupted | How::CutOff => "stopped",
        How::Running => "open",
    };
    html! { span class={ "verdict " (class) } { (run.how.words()) } }
}

fn head(page: Page<'_>, chart: &Chart) -> Markup {
    let run = page.run;
    let finished = page.files.events.iter().find_map(finished);
    let expected = page.files.events.iter().find_map(|event| match event.kind {
        EventKind::RunStarted {
            expected_seconds, ..
        } => Some(expected_seconds),
        _ => None,
    });
    let began = run
        .began
        .map(|began| began.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    html! {
        header {
            h1 { (title(run)) ": " (verdict(run)) }
            @if let Some(problem) = &run.problem { p.message { "Its journal: " (problem) } }
            dl {
                (fact("run", html! { span.mono { (run.id) } }))
                @if let Some(began) = began { (fact("began", html! { (began) })) }
                (fact("took", html! {
                    (duration(chart.took))
                    @if let Some(seconds) = expected.filter(|seconds| *seconds > 0) {
                        " " span.faint { "(expected " (about(seconds)) ")" }
                    }
                }))
                @if let Some(exit) = run.exit { (fact("exit code", html! { (exit) })) }
                @if let Some(finished) = finished {
                    (fact("steps", html! {
                        (finished.done) " done, " (finished.failed) " failed, " (finished.skipped) " not run"
                    }))
                    (fact("API calls", html! { (finished.api_calls) }))
                    (fact("droplets cost", html! { (finished.cost) }))
                }
                @if let Some(plan) = &page.files.plan { (fact("region", html! { (plan.region) })) }
            }
        }
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

struct Finished {
    done: u32,
    failed: u32,
    skipped: u32,
    api_calls: u64,
    cost: String,
}

fn finished(event: &Event) -> Option<Finished> {
    match &event.kind {
        EventKind::RunFinished {
            done,
            failed,
            skipped,
            api_calls,
            cost,
            ..
        } => Some(Finished {
            done: *done,
            failed: *failed,
            skipped: *skipped,
            api_calls: *api_calls,
            cost: cost.to_string(),
        }),
        _ => None,
    }
}

/// The word for how a step ended.
fn word(mark: Mark) -> Markup {
    html! { span class={ "verdict " (mark.class()) } { (mark.word()) } }
}
