//! Snapshots of volumes, and copies made from them.

use serde_json::{Value, json};

use super::server::{Count, Server, not_found, ok, page_of, refuse, volume};
use crate::cloud::CloudError;
use crate::plan::step::VolumeSpec;
use crate::units::Gib;

const TOO_SOON: &str =
    "failed to create snapshot: this operation is rate-limited - one request per 10m0s";

fn snapshot(name: &str) -> Value {
    json!({
        "id": "s1", "name": name, "regions": ["nyc3"], "resource_id": "v1",
        "resource_type": "volume", "min_disk_size": 10, "size_gigabytes": 0.5,
        "tags": ["dewpoint"], "created_at": "2026-11-01T10:00:00Z",
    })
}

#[tokio::test]
async fn all_are_listed_in_one_call() {
    let server = Server::start(|seen| {
        assert_eq!(seen.query["resource_type"], "volume");
        page_of(seen, "snapshots", &[snapshot("p-data-1")])
    })
    .await;
    let found = server.client().volume_snapshots().await.expect("a list");
    assert_eq!(found[0].volume_id, "v1");
    assert_eq!((found[0].min_disk_gib, found[0].size_mb), (10, 500));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn one_whose_answer_was_lost_is_found_by_its_name() {
    for (status, words) in [(409, "name in use"), (429, TOO_SOON)] {
        let asked = Count::default();
        let server = Server::start(move |seen| match seen.method.as_str() {
            "POST" if asked.up() == 0 => refuse(status, "no", words),
            "POST" => panic!("asked twice"),
            _ => page_of(seen, "snapshots", &[snapshot("p-data-1")]),
        })
        .await;
        let taken = server.client().snapshot_volume("v1", "p-data-1", &[]).await;
        assert_eq!(taken.expect("the first one").id, "s1");
    }
}

#[tokio::test]
async fn another_within_ten_minutes_is_told_at_once() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => refuse(429, "too_many_requests", TOO_SOON),
        _ => page_of(seen, "snapshots", &[snapshot("p-data-0")]),
    })
    .await;
    let client = server.client();
    let error = client.snapshot_volume("v1", "p-data-1", &[]).await;
    assert!(
        matches!(error, Err(CloudError::TooSoon { .. })),
        "{error:?}"
    );
    assert_eq!(client.calls(), 2);
}

#[tokio::test]
async fn a_copy_names_its_snapshot() {
    let server = Server::start(|_| ok(json!({ "volume": volume("v2", "p-e-data", &[]) }))).await;
    let spec = VolumeSpec {
        name: "p-e-data".into(),
        region: "nyc3".into(),
        size: Gib(10),
        tags: vec!["dewpoint".to_owned()].into(),
    };
    let made = server.client().copy_volume(&spec, "s1").await;
    assert_eq!(made.expect("a copy").id, "v2");
    assert_eq!(server.seen()[0].body["snapshot_id"], "s1");
}

#[tokio::test]
async fn one_that_is_gone_is_deleted() {
    let server = Server::start(|_| not_found()).await;
    let gone = server.client().delete_volume_snapshot("s1").await;
    gone.expect("a success");
}
