//! Keeps the client within the API's rate limits, and at rest when the API says so.
//!
//! The API counts in sliding windows (5,000 an hour; 5 % of that a minute), and so does this: a
//! request is let go when fewer than the limit were sent within the window. A token bucket would
//! either leave half of the budget unused or exceed it in the minute after a burst.
//!
//! Limits are learnt from the headers of answers; where there are none nothing waits.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::request::Limit;
use super::timing::Timing;

/// A minute's share of the hourly limit.
const MINUTES_SHARE: f64 = 0.05;

/// Remembered beyond need when the API names no limit.
const MOST_REMEMBERED: usize = 20_000;

#[derive(Debug)]
pub(super) struct RateLimit {
    minute: Duration,
    hour: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The hourly limit, once an answer has told it.
    hourly: Option<usize>,
    /// When each request of the last hour was sent, oldest first.
    sent: VecDeque<Instant>,
    /// The whole client rests until then.
    closed: Option<Instant>,
    /// Listing keys rests until then.
    key_list_closed: Option<Instant>,
}

impl RateLimit {
    pub fn new(timing: &Timing) -> Self {
        Self {
            minute: timing.rate_minute,
            hour: timing.rate_hour,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts a request as sent now, or says until when it has to wait.
    pub fn admit(&self, limit: Limit, now: Instant) -> Result<(), Instant> {
        let mut state = self.state();
        let closed = match limit {
            Limit::Token | Limit::VolumeSnapshot => state.closed,
            Limit::KeyList => state.closed.max(state.key_list_closed),
        };
        if let Some(until) = closed.filter(|until| *until > now) {
            return Err(until);
        }
        while let Some(first) = state.sent.front() {
            if *first + self.hour > now && state.sent.len() < MOST_REMEMBERED {
                break;
            }
            state.sent.pop_front();
        }
        if let Some(hourly) = state.hourly {
            for (most, window) in [(per_minute(hourly), self.minute), (hourly, self.hour)] {
                // The request `most` before this one must have left the window.
                let earliest = state
                    .sent
                    .len()
                    .checked_sub(most)
                    .and_then(|at| state.sent.get(at));
                if let Some(until) = earliest
                    .map(|sent| *sent + window)
                    .filter(|until| *until > now)
                {
                    return Err(until);
                }
            }
        }
        state.sent.push_back(now);
        Ok(())
    }

    /// Takes a limit from an answer's header. What was just answered cannot be forbidden altogether.
    pub fn learn(&self, header: Option<&str>) {
        let hourly = header.and_then(|text| text.trim().parse::<usize>().ok());
        if let Some(hourly) = hourly.filter(|hourly| *hourly > 0) {
            self.state().hourly = Some(hourly);
        }
    }

    /// Nothing that counts against that limit is sent for a while.
    pub fn close(&self, limit: Limit, until: Instant) {
        let mut state = self.state();
        let closed = match limit {
            Limit::Token | Limit::VolumeSnapshot => &mut state.closed,
            Limit::KeyList => &mut state.key_list_closed,
        };
        *closed = (*closed).max(Some(until));
    }

    /// Whether more than half of the minute's budget is spent: polls then slow down.
    pub fn is_tight(&self, now: Instant) -> bool {
        let state = self.state();
        let Some(hourly) = state.hourly else {
            return false;
        };
        let recent = state
            .sent
            .iter()
            .rev()
            .take_while(|sent| **sent + self.minute > now)
            .count();
        recent * 2 > per_minute(hourly)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "limits are some thousands"
)]
fn per_minute(hourly: usize) -> usize {
    ((hourly as f64 * MINUTES_SHARE) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(hourly: Option<usize>) -> RateLimit {
        let limit = RateLimit::new(&Timing::default());
        limit.learn(hourly.map(|n| n.to_string()).as_deref());
        limit
    }

    /// Sends as fast as it may, in virtual time; says when each request went.
    fn run(limit: &RateLimit, requests: usize) -> Vec<Duration> {
        let start = Instant::now();
        let mut now = start;
        (0..requests)
            .map(|_| {
                while let Err(until) = limit.admit(Limit::Token, now) {
                    now = until;
                }
                now - start
            })
            .collect()
    }

    #[test]
    fn no_headers_no_waits() {
        assert_eq!(run(&limit(None), 10_000).last(), Some(&Duration::ZERO));
    }

    #[test]
    fn no_minute_holds_more_than_its_share_and_none_is_wasted() {
        let times = run(&limit(Some(5_000)), 1_000);
        for (index, time) in times.iter().enumerate().skip(250) {
            assert!(
                *time - times[index - 250] >= Duration::from_secs(60),
                "request {index}"
            );
        }
        assert_eq!(times[249], Duration::ZERO);
        assert!(times[999] <= Duration::from_secs(3 * 61));
    }

    #[test]
    fn no_hour_holds_more_than_the_limit() {
        let times = run(&limit(Some(5_000)), 6_000);
        for (index, time) in times.iter().enumerate().skip(5_000) {
            assert!(*time - times[index - 5_000] >= Duration::from_secs(3_600));
        }
    }

    #[test]
    fn the_key_list_rests_alone_and_the_client_rests_as_a_whole() {
        let limit = limit(None);
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        limit.close(Limit::KeyList, later);
        assert_eq!(limit.admit(Limit::KeyList, now), Err(later));
        assert_eq!(limit.admit(Limit::Token, now), Ok(()));
        limit.close(Limit::Token, later + Duration::from_secs(1));
        // A shorter rest does not end a longer one.
        limit.close(Limit::Token, now);
        assert!(limit.admit(Limit::Token, later).is_err());
        assert!(limit.admit(Limit::KeyList, later).is_err());
    }

    #[test]
    fn polls_learn_when_the_budget_is_tight() {
        let limit = limit(Some(5_000));
        let now = Instant::now();
        assert!(!limit.is_tight(now));
        for _ in 0..126 {
            limit
                .admit(Limit::Token, now)
                .expect("within the minute's share");
        }
        assert!(limit.is_tight(now));
        assert!(!limit.is_tight(now + Duration::from_secs(62)));
    }
}
