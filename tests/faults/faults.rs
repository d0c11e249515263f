//! The faults, and which calls meet which.

use std::time::Duration;

use dewpoint::cloud::Timing;
use serde_json::{Value, json};

use crate::lab::rule;

/// A call that a step makes: method, path with `*` for ids, and a text of its body when the path
/// alone does not tell what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub contains: Option<String>,
}

impl Call {
    /// Of an entry of the local cloud's log.
    pub fn of(entry: &Value) -> Self {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let kind = entry["request"]["type"].as_str();
        let path = text("path");
        let contains = kind.filter(|_| path.ends_with("/actions"));
        Self {
            method: text("method"),
            path: pattern(&path),
            contains: contains.map(|kind| format!("\"type\":\"{kind}\"")),
        }
    }

    pub fn is_read(&self) -> bool {
        self.method == "GET"
    }

    /// Whether it begins something that ends later.
    fn begins(&self) -> bool {
        let path = self.path.as_str();
        match self.method.as_str() {
            "POST" => {
                path.ends_with("/actions")
                    || path.ends_with("/snapshots")
                    || matches!(path, "/v2/droplets" | "/v2/volumes")
            }
            "DELETE" => matches!(path, "/v2/droplets/*" | "/v2/volumes/*"),
            _ => false,
        }
    }

    pub fn shown(&self) -> String {
        let kind = self
            .contains
            .as_deref()
            .and_then(|text| text.split('"').nth(3));
        let kind = kind.map_or_else(String::new, |kind| format!(" {kind}"));
        format!("{} {}{kind}", self.method, self.path)
    }
}

