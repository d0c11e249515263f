//! Answers that mean harm, or come from something that is no API: without an end, or with numbers
//! that no clock has.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::sending::{account, everything, first};
use super::server::{Reply, Server, TOKEN, client_of, ok, quick, refuse, volume};
use crate::cloud::request::Call;
use crate::cloud::transport::MOST_BYTES;
use crate::cloud::{Client, CloudError};

/// A piece of an answer: large, for speed.
fn piece(of: &str) -> &'static str {
    of.repeat(65_536 / of.len()).leak()
}

/// An API that answers everything without end.
async fn endless(
    status: u16,
    begin: &'static str,
    with: &'static str,
) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server =
        Server::start(move |_| Reply::Endless(status, begin, with, Arc::clone(&counted))).await;
    (server, count)
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up_when_it_is_too_large() {
    let (server, count) = endless(200, r#"{"account":{"status":""#, piece("all is well ")).await;
    let client = server.client();
    let error = client.account().await.expect_err("it has no end");
    insta::assert_snapshot!(error, @"the answer to GET /v2/account is larger than 16 MiB");
    assert_eq!(client.calls(), 1, "the next would be as large");
    let sent = count.load(Ordering::Relaxed);
    // More than is read fits into the buffers on the way, but not much more.
    assert!((MOST_BYTES..2 * MOST_BYTES).contains(&sent), "{sent}");

    // What was asked for may have been done: nobody may take it for refused.
    let call = Call::SnapshotVolume {
        id: "v".to_owned(),
        name: "n".to_owned(),
        tags: Vec::new(),
    };
    let error = client.call(&call).await.err().expect("it has no end");
    assert!(error.is_outcome_unknown() && !error.is_final(), "{error}");
}

#[tokio::test]
async fn what_is_small_on_the_way_and_large_here_is_given_up_too() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed
        .write_all(&vec![b' '; 2 * MOST_BYTES])
        .expect("packed");
    let packed = packed.finish().expect("packed");
    assert!(packed.len() < MOST_BYTES / 100);
    let server = Server::start(move |_| {
        Reply::Bytes(
            vec![("content-encoding", "gzip".to_owned())],
            packed.clone(),
        )
    })
    .await;
    let error = server
        .client()
        .account()
        .await
        .expect_err("it is too large");
    assert!(matches!(error, CloudError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn of_an_endless_error_the_beginning_is_told_and_the_status_counts() {
    let (server, _) = endless(403, "<html>", piece("<p> ")).await;
    let error = server.client().account().await.expect_err("no");
    assert!(matches!(error, CloudError::Unexpected { status: 403, .. }));
    assert!(error.to_string().contains("`<html><p> <p>"), "{error}");

    // It is tried again as any other.
    let (server, _) = endless(503, "", piece("busy ")).await;
    let mut timing = quick();
    timing.fault_deadline = Duration::from_millis(50);
    let client = client_of(&server.url, timing);
    client.account().await.expect_err("no");
    assert!(client.calls() > 1);

    // Where it is cut, no part of a token is left.
    let spaces = " ".repeat(1_024 * 1_024 - 10);
    let echo: &'static str = format!("{spaces}{TOKEN}").leak();
    let (server, _) = endless(403, echo, piece(TOKEN)).await;
    let error = server.client().account().await.expect_err("no");
    assert!(!everything(&error).contains(&TOKEN[..8]), "{error}");
}

#[tokio::test]
async fn what_an_error_repeats_of_an_answer_is_short_and_without_the_token() {
    let long = "no \u{1b}[2Jlist ".repeat(10_000);
    let replies = [
        ok(json!({ "account": format!("Authorization: Bearer {TOKEN}") })),
        ok(json!({ "account": { "droplet_limit": long } })),
        refuse(422, "unprocessable_entity", &long),
        Reply::With(
            422,
            vec![],
            json!({ "id": long, "message": "", "request_id": long }).to_string(),
        ),
    ];
    for reply in replies {
        let reply = std::sync::Mutex::new(Some(reply));
        let server = Server::start(move |_| {
            let next = reply.lock().expect("no panic").take();
            next.expect("asked once")
        })
        .await;
        let error = server.client().account().await.expect_err("no account");
        let shown = everything(&error);
        assert!(
            !shown.contains(TOKEN) && !shown.contains('\u{1b}'),
            "{shown}"
        );
        assert!(shown.len() < 8_000, "{}", shown.len());
    }
}

async fn volumes_of(
    answer: impl Fn(usize) -> Value + Send + Sync + 'static,
) -> (Client, Result<usize, String>) {
    let server = Server::start(move |seen| ok(answer(seen.page()))).await;
    let client = server.client();
    let volumes = client.volumes().await;
    let result = match volumes {
        Ok(volumes) => Ok(volumes.len()),
        Err(error) => {
            assert!(matches!(error, CloudError::EndlessList { .. }), "{error}");
            Err(error.to_string())
        }
    };
    (client, result)
}

fn next() -> Value {
    json!({ "pages": { "next": "https://api.digitalocean.com/v2/volumes?page=2" } })
}

#[tokio::test]
async fn a_list_that_leads_nowhere_is_given_up() {
    // The same page again and again.
    let same = |_| json!({ "volumes": [volume("v", "a", &[])], "links": next() });
    let (client, result) = volumes_of(same).await;
    insta::assert_snapshot!(result.expect_err("no end"), @"the list of GET /v2/volumes does not end: 3 pages in a row held nothing new");
    assert_eq!(client.calls(), 4);

    // Nothing, and more of it.
    let none = |_| json!({ "volumes": [], "links": next() });
    let (client, result) = volumes_of(none).await;
    result.expect_err("no end");
    assert_eq!(client.calls(), 3);

    // The same, and the total says that there are more.
    let many = |_| json!({ "volumes": [volume("v", "a", &[])], "links": next(), "meta": { "total": 4_000 } });
    let (client, result) = volumes_of(many).await;
    result.expect_err("no end");
    assert!(client.calls() <= 12, "{}", client.calls());

    // Always something new.
    let new = |page: usize| json!({ "volumes": [volume(&format!("v{page}"), "a", &[])], "links": next() });
    let (client, result) = volumes_of(new).await;
    insta::assert_snapshot!(result.expect_err("no end"), @"the list of GET /v2/volumes does not end: there is another page after 1000");
    assert_eq!(client.calls(), 1_000);
}

#[tokio::test]
async fn a_total_that_is_not_true_costs_a_few_calls_at_most() {
    for total in [json!(u64::MAX), json!(200_001)] {
        let answer =
            move |_| json!({ "volumes": [volume("v", "a", &[])], "meta": { "total": total } });
        let (client, result) = volumes_of(answer).await;
        result.expect_err("no account has as many");
        assert_eq!(client.calls(), 1);
    }
    let answer = |page: usize| {
        let items: Vec<Value> = (page == 1)
            .then(|| volume("v", "a", &[]))
            .into_iter()
            .collect();
        json!({ "volumes": items, "meta": { "total": 150_000 } })
    };
    let (client, result) = volumes_of(answer).await;
    assert_eq!(result, Ok(1));
    assert!(client.calls() <= 10, "{}", client.calls());

    // A total that is no number is an answer of another shape.
    let server = Server::start(|_| ok(json!({ "volumes": [], "meta": { "total": -1 } }))).await;
    let error = server.client().volumes().await.expect_err("no total");
    assert!(matches!(error, CloudError::Unreadable { .. }), "{error}");
}

/// What comes of a call whose first answer has these headers, and every later one is good.
async fn after(status: u16, headers: &[(&'static str, &str)]) -> Result<(), CloudError> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let reply = move || Reply::With(status, headers.clone(), "{}".to_owned());
    let server = Server::start(first(1, reply)).await;
    server.client().account().await.map(drop)
}

#[tokio::test]
async fn a_time_to_come_back_that_is_past_the_deadline_ends_the_call_at_once() {
    let most = u64::MAX.to_string();
    for headers in [
        [("retry-after", most.as_str())],
        [("retry-after", "7201")],
        [("retry-after", "Thu, 31 Dec 9998 23:59:59 GMT")],
        [("ratelimit-reset", most.as_str())],
        [("ratelimit-reset", "253402300799")],
    ] {
        for status in [429, 503] {
            // A server's fault is tried again soon, whenever a budget is renewed.
            if status == 503 && headers[0].0 == "ratelimit-reset" {
                continue;
            }
            let error = after(status, &headers).await.expect_err("too late");
            let told = match &error {
                CloudError::Refused(refusal) => refusal.status,
                CloudError::Unexpected { status, .. } => *status,
                _ => panic!("{error}"),
            };
            assert_eq!(told, status, "{headers:?}");
        }
    }
}

#[tokio::test]
async fn a_time_to_come_back_that_is_none_is_as_good_as_none() {
    for value in [
        "-1",
        "soon",
        "",
        "1e9",
        "99999999999999999999999999",
        "NaN",
        "\u{fc}",
    ] {
        for name in ["retry-after", "ratelimit-reset"] {
            for status in [429, 503] {
                after(status, &[(name, value)]).await.expect("tried again");
            }
        }
    }
    // Long ago, by whatever clock: a second, or at once.
    for date in [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "noon",
    ] {
        after(429, &[("ratelimit-reset", "0"), ("date", date)])
            .await
            .expect("tried again");
    }
    after(429, &[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")])
        .await
        .expect("tried again");
}

#[tokio::test]
async fn a_limit_that_leaves_no_room_ends_the_call_and_one_that_is_none_does_not_hold_it() {
    for limit in [
        "0",
        "-1",
        "many",
        &u64::MAX.to_string(),
        "99999999999999999999999",
    ] {
        let server = Server::start({
            let limit = limit.to_owned();
            move |_| {
                let headers = vec![("ratelimit-limit", limit.clone())];
                let body = json!({ "account": { "droplet_limit": 25 } });
                Reply::With(200, headers, body.to_string())
            }
        })
        .await;
        let mut timing = quick();
        timing.throttle_deadline = Duration::ZERO;
        let client = client_of(&server.url, timing);
        for _ in 0..20 {
            client.account().await.expect("not held back");
        }
    }
    let server = Server::start(|_| {
        let Reply::Json(_, body) = account() else {
            unreachable!("it is JSON");
        };
        Reply::With(
            200,
            vec![("ratelimit-limit", "1".to_owned())],
            body.to_string(),
        )
    })
    .await;
    let client = server.client();
    client.account().await.expect("the first is let through");
    let mut timing = quick();
    timing.rate_hour = Duration::from_secs(86_400);
    let client = client_of(&server.url, timing);
    client.account().await.expect("the first is let through");
    let error = client.account().await.expect_err("tomorrow");
    assert!(matches!(error, CloudError::HeldBack { .. }), "{error}");
}
