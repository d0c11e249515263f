//! Keeps the client within the API's rate limits and its own share of them, and at rest when the API
//! says so. Pure: the time is an argument.
//!
//! The API counts in sliding windows (5,000 an hour; 5 % of that a minute), and so does this: a
//! request is let go when fewer than the limit were sent within the window. A token bucket that is
//! refilled evenly would either leave half of the budget unused or exceed it in the minute after a
//! burst.
//!
//! Limits are learnt from the headers of answers; where there are none nothing waits. So is what
//! others use of the same token: `ratelimit-remaining` counts their requests, too.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Budget;
use super::request::Limit;
use super::timing::Timing;

/// Remembered beyond need when the API names no limit.
const MOST_REMEMBERED: usize = 20_000;

/// For so many requests that others are known to have sent in a minute, one more may be on its way.
const ON_THE_WAY: usize = 16;

/// Polls take at most this part of what is left of the hour in a minute.
const OF_WHAT_IS_LEFT: u32 = 10;

/// When the hour's budget is spent and the oldest request has expired: how long one request alone
/// finds out how much there is again.
const PROBE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct RateLimit {
    minute: Duration,
    hour: Duration,
    budget: Budget,
    /// The hourly limit, once an answer has told it.
    hourly: Option<usize>,
    /// When each request of the last hour was sent, oldest first.
    sent: VecDeque<Instant>,
    /// When others were found to have sent how many requests, within the last minute.
    others: VecDeque<(Instant, usize)>,
    /// The most requests of others that an answer has told of lately, and when that was.
    others_known: Option<(usize, Instant)>,
    /// How many requests of others were known of the minute before the last answer that told of them,
    /// and when that was.
    others_rate: Option<(usize, Instant)>,
    /// What is left of the hour for all, and when the oldest request that counts expires.
    left: Option<(usize, Instant)>,
    /// The whole client rests until then.
    closed: Option<Instant>,
    /// Listing keys rests until then.
    key_list_closed: Option<Instant>,
}

/// What the headers of an answer say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The hourly limit.
    pub limit: Option<usize>,
    /// What is left of it.
    pub remaining: Option<usize>,
    /// How long until the oldest request that counts expires.
    pub reset: Option<Duration>,
}

impl RateLimit {
    pub const fn new(timing: &Timing, budget: Budget) -> Self {
        Self {
            minute: timing.rate_minute,
            hour: timing.rate_hour,
            budget,
            hourly: None,
            sent: VecDeque::new(),
            others: VecDeque::new(),
            others_known: None,
            others_rate: None,
            left: None,
            closed: None,
            key_list_closed: None,
        }
    }

    /// Until when requests of that limit rest, for the API said so.
    pub fn rests(&self, limit: Limit, now: Instant) -> Option<Instant> {
        let closed = match limit {
            Limit::Token | Limit::VolumeSnapshot => self.closed,
            Limit::KeyList => self.closed.max(self.key_list_closed),
        };
        closed.filter(|until| *until > now)
    }

    /// Counts a request as sent now, or says until when all have to wait.
    pub fn admit(&mut self, now: Instant) -> Result<(), Instant> {
        self.forget(now);
        if let Some(allowed) = self.budget.allowance(self.hourly) {
            for (most, window) in [(allowed.minute, self.minute), (allowed.hour, self.hour)] {
                // The request `most` before this one must have left the window.
                let before = self.sent.len().checked_sub(most);
                let earliest = before.and_then(|at| self.sent.get(at));
                let until = earliest.map(|sent| *sent + window);
                if let Some(until) = until.filter(|until| *until > now) {
                    return Err(until);
                }
            }
            if let Some(until) = self.until_others_leave_room(allowed.minute_of_all, now) {
                return Err(until);
            }
        }
        if let Some((left, reset)) = &mut self.left {
            if *left == 0 {
                if *reset > now {
                    return Err(*reset);
                }
                // Its answer tells how much there is again.
                *reset = now + PROBE;
            } else {
                *left -= 1;
            }
        }
        self.sent.push_back(now);
        Ok(())
    }

