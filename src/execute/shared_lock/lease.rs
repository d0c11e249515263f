//! The right that comes with a lock in a store, for all who act by it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use miette::Diagnostic;
use thiserror::Error;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::protocol::{Lost, Moment, Tenure};
use crate::cloud::Fence;

/// How often it is looked whether the time has run out: timers stop while a machine sleeps, the
/// lease's clock does not.
const LOOK: Duration = Duration::from_secs(1);

/// A clock that never goes back, and that a machine's sleep does not stop.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The system's. Where a virtual machine as a whole was paused, no clock of it may have gone on
    /// but the wall clock, once that is set right: how far it has run ahead of the other counts, too,
    /// and for good.
    #[must_use]
    pub fn system() -> Self {
        let began = std::time::SystemTime::now();
        let first = since_boot();
        let ahead = Mutex::new(Duration::ZERO);
        Self(Arc::new(move || {
            let steady = since_boot().saturating_sub(first);
            let wall = began.elapsed().unwrap_or_default();
            let mut ahead = locked(&ahead);
            *ahead = (*ahead).max(wall.saturating_sub(steady));
            steady + *ahead
        }))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Moment {
        (self.0)()
    }
}

/// Time since the machine was started, its sleep included.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let id = rustix::time::ClockId::Boottime;
    // Elsewhere this one counts sleep, as far as there is one that does.
    #[cfg(not(target_os = "linux"))]
    let id = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(id);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock that is held no more.
#[derive(Debug, Clone, Error, Diagnostic)]
#[error("the lock on {environment} was lost: {why}")]
#[diagnostic(
    code(dewpoint::execute::lock_lost),
    help(
        "whoever has the lock now finds and removes what was being made; run the command again when they have ended: it goes on from what exists"
    )
)]
pub struct LeaseLost {
    /// Which environment.
    pub environment: String,
    /// In words.
    pub why: String,
}

/// The right to change an environment, while it lasts. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    environment: String,
    clock: Clock,
    state: Mutex<State>,
    lost: CancellationToken,
}

#[derive(Debug)]
struct State {
    tenure: Tenure,
    why: Option<String>,
}

impl Lease {
    pub(super) fn new(environment: String, clock: Clock, tenure: Tenure) -> Self {
        Self(Arc::new(Inner {
            environment,
            clock,
            state: Mutex::new(State { tenure, why: None }),
            lost: CancellationToken::new(),
        }))
    }

    /// One that nobody renews, for tests.
    #[cfg(test)]
    pub(crate) fn unrenewed(
        good_for: Duration,
        clock: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        let tenure = Tenure::good_for(good_for);
        Self::new("shop / main".to_owned(), Clock(Arc::new(clock)), tenure)
    }

    /// Whether the right still is there. Once lost, it stays so.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self) -> Result<(), LeaseLost> {
        let mut state = locked(&self.0.state);
        if state.why.is_none() && !state.tenure.is_good(self.0.clock.now()) {
            self.lose(
                &mut state,
                "it could not be renewed in time; this machine was paused, or the store did not answer"
                    .to_owned(),
            );
        }
        match &state.why {
            None => Ok(()),
            Some(why) => Err(LeaseLost {
                environment: self.0.environment.clone(),
                why: why.clone(),
            }),
        }
    }

    /// Waits until it is lost.
    pub async fn lost(&self) -> LeaseLost {
        loop {
            if let Err(lost) = self.check() {
                return lost;
            }
            tokio::select! {
                () = self.0.lost.cancelled() => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// How long it is good for, unless it is renewed.
    pub(super) fn left(&self) -> Duration {
        let until = locked(&self.0.state).tenure.until();
        until.saturating_sub(self.0.clock.now())
    }

    pub(super) fn number(&self) -> u64 {
        locked(&self.0.state).tenure.number()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The object was written and listed: see [`Tenure::renewed`].
    pub(super) fn renewed(&self, highest: Option<u64>, sent: Moment) -> Result<(), Lost> {
        let mut state = locked(&self.0.state);
        let now = self.0.clock.now();
        state.tenure.renewed(highest, sent, now)
    }

    /// It was lost, for a reason that is known.
    pub(super) fn lose_for(&self, why: String) {
        let mut state = locked(&self.0.state);
        if state.why.is_none() {
            self.lose(&mut state, why);
        }
    }

    fn lose(&self, state: &mut State, why: String) {
        state.tenure.end();
        state.why = Some(why);
        self.0.lost.cancel();
    }
}

impl Fence for Lease {
    fn closed(&self) -> Option<String> {
        self.check().err().map(|lost| lost.to_string())
    }
}
