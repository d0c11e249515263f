//! A run, put together: engine, steps, stream, and the client's own account of its waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::engine::Engine;
use super::feed::{Feed, feed};
use super::interrupt::Interrupts;
use super::journal::{Journal, JournalError};
use super::limits::{Limits, Queue};
use super::listener::Listener;
use super::outcome::Outcome;
use super::redact::Redactor;
use super::settings::Settings;
use super::standing::Tariff;
use super::steps::Steps;
use super::stream::Stream;
use crate::cloud::ClientNotice;
use crate::guest;
use crate::plan::{Plan, schedule};

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
) -> Result<Outcome, JournalError> {
    let journal = Journal::create(&settings.run_folder)?;
    journal.keep_plan(plan)?;
    let run = settings
        .run_folder
        .file_name()
        .unwrap_or_default()
        .to_owned();
    let (feed, inbox) = feed(Redactor::new(settings.secrets.values()));
    settings.client.set_observer(observer(feed.clone()));
    let expected = settings.durations.expected_ms(&plan.steps);
    let chains = schedule::chains(&expected, &plan.edges);
    let queue = Queue::new(
        Limits::for_parallelism(settings.parallelism),
        chains.clone(),
    );
    let tariff = Tariff::of(&settings.live);
    let stream = Stream::new(plan, tariff, journal, listeners);
    let client = settings.client.clone();
    let lease = settings.lease.clone();
    if let Some(lease) = &lease {
        client.set_fence(Arc::new(lease.clone()));
    }
    guest::allow_many_connections();
    let steps = Arc::new(Steps::new(plan, settings, chains));
    let engine = Engine::new(plan, steps, stream, feed, queue, lease);
    let outcome = engine.run(run, inbox, interrupts).await;
    // The stream is over: whatever the client still says belongs to no run.
    client.set_observer(Arc::new(|_| {}));
    Ok(outcome)
}

/// How long the same wait of the client goes without being told again: it may be tried every few
/// seconds for minutes.
const SAID_LATELY: Duration = Duration::from_secs(30);

/// Shorter waits are part of every run, and nobody needs to hear of them: a new SSH key is unknown
/// for a moment.
const FELT: Duration = Duration::from_secs(1);

/// Tells of the client's waits.
fn observer(feed: Feed) -> Arc<dyn Fn(ClientNotice) + Send + Sync> {
    let said: Mutex<HashMap<String, Instant>> = Mutex::default();
    Arc::new(move |notice| {
        let (attempt, wait, text) = match notice {
            ClientNotice::Retry { wait, .. } if wait < FELT => return,
            ClientNotice::Retry {
                call,
                attempt,
                wait,
                reason,
            } => (attempt, wait, format!("{call}: {reason}")),
            ClientNotice::RateLimited { call, wait } => {
                (1, wait, format!("{call} is held back by the rate limit"))
            }
        };
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        said.retain(|_, at| now.duration_since(*at) < SAID_LATELY);
        if let Entry::Vacant(entry) = said.entry(text) {
            feed.client_waits(attempt, wait, entry.key());
            entry.insert(now);
        }
    })
}
