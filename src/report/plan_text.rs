//! A plan as text: what a person reads before saying `yes`.

use std::fmt::Write as _;

use super::fold::fold;
use super::groups::{
    ActivityGroup, Group, group_activities, group_changes, group_lost, names_of, title_of,
};
use super::labels::{is_builder, step_label};
use super::style::Palette;
use super::text_diff;
use crate::plan::{Action, Basis, Change, Cost, EdgeKind, FieldChange, Goal, Plan};
use crate::times::about;
use crate::units::Money;

/// How a plan is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Colours.
    pub palette: Palette,
    /// Where it is planned: such as `local cloud (guests: namespaces)`.
    pub place: &'a str,
    /// Whether every step is listed, however many there are.
    pub all_steps: bool,
    /// Width of the screen in characters: lines of scripts are cut to it.
    pub width: usize,
    /// Whether other lines that are longer go on in the next: for people at a terminal. Programs
    /// that read a plan find every sentence on one line.
    pub folds: bool,
}

/// Of a run's command at least so many characters stand beside what is said of it.
const LEAST_OF_COMMAND: usize = 30;
/// More steps than this are only counted unless all are asked for.
const STEPS_SHOWN: usize = 40;

/// Renders a plan.
#[must_use]
pub fn render(plan: &Plan, view: View<'_>) -> String {
    view.palette.screen(render_of(plan, view))
}

fn render_of(plan: &Plan, view: View<'_>) -> String {
    let mut out = String::new();
    let palette = view.palette;
    let what = format!("{} / {}", plan.project, plan.environment);
    let _ = writeln!(
        out,
        "{} in {} on {}",
        palette.strong(&what),
        plan.region,
        view.place
    );
    for notice in &plan.notices {
        let _ = writeln!(out, "{} {notice}", palette.changed("note:"));
    }

    let shown: Vec<&Change> = plan
        .changes
        .iter()
        .filter(|c| c.action != Action::Keep)
        .collect();
    for group in group_changes(&shown) {
        out.push('\n');
        write_change(&mut out, plan, &group, view);
    }
    let kept: Vec<&Change> = plan
        .changes
        .iter()
        .filter(|c| c.action == Action::Keep)
        .collect();
    if !kept.is_empty() {
        out.push('\n');
        for group in group_changes(&kept) {
            let change = group.first();
            let _ = write!(out, "  {} {}", palette.sign(Action::Keep), group.title());
            let _ = write!(
                out,
                " {}",
                palette.faint(&format!(
                    "{} ({})",
                    plural(group.changes.len(), "stays", "stay"),
                    group.names()
                ))
            );
            if !change.reasons.is_empty() {
                let reasons: Vec<&str> = change.reasons.iter().map(|r| r.text.as_str()).collect();
                let _ = write!(
                    out,
                    "{}",
                    palette.faint(&format!(": {}", reasons.join("; ")))
                );
            }
            out.push('\n');
        }
    }
    if !plan.activities.is_empty() {
        let _ = writeln!(out, "\n{}", palette.strong(every(plan)));
        for group in group_activities(&plan.activities) {
            write_activity(&mut out, &group, view);
        }
    }
    write_steps(&mut out, plan, view);

    let lost = group_lost(&shown);
    if !lost.is_empty() {
        let _ = writeln!(out, "\n{}", palette.bad("Destroyed or replaced:"));
        for group in lost {
            let sign = palette.sign(group.first().action);
            let builder = if is_builder(plan, group.first()) {
                "the builder of "
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "  {sign} {builder}{} ({})",
                group.title(),
                group.names()
            );
        }
    }
    let _ = writeln!(out, "\n{}", summary(plan, palette));
    if view.folds {
        fold(&out, view.width)
    } else {
        out
    }
}

