//! The parts of a page but its steps.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use camino::Utf8Path;
use maud::{Markup, html};

use super::chart::{Bar, Chart, Mark};
use super::found_tests::{FoundTest, Verdict, tests as found};
use super::{MANY, Page, word};
use crate::execute::{Event, EventKind};
use crate::report::outcome::{RunResult, run_results};
use crate::seemly;
use crate::times::duration;

/// How many tests that failed, and that did not run, a file's list shows.
const MOST_TESTS: usize = 200;
/// How wide, in hundredths of the whole, a bar must be to have its name written in it.
const NAMED: f64 = 6.0;

/// What each run step came to.
pub(super) fn runs(page: Page<'_>, chart: &Chart) -> Markup {
    let results = page
        .files
        .plan
        .as_ref()
        .map(|plan| run_results(plan, &page.files.events));
    let results = results.unwrap_or_default();
    if results.is_empty() {
        return html! {};
    }
    // Of many, those that went well are there for whoever asks.
    let is_well = |result: &&RunResult| result.failure.is_none() && result.skipped.is_none();
    let (well, others): (Vec<&RunResult>, Vec<&RunResult>) = match results.len() > MANY {
        true => results.iter().partition(is_well),
        false => (Vec::new(), results.iter().collect()),
    };
    html! {
        h2 #runs { "Runs" }
        @if !others.is_empty() { (results_table(&others, chart)) }
        @if !well.is_empty() {
            details.group {
                summary { span.verdict.ok { "ok" } span.what { (well.len()) " of " (results.len()) " went well" } }
                (results_table(&well, chart))
            }
        }
    }
}

fn results_table(results: &[&RunResult], chart: &Chart) -> Markup {
    let bars: BTreeMap<(&str, &str), &Bar> = chart
        .bars
        .iter()
        .filter_map(|bar| {
            let (_, name) = bar.title.split_once(' ')?;
            Some(((bar.label.as_str(), name), bar))
        })
        .rev()
        .collect();
    html! {
        div.scroll { table {
            tr { th { "droplet" } th { "run step" } th { "result" } th.number { "took" } th.number { "tries" } }
            @for result in results {
                @let bar = bars.get(&(result.droplet.as_str(), result.run.as_str()));
                tr {
                    td { (result.droplet) }
                    td { @match bar {
                        Some(bar) => { a href={ "#step-" (bar.id.0) } { (result.run) } }
                        None => { (result.run) }
                    } }
                    td { @match (bar, &result.skipped) {
                        (_, Some(reason)) => {
                            span.verdict.skipped { "skipped" } " " span.faint { (seemly::text(reason)) }
                        }
                        (Some(bar), None) => {
                            (word(bar.mark))
                            @if let Some(failure) = &bar.failure { " " span.faint { (seemly::text(&failure.message)) } }
                        }
                        (None, None) => { }
                    } }
                    td.number { (result.took_ms.map(duration).unwrap_or_default()) }
                    td.number { (result.tries) }
                }
            }
        } }
    }
}

/// What failed, and what to do about it.
pub(super) fn failures(chart: &Chart) -> Markup {
    let failed: Vec<&Bar> = chart
        .bars
        .iter()
        .filter(|bar| bar.mark == Mark::Failed)
        .collect();
    if failed.is_empty() {
        return html! {};
    }
    html! {
        h2 #failures { "What failed" }
        @for bar in failed {
            h3 { a href={ "#step-" (bar.id.0) } { (bar.label) " " (bar.title) } }
            (failure(bar))
        }
    }
}

/// How a step failed.
pub(super) fn failure(bar: &Bar) -> Markup {
    let Some(failure) = &bar.failure else {
        return html! {};
    };
    html! {
        p.message { (seemly::text(&failure.message)) }
        @for cause in &failure.causes { p.message.faint { "caused by: " (seemly::text(cause)) } }
        @if let Some(help) = &failure.help { p.message { "help: " (seemly::text(help)) } }
        @if !failure.script.is_empty() {
            pre { @for line in &failure.script { (seemly::line(line)) "\n" } }
        }
        @if !failure.tail.is_empty() {
            pre.tail { @for line in &failure.tail { (seemly::line(line)) "\n" } }
        }
        p.faint { code { (failure.code) } }
    }
}

