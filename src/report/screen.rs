//! The terminal that progress is drawn on.
//!
//! indicatif ends the program by a panic when what it draws on fails, and a terminal may be closed
//! at any time: this one never fails. What goes on in the account must not end with the window it
//! was watched in; the signal that a closed terminal sends is what is acted on.

use std::io::{Result, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

use super::fold::visible;

/// Standard error, which must be a terminal.
#[derive(Debug, Default)]
pub(super) struct Screen {
    frame: Mutex<Frame>,
}

/// What is drawn at once, so that nothing flickers.
///
/// indicatif writes each line and then blanks up to the edge, and leaves it to the terminal to go on in
/// the next one. So all lines are one to the terminal, which breaks that anew when its size changes, and
/// output is drawn over. Here each is a line of its own.
#[derive(Debug, Default)]
struct Frame {
    text: String,
    next: Next,
    /// How wide the screen was said to be.
    said: usize,
    /// Its lines.
    lines: Vec<Line>,
    /// Whether it begins by clearing what was drawn last.
    clears: bool,
    /// The lines that stand on the screen.
    shown: Vec<Line>,
}

/// A line that is drawn.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// How many characters wide it is.
    width: usize,
    /// How many rows indicatif takes it for.
    rows: usize,
}

/// How many rows a line takes on a screen of so many columns.
const fn rows(width: usize, columns: usize) -> usize {
    match (width, columns) {
        (0, _) | (_, 0) => 1,
        (width, columns) => width.div_ceil(columns),
    }
}

impl Frame {
    /// What is written to a screen of so many columns; 0 when that is not known.
    ///
    /// A terminal that was made narrower has broken the lines that stand on it, and indicatif clears as
    /// many rows as they took when they were drawn. The rest would stay for good, so it is cleared here. (A
    /// terminal that cuts lines off in place of breaking them loses as many rows of what stands above; the
    /// logs have them.)
    fn take(&mut self, columns: usize) -> String {
        let mut out = String::new();
        if self.clears && columns > 0 {
            let known: usize = self.shown.iter().map(|line| line.rows).sum();
            let all: usize = self
                .shown
                .iter()
                .map(|line| rows(line.width, columns))
                .sum();
            if all > known {
                out.push_str(&format!("\x1b[{}A\r\x1b[J", all - 1));
                if known > 1 {
                    out.push_str(&format!("\x1b[{}B", known - 1));
                }
            }
            // It was made wider again: what indicatif goes up further than its lines are high.
            out.push_str(&"\n".repeat(known.saturating_sub(all)));
        }
        out.push_str(&std::mem::take(&mut self.text));
        if self.clears || !self.lines.is_empty() {
            self.shown = std::mem::take(&mut self.lines);
        }
        self.clears = false;
        self.next = Next::First;
        out
    }
}

/// What indicatif writes next.
#[derive(Debug, Default, PartialEq, Eq)]
enum Next {
    /// The first line, where the cursor is.
    #[default]
    First,
    /// Blanks that end a line.
    Blanks,
    /// Another line.
    Line,
}

impl Screen {
    /// What is no line: it begins anew.
    fn draw(&self, text: &str) {
        let mut frame = self.frame();
        frame.text.push_str(text);
        frame.next = Next::First;
    }

    /// Says how wide the screen is: what is drawn next is drawn for that.
    fn say(&self, width: u16) -> u16 {
        self.frame().said = usize::from(width);
        width
    }

    fn frame(&self) -> MutexGuard<'_, Frame> {
        // A frame is text: after a panic in its midst it is still drawn.
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go(&self, by: usize, letter: char) {
        if by > 0 {
            self.draw(&format!("\x1b[{by}{letter}"));
        }
    }
}

/// Columns at the right that stay free: there is room for the `^C` that a terminal writes where the
/// cursor is, and a line that does not reach the edge is broken by no terminal.
const FREE: u16 = 3;

/// How wide what is drawn may be. A terminal that does not know its size says 0.
fn room(columns: u16) -> u16 {
    match columns {
        0 => 80 - FREE,
        columns => columns.saturating_sub(FREE).max(1),
    }
}

