//! Every length of time the client goes by, in one place, so that tests can be quick.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::waits::Expected;

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
    /// The same of something that takes minutes, of what is known to take its time, and while the
    /// rate limit is nearly spent.
    pub poll_slow: Duration,
    /// After a lost answer of a create: how long the name is looked for before it is made again.
    pub lookup_window: Duration,
    /// How long a new SSH key may be unknown to droplet create (about 10 s were seen).
    pub key_lag: Duration,
    /// How long a new SSH key usually is, as long as nothing was learnt of it: from then on creates do
    /// not wait for one of them to have proven the key.
    pub key_usual: Duration,
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
    /// How long a droplet without tags may take to be gone whose delete nobody saw (5 to 25 s were seen
    /// of deletes): one that stays longer is someone else's.
    pub leaving: Duration,
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
            poll_max: seconds(2),
            poll_slow: seconds(5),
            lookup_window: seconds(10),
            key_lag: seconds(60),
            key_usual: seconds(10),
            pending_event: seconds(390),
            volume_free: seconds(120),
            droplet_ready: seconds(3_600),
            droplet_lag: seconds(120),
            droplet_gone: seconds(300),
            leaving: seconds(45),
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

/// How long from the beginning of one look, which `took` so long, to that of the next, at something
/// that had been waited for so long when the first began. Between `least` and `most`, but for looks
/// that take longer than that, and the first one at what is known to take its time.
///
/// Of what nothing is known the first look comes soon, and the further ones are the rarer the longer
/// it takes: it is noticed late by at most 15 % of what it took.
///
/// Of what is known the first look comes when it may be over, and from the time on when it was over
/// before the looks are close: it is noticed late by a fiftieth, for an apply may take 5 % and a second
/// longer than the cloud. When it takes longer than usual they become rare again.
pub(super) fn polls(
    expected: Option<Expected>,
    elapsed: Duration,
    took: Duration,
    (least, most): (Duration, Duration),
) -> Duration {
    let Some(expected) = expected else {
        let wait = least + elapsed.mul_f64(GROWTH);
        return wait.min(most).max(least).max(took);
    };
    let least = least.max(took);
    if elapsed < expected.opens {
        return (expected.opens - elapsed).max(least);
    }
    let wait = if elapsed < expected.near {
        elapsed.mul_f64(FAR)
    } else {
        let overdue = elapsed.saturating_sub(expected.usual.mul_f64(OVERDUE));
        elapsed.mul_f64(CLOSE) + overdue.mul_f64(GROWTH)
    };
    let wait = wait.min(most).max(least);
    // One look has to begin just then, or as soon after as may be: none before that would not be over
    // by then, and none that waits as long as before looks beyond.
    match expected.near.checked_sub(elapsed) {
        Some(near) if wait < near && near < wait + took => near,
        Some(near) if wait > near && !near.is_zero() => near.max(least),
        _ => wait,
    }
}

