//! serde's messages in the words of a manifest's author.

use serde_yaml::Value;

use super::error::{Kind, Problem};
use super::path::{Path, Segment};
use super::report::Report;
use super::suggest::did_you_mean;
use crate::units::{Gib, Seconds};

/// What serde complains of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    UnknownKey { key: String, expected: Vec<String> },
    MissingKey { key: String },
    UnknownWord { word: String, expected: Vec<String> },
    WrongType { found: String, expected: String },
    BadValue { found: String, expected: String },
    Other { message: String },
}

impl Complaint {
    /// Reads one of serde's messages. Its wording has been the same since serde 1.0, and a test
    /// holds each form.
    pub(super) fn from_serde(message: &str) -> Self {
        let quoted = |text: &str| -> Vec<String> {
            text.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        if let Some(rest) = message.strip_prefix("unknown field `")
            && let Some((key, rest)) = split_at_list(rest)
        {
            return Self::UnknownKey {
                key: key.to_owned(),
                expected: quoted(rest),
            };
        }
        if let Some(key) = message
            .strip_prefix("missing field `")
            .and_then(|rest| rest.strip_suffix('`'))
        {
            return Self::MissingKey {
                key: key.to_owned(),
            };
        }
        if let Some(rest) = message.strip_prefix("unknown variant `")
            && let Some((word, rest)) = split_at_list(rest)
        {
            return Self::UnknownWord {
                word: word.to_owned(),
                expected: quoted(rest),
            };
        }
        let parts = |rest: &str| {
            rest.rsplit_once(", expected ")
                .map(|(found, expected)| (found.to_owned(), expected.to_owned()))
        };
        if let Some((found, expected)) = message.strip_prefix("invalid type: ").and_then(parts) {
            return Self::WrongType { found, expected };
        }
        if let Some((found, expected)) = message.strip_prefix("invalid value: ").and_then(parts) {
            return Self::BadValue { found, expected };
        }
        Self::Other {
            message: message.to_owned(),
        }
    }
}

/// Splits "KEY`, expected one of `a`, `b`" where KEY may hold anything.
fn split_at_list(rest: &str) -> Option<(&str, &str)> {
    ["`, expected ", "`, there are no "]
        .into_iter()
        .find_map(|separator| rest.rsplit_once(separator))
}

/// The problem of a value.
pub(super) fn describe(
    complaint: &Complaint,
    path: &Path,
    value: Option<&Value>,
    report: &Report,
) -> Problem {
    let subject = subject(path);
    let unit = unit(path);
    match complaint {
        Complaint::UnknownWord { word, expected } => {
            let words: Vec<&str> = expected.iter().map(String::as_str).collect();
            let problem = Problem::new(
                Kind::BadValue,
                format!("{subject} cannot be `{}`", shown(word)),
            );
            let help = match path.shape().as_str() {
                "firewall" => "write `none`, or a map with `inbound`".to_owned(),
                _ => did_you_mean(word, &words),
            };
            problem.help(help)
        }
        Complaint::WrongType { found, expected } => {
            let is_text_due = expected == "a string" || expected == "string";
            let message = format!(
                "{subject} must be {}, not {}",
                unit.map_or_else(|| expected_words(expected), |(what, _)| what.to_owned()),
                match value {
                    // Of another number it matters which.
                    Some(Value::Number(number)) if !is_text_due => format!("`{number}`"),
                    Some(value) => found_words(found, value),
                    None => found.clone(),
                }
            );
            let mut problem = Problem::new(Kind::WrongType, message);
            if let Some((_, help)) = unit {
                problem = problem.help(help);
            } else if is_text_due && matches!(value, Some(Value::Number(_) | Value::Bool(_))) {
                if let Some(written) = report.written(path) {
                    problem = problem.help(format!("put it in quotes: `\"{written}\"`"));
                }
            } else if let Some(help) = type_help(expected, path, value) {
                problem = problem.help(help);
            }
            problem
        }
        Complaint::BadValue { expected, .. } => {
            let found = value.map_or_else(String::new, scalar_text);
            let due = match (path.last_key(), range_words(expected, &found)) {
                (Some("tcp"), _) => "a port, a whole number from 1 to 65535",
                (_, Some(range)) => range,
                _ => &expected_words(expected),
            };
            let message = format!("{subject} must be {due}, not `{}`", shown(&found));
            let problem = Problem::new(Kind::BadValue, message);
            match path.shape().as_str() {
                "limits.cost_per_hour" => problem.help("write dollars and cents, such as `2.00`"),
                _ => problem,
            }
        }
        Complaint::Other { message } => other(message, path, value, &subject),
        // The reader deals with keys itself.
        Complaint::UnknownKey { key, .. } | Complaint::MissingKey { key } => Problem::new(
            Kind::BadValue,
            format!("{subject} is not right about `{key}`"),
        ),
    }
}

fn other(message: &str, path: &Path, value: Option<&Value>, subject: &str) -> Problem {
    let shape = path.shape();
    let text = value.map(scalar_text).unwrap_or_default();
    if matches!(
        shape.as_str(),
        "ssh.allow_from.*" | "firewall.inbound.*.from.*"
    ) {
        return Problem::new(Kind::BadValue, format!("`{}` is not a network", shown(&text)))
            .help("write an address and its prefix, such as `203.0.113.0/24`, `198.51.100.7/32` or `::/0`");
    }
    // Our own units say in one message what is wrong and what to write.
    if let Some((what, how)) = message.split_once(": write ") {
        let meant = match unit(path) {
            Some((what, _)) if what == A_DURATION => duration_meant(&text),
            Some(_) => size_meant(&text).map(|size| size.to_string()),
            None => None,
        };
        return Problem::new(Kind::BadValue, what).help(match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("write {how}"),
        });
    }
    Problem::new(Kind::BadValue, format!("{subject} is not right: {message}"))
}

