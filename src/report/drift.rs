//! Drift, as text, JSON and Markdown: what is no longer as it was applied.

use std::fmt::Write as _;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hints::Flags;
use super::markdown::{Part, Rank, cell_code, code, document, marker, text};
use super::style::Palette;
use crate::plan::{Drift, DriftKind};
use crate::seemly;

/// What `plan --refresh-only --format json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "dewpoint drift, version 1")]
pub struct Document {
    /// Version of the document's format: 1.
    pub version: u32,
    /// Name of the project.
    pub project: String,
    /// Name of the environment.
    pub environment: String,
    /// Slug of the region.
    pub region: String,
    /// What was compared with.
    pub compared_with: ComparedWith,
    /// What differs, sorted by address.
    pub drift: Vec<Drift>,
}

/// What the account was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComparedWith {
    /// What was last applied from this folder, at that time.
    Applied {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// The manifest, for nothing tells what was applied: only what no manifest asks for is told.
    Manifest {
        /// Why nothing tells.
        why: Unknown,
    },
}

/// Why nothing tells what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// Nothing was applied from this folder on this cloud.
    Never,
    /// The last apply from here was a part of a plan, has not ended, or has failed.
    Unfinished,
    /// The environment was emptied from here.
    Emptied,
}

impl Unknown {
    const fn words(self) -> &'static str {
        match self {
            Self::Never => "nothing was applied from this folder on this cloud",
            Self::Unfinished => {
                "the last apply from here did a part only, failed, or still goes on"
            }
            Self::Emptied => "this environment was emptied from here",
        }
    }
}

/// As JSON, with a newline at its end.
#[must_use]
pub fn json(document: &Document) -> String {
    let mut text = serde_json::to_string_pretty(document).expect("drift is plain data");
    text.push('\n');
    text
}

/// The JSON Schema of [`Document`]: what `schemas/drift.schema.json` holds.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// As text. `place` is where it was looked, `flags` what a further command has to be given.
#[must_use]
pub fn render(found: &Document, palette: Palette, place: &str, flags: &Flags) -> String {
    palette.screen(render_of(found, palette, place, flags))
}

fn render_of(found: &Document, palette: Palette, place: &str, flags: &Flags) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} in {} on {place}",
        palette.strong(&format!("{} / {}", found.project, found.environment)),
        found.region
    );
    let _ = writeln!(out, "{}\n", compared(found));
    for drift in &found.drift {
        let (sign, words) = match drift.kind {
            DriftKind::Changed => (palette.changed("~"), "was changed"),
            DriftKind::Gone => (palette.bad("-"), "is gone"),
            DriftKind::Unasked => (palette.good("+"), "is there, and was not applied"),
        };
        let _ = writeln!(out, "  {sign} {} {words} ({})", drift.address, named(drift));
        for reason in &drift.reasons {
            let _ = writeln!(out, "      {}", seemly::line(reason));
        }
        let width = drift.fields.iter().map(|field| field.field.chars().count());
        let width = width.max().unwrap_or_default();
        for field in &drift.fields {
            let _ = writeln!(
                out,
                "      {:width$}  {} -> {}",
                field.field,
                seemly::line(field.applied.as_deref().unwrap_or("(none)")),
                seemly::line(field.found.as_deref().unwrap_or("(none)"))
            );
        }
    }
    if !found.drift.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{}", summary(found, palette));
    if !found.drift.is_empty() {
        let _ = writeln!(
            out,
            "Nothing is proposed here: `dewpoint plan{flags}` shows what apply would do."
        );
    }
    out
}

/// As GitHub-flavoured Markdown, in at most that many bytes.
#[must_use]
pub fn markdown(found: &Document, place: &str, most_bytes: usize) -> String {
    let name = format!("{} / {}", found.project, found.environment);
    let heading = format!(
        "{}\n### Drift of {} in {} on {}",
        marker(&format!(
            "dewpoint:drift:{}:{}",
            found.project, found.environment
        )),
        code(&name),
        text(&found.region),
        text(place)
    );
    let mut parts = vec![
        Part::whole(Rank::First, &heading),
        Part::whole(Rank::First, &bold_summary(found)),
        Part::whole(Rank::First, &text(&compared(found))),
    ];
    let rows: Vec<Vec<String>> = found.drift.iter().flat_map(rows).collect();
    if !rows.is_empty() {
        let headings = ["resource", "", "applied", "found"];
        parts.push(Part::table(Rank::Second, &headings, &rows));
    }
    document(
        &parts,
        most_bytes,
        "`dewpoint plan --refresh-only` shows all of it",
    )
}

