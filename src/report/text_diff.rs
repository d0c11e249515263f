//! Differences of scripts, line by line, with marks on the words that differ.

use similar::{ChangeTag, TextDiff};

use super::style::Palette;

/// Lines around those that differ.
const AROUND: usize = 2;

/// Longer texts are compared by lines alone: words of a million lines are read by nobody.
const MOST_MARKED: usize = 64 * 1024;

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whether it goes, comes or stays.
    pub tag: ChangeTag,
    /// Its parts, and of each whether it differs within the line.
    pub parts: Vec<(bool, String)>,
}

impl Line {
    /// The whole line.
    #[must_use]
    pub fn text(&self) -> String {
        self.parts.iter().map(|(_, part)| part.as_str()).collect()
    }

    /// Whether only a part of it differs.
    fn is_marked(&self) -> bool {
        let marked = |of: bool| {
            let mut parts = self.parts.iter();
            parts.any(|(marked, part)| *marked == of && !part.trim().is_empty())
        };
        marked(true) && marked(false)
    }
}

/// The lines that differ with those around them, in groups that lie apart.
#[must_use]
pub fn groups(old: &str, new: &str) -> Vec<Vec<Line>> {
    let diff = TextDiff::from_lines(old, new);
    let marks = old.len() + new.len() <= MOST_MARKED;
    diff.grouped_ops(AROUND)
        .iter()
        .map(|group| {
            let mut lines = Vec::new();
            for op in group {
                if marks {
                    // No deadline: the same texts have the same marks, however slow the machine.
                    for change in diff.iter_inline_changes_deadline(op, None) {
                        let parts = change
                            .iter_strings_lossy()
                            .map(|(marked, part)| (marked, part.trim_end_matches('\n').to_owned()));
                        lines.push(Line {
                            tag: change.tag(),
                            parts: parts.collect(),
                        });
                    }
                } else {
                    for change in diff.iter_changes(op) {
                        let line = change.value().trim_end_matches('\n').to_owned();
                        lines.push(Line {
                            tag: change.tag(),
                            parts: vec![(false, line)],
                        });
                    }
                }
            }
            lines
        })
        .collect()
}

/// The lines that differ, with two lines around them; `indent` stands before each. What differs
/// within a line is emphasised, or underlined by signs where there is no colour.
#[must_use]
pub fn render(old: &str, new: &str, indent: &str, palette: Palette) -> String {
    let mut out = String::new();
    for (position, group) in groups(old, new).iter().enumerate() {
        if position > 0 {
            out.push_str(indent);
            out.push_str(&palette.faint("..."));
            out.push('\n');
        }
        for line in group {
            write_line(&mut out, line, indent, palette);
        }
    }
    out
}

fn write_line(out: &mut String, line: &Line, indent: &str, palette: Palette) {
    let (sign, paint): (&str, fn(Palette, &str, bool) -> String) = match line.tag {
        ChangeTag::Delete => ("-", |palette, text, marked| match marked {
            true => palette.bad_mark(text),
            false => palette.bad(text),
        }),
        ChangeTag::Insert => ("+", |palette, text, marked| match marked {
            true => palette.good_mark(text),
            false => palette.good(text),
        }),
        ChangeTag::Equal => {
            out.push_str(format!("{indent}  {}", line.text()).trim_end());
            out.push('\n');
            return;
        }
    };
    let is_marked = line.is_marked();
    let mut text = paint(palette, &format!("{sign} "), false);
    for (marked, part) in &line.parts {
        text.push_str(&paint(palette, part, *marked && is_marked));
    }
    out.push_str(indent);
    out.push_str(text.trim_end());
    out.push('\n');
    if is_marked && !palette.is_coloured() {
        let marks: String = line
            .parts
            .iter()
            .flat_map(|(marked, part)| {
                part.chars().map(move |c| match (c, marked) {
                    ('\t', _) => '\t',
                    (_, true) => '^',
                    (_, false) => ' ',
                })
            })
            .collect();
        out.push_str(format!("{indent}  {marks}").trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "apt-get update\napt-get install -y git\ntrue\ntrue\ntrue\nlast\n";
    const NEW: &str = "apt-get update\napt-get install -y git curl\ntrue\ntrue\ntrue\nlast\n";

    #[test]
    fn only_what_differs_is_shown_and_words_are_marked() {
        insta::assert_snapshot!(render(OLD, NEW, "    ", Palette::PLAIN));
        let old = "pytest -x tests/unit\nsame\n";
        let new = "pytest -v tests/unit --tb=short\nsame\n";
        insta::assert_snapshot!(render(old, new, "", Palette::PLAIN));
    }

    #[test]
    fn colour_says_what_signs_say() {
        let coloured = render(OLD, NEW, "", Palette::COLOURED);
        let seen: String = anstream::adapter::strip_str(&coloured).to_string();
        assert!(seen.contains("\n+ apt-get install -y git curl\n"), "{seen}");
        assert!(!seen.contains('^'));
        assert!(
            coloured.contains("\u{1b}[1m") || coloured.contains("\u{1b}[7m"),
            "{coloured:?}"
        );
    }

    #[test]
    fn lines_that_differ_as_a_whole_bear_no_marks() {
        let plain = render("one\n", "two\nthree\n", "", Palette::PLAIN);
        assert!(!plain.contains('^'), "{plain}");
        let long = "x\n".repeat(MOST_MARKED);
        assert_eq!(
            render(&long, &format!("{long}y\n"), "", Palette::PLAIN),
            "  x\n  x\n+ y\n"
        );
    }
}
