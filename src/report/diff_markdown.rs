//! A difference as GitHub-flavoured Markdown: a comment on a pull request.
//!
//! It begins with a marker by which a bot finds its comment again. What is lost, what it costs and
//! why stands open; how it looks in detail is folded, and left out first where there is too much.

use similar::ChangeTag;

use super::diff_words as words;
use super::markdown::{
    MOST_BYTES, Part, Rank, cell_code, code, document, html, marker, text, visible,
};
use super::text_diff;
use crate::diff::{Difference, Effect, ResourceChange, RiskKind};
use crate::plan::FieldChange;

/// Renders a difference; `command` is what shows all of it.
#[must_use]
pub fn render(difference: &Difference, command: &str) -> String {
    let Difference {
        version: _,
        old,
        new,
        data_at_risk,
        refused,
        resources,
        settings,
        cost,
        notices,
    } = difference;
    let mut parts = Vec::new();
    let place = format!("{} / {}", new.project, new.environment);
    let before = old.as_ref().map_or("nothing", |old| old.name.as_str());
    let head = |summary: &str| {
        format!(
            "{}\n### dewpoint: {}: {summary}\n\nFrom {} to {}, in {}.",
            marker(&format!(
                "dewpoint:diff:{}:{}",
                new.project, new.environment
            )),
            text(&place),
            code(before),
            code(&new.name),
            code(&new.region),
        )
    };
    let notices: Vec<String> = notices.iter().map(|notice| text(notice)).collect();
    if difference.is_empty() {
        parts.push(Part::whole(Rank::First, &head("no changes")));
        if !notices.is_empty() {
            parts.push(Part::list(Rank::Second, &notices));
        }
        return document(&parts, MOST_BYTES, &instead(command));
    }
    let mut summary = words::alarms(difference);
    summary.push(words::counts(difference));
    parts.push(Part::whole(Rank::First, &head(&text(&summary.join("; ")))));
    if !data_at_risk.is_empty() {
        let items: Vec<String> = data_at_risk
            .iter()
            .map(|risk| {
                let kind = match risk.kind {
                    RiskKind::Destroyed | RiskKind::FilledAgain | RiskKind::LeftBehind => {
                        format!("**{}**", words::risk(risk.kind))
                    }
                    RiskKind::Refused | RiskKind::Unprotected => words::risk(risk.kind).to_owned(),
                };
                format!(
                    "{kind} {}: {} — {}",
                    code(&risk.address.to_string()),
                    prose(&risk.text),
                    prose(&risk.advice)
                )
            })
            .collect();
        parts.push(Part::alert(Rank::First, "CAUTION", "Data at risk", &items));
    }
    if !refused.is_empty() {
        let items: Vec<String> = refused
            .iter()
            .map(|finding| {
                let address = match &finding.address {
                    Some(address) => format!("{}: ", code(&address.to_string())),
                    None => String::new(),
                };
                format!(
                    "{address}{} — {} ({})",
                    prose(&finding.reason),
                    prose(&finding.help),
                    code(&finding.code)
                )
            })
            .collect();
        let title = "Apply would refuse this: nothing below would happen";
        parts.push(Part::alert(Rank::First, "WARNING", title, &items));
    }
    let mut effects: Vec<&Effect> = resources
        .iter()
        .flat_map(|change| &change.effects)
        .collect();
    // What is left out is what is least loud.
    effects.sort_by_key(|effect| effect.outcome);
    if !effects.is_empty() {
        let what = if refused.is_empty() {
            "what happens"
        } else {
            "what would happen, were it not refused"
        };
        let rows: Vec<Vec<String>> = effects.iter().map(|effect| row(effect)).collect();
        parts.push(Part::table(
            Rank::First,
            &["", "resource", what, "why"],
            &rows,
        ));
    }
    let rows: Vec<Vec<String>> = words::costs(cost)
        .into_iter()
        .map(|line| {
            vec![
                line.what.to_owned(),
                text(&line.old),
                text(&line.new),
                text(&line.change),
            ]
        })
        .collect();
    parts.push(Part::table(
        Rank::First,
        &["cost", "before", "after", "change"],
        &rows,
    ));
    parts.push(Part::whole(
        Rank::First,
        &format!("Cost: {}.", prose(&words::prices(cost))),
    ));
    if !notices.is_empty() {
        parts.push(Part::list(Rank::Second, &notices));
    }
    if !settings.is_empty() {
        let rows: Vec<Vec<String>> = settings
            .iter()
            .map(|field| {
                let value = |value: &Option<String>| match value {
                    Some(value) => cell_code(value),
                    None => "none".to_owned(),
                };
                vec![
                    cell_code(&field.field),
                    value(&field.old),
                    value(&field.new),
                ]
            })
            .collect();
        parts.push(Part::table(
            Rank::Second,
            &["setting", "before", "after"],
            &rows,
        ));
    }
    parts.extend(resources.iter().filter_map(details));
    document(&parts, MOST_BYTES, &instead(command))
}

