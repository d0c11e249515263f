//! The steps of a page, each with what it said.

use maud::{Markup, html};

use super::chart::{Bar, Chart, Mark};
use super::sections::failure;
use super::{MANY, Page, word};
use crate::execute::EventKind;
use crate::execute::past_files::PastLog;
use crate::report::labels::step_title;
use crate::seemly;
use crate::times::duration;

/// Steps by lane, in the order they were started, and those that were not.
pub(super) fn steps(page: Page<'_>, chart: &Chart) -> Markup {
    if chart.bars.is_empty() {
        return html! {};
    }
    let skipped = skipped(page);
    html! {
        h2 #steps { "Steps" }
        p { label { input #only-failed type="checkbox"; " only what did not go well" } }
        @for lane in &chart.lanes {
            @let bars: Vec<&Bar> = bars(chart, &lane.rows);
            @if chart.lanes.len() > MANY {
                @let bad: Vec<&&Bar> = bars.iter().filter(|bar| bar.mark != Mark::Ok).collect();
                details.group.well[bad.is_empty()] open[!bad.is_empty()] {
                    summary {
                        @match bad.first() {
                            Some(bar) => (word(bar.mark)),
                            None => (word(Mark::Ok)),
                        }
                        span.what { (lane.label) }
                        span.faint { (bars.len()) @if bars.len() == 1 { " step" } @else { " steps" } }
                    }
                    @for bar in &bars { (step(bar, page.files.logs.get(&bar.id))) }
                }
            } @else {
                h3 { (lane.label) }
                @for bar in &bars { (step(bar, page.files.logs.get(&bar.id))) }
            }
        }
        @if !skipped.is_empty() {
            h3 { "Not run" }
            ul { @for (title, reason) in &skipped { li { (title) ": " span.faint { (seemly::text(reason)) } } } }
        }
    }
}

fn bars<'a>(chart: &'a Chart, rows: &[Vec<usize>]) -> Vec<&'a Bar> {
    let mut all: Vec<usize> = rows.iter().flatten().copied().collect();
    all.sort_unstable();
    all.into_iter().map(|bar| &chart.bars[bar]).collect()
}

fn step(bar: &Bar, log: Option<&PastLog>) -> Markup {
    let is_open = bar.failure.is_some();
    html! {
        details id={ "at-" (bar.id.0) } class={ "step " (bar.mark.class()) } open[is_open] {
            summary {
                (word(bar.mark))
                span.what { (bar.title) }
                @if !bar.retries.is_empty() { span.faint { "tried again " (times(bar.retries.len())) } }
                span.faint { (duration(bar.took())) }
            }
            // The target of links lies inside, so that a browser opens what holds it.
            div id={ "step-" (bar.id.0) } {
                p.faint {
                    "began at " (duration(bar.began))
                    @if !bar.note.is_empty() { "; " (seemly::text(&bar.note)) }
                }
                (failure(bar))
                @if !bar.retries.is_empty() {
                    ul { @for reason in &bar.retries { li { "tried again: " (seemly::text(reason)) } } }
                }
                @if let Some(log) = log {
                    pre.log {
                        (lines(&log.head))
                        @if log.left_out > 0 {
                            "\n... " (bytesize::ByteSize(log.left_out)) " left out ...\n"
                            (lines(&log.tail))
                        }
                    }
                }
            }
        }
    }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(&seemly::line(line));
        out.push('\n');
    }
    out
}

fn skipped(page: Page<'_>) -> Vec<(String, &str)> {
    let Some(plan) = &page.files.plan else {
        return Vec::new();
    };
    let events = page.files.events.iter();
    events
        .filter_map(|event| match &event.kind {
            EventKind::Skipped { step, reason, .. } => {
                Some((step_title(plan.step(*step)?), reason.as_str()))
            }
            _ => None,
        })
        .collect()
}
