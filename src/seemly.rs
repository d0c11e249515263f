//! Texts of others, made fit to be shown: names and tags of an account, output of runs, bodies of
//! errors, plans in files. None of them may steer the terminal or the direction of writing, nor look
//! like a line of ours.

use std::borrow::Cow;

/// Stands for a character that is not shown.
const INSTEAD: char = '\u{fffd}';

/// Whether a character steers what is shown rather than being shown.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn kept(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_bad = |c: char| steers(c) && !keeps(c);
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let kept = text.chars().map(|c| if is_bad(c) { INSTEAD } else { c });
    Cow::Owned(kept.collect())
}

/// A name, a tag, a word: on one line, and nothing of it hidden.
#[must_use]
pub fn name(text: &str) -> Cow<'_, str> {
    kept(text, |_| false)
}

/// A line of output: colours and the like are left out, what else steers is replaced.
#[must_use]
pub fn line(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    kept(&plain, |c| c == '\t').into_owned()
}

/// A text of several lines.
#[must_use]
pub fn text(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(line).collect();
    lines.join("\n")
}

/// All that is written to a terminal, at last: of sequences only those pass that colour, and these
/// only where `colours` says that we do.
#[must_use]
pub fn screen(text: &str, colours: bool) -> Cow<'_, str> {
    let keeps = |c: char| matches!(c, '\n' | '\t');
    if !text.contains(|c: char| steers(c) && !keeps(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&kept(&rest[..at], keeps));
        let sequence = colour(&rest[at..]).filter(|_| colours);
        match sequence {
            Some(sequence) => out.push_str(sequence),
            None => out.push(INSTEAD),
        }
        rest = &rest[at + sequence.map_or(1, str::len)..];
    }
    out.push_str(&kept(rest, keeps));
    Cow::Owned(out)
}

/// The sequence that a text begins with, when it only sets the weight of letters, a line beneath them
/// or their colour: not the ground, lest they vanish in it.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    let parameters = parameters[..end].split(';').collect::<Vec<_>>();
    let is_harmless = match parameters.as_slice() {
        ["38", "5", _] | ["38", "2", _, _, _] => true,
        all => all.iter().all(|parameter| {
            matches!(
                parameter.parse(),
                Ok(0_u8..=4 | 22..=24 | 30..=37 | 39 | 90..=97)
            ) || parameter.is_empty()
        }),
    };
    let whole = &text[..end + 3];
    (is_harmless && whole.ends_with('m')).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_seen_and_hides_nothing() {
        assert_eq!(name("app-main-web"), "app-main-web");
        assert_eq!(
            name("a\u{1b}]0;title\u{7}b\r\nc\u{9b}2J\u{202e}d\u{7f}"),
            "a\u{fffd}]0;title\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}2J\u{fffd}d\u{fffd}"
        );
        assert_eq!(
            line("\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{7}\tend"),
            "red\tend"
        );
        assert_eq!(text("a\u{1b}[A\nb\u{202e}c"), "a\nb\u{fffd}c");
    }

    #[test]
    fn of_sequences_only_our_colours_pass_and_only_when_we_colour() {
        let ours = "\u{1b}[1m\u{1b}[31mbad\u{1b}[0m\n\tnext\u{1b}[38;5;12m\u{1b}[1;4;32m";
        assert_eq!(screen(ours, true), ours);
        assert_eq!(
            screen("\u{1b}[31mbad\u{1b}[0m", false),
            "\u{fffd}[31mbad\u{fffd}[0m"
        );
        for hostile in [
            "\u{1b}[8m",
            "\u{1b}[2J",
            "\u{1b}[1A",
            "\u{1b}[40m",
            "\u{1b}[7m",
            "\u{1b}]0;x\u{7}",
            "\u{1b}c",
            "\u{1b}",
            "\u{1b}[",
            "\u{1b}[31",
            "\u{1b}[1;8m",
            "\u{9b}2J",
            "\r",
            "\u{8}",
            "\u{1b}[?25l",
            "\u{1b}[38;5m",
            "\u{1b}]8;;http://x\u{1b}\\",
        ] {
            let shown = screen(hostile, true).into_owned();
            let steers = |c: char| c.is_control();
            assert!(!shown.contains(steers), "{hostile:?} became {shown:?}");
            assert!(shown.contains(INSTEAD), "{hostile:?} became {shown:?}");
        }
    }
}
