//! The tree as types, with every problem found in one run.
//!
//! serde stops at the first problem. So that one is noted and its value taken out of the tree (or
//! its key put right), and the tree is read again. A key that is due and not there gets a stand-in
//! about which nothing more is said.

use std::collections::HashSet;

use serde_yaml::Value;

use super::error::{Kind, Problem};
use super::path::{Path, Segment};
use super::report::Report;
use super::schema::Manifest;
use super::suggest::{did_you_mean, nearest};
use super::tree::{get, get_mut};
use super::wording::{Complaint, describe, example, shown};

/// Every round takes something out or puts something right; this only bounds the time.
const MOST_ROUNDS: usize = 200;

/// Reads the tree. Nothing is returned when there was no sense in going on; the problems are in
/// the report either way.
pub(super) fn read(root: &mut Value, report: &mut Report) -> Option<Manifest> {
    let mut stand_ins: HashSet<Path> = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        if report.is_full() {
            return None;
        }
        let error = match serde_path_to_error::deserialize(&*root) {
            Ok(manifest) => return Some(manifest),
            Err(error) => error,
        };
        let path = Path::from(error.path());
        let message = error.into_inner().to_string();
        match Complaint::from_serde(&message) {
            Complaint::UnknownKey { key, expected } => {
                unknown_key(root, &path, &key, &expected, report);
            }
            Complaint::MissingKey { key } => {
                let place = path.then(key.as_str());
                if !report.is_settled(&place) && !report.is_settled(&path) {
                    missing_key(&path, &key, report);
                }
                report.settle(&place);
                let is_new = stand_ins.insert(place);
                let is_put = is_new
                    && get_mut(root, &path)
                        .and_then(Value::as_mapping_mut)
                        .map(|map| map.insert(key.as_str().into(), stand_in(&path, &key)))
                        .is_some();
                if !is_put && !take_out(root, &path, report) {
                    return None;
                }
            }
            complaint => {
                let problem = describe(&complaint, &path, get(root, &path), report);
                report.value(&path, problem);
                if !take_out(root, &path, report) {
                    return None;
                }
            }
        }
    }
    None
}

fn unknown_key(root: &mut Value, path: &Path, key: &str, expected: &[String], report: &mut Report) {
    // The path of an unknown key ends in the key itself.
    let parent = match path.split_last() {
        Some((parent, Segment::Key(last))) if last == key => parent,
        _ => path.clone(),
    };
    let place = parent.then(key);
    let candidates: Vec<&str> = expected.iter().map(String::as_str).collect();
    let holder = if parent == Path::root() {
        "the manifest".to_owned()
    } else {
        format!("`{parent}`")
    };
    let mut problem = Problem::new(
        Kind::UnknownKey,
        format!("`{}` is not a key of {holder}", shown(key)),
    );
    if !candidates.is_empty() {
        problem = problem.help(did_you_mean(key, &candidates));
    }
    report.key(&place, problem);
    let Some(map) = get_mut(root, &parent).and_then(Value::as_mapping_mut) else {
        return;
    };
    let Some(value) = map.shift_remove(key) else {
        return;
    };
    if let Some(meant) = nearest(key, candidates) {
        // What was meant is checked under its right name, and is not missing.
        if !map.contains_key(meant) {
            map.insert(meant.into(), value);
            report.renamed(&parent, meant, key);
        }
    }
}

fn missing_key(path: &Path, key: &str, report: &mut Report) {
    let holder = if *path == Path::root() {
        "the manifest".to_owned()
    } else {
        format!("`{path}`")
    };
    let problem = Problem::new(Kind::MissingKey, format!("{holder} has no `{key}`"))
        .help(format!("add `{key}: {}`", example(path, key)));
    if *path == Path::root() {
        report.nowhere(problem);
    } else {
        report.key_labelled(path, &format!("`{key}` is missing here"), problem);
    }
}

/// Takes a value out of the tree; false when that would leave nothing.
fn take_out(root: &mut Value, path: &Path, report: &mut Report) -> bool {
    let mut path = path.clone();
    // Where there is nothing to take out, what would hold it goes.
    loop {
        let Some((parent, last)) = path.split_last() else {
            return false;
        };
        let removed = match (get_mut(root, &parent), last) {
            (Some(Value::Mapping(map)), Segment::Key(key)) => {
                let is_there = map.shift_remove(key.as_str()).is_some();
                if is_there {
                    report.settle(&path);
                }
                is_there
            }
            (Some(Value::Sequence(items)), Segment::Index(index)) if *index < items.len() => {
                items.remove(*index);
                report.settle(&path);
                report.item_removed(&parent, *index);
                true
            }
            _ => false,
        };
        if removed {
            return true;
        }
        path = parent;
    }
}

/// A value for a key that is due: of the right kind, and nothing more is said about it.
fn stand_in(path: &Path, key: &str) -> Value {
    match (path.shape().as_str(), key) {
        (_, "version") => Value::Number(1.into()),
        ("firewall.inbound.*", "protocol") => "tcp".into(),
        ("firewall.inbound.*", "from") | ("volumes.*.populate", "run") => {
            Value::Sequence(Vec::new())
        }
        (_, "keep") => "1h".into(),
        (_, "mount" | "to") => "/x".into(),
        _ => "x".into(),
    }
}
