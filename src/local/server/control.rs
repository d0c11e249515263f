//! What only tests and the service itself ask for, below `/_local`.

use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::Api;
use super::answers::{refuse, with_json};
use crate::local::account::Account;
use crate::local::exchange::Refusal;
use crate::local::faults::Rule;
use crate::local::request_log::Entry;
use crate::local::work::{lock, now};

/// Answers such a request.
pub(super) fn control(
    api: &Api,
    method: &Method,
    path: &str,
    query: &[(String, String)],
    body: Option<Value>,
) -> Response {
    match (path, method) {
        ("status", &Method::GET) => {
            let (droplets, volumes, snapshots) = lock(&api.worker.account).census();
            let mut about = api.about.clone();
            about["warnings"] = json!(api.worker.look_at_images());
            about["droplets"] = json!(droplets);
            about["volumes"] = json!(volumes);
            about["snapshots"] = json!(snapshots);
            with_json(StatusCode::OK, &about)
        }
        ("requests", &Method::GET) => {
            let after = query
                .iter()
                .find(|(key, _)| key == "after")
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(0);
            let log = lock(&api.log);
            let entries: Vec<&Entry> = log.after(after).collect();
            // All but the one that asks.
            let open = api.open.load(Ordering::SeqCst);
            let others = open.max(api.connections.count()).saturating_sub(1);
            let answer = json!({ "requests": entries, "under_way": others });
            with_json(StatusCode::OK, &answer)
        }
        ("faults", &Method::GET) => {
            let faults = lock(&api.faults);
            let rules: Vec<Value> = faults
                .list()
                .map(|(rule, seen)| json!({ "rule": rule, "seen": seen }))
                .collect();
            with_json(StatusCode::OK, &json!({ "faults": rules }))
        }
        ("faults", &Method::POST) => {
            let rule = match serde_json::from_value::<Rule>(body.unwrap_or_default()) {
                Ok(rule) => rule,
                Err(error) => return refuse(&Refusal::bad_request(error.to_string())),
            };
            match lock(&api.faults).add(rule) {
                Ok(()) => StatusCode::NO_CONTENT.into_response(),
                Err(error) => refuse(&Refusal::bad_request(error.to_string())),
            }
        }
        ("faults", &Method::DELETE) => {
            lock(&api.faults).clear();
            lock(&api.past).clear();
            api.worker.free_stuck();
            StatusCode::NO_CONTENT.into_response()
        }
        ("account", &Method::GET) => {
            let account = serde_json::to_value(&*lock(&api.worker.account));
            with_json(StatusCode::OK, &account.unwrap_or_default())
        }
        ("account", &Method::PUT) => replace_account(api, body.unwrap_or_default()),
        ("status" | "requests" | "faults" | "account", _) => refuse(&Refusal::method_not_allowed()),
        _ => refuse(&Refusal::not_found()),
    }
}

/// Takes another account in place of what there is: tests begin where another left off. Not with
/// guests, whose files would not fit it.
fn replace_account(api: &Api, account: Value) -> Response {
    if api.worker.has_guests() {
        return refuse(&Refusal::conflict("droplets are guests here"));
    }
    let other = match serde_json::from_value::<Account>(account) {
        Ok(other) => other,
        Err(error) => return refuse(&Refusal::bad_request(error.to_string())),
    };
    let jobs = {
        let mut account = lock(&api.worker.account);
        account.become_other(other, now());
        account.take_fresh()
    };
    api.worker.start(jobs);
    StatusCode::NO_CONTENT.into_response()
}