/// How a message calls a place: by its key, an item by its list.
fn subject(path: &Path) -> String {
    match path.segments() {
        [] => "the manifest".to_owned(),
        [.., Segment::Key(key)] => format!("`{}`", shown(key)),
        [..] => match path.nearest_key() {
            Some(list) => format!("an item of `{}`", shown(list)),
            None => "the manifest".to_owned(),
        },
    }
}

fn expected_words(expected: &str) -> String {
    let words = match expected {
        "a string" | "string" | "str" => "text",
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "f64" | "a Decimal type representing a fixed-point number" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "a map of keys and values",
        other if other.starts_with("struct ") => "a map of keys and values",
        other if other.starts_with("an IP network") || other.contains("IPv4") => {
            "a network such as `203.0.113.0/24`"
        }
        other => other,
    };
    words.to_owned()
}

/// What numbers of a type there are: one that is none of them is a whole number all the same.
fn range_words(expected: &str, found: &str) -> Option<&'static str> {
    match expected {
        "u16" | "u32" if found.starts_with('-') => Some("a whole number, 0 or more"),
        "u16" => Some("a whole number from 0 to 65535"),
        "u32" => Some("a whole number from 0 to 4294967295"),
        "u64" | "usize" => Some("a whole number, 0 or more"),
        _ => None,
    }
}

/// What is due at a place where a unit belongs, and how it is written.
fn unit(path: &Path) -> Option<(&'static str, &'static str)> {
    match (path.shape().as_str(), path.last_key()) {
        ("volumes.*.size", _) => Some(("whole gibibytes", "write a size such as `50GiB`")),
        (_, Some("ttl" | "timeout" | "refresh")) | ("droplets.*.after_run.keep", _) => {
            Some((A_DURATION, "write `90s`, `30m`, `4h` or `7d`"))
        }
        _ => None,
    }
}

/// What a place for a length of time is called.
const A_DURATION: &str = "a duration";

/// A number and the word behind it.
fn number_and_word(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, word) = text.split_at(end);
    Some((number.parse().ok()?, word.trim().to_ascii_lowercase()))
}

/// The size that was meant by one with another unit.
fn size_meant(text: &str) -> Option<Gib> {
    let (number, word) = number_and_word(text)?;
    let gibibytes = match word.as_str() {
        "" | "g" | "gb" | "gib" | "gi" | "gigabyte" | "gigabytes" | "gibibytes" => number,
        "t" | "tb" | "tib" | "ti" | "terabyte" | "terabytes" => number.checked_mul(1_024)?,
        _ => return None,
    };
    let size = u32::try_from(gibibytes).ok()?;
    (size > 0).then_some(Gib(size))
}

/// The duration that was meant by one in words.
fn duration_meant(text: &str) -> Option<String> {
    let (number, word) = number_and_word(text)?;
    let unit = match word.as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        "w" | "week" | "weeks" => return duration_meant(&format!("{}d", number.checked_mul(7)?)),
        _ => return None,
    };
    let meant = format!("{number}{unit}");
    meant.parse::<Seconds>().is_ok().then_some(meant)
}

fn found_words(found: &str, value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) if text.is_empty() => "empty text".to_owned(),
        Value::String(text) => format!("the text `{}`", shown(text)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a map".to_owned(),
        Value::Tagged(_) => found.to_owned(),
    }
}

