//! Volumes, snapshots, firewalls, keys and tags.

use std::sync::Mutex;

use serde_json::json;

use super::server::{
    Reply, Server, action, client_of, droplet, not_found, ok, page_of, quick, refuse, volume,
};
use crate::cloud::CloudError;
use crate::live::FirewallRule;
use crate::plan::step::{FirewallSpec, TaggedResource, VolumeSpec};
use crate::units::Gib;

/// Counts calls of one kind.
#[derive(Default)]
struct Count(Mutex<usize>);

impl Count {
    /// How many came before.
    fn up(&self) -> usize {
        let mut count = self.0.lock().expect("no panic");
        *count += 1;
        *count - 1
    }
}

fn spec() -> VolumeSpec {
    VolumeSpec {
        name: "p-data".to_owned(),
        region: "nyc3".to_owned(),
        size: Gib(10),
        tags: ["dewpoint", "dewpoint:p", "dewpoint-expires:1"]
            .map(str::to_owned)
            .to_vec(),
    }
}

fn conflict(message: &str) -> Reply {
    refuse(409, "conflict", message)
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

fn image(status: &str) -> serde_json::Value {
    json!({
        "id": 99, "name": "p-base-1", "status": status, "regions": ["nyc3"], "min_disk_size": 25,
        "size_gigabytes": 2.34, "tags": [], "created_at": "2026-11-01T10:00:00Z", "slug": null,
    })
}

fn taken() -> serde_json::Value {
    json!({ "id": 99, "name": "p-base-1", "created_at": "2026-11-01T10:00:00Z" })
}

#[tokio::test]
async fn a_snapshot_is_found_by_builder_and_name_although_the_list_lags() {
    let lists = Count::default();
    let looks = Count::default();
    let server = Server::start(move |seen| match seen.line().as_str() {
        "POST /v2/droplets/7/actions" => Reply::Json(201, action(5, "in-progress")),
        "GET /v2/actions/5" => ok(action(5, "completed")),
        "GET /v2/droplets/7/snapshots" => {
            let other = json!({ "id": 98, "name": "p-other-1" });
            let all = if lists.up() < 3 {
                vec![other]
            } else {
                vec![other, taken()]
            };
            page_of(seen, "snapshots", &all)
        }
        "GET /v2/images/99" => {
            let status = if looks.up() == 0 {
                "pending"
            } else {
                "available"
            };
            ok(json!({ "image": image(status) }))
        }
        other => panic!("unexpected {other}"),
    })
    .await;
    let client = server.client();
    let live = client
        .snapshot_droplet(7, "p-base-1")
        .await
        .expect("a snapshot");
    assert_eq!((live.id, live.size_mb, live.min_disk_gib), (99, 2_340, 25));
    client
        .snapshot_droplet(7, "p-base-1")
        .await
        .expect("the same");
    assert_eq!(server.count("POST /v2/droplets/7/actions"), 1);
}

#[tokio::test]
async fn a_snapshot_whose_answer_was_lost_is_not_taken_twice() {
    let lists = Count::default();
    let server = Server::start(move |seen| match seen.line().as_str() {
        "POST /v2/droplets/7/actions" => Reply::With(504, vec![], "<html>".to_owned()),
        "GET /v2/droplets/7/actions" => page_of(
            seen,
            "actions",
            &[
                json!({ "id": 4, "status": "completed", "type": "snapshot" }),
                json!({ "id": 5, "status": "in-progress", "type": "snapshot" }),
            ],
        ),
        "GET /v2/actions/5" => ok(action(5, "completed")),
        "GET /v2/droplets/7/snapshots" => {
            let all = if lists.up() == 0 {
                vec![]
            } else {
                vec![taken()]
            };
            page_of(seen, "snapshots", &all)
        }
        "GET /v2/images/99" => ok(json!({ "image": image("available") })),
        other => panic!("unexpected {other}"),
    })
    .await;
    assert_eq!(
        server
            .client()
            .snapshot_droplet(7, "p-base-1")
            .await
            .expect("found")
            .id,
        99
    );
    assert_eq!(server.count("POST /v2/droplets/7/actions"), 1);
}

#[tokio::test]
async fn an_image_that_was_deleted_is_deleted() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "DELETE" => refuse(
            422,
            "unprocessable_entity",
            "Can not delete an already deleted image.",
        ),
        _ => not_found(),
    })
    .await;
    server
        .client()
        .delete_image(99)
        .await
        .expect("gone already");
    let server = Server::start(|seen| match seen.method.as_str() {
        "DELETE" => refuse(422, "unprocessable_entity", "no"),
        _ => ok(json!({ "image": image("available") })),
    })
    .await;
    server
        .client()
        .delete_image(99)
        .await
        .expect_err("it is there");
}

