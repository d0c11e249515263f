//! The end of a run: what failed, what was skipped for it, what each run step came to.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use camino::Utf8PathBuf;

use super::fold::fold;
use super::groups::{names_of, title_of};
use super::hints::{self, Next};
use super::labels::step_title;
use super::plan_text::{LEAST_CUT, cut, monthly_stored, unpriced};
use super::style::Palette;
use crate::address::Address;
use crate::execute::NOT_KEPT;
use crate::execute::error::INTERRUPTED;
use crate::execute::event::DONE_BEFORE;
use crate::execute::journal::log_path;
use crate::execute::standing::{self, Presence, Sort, Standing, Tariff};
use crate::execute::{Event, EventKind, Failure, FailureClass};
use crate::plan::{Goal, Plan, Step, StepKind};
use crate::seemly;
use crate::times::duration;
use crate::units::Money;

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
    /// How many times it was tried; 1 also when it was skipped.
    pub tries: u32,
    /// Where its output lies, relative to the folder of the run.
    pub log: Utf8PathBuf,
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
            run: run.name.as_str().to_owned(),
            took_ms: None,
            failure: None,
            skipped: Some("the run ended before it".to_owned()),
            tries: 1,
            log: log_path(step),
        };
        for event in events {
            match &event.kind {
                EventKind::Retried {
                    step: Some(id),
                    attempt,
                    ..
                } if *id == step.id => result.tries = result.tries.max(*attempt),
                EventKind::Done { step: id, note, .. } if *id == step.id && note == DONE_BEFORE => {
                    result.skipped = Some(note.clone());
                }
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

/// How the end of a run is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Colours.
    pub palette: Palette,
    /// Where logs, artifacts and the journal are.
    pub run_folder: &'a str,
    /// What a command that goes on from here has to be given.
    pub next: &'a Next,
    /// Width of the terminal in characters. There the last output of what failed stands just
    /// above, so only its end is told again, and long lines go on in the next. `None` off one.
    pub width: Option<usize>,
    /// Whether run steps that failed are told once more, with their last output: not where all of it was
    /// told just above.
    pub retells: bool,
}

/// How many lines of last output a terminal is told again.
const TAIL_ON_TERMINAL: usize = 5;
/// More results of run steps than this are counted, but for those that did not go well.
const RESULTS_SHOWN: usize = 24;
/// More failures than this are counted: each has its line among the results of runs, or its log.
const FAILURES_SHOWN: usize = 20;
/// Longest line of last output that is told off a terminal: the log has it whole.
const LONGEST_TAIL_LINE: usize = 500;

/// How wide names of run steps may be, so that how each ended stands beside it. What is cut was told whole
/// when it ran.
fn room_for_runs(width: usize, droplets: usize) -> usize {
    const BESIDE: usize = "  ".len() * 4 + "1h30m5s".len() + "FAILED: exit status 1".len();
    width.saturating_sub(droplets + BESIDE).max(LEAST_CUT)
}

/// Renders the end of a run. `events` are those that are not output.
#[must_use]
pub fn render(plan: &Plan, events: &[Event], view: View<'_>) -> String {
    view.palette.screen(render_of(plan, events, view))
}

fn render_of(plan: &Plan, events: &[Event], view: View<'_>) -> String {
    let palette = view.palette;
    let mut out = String::new();
    let results = run_results(plan, events);
    if !results.is_empty() {
        let _ = writeln!(out, "\n{}", palette.strong("Runs:"));
        let droplets = results.iter().map(|r| r.droplet.len()).max().unwrap_or(0);
        let runs = results.iter().map(|r| r.run.len()).max().unwrap_or(0);
        let runs = view
            .width
            .map_or(runs, |width| runs.min(room_for_runs(width, droplets)));
        let (shown, well) = worth_a_line(&results);
        for result in shown {
            let (word, detail) = match (&result.failure, &result.skipped) {
                (Some(failure), _) if failure.code == INTERRUPTED => {
                    (palette.changed("stopped"), failure.message.clone())
                }
                (Some(failure), _) if failure.allowed => {
                    (palette.changed("failed, allowed"), failure.message.clone())
                }
                (Some(failure), _) => (palette.bad("FAILED"), failure.message.clone()),
                (None, Some(reason)) => (palette.changed("skipped"), reason.clone()),
                (None, None) => (palette.good("ok"), String::new()),
            };
            let took = result.took_ms.map(duration).unwrap_or_default();
            let tries = match (result.tries, &result.failure) {
                (0 | 1, _) => String::new(),
                (tries, None) => format!(" at try {tries}"),
                (tries, Some(_)) => format!(" after {tries} tries"),
            };
            let line = format!(
                "  {:droplets$}  {:runs$}  {took:>7}  {word}{tries}{}{detail}",
                result.droplet,
                cut(&result.run, runs),
                if detail.is_empty() { "" } else { ": " },
            );
            let _ = writeln!(out, "{}", line.trim_end());
            // One that said nothing has none.
            if result
                .failure
                .as_ref()
                .is_some_and(|failure| !failure.tail.is_empty())
            {
                let log = format!("log: {}/{}", view.run_folder, result.log);
                let _ = writeln!(out, "      {}", palette.faint(&log));
            }
        }
        if let Some((fastest, slowest)) = well {
            let all = results.len();
            let count = results.iter().filter(|result| is_well(result)).count();
            let mut took = duration(fastest);
            if duration(slowest) != took {
                took = format!("{took} to {}", duration(slowest));
            }
            let ok = palette.good("ok");
            let _ = writeln!(out, "  {count} of {all} {ok}, in {took} each");
        }
    }
    write_failures(&mut out, plan, events, view);
    write_notices(&mut out, events, palette);
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
                hourly,
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
        let stopped = events.iter().filter(|event| is_stop(event)).count();
        let failed = (*failed as usize).saturating_sub(stopped);
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        if stopped > 0 {
            parts.push(format!("{stopped} stopped"));
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
        write_standing(&mut out, plan, events, *hourly, view);
        let _ = writeln!(
            out,
            "{}",
            palette.faint(&format!("Logs, artifacts and journal: {}", view.run_folder))
        );
    }
    match view.width {
        Some(width) => fold(&out, width),
        None => out,
    }
}

/// The results that have a line each: all, or of many those that did not go well, and of the others the
/// shortest and the longest time.
fn worth_a_line(results: &[RunResult]) -> (Vec<&RunResult>, Option<(u64, u64)>) {
    let well: Vec<u64> = results
        .iter()
        .filter(|result| is_well(result))
        .filter_map(|result| result.took_ms)
        .collect();
    match (well.iter().min(), well.iter().max()) {
        (Some(fastest), Some(slowest)) if results.len() > RESULTS_SHOWN => (
            results.iter().filter(|result| !is_well(result)).collect(),
            Some((*fastest, *slowest)),
        ),
        _ => (results.iter().collect(), None),
    }
}

fn is_well(result: &RunResult) -> bool {
    result.failure.is_none() && result.skipped.is_none() && result.tries <= 1
}

/// What the reader should know and may have missed in the stream, each once.
fn write_notices(out: &mut String, events: &[Event], palette: Palette) {
    const SHOWN: usize = 10;
    let mut notices: Vec<&str> = Vec::new();
    for event in events {
        if let EventKind::Notice { text } = &event.kind
            && !notices.contains(&text.as_str())
        {
            notices.push(text);
        }
    }
    if notices.is_empty() {
        return;
    }
    out.push('\n');
    for notice in notices.iter().take(SHOWN) {
        let notice = seemly::text(notice);
        let _ = writeln!(out, "{} {notice}", palette.changed("note:"));
    }
    if let more @ 1.. = notices.len().saturating_sub(SHOWN) {
        let _ = writeln!(out, "{} {more} more", palette.changed("note:"));
    }
}

/// What is there now, what it costs, and how to go on.
fn write_standing(out: &mut String, plan: &Plan, events: &[Event], hourly: Money, view: View<'_>) {
    let palette = view.palette;
    let standing = Standing::after(plan, Tariff::default(), events);
    let (mut up, mut unsure, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for (sort, name, resource) in standing.present() {
        match (resource.presence, sort) {
            (Presence::MayExist, _) => unsure.push((sort, &resource.address, name)),
            (_, Sort::Droplet) => up.push((sort, &resource.address, name)),
            (_, Sort::Volume | Sort::Snapshot) => kept.push((sort, &resource.address, name)),
            // Cost nothing, and go with the environment.
            (_, Sort::Firewall | Sort::SshKey) => {}
        }
    }
    if !up.is_empty() {
        let price = if hourly.0 > rust_decimal::Decimal::ZERO {
            format!(", {hourly}/h")
        } else {
            String::new()
        };
        let _ = writeln!(out, "{} {}{price}", palette.strong("Up:"), listed(&up));
    }
    write_kept(out, plan, events, view);
    let snapshots = volume_snapshots(plan, events, &kept);
    if !kept.is_empty() {
        let stored = monthly_stored(plan);
        let mut price = if stored.0 > rust_decimal::Decimal::ZERO {
            format!(", {stored}/month")
        } else {
            String::new()
        };
        let (new, _) = unpriced(plan);
        let is_there = |what: &&str| {
            let mut there = kept.iter();
            there.any(|(_, address, _)| address.to_string() == **what)
        };
        let new = new.into_iter().filter(is_there).map(ToOwned::to_owned);
        // The plan has no price of what it was to delete, and did not.
        let old = kept.iter().filter(|(sort, _, name)| {
            *sort == Sort::Snapshot && standing::old_images(plan).any(|old| old == *name)
        });
        let old = old.map(|(_, address, _)| address.to_string());
        let taken = snapshots.iter().filter(|snapshot| snapshot.is_new);
        let taken = taken.map(VolumeSnapshot::title);
        let new: BTreeSet<String> = new.chain(old).chain(taken).collect();
        let new: Vec<String> = new.into_iter().collect();
        if !new.is_empty() {
            let and = if price.is_empty() { "," } else { " and" };
            let _ = write!(
                price,
                "{and} the price of {}, which the next plan knows",
                new.join(", ")
            );
        }
        let snapshots = snapshots.iter().map(VolumeSnapshot::title);
        let all: Vec<String> = std::iter::once(listed(&kept)).chain(snapshots).collect();
        let _ = writeln!(out, "{} {}{price}", palette.strong("Kept:"), all.join(", "));
    }
    if !unsure.is_empty() {
        let text = listed(&unsure);
        let _ = writeln!(out, "{} {text}", palette.bad("May be left:"));
    }
    let mut help = Vec::new();
    if !hints::ended_well(events) {
        help.push(view.next.again(plan, only_runs_failed(events)));
    }
    if plan.goal == Goal::Sweep {
        // Whose things these are, no one manifest says: only another sweep finds them.
    } else if !unsure.is_empty() {
        let destroy = view.next.destroy();
        help.push(format!("{destroy} finds and removes what is left"));
    } else if !up.is_empty() {
        let destroy = view.next.destroy();
        help.push(format!("{destroy} removes what is up"));
    }
    if !help.is_empty() {
        let _ = writeln!(out, "{} {}", palette.running("help:"), help.join(", "));
    }
}

/// The snapshot of a volume that throw-away copies are made from.
struct VolumeSnapshot<'a> {
    volume: &'a Address,
    /// Whether this run took it: then the plan has no price of it.
    is_new: bool,
}

impl VolumeSnapshot<'_> {
    fn title(&self) -> String {
        format!("the snapshot of {}", self.volume)
    }
}

