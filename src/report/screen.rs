//! The terminal that progress is drawn on.
//!
//! indicatif ends the program by a panic when what it draws on fails, and a terminal may be closed
//! at any time: this one never fails. What goes on in the account must not end with the window it
//! was watched in; the signal that a closed terminal sends is what is acted on.

use std::io::{Result, Write as _};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

/// Standard error, which must be a terminal.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// What is drawn at once, so that nothing flickers.
    frame: Mutex<String>,
}

impl Screen {
    fn draw(&self, text: &str) {
        // A frame is text: after a panic in its midst it is still drawn.
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        frame.push_str(text);
    }

    fn go(&self, by: usize, letter: char) {
        if by > 0 {
            self.draw(&format!("\x1b[{by}{letter}"));
        }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col.max(1))
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
        self.draw(s);
        Ok(())
    }

    fn clear_line(&self) -> Result<()> {
        self.draw("\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody sees what a closed terminal was not shown.
        let _ = std::io::stderr().write_all(frame.as_bytes());
        frame.clear();
        Ok(())
    }
}
