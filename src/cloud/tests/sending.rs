//! Sending: retries, rate limits, pages, redirects, the token.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::server::{Reply, Server, TOKEN, client_of, ok, page_of, quick, refuse, volume};
use crate::cloud::request::Call;
use crate::cloud::{Budget, Client, ClientNotice, CloudError, Config};
use crate::secret::Secret;

/// An error with all its causes, as people and logs may see it.
pub(super) fn everything(error: &CloudError) -> String {
    let mut text = format!("{error:?}\n{error}");
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!("\n{inner}\n{inner:?}"));
        cause = inner.source();
    }
    text
}

pub(super) fn account() -> Reply {
    ok(json!({ "account": { "droplet_limit": 25, "status": "active" } }))
}

/// Answers the first `n` requests with one reply, the rest with the account.
pub(super) fn first(
    n: usize,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> impl Fn(&super::server::Seen) -> Reply {
    let count = AtomicUsize::new(0);
    move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < n {
            reply()
        } else {
            account()
        }
    }
}

#[tokio::test]
async fn long_lists_are_read_page_by_page_and_nothing_twice() {
    for total in [0_usize, 1, 200, 201, 401] {
        let items: Vec<Value> = (0..total)
            .map(|n| volume(&format!("v{n}"), "a", &[]))
            .collect();
        let server = Server::start(move |seen| page_of(seen, "volumes", &items)).await;
        let client = server.client();
        let volumes = client.volumes().await.expect("a list");
        assert_eq!(volumes.len(), total);
        assert_eq!(client.calls(), total.div_ceil(200).max(1) as u64);
    }
}

#[tokio::test]
async fn an_item_on_two_pages_is_given_once_and_a_list_that_grew_is_read_on() {
    let server = Server::start(|seen| {
        let item = |n: usize| volume(&format!("v{n}"), "a", &[]);
        // The total is of before: a third page came meanwhile, and one item moved.
        let (items, more): (Vec<Value>, bool) = match seen.page() {
            1 => ((0..200).map(item).collect(), true),
            2 => ((199..399).map(item).collect(), true),
            _ => ((399..401).map(item).collect(), false),
        };
        let links = if more {
            json!({ "pages": { "next": "https://x.example/" } })
        } else {
            json!({})
        };
        ok(json!({ "volumes": items, "links": links, "meta": { "total": 400 } }))
    })
    .await;
    assert_eq!(server.client().volumes().await.expect("a list").len(), 401);
}

