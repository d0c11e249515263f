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
mod feed;
pub mod interrupt;
pub mod journal;
mod limits;
mod listener;
pub mod lock;
mod order;
mod outcome;
mod output;
mod outputs;
mod perform;
mod redact;
mod run_state;
mod sessions;
mod settings;
pub mod standing;
mod steps;
mod stream;
#[cfg(test)]
mod tests;

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

use std::sync::Arc;

use crate::cloud::ClientNotice;
use crate::plan::Plan;

/// Executes a plan, exactly as it was made, to its end or that of the second interrupt.
///
/// Whatever goes wrong on the way is in the events and the outcome.
///
/// # Errors
/// When the journal cannot be begun: then nothing was done.
pub async fn execute(
    plan: &Plan,
    settings: Settings,
    listeners: Vec<Box<dyn Listener>>,
    interrupts: Interrupts,
) -> Result<Outcome, journal::JournalError> {
    let journal = journal::Journal::create(&settings.run_folder)?;
    let run = settings
        .run_folder
        .file_name()
        .unwrap_or_default()
        .to_owned();
    let (feed, inbox) = feed::feed(Redactor::new(settings.secrets.values()));
    let told = feed.clone();
    settings
        .client
        .set_observer(Arc::new(move |notice| match notice {
            ClientNotice::Retry {
                call,
                attempt,
                wait,
                reason,
            } => told.client_waits(attempt, wait, &format!("{call}: {reason}")),
            ClientNotice::RateLimited { call, wait } => {
                told.client_waits(
                    1,
                    wait,
                    &format!("{call} is held back by the API's rate limit"),
                );
            }
        }));
    let limits = Limits::for_parallelism(settings.parallelism);
    let tariff = standing::Tariff::of(&settings.live);
    let stream = stream::Stream::new(plan, tariff, journal, listeners);
    let client = settings.client.clone();
    let steps = Arc::new(steps::Steps::new(plan, settings));
    let engine = engine::Engine::new(plan, steps, stream, feed, limits);
    let outcome = engine.run(run, inbox, interrupts).await;
    // The stream is over: whatever the client still says belongs to no run.
    client.set_observer(Arc::new(|_| {}));
    Ok(outcome)
}