/// Test results among the artifacts.
pub(super) fn tests(page: Page<'_>) -> Markup {
    let files = page.files.artifacts.iter();
    let files: Vec<(&Utf8Path, Vec<FoundTest>)> = files
        .filter_map(|file| Some((file.path.as_path(), found(file.xml.as_ref()?)?)))
        .collect();
    if files.is_empty() {
        return html! {};
    }
    html! {
        h2 #tests { "Tests" }
        @for (path, tests) in &files {
            @let of = |verdict| tests.iter().filter(move |test| test.verdict == verdict);
            p {
                (file(page, path)) ": "
                (of(Verdict::Passed).count()) " passed, "
                (of(Verdict::Failed).count()) " failed, "
                (of(Verdict::Skipped).count()) " skipped"
            }
            @for test in of(Verdict::Failed).take(MOST_TESTS) {
                details.test open {
                    summary { span.verdict.failed { "FAILED" } span.what { (seemly::line(&test.name)) } (took(test)) }
                    @if !test.message.is_empty() { pre { (seemly::text(&test.message)) } }
                }
            }
            @if of(Verdict::Failed).count() > MOST_TESTS {
                p.faint { "and " (of(Verdict::Failed).count() - MOST_TESTS) " more" }
            }
            @let others = tests.len() - of(Verdict::Failed).count();
            @if others > 0 {
                details.test {
                    summary { span.what { @if others == 1 { "1 other" } @else { (others) " others" } } }
                    ul { @for test in tests.iter().filter(|test| test.verdict != Verdict::Failed).take(MOST_TESTS * 10) {
                        li {
                            (seemly::line(&test.name)) " " (took(test))
                            @if test.verdict == Verdict::Skipped {
                                " " span.verdict.skipped { "skipped" } " " span.faint { (seemly::text(&test.message)) }
                            }
                        }
                    } }
                    @if others > MOST_TESTS * 10 { p.faint { "and " (others - MOST_TESTS * 10) " more" } }
                }
            }
        }
    }
}

fn took(test: &FoundTest) -> Markup {
    html! { @if !test.seconds.is_empty() { span.faint { (seemly::line(&test.seconds)) "s" } } }
}

/// When each step went on, a lane a droplet.
pub(super) fn timeline(chart: &Chart) -> Markup {
    if chart.bars.is_empty() {
        return html! {};
    }
    let percent = |ms: u64| ms as f64 * 100.0 / chart.took as f64;
    html! {
        h2 #timeline { "Timeline" }
        p.faint {
            "What is underlined the run had to wait for. Choose a bar to see the step."
        }
        @let is_dense = chart.lanes.len() > MANY;
        div.scroll.high[is_dense] { div.timeline.dense[is_dense] {
            div.lane.axis { div.name {} div.row {
                @for tick in ticks(chart.took) {
                    span.tick style={ "left:" (hundredths(percent(tick))) "%" } { (duration(tick)) }
                }
            } }
            @for lane in &chart.lanes {
                div.lane {
                    div.name title=[is_dense.then_some(&lane.label)] { (lane.label) }
                    div { @for row in &lane.rows { div.row { @for bar in row {
                        @let bar = &chart.bars[*bar];
                        @let width = percent(bar.took());
                        a class={ "bar " (bar.mark.class())
                                @if bar.is_critical { " critical" } @if width < NAMED { " thin" } }
                            href={ "#step-" (bar.id.0) }
                            style={ "left:" (hundredths(percent(bar.began))) "%;width:" (hundredths(width)) "%" }
                            title={ (bar.label) " " (bar.title) ": " (duration(bar.took())) ", " (bar.mark.word()) }
                            aria-label={ (bar.label) " " (bar.title) ": " (duration(bar.took())) ", " (bar.mark.word()) } {
                            @if width >= NAMED && !is_dense { (bar.title) }
                        }
                    } } } }
                }
            }
        } }
    }
}

/// A number for a style: with two digits, and a point in every language.
fn hundredths(number: f64) -> String {
    let mut text = String::new();
    let _ = write!(text, "{number:.2}");
    text
}

/// Moments that are marked: at most seven, at round times.
fn ticks(took: u64) -> Vec<u64> {
    const ROUND: [u64; 21] = [
        1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000,
        300_000, 600_000, 1_800_000, 3_600_000, 14_400_000,
    ];
    let every = ROUND.into_iter().find(|every| took / every < 7);
    let every = every.unwrap_or(took.div_ceil(7).max(1));
    (0..=took / every)
        .map(|tick| tick * every)
        .filter(|tick| *tick * 100 <= took * 96)
        .collect()
}

