//! The event stream as JSON lines (`--log-format json`).

use std::io::Write;

use crate::execute::{Event, Listener};
use crate::plan::Plan;

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
}

impl<W: Write + Send> Listener for JsonLines<W> {
    /// Writes one event. A reader that went away is no reason to stop the run.
    fn event(&mut self, event: &Event, _: &Plan) {
        if self.broken {
            return;
        }
        let line = serde_json::to_string(event).expect("an event is plain data");
        self.broken = writeln!(self.out, "{line}")
            .and_then(|()| self.out.flush())
            .is_err();
    }
}
