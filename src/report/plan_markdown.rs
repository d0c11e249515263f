//! A plan as GitHub-flavoured Markdown: what a reviewer reads in a pull request.
//!
//! The same groups, words and numbers as on a terminal ([`super::plan_text`]), in an order for
//! whoever reads no further than the first screen: the summary, what is lost, what changes.

use super::groups::{
    ActivityGroup, Group, group_activities, group_changes, group_lost, names_of, title_of,
};
use super::labels::{is_builder, step_label};
use super::markdown::{Part, Rank, cell_code, code, document, html, marker, text};
use super::plan_text::{
    after_run_of, every, headline, monthly_stored, plural, summary, unpriced, waits,
};
use super::style::Palette;
use super::text_diff;
use crate::address::Address;
use crate::plan::{Action, Change, FieldChange, Plan};

/// Longer values are told in a block of their own, not in a table.
const MOST_IN_A_CELL: usize = 200;

/// Renders a plan, in at most that many bytes. `place` is where it is planned.
#[must_use]
pub fn render(plan: &Plan, place: &str, most_bytes: usize) -> String {
    let name = format!("{} / {}", plan.project, plan.environment);
    let heading = format!(
        "{}\n### Plan of {} in {} on {}",
        marker(&format!(
            "dewpoint:plan:{}:{}",
            plan.project, plan.environment
        )),
        code(&name),
        text(&plan.region),
        text(place)
    );
    let mut parts = vec![
        Part::whole(Rank::First, &heading),
        Part::whole(Rank::First, &bold_summary(plan)),
    ];
    let shown: Vec<&Change> = plan
        .changes
        .iter()
        .filter(|change| change.action != Action::Keep)
        .collect();
    let groups = group_changes(&shown);
    lost(plan, &group_lost(&shown), &mut parts);
    if !plan.notices.is_empty() {
        let notices: Vec<String> = plan.notices.iter().map(|note| text(note)).collect();
        parts.push(Part::list(Rank::First, &notices));
    }
    if !groups.is_empty() {
        parts.push(Part::whole(Rank::Second, "#### Changes"));
        let rows: Vec<Vec<String>> = groups.iter().map(|group| row(plan, group)).collect();
        let headings = ["", "resource", "what happens", "why"];
        parts.push(Part::table(Rank::Second, &headings, &rows));
        for group in &groups {
            details(plan, group, &mut parts);
        }
    }
    let activities = group_activities(&plan.activities);
    if !activities.is_empty() {
        parts.push(Part::whole(Rank::Second, &format!("#### {}", every(plan))));
        let items: Vec<String> = activities
            .iter()
            .flat_map(|group| activity(group))
            .collect();
        parts.push(Part::list(Rank::Second, &items));
    }
    parts.push(Part::whole(Rank::Second, "#### Cost"));
    parts.push(Part::table(
        Rank::Second,
        &["what", "US dollars"],
        &cost(plan),
    ));
    kept(plan, &mut parts);
    steps(plan, &mut parts);
    document(
        &parts,
        most_bytes,
        "`dewpoint plan --steps` shows all of it",
    )
}

/// The summary line of the terminal, its first words bold.
fn bold_summary(plan: &Plan) -> String {
    let line = summary(plan, Palette::PLAIN);
    let (first, rest) = ["No changes.", "Plan:"]
        .into_iter()
        .find_map(|first| Some((first, line.strip_prefix(first)?)))
        .unwrap_or(("", &line));
    format!("**{first}**{}", text(rest))
}

