//! Where something stands in the document: keys and positions from the root.

use std::fmt;

/// One step down the document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Segment {
    /// Into a map, by its key.
    Key(String),
    /// Into a list, by its position from 0.
    Index(usize),
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A place in the document; the root is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Path(Vec<Segment>);

impl Path {
    /// The whole document.
    pub(super) const fn root() -> Self {
        Self(Vec::new())
    }

    /// A place right under the root.
    pub(super) fn of(key: &str) -> Self {
        Self::root().then(key)
    }

    /// A place one step further down.
    pub(super) fn then(&self, segment: impl Into<Segment>) -> Self {
        let mut path = self.clone();
        path.push(segment);
        path
    }

    /// Goes one step further down.
    pub(super) fn push(&mut self, segment: impl Into<Segment>) {
        self.0.push(segment.into());
    }

    /// Goes one step up.
    pub(super) fn pop(&mut self) -> Option<Segment> {
        self.0.pop()
    }

    /// The place one step up and the last step; nothing at the root.
    pub(super) fn split_last(&self) -> Option<(Self, &Segment)> {
        let (last, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), last))
    }

    /// What holds this place, from the innermost to the root.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.0.len())
            .rev()
            .map(|length| Self(self.0[..length].to_vec()))
    }

    /// The last step, where it is a key.
    pub(super) fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Segment::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The innermost key, past positions in lists: `run` of `run[2]`.
    pub(super) fn nearest_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) => None,
        })
    }

    /// Its steps.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this place is `other` or inside it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The kind of place: names the user chose and positions become `*`, as in
    /// `droplets.*.run.*.timeout`.
    pub(super) fn shape(&self) -> String {
        let mut shape = String::new();
        let named = matches!(self.0.first(), Some(Segment::Key(key))
            if matches!(key.as_str(), "variables" | "snapshots" | "volumes" | "droplets"));
        for (depth, segment) in self.0.iter().enumerate() {
            if depth > 0 {
                shape.push('.');
            }
            match segment {
                Segment::Key(_) if named && depth == 1 => shape.push('*'),
                Segment::Key(key) => shape.push_str(key),
                Segment::Index(_) => shape.push('*'),
            }
        }
        shape
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if depth == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl From<&serde_path_to_error::Path> for Path {
    /// Reads serde's path as far as it is one of keys and positions.
    fn from(path: &serde_path_to_error::Path) -> Self {
        let mut segments = Vec::new();
        for segment in path {
            match segment {
                serde_path_to_error::Segment::Map { key } => {
                    segments.push(Segment::Key(key.clone()));
                }
                serde_path_to_error::Segment::Seq { index } => {
                    segments.push(Segment::Index(*index));
                }
                serde_path_to_error::Segment::Enum { .. }
                | serde_path_to_error::Segment::Unknown => break,
            }
        }
        Self(segments)
    }
}
