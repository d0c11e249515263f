//! Execution: a plan in, events and an outcome out.
//!
//! **Invariant:** the engine alone starts steps; a plan is executed exactly as it was made; every
//! listener sees every event.

pub mod event;

pub use event::{Event, EventKind, Failure, FailureClass, OutputStream};