fn instead(command: &str) -> String {
    format!("run {} for all of it", code(command))
}

/// A sentence of ours: what stands in backticks in it is code.
fn prose(sentence: &str) -> String {
    let parts: Vec<&str> = sentence.split('`').collect();
    // Backticks that do not pair are somebody else's.
    if parts.len().is_multiple_of(2) {
        return text(sentence);
    }
    parts
        .iter()
        .enumerate()
        .map(|(position, part)| match (position % 2, part.is_empty()) {
            (_, true) => String::new(),
            (0, _) => text(part),
            _ => cell_code(part),
        })
        .collect()
}

fn row(effect: &Effect) -> Vec<String> {
    let names = words::names(effect);
    let resource = if names.is_empty() {
        cell_code(&words::title(effect))
    } else {
        format!("{}<br>{}", cell_code(&words::title(effect)), text(&names))
    };
    vec![
        cell_code(words::sign(effect.outcome)),
        resource,
        prose(words::verb(effect)),
        prose(&words::reasons(effect)),
    ]
}

/// How a resource differs, folded; nothing when there is nothing more to tell.
fn details(change: &ResourceChange) -> Option<Part> {
    let mut lines = String::new();
    for field in &change.fields {
        write_field(&mut lines, field);
    }
    for step in &change.steps {
        let forces = if step.forces_rebuild {
            ", forces a rebuild"
        } else {
            ""
        };
        lines.push_str(&format!(
            "@@ {}{forces} @@\n",
            one_line(&words::step(&change.address, step))
        ));
        for field in &step.fields {
            // The step says already what that means for its snapshot.
            write_field(
                &mut lines,
                &FieldChange {
                    forces_replace: false,
                    ..field.clone()
                },
            );
        }
        for file in &step.files {
            let (sign, text) = words::file(file);
            let sign = if sign == "~" { "!" } else { sign };
            lines.push_str(&format!("{sign} {}\n", one_line(&text)));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let summary = format!(
        "<code>{}</code> in detail",
        html(&change.address.to_string())
    );
    Some(Part::block(Rank::Third, "diff", &lines).folded(&summary))
}

fn write_field(lines: &mut String, field: &FieldChange) {
    let name = one_line(&field.field);
    if words::is_block(field) {
        lines.push_str(&format!("  {name}:\n"));
        let old = field.old.as_deref().unwrap_or_default();
        let new = field.new.as_deref().unwrap_or_default();
        for (position, group) in text_diff::groups(old, new).iter().enumerate() {
            if position > 0 {
                lines.push_str("  ...\n");
            }
            for line in group {
                let sign = match line.tag {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                lines.push_str(&format!("{sign}   {}\n", one_line(&line.text())));
            }
        }
        return;
    }
    let forces = if field.forces_replace {
        "  (cannot change in place)"
    } else {
        ""
    };
    if let Some(old) = &field.old {
        lines.push_str(&format!("- {name}: {}\n", one_line(old.trim_end())));
    }
    if let Some(new) = &field.new {
        lines.push_str(&format!("+ {name}: {}{forces}\n", one_line(new.trim_end())));
    }
}

/// A line break within a line would begin one without a sign.
fn one_line(line: &str) -> String {
    visible(line).replace('\n', " ")
}
