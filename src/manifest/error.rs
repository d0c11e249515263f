//! What is wrong with a manifest: every problem at once, each with the place it stands at.

use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// The most problems one run reports.
///
/// More than this is one mistake seen many times, or not a manifest at all.
pub(super) const MOST_PROBLEMS: usize = 50;

/// The most text that is shown around a problem: more is no help, and there may be many problems.
const MOST_SHOWN_BYTES: usize = 16 * 1024;

/// The kind of a problem; its code is part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// The text is not UTF-8.
    NotUtf8,
    /// The text is beyond what a manifest may hold: bytes, depth, values or aliases.
    TooLarge,
    /// There is nothing in it.
    Empty,
    /// It is not YAML.
    Syntax,
    /// A YAML feature that manifests do not use.
    Unsupported,
    /// A key that does not exist.
    UnknownKey,
    /// The same key twice in one map.
    DuplicateKey,
    /// A key that must be there and is not.
    MissingKey,
    /// A key without a value.
    NoValue,
    /// A value of another kind, such as a number where text is due.
    WrongType,
    /// A value of the right kind that is not allowed there.
    BadValue,
    /// A name that does not suit what it names.
    BadName,
    /// A path that does not suit its place.
    BadPath,
    /// A file or folder on this side that is not there, or cannot be used.
    NoFile,
    /// Keys that exclude each other, or none of several of which one is due.
    ExactlyOne,
    /// Something that must be unique stands twice.
    NotUnique,
    /// A name of something that the manifest does not have.
    Dangling,
    /// References that lead back to where they began.
    Cycle,
    /// A name that is too long once composed for DigitalOcean.
    NameTooLong,
    /// Something in another region than what uses it.
    OtherRegion,
    /// A variable that the manifest does not have.
    UnknownVariable,
    /// A variable without a value.
    NoVariableValue,
    /// A reference to a variable that is not written as one.
    VariableSyntax,
    /// More than is allowed.
    TooMany,
}

impl Kind {
    /// The code, such as `dewpoint::manifest::unknown_key`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotUtf8 => "dewpoint::manifest::not_utf8",
            Self::TooLarge => "dewpoint::manifest::too_large",
            Self::Empty => "dewpoint::manifest::empty",
            Self::Syntax => "dewpoint::manifest::syntax",
            Self::Unsupported => "dewpoint::manifest::unsupported_yaml",
            Self::UnknownKey => "dewpoint::manifest::unknown_key",
            Self::DuplicateKey => "dewpoint::manifest::duplicate_key",
            Self::MissingKey => "dewpoint::manifest::missing_key",
            Self::NoValue => "dewpoint::manifest::no_value",
            Self::WrongType => "dewpoint::manifest::wrong_type",
            Self::BadValue => "dewpoint::manifest::bad_value",
            Self::BadName => "dewpoint::manifest::bad_name",
            Self::BadPath => "dewpoint::manifest::bad_path",
            Self::NoFile => "dewpoint::manifest::no_file",
            Self::ExactlyOne => "dewpoint::manifest::exactly_one",
            Self::NotUnique => "dewpoint::manifest::not_unique",
            Self::Dangling => "dewpoint::manifest::dangling",
            Self::Cycle => "dewpoint::manifest::cycle",
            Self::NameTooLong => "dewpoint::manifest::name_too_long",
            Self::OtherRegion => "dewpoint::manifest::other_region",
            Self::UnknownVariable => "dewpoint::manifest::unknown_variable",
            Self::NoVariableValue => "dewpoint::manifest::no_variable_value",
            Self::VariableSyntax => "dewpoint::manifest::variable_syntax",
            Self::TooMany => "dewpoint::manifest::too_many",
        }
    }
}

/// One problem of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    kind: Kind,
    message: String,
    help: Option<String>,
    labels: Vec<(Range<usize>, Option<String>)>,
    is_given: bool,
}

