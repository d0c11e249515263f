//! Keys without a value, and defaults of variables whose text YAML would change.

use serde_yaml::{Mapping, Value};

use super::error::{Kind, Problem};
use super::path::{Path, Segment};
use super::report::Report;
use super::wording::shown;

/// Blocks that may be left blank, as when everything in them is commented out. Not one whose
/// default is wider than an empty one, such as `ssh.allow_from`. A test holds this list against
/// the schema.
pub(super) const MAY_BE_BLANK: [&str; 20] = [
    "droplets",
    "droplets.*.env",
    "droplets.*.needs",
    "droplets.*.run",
    "droplets.*.run.*.artifacts",
    "droplets.*.secrets",
    "droplets.*.tags",
    "droplets.*.volumes",
    "firewall",
    "firewall.inbound",
    "limits",
    "protect",
    "snapshots",
    "snapshots.*.provision",
    "snapshots.*.provision.*.env",
    "ssh",
    "variables",
    // `variables: { token: }` is a variable without a default.
    "variables.*",
    "volumes",
    "volumes.*.populate.run",
];

/// Takes out blank blocks and reports every other key or item without a value.
pub(super) fn settle_blanks(root: &mut Value, report: &mut Report) {
    walk(root, &mut Path::root(), report);
}

fn walk(value: &mut Value, path: &mut Path, report: &mut Report) {
    match value {
        Value::Mapping(map) => {
            let mut removed = Vec::new();
            for (key, child) in map.iter_mut() {
                let Some(name) = key.as_str() else { continue };
                path.push(name);
                if !child.is_null() {
                    walk(child, path, report);
                } else if !MAY_BE_BLANK.contains(&path.shape().as_str()) {
                    no_value(path, report);
                    removed.push(key.clone());
                } else if path.segments().len() == 2 && path.is_within(&Path::of("variables")) {
                    *child = Value::Mapping(Mapping::new());
                } else {
                    removed.push(key.clone());
                }
                path.pop();
            }
            for key in removed {
                map.shift_remove(key);
            }
        }
        Value::Sequence(items) => {
            // From the end, so that the positions of those still to come stay as in the text.
            for index in (0..items.len()).rev() {
                path.push(index);
                if items[index].is_null() {
                    no_value(path, report);
                    items.remove(index);
                    path.pop();
                    report.item_removed(path, index);
                } else {
                    walk(&mut items[index], path, report);
                    path.pop();
                }
            }
        }
        Value::String(text) if text.contains('\0') => {
            report.value(
                path,
                Problem::new(Kind::BadValue, "there is a NUL character in this text")
                    .help("remove it: no command, path or name can have one"),
            );
            report.settle(path);
        }
        Value::Number(number) if path.shape() == "variables.*.default" => {
            let as_read = number.to_string();
            if let Some(written) = report.written(path)
                && written != as_read
            {
                let problem = Problem::new(
                    Kind::WrongType,
                    format!("YAML reads the number `{written}` as `{as_read}`"),
                )
                .help(format!("put it in quotes: `\"{written}\"`"));
                report.value(path, problem);
                report.settle(path);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {}
    }
}

fn no_value(path: &Path, report: &mut Report) {
    let (subject, help) = match path.segments().last() {
        // As in `{ description: commit, branch or tag }`.
        Some(Segment::Key(key)) if key.contains(' ') => (
            format!("`{}` has no value", shown(key)),
            "put text with a comma in it in quotes",
        ),
        Some(Segment::Key(key)) => (
            format!("`{}` has no value", shown(key)),
            "write a value, or remove the key",
        ),
        _ => (
            format!(
                "an item of `{}` has no value",
                path.nearest_key().unwrap_or("the manifest")
            ),
            "write a value, or remove the item",
        ),
    };
    let help = match report.written(path) {
        Some(word) if word.starts_with(|c: char| c.is_alphabetic()) => {
            format!("{help}; for the very text, put it in quotes: `\"{word}\"`")
        }
        _ => help.to_owned(),
    };
    report.value(path, Problem::new(Kind::NoValue, subject).help(help));
    report.settle(path);
}
