//! Waiting for a volume that someone else has.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);
/// The longest: 120 calls an hour, of the 5,000 that the whole account has.
const LONGEST: Duration = Duration::from_secs(30);
/// Whoever has it has it for minutes or hours: what was waited for is noticed late by at most half of
/// what it took.
const GROWTH: f64 = 1.5;

/// The pauses between looks at a volume that another environment has, growing and with an end.
#[derive(Debug)]
pub struct HoldPolls {
    end: Instant,
    pause: Duration,
}

impl HoldPolls {
    /// Until `end`.
    #[must_use]
    pub const fn new(end: Instant) -> Self {
        Self { end, pause: FIRST }
    }

    /// Whether nothing was waited for.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.pause == FIRST
    }

    /// Whether the patience has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Waits until the next look is due; false when there shall be none.
    pub async fn pause(&mut self) -> bool {
        if self.is_over() {
            return false;
        }
        // The last look is at the end, not after it.
        let rest = self.end.saturating_duration_since(Instant::now());
        sleep(self.pause.min(rest)).await;
        self.pause = self.pause.mul_f64(GROWTH).min(LONGEST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_become_rare_and_end() {
        let begun = Instant::now();
        let mut polls = HoldPolls::new(begun + Duration::from_secs(3_600));
        assert!(polls.is_untouched());
        let mut looks = 0;
        while polls.pause().await {
            looks += 1;
        }
        assert!((120..140).contains(&looks), "{looks}");
        assert!(polls.is_over() && begun.elapsed() < Duration::from_secs(3_601));
        assert!(!HoldPolls::new(Instant::now()).pause().await);
    }
}
