//! A difference as text: what a person reads on a terminal.

use std::fmt::Write as _;

use super::diff_words as words;
use super::fold::fold;
use super::markdown::visible;
use super::plan_text::cut;
use super::style::Palette;
use super::text_diff;
use crate::diff::{Difference, Effect, Outcome, ResourceChange, RiskKind};
use crate::plan::FieldChange;

/// How a difference is shown.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Colours.
    pub palette: Palette,
    /// Width of the screen in characters.
    pub width: usize,
    /// Whether lines that are longer go on in the next.
    pub folds: bool,
}

/// Renders a difference.
#[must_use]
pub fn render(difference: &Difference, view: View) -> String {
    view.palette.screen(render_of(difference, view))
}

fn render_of(difference: &Difference, view: View) -> String {
    let mut out = String::new();
    let palette = view.palette;
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
    let what = format!("{} / {}", new.project, new.environment);
    let before = old.as_ref().map_or("nothing", |old| old.name.as_str());
    let _ = writeln!(
        out,
        "{} in {}: {} -> {}",
        palette.strong(&visible(&what)),
        visible(&new.region),
        visible(before),
        visible(&new.name)
    );
    for notice in notices {
        let _ = writeln!(out, "{} {}", palette.changed("note:"), visible(notice));
    }
    if difference.is_empty() {
        let _ = writeln!(out, "\n{}", palette.strong("No changes."));
        return finish(out, view);
    }
    if !data_at_risk.is_empty() {
        let _ = writeln!(out, "\n{}", palette.bad("DATA AT RISK"));
        for risk in data_at_risk {
            let word = match risk.kind {
                RiskKind::Destroyed | RiskKind::FilledAgain | RiskKind::LeftBehind => {
                    palette.bad(words::risk(risk.kind))
                }
                RiskKind::Refused | RiskKind::Unprotected => {
                    palette.changed(words::risk(risk.kind))
                }
            };
            let _ = writeln!(out, "  {word} {}: {}", risk.address, visible(&risk.text));
            let _ = writeln!(out, "      {}", visible(&risk.advice));
        }
    }
    if !refused.is_empty() {
        let _ = writeln!(
            out,
            "\n{} nothing below would happen",
            palette.bad("Apply would refuse this:")
        );
        for finding in refused {
            let address = match &finding.address {
                Some(address) => format!("{address}: "),
                None => String::new(),
            };
            let code = palette.faint(&format!("[{}]", finding.code));
            let _ = writeln!(out, "  x {address}{} {code}", visible(&finding.reason));
            let _ = writeln!(out, "      {}", visible(&finding.help));
        }
    }
    for change in resources {
        out.push('\n');
        write_resource(&mut out, change, view);
    }
    if !settings.is_empty() {
        let _ = writeln!(out, "\n{}", palette.strong("Settings:"));
        write_fields(&mut out, settings, "  ", view);
    }
    let _ = writeln!(out, "\n{}", palette.strong("Cost:"));
    let lines = words::costs(cost);
    for line in &lines {
        let change = palette.faint(&format!("({})", line.change));
        let _ = writeln!(
            out,
            "  {:27}  {} -> {} {change}",
            line.what, line.old, line.new
        );
    }
    let _ = writeln!(out, "  {}", palette.faint(&visible(&words::prices(cost))));
    write_lost(&mut out, difference, palette);
    let mut summary = words::alarms(difference);
    summary.push(words::counts(difference));
    let _ = writeln!(
        out,
        "\n{} {}.",
        palette.strong("Difference:"),
        summary.join("; ")
    );
    finish(out, view)
}

fn finish(out: String, view: View) -> String {
    if view.folds {
        fold(&out, view.width)
    } else {
        out
    }
}

fn painted(outcome: Outcome, text: &str, palette: Palette) -> String {
    match outcome {
        Outcome::Destroyed | Outcome::Replaced | Outcome::Refused => palette.bad(text),
        Outcome::LeftBehind | Outcome::Changed | Outcome::Rebuilt => palette.changed(text),
        Outcome::Created => palette.good(text),
        Outcome::Later => palette.running(text),
        Outcome::Dropped => palette.faint(text),
    }
}

