//! Reading a whole account.

use serde_json::{Value, json};

use super::server::{Reply, Seen, Server, droplet, not_found, ok, page_of, refuse, volume};
use crate::cloud::{CloudError, Query, observe, observe_account};
use crate::live::ownership::Owner;

fn query(for_destroy: bool, ssh_key: Option<&str>) -> Query {
    Query {
        project: "p".to_owned(),
        environment: "e".to_owned(),
        ssh_key: ssh_key.map(str::to_owned),
        for_destroy,
        volume_snapshots: false,
    }
}

fn account(seen: &Seen, droplets: usize) -> Reply {
    let size = json!({
        "slug": "s-1vcpu-1gb", "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0,
        "price_monthly": 6.0, "price_hourly": 0.00893, "regions": ["sfo3", "nyc3"],
        "available": true, "description": "Basic", "networking_throughput": 2000,
    });
    let region =
        json!({ "slug": "nyc3", "name": "New York 3", "available": true, "features": ["storage"] });
    match seen.path.as_str() {
        "/v2/account" => ok(json!({ "account": {
            "droplet_limit": 25, "floating_ip_limit": 3, "volume_limit": 0, "status": "active", "email": "a@b.c",
        } })),
        "/v2/droplets" => {
            let mut all: Vec<Value> = (0..droplets as u64)
                .map(|id| droplet(id + 1, &format!("p-e-w-{id}"), true))
                .collect();
            if !seen.query.contains_key("tag_name") {
                let mut ghost = droplet(9_000, "p-e-ghost", true);
                ghost["tags"] = json!([]);
                all.extend([ghost, droplet(9_001, "someone-elses", true)]);
                all[droplets + 1]["tags"] = json!([]);
            }
            page_of(seen, "droplets", &all)
        }
        "/v2/snapshots" => {
            assert_eq!(seen.query["resource_type"], "volume");
            page_of(
                seen,
                "snapshots",
                &[json!({
                    "id": "s1", "name": "p-a-snap-1", "resource_id": "v1", "resource_type": "volume",
                    "regions": ["nyc3"], "min_disk_size": 10, "size_gigabytes": 0.5, "tags": [],
                    "created_at": "2026-11-01T10:00:00Z",
                })],
            )
        }
        "/v2/volumes" => page_of(
            seen,
            "volumes",
            &[volume("v2", "b", &[]), volume("v1", "a", &[7])],
        ),
        "/v2/images" => {
            assert_eq!(seen.query["private"], "true");
            page_of(
                seen,
                "images",
                &[json!({
                    "id": 99, "name": "p-base-1", "status": "available", "regions": ["nyc3"], "slug": null,
                    "min_disk_size": null, "size_gigabytes": null, "tags": ["b", "a"], "created_at": "2026-11-01T10:00:00Z",
                })],
            )
        }
        "/v2/firewalls" => page_of(
            seen,
            "firewalls",
            &[json!({ "id": "f1", "name": "p-e", "tags": [] })],
        ),
        "/v2/account/keys/aa:bb" => not_found(),
        "/v2/account/keys" => page_of(
            seen,
            "ssh_keys",
            &[json!({ "id": 3, "name": "p-e", "fingerprint": "aa:bb" })],
        ),
        "/v2/sizes" => page_of(seen, "sizes", &[size]),
        "/v2/regions" => page_of(seen, "regions", &[region]),
        "/v2/tags" => page_of(
            seen,
            "tags",
            &[
                json!({ "name": "theirs", "resources": { "count": 0 } }),
                json!({ "name": "dewpoint:p", "resources": {} }),
                json!({ "name": "dewpoint" }),
            ],
        ),
        other => panic!("unexpected {other}"),
    }
}

