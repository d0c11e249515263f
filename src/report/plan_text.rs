//! A plan as text: what a person reads before saying `yes`.

use std::fmt::Write as _;

use super::groups::{ActivityGroup, Group, group_activities, group_changes, names_of, title_of};
use super::style::Palette;
use super::text_diff;
use crate::plan::{Action, Change, EdgeKind, FieldChange, Goal, Plan};
use crate::units::Seconds;

/// How a plan is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Colours.
    pub palette: Palette,
    /// Where it is planned: such as `local cloud (guests: namespaces)`.
    pub place: &'a str,
    /// Whether every step is listed, however many there are.
    pub all_steps: bool,
    /// Width of the screen in characters; longer lines of scripts are cut.
    pub width: usize,
}

/// More steps than this are only counted unless all are asked for.
const STEPS_SHOWN: usize = 40;

/// Renders a plan.
#[must_use]
pub fn render(plan: &Plan, view: View<'_>) -> String {
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
        write_change(&mut out, &group, view);
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
                palette.faint(&format!("stays ({})", group.names()))
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

    let lost: Vec<Group<'_>> = group_changes(&shown)
        .into_iter()
        .filter(|g| g.first().action.destroys())
        .collect();
    if !lost.is_empty() {
        let _ = writeln!(out, "\n{}", palette.bad("Destroyed or replaced:"));
        for group in lost {
            let sign = palette.sign(group.first().action);
            let _ = writeln!(out, "  {sign} {} ({})", group.title(), group.names());
        }
    }
    let _ = writeln!(out, "\n{}", summary(plan, palette));
    out
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
        parts.push(about(plan.cost.expected_seconds));
    }
    let mut money = Vec::new();
    if plan.cost.hourly_while_up.0 > rust_decimal::Decimal::ZERO {
        money.push(format!("{}/h while up", plan.cost.hourly_while_up));
    }
    money.push(format!("{}/month kept", plan.cost.monthly_kept));
    if plan.cost.expected_once.0 > rust_decimal::Decimal::ZERO {
        money.push(format!("about {} for this run", plan.cost.expected_once));
    }
    parts.push(money.join(", "));
    if !plan.cost.unpriced.is_empty() {
        parts.push(format!(
            "price unknown of {}",
            plan.cost.unpriced.join(", ")
        ));
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

/// What the activities of a plan stand under.
const fn every(plan: &Plan) -> &'static str {
    match plan.goal {
        Goal::Test => "This test:",
        Goal::Run => "This run:",
        Goal::Apply | Goal::Destroy | Goal::DestroyProject => "Every apply:",
    }
}

fn about(seconds: u64) -> String {
    match seconds {
        0..=90 => format!("about {seconds} s"),
        _ => format!("about {} min", seconds.div_ceil(60)),
    }
}

const fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

fn write_change(out: &mut String, group: &Group<'_>, view: View<'_>) {
    let palette = view.palette;
    let change = group.first();
    let verb = match change.action {
        Action::Create => "will be created",
        Action::Update => "will be changed in place",
        Action::DestroyThenCreate => "must be replaced: destroyed, then created",
        Action::CreateThenDestroy => "must be replaced: created, then the old one destroyed",
        Action::Delete => "will be destroyed",
        Action::Keep => "stays",
    };
    let several = match group.changes.len() {
        1 => String::new(),
        count => format!(" ({count} droplets)"),
    };
    let heading = format!("# {}{several} {verb}", group.title());
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
            _ if field.known_after_apply => {
                let _ = writeln!(
                    out,
                    "      {name}  {}{forces}",
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

/// Cuts a line to a width, saying so.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width.max(20) {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width.max(20) - 3).collect();
    short.push_str("...");
    short
}

fn write_activity(out: &mut String, group: &ActivityGroup<'_>, view: View<'_>) {
    let palette = view.palette;
    let activity = group.activities[0];
    let title = title_of(group.activities.iter().map(|activity| &activity.address));
    let names = names_of(
        group
            .activities
            .iter()
            .map(|activity| activity.name.as_str()),
    );
    let life = if activity.single_use {
        "is created, runs, "
    } else {
        "runs, then "
    };
    let _ = writeln!(
        out,
        "  {} {} {}{} {}",
        palette.running(">"),
        palette.strong(&title),
        life,
        activity.after_run,
        palette.faint(&format!("({names})")),
    );
    let mut fields = activity.fields.clone();
    fields.extend(activity.source.as_ref().map(|source| FieldChange {
        field: "source".to_owned(),
        old: None,
        new: Some(source.clone()),
        forces_replace: false,
        known_after_apply: false,
    }));
    write_fields(out, &fields, Action::Create, view);
    for run in &activity.runs {
        let first = run.command.lines().next().unwrap_or_default();
        let more = run.command.trim_end().lines().count().saturating_sub(1);
        let more = if more > 0 {
            format!(" (+{more} {})", plural(more, "line", "lines"))
        } else {
            String::new()
        };
        let once = if run.once { ", once" } else { "" };
        let tail = format!("{more} [at most {}{once}]", run.timeout);
        let room = view.width.saturating_sub(12 + run.name.len() + tail.len());
        let _ = writeln!(
            out,
            "      {} {}: {}{}",
            palette.running("run"),
            run.name,
            cut(first, room),
            palette.faint(&tail),
        );
    }
}

fn write_steps(out: &mut String, plan: &Plan, view: View<'_>) {
    if !plan.has_steps() {
        return;
    }
    let palette = view.palette;
    let _ = writeln!(out, "\n{}", palette.strong("Steps:"));
    if plan.steps.len() > STEPS_SHOWN && !view.all_steps {
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
    let mut waits: Vec<Vec<String>> = vec![Vec::new(); plan.steps.len()];
    for edge in &plan.edges {
        let mark = if edge.kind == EdgeKind::After {
            "~"
        } else {
            ""
        };
        waits[edge.to.0 as usize].push(format!("{mark}{}", edge.from.0 + 1));
    }
    let digits = plan.steps.len().to_string().len();
    let width = plan
        .steps
        .iter()
        .map(|step| step.address.to_string().len())
        .max()
        .unwrap_or(0)
        .min(32);
    for (step, waits) in plan.steps.iter().zip(waits) {
        let number = step.id.0 + 1;
        let after = if waits.is_empty() {
            String::new()
        } else {
            palette.faint(&format!("  after {}", waits.join(", ")))
        };
        let address = step.address.to_string();
        let _ = writeln!(
            out,
            "  {number:>digits$}  {address:width$}  {}{after}",
            step.kind.title()
        );
    }
}

/// A length of time as people say it: `1.2 s`, `75 s`, `4m30s`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=9_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..=99_999 => format!("{} s", ms / 1_000),
        _ => Seconds(ms / 1_000).to_string(),
    }
}