/// What is destroyed or replaced, before anything else.
fn lost(plan: &Plan, groups: &[Group<'_>], parts: &mut Vec<Part>) {
    let items: Vec<String> = groups
        .iter()
        .map(|group| {
            let change = group.first();
            let data = match (&change.address, change.action) {
                (Address::Volume(_), _) => " **with all the data on it**",
                _ => "",
            };
            format!(
                "{} {}{} ({}) {}{data}{}{}",
                code(change.action.sign()),
                builder(plan, change),
                code(&group.title()),
                text(&group.names()),
                text(headline(change.action)),
                because(change),
                told_by(change)
            )
        })
        .collect();
    if items.is_empty() {
        return;
    }
    // A quote begins each line: GitHub draws it as a box of its own.
    let head = "> [!CAUTION]\n> **Destroyed or replaced:**";
    let items: Vec<String> = items.iter().map(|item| format!("> - {item}")).collect();
    parts.push(Part::whole(
        Rank::First,
        &format!("{head}\n>\n{}", items.join("\n")),
    ));
}

fn because(change: &Change) -> String {
    if change.reasons.is_empty() {
        return String::new();
    }
    let reasons: Vec<String> = change.reasons.iter().map(|r| text(&r.text)).collect();
    format!(" — {}", reasons.join("; "))
}

/// The fields that a replace is told by, old and new, as far as its reasons do not say them.
fn told_by(change: &Change) -> String {
    let is_said = |old: &str, new: &str| {
        let mut reasons = change.reasons.iter();
        reasons.any(|reason| reason.text.contains(old) && reason.text.contains(new))
    };
    let forced = change.fields.iter().any(|field| field.forces_replace);
    let fields: Vec<String> = change
        .fields
        .iter()
        .filter(|field| field.forces_replace == forced && !is_long(field))
        .filter_map(|field| Some((field, field.old.as_deref()?, field.new.as_deref()?)))
        .filter(|(_, old, new)| !is_said(old, new))
        .map(|(field, old, new)| format!("{} {} → {}", text(&field.field), code(old), code(new)))
        .collect();
    if fields.is_empty() {
        return String::new();
    }
    format!(" ({})", fields.join(", "))
}

fn builder(plan: &Plan, change: &Change) -> &'static str {
    if is_builder(plan, change) {
        "the builder of "
    } else {
        ""
    }
}

fn several(count: usize) -> String {
    match count {
        1 => String::new(),
        count => format!(" ({count} droplets)"),
    }
}

fn row(plan: &Plan, group: &Group<'_>) -> Vec<String> {
    let change = group.first();
    let reasons: Vec<String> = change.reasons.iter().map(|r| text(&r.text)).collect();
    vec![
        code(change.action.sign()),
        format!(
            "{}{}{}<br>{}",
            builder(plan, change),
            cell_code(&group.title()),
            several(group.changes.len()),
            text(&group.names())
        ),
        text(headline(change.action)),
        reasons.join("<br>"),
    ]
}

/// The fields of a change, folded; scripts as differences of their lines.
fn details(plan: &Plan, group: &Group<'_>, parts: &mut Vec<Part>) {
    let change = group.first();
    let (long, short): (Vec<&FieldChange>, Vec<&FieldChange>) =
        change.fields.iter().partition(|field| is_long(field));
    // What is replaced is told with what forces it; what is new can wait.
    let rank = if change.action.destroys() {
        Rank::Second
    } else {
        Rank::Third
    };
    let sign = html(change.action.sign());
    let title = html(&format!("{}{}", builder(plan, change), group.title()));
    if !short.is_empty() {
        let rows: Vec<Vec<String>> = short.iter().map(|field| field_row(field)).collect();
        let count = rows.len();
        let summary = format!(
            "<code>{sign}</code> <b>{title}</b>: {count} {}",
            plural(count, "field", "fields")
        );
        parts.push(Part::table(rank, &["field", "old", "new", ""], &rows).folded(&summary));
    }
    for field in long {
        let old = field.old.as_deref().unwrap_or_default();
        let new = field.new.as_deref().unwrap_or_default();
        let forces = if field.forces_replace {
            " (forces replace)"
        } else {
            ""
        };
        let diff = text_diff::render(old, new, "", Palette::PLAIN);
        let summary = format!(
            "<code>{sign}</code> <b>{title}</b>: {}{forces}",
            html(&field.field)
        );
        parts.push(Part::block(Rank::Third, "diff", &diff).folded(&summary));
    }
}

fn is_long(field: &FieldChange) -> bool {
    let values = [&field.old, &field.new];
    !field.known_after_apply
        && values
            .into_iter()
            .flatten()
            .any(|value| value.contains('\n') || value.chars().count() > MOST_IN_A_CELL)
}

fn field_row(field: &FieldChange) -> Vec<String> {
    let value = |value: &Option<String>| match value {
        Some(value) => cell_code(value),
        None => "(none)".to_owned(),
    };
    let new = if field.known_after_apply {
        "(known after apply)".to_owned()
    } else {
        value(&field.new)
    };
    let forces = if field.forces_replace {
        "**forces replace**"
    } else {
        ""
    };
    vec![
        cell_code(&field.field),
        value(&field.old),
        new,
        forces.to_owned(),
    ]
}

