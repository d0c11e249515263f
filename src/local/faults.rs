//! Faults that tests ask for: what DigitalOcean does on its bad days.

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A fault, and the calls that meet it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only calls with this method; any when left out.
    #[serde(default)]
    pub method: Option<String>,
    /// Only calls whose path fits: `*` is one segment, `**` any number.
    pub path: String,
    /// Only calls whose JSON body, written without blanks, contains this text.
    #[serde(default)]
    pub contains: Option<String>,
    /// From which fitting call on, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls meet it; 0 for all that follow.
    #[serde(default = "one")]
    pub times: u64,
    /// What they meet.
    pub fault: Fault,
}

const fn one() -> u64 {
    1
}

/// What a call meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection ends before anything is done.
    ResetBefore,
    /// The connection ends after everything is done, in place of the answer.
    ResetAfter,
    /// An answer with this status; with 429, `ratelimit-reset` is the next second.
    Status {
        /// The status, such as 503.
        code: u16,
        /// Seconds of a `retry-after` header.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Whether the call was carried out all the same.
        #[serde(default)]
        processed: bool,
    },
    /// The head of the answer comes whole, its body only half: then the connection ends.
    Truncated,
    /// The body of the answer comes in drops.
    Slow {
        /// How many milliseconds all of it takes.
        ms: u64,
    },
    /// The answer comes late.
    Delay {
        /// By how many milliseconds.
        ms: u64,
    },
    /// The action that the call begins ends as `errored`, or later, or both.
    Action {
        /// Whether it fails.
        #[serde(default)]
        errored: bool,
        /// How many milliseconds longer it takes.
        #[serde(default)]
        delay_ms: u64,
        /// Whether it never ends, until faults are taken away.
        #[serde(default)]
        never: bool,
    },
    /// What is read is what there was a while ago, if the fault was in force then. Writes do not meet it.
    Lag {
        /// How many milliseconds ago.
        ms: u64,
    },
    /// Somebody else's request is carried out, too.
    Meanwhile {
        /// Its method.
        method: String,
        /// Its path. `{1}` stands for what the first `*` of the rule's path was, and so on; `{id}`
        /// for the id of what the call itself has made.
        path: String,
        /// Its body, in whose texts the same stands for the same.
        #[serde(default)]
        body: Option<Value>,
        /// Whether it comes after the call was carried out, but before it is answered.
        #[serde(default)]
        after: bool,
    },
}

impl Fault {
    /// Puts what the call was about in place of `{1}` and so on.
    fn about(&self, met: &[&str]) -> Self {
        let mut about = self.clone();
        if let Self::Meanwhile { path, body, .. } = &mut about {
            for (number, segment) in (1..).zip(met) {
                stand_in(path, body.as_mut(), &format!("{{{number}}}"), segment);
            }
        }
        about
    }
}

/// Puts a text in place of its placeholder.
pub(super) fn stand_in(path: &mut String, body: Option<&mut Value>, placeholder: &str, text: &str) {
    *path = path.replace(placeholder, text);
    match body {
        Some(Value::String(found)) => *found = found.replace(placeholder, text),
        Some(Value::Array(items)) => {
            for item in items {
                stand_in(&mut String::new(), Some(item), placeholder, text);
            }
        }
        Some(Value::Object(fields)) => {
            for (_, field) in fields {
                stand_in(&mut String::new(), Some(field), placeholder, text);
            }
        }
        _ => {}
    }
}

/// What each `*` of a pattern is in a path that fits it, segment by segment.
fn captured<'a>(pattern: &str, path: &'a str) -> Vec<&'a str> {
    let segments = pattern.split('/').zip(path.split('/'));
    segments
        .filter(|(pattern, _)| *pattern == "*")
        .map(|(_, segment)| segment)
        .collect()
}

/// A pattern that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is no path pattern")]
pub struct BadPattern {
    pattern: String,
    #[source]
    cause: globset::Error,
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<(Rule, GlobMatcher, u64)>,
}