/// Snapshots of volumes that stay, each with its volume.
fn volume_snapshots<'a>(
    plan: &'a Plan,
    events: &[Event],
    kept: &[(Sort, &Address, &str)],
) -> Vec<VolumeSnapshot<'a>> {
    let is_done = |wanted| {
        let mut events = events.iter();
        events.any(|event| matches!(&event.kind, EventKind::Done { step, .. } if *step == wanted))
    };
    let steps = plan.steps.iter().filter_map(|step| match &step.kind {
        StepKind::SnapshotVolume {
            volume_name, found, ..
        } => {
            let is_kept = kept
                .iter()
                .any(|(_, _, name)| *name == volume_name.as_str());
            let is_there = found.is_some() || is_done(step.id);
            (is_kept && is_there).then_some(VolumeSnapshot {
                volume: &step.address,
                is_new: found.is_none(),
            })
        }
        _ => None,
    });
    steps.collect()
}

/// Droplets that a failure kept from being destroyed: until when, what ends that, and how they are
/// reached. One logs in by dewpoint itself: it knows which host key must answer.
fn write_kept(out: &mut String, plan: &Plan, events: &[Event], view: View<'_>) {
    let palette = view.palette;
    for event in events {
        let EventKind::Done { step, note, .. } = &event.kind else {
            continue;
        };
        let Some(step) = plan.step(*step) else {
            continue;
        };
        let StepKind::KeepDroplet { droplet, keep, .. } = &step.kind else {
            continue;
        };
        if note == NOT_KEPT {
            continue;
        }
        let ending = match keep {
            Some(_) => format!(
                "until it is destroyed, which `dewpoint sweep{} --yes` does after that and nothing does by itself",
                view.next.flags.of_cloud()
            ),
            None => "until it is destroyed".to_owned(),
        };
        let what = match &step.address {
            Address::Snapshot(_) => format!("the builder of {}", step.address),
            address => address.to_string(),
        };
        let _ = writeln!(
            out,
            "{} {what} ({}) is {note}; it costs money {ending}; log in with `dewpoint ssh {}{}`",
            palette.strong("Left by the failure:"),
            droplet.name(),
            crate::guest::quote(&step.address.to_string()),
            view.next.flags,
        );
    }
}

