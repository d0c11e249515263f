//! Variables: `${var.NAME}` in any string becomes the variable's value.

use std::collections::{BTreeMap, HashSet};

use serde_yaml::Value;

use super::error::{Kind, MOST_PROBLEMS, Problem};
use super::path::Path;
use super::report::Report;
use super::schema::Manifest;
use super::suggest::{all_of, nearest};
use super::{Inputs, Unset};

/// What begins a reference.
const OPENING: &str = "${var.";

/// The most bytes that substituted strings may have in all: twice the largest manifest.
const MOST_SUBSTITUTED_BYTES: usize = 2 * super::spans::MOST_BYTES;

/// Where a number or a truth value belongs: there a string that is one whole variable is read as
/// such. A test holds this list against the schema.
pub(super) const NOT_TEXT: [&str; 9] = [
    "droplets.*.count",
    "droplets.*.run.*.allow_failure",
    "droplets.*.run.*.background",
    "droplets.*.run.*.ready.tcp",
    "droplets.*.run.*.retries",
    "limits.cost_per_hour",
    "limits.droplets",
    "snapshots.*.keep",
    "version",
];

/// Where a variable needs a value even for those who only look at what is there, or empty it: what these
/// places begin with. Whose things they are, how one logs in, what must not be destroyed, and what
/// volumes are called, by which some of these are known.
const NEEDED: [&str; 9] = [
    "project",
    "region",
    "protect",
    "ssh.user",
    "ssh.key",
    "ssh.host_key",
    "volumes.*.scope",
    "volumes.*.was",
    "volumes.*.existing",
];

/// Whether a manifest protects what may be a droplet.
fn protects_droplets(root: &Value) -> bool {
    let patterns = root.get("protect").and_then(Value::as_sequence);
    let patterns = patterns.into_iter().flatten().filter_map(Value::as_str);
    let mut patterns = patterns.map(|pattern| pattern.split('.').next().unwrap_or_default());
    patterns.any(|kind| !matches!(kind, "volume" | "snapshot"))
}

/// Leaves out mounts whose path has a variable without a value: the volume's device is known by its name.
pub(super) fn spare_mounts(manifest: &mut Manifest) {
    for droplet in manifest.droplets.values_mut() {
        droplet
            .volumes
            .retain(|mount| !mount.mount.contains(OPENING));
    }
}

/// Whether a name can be a variable's: a letter or `_`, then also digits and `-`.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// The value that the surroundings give to a variable.
fn ambient<'a>(
    name: &str,
    is_declared: impl Fn(&str) -> bool,
    inputs: &'a Inputs,
) -> Option<&'a str> {
    let capitals = name.to_ascii_uppercase().replace('-', "_");
    let given = |wanted: &str| inputs.ambient.iter().rev().find(|(name, _)| name == wanted);
    // In capitals it may be the name of another variable: then it is that one's.
    let found = given(name).or_else(|| {
        (!is_declared(&capitals))
            .then(|| given(&capitals))
            .flatten()
    });
    found.map(|(_, value)| value.as_str())
}

/// The values that were given to variables a manifest declares: no others, however many the
/// surroundings have.
pub(super) fn given(manifest: &Manifest, inputs: &Inputs) -> BTreeMap<String, String> {
    let declared = |name: &str| manifest.variables.contains_key(name);
    let mut values = BTreeMap::new();
    for name in manifest.variables.keys() {
        if let Some(value) = ambient(name, declared, inputs) {
            values.insert(name.clone(), value.to_owned());
        }
    }
    values.extend(inputs.variables.iter().cloned());
    values
}

/// The variables a manifest declares, with their values as far as they have one.
pub(super) struct Variables {
    values: BTreeMap<String, Option<String>>,
    unset: Unset,
    /// Whether the environment is named elsewhere.
    has_environment: bool,
    /// Whether instances of droplets may be protected.
    protects_droplets: bool,
}

