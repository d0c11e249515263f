//! Differences of scripts, line by line.

use similar::{ChangeTag, TextDiff};

use super::style::Palette;

/// The lines that differ, with two lines around them; `indent` stands before each.
#[must_use]
pub fn render(old: &str, new: &str, indent: &str, palette: Palette) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut out = String::new();
    for (position, group) in diff.grouped_ops(2).iter().enumerate() {
        if position > 0 {
            out.push_str(indent);
            out.push_str(&palette.faint("..."));
            out.push('\n');
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            let text = match change.tag() {
                ChangeTag::Delete => palette.bad(&format!("- {line}")),
                ChangeTag::Insert => palette.good(&format!("+ {line}")),
                ChangeTag::Equal => format!("  {line}"),
            };
            out.push_str(indent);
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let old = "apt-get update\napt-get install -y git\ntrue\ntrue\ntrue\nlast\n";
        let new = "apt-get update\napt-get install -y git curl\ntrue\ntrue\ntrue\nlast\n";
        insta::assert_snapshot!(render(old, new, "    ", Palette::PLAIN), @r"
          apt-get update
        - apt-get install -y git
        + apt-get install -y git curl
          true
          true
        ");
    }
}
