//! Volumes: unique names, one attachment at a time.

use serde_json::json;

use super::server::{
    Count, Reply, Server, action, conflict, droplet, not_found, ok, page_of, refuse, volume,
};
use crate::cloud::CloudError;
use crate::plan::step::VolumeSpec;
use crate::units::Gib;

fn spec() -> VolumeSpec {
    VolumeSpec {
        name: "p-data".into(),
        region: "nyc3".into(),
        size: Gib(10),
        tags: ["dewpoint", "dewpoint:p", "dewpoint-expires:1"]
            .map(str::to_owned)
            .to_vec()
            .into(),
    }
}

#[tokio::test]
async fn a_volume_whose_answer_was_lost_is_found_by_name() {
    let creates = Count::default();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" if creates.up() == 0 => Reply::Broken,
        "POST" => conflict("name in use"),
        _ => page_of(seen, "volumes", &[volume("v1", "p-data", &[])]),
    })
    .await;
    assert_eq!(
        server
            .client()
            .create_volume(&spec())
            .await
            .expect("ours")
            .id,
        "v1"
    );
    assert_eq!(server.seen()[1].query["name"], "p-data");
    assert_eq!(server.seen()[1].query["region"], "nyc3");
}

#[tokio::test]
async fn what_follows_a_lost_answer_never_says_that_nothing_was_made() {
    // Lost, then no look is possible; or lost, not found, and then refused.
    for look in [403, 200] {
        let creates = Count::default();
        let server = Server::start(move |seen| match seen.method.as_str() {
            "POST" if creates.up() == 0 => Reply::Broken,
            "POST" => refuse(422, "unprocessable_entity", "over the limit"),
            _ if look == 200 => page_of(seen, "volumes", &[]),
            _ => refuse(look, "forbidden", "no"),
        })
        .await;
        let error = server.client().create_volume(&spec()).await;
        let error = error.expect_err("it cannot be told");
        assert!(error.is_outcome_unknown() && !error.is_final(), "{error}");
    }
    let server = Server::start(|_| refuse(422, "unprocessable_entity", "over the limit")).await;
    let error = server.client().create_volume(&spec()).await;
    assert!(error.expect_err("refused").is_final());
}

#[tokio::test]
async fn anothers_volume_is_not_taken() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => conflict("name in use"),
        _ => {
            let mut other = volume("v1", "p-data", &[]);
            other["tags"] = json!(null);
            page_of(seen, "volumes", &[other])
        }
    })
    .await;
    let error = server
        .client()
        .create_volume(&spec())
        .await
        .expect_err("not ours");
    insta::assert_snapshot!(error, @"the name p-data is taken by a volume that is not dewpoint's");
}

#[tokio::test]
async fn a_volume_that_is_still_attached_is_deleted_once_it_is_free() {
    let deletes = Count::default();
    let server = Server::start(move |_| match deletes.up() {
        0..3 => conflict("attached volume cannot be deleted"),
        3 => Reply::Empty(204),
        _ => not_found(),
    })
    .await;
    let client = server.client();
    client.delete_volume("v1").await.expect("free at last");
    assert_eq!(client.calls(), 4);
    client.delete_volume("v1").await.expect("gone already");

    let server = Server::start(|_| conflict("something else")).await;
    let client = server.client();
    assert!(
        client
            .delete_volume("v1")
            .await
            .expect_err("final")
            .is_conflict()
    );
    assert_eq!(client.calls(), 1);
}

#[tokio::test]
async fn attach_waits_for_pending_events_and_for_its_action() {
    let asks = Count::default();
    let looks = Count::default();
    let server = Server::start(move |seen| match seen.line().as_str() {
        "POST /v2/volumes/v1/actions" => match asks.up() {
            0 => refuse(
                422,
                "unprocessable_entity",
                "Droplet already has a pending event.",
            ),
            _ => Reply::Json(202, action(5, "in-progress")),
        },
        "GET /v2/actions/5" => match looks.up() {
            0 | 1 => ok(action(5, "in-progress")),
            _ => ok(action(5, "completed")),
        },
        other => panic!("unexpected {other}"),
    })
    .await;
    server
        .client()
        .attach("v1", 7, "nyc3")
        .await
        .expect("attached");
    let body = &server.seen()[0].body;
    assert_eq!(
        *body,
        json!({ "type": "attach", "droplet_id": 7, "region": "nyc3" })
    );
}

#[tokio::test]
async fn attached_already_is_judged_by_where() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => refuse(
            422,
            "unprocessable_entity",
            "This volume is already attached",
        ),
        _ if seen.path == "/v2/droplets/7" => ok(json!({ "droplet": droplet(7, "p-e-a", true) })),
        _ => ok(json!({ "volume": volume("v1", "p-data", &[7]) })),
    })
    .await;
    let client = server.client();
    client
        .attach("v1", 7, "nyc3")
        .await
        .expect("it is where it should be");
    let error = client
        .attach("v1", 8, "nyc3")
        .await
        .expect_err("it is elsewhere");
    assert!(matches!(
        error,
        CloudError::AttachedElsewhere { other: 7, .. }
    ));
    client
        .detach("v1", 8, "nyc3")
        .await
        .expect("it is not attached there");
    assert!(
        client
            .detach("v1", 7, "nyc3")
            .await
            .expect_err("it is")
            .is_unprocessable()
    );
}