/// The one line at the end of a plan.
#[must_use]
pub fn summary(plan: &Plan, palette: Palette) -> String {
    let count = |action: Action| plan.changes.iter().filter(|c| c.action == action).count();
    let replaced = count(Action::DestroyThenCreate) + count(Action::CreateThenDestroy);
    let runs: usize = plan
        .activities
        .iter()
        .map(|activity| activity.runs.len())
        .sum();
    let mut parts = Vec::new();
    let changes = if plan.has_changes() {
        format!(
            "{} to add, {} to change, {replaced} to replace, {} to destroy",
            count(Action::Create),
            count(Action::Update),
            count(Action::Delete),
        )
    } else {
        String::new()
    };
    if runs > 0 {
        parts.push(format!("{runs} {}", plural(runs, "run", "runs")));
    }
    if plan.has_steps() {
        parts.push(format!(
            "{} {}",
            plan.steps.len(),
            plural(plan.steps.len(), "step", "steps")
        ));
        parts.push(expected(&plan.cost));
    }
    let mut money = Vec::new();
    let Cost {
        hourly_while_up,
        monthly_droplets,
        ..
    } = &plan.cost;
    if hourly_while_up.0 > rust_decimal::Decimal::ZERO {
        let month = if monthly_droplets.0 > rust_decimal::Decimal::ZERO {
            format!(
                " ({}/month for droplets that stay)",
                monthly_droplets.cents()
            )
        } else {
            String::new()
        };
        money.push(format!("{hourly_while_up}/h while up{month}"));
    }
    money.push(format!("{}/month kept", monthly_stored(plan)));
    if plan.cost.expected_once.0 > rust_decimal::Decimal::ZERO {
        money.push(format!(
            "about {} for this run (at most {})",
            plan.cost.expected_once, plan.cost.most_once
        ));
    }
    parts.push(money.join(", "));
    let (built, unknown) = unpriced(plan);
    if !built.is_empty() {
        parts.push(format!(
            "the price of {} shows once it is taken",
            built.join(", ")
        ));
    }
    if !unknown.is_empty() {
        parts.push(format!("no price known of {}", unknown.join(", ")));
    }
    if plan.has_changes() {
        format!(
            "{} {changes}; {}.",
            palette.strong("Plan:"),
            parts.join("; ")
        )
    } else if plan.has_steps() {
        format!(
            "{} {} {}.",
            palette.strong("No changes."),
            every(plan),
            parts.join("; ")
        )
    } else {
        palette.strong("No changes.")
    }
}

/// What a month costs of volumes and snapshots that stay.
pub(super) fn monthly_stored(plan: &Plan) -> Money {
    Money(plan.cost.monthly_kept.0 - plan.cost.monthly_droplets.0).cents()
}

/// What has no price: snapshots that are yet to be taken, and sizes the account does not know.
pub(super) fn unpriced(plan: &Plan) -> (Vec<&str>, Vec<&str>) {
    plan.cost
        .unpriced
        .iter()
        .map(String::as_str)
        .partition(|what| what.starts_with("snapshot."))
}

/// What the activities of a plan stand under.
pub(super) const fn every(plan: &Plan) -> &'static str {
    match plan.goal {
        Goal::Test => "This test:",
        Goal::Run => "This run:",
        Goal::Apply | Goal::Destroy | Goal::DestroyProject | Goal::Sweep => "Every apply:",
    }
}

/// How long a plan is expected to take, and what that goes by where it is not what is usual.
fn expected(cost: &Cost) -> String {
    let time = about(cost.expected_seconds);
    match cost.basis {
        Basis::Usual => time,
        Basis::LocalCloud => format!("{time} on the local cloud"),
        Basis::PastRuns { runs: 1 } => format!("{time}, as the last run took"),
        Basis::PastRuns { runs } => format!("{time}, going by {runs} past runs"),
    }
}

pub(super) const fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// What becomes of a resource, in words.
pub(super) const fn headline(action: Action) -> &'static str {
    match action {
        Action::Create => "will be created",
        Action::Update => "will be changed in place",
        Action::DestroyThenCreate => "must be replaced: destroyed, then created",
        Action::CreateThenDestroy => "must be replaced: created, then the old one destroyed",
        Action::Delete => "will be destroyed",
        Action::Keep => "stays",
    }
}

fn write_change(out: &mut String, plan: &Plan, group: &Group<'_>, view: View<'_>) {
    let palette = view.palette;
    let change = group.first();
    let verb = headline(change.action);
    let several = match group.changes.len() {
        1 => String::new(),
        count => format!(" ({count} droplets)"),
    };
    let builder = if is_builder(plan, change) {
        "the builder of "
    } else {
        ""
    };
    let heading = format!("# {builder}{}{several} {verb}", group.title());
    let _ = writeln!(out, "  {}", palette.strong(&heading));
    for reason in &change.reasons {
        let _ = writeln!(out, "  #   {}", reason.text);
    }
    let _ = writeln!(out, "  {} {}", palette.sign(change.action), group.names());
    write_fields(out, &change.fields, change.action, view);
}