    /// Counts a request that is sent now, whatever the limits: the API may refuse it.
    pub fn count(&mut self, now: Instant) {
        self.forget(now);
        if let Some((left, _)) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        self.sent.push_back(now);
    }

    /// Lets go of what has left the windows.
    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.sent.front() {
            if *first + self.hour > now && self.sent.len() < MOST_REMEMBERED {
                break;
            }
            self.sent.pop_front();
        }
        while let Some((first, _)) = self.others.front() {
            if *first + self.minute > now {
                break;
            }
            self.others.pop_front();
        }
    }

    /// Our requests of the last minute.
    fn lately(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let minute = self.minute;
        let sent = self.sent.iter().rev().copied();
        sent.take_while(move |sent| *sent + minute > now)
    }

    /// Until when the minute is full, with what others have sent in it; `None` when there is room.
    fn until_others_leave_room(&self, most: usize, now: Instant) -> Option<Instant> {
        let most = most.saturating_sub(self.unheard_of(now)).max(1);
        let ours = self.lately(now).map(|at| (at, 1));
        let mut all: Vec<(Instant, usize)> = ours.chain(self.others.iter().copied()).collect();
        let count: usize = all.iter().map(|(_, requests)| requests).sum();
        let mut surplus = (count + 1)
            .checked_sub(most)
            .filter(|surplus| *surplus > 0)?;
        all.sort_unstable();
        for (at, requests) in all {
            surplus = surplus.saturating_sub(requests);
            if surplus == 0 {
                return Some(at + self.minute);
            }
        }
        Some(now + self.minute)
    }

    /// How many requests others may have sent since the last answer told of theirs, and on the way of
    /// that: as many as in the minute before.
    fn unheard_of(&self, now: Instant) -> usize {
        let Some((rate, heard)) = self.others_rate.filter(|(rate, _)| *rate > 0) else {
            return 0;
        };
        let silence = now.saturating_duration_since(heard).min(self.minute);
        let share = silence.as_secs_f64() / self.minute.as_secs_f64();
        whole(rate, share) + rate / ON_THE_WAY + 1
    }

    /// Takes what an answer says, while so many other requests are under way, which it may or may
    /// not have counted.
    pub fn learn(&mut self, told: Told, under_way: usize, now: Instant) {
        // What was just answered cannot be forbidden altogether.
        if let Some(hourly) = told.limit.filter(|hourly| *hourly > 0) {
            self.hourly = Some(hourly);
        }
        let (Some(hourly), Some(remaining)) = (self.hourly, told.remaining) else {
            return;
        };
        if let Some(reset) = told.reset {
            // An hour's budget is back within the hour, whatever an answer says.
            let reset = reset.min(self.hour);
            self.left = Some((remaining.saturating_sub(under_way), now + reset));
        }
        self.forget(now);
        // At least so many are not ours; the last hour's programs count among others.
        let others = hourly
            .saturating_sub(remaining)
            .saturating_sub(self.sent.len());
        // Answers of several servers do not agree to the last request: only what is more than any
        // answer of the last minute has told is new.
        match &mut self.others_known {
            Some((known, at)) if *at + self.minute > now => {
                if let Some(new) = others.checked_sub(*known).filter(|new| *new > 0) {
                    self.others.push_back((now, new));
                    *known = others;
                    *at = now;
                }
            }
            known => *known = Some((others, now)),
        }
        let rate = self.others.iter().map(|(_, requests)| requests).sum();
        self.others_rate = Some((rate, now));
    }

    /// Nothing that counts against that limit is sent for a while.
    pub fn close(&mut self, limit: Limit, until: Instant) {
        let closed = match limit {
            Limit::Token | Limit::VolumeSnapshot => &mut self.closed,
            Limit::KeyList => &mut self.key_list_closed,
        };
        *closed = (*closed).max(Some(until));
    }

    /// The shortest time between two looks of a poll: none while there is plenty, `slow` once more
    /// than half of the minute's budget is spent. In a minute polls never take more than a tenth of
    /// what is left of the hour, so that it lasts.
    pub fn poll_pause(&self, slow: Duration, now: Instant) -> Duration {
        let Some(allowed) = self.budget.allowance(self.hourly) else {
            return Duration::ZERO;
        };
        let ours = self.lately(now).count();
        let minute = self.minute;
        let others = self.others.iter().filter(|(at, _)| *at + minute > now);
        let others: usize = others.map(|(_, requests)| requests).sum();
        let is_tight =
            ours * 2 > allowed.minute || (ours + others).saturating_mul(2) > allowed.minute_of_all;
        let left_of_ours = allowed.hour.saturating_sub(self.sent.len());
        let left = self
            .left
            .map_or(left_of_ours, |(left, _)| left.min(left_of_ours));
        let left = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
        let to_last = (minute * OF_WHAT_IS_LEFT / left).min(minute);
        to_last.max(if is_tight { slow } else { Duration::ZERO })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of some hundreds"
)]
fn whole(requests: usize, share: f64) -> usize {
    (requests as f64 * share).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(61);
    const HOUR: Duration = Duration::from_secs(3_610);

    fn limit(hourly: Option<usize>) -> RateLimit {
        within(Budget::Whole, hourly)
    }

    fn within(budget: Budget, hourly: Option<usize>) -> RateLimit {
        let mut limit = RateLimit::new(&Timing::default(), budget);
        let told = Told {
            limit: hourly,
            ..Told::default()
        };
        limit.learn(told, 0, Instant::now());
        limit
    }

    /// Sends as fast as it may, in virtual time; says when each request went.
    fn run(limit: &mut RateLimit, requests: usize) -> Vec<Duration> {
        let start = Instant::now();
        let mut now = start;
        (0..requests)
            .map(|_| {
                while let Err(until) = limit.admit(now) {
                    assert!(until > now, "a wait that is over");
                    now = until;
                }
                now - start
            })
            .collect()
    }

    /// No more than `most` within any `window`.
    fn holds(times: &[Duration], most: usize, window: Duration) {
        for (index, time) in times.iter().enumerate().skip(most) {
            assert!(*time - times[index - most] >= window, "request {index}");
        }
    }

    #[test]
    fn no_headers_no_waits() {
        let times = run(&mut limit(None), 10_000);
        assert_eq!(times.last(), Some(&Duration::ZERO));
    }

    #[test]
    fn no_minute_holds_more_than_its_share_and_none_is_wasted() {
        let times = run(&mut limit(Some(5_000)), 1_000);
        holds(&times, 250, Duration::from_secs(60));
        assert_eq!(times[249], Duration::ZERO);
        assert!(times[999] <= 3 * MINUTE);
    }

    #[test]
    fn no_hour_holds_more_than_the_limit() {
        let times = run(&mut limit(Some(5_000)), 6_000);
        holds(&times, 5_000, Duration::from_secs(3_600));
    }

    #[test]
    fn of_a_budget_only_that_share_is_used_by_the_minute_and_by_the_hour() {
        let times = run(&mut within(Budget::Percent(20), Some(5_000)), 2_000);
        holds(&times, 50, MINUTE);
        holds(&times, 1_000, HOUR);
        assert_eq!(times[49], Duration::ZERO);
        assert_eq!(times[999], 19 * MINUTE, "all of the share is used");
        assert_eq!(times[1_000], HOUR);
        // Of requests an hour nothing need be told by the API.
        let times = run(&mut within(Budget::PerHour(100), None), 200);
        holds(&times, 10, MINUTE);
        assert_eq!(times[100], HOUR);
    }

    #[test]
    fn the_key_list_rests_alone_and_the_client_rests_as_a_whole() {
        let mut limit = limit(None);
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        limit.close(Limit::KeyList, later);
        assert_eq!(limit.rests(Limit::KeyList, now), Some(later));
        assert_eq!(limit.rests(Limit::Token, now), None);
        limit.close(Limit::Token, later + Duration::from_secs(1));
        // A shorter rest does not end a longer one.
        limit.close(Limit::Token, now);
        assert!(limit.rests(Limit::Token, later).is_some());
        assert!(limit.rests(Limit::KeyList, later).is_some());
    }

    #[test]
    fn polls_slow_down_when_the_minute_is_tight_and_as_the_hour_runs_out() {
        const SLOW: Duration = Duration::from_secs(5);
        let mut of_minute = limit(Some(5_000));
        let now = Instant::now();
        let is_quick = |limit: &RateLimit, now| limit.poll_pause(SLOW, now) < SLOW / 20;
        assert!(is_quick(&of_minute, now));
        for _ in 0..126 {
            of_minute.admit(now).expect("within the minute's share");
        }
        assert_eq!(of_minute.poll_pause(SLOW, now), SLOW);
        assert!(is_quick(&of_minute, now + Duration::from_secs(62)));

        let mut small = within(Budget::PerHour(100), None);
        assert_eq!(small.poll_pause(SLOW, now), MINUTE * 10 / 100);
        let last = run(&mut small, 99).last().copied().expect("some");
        assert_eq!(small.poll_pause(SLOW, now + last + MINUTE), MINUTE);
        // What others have used of the hour is gone for polls, too.
        let mut shared = limit(Some(5_000));
        shared.learn(told(50, 1_000), 0, now);
        assert_eq!(shared.poll_pause(SLOW, now), MINUTE * 10 / 50);
    }

    fn told(remaining: usize, reset: u64) -> Told {
        Told {
            limit: Some(5_000),
            remaining: Some(remaining),
            reset: Some(Duration::from_secs(reset)),
        }
    }

    #[test]
    fn what_others_send_in_the_same_minute_counts() {
        let mut limit = limit(Some(5_000));
        let start = Instant::now();
        limit.admit(start).expect("room");
        // What was sent before we came may be an hour old.
        limit.learn(told(4_000, 1_000), 0, start);
        limit.admit(start).expect("room");
        // Meanwhile somebody else sent 200.
        let later = start + Duration::from_secs(1);
        limit.learn(told(3_799, 1_000), 0, later);
        assert_eq!(limit.poll_pause(MINUTE, later), MINUTE);
        let mut sent = 2;
        let until = loop {
            match limit.admit(later) {
                Ok(()) => sent += 1,
                Err(until) => break until,
            }
        };
        // Of 250, less their 200 and what is not heard of yet.
        assert_eq!(sent, 37);
        // Ours of the start leave first, then theirs, as of when they were heard of.
        assert_eq!(until, start + MINUTE);
        // By then they may have sent as many again.
        assert_eq!(limit.admit(until), Err(later + MINUTE));
        let sent = std::iter::from_fn(|| limit.admit(later + MINUTE).ok()).count();
        assert_eq!(sent, 37);
    }

    #[test]
    fn answers_that_disagree_by_a_few_are_no_requests_of_others() {
        let mut limit = limit(Some(5_000));
        let now = Instant::now();
        for round in 0..1_000 {
            let remaining = if round % 2 == 0 { 4_900 } else { 4_890 };
            limit.learn(told(remaining, 1_000), 0, now);
        }
        // The 10 by which they disagree are counted once.
        let sent = std::iter::from_fn(|| limit.admit(now).ok()).count();
        assert_eq!(sent, 239);
    }

    #[test]
    fn what_is_left_of_the_hour_is_not_exceeded_whoever_used_the_rest() {
        let mut limit = limit(Some(5_000));
        let start = Instant::now();
        // Of the 7 that are left 2 may be ours that are under way.
        limit.learn(told(7, 600), 2, start);
        let sent = std::iter::from_fn(|| limit.admit(start).ok()).count();
        assert_eq!(sent, 5);
        let reset = start + Duration::from_secs(600);
        assert_eq!(limit.admit(start), Err(reset));
        // Then one asks how much there is.
        limit.admit(reset).expect("a probe");
        assert_eq!(limit.admit(reset), Err(reset + PROBE));
        limit.learn(told(30, 1), 0, reset);
        let sent = std::iter::from_fn(|| limit.admit(reset).ok()).count();
        assert_eq!(sent, 30);
    }
}
