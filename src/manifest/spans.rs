//! Where everything stands in the text: document path to byte range.
//!
//! The one module that knows the parser with byte positions. It reads the text first and refuses
//! what would cost the other parser too much: depth, size and aliases that multiply.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::error::{Kind, Problem};
use super::path::{Path, Segment};
use super::wording::shown;

/// The most bytes of a manifest: some thirty thousand droplets written out.
pub const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The deepest nesting; the format itself needs 6.
const MOST_DEPTH: usize = 48;

/// The most values, each alias counted as often as it stands for something.
const MOST_NODES: usize = 200_000;

/// The most bytes of text, each alias counted as often as it stands for something.
const MOST_EXPANDED_BYTES: usize = 2 * MOST_BYTES;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its key; nothing for items of lists and the whole document.
    pub(super) key: Option<Range<usize>>,
    /// The value.
    pub(super) value: Range<usize>,
    /// Whether the value is a map or a list.
    pub(super) is_block: bool,
}

/// The tree of keys and values with their byte ranges.
#[derive(Debug)]
pub(super) struct Spans {
    nodes: Vec<Node>,
    root: usize,
}

#[derive(Debug)]
struct Node {
    at: Range<usize>,
    kind: NodeKind,
}

#[derive(Debug)]
enum NodeKind {
    Scalar,
    List(Vec<usize>),
    Map(Vec<Entry>),
    Alias(usize),
}

#[derive(Debug)]
struct Entry {
    key: String,
    at: Range<usize>,
    value: usize,
}

/// A collection that is still open.
struct Open {
    node: usize,
    anchor: usize,
    /// The totals when it was opened: what was added since is its own size.
    nodes_before: usize,
    bytes_before: usize,
    keys: HashMap<String, Range<usize>>,
    /// In a map: the key whose value comes next.
    pending: Option<(String, Range<usize>)>,
}

/// What an anchor stands for.
struct Anchored {
    node: usize,
    nodes: usize,
    bytes: usize,
}

/// Reads the places of a text. Problems that do not keep the rest from being read are put aside.
///
/// # Errors
///
/// The problem that ends all reading: not YAML, empty, or beyond the budget.
pub(super) fn index(text: &str, problems: &mut Vec<Problem>) -> Result<Spans, Problem> {
    let mut builder = Builder {
        text,
        problems,
        nodes: Vec::new(),
        root: None,
        open: Vec::new(),
        anchors: HashMap::new(),
        total_nodes: 0,
        total_bytes: 0,
        documents: 0,
    };
    // Deeper than any manifest, and enough for the depth to be refused in our own words.
    let limit = MOST_DEPTH + 2;
    let options = granit_parser::options! {
        flow_nesting_limit: limit,
        block_nesting_limit: limit,
        emit_comments: false,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax(text, &error))?;
        builder.event(event, &span)?;
    }
    let root = builder.root.ok_or_else(empty)?;
    Ok(Spans {
        nodes: builder.nodes,
        root,
    })
}

fn syntax(text: &str, error: &ScanError) -> Problem {
    let start = error
        .marker()
        .byte_offset()
        .unwrap_or(text.len())
        .min(text.len());
    match error.kind() {
        granit_parser::ErrorKind::RecursionLimitExceeded => too_deep(start..start + 1),
        granit_parser::ErrorKind::UnknownAnchor => {
            Problem::new(Kind::Syntax, "an alias names an anchor that is not there")
                .help("write `&NAME` before the value that `*NAME` stands for, further up")
                .at(start..word_end(text, start))
        }
        kind => {
            let found = kind.to_string();
            let tab = indenting_tab(text, start);
            let start = match tab {
                // What was read before the tab is where reading stopped.
                Some(tab) if tab > start => tab,
                _ => start,
            };
            let problem = Problem::new(Kind::Syntax, format!("this is not valid YAML: {found}"))
                .at(start..(start + 1).min(text.len()));
            match kind {
                _ if tab.is_some() || found.contains("tab") => {
                    problem.help("indent with blanks instead of tabs")
                }
                granit_parser::ErrorKind::MappingValueNotAllowed => problem.help(
                    "put text that contains `: ` in quotes, and check the indentation of this line",
                ),
                _ => problem.help("check the indentation, the quotes and the brackets up to here"),
            }
        }
    }
}

