//! What the types cannot say: names, references, paths, what excludes what, what is not there yet.

mod access;
mod droplets;
mod names;
mod paths;
mod references;
mod run;
mod snapshots;
mod top;
mod volumes;

use indexmap::IndexMap;

pub use names::check_project;

use super::error::{Kind, Problem};
use super::path::Path;
use super::report::Report;
use super::schema::Manifest;
use super::suggest::all_of;
use super::wording::shown;

/// The most droplets one manifest may ask for: what planning is built for.
const MOST_DROPLETS: u64 = 10_000;

/// Checks a manifest. `is_environment_given` tells that its environment's name is not the text's.
pub(super) fn check(manifest: &Manifest, is_environment_given: bool, report: &mut Report) {
    top::check(manifest, is_environment_given, report);
    access::check(manifest, report);
    snapshots::check(manifest, report);
    volumes::check(manifest, report);
    droplets::check(manifest, report);
    references::check(manifest, report);
    names::check_composed(manifest, is_environment_given, report);
}

/// Reports that exactly one of several keys is due. Nothing is said when one of them was there
/// and had to be taken out for another reason.
fn exactly_one(path: &Path, keys: &[(&str, bool)], report: &mut Report) {
    let given: Vec<&str> = keys
        .iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(key, _)| *key)
        .collect();
    let all = || all_of(keys.iter().map(|(key, _)| *key));
    match given.as_slice() {
        [_] => {}
        [] => {
            if keys
                .iter()
                .any(|(key, _)| report.is_settled(&path.then(*key)))
            {
                return;
            }
            report.key(
                path,
                Problem::new(Kind::ExactlyOne, format!("`{path}` has none of {}", all()))
                    .help(format!("write exactly one of {}", all())),
            );
        }
        [first, .., last] => {
            let problem = Problem::new(
                Kind::ExactlyOne,
                format!("`{first}` and `{last}` exclude each other"),
            )
            .help("keep one of the two");
            report.two_keys(&path.then(*last), &path.then(*first), problem);
        }
    }
}

/// Reports what has no text in it.
fn not_blank(path: &Path, what: &str, text: &str, report: &mut Report) {
    if text.trim().is_empty() {
        report.value(
            path,
            Problem::new(Kind::BadValue, format!("{what} is empty")).help("write something there"),
        );
    }
}

/// Checks the slug of a region, a size or an image: an open set, of which only the form is known.
fn slug(path: &Path, what: &str, text: &str, example: &str, report: &mut Report) {
    let is_slug = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if !is_slug {
        report.value(
            path,
            Problem::new(Kind::BadValue, format!("`{}` is not {what}", shown(text))).help(format!(
                "write a slug of lower-case letters and digits, such as `{example}`"
            )),
        );
    }
}

/// What is wrong with the name of an environment variable: those a shell can hold are right, but
/// for ours.
fn variable_name(name: &str) -> Option<Problem> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= 255;
    if !is_name {
        let message = format!(
            "`{}` cannot be the name of an environment variable",
            shown(name)
        );
        return Some(
            Problem::new(Kind::BadName, message)
                .help("use letters, digits and `_`, and no digit first"),
        );
    }
    name.starts_with("DEWPOINT_").then(|| {
        let message = format!("`{name}` is one of the names that dewpoint sets itself");
        Problem::new(Kind::BadName, message)
            .help("choose a name that does not begin with `DEWPOINT_`")
    })
}

/// Checks the keys of an `env`.
fn env(path: &Path, env: &IndexMap<String, String>, report: &mut Report) {
    for name in env.keys() {
        if let Some(problem) = variable_name(name) {
            report.key(&path.then(name.as_str()), problem);
        }
    }
}
