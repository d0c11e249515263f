//! Polls that many share: one request serves everything that waits for the same kind of thing.
//!
//! There is no task of its own. Whoever's turn it is sleeps and asks; the others wait for the turn
//! and find that it was taken since they last looked. When the one whose turn it is goes away, the
//! next takes over.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, locked};
use super::error::CloudError;
use super::timing::{POLL_GROWTH, Timing};

pub(super) struct SharedPoll<T> {
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State<T>>,
    /// Rung when someone joins: the interval begins anew.
    joined: Notify,
}

struct State<T> {
    generation: u64,
    last: Option<Result<Arc<T>, Arc<CloudError>>>,
    /// When the last look began.
    looked: Instant,
    /// How long it took: a poll never asks more often than that.
    took: Duration,
    interval: Duration,
    waiting: usize,
}

impl<T> Default for SharedPoll<T> {
    fn default() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                generation: 0,
                last: None,
                looked: Instant::now(),
                took: Duration::ZERO,
                interval: Duration::ZERO,
                waiting: 0,
            }),
            joined: Notify::new(),
        }
    }
}

impl<T> SharedPoll<T> {
    /// Joins those who wait. What was looked up before is not given to the newcomer.
    pub fn join(&self, timing: &Timing) -> Waiter<'_, T> {
        let mut state = locked(&self.state);
        if state.waiting == 0 {
            // The first look comes after an interval: what was just asked for is not there yet.
            state.looked = Instant::now();
        }
        state.waiting += 1;
        state.interval = timing.poll_first;
        let seen = state.generation;
        drop(state);
        self.joined.notify_waiters();
        Waiter { poll: self, seen }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        locked(&self.state).waiting
    }
}

/// One who waits.
pub(super) struct Waiter<'a, T> {
    poll: &'a SharedPoll<T>,
    seen: u64,
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        locked(&self.poll.state).waiting -= 1;
    }
}

impl<T> Waiter<'_, T> {
    /// The next look, whoever takes it. `look` is called when it is our turn.
    pub async fn next<F, L>(&mut self, client: &Client, look: L) -> Result<Arc<T>, CloudError>
    where
        F: Future<Output = Result<T, CloudError>>,
        L: FnOnce() -> F,
    {
        let _turn = self.poll.turn.lock().await;
        if let Some(last) = self.fresh() {
            return given(last);
        }
        loop {
            // Before the time is computed, lest a ring in between be missed.
            let joined = self.poll.joined.notified();
            let due = {
                let state = locked(&self.poll.state);
                let mut interval = state.interval.max(state.took);
                if client.inner.rate.is_tight(Instant::now()) {
                    interval = interval.max(client.timing().poll_max);
                }
                state.looked + interval
            };
            tokio::select! {
                () = sleep_until(due) => break,
                () = joined => {}
            }
        }
        let begun = Instant::now();
        locked(&self.poll.state).looked = begun;
        // A failure is everyone's: were each to try for itself, the last would wait for hours.
        let last = look().await.map(Arc::new).map_err(Arc::new);
        let mut state = locked(&self.poll.state);
        state.took = begun.elapsed();
        state.interval = state
            .interval
            .mul_f32(POLL_GROWTH)
            .min(client.timing().poll_max);
        state.generation += 1;
        state.last = Some(last.clone());
        self.seen = state.generation;
        given(last)
    }

    /// A look that was taken since this one last saw one.
    fn fresh(&mut self) -> Option<Result<Arc<T>, Arc<CloudError>>> {
        let state = locked(&self.poll.state);
        (state.generation > self.seen).then(|| {
            self.seen = state.generation;
            state.last.clone()
        })?
    }
}

fn given<T>(last: Result<Arc<T>, Arc<CloudError>>) -> Result<Arc<T>, CloudError> {
    last.map_err(|cause| CloudError::PollFailed { cause })
}
