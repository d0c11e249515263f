//! How much of the API's rate limit this program may use; the rest is left to others who use the same
//! token.

use std::fmt;
use std::str::FromStr;

/// A share of the rate limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Budget {
    /// All that the API grants.
    #[default]
    Whole,
    /// So many hundredths of what the API grants, by the hour and by the minute.
    Percent(u8),
    /// So many requests an hour, and no more of them in a minute than the API allows.
    PerHour(u32),
}

/// A minute's share of the hourly limit.
const MINUTES_SHARE: f64 = 0.05;

/// So many requests a minute are let go whatever the hour's share: a look at an account takes ten,
/// and would else take minutes.
const LEAST_A_MINUTE: usize = 10;

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a percentage of what the API grants, 1% to 100%, or requests an hour such as 1000/h"
)]
pub struct BadBudget;

impl FromStr for Budget {
    type Err = BadBudget;

    fn from_str(text: &str) -> Result<Self, BadBudget> {
        let text = text.trim();
        let number = |digits: &str| {
            let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number: Option<u32> = digits.parse().ok().filter(|_| is_plain);
            number.filter(|number| *number > 0).ok_or(BadBudget)
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent = u8::try_from(number(percent)?).map_err(|_| BadBudget)?;
            return match percent {
                100 => Ok(Self::Whole),
                1..100 => Ok(Self::Percent(percent)),
                _ => Err(BadBudget),
            };
        }
        match text.strip_suffix("/h") {
            Some(requests) => Ok(Self::PerHour(number(requests)?)),
            None => Err(BadBudget),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "100%"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::PerHour(requests) => write!(f, "{requests}/h"),
        }
    }
}

/// How many requests may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Ours, in an hour.
    pub hour: usize,
    /// Ours, in a minute.
    pub minute: usize,
    /// Of all who use the token, in a minute.
    pub minute_of_all: usize,
}

impl Budget {
    /// What may be sent of what the API grants by the hour; nothing bounds it while neither tells.
    pub(super) fn allowance(self, hourly: Option<usize>) -> Option<Allowance> {
        let share = |whole: usize| match self {
            Self::Percent(percent) => (whole * usize::from(percent) / 100).max(1),
            Self::Whole | Self::PerHour(_) => whole,
        };
        match (self, hourly) {
            (Self::Whole | Self::Percent(_), None) => None,
            (Self::Whole | Self::Percent(_), Some(hourly)) => Some(Allowance {
                hour: share(hourly),
                minute: share(per_minute(hourly)),
                minute_of_all: per_minute(hourly),
            }),
            (Self::PerHour(requests), hourly) => {
                let wished = usize::try_from(requests).unwrap_or(usize::MAX);
                let hour = hourly.map_or(wished, |hourly| wished.min(hourly));
                let minute_of_all = hourly.map_or(usize::MAX, per_minute);
                let minute = per_minute(hour).max(LEAST_A_MINUTE).min(minute_of_all);
                Some(Allowance {
                    hour,
                    minute,
                    minute_of_all,
                })
            }
        }
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

    #[test]
    fn percentages_and_requests_an_hour_are_read_and_all_else_is_refused() {
        for (text, budget) in [
            ("1%", Budget::Percent(1)),
            (" 50% ", Budget::Percent(50)),
            ("100%", Budget::Whole),
            ("1/h", Budget::PerHour(1)),
            ("2500/h", Budget::PerHour(2_500)),
        ] {
            assert_eq!(text.parse(), Ok(budget), "{text}");
            assert_eq!(budget.to_string().parse(), Ok(budget));
        }
        for text in [
            "",
            "%",
            "/h",
            "0%",
            "0/h",
            "101%",
            "300%",
            "-5%",
            "+5%",
            "50",
            "1.5%",
            "50 %",
            "1000",
            "1000/m",
            "1_000/h",
            "99999999999/h",
            "half",
        ] {
            assert_eq!(text.parse::<Budget>(), Err(BadBudget), "{text}");
        }
    }

    #[test]
    fn a_share_is_of_the_hour_and_of_the_minute() {
        let of = |budget: Budget, hourly| {
            let allowance = budget.allowance(hourly)?;
            Some((allowance.hour, allowance.minute, allowance.minute_of_all))
        };
        assert_eq!(of(Budget::Whole, None), None);
        assert_eq!(of(Budget::Percent(50), None), None);
        assert_eq!(of(Budget::Whole, Some(5_000)), Some((5_000, 250, 250)));
        assert_eq!(of(Budget::Percent(20), Some(5_000)), Some((1_000, 50, 250)));
        assert_eq!(of(Budget::Percent(1), Some(20)), Some((1, 1, 1)));
        let thousand = Budget::PerHour(1_000);
        assert_eq!(of(thousand, Some(5_000)), Some((1_000, 50, 250)));
        assert_eq!(of(thousand, None), Some((1_000, 50, usize::MAX)));
        // One look at an account is not held up by a small share, a hundred are.
        assert_eq!(of(Budget::PerHour(60), Some(5_000)), Some((60, 10, 250)));
        // Nobody is given more than the API grants.
        assert_eq!(
            of(Budget::PerHour(9_000), Some(5_000)),
            Some((5_000, 250, 250))
        );
    }
}