/// The problem of a text that libyaml refuses and granit does not.
pub(super) fn refused(text: &str, error: &serde_yaml::Error) -> Problem {
    let start = error
        .location()
        .map_or(0, |location| location.index())
        .min(text.len());
    Problem::new(Kind::Syntax, format!("this is not valid YAML: {error}"))
        .help("check the indentation, the quotes and the brackets up to here")
        .at(start..(start + 1).min(text.len()))
}

/// The tab that indents the line of a place, or the next one: where a reader that was told of the place
/// would look for it.
fn indenting_tab(text: &str, place: usize) -> Option<usize> {
    let begin = text.get(..place)?.rfind('\n').map_or(0, |end| end + 1);
    let mut at = begin;
    for line in text[begin..].split_inclusive('\n').take(2) {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..blank].find('\t') {
            return Some(at + tab);
        }
        at += line.len();
    }
    None
}

/// The problem of a text without a value in it.
pub(super) fn empty() -> Problem {
    Problem::new(Kind::Empty, "the manifest is empty")
        .help("write a starter manifest with `dewpoint init`")
}

fn too_deep(place: Range<usize>) -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!("this is nested more than {MOST_DEPTH} levels deep"),
    )
    .help("no key of a manifest is deeper than 8 levels: check the brackets and the indentation")
    .at(place)
}

fn word_end(text: &str, start: usize) -> usize {
    text[start..]
        .find(char::is_whitespace)
        .map_or(text.len(), |length| start + length)
}