/// What the terminal says; 0 when it does not know.
fn columns() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| size.ws_col)
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.say(room(columns()))
    }

    fn height(&self) -> u16 {
        rustix::termios::tcgetwinsize(std::io::stderr()).map_or(24, |size| size.ws_row.max(1))
    }

    fn move_cursor_up(&self, n: usize) -> Result<()> {
        self.go(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> Result<()> {
        self.go(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> Result<()> {
        self.go(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> Result<()> {
        self.go(n, 'D');
        Ok(())
    }

    fn write_line(&self, s: &str) -> Result<()> {
        self.draw(s);
        self.draw("\n");
        Ok(())
    }

    fn write_str(&self, s: &str) -> Result<()> {
        if s == "\r" {
            self.draw(s);
            return Ok(());
        }
        let mut frame = self.frame();
        if frame.next == Next::Blanks {
            // What was there before goes.
            frame.text.push_str("\x1b[K");
            frame.next = Next::Line;
            return Ok(());
        }
        if frame.next == Next::Line {
            frame.text.push('\n');
        }
        let line = s.trim_end_matches(' ');
        frame.text.push_str(line);
        let width = visible(line);
        let rows = rows(width, frame.said);
        frame.lines.push(Line { width, rows });
        frame.next = Next::Blanks;
        Ok(())
    }

    fn clear_line(&self) -> Result<()> {
        self.draw("\r\x1b[2K");
        self.frame().clears = true;
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let text = self.frame().take(usize::from(columns()));
        // Nobody sees what a closed terminal was not shown.
        let _ = std::io::stderr().write_all(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    #[test]
    fn nothing_that_is_drawn_reaches_the_edge() {
        assert_eq!(room(80), 77);
        assert_eq!(room(2), 1);
        assert_eq!(room(0), 77);
    }

    #[test]
    fn each_line_is_one_to_the_terminal() {
        use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
        /// Keeps what would be flushed.
        #[derive(Debug)]
        struct Kept(std::sync::Arc<Screen>, std::sync::Arc<AtomicU16>);
        impl TermLike for Kept {
            fn width(&self) -> u16 {
                self.0.say(self.1.load(Ordering::Relaxed))
            }
            fn move_cursor_up(&self, n: usize) -> Result<()> {
                self.0.move_cursor_up(n)
            }
            fn move_cursor_down(&self, n: usize) -> Result<()> {
                self.0.move_cursor_down(n)
            }
            fn move_cursor_right(&self, n: usize) -> Result<()> {
                self.0.move_cursor_right(n)
            }
            fn move_cursor_left(&self, n: usize) -> Result<()> {
                self.0.move_cursor_left(n)
            }
            fn write_line(&self, s: &str) -> Result<()> {
                self.0.write_line(s)
            }
            fn write_str(&self, s: &str) -> Result<()> {
                self.0.write_str(s)
            }
            fn clear_line(&self) -> Result<()> {
                self.0.clear_line()
            }
            fn flush(&self) -> Result<()> {
                Ok(())
            }
        }
        let screen = std::sync::Arc::new(Screen::default());
        let width = std::sync::Arc::new(AtomicU16::new(20));
        let kept = Box::new(Kept(
            std::sync::Arc::clone(&screen),
            std::sync::Arc::clone(&width),
        ));
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(kept));
        let bars = ["one", "a longer one than the screen is wide"].map(|message| {
            let bar = multi.add(ProgressBar::new_spinner());
            bar.set_style(ProgressStyle::with_template("{wide_msg}").expect("a template"));
            bar.set_message(message);
            bar
        });
        screen.frame().take(20);
        bars[0].tick();
        let frame = screen.frame().take(20);
        // Two lines are drawn over, then both are drawn.
        assert_eq!(
            frame,
            "\x1b[1A\r\x1b[2K\x1b[1B\r\x1b[2K\x1b[1Aone\x1b[K\na longer one than th\x1b[K"
        );

        // On 8 columns the terminal has broken the second line into three rows: all four go. What is drawn
        // then may be for the old width still.
        bars[0].tick();
        let frame = screen.frame().take(8);
        let begin = "\x1b[3A\r\x1b[J\x1b[1B\x1b[1A\r\x1b[2K";
        assert!(frame.starts_with(begin), "{frame:?}");
        // A line that was drawn for a screen as narrow as it is takes as many rows as indicatif knows of.
        width.store(8, Ordering::Relaxed);
        bars[0].tick();
        let frame = screen.frame().take(8);
        assert!(frame.starts_with(begin), "{frame:?}");
        bars[0].tick();
        let frame = screen.frame().take(20);
        assert!(frame.starts_with("\n\n\x1b[3A\r\x1b[2K"), "{frame:?}");
        bars[1].tick();
        screen.frame().take(8);
        bars[0].tick();
        let frame = screen.frame().take(8);
        assert!(frame.ends_with("one\x1b[K\na longer\x1b[K"), "{frame:?}");
        assert!(!frame.contains("\x1b[J"), "{frame:?}");
        // Nothing is left to be cleared where nothing stands.
        multi.clear().expect("a screen that never fails");
        screen.frame().take(20);
        bars[0].tick();
        let frame = screen.frame().take(4);
        assert!(!frame.contains("\x1b[J"), "{frame:?}");
    }
}