/// By how much, of what has passed, looks at the unknown become rarer.
const GROWTH: f64 = 0.15;
/// Between two looks before the time when it was over before, as a part of what has passed.
const FAR: f64 = 0.06;
/// The same around that time.
const CLOSE: f64 = 0.02;
/// From so many times the usual on looks become rare.
const OVERDUE: f64 = 1.25;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: Duration = Duration::from_millis(200);
    const MOST: Duration = Duration::from_secs(5);

    const fn expected(opens: u64, near: u64, usual: u64) -> Option<Expected> {
        Some(Expected {
            opens: Duration::from_millis(opens),
            near: Duration::from_millis(near),
            usual: Duration::from_millis(usual),
        })
    }

    /// When each look comes, until something that takes so long is seen to be over.
    fn looks(expected: Option<Expected>, takes: Duration) -> Vec<Duration> {
        let mut at = Duration::ZERO;
        let mut looks = Vec::new();
        while at < takes {
            at += polls(expected, at, Duration::ZERO, (LEAST, MOST));
            looks.push(at);
        }
        looks
    }

    #[test]
    fn of_the_unknown_looks_come_soon_and_become_rare() {
        let looks = looks(None, Duration::from_secs(40));
        assert_eq!(looks[0], LEAST);
        assert!((22..35).contains(&looks.len()), "{}", looks.len());
        let last = looks[looks.len() - 1] - Duration::from_secs(40);
        assert!(last <= MOST, "{last:?}");
        assert_eq!(
            polls(None, Duration::from_secs(600), LEAST, (LEAST, MOST)),
            MOST
        );
    }

    #[test]
    fn of_the_known_the_first_look_comes_when_it_may_be_over_and_then_they_are_close() {
        let takes = Duration::from_secs(40);
        let surely = looks(expected(34_000, 38_000, 40_000), takes);
        assert_eq!(surely[0], Duration::from_secs(34));
        assert!(surely.contains(&Duration::from_secs(38)), "{surely:?}");
        assert!(surely.len() <= 7, "{surely:?}");
        assert!(*surely.last().expect("one") <= takes.mul_f64(1.02));
        // After one run, when it may as well be over much sooner.
        let once = looks(expected(24_000, 38_000, 40_000), takes);
        assert!(once.len() <= 13, "{once:?}");
        assert!(*once.last().expect("one") <= takes.mul_f64(1.02));
        let soon = Duration::from_secs(25);
        let soon_seen = looks(expected(24_000, 38_000, 40_000), soon);
        assert!(*soon_seen.last().expect("one") <= soon.mul_f64(1.06));
    }

    #[test]
    fn a_look_that_takes_its_time_leaves_the_one_that_matters_in_its_place() {
        let known = expected(5_000, 8_000, 9_000);
        let next = |at, took| {
            let (at, took) = (Duration::from_millis(at), Duration::from_millis(took));
            (at + polls(known, at, took, (LEAST, MOST))).as_millis()
        };
        // Back by then, and not.
        assert_eq!(next(5_000, 1_000), 6_000);
        assert_eq!(next(5_000, 2_000), 8_000);
        // Begun before and over after it: the next follows at once.
        assert_eq!(next(7_000, 2_000), 9_000);
        assert_eq!(polls(None, Duration::ZERO, MOST, (LEAST, MOST)), MOST);
    }

    #[test]
    fn what_is_long_overdue_is_looked_at_rarely() {
        let known = expected(8_000, 9_500, 12_000);
        let at = |seconds| polls(known, Duration::from_secs(seconds), LEAST, (LEAST, MOST));
        assert_eq!(at(10), LEAST);
        assert_eq!(at(15), Duration::from_millis(300));
        assert_eq!(at(25), Duration::from_millis(500 + 1_500));
        assert_eq!(at(120), MOST);
    }

    #[test]
    fn a_look_just_before_the_time_that_matters_is_followed_as_soon_as_may_be() {
        // One millisecond before it, with no time for a look until then.
        let known = expected(14_000, 115_000, 117_000);
        let just_before = Duration::from_millis(114_999);
        let wait = polls(known, just_before, Duration::ZERO, (LEAST, MOST));
        assert_eq!(wait, LEAST);
        let after = polls(known, just_before + wait, Duration::ZERO, (LEAST, MOST));
        assert!(after < Duration::from_millis(2_400), "{after:?}");
    }

    #[test]
    fn what_is_over_at_once_is_looked_at_as_often_as_may_be() {
        let known = expected(0, 0, 0);
        assert_eq!(polls(known, Duration::ZERO, LEAST, (LEAST, MOST)), LEAST);
        assert_eq!(looks(expected(50, 60, 60), LEAST), [LEAST]);
    }

    proptest! {
        #![proptest_config(crate::tried::tried(256))]

        /// Never sooner than the least; never later than the most, but for the first look, which
        /// comes when it may be over; late by no more than 6 % of what is expected.
        #[test]
        fn looks_keep_their_bounds(
            opens in 0_u64..600_000,
            nearer in 0_u64..300_000,
            more in 0_u64..300_000,
            takes in 0_u64..1_200_000,
        ) {
            let near = opens + nearer;
            let known = expected(opens, near, near + more);
            let takes = Duration::from_millis(takes);
            let times = looks(known, takes);
            let mut before = Duration::ZERO;
            for at in &times {
                let wait = *at - before;
                prop_assert!(wait >= LEAST);
                prop_assert!(wait <= MOST || (before.is_zero() && *at == Duration::from_millis(opens)));
                before = *at;
            }
            let is_as_expected = takes >= Duration::from_millis(opens)
                && takes <= Duration::from_millis(near + more);
            if let (Some(last), true) = (times.last(), is_as_expected) {
                let late = *last - takes;
                let part = if takes >= Duration::from_millis(near) { CLOSE } else { FAR };
                prop_assert!(late <= takes.mul_f64(part) + LEAST, "{late:?}");
            }
        }
    }
}