/// The chain of steps that the run had to wait for.
pub(super) fn critical_path(chart: &Chart) -> Markup {
    if chart.critical.is_empty() {
        return html! {};
    }
    let mut before = 0;
    let mut rows = Vec::new();
    for position in &chart.critical {
        let bar = &chart.bars[*position];
        rows.push((bar, bar.began.saturating_sub(before)));
        before = bar.ended;
    }
    html! {
        h2 #critical-path { "Critical path" }
        p.faint { "Each of these steps waited for the one above it; a faster run has to make them faster." }
        div.scroll { table {
            tr { th { "step" } th.number { "began at" } th.number { "took" } th.number { "of the run" } }
            @for (bar, waited) in rows {
                tr {
                    td {
                        a href={ "#step-" (bar.id.0) } { (bar.label) " " (bar.title) }
                        // Below that it is the program's own doing, not a wait.
                        @if waited >= 50 { " " span.faint { "after a wait of " (duration(waited)) } }
                    }
                    td.number { (duration(bar.began)) }
                    td.number { (duration(bar.took())) }
                    td.number { (bar.took() * 100 / chart.took) " %" }
                }
            }
        } }
    }
}

/// What was brought back.
pub(super) fn artifacts(page: Page<'_>) -> Markup {
    if page.files.artifacts.is_empty() {
        return html! {};
    }
    html! {
        h2 #artifacts { "Artifacts" }
        p.faint { "In " code { (page.run.folder) } }
        ul { @for artifact in &page.files.artifacts {
            li { (file(page, &artifact.path)) " " span.faint { (bytesize::ByteSize(artifact.bytes)) } }
        } }
        @if page.files.more_artifacts > 0 { p.faint { "and " (page.files.more_artifacts) " more" } }
    }
}

/// A file of the run, with a link where the page lies beside it.
fn file(page: Page<'_>, path: &Utf8Path) -> Markup {
    let shown = seemly::line(path.as_str());
    html! {
        @if page.is_in_folder { a href=(link(path)) { (shown) } } @else { span.mono { (shown) } }
    }
}

/// A relative path as a link. A name may hold anything, and must stay a name.
fn link(path: &Utf8Path) -> String {
    let mut link = String::from("./");
    for byte in path.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            link.push(char::from(byte));
        } else {
            let _ = write!(link, "%{byte:02X}");
        }
    }
    link
}

/// What was told that belongs to no step.
pub(super) fn notes(events: &[Event]) -> Markup {
    let notes: Vec<(u64, String)> = events
        .iter()
        .filter_map(|event| {
            let text = match &event.kind {
                EventKind::Notice { text } => seemly::text(text),
                EventKind::Interrupted { signal, .. } => format!("{signal} came in"),
                EventKind::Retried {
                    step: None,
                    wait_ms,
                    reason,
                    ..
                } => format!("{}; waited {}", seemly::text(reason), duration(*wait_ms)),
                _ => return None,
            };
            Some((event.elapsed_ms, text))
        })
        .collect();
    if notes.is_empty() {
        return html! {};
    }
    html! {
        h2 #notes { "Notes" }
        ul { @for (at, text) in notes { li { span.faint { (duration(at)) } " " (text) } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks(1), [0]);
        assert_eq!(ticks(3_400), [0, 500, 1_000, 1_500, 2_000, 2_500, 3_000]);
        assert_eq!(ticks(4_000), [0, 1_000, 2_000, 3_000]);
        assert_eq!(
            ticks(65_000),
            [0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000]
        );
        for took in [7, 99, 12_345, 9_999_999, u64::MAX / 200] {
            assert!(ticks(took).len() <= 8, "{took}");
        }
    }

    #[test]
    fn a_name_of_an_artifact_stays_a_name() {
        assert_eq!(
            link(Utf8Path::new("artifacts/a b/x.xml")),
            "./artifacts/a%20b/x.xml"
        );
        assert_eq!(
            link(Utf8Path::new("javascript:alert(1)?#\"")),
            "./javascript%3Aalert%281%29%3F%23%22"
        );
    }
}
