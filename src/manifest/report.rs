//! Collects the problems of one text and places each where it stands.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::error::{MOST_PROBLEMS, Problem};
use super::path::{Path, Segment};
use super::spans::Spans;

/// The problems so far, with what is needed to place further ones.
pub(super) struct Report<'a> {
    text: &'a str,
    spans: Spans,
    problems: Vec<Problem>,
    edits: Edits,
    /// Values that were one whole variable, by their place in the text.
    whole: HashMap<Path, String>,
    /// Places in the text about which all has been said.
    settled: HashSet<Path>,
    /// What holds one of those.
    touched: HashSet<Path>,
}

/// How the tree that is being read differs from the text: what had to be taken out or renamed, so
/// that the rest could be checked too.
#[derive(Debug, Default)]
struct Edits {
    /// A key as it is now, by its map's place in the text, and as it is written there.
    renamed: HashMap<(Path, String), String>,
    /// Items taken out of lists, by the list's place in the text.
    items: HashMap<Path, BTreeSet<usize>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str, spans: Spans, problems: Vec<Problem>) -> Self {
        Self {
            text,
            spans,
            problems,
            edits: Edits::default(),
            whole: HashMap::new(),
            settled: HashSet::new(),
            touched: HashSet::new(),
        }
    }

    /// Whether so much was found that more would not help.
    pub(super) fn is_full(&self) -> bool {
        self.problems.len() > MOST_PROBLEMS
    }

    /// Hands over what was found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Reports a problem of a value.
    pub(super) fn value(&mut self, path: &Path, problem: Problem) {
        let place = self.place_of_value(path);
        self.labelled(path, place, None, problem);
    }

    /// Reports a problem of a key.
    pub(super) fn key(&mut self, path: &Path, problem: Problem) {
        let place = self.place_of_key(path);
        self.labelled(path, place, None, problem);
    }

    /// Reports a problem of a key and says what it is.
    pub(super) fn key_labelled(&mut self, path: &Path, label: &str, problem: Problem) {
        let place = self.place_of_key(path);
        self.labelled(path, place, Some(label), problem);
    }

    /// Reports a problem that is in no place of the text.
    pub(super) fn nowhere(&mut self, problem: Problem) {
        self.push(problem);
    }

    /// Reports a problem of a reference to a variable, underlining the reference itself, and says
    /// no more about the value it stands in.
    pub(super) fn variable(&mut self, path: &Path, needle: String, problem: Problem) {
        let value = self.spans.at(path).value;
        // In double quotes it may be written with escapes: then the whole value is underlined.
        let found = self.text.get(value.clone()).and_then(|written| {
            written
                .match_indices(needle.as_str())
                .map(|(start, _)| start)
                .find(|start| !written[..*start].ends_with('$'))
        });
        let place = match found {
            Some(start) => value.start + start..value.start + start + needle.len(),
            None => self.place_of_value(path),
        };
        self.push(problem.at(place));
        self.settle(path);
    }

    fn labelled(
        &mut self,
        path: &Path,
        place: Range<usize>,
        label: Option<&str>,
        problem: Problem,
    ) {
        if self.is_settled(path) {
            return;
        }
        let original = self.original(path);
        let of_variable = self
            .whole
            .get(&original)
            .map(|name| format!("the value of the variable `{name}` stands here"));
        let problem = match label.map(str::to_owned).or(of_variable) {
            Some(label) => problem.labelled(place, label),
            None => problem.at(place),
        };
        self.push(problem);
    }

    fn push(&mut self, problem: Problem) {
        if !self.is_full() && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Notes that a value was one whole variable.
    pub(super) fn whole_variable(&mut self, path: &Path, name: &str) {
        self.whole.insert(self.original(path), name.to_owned());
    }

    /// Says no more about a place and what is in it.
    pub(super) fn settle(&mut self, path: &Path) {
        let original = self.original(path);
        self.touched.extend(original.ancestors());
        self.settled.insert(original);
    }

    /// Whether all has been said about a place.
    pub(super) fn is_settled(&self, path: &Path) -> bool {
        let original = self.original(path);
        self.settled.contains(&original)
            || original
                .ancestors()
                .any(|place| self.settled.contains(&place))
    }

    /// Whether something was taken out of a place: then it holds less than the text.
    pub(super) fn is_touched(&self, path: &Path) -> bool {
        self.is_settled(path) || self.touched.contains(&self.original(path))
    }

    /// Notes that a key of the tree is written differently in the text.
    pub(super) fn renamed(&mut self, parent: &Path, now: &str, written: &str) {
        let parent = self.original(parent);
        self.edits
            .renamed
            .insert((parent, now.to_owned()), written.to_owned());
    }

    /// Notes that an item was taken out of a list.
    pub(super) fn item_removed(&mut self, list: &Path, index: usize) {
        let original = self.original(&list.then(index));
        if let Some((list, Segment::Index(index))) = original
            .split_last()
            .map(|(parent, last)| (parent, last.clone()))
        {
            self.edits.items.entry(list).or_default().insert(index);
        }
    }

    /// A place in the tree as it is in the text.
    fn original(&self, path: &Path) -> Path {
        let mut original = Path::root();
        for segment in path.segments() {
            let segment = match segment {
                Segment::Key(key) => {
                    let written = self.edits.renamed.get(&(original.clone(), key.clone()));
                    Segment::Key(written.unwrap_or(key).clone())
                }
                Segment::Index(index) => {
                    let mut index = *index;
                    for removed in self.edits.items.get(&original).into_iter().flatten() {
                        if *removed <= index {
                            index += 1;
                        }
                    }
                    Segment::Index(index)
                }
            };
            original.push(segment);
        }
        original
    }

    /// The value as it is written, if it is short and on one line.
    pub(super) fn written(&self, path: &Path) -> Option<&'a str> {
        let place = self.spans.at(&self.original(path));
        self.text
            .get(place.value)
            .filter(|text| !text.is_empty() && text.len() <= 60 && !text.contains('\n'))
    }

    /// Where a value is underlined: a block by its key, text of several lines by its first.
    pub(super) fn place_of_value(&self, path: &Path) -> Range<usize> {
        let place = self.spans.at(&self.original(path));
        match place.key {
            Some(key) if place.is_block || place.value.is_empty() => key,
            _ => self.first_line(place.value),
        }
    }

    /// Where a key is underlined; an item of a list has none and is underlined itself.
    pub(super) fn place_of_key(&self, path: &Path) -> Range<usize> {
        let place = self.spans.at(&self.original(path));
        place.key.unwrap_or_else(|| self.first_line(place.value))
    }

    fn first_line(&self, range: Range<usize>) -> Range<usize> {
        let text = self.text.get(range.clone()).unwrap_or_default();
        let length = text.find('\n').unwrap_or(text.len());
        range.start..range.start + text[..length].trim_end().len()
    }

    /// Reports a problem between a key and an earlier one.
    pub(super) fn two_keys(&mut self, path: &Path, other: &Path, problem: Problem) {
        if !self.is_settled(path) && !self.is_settled(other) {
            let place = self.place_of_key(path);
            let other = self.place_of_key(other);
            self.push(problem.at(place).at(other));
        }
    }

    /// Reports a problem between a value and an earlier one of the same kind.
    pub(super) fn two_values(&mut self, path: &Path, other: &Path, problem: Problem) {
        self.two_values_labelled(path, other, ["again here", "first here"], problem);
    }

    /// Reports a problem between a value and an earlier one, and says what stands where.
    pub(super) fn two_values_labelled(
        &mut self,
        path: &Path,
        other: &Path,
        labels: [&str; 2],
        problem: Problem,
    ) {
        if !self.is_settled(path) && !self.is_settled(other) {
            let place = self.place_of_value(path);
            let other = self.place_of_value(other);
            self.push(
                problem
                    .labelled(place, labels[0])
                    .labelled(other, labels[1]),
            );
        }
    }

    /// Reports a problem of several values together.
    pub(super) fn several_values(&mut self, paths: &[Path], problem: Problem) {
        if paths.iter().any(|path| self.is_settled(path)) {
            return;
        }
        let problem = paths.iter().fold(problem, |problem, path| {
            problem.at(self.place_of_value(path))
        });
        self.push(problem);
    }
}