#[tokio::test]
async fn the_token_goes_to_the_endpoint_alone() {
    let other = Server::start(|_| account()).await;
    for status in [301, 302, 303, 307, 308] {
        for to in [
            format!("{}/v2/account", other.url),
            format!("{}/v2/account", other.url.replace("127.0.0.1", "localhost")),
            "/v2/elsewhere".to_owned(),
        ] {
            let located = vec![("location", to.clone())];
            let server =
                Server::start(move |_| Reply::With(status, located.clone(), String::new())).await;
            let error = server
                .client()
                .account()
                .await
                .expect_err("redirects are not followed");
            let said = error.to_string();
            assert!(said.contains("a redirect"), "{said}");
            assert!(said.contains("which is not followed"), "{said}");
            assert_eq!(server.seen().len(), 1, "{status} {to}");
        }
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn the_token_stands_in_one_header_whatever_is_asked() {
    let text = || "x".to_owned();
    let resource = crate::plan::step::TaggedResource::Volume;
    let server = Server::start(|_| account()).await;
    let client = server.client();
    for call in [
        Call::Account,
        Call::Droplets,
        Call::DropletsTagged { tag: text() },
        Call::Volume { id: text() },
        Call::CreateSshKey {
            name: text(),
            public_key: text(),
        },
        Call::TagResource {
            tag: text(),
            resource,
            id: text(),
        },
        Call::UntagResource {
            tag: text(),
            resource,
            id: text(),
        },
        Call::DeleteVolume { id: text() },
        Call::SnapshotDroplet {
            id: 1,
            name: text(),
        },
    ] {
        client.call(&call).await.map(drop).expect("answered");
    }
    for seen in server.seen() {
        let line = seen.line();
        assert_eq!(
            seen.authorization,
            Some(format!("Bearer {TOKEN}")),
            "{line}"
        );
        assert!(!seen.others.contains(TOKEN), "{line}: {}", seen.others);
    }
}

#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    let server = Server::start(|_| account()).await;
    let client = client_of(&format!("{}/proxy/do/", server.url), quick());
    client.account().await.expect("an account");
    assert_eq!(server.seen()[0].path, "/proxy/do/v2/account");
}

#[tokio::test]
async fn too_many_requests_are_waited_out_and_told() {
    for headers in [vec![("retry-after", "0".to_owned())], vec![]] {
        let server = Server::start(first(3, move || {
            let body = json!({ "id": "too_many_requests", "message": "API Rate limit exceeded." });
            Reply::With(429, headers.clone(), body.to_string())
        }))
        .await;
        let client = server.client();
        assert_eq!(
            client.account().await.expect("an account").droplet_limit,
            25
        );
        assert_eq!(client.calls(), 4);
    }
}

#[tokio::test]
async fn one_429_holds_the_whole_client_back() {
    let server = Server::start(|_| {
        Reply::With(
            429,
            vec![("retry-after", "3600".to_owned())],
            "{}".to_owned(),
        )
    })
    .await;
    let client = server.client();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    client.set_observer({
        let notices = Arc::clone(&notices);
        Arc::new(move |notice| {
            notices.lock().expect("no panic").push(notice);
            let _ = told.send(());
        })
    });
    tokio::select! {
        _ = client.account() => panic!("it has to wait"),
        _ = heard.recv() => {}
    }
    tokio::select! {
        _ = client.volumes() => panic!("it has to wait, too"),
        _ = heard.recv() => {}
    }
    assert_eq!(client.calls(), 1);
    let notices = notices.lock().expect("no panic");
    assert!(
        matches!(&notices[1], ClientNotice::RateLimited { call, .. } if call == "GET /v2/volumes")
    );
}

#[tokio::test]
async fn the_limit_of_listing_keys_holds_nothing_else_back() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v2/account/keys" => Reply::With(
            429,
            vec![("retry-after", "3600".to_owned())],
            "{}".to_owned(),
        ),
        _ => account(),
    })
    .await;
    let client = server.client();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    client.set_observer(Arc::new(move |_| {
        let _ = told.send(());
    }));
    tokio::select! {
        _ = client.ssh_keys() => panic!("it has to wait"),
        _ = heard.recv() => {}
    }
    client.account().await.expect("not held back");
}

#[tokio::test]
async fn a_proxys_page_is_retried_and_then_told() {
    let page = || {
        Reply::With(
            504,
            vec![],
            "<html>\n <h1>504 Gateway</h1></html>".to_owned(),
        )
    };
    let server = Server::start(first(2, page)).await;
    server
        .client()
        .account()
        .await
        .expect("the third answer is good");

    let server = Server::start(move |_| page()).await;
    let mut timing = quick();
    timing.fault_deadline = std::time::Duration::from_millis(20);
    let error = client_of(&server.url, timing)
        .account()
        .await
        .expect_err("never good");
    insta::assert_snapshot!(error, @"GET /v2/account was answered with status 504 and a body that is not the API's: `<html> <h1>504 Gateway</h1></html>`");
}

#[tokio::test]
async fn refusals_are_final_and_bear_the_apis_words() {
    let server = Server::start(|_| {
        Reply::With(
            422,
            vec![("x-request-id", "4d9d8375-3c56".to_owned())],
            json!({ "id": "unprocessable_entity", "message": "Region is \u{1b}not available" })
                .to_string(),
        )
    })
    .await;
    let client = server.client();
    let error = client.account().await.expect_err("refused");
    insta::assert_snapshot!(error, @"the API refused GET /v2/account: Region is not available (request 4d9d8375-3c56)");
    assert_eq!(client.calls(), 1);

    let server = Server::start(|_| {
        Reply::Json(
            400,
            json!({ "error": "bad tag", "messages": null, "root_causes": ["rpc error: name"] }),
        )
    })
    .await;
    let error = server
        .client()
        .create_tag("a.b")
        .await
        .expect_err("refused");
    insta::assert_snapshot!(error, @"the API refused POST /v2/tags: bad tag: rpc error: name");
}