fn rows(drift: &Drift) -> Vec<Vec<String>> {
    let resource = format!(
        "{}<br>{}",
        cell_code(&drift.address.to_string()),
        text(&named(drift))
    );
    let row =
        |what: String, applied: String, found: String| vec![resource.clone(), what, applied, found];
    let value = |value: &Option<String>| {
        value
            .as_deref()
            .map_or_else(|| "(none)".to_owned(), cell_code)
    };
    let mut rows = match drift.kind {
        DriftKind::Gone => vec![row("is gone".to_owned(), String::new(), String::new())],
        DriftKind::Unasked => vec![row(
            "is there, and was not applied".to_owned(),
            String::new(),
            String::new(),
        )],
        DriftKind::Changed => Vec::new(),
    };
    let reasons = drift.reasons.iter();
    rows.extend(reasons.map(|reason| row(text(reason), String::new(), String::new())));
    let fields = drift.fields.iter();
    rows.extend(fields.map(|field| {
        row(
            cell_code(&field.field),
            value(&field.applied),
            value(&field.found),
        )
    }));
    rows
}

/// One line for a list, such as `inbound tcp 22 0.0.0.0/0 -> (none)`.
#[must_use]
pub fn sentence(drift: &Drift) -> String {
    let mut parts: Vec<String> = drift.reasons.clone();
    match drift.kind {
        DriftKind::Gone => parts.insert(
            0,
            "it was applied, and was deleted since, by hand or by a sweep".to_owned(),
        ),
        DriftKind::Unasked => parts.insert(0, "it is there, and was not applied".to_owned()),
        DriftKind::Changed => {}
    }
    parts.extend(drift.fields.iter().map(|field| {
        format!(
            "{} {} -> {}",
            field.field,
            field.applied.as_deref().unwrap_or("(none)"),
            field.found.as_deref().unwrap_or("(none)")
        )
    }));
    parts.join("; ")
}

fn named(drift: &Drift) -> String {
    match &drift.id {
        Some(id) if *id != drift.name => format!("{}, {id}", drift.name),
        _ => drift.name.clone(),
    }
}

fn compared(found: &Document) -> String {
    match found.compared_with {
        ComparedWith::Applied { at } => format!(
            "Compared with what was last applied from here, at {}",
            at.strftime("%Y-%m-%d %H:%M:%SZ")
        ),
        ComparedWith::Manifest { why } => format!(
            "Compared with the manifest, for {}: what it asks for and what somebody changed look alike, and only what is neither is told",
            why.words()
        ),
    }
}

fn summary(found: &Document, palette: Palette) -> String {
    if found.drift.is_empty() {
        return format!(
            "{} {}",
            palette.strong("No drift."),
            match found.compared_with {
                ComparedWith::Applied { .. } => "All of it is as it was applied.",
                ComparedWith::Manifest { .. } => "Nothing is certain to be somebody else's doing.",
            }
        );
    }
    let count = |kind| {
        found
            .drift
            .iter()
            .filter(|drift| drift.kind == kind)
            .count()
    };
    format!(
        "{} {} changed, {} gone, {} not applied.",
        palette.strong("Drift:"),
        count(DriftKind::Changed),
        count(DriftKind::Gone),
        count(DriftKind::Unasked),
    )
}

/// The same, its first words bold.
fn bold_summary(found: &Document) -> String {
    let line = summary(found, Palette::PLAIN);
    let (first, rest) = ["No drift.", "Drift:"]
        .into_iter()
        .find_map(|first| Some((first, line.strip_prefix(first)?)))
        .unwrap_or(("", &line));
    format!("**{first}**{}", text(rest))
}
