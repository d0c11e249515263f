//! Lines that are longer than the screen.

/// Breaks lines that are too long at blanks; what follows is indented by more than the line was. A
/// word that is longer than the screen stays whole: it may be a name to copy.
#[must_use]
pub fn fold(text: &str, width: usize) -> String {
    folded(text, width, None)
}

/// The same, where what follows begins in this column.
#[must_use]
pub fn fold_at(text: &str, width: usize, column: usize) -> String {
    folded(text, width, Some(column))
}

fn folded(text: &str, width: usize, column: Option<usize>) -> String {
    const HANGING: usize = 4;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if visible(line) <= width {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        let hanging = column.unwrap_or(indent + HANGING).min(width / 2);
        out.push_str(&line[..indent]);
        let (mut column, mut begins) = (indent, true);
        for word in words.split_inclusive(' ') {
            let length = visible(word.trim_end_matches(' '));
            if !begins && length > 0 && column + length > width {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.push_str(&" ".repeat(hanging));
                column = hanging;
            }
            begins = false;
            out.push_str(word);
            column += visible(word);
        }
        out.push('\n');
    }
    out
}

/// How many characters of a line are seen: colours are not.
pub(super) fn visible(line: &str) -> usize {
    anstream::adapter::strip_str(line)
        .map(|seen| seen.chars().count())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_hang_and_words_stay_whole() {
        let text = "  note: one two three four https://example.com/a/very/long/path five\nshort\n";
        insta::assert_snapshot!(fold(text, 24), @r"
          note: one two three
              four
              https://example.com/a/very/long/path
              five
        short
        ");
    }
}