impl Faults {
    /// Adds a fault.
    ///
    /// # Errors
    /// When its pattern cannot be read.
    pub fn add(&mut self, rule: Rule) -> Result<(), BadPattern> {
        let matcher = GlobBuilder::new(&rule.path)
            .literal_separator(true)
            .build()
            .map_err(|cause| BadPattern {
                pattern: rule.path.clone(),
                cause,
            })?
            .compile_matcher();
        self.rules.push((rule, matcher, 0));
        Ok(())
    }

    /// Takes all faults away.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Whether what was is needed to answer what lags.
    #[must_use]
    pub fn has_lag(&self) -> bool {
        let lags = |(rule, _, _): &(Rule, _, _)| matches!(rule.fault, Fault::Lag { .. });
        self.rules.iter().any(lags)
    }

    /// The faults in force, with how many calls fitted each.
    pub fn list(&self) -> impl Iterator<Item = (&Rule, u64)> {
        self.rules.iter().map(|(rule, _, seen)| (rule, *seen))
    }

    /// Counts a call, and tells what it meets: the first rule whose turn it is.
    pub fn meet(&mut self, method: &str, path: &str, body: Option<&Value>) -> Option<Fault> {
        let mut met = None;
        let text = body.map(Value::to_string).unwrap_or_default();
        for (rule, matcher, seen) in &mut self.rules {
            let fits = rule
                .method
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && matcher.is_match(path)
                && rule
                    .contains
                    .as_ref()
                    .is_none_or(|wanted| text.contains(wanted.as_str()));
            if !fits {
                continue;
            }
            *seen += 1;
            let is_due = *seen >= rule.nth
                && (rule.times == 0 || *seen < rule.nth.saturating_add(rule.times));
            if is_due && met.is_none() {
                met = Some(rule.fault.about(&captured(&rule.path, path)));
            }
        }
        met
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).expect("a rule")
    }

    #[test]
    fn the_nth_call_meets_it_and_no_other() {
        let mut faults = Faults::default();
        faults
            .add(rule(json!({
                "method": "POST", "path": "/v2/droplets", "nth": 2, "fault": "reset_after",
            })))
            .expect("a pattern");
        let mut met = || faults.meet("POST", "/v2/droplets", None);
        assert_eq!(met(), None);
        assert_eq!(met(), Some(Fault::ResetAfter));
        assert_eq!(met(), None);
        assert_eq!(faults.meet("GET", "/v2/droplets", None), None);
    }

    #[test]
    fn patterns_are_by_segment_and_bodies_can_be_asked_for() {
        let mut faults = Faults::default();
        faults
            .add(rule(json!({
                "path": "/v2/droplets/*/actions", "times": 0, "contains": "\"snapshot\"",
                "fault": { "action": { "errored": true } },
            })))
            .expect("a pattern");
        let snapshot = json!({ "type": "snapshot" });
        let fault = Fault::Action {
            errored: true,
            delay_ms: 0,
            never: false,
        };
        let path = "/v2/droplets/1/actions";
        assert_eq!(faults.meet("POST", path, Some(&snapshot)), Some(fault));
        let other = json!({ "type": "power_off" });
        assert_eq!(faults.meet("POST", path, Some(&other)), None);
        let deeper = "/v2/droplets/1/actions/2";
        assert_eq!(faults.meet("GET", deeper, Some(&snapshot)), None);
        assert!(serde_json::from_value::<Rule>(json!({ "path": "/", "fualt": 1 })).is_err());
    }

    #[test]
    fn what_others_do_meanwhile_may_be_about_what_the_call_is_about() {
        let mut faults = Faults::default();
        faults
            .add(rule(json!({
                "path": "/v2/tags/*/resources/*",
                "fault": { "meanwhile": {
                    "method": "DELETE", "path": "/v2/{2}/{1}/{id}",
                    "body": { "resources": [{ "resource_id": "{2}" }] },
                } },
            })))
            .expect("a pattern");
        let met = faults.meet("POST", "/v2/tags/a:b/resources/7", None);
        let Some(Fault::Meanwhile { path, body, .. }) = met else {
            panic!("{met:?}");
        };
        assert_eq!(path, "/v2/7/a:b/{id}");
        let body = body.expect("a body");
        assert_eq!(body, json!({ "resources": [{ "resource_id": "7" }] }));
    }
}