impl Problem {
    /// A problem that is not yet placed.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
            labels: Vec::new(),
            is_given: false,
        }
    }

    /// Says that the fault is in what was given beside the text.
    pub(super) const fn of_given(mut self) -> Self {
        self.is_given = true;
        self
    }

    /// Says what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Underlines a place.
    pub(super) fn at(mut self, place: Range<usize>) -> Self {
        self.labels.push((place, None));
        self
    }

    /// Underlines a place and says what stands there.
    pub(super) fn labelled(mut self, place: Range<usize>, label: impl Into<String>) -> Self {
        self.labels.push((place, Some(label.into())));
        self
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The places it stands at, as byte ranges of the text; none where it is in no place of it.
    pub fn places(&self) -> impl Iterator<Item = Range<usize>> {
        self.labels.iter().map(|(place, _)| place.clone())
    }

    /// Tells the line in words where the lines around the places are too long to be shown.
    fn fit(&mut self, text: &str) {
        let Some(start) = self.labels.iter().map(|(place, _)| place.start).min() else {
            return;
        };
        let end = self.labels.iter().map(|(place, _)| place.end).max();
        let end = end.unwrap_or(start);
        // What is shown begins a line before and ends a line after.
        let before = text.as_bytes()[..start]
            .iter()
            .rev()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(1)
            .map_or(start, |(distance, _)| distance);
        let after = text.as_bytes()[end..]
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(1)
            .map_or(text.len() - end, |(distance, _)| distance);
        if before + (end - start) + after > MOST_SHOWN_BYTES {
            let lines = text.as_bytes()[..start]
                .iter()
                .filter(|byte| **byte == b'\n');
            self.message = format!("{} (in line {})", self.message, lines.count() + 1);
            self.labels.clear();
        }
    }

    fn first_place(&self) -> usize {
        self.labels.first().map_or(0, |(place, _)| place.start)
    }
}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.kind.code()))
    }

    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.labels.is_empty() {
            return None;
        }
        Some(Box::new(self.labels.iter().enumerate().map(
            |(position, (place, label))| {
                // An empty range would be shown as a stroke between two letters.
                let length = place.len().max(1);
                if position == 0 {
                    LabeledSpan::new_primary_with_span(label.clone(), (place.start, length))
                } else {
                    LabeledSpan::new(label.clone(), place.start, length)
                }
            },
        )))
    }
}

/// All problems of one manifest, with its text.
#[derive(Debug)]
pub struct ManifestErrors {
    source: NamedSource<String>,
    problems: Vec<Problem>,
    more: bool,
}

impl ManifestErrors {
    /// Puts the problems in the order of the text. There must be one at least.
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        // Through an alias one mistake is found once for each place that uses it.
        problems.sort_by(|a, b| {
            let key = |problem: &Problem| (problem.first_place(), problem.kind);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        });
        problems.dedup();
        let more = problems.len() > MOST_PROBLEMS;
        problems.truncate(MOST_PROBLEMS);
        // A label past the end would keep miette from showing the text at all.
        for problem in &mut problems {
            for (place, _) in &mut problem.labels {
                place.end = place.end.min(text.len());
                place.start = place.start.min(place.end);
            }
            problem.fit(text);
        }
        Self {
            source: NamedSource::new(name, masked(text)),
            problems,
            more,
        }
    }

    /// What the text is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// The problems, in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether there are more than were kept.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.more
    }
}

/// The text with the passwords in its addresses masked, byte for byte: errors end in logs.
fn masked(text: &str) -> String {
    let mut secrets: Vec<Range<usize>> = Vec::new();
    for (at, separator) in text.match_indices("://") {
        let start = at + separator.len();
        let rest = &text[start..];
        let end = rest
            .find(|c: char| c.is_whitespace() || "/\"'".contains(c))
            .unwrap_or(rest.len());
        if let Some((user, _)) = rest[..end].rsplit_once('@')
            && let Some((name, password)) = user.split_once(':')
        {
            let start = start + name.len() + 1;
            secrets.push(start..start + password.len());
        }
    }
    let mut masked = String::with_capacity(text.len());
    let mut end = 0;
    for secret in secrets {
        if secret.start >= end {
            masked.push_str(&text[end..secret.start]);
            masked.extend(std::iter::repeat_n('*', secret.len()));
            end = secret.end;
        }
    }
    masked.push_str(&text[end..]);
    masked
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        let given = self.problems.iter().filter(|problem| problem.is_given);
        let (name, verb) = match given.count() {
            0 => (name.to_owned(), "has"),
            all if all == self.problems.len() => {
                (format!("the values given beside {name}"), "have")
            }
            _ => (format!("{name} and the values given beside it"), "have"),
        };
        match (self.problems.len(), self.more) {
            (1, _) => write!(f, "{name} {verb} 1 problem"),
            (count, false) => write!(f, "{name} {verb} {count} problems"),
            (count, true) => write!(f, "{name} {verb} more than {count} problems"),
        }
    }
}

impl std::error::Error for ManifestErrors {}

impl Diagnostic for ManifestErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.problems
                .iter()
                .map(|problem| problem as &dyn Diagnostic),
        ))
    }
}