/// Whether an event tells of a step that an interrupt ended.
fn is_stop(event: &Event) -> bool {
    matches!(&event.kind, EventKind::Failed { failure, .. } if failure.code == INTERRUPTED)
}

/// Whether all that failed is the tests' fault.
fn only_runs_failed(events: &[Event]) -> bool {
    events.iter().all(|event| match &event.kind {
        EventKind::Failed { failure, .. } => {
            failure.allowed || failure.class == FailureClass::RunStep
        }
        EventKind::Interrupted { .. } => false,
        _ => true,
    })
}

/// Addresses with names, those of one kind of droplet as one.
fn listed(resources: &[(Sort, &Address, &str)]) -> String {
    let mut groups: Vec<Vec<(&Address, &str)>> = Vec::new();
    let mut builders: Vec<String> = Vec::new();
    let base = |address: &Address| match address {
        Address::Droplet { name, .. } => Some(name.clone()),
        _ => None,
    };
    for &(sort, address, name) in resources {
        if sort == Sort::Droplet && matches!(address, Address::Snapshot(_)) {
            builders.push(format!("the builder of {address} ({name})"));
            continue;
        }
        let same = groups.iter_mut().find(|group| {
            let first = base(group[0].0);
            first.is_some() && first == base(address)
        });
        match same {
            Some(group) => group.push((address, name)),
            None => groups.push(vec![(address, name)]),
        }
    }
    let texts = groups.iter().map(|group| {
        let title = title_of(group.iter().map(|(address, _)| *address));
        format!("{title} ({})", names_of(group.iter().copied()))
    });
    texts.chain(builders).collect::<Vec<_>>().join(", ")
}

