//! Waiting between looks that one takes alone; those that many share are in [`super::wait`].

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::{Client, ClientNotice};
use super::error::CloudError;
use super::timing::polls;
use super::waits::Expected;

/// Waits between looks at something that is known to pass, within a deadline.
pub(super) struct Patience<'a> {
    client: &'a Client,
    begun: Instant,
    /// When the last look began.
    looked: Instant,
    deadline: Duration,
    longest: Duration,
    expected: Option<Expected>,
    attempt: u32,
}

impl<'a> Patience<'a> {
    pub fn new(client: &'a Client, deadline: Duration) -> Self {
        Self {
            client,
            begun: Instant::now(),
            looked: Instant::now(),
            deadline,
            longest: client.timing().poll_max,
            expected: None,
            attempt: 1,
        }
    }

    /// With another longest interval.
    pub const fn at_most(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// For something of which is known when it is over.
    pub fn expecting(mut self, expected: Option<Expected>) -> Self {
        if expected.is_some() {
            self.longest = self.client.inner.timing.poll_slow;
        }
        self.expected = expected;
        self
    }

    /// For something that began before; the deadline is from now.
    pub fn since(mut self, begun: Instant) -> Self {
        self.deadline += begun.elapsed();
        self.begun = begun;
        self
    }

    /// Waits and says whether there is still time.
    pub async fn wait(&mut self) -> bool {
        let Some(wait) = self.next_wait() else {
            return false;
        };
        self.rest(wait).await;
        true
    }

    /// Like [`Patience::wait`], and tells the observer that a call is tried again.
    pub async fn pause(&mut self, call: &str, reason: &str) -> bool {
        let Some(wait) = self.next_wait() else {
            return false;
        };
        self.client.tell(ClientNotice::Retry {
            call: call.to_owned(),
            attempt: self.attempt,
            wait,
            reason: reason.to_owned(),
        });
        self.rest(wait).await;
        true
    }

    async fn rest(&mut self, wait: Duration) {
        sleep(wait).await;
        self.looked = Instant::now();
    }

    /// The next wait, cut to what time is left; `None` when there is none.
    fn next_wait(&mut self) -> Option<Duration> {
        let left = self
            .deadline
            .checked_sub(self.begun.elapsed())
            .filter(|left| !left.is_zero())?;
        let timing = self.client.timing();
        let least = timing.poll_first;
        let passed = self.looked.saturating_duration_since(self.begun);
        // From when the last look began: one that takes its time is a part of the wait.
        let took = self.looked.elapsed();
        let due = polls(self.expected, passed, took + least, (least, self.longest));
        let wait = due.saturating_sub(took).max(least);
        let pause = self.client.inner.gate.poll_pause(timing.poll_slow);
        self.attempt += 1;
        Some(wait.max(pause).min(left))
    }

    /// Whether anything was waited for.
    pub const fn has_waited(&self) -> bool {
        self.attempt > 1
    }

    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.deadline
    }

    /// How long this has lasted.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The error that nothing came of the waiting.
    pub fn in_vain(&self, what: impl Into<String>) -> CloudError {
        CloudError::TimedOut {
            what: what.into(),
            seconds: self.begun.elapsed().as_secs(),
        }
    }
}
