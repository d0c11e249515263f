//! Every length of time the client goes by, in one place, so that tests can be quick.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// How long the client waits for what. The defaults are for the real API, but are no knowledge of
/// it: polls begin fast and slow down, so that a quick cloud is not held up by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// For a connection to come about.
    pub connect_timeout: Duration,
    /// For a whole answer. Under 30 s it would manufacture lost answers: creates take 2 s, and
    /// proxies give up after 60.
    pub request_timeout: Duration,
    /// First wait after a connection fault or a 5xx.
    pub fault_first: Duration,
    /// Longest such wait.
    pub fault_max: Duration,
    /// How long one call is tried in spite of such faults.
    pub fault_deadline: Duration,
    /// The same while the API has never answered at all.
    pub reach_deadline: Duration,
    /// First wait after a 429 that says nothing of when to come back.
    pub throttle_first: Duration,
    /// How long one call is held back by 429s: the hourly budget may take an hour to return.
    pub throttle_deadline: Duration,
    /// The minute of the rate limit, with what two requests may shift against each other on the way.
    pub rate_minute: Duration,
    /// The hour of the rate limit.
    pub rate_hour: Duration,
    /// First interval of a poll.
    pub poll_first: Duration,
    /// Longest interval of a poll.
    pub poll_max: Duration,
    /// Longest interval of the poll of something that takes minutes.
    pub poll_slow: Duration,
    /// After a lost answer of a create: how long the name is looked for before it is made again.
    pub lookup_window: Duration,
    /// How long a new SSH key may be unknown to droplet create (about 10 s were seen).
    pub key_lag: Duration,
    /// How long an event of a droplet may keep another waiting.
    pub pending_event: Duration,
    /// How long a volume may stay attached after its droplet is gone (34 s were seen).
    pub volume_free: Duration,
    /// How long a droplet may take from create to active; from a large snapshot this is minutes.
    pub droplet_ready: Duration,
    /// How long a droplet that was created may answer 404 before it counts as vanished.
    pub droplet_lag: Duration,
    /// How long a droplet may take to be gone.
    pub droplet_gone: Duration,
    /// After this long the delete of a droplet is sent again: a failed one leaves no other trace.
    pub delete_again: Duration,
    /// How long an action may take, but for snapshots.
    pub action: Duration,
    /// How long a snapshot may take: 1 to 4 minutes a GB of what is used.
    pub snapshot: Duration,
    /// How long a copy of a snapshot to another region may take: more than 20 minutes were seen.
    pub transfer: Duration,
    /// How long a finished snapshot may be missing from the list.
    pub snapshot_listed: Duration,
    /// How long a write may take to show in reads.
    pub read_back: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        Self {
            connect_timeout: seconds(15),
            request_timeout: seconds(70),
            fault_first: millis(500),
            fault_max: seconds(20),
            fault_deadline: seconds(180),
            reach_deadline: seconds(20),
            throttle_first: seconds(1),
            throttle_deadline: seconds(2 * 3_600),
            rate_minute: seconds(61),
            rate_hour: seconds(3_610),
            poll_first: millis(200),
            poll_max: seconds(3),
            poll_slow: seconds(5),
            lookup_window: seconds(10),
            key_lag: seconds(60),
            pending_event: seconds(390),
            volume_free: seconds(120),
            droplet_ready: seconds(3_600),
            droplet_lag: seconds(120),
            droplet_gone: seconds(300),
            delete_again: seconds(60),
            action: seconds(420),
            snapshot: seconds(2 * 3_600),
            transfer: seconds(3_600),
            snapshot_listed: seconds(120),
            read_back: seconds(30),
        }
    }
}

impl Timing {
    /// Waits between tries after faults: doubling, with jitter, without end.
    pub(super) fn faults(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_jitter()
            .with_factor(2.0)
            .with_min_delay(self.fault_first)
            .with_max_delay(self.fault_max)
            .without_max_times()
            .build()
    }

    /// Waits of a poll: growing slowly, without jitter and without end.
    pub(super) fn polls(&self, longest: Duration) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_factor(POLL_GROWTH)
            .with_min_delay(self.poll_first)
            .with_max_delay(longest)
            .without_max_times()
            .build()
    }
}

/// Waits after 429s that say nothing: doubling up to a minute, the shorter of the two windows.
pub(super) fn throttles(timing: &Timing) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_jitter()
        .with_factor(2.0)
        .with_min_delay(timing.throttle_first)
        .with_max_delay(timing.rate_minute.max(timing.throttle_first))
        .without_max_times()
        .build()
}

/// By how much the interval of a poll grows. What takes long is looked at less often, and is noticed
/// late by at most 15 % of what it took: an apply may take 5 % and a second longer than the cloud.
pub(super) const POLL_GROWTH: f32 = 1.15;