struct Builder<'a> {
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    nodes: Vec<Node>,
    root: Option<usize>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    total_nodes: usize,
    total_bytes: usize,
    documents: usize,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let at = span.byte_range().unwrap_or_default();
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Problem::new(
                        Kind::Unsupported,
                        "a second YAML document begins here",
                    )
                    .help("keep one manifest in one file: remove the `---`")
                    .at(at));
                }
            }
            Event::Scalar(value, style, anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(&tag, span, &at);
                }
                self.count(1, value.len(), &at)?;
                if self.awaits_key() {
                    self.key(&value, style, at);
                } else {
                    let node = self.add(at, NodeKind::Scalar);
                    self.anchor(anchor, node, 1, value.len());
                }
            }
            Event::SequenceStart(_, anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(&tag, span, &at);
                }
                self.start(at, NodeKind::List(Vec::new()), anchor)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(&tag, span, &at);
                }
                self.start(at, NodeKind::Map(Vec::new()), anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&at),
            Event::Alias(anchor) => self.alias(anchor, at)?,
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, bytes: usize, at: &Range<usize>) -> Result<(), Problem> {
        self.total_nodes = self.total_nodes.saturating_add(nodes);
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        let (what, most) = if self.total_nodes > MOST_NODES {
            ("values", MOST_NODES)
        } else if self.total_bytes > MOST_EXPANDED_BYTES {
            ("bytes of text", MOST_EXPANDED_BYTES)
        } else {
            return Ok(());
        };
        let problem = if self.anchors.is_empty() {
            Problem::new(
                Kind::TooLarge,
                format!("the manifest has more than {most} {what}"),
            )
            .help("use `count` or `matrix` for droplets of a kind, or split the project")
        } else {
            Problem::new(
                Kind::TooLarge,
                format!("with its aliases written out, the manifest has more than {most} {what}"),
            )
            .help("use fewer aliases of large blocks; `count` or `matrix` makes droplets of a kind")
        };
        Err(problem.at(at.clone()))
    }

    fn awaits_key(&self) -> bool {
        self.open.last().is_some_and(|open| {
            open.pending.is_none() && matches!(self.nodes[open.node].kind, NodeKind::Map(_))
        })
    }

    fn tag(&mut self, tag: &Tag, span: &Span, at: &Range<usize>) {
        if tag.is_yaml_core_schema() || tag.original() == "!" {
            return;
        }
        let place = span
            .tag_span()
            .and_then(|span| span.byte_range())
            .unwrap_or_else(|| at.clone());
        self.problems.push(
            Problem::new(
                Kind::Unsupported,
                format!(
                    "the YAML tag `{}` has no meaning in a manifest",
                    tag.original()
                ),
            )
            .help("remove the tag; to use a variable, write `${var.NAME}`")
            .at(place),
        );
    }

    fn key(&mut self, key: &str, style: ScalarStyle, at: Range<usize>) {
        if style == ScalarStyle::Plain && !is_text(key) {
            let written = &self.text[at.clone()];
            let problem = if written.is_empty() {
                Problem::new(Kind::BadName, "a key is missing before the `:`")
                    .help("write the key's name")
            } else {
                Problem::new(
                    Kind::BadName,
                    format!("the key `{written}` is not text to YAML"),
                )
                .help(format!("put it in quotes: `\"{written}\"`"))
            };
            self.problems.push(problem.at(at.clone()));
        }
        if let Some(open) = self.open.last_mut() {
            if let Some(first) = open.keys.get(key) {
                self.problems.push(
                    Problem::new(
                        Kind::DuplicateKey,
                        format!("`{}` is given twice", shown(key)),
                    )
                    .help("keep one of the two")
                    .labelled(at.clone(), "given again here")
                    .labelled(first.clone(), "first given here"),
                );
            } else {
                open.keys.insert(key.to_owned(), at.clone());
            }
            open.pending = Some((key.to_owned(), at));
        }
    }

    /// A key that is a map, a list or an alias: nothing a manifest could mean.
    fn refuse_complex_key(&self, at: &Range<usize>) -> Result<(), Problem> {
        if self.awaits_key() {
            return Err(Problem::new(Kind::Unsupported, "a key must be plain text")
                .help("put text that begins with `{`, `[` or `*` in quotes")
                .at(at.start..at.end.max(at.start + 1)));
        }
        Ok(())
    }

    fn start(&mut self, at: Range<usize>, kind: NodeKind, anchor: usize) -> Result<(), Problem> {
        self.refuse_complex_key(&at)?;
        if self.open.len() >= MOST_DEPTH {
            return Err(too_deep(at.start..at.end.max(at.start + 1)));
        }
        let (nodes_before, bytes_before) = (self.total_nodes, self.total_bytes);
        self.count(1, 0, &at)?;
        let node = self.add(at, kind);
        self.open.push(Open {
            node,
            anchor,
            nodes_before,
            bytes_before,
            keys: HashMap::new(),
            pending: None,
        });
        Ok(())
    }

    fn end(&mut self, at: &Range<usize>) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let last_child = match &self.nodes[open.node].kind {
            NodeKind::List(items) => items.last().copied(),
            NodeKind::Map(entries) => entries.last().map(|entry| entry.value),
            NodeKind::Scalar | NodeKind::Alias(_) => None,
        };
        // A block's end is noticed only where the next thing begins; its last child says better.
        let end = if at.is_empty() {
            last_child.map_or(at.start, |child| self.nodes[child].at.end)
        } else {
            at.end
        };
        let range = &mut self.nodes[open.node].at;
        range.end = end.max(range.end);
        let nodes = self.total_nodes - open.nodes_before;
        let bytes = self.total_bytes - open.bytes_before;
        self.anchor(open.anchor, open.node, nodes, bytes);
    }

    fn alias(&mut self, anchor: usize, at: Range<usize>) -> Result<(), Problem> {
        self.refuse_complex_key(&at)?;
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(
                Problem::new(Kind::Unsupported, "an alias stands inside its own anchor")
                    .help("a value cannot contain itself: move the anchor or remove the alias")
                    .at(at),
            );
        };
        let (node, nodes, bytes) = (target.node, target.nodes, target.bytes);
        self.count(nodes, bytes, &at)?;
        self.add(at, NodeKind::Alias(node));
        Ok(())
    }

    fn anchor(&mut self, anchor: usize, node: usize, nodes: usize, bytes: usize) {
        // The parser numbers anchors from 1; 0 is a value without one.
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { node, nodes, bytes });
        }
    }

    /// Adds a value to whatever is open.
    fn add(&mut self, at: Range<usize>, kind: NodeKind) -> usize {
        let id = self.nodes.len();
        self.nodes.push(Node { at, kind });
        if let Some(open) = self.open.last_mut() {
            let parent = open.node;
            let pending = open.pending.take();
            match &mut self.nodes[parent].kind {
                NodeKind::List(items) => items.push(id),
                NodeKind::Map(entries) => {
                    if let Some((key, at)) = pending {
                        entries.push(Entry { key, at, value: id });
                    }
                }
                NodeKind::Scalar | NodeKind::Alias(_) => {}
            }
        } else if self.root.is_none() {
            self.root = Some(id);
        }
        id
    }
}