#[tokio::test]
async fn an_account_is_read_in_eight_calls_and_one_for_each_further_page() {
    for (droplets, calls) in [(0, 8), (1, 8), (200, 8), (201, 9), (401, 10)] {
        let server = Server::start(move |seen| account(seen, droplets)).await;
        let client = server.client();
        let live = observe(&client, &query(false, Some("aa:bb")))
            .await
            .expect("an account");
        assert_eq!(client.calls(), calls, "{droplets} droplets");
        assert_eq!(live.droplets.len(), droplets);
        assert!(live.droplets.is_sorted_by_key(|droplet| droplet.id));
        assert!(live.ssh_keys.is_empty() && live.tags.is_empty());
        assert!(live.volume_snapshots.is_empty());
        assert_eq!(
            live.volumes
                .iter()
                .map(|v| v.id.as_str())
                .collect::<Vec<_>>(),
            ["v1", "v2"]
        );
        assert_eq!(live.images[0].tags, ["a", "b"]);
        assert_eq!(live.images[0].min_disk_gib, 0);
        let size = live.catalog.size("s-1vcpu-1gb").expect("a size");
        assert_eq!(size.price_hourly.0.to_string(), "0.00893");
        assert_eq!(size.regions, ["nyc3", "sfo3"]);
    }
}

#[tokio::test]
async fn names_that_steer_a_terminal_are_made_seemly_where_they_come_in() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v2/volumes" => {
            let mut theirs = volume("v1", "a\u{1b}[2Jb\nc", &[]);
            theirs["tags"] = json!(["x\u{202e}"]);
            page_of(seen, "volumes", &[theirs])
        }
        _ => account(seen, 2),
    })
    .await;
    let live = observe(&server.client(), &query(false, Some("aa:bb")))
        .await
        .expect("an account");
    assert_eq!(live.volumes[0].name, "a\u{fffd}[2Jb\u{fffd}c");
    assert_eq!(live.volumes[0].tags, ["x\u{fffd}"]);
}

#[tokio::test]
async fn who_else_holds_a_volume_of_the_project_is_asked_for_a_refusal_alone() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v2/volumes" => {
            let mut held = volume("v1", "p-a", &[7]);
            held["tags"] = json!(["dewpoint", "dewpoint:p"]);
            let mut gone = volume("v2", "p-b", &[8]);
            gone["tags"] = json!(["dewpoint", "dewpoint:p"]);
            let mut theirs = volume("v3", "c", &[9]);
            theirs["tags"] = json!([]);
            let mut other = volume("v4", "p-other-c", &[10]);
            other["tags"] = json!(["dewpoint", "dewpoint:p", "dewpoint:p:other"]);
            let mut unlisted = volume("v5", "p-e-s", &[11]);
            unlisted["tags"] = json!(["dewpoint:p:e"]);
            page_of(seen, "volumes", &[held, gone, theirs, other, unlisted])
        }
        "/v2/droplets/7" => {
            let mut other = droplet(7, "p-other-w", true);
            other["tags"] = json!(["dewpoint", "dewpoint:p", "dewpoint:p:other"]);
            ok(json!({ "droplet": other }))
        }
        "/v2/droplets/11" => ok(json!({ "droplet": droplet(11, "p-e-late", true) })),
        "/v2/droplets/8" => not_found(),
        _ => account(seen, 2),
    })
    .await;
    let client = server.client();
    let mut live = observe(&client, &query(false, Some("aa:bb")))
        .await
        .expect("an account");
    assert_eq!(client.calls(), 8);
    client
        .look_up_holders(&Owner::new("p", "e"), false, &mut live)
        .await
        .expect("an answer");
    let holders: Vec<&str> = live.holders.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(holders, ["p-other-w"]);
    assert_eq!(client.calls(), 11);
    // What is gone has nothing; what the list left out is one of ours.
    let held: Vec<usize> = live.volumes.iter().map(|v| v.droplet_ids.len()).collect();
    assert_eq!(held, [1, 0, 1, 1, 1]);
    assert!(
        live.droplets
            .iter()
            .any(|droplet| droplet.name == "p-e-late")
    );
}

