//! Snapshots: found by builder and name, never taken twice.

use serde_json::json;

use super::server::{Count, Reply, Server, action, image, not_found, ok, page_of, refuse};

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
    let looks = Count::default();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "DELETE" => refuse(
            422,
            "unprocessable_entity",
            "Can not delete an already deleted image.",
        ),
        // Reads may lag.
        _ if looks.up() < 3 => ok(json!({ "image": image("available") })),
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

/// An image that is in these regions.
fn image_in(regions: &[&str]) -> Reply {
    let mut image = image("available");
    image["regions"] = json!(regions);
    ok(json!({ "image": image }))
}

/// A transfer of an image.
fn transfer(id: u64, region: &str, status: &str) -> serde_json::Value {
    json!({ "id": id, "status": status, "type": "transfer", "region_slug": region })
}

#[tokio::test]
async fn an_image_is_copied_once_although_the_answer_was_lost() {
    let lists = Count::default();
    let looks = Count::default();
    let server = Server::start(move |seen| match seen.line().as_str() {
        "GET /v2/images/99" if looks.up() < 3 => image_in(&["nyc3"]),
        "GET /v2/images/99" => image_in(&["nyc3", "sfo3"]),
        "POST /v2/images/99/actions" => {
            assert_eq!(seen.body, json!({ "type": "transfer", "region": "sfo3" }));
            Reply::With(504, vec![], "<html>".to_owned())
        }
        "GET /v2/images/99/actions" => {
            let mut all = vec![
                transfer(3, "ams3", "in-progress"),
                transfer(4, "sfo3", "errored"),
            ];
            if lists.up() > 0 {
                all.push(transfer(5, "sfo3", "in-progress"));
            }
            page_of(seen, "actions", &all)
        }
        "GET /v2/actions/5" => ok(json!({ "action": transfer(5, "sfo3", "completed") })),
        other => panic!("unexpected {other}"),
    })
    .await;
    server
        .client()
        .transfer_image(99, "sfo3")
        .await
        .expect("copied");
    assert_eq!(server.count("POST /v2/images/99/actions"), 1);
}

#[tokio::test]
async fn an_image_that_is_there_is_not_copied() {
    let server = Server::start(|seen| match seen.line().as_str() {
        "GET /v2/images/99" => image_in(&["nyc3", "sfo3"]),
        other => panic!("unexpected {other}"),
    })
    .await;
    let client = server.client();
    client
        .transfer_image(99, "sfo3")
        .await
        .expect("it is there");
    // What is refused and not there is an error.
    let server = Server::start(|seen| match seen.line().as_str() {
        "GET /v2/images/99" => image_in(&["nyc3"]),
        "GET /v2/images/99/actions" => page_of(seen, "actions", &[]),
        _ => refuse(422, "unprocessable_entity", "Region is not available"),
    })
    .await;
    let client = server.client();
    client
        .transfer_image(99, "mars1")
        .await
        .expect_err("refused");
}
