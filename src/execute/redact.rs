//! Secrets in what droplets say: hidden where output is born, before it is an event.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::secret::Secret;

/// What stands where a secret stood.
const MARK: &str = "[redacted]";
/// Lines of a secret of several lines count on their own from this length on: shorter ones, such
/// as a `}`, say nothing and stand everywhere.
const SHORTEST_LINE_BYTES: usize = 4;
/// A piece of output this long may be the beginning of a longer line: the guest side cuts lines at
/// 16 KiB, between characters.
const MAYBE_CUT_BYTES: usize = 16 * 1024 - 4;

/// Finds secrets in text.
pub struct Redactor {
    finder: Option<AhoCorasick>,
    longest_bytes: usize,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Hides these values: each whole, without the white space around it, and line by line.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret<String>>) -> Self {
        let mut patterns: Vec<String> = Vec::new();
        for secret in secrets {
            // Exposed to be found again in output.
            let value = secret.expose();
            let lines = value.lines().map(str::trim);
            let lines = lines.filter(|line| line.len() >= SHORTEST_LINE_BYTES);
            patterns.extend(
                [value.as_str(), value.trim()]
                    .into_iter()
                    .chain(lines)
                    .map(str::to_owned),
            );
        }
        patterns.retain(|pattern| !pattern.is_empty());
        patterns.sort();
        patterns.dedup();
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns);
        // It fails only for gigabytes of patterns, more than an environment can hold.
        let finder = finder.expect("secrets come from the environment, which is small");
        Self {
            longest_bytes: patterns.iter().map(String::len).max().unwrap_or(0),
            finder: (!patterns.is_empty()).then_some(finder),
        }
    }

    /// A text that is whole, without secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        match &self.finder {
            None => text.to_owned(),
            Some(finder) => {
                let mut clean = String::with_capacity(text.len());
                let mut at = 0;
                for found in finder.find_iter(text) {
                    clean.push_str(&text[at..found.start()]);
                    clean.push_str(MARK);
                    at = found.end();
                }
                clean.push_str(&text[at..]);
                clean
            }
        }
    }

    /// Where a text may be cut so that no secret that reaches to its end, or might go on after it,
    /// is cut.
    fn safe_cut(&self, text: &str) -> usize {
        let Some(finder) = &self.finder else {
            return text.len();
        };
        let mut cut = text.len().saturating_sub(self.longest_bytes - 1);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        for found in finder.find_iter(text) {
            if found.start() < cut && cut < found.end() {
                cut = found.start();
            }
        }
        cut
    }
}

/// One stream of output on its way: holds back what could be the beginning of a secret.
#[derive(Debug)]
pub struct StreamRedactor {
    redactor: Arc<Redactor>,
    held: String,
}

impl StreamRedactor {
    /// For one stream of one command.
    #[must_use]
    pub const fn new(redactor: Arc<Redactor>) -> Self {
        Self {
            redactor,
            held: String::new(),
        }
    }

    /// Takes a piece of a line; gives what of it can be shown, `None` while all is held back.
    pub fn feed(&mut self, piece: &str) -> Option<String> {
        if self.held.is_empty() && piece.len() < MAYBE_CUT_BYTES {
            return Some(self.redactor.redact(piece));
        }
        self.held.push_str(piece);
        let cut = if piece.len() < MAYBE_CUT_BYTES {
            self.held.len()
        } else {
            self.redactor.safe_cut(&self.held)
        };
        let rest = self.held.split_off(cut);
        let text = std::mem::replace(&mut self.held, rest);
        (!text.is_empty() || self.held.is_empty()).then(|| self.redactor.redact(&text))
    }

    /// Gives what was held back; `None` when nothing was.
    pub fn finish(&mut self) -> Option<String> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| self.redactor.redact(&held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(values: &[&str]) -> Arc<Redactor> {
        let secrets: Vec<Secret<String>> = values
            .iter()
            .map(|value| Secret::new((*value).to_owned()))
            .collect();
        Arc::new(Redactor::new(&secrets))
    }

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        let check = |values: &[&str], text: &str, expected: &str| {
            assert_eq!(redactor(values).redact(text), expected);
        };
        check(
            &["hf_abc"],
            "token=hf_abc, not hf_ab",
            "token=[redacted], not hf_ab",
        );
        check(&["abc", "abcdef"], "abcdef abc", "[redacted] [redacted]");
        check(&[" padded\n"], "is padded", "is [redacted]");
        check(&["-----\n{\nBODY\n}\n-----"], "BODY }", "[redacted] }");
        check(&[], "nothing", "nothing");
        check(&["", "\n"], "nothing", "nothing");
        check(&["π"], "2πr", "2[redacted]r");
        assert_eq!(format!("{:?}", redactor(&["hf_abc"])), "Redactor");
    }

    fn pieces(values: &[&str], pieces: &[&str]) -> Vec<String> {
        let mut stream = StreamRedactor::new(redactor(values));
        let mut seen: Vec<String> = pieces
            .iter()
            .filter_map(|piece| stream.feed(piece))
            .collect();
        seen.extend(stream.finish());
        seen
    }

    #[test]
    fn a_secret_across_two_pieces_of_a_line_is_hidden() {
        let long = format!("{}hf_a", "x".repeat(MAYBE_CUT_BYTES));
        let seen = pieces(&["hf_abc"], &[&long, "bc and on"]);
        assert_eq!(seen.len(), 2);
        assert_eq!(
            seen.concat(),
            format!("{}[redacted] and on", "x".repeat(MAYBE_CUT_BYTES))
        );
        let seen = pieces(&["hf_abc"], &[&long]);
        assert_eq!(
            seen.concat(),
            long,
            "nothing is lost when the line ends there"
        );
    }

    proptest! {
        #![proptest_config(crate::tried::tried(256))]

        #[test]
        fn no_cut_shows_a_secret(before in "[ab€]{0,8}", at in 0_usize..9, repeats in 1_usize..3) {
            let secret = "hunter€22";
            let body = secret.repeat(repeats);
            let mut at = at;
            while !body.is_char_boundary(at) {
                at -= 1;
            }
            let long = format!("{}{before}{}", "x".repeat(MAYBE_CUT_BYTES), &body[..at]);
            let seen = pieces(&[secret], &[&long, &format!("{}tail", &body[at..])]).concat();
            prop_assert!(!seen.contains("hunter"), "{}", &seen[MAYBE_CUT_BYTES..]);
            let end = format!("{}tail", MARK.repeat(repeats));
            prop_assert!(seen.ends_with(&end));
        }
    }
}