/// A path with `*` in place of ids and names.
fn pattern(path: &str) -> String {
    const WORDS: [&str; 11] = [
        "v2",
        "account",
        "keys",
        "tags",
        "resources",
        "firewalls",
        "volumes",
        "droplets",
        "images",
        "snapshots",
        "actions",
    ];
    let segments = path.split('/').map(|segment| {
        if segment.is_empty() || WORDS.contains(&segment) {
            segment
        } else {
            "*"
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A fault: its name, what it means, and the rules of the local cloud that make a call meet it;
/// none when it does not apply to the call.
pub struct Fault {
    pub name: &'static str,
    pub meaning: &'static str,
    pub rules: fn(&Call) -> Option<Vec<Value>>,
    /// Which calls those are, when not all.
    pub needs: Option<&'static str>,
    /// Whether the call has no good answer, so that success means that something was done about it.
    pub is_loss: bool,
    /// What the client waits less long for, where it is to give up.
    pub hurry: fn(&mut Timing),
}

/// A client that gives up nothing.
fn none(_: &mut Timing) {}

/// Gives up calls that are not answered well.
fn calls(timing: &mut Timing) {
    timing.fault_deadline = ms(400);
    timing.reach_deadline = ms(400);
}

/// Gives up answers that do not come.
fn answers(timing: &mut Timing) {
    timing.request_timeout = ms(1_200);
}

/// Gives up what the API refuses for now.
fn refusals(timing: &mut Timing) {
    timing.key_lag = ms(1_000);
    timing.pending_event = ms(1_000);
    timing.volume_free = ms(1_000);
    timing.read_back = ms(1_000);
}

/// Gives up what takes its time.
fn work(timing: &mut Timing) {
    timing.volume_free = ms(1_500);
    timing.droplet_ready = ms(1_500);
    timing.droplet_gone = ms(1_500);
    timing.action = ms(1_500);
    timing.snapshot = ms(1_500);
    timing.transfer = ms(1_500);
}

/// Gives up what does not show.
fn shows(timing: &mut Timing) {
    timing.droplet_lag = ms(600);
    timing.snapshot_listed = ms(600);
    timing.read_back = ms(600);
    work(timing);
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn met(call: &Call, fault: &Value) -> Value {
    let mut rule = rule(&call.method, &call.path, fault);
    if let Some(contains) = &call.contains {
        rule["contains"] = json!(contains);
    }
    rule
}

fn once(call: &Call, fault: &Value) -> Option<Vec<Value>> {
    Some(vec![met(call, fault)])
}

fn lasting(call: &Call, fault: &Value) -> Option<Vec<Value>> {
    let mut rule = met(call, fault);
    rule["times"] = json!(0);
    Some(vec![rule])
}

fn status(code: u16) -> Value {
    json!({ "status": { "code": code } })
}

/// Takes away what a call is about, or has just made.
fn gone(call: &Call) -> Option<Vec<Value>> {
    let (path, after) = match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/v2/droplets") => ("/v2/droplets/{id}", true),
        ("POST", "/v2/volumes") => ("/v2/volumes/{id}", true),
        ("POST", "/v2/firewalls") => ("/v2/firewalls/{id}", true),
        ("POST", "/v2/account/keys") => ("/v2/account/keys/{id}", true),
        ("POST", "/v2/volumes/*/snapshots") => ("/v2/snapshots/{id}", true),
        (_, path) if path.starts_with("/v2/droplets/*") => ("/v2/droplets/{1}", false),
        (_, path) if path.starts_with("/v2/volumes/*") => ("/v2/volumes/{1}", false),
        (_, path) if path.starts_with("/v2/images/*") => ("/v2/images/{1}", false),
        (_, path) if path.starts_with("/v2/firewalls/*") => ("/v2/firewalls/{1}", false),
        (_, path) if path.starts_with("/v2/snapshots/*") => ("/v2/snapshots/{1}", false),
        (_, path) if path.starts_with("/v2/account/keys/*") => ("/v2/account/keys/{1}", false),
        // A tag that things bear is what tells whose they are: who deletes one of those takes them
        // from dewpoint.
        (_, "/v2/tags/*") => ("/v2/tags/{1}", false),
        _ => return None,
    };
    let fault = json!({ "meanwhile": { "method": "DELETE", "path": path, "after": after } });
    once(call, &fault)
}

/// Changes what a call is about, or has just made.
fn changed(call: &Call) -> Option<Vec<Value>> {
    let fault = match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/v2/droplets") => json!({
            "method": "DELETE", "path": "/v2/tags/dewpoint:shop:main/resources", "after": true,
            "body": { "resources": [{ "resource_id": "{id}", "resource_type": "droplet" }] },
        }),
        (_, path) if path.starts_with("/v2/droplets/*") => json!({
            "method": "POST", "path": "/v2/droplets/{1}/actions", "body": { "type": "power_off" },
        }),
        ("POST", "/v2/firewalls") => json!({
            "method": "PUT", "path": "/v2/firewalls/{id}", "after": true,
            "body": { "name": "shop-main", "tags": [], "outbound_rules": [], "inbound_rules": [
                { "protocol": "tcp", "ports": "1", "sources": { "addresses": ["0.0.0.0/0"] } },
            ] },
        }),
        _ => return None,
    };
    once(call, &json!({ "meanwhile": fault }))
}

/// Longer than a client waits for an answer that gives up, and then looks for what it asked for.
const LATE: u64 = 4_000;
/// Shorter than what lists may lag by.
const LAG: u64 = 120;

/// All of them.
pub const FAULTS: [Fault; 22] = [
    Fault {
        name: "500",
        meaning: "one answer is 500, nothing was done",
        rules: |call| once(call, &status(500)),
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "502",
        meaning: "one answer is a gateway's 502 in HTML",
        rules: |call| once(call, &status(502)),
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "503",
        meaning: "one answer is 503 with `retry-after: 0`",
        rules: |call| {
            once(
                call,
                &json!({ "status": { "code": 503, "retry_after": 0 } }),
            )
        },
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "500, done",
        meaning: "one answer is 500 although all was done",
        rules: |call| {
            let fault = json!({ "status": { "code": 500, "processed": true } });
            (!call.is_read()).then(|| once(call, &fault))?
        },
        needs: Some("a write"),
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "503 lasting",
        meaning: "every answer is 503 for longer than calls are tried",
        rules: |call| lasting(call, &status(503)),
        needs: None,
        is_loss: true,
        hurry: calls,
    },
    Fault {
        name: "429",
        meaning: "one answer is 429 and tells only when the budget is back",
        rules: |call| once(call, &status(429)),
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "429, retry-after",
        meaning: "one answer is 429 with `retry-after: 1`",
        rules: |call| {
            once(
                call,
                &json!({ "status": { "code": 429, "retry_after": 1 } }),
            )
        },
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "reset before",
        meaning: "the connection ends before anything is done",
        rules: |call| once(call, &json!("reset_before")),
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "reset after",
        meaning: "the connection ends in place of the answer, all was done",
        rules: |call| once(call, &json!("reset_after")),
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "reset after, lists lag",
        meaning: "the same, and lists show it a while later",
        rules: |call| {
            let mut lag = rule("GET", "/v2/**", &json!({ "lag": { "ms": LAG } }));
            lag["times"] = json!(0);
            (!call.is_read()).then(|| vec![met(call, &json!("reset_after")), lag])
        },
        needs: Some("a write"),
        is_loss: true,
        hurry: refusals,
    },
    Fault {
        name: "no answers",
        meaning: "every connection ends, for longer than calls are tried",
        rules: |call| lasting(call, &json!("reset_before")),
        needs: None,
        is_loss: true,
        hurry: calls,
    },
    Fault {
        name: "truncated",
        meaning: "half of the answer comes, all was done",
        rules: |call| once(call, &json!("truncated")),
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "slow",
        meaning: "the answer comes in drops",
        rules: |call| once(call, &json!({ "slow": { "ms": 200 } })),
        needs: None,
        is_loss: false,
        hurry: none,
    },
    Fault {
        name: "delayed",
        meaning: "it is carried out, and answered, later than usual, in time",
        rules: |call| once(call, &json!({ "delay": { "ms": 200 } })),
        needs: None,
        is_loss: false,
        hurry: none,
    },
    Fault {
        name: "late",
        meaning: "it is carried out, and answered, only after the client has given it up",
        rules: |call| once(call, &json!({ "delay": { "ms": LATE } })),
        needs: None,
        is_loss: true,
        hurry: answers,
    },
    Fault {
        name: "refused",
        meaning: "422, whatever is asked",
        rules: |call| lasting(call, &status(422)),
        needs: None,
        is_loss: true,
        hurry: refusals,
    },
    Fault {
        name: "forbidden",
        meaning: "403, whatever is asked",
        rules: |call| lasting(call, &status(403)),
        needs: None,
        is_loss: true,
        hurry: none,
    },
    Fault {
        name: "errored",
        meaning: "what the call begins fails",
        rules: |call| {
            let fault = json!({ "action": { "errored": true } });
            call.begins().then(|| once(call, &fault))?
        },
        needs: Some("a call that begins something"),
        is_loss: true,
        hurry: refusals,
    },
    Fault {
        name: "never ends",
        meaning: "what the call begins does not end for longer than it is waited for",
        rules: |call| {
            let fault = json!({ "action": { "never": true } });
            call.begins().then(|| once(call, &fault))?
        },
        needs: Some("a call that begins something"),
        is_loss: true,
        hurry: work,
    },
    Fault {
        name: "lags",
        meaning: "reads show what there was a while ago",
        rules: |call| {
            let fault = json!({ "lag": { "ms": LAG } });
            call.is_read().then(|| lasting(call, &fault))?
        },
        needs: Some("a read"),
        is_loss: false,
        hurry: none,
    },
    Fault {
        name: "gone",
        meaning: "somebody else deletes it just then",
        rules: gone,
        needs: Some("a call about one thing that can be deleted, or that makes it"),
        is_loss: false,
        hurry: shows,
    },
    Fault {
        name: "changed",
        meaning: "somebody else changes it just then: power, rules, a tag",
        rules: changed,
        needs: Some("a call about a droplet, or that makes a firewall"),
        is_loss: false,
        hurry: none,
    },
];
