//! The terminal that progress is drawn on.
//!
//! indicatif ends the program by a panic when what it draws on fails, and a terminal may be closed
//! at any time: this one never fails. What goes on in the account must not end with the window it
//! was watched in; the signal that a closed terminal sends is what is acted on.

use std::io::{Result, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

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

impl TermLike for Screen {
    fn width(&self) -> u16 {
        room(rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| size.ws_col))
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
        frame.text.push_str(s.trim_end_matches(' '));
        frame.next = Next::Blanks;
        Ok(())
    }

    fn clear_line(&self) -> Result<()> {
        self.draw("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let frame = std::mem::take(&mut *self.frame());
        // Nobody sees what a closed terminal was not shown.
        let _ = std::io::stderr().write_all(frame.text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        struct Kept(std::sync::Arc<Screen>);
        impl TermLike for Kept {
            fn width(&self) -> u16 {
                20
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
        let kept = Box::new(Kept(std::sync::Arc::clone(&screen)));
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(kept));
        let bars = ["one", "a longer one than the screen is wide"].map(|message| {
            let bar = multi.add(ProgressBar::new_spinner());
            bar.set_style(ProgressStyle::with_template("{wide_msg}").expect("a template"));
            bar.set_message(message);
            bar
        });
        std::mem::take(&mut *screen.frame());
        bars[0].tick();
        let frame = std::mem::take(&mut *screen.frame()).text;
        // Two lines are drawn over, then both are drawn.
        assert_eq!(
            frame,
            "\x1b[1A\r\x1b[2K\x1b[1B\r\x1b[2K\x1b[1Aone\x1b[K\na longer one than th\x1b[K"
        );
    }
}