#[tokio::test]
async fn a_droplet_without_tags_that_has_a_volume_is_waited_for_as_long_as_a_delete_takes() {
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/v2/volumes" => {
            let held = |id: &str, name: &str, holder: u64| {
                let mut volume = volume(id, name, &[holder]);
                volume["tags"] = json!(["dewpoint", "dewpoint:p", "dewpoint:p:e"]);
                volume
            };
            let mut theirs = volume("v4", "theirs", &[10]);
            theirs["tags"] = json!([]);
            let ours = [
                held("v1", "p-e-a", 7),
                held("v2", "p-e-b", 8),
                held("v3", "p-e-c", 9),
            ];
            let all: Vec<Value> = ours.into_iter().chain([theirs]).collect();
            page_of(seen, "volumes", &all)
        }
        "/v2/droplets" => page_of(seen, "droplets", &[]),
        // A DELETE of it is under way; someone else's that is called so; and one that is not.
        "/v2/droplets/7" => {
            let looks = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match looks < 3 {
                true => ok(json!({ "droplet": bare(7, "p-e-old") })),
                false => not_found(),
            }
        }
        "/v2/droplets/8" => ok(json!({ "droplet": bare(8, "p-e-box") })),
        "/v2/droplets/9" => ok(json!({ "droplet": bare(9, "box") })),
        _ => account(seen, 0),
    })
    .await;
    let client = server.client();
    let owner = Owner::new("p", "e");
    let mut live = observe(&client, &query(false, Some("aa:bb")))
        .await
        .expect("an account");
    let looked = client.look_up_holders(&owner, false, &mut live).await;
    looked.expect("an answer");
    assert!(client.await_leaving(&owner, "p", &mut live).await);
    let held: Vec<usize> = live.volumes.iter().map(|v| v.droplet_ids.len()).collect();
    assert_eq!(held, [0, 1, 1, 1]);
    let holders: Vec<&str> = live.holders.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(holders, ["p-e-box", "box"]);
    // The other one stays: nothing has come of waiting.
    assert!(!client.await_leaving(&owner, "p", &mut live).await);
    // Nothing is asked when there is nobody to wait for.
    live.holders.retain(|holder| holder.name == "box");
    let calls = client.calls();
    assert!(!client.await_leaving(&owner, "p", &mut live).await);
    assert_eq!(client.calls(), calls);
}

/// A droplet that bears no tags.
fn bare(id: u64, name: &str) -> Value {
    let mut droplet = droplet(id, name, true);
    droplet["tags"] = json!([]);
    droplet
}

#[tokio::test]
async fn for_a_destroy_ghosts_keys_and_tags_are_read_too() {
    let server = Server::start(|seen| account(seen, 2)).await;
    let live = observe(&server.client(), &query(true, None))
        .await
        .expect("an account");
    let names: Vec<&str> = live.droplets.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["p-e-w-0", "p-e-w-1", "p-e-ghost"]);
    assert_eq!(live.ssh_keys[0].name, "p-e");
    assert_eq!(live.tags, ["dewpoint", "dewpoint:p"]);
    assert_eq!(live.volume_snapshots[0].volume_id, "v1");

    // Whoever makes copies of volumes has one call more, and no others.
    let client = server.client();
    let query = Query {
        volume_snapshots: true,
        ..query(false, Some("aa:bb"))
    };
    let live = observe(&client, &query).await.expect("an account");
    assert_eq!((client.calls(), live.volume_snapshots.len()), (9, 1));
}

