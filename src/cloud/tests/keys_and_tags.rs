//! Firewalls, SSH keys and tags.

use serde_json::json;

use super::server::{
    Count, Reply, Server, client_of, conflict, image, not_found, ok, page_of, quick, refuse, volume,
};
use crate::live::FirewallRule;
use crate::plan::step::{FirewallSpec, TaggedResource};

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