/// Whether YAML takes an unquoted word for text.
fn is_text(word: &str) -> bool {
    // Only these can begin what YAML takes for a number, a truth value or nothing.
    let may_be_other = word.is_empty()
        || word.starts_with(|c: char| c.is_ascii_digit() || "+-.~".contains(c))
        || ["true", "false", "null"]
            .iter()
            .any(|other| word.eq_ignore_ascii_case(other));
    !may_be_other
        || matches!(
            serde_yaml::from_str::<serde_yaml::Value>(word),
            Ok(serde_yaml::Value::String(_)) | Err(_)
        )
}

impl Spans {
    /// Where the deepest part of a path that exists stands, through `<<` and aliases.
    pub(super) fn at(&self, path: &Path) -> Place {
        let mut place = Place {
            key: None,
            value: self.nodes[self.root].at.clone(),
            is_block: self.is_block(self.root),
        };
        let mut node = self.root;
        for segment in path.segments() {
            let (key, next) = match (segment, &self.nodes[self.behind(node)].kind) {
                (Segment::Key(key), NodeKind::Map(_)) => {
                    match self.entry(node, key, &mut HashSet::new()) {
                        Some(entry) => (Some(entry.at.clone()), entry.value),
                        None => break,
                    }
                }
                (Segment::Index(index), NodeKind::List(items)) => match items.get(*index) {
                    Some(item) => (None, *item),
                    None => break,
                },
                _ => break,
            };
            place = Place {
                key,
                value: self.nodes[next].at.clone(),
                is_block: self.is_block(next),
            };
            node = next;
        }
        place
    }

    fn is_block(&self, node: usize) -> bool {
        matches!(self.nodes[node].kind, NodeKind::List(_) | NodeKind::Map(_))
    }

    /// The value behind an alias. An alias of an alias cannot be written.
    fn behind(&self, node: usize) -> usize {
        match self.nodes[node].kind {
            NodeKind::Alias(target) => target,
            NodeKind::Scalar | NodeKind::List(_) | NodeKind::Map(_) => node,
        }
    }

    /// The entry of a map, or of what is merged into it.
    fn entry(&self, node: usize, key: &str, seen: &mut HashSet<usize>) -> Option<&Entry> {
        let node = self.behind(node);
        if !seen.insert(node) {
            return None;
        }
        let NodeKind::Map(entries) = &self.nodes[node].kind else {
            return None;
        };
        if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
            return Some(entry);
        }
        let merged = entries.iter().find(|entry| entry.key == "<<")?.value;
        match &self.nodes[self.behind(merged)].kind {
            NodeKind::List(items) => items.iter().find_map(|item| self.entry(*item, key, seen)),
            NodeKind::Map(_) => self.entry(merged, key, seen),
            NodeKind::Scalar | NodeKind::Alias(_) => None,
        }
    }
}
