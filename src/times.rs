//! Lengths of time as people read them: everywhere in the one form in which manifests write them, such as `4m30s`.
//! No blank is in them, so no line is broken within one.

use crate::units::Seconds;

/// How long something took, in milliseconds: `350ms`, `1.2s`, `45s`, `4m30s`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms}ms"),
        1_000..=9_999 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        _ => Seconds(ms / 1_000).to_string(),
    }
}

/// How long something is expected to take, no finer than anybody can know it: `about 45s`, `about 5m`,
/// `about 1h10m`.
#[must_use]
pub fn about(seconds: u64) -> String {
    let known = match seconds {
        0..=90 => seconds,
        _ => seconds.checked_next_multiple_of(60).unwrap_or(seconds),
    };
    format!("about {}", Seconds(known))
}

/// How old something is, or how long it has yet, no finer than it matters: `40s`, `12m`, `4h10m`, `1d2h`,
/// `3d`.
#[must_use]
pub fn age(seconds: u64) -> String {
    let fine = match seconds {
        0..60 => 1,
        60..36_000 => 60,
        36_000..259_200 => 3_600,
        _ => 86_400,
    };
    Seconds(seconds - seconds % fine).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_the_form_of_manifests() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (9_999, "9.9s"),
            (10_000, "10s"),
            (75_400, "1m15s"),
            (3_600_000, "1h"),
        ] {
            assert_eq!(duration(ms), text);
        }
        for (seconds, text) in [
            (0, "about 0s"),
            (90, "about 1m30s"),
            (91, "about 2m"),
            (3_601, "about 1h1m"),
            (u64::MAX, "about 213503982334601d7h15s"),
        ] {
            assert_eq!(about(seconds), text);
        }
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (119, "1m"),
            (35_999, "9h59m"),
            (36_061, "10h"),
            (93_600, "1d2h"),
            (259_201, "3d"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}