#[tokio::test]
async fn hidden_tags_are_an_error_and_null_tags_are_none() {
    for path in ["/v2/droplets", "/v2/volumes", "/v2/images"] {
        let server = Server::start(move |seen| {
            let reply = account(seen, 1);
            let Reply::Json(status, mut body) = reply else {
                return reply;
            };
            if seen.path == path {
                let items = body[path.trim_start_matches("/v2/")]
                    .as_array_mut()
                    .expect("a list");
                items[0].as_object_mut().expect("an object").remove("tags");
            }
            Reply::Json(status, body)
        })
        .await;
        let error = observe(&server.client(), &query(false, None))
            .await
            .expect_err("hidden");
        assert!(
            matches!(error, CloudError::HiddenTags { .. }),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn a_part_that_may_not_be_read_fails_the_whole() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v2/firewalls" => refuse(
            403,
            "forbidden",
            "You do not have access for the attempted action.",
        ),
        _ => account(seen, 0),
    })
    .await;
    let error = observe(&server.client(), &query(false, None))
        .await
        .expect_err("forbidden");
    let code = miette::Diagnostic::code(&error).map(|code| code.to_string());
    assert_eq!(code.as_deref(), Some("dewpoint::cloud::forbidden"));
    assert!(
        error
            .to_string()
            .starts_with("the API refused GET /v2/firewalls: You do not")
    );
}

#[tokio::test]
async fn a_whole_account_is_read_with_who_bears_which_tag() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/v2/tags" => page_of(
            seen,
            "tags",
            &[
                json!({ "name": "theirs", "resources": { "count": 4 } }),
                json!({ "name": "dewpoint:p", "resources": { "count": 3 } }),
                json!({ "name": "dewpoint", "resources": {} }),
            ],
        ),
        "/v2/firewalls" => page_of(
            seen,
            "firewalls",
            &[json!({ "id": "f1", "name": "p-e", "tags": ["dewpoint:p:e"], "created_at": "2026-11-01T10:00:00Z" })],
        ),
        _ => account(seen, 2),
    })
    .await;
    let client = server.client();
    let found = observe_account(&client).await.expect("an account");
    assert_eq!(client.calls(), 9);
    let names: Vec<&str> = found
        .live
        .droplets
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    assert_eq!(names, ["p-e-w-0", "p-e-w-1", "p-e-ghost", "someone-elses"]);
    assert_eq!(
        found.borne,
        [("dewpoint".to_owned(), 0), ("dewpoint:p".to_owned(), 3)].into()
    );
    assert_eq!(found.firewalls_made["f1"], 1_793_527_200);
    assert_eq!(found.live.ssh_keys[0].name, "p-e");
}

#[tokio::test]
async fn a_snapshot_that_is_finished_after_images_were_read_is_noticed() {
    for (image, is_news) in [(99, false), (100, true)] {
        let server = Server::start(move |seen| match seen.line().as_str() {
            "GET /v2/droplets/1/actions" => page_of(
                seen,
                "actions",
                &[json!({ "id": 4, "status": "completed", "type": "snapshot" })],
            ),
            "GET /v2/droplets/1/snapshots" => page_of(
                seen,
                "snapshots",
                &[json!({ "id": image, "name": "p-base-1" })],
            ),
            _ => account(seen, 1),
        })
        .await;
        let client = server.client();
        let live = observe(&client, &query(false, None)).await.expect("read");
        let builders = ["p-e-w-0"].into();
        let waited = client.await_snapshots(&builders, &live).await;
        assert_eq!(waited.expect("read"), is_news, "{image}");
    }
}

#[tokio::test]
async fn a_snapshot_whose_action_has_ended_is_waited_for_until_lists_show_it() {
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |seen| match seen.line().as_str() {
        "GET /v2/droplets/1/actions" => page_of(
            seen,
            "actions",
            &[json!({ "id": 4, "status": "in-progress", "type": "snapshot" })],
        ),
        "GET /v2/actions/4" => {
            ok(json!({ "action": { "id": 4, "status": "completed", "type": "snapshot" } }))
        }
        "GET /v2/droplets/1/snapshots" => {
            let listed = [json!({ "id": 100, "name": "p-base-1" })];
            let look = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            page_of(seen, "snapshots", if look < 3 { &[] } else { &listed })
        }
        _ => account(seen, 1),
    })
    .await;
    let client = server.client();
    let live = observe(&client, &query(false, None)).await.expect("read");
    let builders = ["p-e-w-0"].into();
    assert!(
        client
            .await_snapshots(&builders, &live)
            .await
            .expect("read")
    );
    assert_eq!(server.count("GET /v2/droplets/1/snapshots"), 4);
}
