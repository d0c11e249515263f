//! Execution: a plan in, events and an outcome out.
//!
//! **Invariant:** the engine alone starts steps, and tells of each, with the journal written,
//! before anything is done for it; a plan is executed exactly as it was made; every listener sees
//! every event.
//!
//! **Invariant:** a secret never is in an event: it is hidden where output is born.

mod engine;
pub mod error;
pub mod event;
mod exposed;
mod feed;
pub mod history;
pub mod interrupt;
pub mod journal;
mod limits;
mod listener;
pub mod lock;
mod order;
mod outcome;
mod output;
mod outputs;
pub mod past_files;
mod perform;
pub mod project_lock;
mod redact;
pub mod rehearsal;
mod run_state;
mod sessions;
mod settings;
pub mod shared_lock;
pub mod standing;
mod start;
mod steps;
mod stream;
pub mod team;
#[cfg(test)]
mod tests;
mod withheld;

pub use event::{Event, EventKind, Failure, FailureClass, OutputStream};
pub use feed::{Feed, Reporter};
pub use interrupt::{Interrupts, Signal};
pub use limits::Limits;
pub use listener::Listener;
pub use outcome::{Ending, Outcome};
pub use perform::Perform;
pub use redact::{Redactor, StreamRedactor};
pub use run_state::{IllegalEvent, RunState, StepState};
pub use settings::Settings;
pub use start::execute;
pub use steps::keep::NOT_KEPT;
pub use steps::snapshot::NOT_PRUNED;