fn write_resource(out: &mut String, change: &ResourceChange, view: View) {
    let palette = view.palette;
    for effect in &change.effects {
        let heading = format!("# {} {}", words::title(effect), words::verb(effect));
        let _ = writeln!(out, "  {}", palette.strong(&visible(&heading)));
        for reason in &effect.reasons {
            let _ = writeln!(out, "  #   {}", visible(&reason.text));
        }
        let _ = writeln!(
            out,
            "  {} {}",
            sign(effect, palette),
            visible(&words::names(effect))
        );
    }
    write_fields(out, &change.fields, "      ", view);
    for step in &change.steps {
        let forces = if step.forces_rebuild && change.effects.iter().any(is_rebuilt) {
            palette.bad("  (forces a rebuild)")
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "      {} {}{forces}",
            words::step_sign(step),
            visible(&words::step(&change.address, step))
        );
        // The step says already what that means for its snapshot.
        let fields: Vec<FieldChange> = step
            .fields
            .iter()
            .map(|field| FieldChange {
                forces_replace: false,
                ..field.clone()
            })
            .collect();
        write_fields(out, &fields, "          ", view);
        for file in &step.files {
            let (sign, text) = words::file(file);
            let _ = writeln!(out, "          {sign} {}", visible(&text));
        }
    }
}

fn is_rebuilt(effect: &Effect) -> bool {
    effect.outcome == Outcome::Rebuilt
}

fn sign(effect: &Effect, palette: Palette) -> String {
    painted(effect.outcome, words::sign(effect.outcome), palette)
}

fn write_fields(out: &mut String, fields: &[FieldChange], indent: &str, view: View) {
    let palette = view.palette;
    let single = fields.iter().filter(|field| !words::is_block(field));
    let width = single
        .map(|field| field.field.chars().count())
        .max()
        .unwrap_or(0)
        .min(view.width / 2);
    for field in fields {
        let name = visible(&field.field);
        let forces = if field.forces_replace {
            palette.bad("  (cannot change in place)")
        } else {
            String::new()
        };
        let old = field.old.as_deref().map(visible);
        let new = field.new.as_deref().map(visible);
        if words::is_block(field) {
            let _ = writeln!(out, "{indent}{name}{forces}");
            let diff = text_diff::render_marked(
                old.as_deref().unwrap_or_default(),
                new.as_deref().unwrap_or_default(),
                &format!("{indent}  "),
                palette,
            );
            out.push_str(&diff);
            continue;
        }
        let text = match (old, new) {
            (Some(old), Some(new)) => format!("{old} -> {new}"),
            (Some(old), None) => format!("{old} -> {}", palette.faint("(none)")),
            (None, Some(new)) => cut(new.trim_end(), view.width.saturating_sub(width + 8)),
            (None, None) => continue,
        };
        let _ = writeln!(out, "{indent}{name:width$}  {text}{forces}");
    }
}

/// What goes, again, right above the summary: nobody is to miss it in a long text.
fn write_lost(out: &mut String, difference: &Difference, palette: Palette) {
    let lost: Vec<&Effect> = difference
        .resources
        .iter()
        .flat_map(|change| &change.effects)
        .filter(|effect| {
            matches!(
                effect.outcome,
                Outcome::Destroyed | Outcome::Replaced | Outcome::Rebuilt
            )
        })
        .collect();
    if lost.is_empty() {
        return;
    }
    let title = if difference.refused.is_empty() {
        "Destroyed or replaced:"
    } else {
        "Destroyed or replaced, were it not refused:"
    };
    let _ = writeln!(out, "\n{}", palette.bad(title));
    for effect in lost {
        let why = match words::reasons(effect) {
            reasons if reasons.is_empty() => String::new(),
            reasons => format!(": {reasons}"),
        };
        let _ = writeln!(
            out,
            "  {} {} ({}){}",
            sign(effect, palette),
            words::title(effect),
            visible(&words::names(effect)),
            visible(&why)
        );
    }
}
