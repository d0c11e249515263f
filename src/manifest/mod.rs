//! The manifest: text in, a checked tree out, all problems at once.
//!
//! ```text
//! text ─► span index ─► tree ─► variables put in ─► types ─► checks
//!         (places,       (merged,                    (schema)  (names, references,
//!          budget)        blanks)                               paths, what is not there yet)
//! ```
//!
//! The types carry no positions: every problem, serde's or ours, is a path in the document, and
//! the index says where that stands in the text.
//!
//! **Invariant:** no I/O; the text, its name and the variables' values are arguments.
//!
//! **Invariant:** memory and time are bounded by the size of the text: depth, number of values,
//! aliases and variables have a budget each, and what is beyond one is refused before it costs.

use std::collections::BTreeMap;

mod blanks;
mod check;
mod error;
mod files;
mod http_target;
mod json_schema;
mod path;
mod read;
mod report;
pub mod schema;
mod shapes;
mod spans;
mod starter;
mod suggest;
mod tree;
mod variables;
mod wording;

#[cfg(test)]
mod tests;

pub use check::check_project;
pub use error::{Kind, ManifestErrors, Problem};
pub use files::{LocalPath, LocalUse, local_paths, unusable};
pub use http_target::{HttpTarget, http_target};
pub use json_schema::json_schema;
pub use schema::Manifest;
pub use spans::MOST_BYTES;
pub use starter::{Kit, Outline, starter};
pub use suggest::nearest;

use path::Path;
use report::Report;
use variables::Variables;

/// What a manifest is read with beside its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Names and values of variables; of two values for one name the later wins.
    pub variables: Vec<(String, String)>,
    /// Values that lie about for any manifest (the environment's): those of names this one does not
    /// declare are left alone. A name may be written in capitals, with `_` for `-`; one written as
    /// declared wins. What `variables` says wins over both.
    pub ambient: Vec<(String, String)>,
    /// The environment to use in place of the manifest's own.
    pub environment: Option<String>,
    /// What becomes of a reference to a variable without a value.
    pub unset: Unset,
}

/// What becomes of a reference to a variable without a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unset {
    /// It is a problem: what is realised is whole.
    #[default]
    Refused,
    /// It stays as it is written, `${var.NAME}`, and is judged as such: for comparing manifests.
    Kept,
    /// It stays as it is written, and nothing is said of the value it stands in; where only a number
    /// or one of some words can be, that is left out. A problem it is where a reader of what is there
    /// needs it: names, region, login, what is protected, what volumes are called. For commands that
    /// make nothing of the manifest.
    Spared,
}

/// Reads a manifest: variables are put in, everything is checked that needs no I/O.
///
/// `name` is what errors call the text, such as `dewpoint.yaml`.
///
/// # Errors
///
/// All problems of the text at once, at most 50, each with its place. What cannot be read as YAML
/// at all is one problem.
pub fn load(name: &str, bytes: &[u8], inputs: &Inputs) -> Result<Manifest, ManifestErrors> {
    let failed = |text: &str, problems| Err(ManifestErrors::new(name, text, problems));
    if bytes.len() > spans::MOST_BYTES {
        let problem = Problem::new(
            Kind::TooLarge,
            format!(
                "the manifest is {} MiB large, more than the {} MiB there may be",
                bytes.len().div_ceil(1024 * 1024),
                spans::MOST_BYTES / (1024 * 1024)
            ),
        )
        .help("check that this is the right file; large data belongs into files that `provision` copies");
        return failed("", vec![problem]);
    }
    let bytes = without_mark(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return failed("", vec![not_utf8(bytes, error)]),
    };

    let mut problems = Vec::new();
    let spans = match spans::index(text, &mut problems) {
        Ok(spans) => spans,
        Err(problem) => {
            problems.push(problem);
            return failed(text, problems);
        }
    };
    let mut root = match serde_yaml::from_str::<tree::Tree>(text) {
        Ok(tree) => tree.0,
        Err(error) => {
            problems.push(spans::refused(text, &error));
            return failed(text, problems);
        }
    };
    if root.is_null() {
        problems.push(spans::empty());
        return failed(text, problems);
    }

    let mut report = Report::new(text, spans, problems);
    tree::merge(&mut root, &mut Path::root(), &mut report);
    blanks::settle_blanks(&mut root, &mut report);
    Variables::collect(&root, inputs, &mut report).substitute(&mut root, &mut report);
    let manifest = read::read(&mut root, &mut report).map(|mut manifest| {
        if inputs.unset == Unset::Spared {
            variables::spare_mounts(&mut manifest);
        }
        if let Some(environment) = &inputs.environment {
            manifest.environment.clone_from(environment);
        }
        check::check(&manifest, inputs.environment.is_some(), &mut report);
        manifest
    });
    let mut problems = report.into_problems();
    if manifest.is_none() && problems.is_empty() {
        // Reading only ends without a manifest after a problem; this keeps that from mattering.
        problems.push(Problem::new(Kind::TooMany, "too much is wrong to go on"));
    }
    match manifest {
        Some(manifest) if problems.is_empty() => Ok(manifest),
        _ => failed(text, problems),
    }
}

/// The values that were given to the variables of a manifest, by whichever way.
#[must_use]
pub fn given(manifest: &Manifest, inputs: &Inputs) -> BTreeMap<String, String> {
    variables::given(manifest, inputs)
}

/// Names of the variables of a manifest that have no value.
#[must_use]
pub fn unset(manifest: &Manifest, inputs: &Inputs) -> Vec<String> {
    let given = variables::given(manifest, inputs);
    let variables = manifest.variables.iter();
    variables
        .filter(|(name, variable)| variable.default.is_none() && !given.contains_key(*name))
        .map(|(name, _)| name.clone())
        .collect()
}

/// The text without the mark that some editors begin UTF-8 with.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The problem of bytes that are no text. The place is told in words: there is no text to show.
fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> Problem {
    let at = error.valid_up_to();
    let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let help = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        "save the file as UTF-8: it looks like UTF-16"
    } else {
        "save the file as UTF-8"
    };
    Problem::new(
        Kind::NotUtf8,
        format!(
            "the manifest is not UTF-8 text: byte {at}, in line {line}, is {:#04x}",
            bytes[at]
        ),
    )
    .help(help)
}
