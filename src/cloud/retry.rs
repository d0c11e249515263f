//! What to do about an answer, or the lack of one: a policy without I/O.
//!
//! | what came | any method | POST that may not be repeated |
//! | --- | --- | --- |
//! | no connection | again | again: nothing was sent |
//! | 429 | again, when the API says | the same |
//! | broken connection, timeout, 500, 502, 503, 504 | again, with backoff | unknown: the caller looks up |
//! | an answer larger than is read | final | unknown: the caller looks up |
//! | other 4xx, 501, redirects | final | final |
//!
//! Some refusals only say "not yet" ([`Lag`]); the API has no other word for them than their
//! message.

use std::time::Duration;

use serde::Deserialize;

use super::error::{Cause, CloudError, Refusal};
use super::request::Request;
use super::timing::Timing;
use super::transport::{Answer, Fault, MOST_BYTES};
use super::waits::Awaited;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It worked.
    Done,
    /// It failed, and would fail again.
    Final,
    /// Try again after a while.
    Again,
    /// Too many requests: try again when the API says.
    Throttled,
    /// It may or may not have been carried out, and must not be sent twice.
    Unknown,
}

pub(super) fn judge(request: &Request, outcome: &Result<Answer, Fault>) -> Verdict {
    let if_repeatable = if request.repeatable {
        Verdict::Again
    } else {
        Verdict::Unknown
    };
    match outcome {
        Err(Fault::NeverSent(_)) => Verdict::Again,
        Err(Fault::Broken(_)) => if_repeatable,
        // The next answer would be as large.
        Err(Fault::TooLarge) if request.repeatable => Verdict::Final,
        Err(Fault::TooLarge) => Verdict::Unknown,
        Ok(answer) => judge_status(answer.status, if_repeatable),
    }
}

const fn judge_status(status: u16, if_repeatable: Verdict) -> Verdict {
    match status {
        200..=299 => Verdict::Done,
        429 => Verdict::Throttled,
        500 | 502 | 503 | 504 => if_repeatable,
        _ => Verdict::Final,
    }
}

/// The error that an outcome without success is.
pub(super) fn error_of(request: &Request, outcome: Result<Answer, Fault>) -> CloudError {
    let call = request.label();
    match outcome {
        Err(Fault::NeverSent(error)) => CloudError::Unreachable {
            call,
            cause: innermost(&error),
        },
        Err(Fault::Broken(error)) => CloudError::Broken {
            call,
            cause: innermost(&error),
        },
        Err(Fault::TooLarge) => CloudError::TooLarge {
            call,
            mebibytes: MOST_BYTES / 1_024 / 1_024,
        },
        Ok(answer) => refusal(call, &answer),
    }
}

/// The innermost cause alone: the layers around it each say once more that something failed.
fn innermost(error: &reqwest::Error) -> Cause {
    let mut inner: &dyn std::error::Error = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string().into()
}

/// The API's own error bodies; tags answer in the second form.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorBody {
    Usual {
        id: String,
        message: String,
        request_id: Option<String>,
    },
    Tags {
        error: String,
        #[serde(default)]
        root_causes: Option<Vec<String>>,
    },
}

fn refusal(call: String, answer: &Answer) -> CloudError {
    let request_id = answer.header("x-request-id").map(short);
    let status = answer.status;
    if (300..400).contains(&status) {
        let to = answer
            .header("location")
            .and_then(|to| reqwest::Url::parse(to).ok()?.host_str().map(str::to_owned))
            .map_or_else(String::new, |host| format!(" to {host}"));
        let what = format!("a redirect{to}, which is not followed: the token is for the API alone");
        return CloudError::Unexpected { call, status, what };
    }
    match serde_json::from_slice(&answer.body) {
        Ok(ErrorBody::Usual {
            id,
            message,
            request_id: inner,
        }) => CloudError::Refused(Box::new(Refusal {
            call,
            status,
            id: short(&id),
            message: short(&message),
            request_id: inner.as_deref().map(short).or(request_id),
        })),
        Ok(ErrorBody::Tags { error, root_causes }) => {
            let message = match root_causes.as_deref() {
                Some([cause, ..]) if !error.contains(cause.as_str()) => format!("{error}: {cause}"),
                _ => error,
            };
            CloudError::Refused(Box::new(Refusal {
                call,
                status,
                id: String::new(),
                message: short(&message),
                request_id,
            }))
        }
        Err(_) => CloudError::Unexpected {
            call,
            status,
            what: excerpt(&answer.body),
        },
    }
}

/// Text of the other side without what could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The other side's text, for a line of ours.
pub(super) fn short(text: &str) -> String {
    /// Longer than any message of the API that was seen.
    const LONGEST: usize = 500;
    cut(&printable(text), LONGEST)
}

fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// The beginning of a body that is not the API's, on one line.
fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(body);
    // A word has one character at least.
    let words: Vec<&str> = text.split_whitespace().take(LONGEST).collect();
    if words.is_empty() {
        return "an empty body".to_owned();
    }
    let line = cut(&printable(&words.join(" ")), LONGEST);
    format!("a body that is not the API's: `{line}`")
}

/// When the API says to come back, from now: as long as it likes, so nothing may be added to it
/// unchecked. What is no number and no time says nothing.
pub(super) fn come_back(answer: &Answer) -> Option<Duration> {
    if let Some(after) = answer.header("retry-after") {
        if let Ok(seconds) = after.trim().parse() {
            return Some(Duration::from_secs(seconds));
        }
        if let Some(time) = http_time(after) {
            return Some(until(time, answer));
        }
    }
    // At least a second: a reset that has passed must not make a tight loop.
    Some(until_reset(answer)?.max(Duration::from_secs(1)))
}

/// How long until the oldest request that counts against the hour's limit expires.
pub(super) fn until_reset(answer: &Answer) -> Option<Duration> {
    let reset: u64 = answer.header("ratelimit-reset")?.trim().parse().ok()?;
    Some(until(reset, answer))
}

/// How long until a time in seconds since 1970.
fn until(time: u64, answer: &Answer) -> Duration {
    // By the API's clock where it tells it: ours may be wrong by more than the wait is long.
    let now = answer.header("date").and_then(http_time);
    let now = now
        .unwrap_or_else(|| u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
    Duration::from_secs(time.saturating_sub(now))
}

/// A time as headers write it, in seconds since 1970.
fn http_time(text: &str) -> Option<u64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim());
    Some(u64::try_from(time.ok()?.as_second()).unwrap_or_default())
}

/// Refusals that only mean "not yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lag {
    /// Another event of the droplet is under way.
    PendingEvent,
    /// The volume is still attached.
    VolumeAttached,
    /// The SSH key is too new for droplet create.
    KeyUnknown,
}

impl Lag {
    pub fn is_told_by(self, refusal: &Refusal) -> bool {
        let message = refusal.message.to_lowercase();
        match self {
            Self::PendingEvent => {
                refusal.status == 422
                    && (message.contains("pending event") || message.contains("blocking events"))
            }
            Self::VolumeAttached => refusal.status == 409 && message.contains("attached"),
            Self::KeyUnknown => {
                refusal.status == 422 && message.contains("invalid key identifiers")
            }
        }
    }

    /// What it is that passes, where one time tells of the next: how long another event takes
    /// depends on the event.
    pub const fn awaited(self) -> Option<Awaited> {
        match self {
            Self::PendingEvent => None,
            Self::VolumeAttached => Some(Awaited::VolumeFree),
            Self::KeyUnknown => Some(Awaited::KeyKnown),
        }
    }

    pub const fn deadline(self, timing: &Timing) -> Duration {
        match self {
            Self::PendingEvent => timing.pending_event,
            Self::VolumeAttached => timing.volume_free,
            Self::KeyUnknown => timing.key_lag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_repeated_and_what_must_be_looked_up() {
        for status in [500, 502, 503, 504] {
            assert_eq!(judge_status(status, Verdict::Unknown), Verdict::Unknown);
            assert_eq!(judge_status(status, Verdict::Again), Verdict::Again);
        }
        for status in [301, 400, 401, 403, 404, 409, 412, 422, 501] {
            assert_eq!(
                judge_status(status, Verdict::Again),
                Verdict::Final,
                "{status}"
            );
        }
        assert_eq!(judge_status(429, Verdict::Unknown), Verdict::Throttled);
        assert_eq!(judge_status(204, Verdict::Unknown), Verdict::Done);
    }

    #[test]
    fn lags_are_told_by_their_words_and_status() {
        let refusal = |status, message: &str| Refusal {
            call: String::new(),
            status,
            id: String::new(),
            message: message.to_owned(),
            request_id: None,
        };
        let key = "42 are invalid key identifiers for Droplet creation.";
        assert!(Lag::KeyUnknown.is_told_by(&refusal(422, key)));
        assert!(!Lag::KeyUnknown.is_told_by(&refusal(400, key)));
        assert!(
            Lag::PendingEvent.is_told_by(&refusal(422, "Droplet already has a pending event."))
        );
        assert!(Lag::PendingEvent.is_told_by(&refusal(
            422,
            "there are currently blocking events processing for one or more of the droplets"
        )));
        assert!(Lag::VolumeAttached.is_told_by(&refusal(409, "attached volume cannot be deleted")));
        assert!(!Lag::VolumeAttached.is_told_by(&refusal(409, "name taken")));
    }
}
