//! Whoever follows a run.

use super::event::Event;
use crate::plan::Plan;

/// Follows a run: the terminal view, JSON lines and the JUnit report are listeners.
///
/// Every listener gets every event, in order, from the one task that makes them; it must not block
/// for long. What it cannot write is its own affair: a listener never stops a run, and one that
/// panics is not called again.
pub trait Listener: Send {
    /// Takes note of an event of this plan's run.
    fn event(&mut self, event: &Event, plan: &Plan);
}