#[tokio::test]
async fn an_answer_of_another_shape_says_where() {
    let server = Server::start(|_| ok(json!({ "volumes": [{ "id": 7 }] }))).await;
    let error = server.client().volumes().await.expect_err("no volume");
    assert!(
        everything(&error).contains("id: invalid type"),
        "{}",
        everything(&error)
    );
    let server = Server::start(|_| ok(json!({ "something": "else" }))).await;
    let error = server
        .client()
        .volumes()
        .await
        .expect_err("an absent list is no empty account");
    assert!(matches!(error, CloudError::Unreadable { .. }));
}

#[tokio::test]
async fn an_api_that_is_not_there_is_given_up_soon_with_its_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let error = client_of(&format!("http://{address}"), quick())
        .account()
        .await
        .expect_err("closed");
    assert!(matches!(error, CloudError::Unreachable { .. }));
    // One cause, not the layers of the HTTP client one by one.
    let cause = error.source().expect("a cause");
    assert!(cause.source().is_none(), "{cause}");
    assert!(
        everything(&error)
            .to_lowercase()
            .contains("connection refused"),
        "{}",
        everything(&error)
    );
}

#[tokio::test]
async fn the_token_is_in_no_error() {
    let echo = || format!("<html>you sent Authorization: Bearer {TOKEN} to us</html>");
    let replies: Vec<fn() -> Reply> = vec![
        || refuse(401, "unauthorized", &format!("no such token {TOKEN}")),
        || Reply::With(500, vec![], format!("<p>{TOKEN}")),
        || Reply::Broken,
        || ok(json!({ "account": [] })),
        || Reply::Empty(404),
    ];
    for reply in replies {
        let server = Server::start(move |_| reply()).await;
        let mut timing = quick();
        timing.fault_deadline = std::time::Duration::ZERO;
        let client = client_of(&server.url, timing);
        for call in [
            Call::Account,
            Call::CreateTag {
                name: "x".to_owned(),
            },
        ] {
            let error = client
                .read::<crate::cloud::actions::Action>(&call, "account")
                .await;
            let shown = everything(&error.expect_err("each of them fails"));
            assert!(!shown.contains(TOKEN), "{shown}");
        }
        assert!(!format!("{client:?}").contains(TOKEN));
    }
    let server = Server::start(move |_| Reply::With(403, vec![], echo())).await;
    let error = server.client().account().await.expect_err("forbidden");
    assert!(
        error.to_string().contains("Bearer [redacted] to us"),
        "{error}"
    );
}

fn configured(endpoint: &str, token: &str) -> Result<Client, CloudError> {
    Client::new(Config {
        endpoint: endpoint.to_owned(),
        token: Secret::new(token.to_owned()),
        parallelism: 0,
        budget: Budget::Whole,
    })
}

#[tokio::test]
async fn tokens_and_endpoints_are_checked_before_anything_is_sent() {
    for token in ["", "  \"\" ", "two words", "line\nbreak", "g\u{fc}nstig"] {
        let error = configured("http://127.0.0.1:1", token).expect_err("no token");
        assert!(matches!(error, CloudError::BadToken { .. }), "{token:?}");
    }
    for endpoint in [
        "",
        "api.digitalocean.com",
        "ftp://x",
        "http://u:hush@x",
        "http://u:hush@",
        "http://x/?a=b",
    ] {
        let error = configured(endpoint, "t").expect_err("no endpoint");
        assert!(
            matches!(error, CloudError::BadEndpoint { .. }),
            "{endpoint:?}"
        );
        assert!(!everything(&error).contains("hush"), "{error}");
    }
    let server = Server::start(|_| account()).await;
    let client = configured(&server.url, " 'abc' \n").expect("trimmed");
    client.account().await.expect("an account");
    assert_eq!(
        server.seen()[0].authorization.as_deref(),
        Some("Bearer abc")
    );
}
