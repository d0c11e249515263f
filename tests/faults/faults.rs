//! The faults, and which calls meet which.

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
    /// Whether the call has no good answer, so that success means that something was done about it.
    pub is_loss: bool,
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

/// Longer than a test's client waits for an answer.
const LATE: u64 = 1_300;
/// Shorter than what lists may lag by.
const LAG: u64 = 120;

/// All of them.
pub const FAULTS: [Fault; 21] = [
    Fault {
        name: "500",
        meaning: "one answer is 500, nothing was done",
        rules: |call| once(call, &status(500)),
        is_loss: true,
    },
    Fault {
        name: "502",
        meaning: "one answer is a gateway's 502 in HTML",
        rules: |call| once(call, &status(502)),
        is_loss: true,
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
        is_loss: true,
    },
    Fault {
        name: "500, done",
        meaning: "one answer is 500 although all was done",
        rules: |call| {
            let fault = json!({ "status": { "code": 500, "processed": true } });
            (!call.is_read()).then(|| once(call, &fault))?
        },
        is_loss: true,
    },
    Fault {
        name: "503 lasting",
        meaning: "every answer is 503 for longer than calls are tried",
        rules: |call| lasting(call, &status(503)),
        is_loss: true,
    },
    Fault {
        name: "429",
        meaning: "one answer is 429 and tells only when the budget is back",
        rules: |call| once(call, &status(429)),
        is_loss: true,
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
        is_loss: true,
    },
    Fault {
        name: "reset before",
        meaning: "the connection ends before anything is done",
        rules: |call| once(call, &json!("reset_before")),
        is_loss: true,
    },
    Fault {
        name: "reset after",
        meaning: "the connection ends in place of the answer, all was done",
        rules: |call| once(call, &json!("reset_after")),
        is_loss: true,
    },
    Fault {
        name: "reset after, lists lag",
        meaning: "the same, and lists show it a while later",
        rules: |call| {
            let mut lag = rule("GET", "/v2/**", &json!({ "lag": { "ms": LAG } }));
            lag["times"] = json!(0);
            (!call.is_read()).then(|| vec![met(call, &json!("reset_after")), lag])
        },
        is_loss: true,
    },
    Fault {
        name: "no answers",
        meaning: "every connection ends, for longer than calls are tried",
        rules: |call| lasting(call, &json!("reset_before")),
        is_loss: true,
    },
    Fault {
        name: "truncated",
        meaning: "half of the answer comes, all was done",
        rules: |call| once(call, &json!("truncated")),
        is_loss: true,
    },
    Fault {
        name: "slow",
        meaning: "the answer comes in drops",
        rules: |call| once(call, &json!({ "slow": { "ms": 200 } })),
        is_loss: false,
    },
    Fault {
        name: "late",
        meaning: "it is carried out, and answered, only after the client has given it up",
        rules: |call| once(call, &json!({ "delay": { "ms": LATE } })),
        is_loss: true,
    },
    Fault {
        name: "refused",
        meaning: "422, whatever is asked",
        rules: |call| lasting(call, &status(422)),
        is_loss: true,
    },
    Fault {
        name: "forbidden",
        meaning: "403, whatever is asked",
        rules: |call| lasting(call, &status(403)),
        is_loss: true,
    },
    Fault {
        name: "errored",
        meaning: "what the call begins fails",
        rules: |call| {
            let fault = json!({ "action": { "errored": true } });
            call.begins().then(|| once(call, &fault))?
        },
        is_loss: true,
    },
    Fault {
        name: "never ends",
        meaning: "what the call begins does not end for longer than it is waited for",
        rules: |call| {
            let fault = json!({ "action": { "never": true } });
            call.begins().then(|| once(call, &fault))?
        },
        is_loss: true,
    },
    Fault {
        name: "lags",
        meaning: "reads show what there was a while ago",
        rules: |call| {
            let fault = json!({ "lag": { "ms": LAG } });
            call.is_read().then(|| lasting(call, &fault))?
        },
        is_loss: false,
    },
    Fault {
        name: "gone",
        meaning: "somebody else deletes it just then",
        rules: gone,
        is_loss: false,
    },
    Fault {
        name: "changed",
        meaning: "somebody else changes it just then: power, rules, a tag",
        rules: changed,
        is_loss: false,
    },
];
