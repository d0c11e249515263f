//! Bytes from a droplet to lines.

/// The longest line handed over in one piece.
const LONGEST_LINE_BYTES: usize = 16 * 1024;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Whoever takes a command's output.
pub trait OutputSink: Send {
    /// Takes one line, without its end.
    fn line(&mut self, stream: Stream, line: &str);

    /// Takes the line of the script, from 1, whose command ended it: where its shell can tell.
    fn failed_at(&mut self, _line: u32) {}
}

impl<F: FnMut(Stream, &str) + Send> OutputSink for F {
    fn line(&mut self, stream: Stream, line: &str) {
        self(stream, line);
    }
}

/// Cuts one stream into lines.
///
/// A line ends at `\n`, `\r\n` or a lone `\r` (so that progress bars come as lines and nothing is
/// lost). Lines beyond 16 KiB are cut between characters. What is not UTF-8 is replaced.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    /// The last byte was `\r`: it has ended its line, and a `\n` after it belongs to it.
    after_return: bool,
}

impl Lines {
    pub(super) fn feed(&mut self, bytes: &[u8], emit: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' => self.end(emit),
                b'\r' if self.after_return => {}
                b'\r' => {
                    self.end(emit);
                    self.after_return = true;
                }
                _ => {
                    self.after_return = false;
                    self.pending.push(byte);
                    if self.pending.len() >= LONGEST_LINE_BYTES {
                        self.cut(emit);
                    }
                }
            }
        }
    }

    /// Hands over what has no line end yet.
    pub(super) fn flush(&mut self, emit: &mut dyn FnMut(&str)) {
        if !self.pending.is_empty() {
            self.end(emit);
        }
    }

    fn end(&mut self, emit: &mut dyn FnMut(&str)) {
        emit(&String::from_utf8_lossy(&self.pending));
        self.pending.clear();
    }

    fn cut(&mut self, emit: &mut dyn FnMut(&str)) {
        let mut at = self.pending.len();
        if let Err(error) = std::str::from_utf8(&self.pending)
            && error.error_len().is_none()
        {
            // A character has begun and not ended: it belongs to the next piece.
            at = error.valid_up_to();
        }
        emit(&String::from_utf8_lossy(&self.pending[..at]));
        self.pending.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece, &mut |line| seen.push(line.to_owned()));
        }
        lines.flush(&mut |line| seen.push(line.to_owned()));
        seen
    }

    #[test]
    fn lines_end_at_every_kind_of_end() {
        assert_eq!(lines(&[b"a\n\nb\r\nc"]), ["a", "", "b", "c"]);
        assert_eq!(
            lines(&[b"10%\r50%\r", b"\ndone\r\r\n"]),
            ["10%", "50%", "done"]
        );
        assert_eq!(lines(&[b"\xc3", b"\xa4\n\xff\n"]), ["\u{e4}", "\u{fffd}"]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let text = format!("x{}", "\u{20ac}".repeat(10_000));
        let pieces = lines(&[text.as_bytes()]);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST_LINE_BYTES));
    }

    proptest! {
        #![proptest_config(crate::tried::tried(256))]

        #[test]
        fn how_bytes_are_split_into_packets_does_not_matter(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200),
            at in 0_usize..200,
        ) {
            let (left, right) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(lines(&[&bytes]), lines(&[left, right]));
        }
    }
}
