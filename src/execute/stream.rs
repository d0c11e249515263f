//! The stream of a run's events: numbered, timed, journalled, told to every listener.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::Instant;

use super::event::{Event, EventKind};
use super::journal::{Journal, JournalError};
use super::listener::Listener;
use super::run_state::RunState;
use super::standing::{Standing, Tariff};
use crate::plan::Plan;

/// Makes events of what happens.
pub(super) struct Stream<'a> {
    plan: &'a Plan,
    began: Instant,
    next_seq: u64,
    state: RunState,
    standing: Standing,
    journal: Journal,
    listeners: Vec<Box<dyn Listener>>,
    kept: Vec<Event>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        tariff: Tariff,
        journal: Journal,
        listeners: Vec<Box<dyn Listener>>,
    ) -> Self {
        Self {
            plan,
            began: Instant::now(),
            next_seq: 0,
            state: RunState::new(),
            standing: Standing::new(plan, tariff),
            journal,
            listeners,
            kept: Vec::new(),
        }
    }

    /// Tells of something that has happened, whether or not the journal can be written.
    ///
    /// # Errors
    /// When the journal cannot be written; everyone else knows of it all the same.
    pub(super) fn tell(&mut self, kind: EventKind) -> Result<(), JournalError> {
        let event = self.make(kind);
        let written = self.journal.write(&event, self.plan);
        self.pass_on(event);
        written
    }

    /// Tells of something that is about to happen, unless the journal cannot be written.
    ///
    /// # Errors
    /// When the journal cannot be written; then nobody knows of it, and it must not happen.
    pub(super) fn announce(&mut self, kind: EventKind) -> Result<(), JournalError> {
        let event = self.make(kind);
        self.journal.write(&event, self.plan)?;
        self.pass_on(event);
        Ok(())
    }

    fn make(&self, kind: EventKind) -> Event {
        Event {
            seq: self.next_seq,
            at: jiff::Timestamp::now(),
            elapsed_ms: self.elapsed_ms(),
            kind,
        }
    }

    fn pass_on(&mut self, event: Event) {
        if let Err(error) = self.state.apply(&event) {
            // A step that says something after its end was given up; nobody needs to hear it.
            tracing::debug!(%error, ?event, "an event was dropped");
            return;
        }
        self.next_seq += 1;
        self.standing.apply(&event, self.plan);
        self.listeners.retain_mut(|listener| {
            let told = catch_unwind(AssertUnwindSafe(|| listener.event(&event, self.plan)));
            if told.is_err() {
                tracing::error!("a listener panicked and is not called again");
            }
            told.is_ok()
        });
        if !matches!(
            event.kind,
            EventKind::Output { .. } | EventKind::Progress { .. }
        ) {
            self.kept.push(event);
        }
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) const fn state(&self) -> &RunState {
        &self.state
    }

    pub(super) const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What is left when all is told: state, standing, and every event but output and progress.
    pub(super) fn close(self) -> (RunState, Standing, Vec<Event>) {
        (self.state, self.standing, self.kept)
    }
}