fn write_fields(out: &mut String, fields: &[FieldChange], action: Action, view: View<'_>) {
    let palette = view.palette;
    let width = fields
        .iter()
        .map(|field| field.field.len())
        .max()
        .unwrap_or(0);
    for field in fields {
        let name = format!("{:width$}", field.field);
        let forces = if field.forces_replace {
            palette.bad("  (forces replace)")
        } else {
            String::new()
        };
        match (&field.old, &field.new) {
            (old, _) if field.known_after_apply => {
                let old = old.iter().map(|old| format!("{old} -> "));
                let _ = writeln!(
                    out,
                    "      {name}  {}{}{forces}",
                    old.collect::<String>(),
                    palette.faint("(known after apply)")
                );
            }
            (Some(old), Some(new)) if old.contains('\n') || new.contains('\n') => {
                let _ = writeln!(out, "      {name}{forces}");
                out.push_str(&text_diff::render(old, new, "        ", palette));
            }
            (Some(old), Some(new)) => {
                let _ = writeln!(out, "      {name}  {old} -> {new}{forces}");
            }
            (None, Some(new)) if new.contains('\n') => {
                let _ = writeln!(out, "      {name}");
                for line in new.lines() {
                    let line = if action == Action::Create {
                        format!("  {line}")
                    } else {
                        palette.good(&format!("+ {line}"))
                    };
                    let _ = writeln!(out, "        {}", cut(&line, view.width.saturating_sub(8)));
                }
            }
            (None, Some(new)) => {
                let _ = writeln!(
                    out,
                    "      {name}  {}{forces}",
                    cut(new, view.width.saturating_sub(width + 8))
                );
            }
            (Some(old), None) => {
                let _ = writeln!(
                    out,
                    "      {name}  {old} -> {}{forces}",
                    palette.faint("(none)")
                );
            }
            (None, None) => {}
        }
    }
}

/// Nothing is cut to less.
pub(super) const LEAST_CUT: usize = 20;

/// Cuts a line to a width, saying so.
pub(super) fn cut(line: &str, width: usize) -> String {
    let width = width.max(LEAST_CUT);
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width - 3).collect();
    short.push_str("...");
    short
}

/// `is created, runs, is destroyed whatever happens`: what becomes of a droplet around its runs.
pub(super) fn after_run_of(group: &ActivityGroup<'_>) -> String {
    let activity = group.activities[0];
    let several = group.activities.len() > 1;
    let life = match (activity.single_use, several) {
        (true, false) => "is created, runs, ",
        (true, true) => "are created, run, ",
        (false, false) => "runs, then ",
        (false, true) => "run, then ",
    };
    let after_run = match activity.after_run.as_str() {
        "stays" if several => "stay".to_owned(),
        text if several => match text.strip_prefix("is ") {
            Some(rest) => format!("are {rest}"),
            None => text.to_owned(),
        },
        text => text.to_owned(),
    };
    format!("{life}{after_run}")
}