/// What every apply does with a droplet, and its runs, an item each.
fn activity(group: &ActivityGroup<'_>) -> Vec<String> {
    let activity = group.activities[0];
    let title = title_of(group.activities.iter().map(|activity| &activity.address));
    let names = names_of(
        group
            .activities
            .iter()
            .map(|activity| (&activity.address, activity.name.as_str())),
    );
    let facts: Vec<String> = activity
        .fields
        .iter()
        .map(|field| (field.field.as_str(), field.new.as_deref()))
        .chain([("source", activity.source.as_deref())])
        .filter_map(|(name, value)| Some(format!("{} {}", text(name), code(value?))))
        .collect();
    let facts = if facts.is_empty() {
        String::new()
    } else {
        format!(": {}", facts.join(", "))
    };
    let mut items = vec![format!(
        "{} {} {} ({}){facts}",
        code(">"),
        code(&title),
        text(&after_run_of(group)),
        text(&names)
    )];
    for run in activity.runs.iter() {
        let first = run.command.lines().next().unwrap_or_default();
        let more = match run.command.trim_end().lines().count().saturating_sub(1) {
            0 => String::new(),
            more => format!(" (+{more} {})", plural(more, "line", "lines")),
        };
        let tail = match &run.background {
            Some(ready) => format!(
                ", in the background; ready when {}, within {}",
                text(ready),
                run.timeout
            ),
            None if run.once => format!(", at most {}, once", run.timeout),
            None => format!(", at most {}", run.timeout),
        };
        items.push(format!(
            "run **{}**: {}{more}{tail}",
            text(&run.name),
            code(first)
        ));
    }
    items
}

fn cost(plan: &Plan) -> Vec<Vec<String>> {
    let cost = &plan.cost;
    let mut rows = vec![
        vec![
            "an hour, while everything is up".to_owned(),
            text(&cost.hourly_while_up.to_string()),
        ],
        vec![
            "a month of the volumes and snapshots that stay".to_owned(),
            text(&monthly_stored(plan).to_string()),
        ],
        vec![
            "a month of the droplets that stay".to_owned(),
            text(&cost.monthly_droplets.cents().to_string()),
        ],
        vec![
            "this run, about".to_owned(),
            text(&cost.expected_once.to_string()),
        ],
    ];
    let (built, unknown) = unpriced(plan);
    let mut unknown_row = |what: &[&str], when: &str| {
        if !what.is_empty() {
            rows.push(vec![text(&what.join(", ")), when.to_owned()]);
        }
    };
    unknown_row(&built, "known once it is taken");
    unknown_row(&unknown, "no price known");
    rows
}

fn kept(plan: &Plan, parts: &mut Vec<Part>) {
    let kept: Vec<&Change> = plan
        .changes
        .iter()
        .filter(|change| change.action == Action::Keep)
        .collect();
    if kept.is_empty() {
        return;
    }
    let items: Vec<String> = group_changes(&kept)
        .iter()
        .map(|group| {
            format!(
                "{} {} {} ({}){}",
                code("="),
                code(&group.title()),
                plural(group.changes.len(), "stays", "stay"),
                text(&group.names()),
                because(group.first())
            )
        })
        .collect();
    let summary = format!(
        "{} {} as {}",
        kept.len(),
        plural(kept.len(), "resource stays", "resources stay"),
        plural(kept.len(), "it is", "they are")
    );
    parts.push(Part::list(Rank::Third, &items).folded(&summary));
}

fn steps(plan: &Plan, parts: &mut Vec<Part>) {
    if !plan.has_steps() {
        return;
    }
    let rows: Vec<Vec<String>> = plan
        .steps
        .iter()
        .zip(waits(plan))
        .map(|(step, waits)| {
            vec![
                (step.id.0 + 1).to_string(),
                cell_code(&step_label(step)),
                text(&step.kind.title()),
                text(&waits),
            ]
        })
        .collect();
    let summary = format!(
        "{} {} (<code>~</code>: only has to have ended)",
        rows.len(),
        plural(rows.len(), "step", "steps")
    );
    let headings = ["step", "resource", "does", "after"];
    parts.push(Part::table(Rank::Third, &headings, &rows).folded(&summary));
}