fn type_help(expected: &str, path: &Path, value: Option<&Value>) -> Option<String> {
    match (expected, value) {
        ("a sequence", Some(Value::String(text))) => {
            let form = match path.shape().as_str() {
                "droplets.*.run" => "[{ name: tests, command: \"...\" }]".to_owned(),
                "snapshots.*.provision" => "[{ run: \"...\" }]".to_owned(),
                "volumes.*.populate.run" => "[{ command: \"...\" }]".to_owned(),
                "droplets.*.volumes" => "[{ volume: NAME, mount: /mnt/NAME }]".to_owned(),
                _ => format!("[{}]", shown(text)),
            };
            Some(format!("write a list: `{form}`"))
        }
        ("a sequence", Some(Value::Mapping(_))) => Some("begin each item with `- `".to_owned()),
        ("a map", Some(Value::Sequence(_))) => {
            Some("write `KEY: VALUE` lines without a `- ` before them".to_owned())
        }
        ("a boolean", Some(Value::String(text)))
            if ["yes", "no", "on", "off"].contains(&text.to_lowercase().as_str()) =>
        {
            let meant = ["yes", "on"].contains(&text.to_lowercase().as_str());
            Some(format!("write `{meant}`"))
        }
        ("u16" | "u32" | "u64", Some(Value::String(text)))
            if text.trim().parse::<u64>().is_ok() =>
        {
            Some(format!("remove the quotes: `{}`", text.trim()))
        }
        (expected, Some(Value::String(_) | Value::Number(_) | Value::Bool(_)))
            if expected.starts_with("struct ") =>
        {
            let form = match expected {
                "struct RunStep" => "{ name: tests, command: \"...\" }",
                "struct Provision" => "{ run: \"...\" }",
                "struct PopulateStep" => "{ command: \"...\" }",
                "struct VolumeMount" => "{ volume: NAME, mount: /mnt/NAME }",
                "struct Variable" => "{ default: \"...\" }",
                "struct Source" => "{ path: . }",
                "struct Copy" => "{ from: ./FILE, to: /opt/FILE }",
                _ => return None,
            };
            Some(format!("write `{form}`"))
        }
        _ => None,
    }
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => String::new(),
    }
}

/// At most 60 characters of one line, control characters left out.
pub(super) fn shown(text: &str) -> String {
    shown_to(60, text)
}

/// At most so many characters of one line, control characters left out.
pub(super) fn shown_to(most: usize, text: &str) -> String {
    let mut line: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect();
    if line.len() < text.trim_end().len() {
        line.push('…');
    }
    line
}

/// What could stand there, for the help of a missing key.
pub(super) fn example(path: &Path, key: &str) -> &'static str {
    match (path.shape().as_str(), key) {
        (_, "version") => "1",
        (_, "project") => "my-project",
        (_, "region") => "nyc3",
        (_, "size") => "s-1vcpu-1gb",
        ("firewall.inbound.*", "from") => "[\"203.0.113.0/24\"]",
        ("firewall.inbound.*", "protocol") => "tcp",
        ("snapshots.*.provision.*.copy", "from") => "./FILE",
        (_, "to") => "/opt/FILE",
        (_, "from" | "image") => "ubuntu-24-04-x64",
        (_, "name") => "tests",
        (_, "command") => "python3 -m unittest",
        (_, "mount") => "/mnt/data",
        (_, "keep") => "30m",
        (_, "run") => "[{ command: \"...\" }]",
        _ => "NAME",
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Sample {
        one: u32,
        two: Word,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Left,
        Right,
    }

    fn complaint(text: &str) -> Complaint {
        let value: Value = serde_yaml::from_str(text).expect("YAML");
        let error = serde_yaml::from_value::<Sample>(value).expect_err("a mistake");
        Complaint::from_serde(&error.to_string())
    }

    #[test]
    fn a_unit_in_other_words_is_understood() {
        for (text, meant) in [
            ("5GB", Some(5)),
            ("50", Some(50)),
            ("5 gib", Some(5)),
            ("2tb", Some(2_048)),
            ("0GB", None),
            ("5MB", None),
            ("1.5GiB", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(size_meant(text), meant.map(Gib), "{text}");
        }
        for (text, meant) in [
            ("4 hours", Some("4h")),
            ("1 Hour", Some("1h")),
            ("90 seconds", Some("90s")),
            ("2w", Some("14d")),
            ("5 m", Some("5m")),
            ("0 days", None),
            ("soon", None),
            ("1.5h", None),
        ] {
            assert_eq!(duration_meant(text).as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn each_form_of_serdes_messages_is_understood() {
        assert_eq!(
            complaint("tree: 1"),
            Complaint::UnknownKey {
                key: "tree".to_owned(),
                expected: vec!["one".to_owned(), "two".to_owned()]
            }
        );
        assert_eq!(
            complaint("one: 1"),
            Complaint::MissingKey {
                key: "two".to_owned()
            }
        );
        assert_eq!(
            complaint("{ one: 1, two: up }"),
            Complaint::UnknownWord {
                word: "up".to_owned(),
                expected: vec!["left".to_owned(), "right".to_owned()]
            }
        );
        assert_eq!(
            complaint("{ one: \"a, expected b\" }"),
            Complaint::WrongType {
                found: "string \"a, expected b\"".to_owned(),
                expected: "u32".to_owned()
            }
        );
        assert_eq!(
            complaint("{ one: -1 }"),
            Complaint::BadValue {
                found: "integer `-1`".to_owned(),
                expected: "u32".to_owned()
            }
        );
    }
}