impl Variables {
    /// Takes the declared variables with their defaults, then the values given; later ones win.
    pub(super) fn collect(root: &Value, inputs: &Inputs, report: &mut Report) -> Self {
        let mut values = BTreeMap::new();
        let declared = root
            .get("variables")
            .and_then(Value::as_mapping)
            .into_iter()
            .flatten();
        for (name, variable) in declared {
            let Some(name) = name.as_str() else { continue };
            let default = match variable.get("default") {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Bool(value)) => Some(value.to_string()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            values.insert(name.to_owned(), default);
        }
        let mut unknown: Vec<&str> = Vec::new();
        let declared: HashSet<String> = values.keys().cloned().collect();
        for (name, slot) in &mut values {
            if let Some(value) = ambient(name, |other| declared.contains(other), inputs) {
                *slot = Some(value.to_owned());
            }
        }
        for (name, value) in &inputs.variables {
            match values.get_mut(name) {
                Some(slot) => *slot = Some(value.clone()),
                None if unknown.contains(&name.as_str()) => {}
                None => unknown.push(name),
            }
        }
        for name in unknown {
            let problem = Problem::new(
                Kind::UnknownVariable,
                format!("a value is given for `{name}`, which is not a variable of this manifest"),
            )
            .help(hint(&values, name))
            .of_given();
            report.nowhere(problem);
        }
        Self {
            values,
            unset: inputs.unset,
            has_environment: inputs.environment.is_some(),
            protects_droplets: protects_droplets(root),
        }
    }

    /// Puts the values into every string outside `variables`.
    pub(super) fn substitute(&self, root: &mut Value, report: &mut Report) {
        let mut budget = MOST_SUBSTITUTED_BYTES;
        let mut path = Path::root();
        if let Some(map) = root.as_mapping_mut() {
            for (key, value) in map.iter_mut() {
                let Some(key) = key.as_str() else { continue };
                path.push(key);
                if key == "variables" {
                    refuse_references(value, &mut path, report);
                } else if !self.walk(value, &mut path, &mut budget, report) {
                    return;
                }
                path.pop();
            }
        }
    }

    /// False when the budget is spent.
    fn walk(
        &self,
        value: &mut Value,
        path: &mut Path,
        budget: &mut usize,
        report: &mut Report,
    ) -> bool {
        match value {
            Value::String(text) if text.contains("${") => {
                if report.is_full() {
                    return false;
                }
                let outcome = self.expand(text, *budget);
                for problem in outcome.problems {
                    if problem.is_unset && self.spares(path) {
                        report.settle(path);
                    } else {
                        report.variable(path, problem.needle, problem.problem);
                    }
                }
                if outcome.is_spent {
                    report.value(
                        path,
                        Problem::new(
                            Kind::TooLarge,
                            format!(
                                "with its variables put in, the manifest has more than {MOST_SUBSTITUTED_BYTES} bytes of text"
                            ),
                        )
                        .help("use shorter values or fewer references"),
                    );
                    return false;
                }
                *budget -= outcome.text.len();
                if let Some(name) = outcome.whole {
                    report.whole_variable(path, &name);
                    if NOT_TEXT.contains(&path.shape().as_str()) {
                        *value = self.scalar(outcome.text, path, report);
                        return true;
                    }
                }
                *value = Value::String(outcome.text);
            }
            Value::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(index);
                    if !self.walk(item, path, budget, report) {
                        return false;
                    }
                    path.pop();
                }
            }
            Value::Mapping(map) => {
                for (key, item) in map.iter_mut() {
                    let Some(key) = key.as_str() else { continue };
                    path.push(key);
                    if !self.walk(item, path, budget, report) {
                        return false;
                    }
                    path.pop();
                }
            }
            _ => {}
        }
        true
    }

    /// Whether nothing is said of a variable without a value that stands there.
    fn spares(&self, path: &Path) -> bool {
        let shape = path.shape();
        self.unset == Unset::Spared
            && !match shape.as_str() {
                "environment" => !self.has_environment,
                // Which instances there are decides which of them a protected address means.
                "droplets.*.count" => self.protects_droplets,
                shape if shape.starts_with("droplets.*.matrix") => self.protects_droplets,
                shape => NEEDED.iter().any(|needed| shape.starts_with(needed)),
            }
    }

    /// The value of a variable where a number or a truth value belongs.
    fn scalar(&self, text: String, path: &Path, report: &mut Report) -> Value {
        let is_background = path.shape() == "droplets.*.run.*.background";
        if is_background && text.starts_with(OPENING) && self.spares(path) {
            // It may run: whoever takes a volume away stops it first.
            if let Some((step, _)) = path.split_last() {
                report.settle(&step);
            }
            return Value::Bool(true);
        }
        as_scalar(text)
    }

    fn expand(&self, text: &str, budget: usize) -> Expanded {
        let mut expanded = Expanded::default();
        let mut rest = text;
        let mut reported: HashSet<&str> = HashSet::new();
        while let Some(position) = rest.find('$') {
            let (before, from) = rest.split_at(position);
            expanded.text.push_str(before);
            if let Some(after) = from.strip_prefix("$${") {
                expanded.text.push_str("${");
                rest = after;
            } else if let Some(after) = from.strip_prefix(OPENING) {
                let end = after
                    .find(['}', '\n', '"', '\'', ' '])
                    .unwrap_or(after.len());
                let name = &after[..end];
                let is_closed = after[end..].starts_with('}');
                let whole = &from[..OPENING.len() + end + usize::from(is_closed)];
                rest = &from[whole.len()..];
                let mut is_unset = false;
                let problem = if !is_closed || !is_variable_name(name) {
                    Some(
                        Problem::new(
                            Kind::VariableSyntax,
                            format!("`{}` is not a reference to a variable", shortened(whole)),
                        )
                        .help("write `${var.NAME}`; for the very text, write `$${var.`"),
                    )
                } else {
                    match self.values.get(name) {
                        Some(Some(value)) => {
                            expanded.text.push_str(value);
                            None
                        }
                        Some(None) if self.unset == Unset::Kept => {
                            expanded.text.push_str(whole);
                            None
                        }
                        Some(None) => {
                            is_unset = true;
                            if self.unset == Unset::Spared {
                                expanded.text.push_str(whole);
                                if whole.len() == text.len() {
                                    expanded.whole = Some(name.to_owned());
                                }
                            }
                            Some(
                                Problem::new(
                                    Kind::NoVariableValue,
                                    format!("the variable `{name}` has no value"),
                                )
                                .help(format!(
                                    "give one with `--var {name}=VALUE`, or give the variable a `default`"
                                )),
                            )
                        }
                        None => Some(
                            Problem::new(
                                Kind::UnknownVariable,
                                format!("there is no variable `{name}`"),
                            )
                            .help(hint(&self.values, name)),
                        ),
                    }
                };
                match problem {
                    None if whole.len() == text.len() => expanded.whole = Some(name.to_owned()),
                    None => {}
                    // Once for each name is enough in one string.
                    Some(problem)
                        if expanded.problems.len() <= MOST_PROBLEMS && reported.insert(whole) =>
                    {
                        expanded.problems.push(Misused {
                            needle: whole.to_owned(),
                            problem,
                            is_unset,
                        })
                    }
                    Some(_) => {}
                }
            } else {
                expanded.text.push('$');
                rest = &from[1..];
            }
            if expanded.text.len() > budget {
                expanded.is_spent = true;
                return expanded;
            }
        }
        expanded.text.push_str(rest);
        expanded.is_spent = expanded.text.len() > budget;
        expanded
    }
}

