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

/// The lines that differ, with two lines around them; `indent` stands before each.
#[must_use]
pub fn render(old: &str, new: &str, indent: &str, palette: Palette) -> String {
    lines(old, new, indent, palette, false)
}

/// As [`render`], and what differs within a line is emphasised, and underlined by signs: colour
/// only repeats them.
#[must_use]
pub fn render_marked(old: &str, new: &str, indent: &str, palette: Palette) -> String {
    lines(old, new, indent, palette, true)
}

fn lines(old: &str, new: &str, indent: &str, palette: Palette, marks: bool) -> String {
    let mut out = String::new();
    for (position, group) in groups(old, new).iter().enumerate() {
        if position > 0 {
            out.push_str(indent);
            out.push_str(&palette.faint("..."));
            out.push('\n');
        }
        for line in group {
            write_line(&mut out, line, indent, palette, marks && line.is_marked());
        }
    }
    out
}

fn write_line(out: &mut String, line: &Line, indent: &str, palette: Palette, marks: bool) {
    let (sign, plain, mark): (&str, Paint, Paint) = match line.tag {
        ChangeTag::Delete => ("-", Palette::bad, Palette::bad_mark),
        ChangeTag::Insert => ("+", Palette::good, Palette::good_mark),
        ChangeTag::Equal => {
            out.push_str(format!("{indent}  {}", line.text()).trim_end());
            out.push('\n');
            return;
        }
    };
    out.push_str(indent);
    if !marks {
        let whole = format!("{sign} {}", line.text());
        out.push_str(plain(palette, whole.trim_end()).as_str());
        out.push('\n');
        return;
    }
    let mut text = plain(palette, &format!("{sign} "));
    for (marked, part) in &line.parts {
        text.push_str(&if *marked {
            mark(palette, part)
        } else {
            plain(palette, part)
        });
    }
    out.push_str(text.trim_end());
    out.push('\n');
    let signs: String = line
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
    let signs = format!("  {}", signs.trim_end());
    out.push_str(indent);
    out.push_str(&palette.faint(&signs));
    out.push('\n');
}

type Paint = fn(Palette, &str) -> String;

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "apt-get update\napt-get install -y git\ntrue\ntrue\ntrue\nlast\n";
    const NEW: &str = "apt-get update\napt-get install -y git curl\ntrue\ntrue\ntrue\nlast\n";

    #[test]
    fn only_what_differs_is_shown_and_words_are_marked() {
        insta::assert_snapshot!(render_marked(OLD, NEW, "    ", Palette::PLAIN));
        let old = "pytest -x tests/unit\nsame\n";
        let new = "pytest -v tests/unit --tb=short\nsame\n";
        insta::assert_snapshot!(render_marked(old, new, "", Palette::PLAIN));
    }

    #[test]
    fn colour_only_repeats_what_signs_say() {
        for show in [render, render_marked] {
            let coloured = show(OLD, NEW, "", Palette::COLOURED);
            let seen = anstream::adapter::strip_str(&coloured).to_string();
            assert_eq!(seen, show(OLD, NEW, "", Palette::PLAIN));
            assert_ne!(seen, coloured);
        }
        assert!(!render(OLD, NEW, "", Palette::PLAIN).contains('^'));
    }

    #[test]
    fn lines_that_differ_as_a_whole_bear_no_marks() {
        let plain = render_marked("one\n", "two\nthree\n", "", Palette::PLAIN);
        assert!(!plain.contains('^'), "{plain}");
        let long = "x\n".repeat(MOST_MARKED);
        let more = render_marked(&long, &format!("{long}y\n"), "", Palette::PLAIN);
        assert_eq!(more, "  x\n  x\n+ y\n");
    }
}
