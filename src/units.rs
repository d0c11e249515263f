//! Units as they stand in a manifest: sizes, durations, money.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};

/// A size in whole GiB (1,073,741,824 bytes), written `50GiB` or, of 1024 of them, `1TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gib(pub u32);

/// A length of time in whole seconds, written `90s`, `30m`, `4h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u64);

/// US dollars, exact.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Money(
    #[serde(with = "rust_decimal::serde::str")]
    #[schemars(with = "String")]
    pub Decimal,
);

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write whole gibibytes such as `50GiB`")]
pub struct BadGib(pub String);

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write `90s`, `30m`, `4h` or `7d`")]
pub struct BadDuration(pub String);

impl FromStr for Gib {
    type Err = BadGib;

    fn from_str(text: &str) -> Result<Self, BadGib> {
        let bad = || BadGib(text.to_owned());
        let (digits, unit) = match (text.strip_suffix("GiB"), text.strip_suffix("TiB")) {
            (Some(digits), _) => (digits, 1),
            (None, Some(digits)) => (digits, 1_024),
            (None, None) => return Err(bad()),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(bad());
        }
        let count: u32 = digits.trim_end().parse().map_err(|_| bad())?;
        match count.checked_mul(unit) {
            Some(size) if size > 0 => Ok(Self(size)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Gib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}GiB", self.0)
    }
}

impl Seconds {
    /// As the standard library's duration.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }
}

impl FromStr for Seconds {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        let bad = || BadDuration(text.to_owned());
        let mut total: u64 = 0;
        let mut digits = String::new();
        let mut last_unit = u64::MAX;
        for c in text.chars() {
            if c.is_ascii_digit() {
                digits.push(c);
                continue;
            }
            let unit = match c {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return Err(bad()),
            };
            let number: u64 = digits.parse().map_err(|_| bad())?;
            // `1h30m` is fine, `30m1h` is a slip of the pen.
            if unit >= last_unit {
                return Err(bad());
            }
            last_unit = unit;
            digits.clear();
            total = number
                .checked_mul(unit)
                .and_then(|n| total.checked_add(n))
                .ok_or_else(bad)?;
        }
        // A hundred years is beyond any use and keeps later additions from overflowing.
        if !digits.is_empty() || last_unit == u64::MAX || total == 0 || total > 3_155_760_000 {
            return Err(bad());
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, letter) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
            if rest >= unit {
                write!(f, "{}{letter}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl Money {
    /// To the cent, for what a month costs and what was spent; less than a cent stays as it is.
    #[must_use]
    pub fn cents(self) -> Self {
        let cents = self.0.round_dp(2);
        if cents.is_zero() { self } else { Self(cents) }
    }
}

impl fmt::Display for Money {
    /// With cents, or with as many more digits (at most four) as the amount has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = self.0.round_dp(4).normalize();
        let digits = rounded.scale().max(2) as usize;
        write!(f, "${rounded:.digits$}")
    }
}

impl std::ops::Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |a, b| a + b)
    }
}

macro_rules! as_text {
    ($type:ident, $pattern:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

as_text!(
    Gib,
    r"^([1-9][0-9]* ?[GT]iB|.*\$\{var\..*)$",
    "Whole gibibytes or tebibytes, such as 50GiB or 1TiB."
);
as_text!(
    Seconds,
    r"^(([0-9]+[dhms]){1,4}|.*\$\{var\..*)$",
    "A duration: 90s, 30m, 4h, 7d, 1h30m."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, seconds, printed) in [
            ("90s", 90, "1m30s"),
            ("30m", 1_800, "30m"),
            ("4h", 14_400, "4h"),
            ("7d", 604_800, "7d"),
            ("1h30m", 5_400, "1h30m"),
        ] {
            let parsed: Seconds = text.parse().expect(text);
            assert_eq!(parsed.0, seconds);
            assert_eq!(parsed.to_string(), printed);
        }
        for text in [
            "",
            "5",
            "s",
            "5 m",
            "-5m",
            "30m1h",
            "1.5h",
            "0s",
            "99999999999999999999d",
            "5M",
        ] {
            assert!(text.parse::<Seconds>().is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn sizes_are_whole_gibibytes() {
        assert_eq!("50GiB".parse(), Ok(Gib(50)));
        assert_eq!("50 GiB".parse(), Ok(Gib(50)));
        assert_eq!("1TiB".parse(), Ok(Gib(1_024)));
        assert!("4194304TiB".parse::<Gib>().is_err());
        for text in ["50", "50GB", "1.5GiB", "0GiB", "-1GiB", "50gib", "+5GiB"] {
            assert!(text.parse::<Gib>().is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn money_shows_cents_or_more_when_there_is_more() {
        let money = |text: &str| Money(text.parse().expect("a decimal")).to_string();
        assert_eq!(money("5"), "$5.00");
        assert_eq!(money("0.00893"), "$0.0089");
        assert_eq!(money("0.0714"), "$0.0714");
        assert_eq!(money("12.5"), "$12.50");
    }

    #[test]
    fn to_the_cent_nothing_becomes_free() {
        let cents = |text: &str| Money(text.parse().expect("a decimal")).cents().to_string();
        assert_eq!(cents("0.244"), "$0.24");
        assert_eq!(cents("0.0024"), "$0.0024");
        assert_eq!(cents("0"), "$0.00");
    }
}