/// A string with its variables put in.
#[derive(Default)]
struct Expanded {
    text: String,
    /// The variable that is the whole string.
    whole: Option<String>,
    problems: Vec<Misused>,
    is_spent: bool,
}

/// A reference that cannot be followed.
struct Misused {
    /// As it is written.
    needle: String,
    problem: Problem,
    /// Whether the variable is there and only its value is not.
    is_unset: bool,
}

fn hint(values: &BTreeMap<String, Option<String>>, name: &str) -> String {
    if values.is_empty() {
        return format!("declare it: `variables: {{ {name}: {{ default: ... }} }}`");
    }
    match nearest(name, values.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "declare it under `variables`; declared there: {}",
            all_of(values.keys().map(String::as_str))
        ),
    }
}

/// A value of a variable where a number or a truth value belongs; other text stays text, and is
/// refused there with its own words.
fn as_scalar(text: String) -> Value {
    match text.as_str() {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let is_decimal = !text.is_empty()
        && text
            .strip_prefix('-')
            .unwrap_or(&text)
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.')
        && text.ends_with(|c: char| c.is_ascii_digit());
    if is_decimal {
        if let Ok(number) = text.parse::<u64>() {
            return Value::Number(number.into());
        }
        if let Ok(number) = text.parse::<i64>() {
            return Value::Number(number.into());
        }
        if let Ok(number) = text.parse::<f64>() {
            return Value::Number(number.into());
        }
    }
    Value::String(text)
}

/// Variables do not refer to one another: a default is taken as it stands.
fn refuse_references(value: &Value, path: &mut Path, report: &mut Report) {
    match value {
        Value::String(text) if path.last_key() == Some("default") && text.contains(OPENING) => {
            report.variable(
                path,
                OPENING.to_owned(),
                Problem::new(
                    Kind::VariableSyntax,
                    "a default cannot refer to another variable",
                )
                .help("write the value itself, and put the variables together where they are used"),
            );
        }
        Value::Mapping(map) => {
            for (key, value) in map {
                let Some(key) = key.as_str() else { continue };
                path.push(key);
                refuse_references(value, path, report);
                path.pop();
            }
        }
        _ => {}
    }
}

/// At most 40 characters, so that a script without a closing brace does not fill the message.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