#[tokio::test]
async fn a_volume_that_a_destroyed_droplet_still_holds_is_waited_for() {
    let asks = Count::default();
    let server = Server::start(move |seen| match seen.line().as_str() {
        "POST /v2/volumes/v1/actions" => match asks.up() {
            0..2 => refuse(
                422,
                "unprocessable_entity",
                "This volume is already attached",
            ),
            _ => Reply::Json(202, action(5, "completed")),
        },
        "GET /v2/volumes/v1" => ok(json!({ "volume": volume("v1", "p-data", &[6]) })),
        _ => not_found(),
    })
    .await;
    server
        .client()
        .attach("v1", 7, "nyc3")
        .await
        .expect("free at last");
}

#[tokio::test]
async fn a_lost_attach_and_a_failed_one_are_looked_up() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => Reply::Broken,
        _ => ok(json!({ "volume": volume("v1", "p-data", &[7]) })),
    })
    .await;
    server
        .client()
        .attach("v1", 7, "nyc3")
        .await
        .expect("it was carried out");

    let server = Server::start(|seen| match seen.line().as_str() {
        "POST /v2/volumes/v1/actions" => Reply::Json(202, action(5, "errored")),
        _ => ok(json!({ "volume": volume("v1", "p-data", &[]) })),
    })
    .await;
    let error = server
        .client()
        .attach("v1", 7, "nyc3")
        .await
        .expect_err("failed");
    insta::assert_snapshot!(error, @"the API gave up its action 5 (attach volume)");
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_is_what_was_asked_first_although_reads_lag() {
    let (asked, looks) = (Count::default(), Count::default());
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" if asked.up() == 0 => Reply::Broken,
        "POST" => refuse(422, "unprocessable_entity", "already attached"),
        _ => {
            let holders: &[u64] = if looks.up() < 4 { &[] } else { &[7] };
            ok(json!({ "volume": volume("v1", "p-data", holders) }))
        }
    })
    .await;
    let client = server.client();
    client
        .attach("v1", 7, "nyc3")
        .await
        .expect("it is attached");
    assert_eq!(server.count("POST /v2/volumes/v1/actions"), 2);

    // What was refused at once is looked at once.
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => refuse(422, "unprocessable_entity", "no"),
        _ => ok(json!({ "volume": volume("v1", "p-data", &[]) })),
    })
    .await;
    let refused = server.client().attach("v1", 7, "nyc3").await;
    refused.expect_err("refused");
    assert_eq!(server.count("GET /v2/volumes/v1"), 1);
}

#[tokio::test]
async fn nothing_is_attached_of_a_volume_that_is_gone() {
    let server = Server::start(|_| not_found()).await;
    let client = server.client();
    client.detach("v1", 7, "nyc3").await.expect("nothing to do");
    assert!(
        client
            .attach("v1", 7, "nyc3")
            .await
            .expect_err("gone")
            .is_not_found()
    );
    assert!(
        client
            .resize_volume("v1", "nyc3", Gib(20))
            .await
            .expect_err("gone")
            .is_not_found()
    );
}

#[tokio::test]
async fn a_resize_that_was_done_is_done() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => refuse(422, "unprocessable_entity", "must be larger"),
        _ => ok(json!({ "volume": volume("v1", "p-data", &[]) })),
    })
    .await;
    let client = server.client();
    client
        .resize_volume("v1", "nyc3", Gib(10))
        .await
        .expect("it has that size");
    client
        .resize_volume("v1", "nyc3", Gib(5))
        .await
        .expect_err("volumes never shrink");
}

#[tokio::test]
async fn many_actions_are_watched_by_one_poll() {
    let lists = Count::default();
    let server = Server::start(move |seen| match seen.line().as_str() {
        "GET /v2/actions" => {
            let status = if lists.up() < 3 {
                "in-progress"
            } else {
                "completed"
            };
            let all: Vec<_> = (0..30)
                .map(|id| json!({ "id": id, "status": status, "type": "attach_volume" }))
                .collect();
            page_of(seen, "actions", &all)
        }
        line if line.starts_with("GET /v2/actions/") => not_found(),
        line => {
            let id: u64 = line["POST /v2/volumes/".len()..line.len() - "/actions".len()]
                .parse()
                .expect("a number");
            Reply::Json(202, action(id, "in-progress"))
        }
    })
    .await;
    let client = server.client();
    let all = (0..30_u64).map(|id| {
        let client = client.clone();
        async move { client.attach(&id.to_string(), id, "nyc3").await }
    });
    futures_util::future::try_join_all(all)
        .await
        .expect("all of them");
    assert!(client.calls() < 30 * 3, "{}", client.calls());
}