fn write_activity(out: &mut String, group: &ActivityGroup<'_>, view: View<'_>) {
    let palette = view.palette;
    let activity = group.activities[0];
    let title = title_of(group.activities.iter().map(|activity| &activity.address));
    let names = names_of(
        group
            .activities
            .iter()
            .map(|activity| (&activity.address, activity.name.as_str())),
    );
    let _ = writeln!(
        out,
        "  {} {} {} {}",
        palette.running(">"),
        palette.strong(&title),
        after_run_of(group),
        palette.faint(&format!("({names})")),
    );
    let mut fields = (*activity.fields).clone();
    fields.extend(activity.source.as_ref().map(|source| FieldChange {
        field: "source".to_owned(),
        old: None,
        new: Some(source.as_str().to_owned()),
        forces_replace: false,
        known_after_apply: false,
    }));
    write_fields(out, &fields, Action::Create, view);
    for run in activity.runs.iter() {
        let first = run.command.lines().next().unwrap_or_default();
        let more = run.command.trim_end().lines().count().saturating_sub(1);
        let more = if more > 0 {
            format!(" (+{more} {})", plural(more, "line", "lines"))
        } else {
            String::new()
        };
        let once = if run.once { ", once" } else { "" };
        let tail = match &run.background {
            Some(ready) => format!(
                "{more} [in the background; ready when {ready}, within {}]",
                run.timeout
            ),
            None => format!("{more} [at most {}{once}]", run.timeout),
        };
        let begin = format!("      {} {}: ", palette.running("run"), run.name);
        let before = 12 + run.name.chars().count();
        let room = view.width.saturating_sub(before + tail.len());
        // So little of a command says nothing: then the rest has a line of its own.
        let (room, gap) = if room < LEAST_OF_COMMAND && first.chars().count() > room {
            (view.width.saturating_sub(before), "\n         ")
        } else {
            (room, "")
        };
        let (command, tail) = (cut(first, room), palette.faint(&tail));
        let _ = writeln!(out, "{begin}{command}{gap}{tail}");
    }
}

fn write_steps(out: &mut String, plan: &Plan, view: View<'_>) {
    if !plan.has_steps() {
        return;
    }
    let palette = view.palette;
    let lists_all = plan.steps.len() <= STEPS_SHOWN || view.all_steps;
    let legend = if lists_all && plan.edges.iter().any(|edge| edge.kind == EdgeKind::After) {
        palette.faint(" (after ~3: once step 3 has ended, well or not)")
    } else {
        String::new()
    };
    let _ = writeln!(out, "\n{}{legend}", palette.strong("Steps:"));
    if !lists_all {
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for step in &plan.steps {
            let verb: String = step.kind.title().split_whitespace().take(1).collect();
            match kinds.iter_mut().find(|(known, _)| *known == verb) {
                Some((_, count)) => *count += 1,
                None => kinds.push((verb, 1)),
            }
        }
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(verb, count)| format!("{count} {verb}"))
            .collect();
        let _ = writeln!(out, "  {} (`plan --steps` lists them)", kinds.join(", "));
        return;
    }
    let digits = plan.steps.len().to_string().len();
    let labels: Vec<String> = plan.steps.iter().map(step_label).collect();
    let longest = labels.iter().map(|label| label.chars().count()).max();
    let width = longest.unwrap_or(0).min((view.width / 2).max(32));
    for (step, waits) in plan.steps.iter().zip(waits(plan)) {
        let number = step.id.0 + 1;
        let after = if waits.is_empty() {
            String::new()
        } else {
            palette.faint(&format!("  after {waits}"))
        };
        let label = cut(&labels[step.id.0 as usize], width);
        let _ = writeln!(
            out,
            "  {number:>digits$}  {label:width$}  {}{after}",
            step.kind.title()
        );
    }
}

/// What each step of a plan waits for, as [`ranges`] writes it; empty for nothing.
pub(super) fn waits(plan: &Plan) -> Vec<String> {
    let mut waits: Vec<Vec<(u32, EdgeKind)>> = vec![Vec::new(); plan.steps.len()];
    for edge in &plan.edges {
        if let Some(waits) = waits.get_mut(edge.to.0 as usize) {
            waits.push((edge.from.0 + 1, edge.kind));
        }
    }
    waits.into_iter().map(ranges).collect()
}

/// Steps as `1, ~13..~15`: three or more in a row as a range, with `~` those that must only have
/// ended.
fn ranges(mut steps: Vec<(u32, EdgeKind)>) -> String {
    steps.sort_unstable();
    let mut runs: Vec<(u32, u32, EdgeKind)> = Vec::new();
    for (step, kind) in steps {
        match runs.last_mut() {
            Some((_, last, of)) if *last + 1 == step && *of == kind => *last = step,
            _ => runs.push((step, step, kind)),
        }
    }
    let mut texts = Vec::new();
    for (first, last, kind) in runs {
        let mark = if kind == EdgeKind::After { "~" } else { "" };
        if last - first >= 2 {
            texts.push(format!("{mark}{first}..{mark}{last}"));
        } else {
            texts.extend((first..=last).map(|step| format!("{mark}{step}")));
        }
    }
    texts.join(", ")
}
