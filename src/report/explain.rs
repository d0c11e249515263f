//! Why steps of a plan exist, what they wait for and what waits for them.

use std::fmt::Write as _;

use super::groups::title_of;
use super::labels::step_title;
use super::plan_text::headline;
use super::style::Palette;
use crate::address::Address;
use crate::plan::schedule::Schedule;
use crate::plan::{Action, Cause, Change, Edge, EdgeKind, Plan, Step, StepKind};
use crate::units::Seconds;

/// More steps than this that wait for one are not told one by one.
const TOLD: usize = 6;

/// Explains what becomes of the resources that a pattern names, and each step of theirs; `None`
/// when the plan knows none of them.
#[must_use]
pub fn render(plan: &Plan, pattern: &str, palette: Palette) -> Option<String> {
    render_of(plan, pattern, palette).map(|text| palette.screen(text))
}

fn render_of(plan: &Plan, pattern: &str, palette: Palette) -> Option<String> {
    let schedule = Schedule::of(plan);
    let mut out = String::new();
    for change in plan.changes.iter().filter(|c| c.address.matches(pattern)) {
        write_change(&mut out, change, palette);
    }
    for activity in plan
        .activities
        .iter()
        .filter(|a| a.address.matches(pattern))
    {
        let _ = writeln!(
            out,
            "{} {}",
            palette.strong(&activity.address.to_string()),
            match activity.single_use {
                true => "is created and runs each time: it is single-use",
                false => "runs each time",
            }
        );
    }
    let steps: Vec<&Step> = plan
        .steps
        .iter()
        .filter(|step| belongs(step, pattern))
        .collect();
    if steps.is_empty() {
        if !out.is_empty() {
            out.push_str("Nothing is done to it: no step of this plan is its.\n");
            return Some(out);
        }
        return None;
    }
    for step in steps {
        out.push('\n');
        write_step(&mut out, plan, &schedule, step, palette);
    }
    Some(out)
}

/// Every address the plan knows, sorted.
#[must_use]
pub fn addresses(plan: &Plan) -> Vec<Address> {
    let changes = plan.changes.iter().map(|change| &change.address);
    let activities = plan.activities.iter().map(|activity| &activity.address);
    let steps = plan.steps.iter().map(|step| &step.address);
    let all = changes.chain(activities).chain(steps).cloned();
    let sorted: std::collections::BTreeSet<Address> = all.collect();
    sorted.into_iter().collect()
}

fn belongs(step: &Step, pattern: &str) -> bool {
    match &step.kind {
        StepKind::CreateDroplets { droplets, .. }
            if matches!(step.address, Address::Droplet { .. }) =>
        {
            droplets
                .iter()
                .any(|droplet| droplet.address.matches(pattern))
        }
        _ => step.address.matches(pattern),
    }
}

fn write_change(out: &mut String, change: &Change, palette: Palette) {
    let _ = writeln!(
        out,
        "{} ({}) {}",
        palette.strong(&change.address.to_string()),
        change.name,
        headline(change.action)
    );
    for reason in &change.reasons {
        let _ = writeln!(out, "  because {} [{}]", reason.text, cause(reason.cause));
    }
    for field in change.fields.iter().filter(|field| field.forces_replace) {
        let _ = writeln!(out, "  `{}` cannot be changed in place", field.field);
    }
    match change.action {
        Action::Keep if change.reasons.is_empty() => {
            out.push_str("  because it is as the manifest says\n");
        }
        Action::Create if change.reasons.is_empty() => {
            out.push_str("  because the manifest has it and there is none yet\n");
        }
        _ => {}
    }
}

/// Where a change comes from, in words.
const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Manifest => "the manifest",
        Cause::Drift => "drift: someone else changed it",
        Cause::Upstream => "upstream: what it is made from is made anew",
        Cause::Age => "age",
        Cause::Expiry => "expiry",
        Cause::Leftover => "left by an earlier run",
        Cause::Command => "the command",
    }
}

fn write_step(out: &mut String, plan: &Plan, schedule: &Schedule, step: &Step, palette: Palette) {
    let at = step.id.0 as usize;
    let took = match step.expected_seconds {
        0 => "under 1s".to_owned(),
        seconds => format!("about {}", Seconds(seconds)),
    };
    let slack = match schedule.slacks[at] {
        _ if schedule.path.contains(&step.id) => {
            palette.changed("on the longest chain: the whole waits for it")
        }
        0 => "the whole waits for it".to_owned(),
        slack => format!("may be {} late", Seconds(slack)),
    };
    let _ = writeln!(
        out,
        "step {}: {}\n  {took}, from {} to {}; {slack}",
        step.id.0 + 1,
        palette.strong(&step_title(step)),
        Seconds(schedule.starts[at]),
        Seconds(schedule.ends[at]),
    );
    if step.cleanup {
        out.push_str("  is clean-up: it is done after a failure and an interrupt, too\n");
    }
    if let StepKind::CreateDroplets { droplets, .. } = &step.kind
        && droplets.len() > 1
    {
        let all = title_of(droplets.iter().map(|droplet| &droplet.address));
        let _ = writeln!(out, "  one call makes {all}");
    }
    let before: Vec<&Edge> = plan
        .edges
        .iter()
        .filter(|edge| edge.to == step.id)
        .collect();
    if before.is_empty() {
        out.push_str("  waits for nothing\n");
    }
    write_edges(out, plan, &before, "waits for", |edge| edge.from);
    let after: Vec<&Edge> = plan
        .edges
        .iter()
        .filter(|edge| edge.from == step.id)
        .collect();
    write_edges(out, plan, &after, "before", |edge| edge.to);
}

fn write_edges(
    out: &mut String,
    plan: &Plan,
    edges: &[&Edge],
    verb: &str,
    other: impl Fn(&Edge) -> crate::plan::StepId,
) {
    for edge in edges.iter().take(TOLD) {
        let id = other(edge);
        let Some(step) = plan.step(id) else { continue };
        let how = match edge.kind {
            EdgeKind::Needs => "",
            EdgeKind::After => " (however it ends)",
        };
        let _ = writeln!(
            out,
            "  {verb} step {}, {}{how}: {}",
            id.0 + 1,
            step_title(step),
            edge.reason
        );
    }
    if edges.len() > TOLD {
        let _ = writeln!(out, "  {verb} {} more", edges.len() - TOLD);
    }
}
