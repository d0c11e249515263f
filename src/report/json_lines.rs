//! The event stream as JSON lines (`--log-format json`).

use std::io::Write;

use crate::execute::Event;

/// Writes each event as one line.
pub struct JsonLines<W: Write> {
    out: W,
    broken: bool,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`.
    pub const fn new(out: W) -> Self {
        Self { out, broken: false }
    }

    /// Writes one event. A reader that went away is no reason to stop the run.
    pub fn write(&mut self, event: &Event) {
        if self.broken {
            return;
        }
        let line = serde_json::to_string(event).expect("an event is plain data");
        self.broken = writeln!(self.out, "{line}")
            .and_then(|()| self.out.flush())
            .is_err();
    }
}