#[tokio::test]
async fn a_firewall_of_our_name_is_brought_to_what_is_wanted() {
    let rule = json!({
        "protocol": "icmp", "action": "allow",
        "sources": { "addresses": ["::/0", "0.0.0.0/0"] },
    });
    let firewall = json!({
        "id": "f1", "name": "p-e", "inbound_rules": [rule],
        "outbound_rules": [{ "protocol": "tcp", "ports": "all", "destinations": { "tags": ["b", "a"] } }],
        "tags": null, "droplet_ids": null, "status": "waiting",
    });
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" => conflict("duplicate name"),
        "PUT" => ok(json!({ "firewall": firewall.clone() })),
        _ => page_of(
            seen,
            "firewalls",
            &[json!({ "id": "f0", "name": "x" }), firewall.clone()],
        ),
    })
    .await;
    let wanted = FirewallRule {
        protocol: "icmp".to_owned(),
        ports: "0".to_owned(),
        addresses: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        tags: vec![],
    };
    let spec = FirewallSpec {
        name: "p-e".to_owned(),
        inbound: vec![wanted.clone()],
        outbound: vec![],
        tags: vec!["dewpoint:p:e".to_owned()],
    };
    let live = server.client().create_firewall(&spec).await.expect("ours");
    assert_eq!(live.inbound, [wanted]);
    assert_eq!(
        (live.outbound[0].ports.as_str(), live.outbound[0].tags.len()),
        ("0", 2)
    );
    let put = server.seen().pop().expect("a request");
    assert_eq!(put.line(), "PUT /v2/firewalls/f1");
    // What a replacement leaves out is emptied, so nothing is left out.
    assert_eq!(put.body["outbound_rules"], json!([]));
    assert_eq!(put.body["inbound_rules"][0]["sources"].get("tags"), None);
}

#[tokio::test]
async fn a_key_is_registered_once_and_deleted_only_under_its_name() {
    let key = json!({ "id": 3, "name": "mine", "fingerprint": "aa:bb", "public_key": "k" });
    let server = Server::start(move |seen| match seen.method.as_str() {
        "POST" => refuse(
            422,
            "unprocessable_entity",
            "SSH Key is already in use on your account",
        ),
        "DELETE" => Reply::Empty(204),
        _ => ok(json!({ "ssh_key": key.clone() })),
    })
    .await;
    let client = server.client();
    assert_eq!(
        client
            .ensure_ssh_key("p-e", "k\n", "aa:bb")
            .await
            .expect("there")
            .name,
        "mine"
    );
    assert_eq!(server.seen()[1].path, "/v2/account/keys/aa:bb");
    assert!(
        !client
            .delete_ssh_key("p-e", "aa:bb")
            .await
            .expect("an answer")
    );
    assert_eq!(server.count("DELETE /v2/account/keys/3"), 0);
    assert!(
        client
            .delete_ssh_key("mine", "aa:bb")
            .await
            .expect("an answer")
    );
}

#[tokio::test]
async fn a_bad_key_is_final_and_a_new_one_may_be_unknown_for_a_while() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => refuse(422, "unprocessable_entity", "Key invalid"),
        _ => not_found(),
    })
    .await;
    let client = server.client();
    client
        .ensure_ssh_key("p-e", "k", "aa:bb")
        .await
        .expect_err("invalid");
    assert!(
        !client
            .delete_ssh_key("p-e", "aa:bb")
            .await
            .expect("nothing there")
    );

    let key = json!({ "id": 3, "name": "p-e", "fingerprint": "aa:bb" });
    let deletes = Count::default();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "DELETE" if deletes.up() < 2 => not_found(),
        "DELETE" => Reply::Empty(204),
        "POST" => Reply::Json(201, json!({ "ssh_key": key.clone() })),
        _ => ok(json!({ "ssh_key": key.clone() })),
    })
    .await;
    let client = server.client();
    client
        .ensure_ssh_key("p-e", "k", "aa:bb")
        .await
        .expect("new");
    assert!(
        client
            .delete_ssh_key("p-e", "aa:bb")
            .await
            .expect("an answer")
    );
    assert_eq!(server.count("DELETE /v2/account/keys/3"), 3);
}

#[tokio::test]
async fn tags_are_made_when_needed_and_read_back() {
    let tries = Count::default();
    let reads = Count::default();
    let server = Server::start(move |seen| match seen.line().as_str() {
        "POST /v2/tags" => Reply::Json(201, json!({ "tag": { "name": "t" } })),
        "POST /v2/tags/t/resources" if tries.up() == 0 => not_found(),
        "POST /v2/tags/t/resources" => Reply::Empty(204),
        "GET /v2/images/99" => {
            let mut image = image("available");
            image["tags"] = if reads.up() < 2 {
                json!([])
            } else {
                json!(["t"])
            };
            ok(json!({ "image": image }))
        }
        other => panic!("unexpected {other}"),
    })
    .await;
    let tags = ["t".to_owned()];
    server
        .client()
        .add_tags(TaggedResource::Image, "99", &tags)
        .await
        .expect("tagged");
    assert_eq!(server.count("GET /v2/images/99"), 3);

    // 204 proves nothing.
    let server = Server::start(|seen| match seen.method.as_str() {
        "GET" => ok(json!({ "volume": volume("v1", "p-data", &[]) })),
        _ => Reply::Empty(204),
    })
    .await;
    let mut timing = quick();
    timing.read_back = std::time::Duration::from_millis(10);
    let client = client_of(&server.url, timing);
    let error = client
        .add_tags(TaggedResource::Volume, "v1", &tags)
        .await
        .expect_err("not there");
    insta::assert_snapshot!(error, @"volume v1 does not bear the tags it was given");
    client
        .remove_tags(TaggedResource::Volume, "v1", &tags)
        .await
        .expect("nothing to take");
}

#[tokio::test]
async fn only_an_empty_tag_is_deleted() {
    for (count, gone) in [(0, true), (2, false)] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "GET" => ok(json!({ "tag": { "name": "t", "resources": { "count": count } } })),
            _ => Reply::Empty(204),
        })
        .await;
        assert_eq!(
            server
                .client()
                .delete_tag_if_empty("t")
                .await
                .expect("an answer"),
            gone
        );
        assert_eq!(server.count("DELETE /v2/tags/t"), usize::from(gone));
    }
    let server = Server::start(|_| not_found()).await;
    assert!(
        server
            .client()
            .delete_tag_if_empty("t")
            .await
            .expect("gone already")
    );
}