fn write_failures(out: &mut String, plan: &Plan, events: &[Event], view: View<'_>) {
    let palette = view.palette;
    let mut told = 0;
    for event in events {
        let EventKind::Failed { step, failure, .. } = &event.kind else {
            continue;
        };
        if failure.allowed || failure.code == INTERRUPTED {
            continue;
        }
        // What to do about it is told only here.
        let is_told = failure.class == FailureClass::RunStep && failure.help.is_none();
        if is_told && !view.retells {
            continue;
        }
        let Some(step) = plan.step(*step) else {
            continue;
        };
        told += 1;
        if told > FAILURES_SHOWN {
            continue;
        }
        let heading = step_title(step);
        let _ = writeln!(
            out,
            "\n{} {} [{}]",
            palette.bad("error:"),
            palette.strong(&heading),
            failure.code
        );
        let message = seemly::text(&failure.message);
        let _ = writeln!(out, "  {message}");
        for cause in &failure.causes {
            let cause = seemly::text(cause);
            let _ = writeln!(out, "  caused by: {cause}");
        }
        for line in &failure.script {
            let _ = writeln!(out, "    {}", seemly::line(line));
        }
        if !failure.tail.is_empty() {
            let _ = writeln!(out, "  {}", palette.faint("last output:"));
            let (lines, width) = match view.width {
                Some(width) => (TAIL_ON_TERMINAL, width.saturating_sub(4)),
                None => (usize::MAX, LONGEST_TAIL_LINE),
            };
            let unseen = failure.tail.len().saturating_sub(lines);
            for line in &failure.tail[unseen..] {
                let line = seemly::line(line).replace('\t', "    ");
                let _ = writeln!(out, "    {}", cut(&line, width));
            }
        }
        if let Some(help) = &failure.help {
            let help = hints::complete(help, &view.next.flags);
            let _ = writeln!(out, "  {} {help}", palette.running("help:"));
        }
        let kept = |other: &Step| {
            matches!(other.kind, StepKind::KeepDroplet { .. }) && other.address == step.address
        };
        if matches!(step.kind, StepKind::Provision { .. }) && !plan.steps.iter().any(kept) {
            let _ = writeln!(
                out,
                "  {} with `--keep-builder` the builder stays after such a failure, for `dewpoint ssh {}{}`",
                palette.running("help:"),
                step.address,
                view.next.flags
            );
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
    if let more @ 1.. = told.saturating_sub(FAILURES_SHOWN) {
        let told = format!("{more} more failed: `dewpoint report` shows each");
        let told = hints::complete(&told, &view.next.flags);
        let _ = writeln!(out, "\n{} {told}", palette.bad("error:"));
    }
}
