//! Polls that many share: one request serves everything that waits for the same kind of thing.
//!
//! There is no task of its own. Whoever's turn it is sleeps and asks; the others wait for the turn
//! and find that it was taken since they last looked. When the one whose turn it is goes away, the
//! next takes over.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, locked};
use super::error::CloudError;
use super::timing::polls;
use super::urgency::as_poll;
use super::waits::Expected;

pub(super) struct SharedPoll<T> {
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State<T>>,
    /// Rung when someone joins: the next look may be due sooner.
    joined: Notify,
}

struct State<T> {
    generation: u64,
    last: Option<Result<Arc<T>, Arc<CloudError>>>,
    /// When the last look began.
    looked: Option<Instant>,
    /// How long it took: a poll never asks more often than that.
    took: Duration,
    /// Those who wait, by when they came.
    waiting: BTreeMap<u64, Awaiting>,
    came: u64,
}

/// What one of them waits for.
struct Awaiting {
    since: Instant,
    expected: Option<Expected>,
    longest: Duration,
}

impl<T> Default for SharedPoll<T> {
    fn default() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                generation: 0,
                last: None,
                looked: None,
                took: Duration::ZERO,
                waiting: BTreeMap::new(),
                came: 0,
            }),
            joined: Notify::new(),
        }
    }
}

impl<T> State<T> {
    /// When the next look is due: when the first of those who wait wants one.
    fn due(&self, least: Duration) -> Instant {
        let wanted = self.waiting.values().map(|waiting| {
            // What was just asked for is not there yet: the first look comes after an interval.
            let from = self
                .looked
                .map_or(waiting.since, |at| at.max(waiting.since));
            let bounds = (least, waiting.longest);
            from + polls(waiting.expected, from - waiting.since, self.took, bounds)
        });
        let wanted = wanted.min().unwrap_or_else(Instant::now);
        // However many wait for different things: one look after the other.
        self.looked
            .map_or(wanted, |looked| wanted.max(looked + self.took.max(least)))
    }
}

impl<T> SharedPoll<T> {
    /// Joins those who wait, for something of which may be known when it is over; `longest` is the
    /// longest interval otherwise. What was looked up before is not given to the newcomer.
    pub fn join(
        &self,
        client: &Client,
        expected: Option<Expected>,
        longest: Duration,
    ) -> Waiter<'_, T> {
        let longest = match expected {
            Some(_) => client.timing().poll_slow,
            None => longest,
        };
        let mut state = locked(&self.state);
        state.came += 1;
        let (came, seen) = (state.came, state.generation);
        let waiting = Awaiting {
            since: Instant::now(),
            expected,
            longest,
        };
        state.waiting.insert(came, waiting);
        drop(state);
        self.joined.notify_waiters();
        Waiter {
            poll: self,
            came,
            seen,
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        locked(&self.state).waiting.len()
    }
}

/// One who waits.
pub(super) struct Waiter<'a, T> {
    poll: &'a SharedPoll<T>,
    came: u64,
    seen: u64,
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        locked(&self.poll.state).waiting.remove(&self.came);
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
            let timing = client.timing();
            let pause = client.inner.gate.poll_pause(timing.poll_slow);
            let least = timing.poll_first.max(pause);
            let due = locked(&self.poll.state).due(least);
            tokio::select! {
                () = sleep_until(due) => break,
                () = joined => {}
            }
        }
        let begun = Instant::now();
        locked(&self.poll.state).looked = Some(begun);
        // A failure is everyone's: were each to try for itself, the last would wait for hours.
        let last = as_poll(look()).await.map(Arc::new).map_err(Arc::new);
        let mut state = locked(&self.poll.state);
        state.took = begun.elapsed();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::cloud::tests::{client_of, quick};

    /// Five join, then each asks for the next look; says how many looks were taken.
    async fn looks(result: impl Fn() -> Result<u32, CloudError>) -> u32 {
        // Nothing is sent: the looks are the test's.
        let client = client_of("http://127.0.0.1:1", quick());
        let poll = SharedPoll::default();
        let count = AtomicU32::new(0);
        let mut waiters: Vec<_> = (0..5)
            .map(|_| poll.join(&client, None, client.timing().poll_max))
            .collect();
        assert_eq!(poll.waiting(), 5);
        let all = waiters.iter_mut().map(|waiter| {
            waiter.next(&client, || async {
                count.fetch_add(1, Ordering::Relaxed);
                result()
            })
        });
        for seen in join_all(all).await {
            match (seen, result()) {
                (Ok(seen), Ok(given)) => assert_eq!(*seen, given),
                (Err(CloudError::PollFailed { cause }), Err(given)) => {
                    assert_eq!(cause.to_string(), given.to_string());
                }
                other => panic!("{other:?}"),
            }
        }
        drop(waiters);
        assert_eq!(poll.waiting(), 0);
        count.into_inner()
    }

    #[tokio::test]
    async fn one_look_serves_all_also_when_it_fails() {
        assert_eq!(looks(|| Ok(7)).await, 1);
        assert_eq!(looks(|| Err(CloudError::BatchSize(0))).await, 1);
    }

    #[tokio::test]
    async fn whoever_goes_away_in_its_turn_hands_the_turn_on() {
        let client = client_of("http://127.0.0.1:1", quick());
        let poll = SharedPoll::default();
        let mut first = poll.join(&client, None, client.timing().poll_max);
        let mut second = poll.join(&client, None, client.timing().poll_max);
        {
            let stuck = first.next(&client, std::future::pending::<Result<u32, CloudError>>);
            tokio::pin!(stuck);
            assert!(futures_util::poll!(&mut stuck).is_pending());
        }
        let seen = second
            .next(&client, || async { Ok(1) })
            .await
            .expect("its turn");
        assert_eq!(*seen, 1);
        assert_eq!(
            *first
                .next(&client, || async { Ok(2) })
                .await
                .expect("the same look"),
            1
        );
    }
}
