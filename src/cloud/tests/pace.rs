//! As fast as the rate limits allow, and the most urgent first: in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::time::{Instant, sleep};

use super::simulated::Simulated;
use crate::cloud::request::{Call, Request};
use crate::cloud::urgency::as_poll;
use crate::cloud::{Budget, Client, CloudError, DropletImage, NewDroplets, for_chain};
use crate::local::latency::Latency;

const TAG: &str = "dewpoint:fleet:main";

/// A key that the API takes; gives its fingerprint.
pub(super) async fn key(client: &Client) -> String {
    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f x";
    const FINGERPRINT: &str = "0f:a2:0a:d7:38:3e:65:45:08:6b:63:84:1c:ff:dc:ba";
    let made = client.ensure_ssh_key("fleet-main", LINE, FINGERPRINT).await;
    assert_eq!(made.expect("a key").fingerprint, FINGERPRINT);
    FINGERPRINT.to_owned()
}

/// Droplets of one shape, ten to a call.
pub(super) fn batches(key: &str, droplets: usize) -> Vec<NewDroplets> {
    let names: Vec<String> = (0..droplets).map(|n| format!("fleet-main-{n}")).collect();
    names
        .chunks(10)
        .map(|names| NewDroplets {
            region: "nyc3".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image: DropletImage::Slug("ubuntu-24-04-x64".to_owned()),
            tags: vec!["dewpoint".to_owned(), TAG.to_owned()],
            ssh_key: key.to_owned(),
            user_data: None,
            names: names.to_vec(),
            env_tag: TAG.to_owned(),
        })
        .collect()
}

/// Makes droplets and destroys them.
async fn cycle(client: &Client, key: &str, droplets: usize) -> Result<(), CloudError> {
    let batches = batches(key, droplets);
    let made = try_join_all(batches.iter().map(|new| client.create_droplets(new))).await?;
    let ids = made.iter().flatten().map(|droplet| droplet.id);
    try_join_all(ids.map(|id| client.destroy_droplet(id))).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn five_hundred_droplets_are_made_and_removed_within_the_limits_without_a_refusal() {
    let api = Simulated::new(Latency::REALISTIC);
    let client = api.client(Budget::Whole);
    let key = key(&client).await;
    let batches = batches(&key, 500);
    let made = try_join_all(batches.iter().map(|new| client.create_droplets(new))).await;
    let made = made.expect("all are made");
    assert_eq!((made.iter().flatten().count(), api.droplets()), (500, 500));
    // One try for the key, which is new, and ten in a call.
    let creates = api.count("POST /v2/droplets");
    assert!((50..70).contains(&creates), "{creates} creates");
    let ids = made.iter().flatten().map(|droplet| droplet.id);
    let gone = try_join_all(ids.map(|id| client.destroy_droplet(id))).await;
    gone.expect("all are destroyed");
    assert_eq!(api.droplets(), 0);
    assert_eq!(api.refused(), 0, "no call is refused");
    // The limit was in the way: nothing else held the deletes back.
    assert!(api.most_within(Duration::from_secs(60)) > 240);
}

#[tokio::test(start_paused = true)]
async fn the_hours_limit_is_waited_for_and_not_run_into() {
    // A tenth of the real one by the hour: 500, and 250 a minute.
    let api = Simulated::with_limits(Latency::REALISTIC, 500, 250);
    let client = api.client(Budget::Whole);
    let key = key(&client).await;
    let begun = Instant::now();
    for _ in 0..3 {
        cycle(&client, &key, 100).await.expect("a cycle");
    }
    assert_eq!(api.refused(), 0);
    assert!(client.calls() > 500 && begun.elapsed() > Duration::from_secs(3_600));
    assert!(api.most_within(Duration::from_secs(3_600)) > 480);
}

#[tokio::test(start_paused = true)]
async fn a_budget_leaves_the_rest_to_others() {
    let api = Simulated::new(Latency::REALISTIC);
    let client = api.client(Budget::Percent(20));
    let key = key(&client).await;
    cycle(&client, &key, 100).await.expect("a cycle");
    assert_eq!(api.refused(), 0);
    let most = api.most_within(Duration::from_secs(60));
    assert!((45..=50).contains(&most), "{most} in a minute");
}

#[tokio::test(start_paused = true)]
async fn what_others_use_of_the_token_is_left_to_them() {
    let api = Simulated::new(Latency::REALISTIC);
    let client = api.client(Budget::Whole);
    let key = key(&client).await;
    // Somebody else uses half of the minute's limit all the time.
    let other = tokio::spawn({
        let api = api.clone();
        async move {
            loop {
                api.other_request();
                sleep(Duration::from_millis(480)).await;
            }
        }
    });
    cycle(&client, &key, 300).await.expect("a cycle");
    other.abort();
    assert_eq!(api.refused(), 0);
    assert!(client.calls() > 600);
}

/// Calls that come while the limit is spent go in the order of their urgency once there is room.
#[tokio::test(start_paused = true)]
async fn the_most_urgent_call_goes_first() {
    let api = Simulated::with_limits(Latency { factor: 0.0 }, 20, 5_000);
    // One a minute of 20 an hour; the first answer tells.
    let client = api.client(Budget::Whole);
    client.account().await.expect("an answer");
    let order = Arc::new(Mutex::new(Vec::new()));
    let ask = |name: &'static str, chain: u64, request: Request, is_look: bool| {
        let (client, order) = (client.clone(), Arc::clone(&order));
        tokio::spawn(for_chain(chain, async move {
            let sent = client.send(&request);
            let _ = if is_look {
                as_poll(sent).await
            } else {
                sent.await
            };
            order.lock().expect("no panic").push(name);
        }))
    };
    let tag = |name: &str| {
        Call::CreateTag {
            name: name.to_owned(),
        }
        .request()
    };
    let delete = || Call::DeleteDroplet { id: 1 }.request();
    let get = || Call::Droplet { id: 1 }.request();
    let all = [
        ask("poll", 900, get(), true),
        ask("read", 5, get(), false),
        ask("read of a long chain", 50, get(), false),
        ask("delete", 5, delete(), false),
        ask("create of a short chain", 5, tag("a"), false),
        ask("create on the critical path", 100, tag("b"), false),
        ask("another as long, later", 100, tag("c"), false),
    ];
    // They all wait.
    sleep(Duration::from_secs(1)).await;
    join_all(all).await;
    assert_eq!(
        *order.lock().expect("no panic"),
        [
            "create on the critical path",
            "another as long, later",
            "create of a short chain",
            "delete",
            "read of a long chain",
            "read",
            "poll",
        ]
    );
    order.lock().expect("no panic").clear();
    let all = [
        ask("create on the critical path", 100, tag("b"), false),
        ask("delete", 5, delete(), false),
    ];
    sleep(Duration::from_secs(1)).await;
    client.hurry();
    join_all(all).await;
    let order = order.lock().expect("no panic");
    assert_eq!(*order, ["delete", "create on the critical path"]);
}

/// Where writes are bounded, the bound goes to the longest chain, and reads pass by.
#[tokio::test(start_paused = true)]
async fn the_bound_on_writes_goes_to_the_longest_chain_and_holds_up_no_read() {
    let api = Simulated::new(Latency::REALISTIC);
    let client = one_at_a_time(&api);
    let calls = [3_u64, 9, 1, 7].map(|chain| {
        let name = format!("after-{chain}");
        let (client, request) = (client.clone(), Call::DeleteTag { name }.request());
        tokio::spawn(for_chain(chain, async move {
            // There is no such tag.
            client.send(&request).await.is_err()
        }))
    });
    // The first takes the bound; the read comes last and is not held up.
    tokio::task::yield_now().await;
    let begun = Instant::now();
    client.account().await.expect("an answer");
    assert!(begun.elapsed() < Duration::from_millis(700));
    for call in join_all(calls).await {
        assert!(call.expect("no panic"));
    }
    let mut log = api.log();
    log.retain(|arrived| arrived.line.starts_with("DELETE"));
    let lines: Vec<&str> = log.iter().map(|arrived| arrived.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "DELETE /v2/tags/after-3",
            "DELETE /v2/tags/after-9",
            "DELETE /v2/tags/after-7",
            "DELETE /v2/tags/after-1",
        ]
    );
}

/// One of ten goes to whoever has waited longest, however little it matters.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let api = Simulated::with_limits(Latency { factor: 0.0 }, 20, 5_000);
    let client = api.client(Budget::Whole);
    client.account().await.expect("an answer");
    let poll = {
        let (client, request) = (client.clone(), Call::Droplet { id: 1 }.request());
        tokio::spawn(async move { as_poll(client.send(&request)).await.is_err() })
    };
    tokio::task::yield_now().await;
    let writes = (0..30).map(|number| {
        let name = format!("t{number}");
        let (client, request) = (client.clone(), Call::CreateTag { name }.request());
        tokio::spawn(for_chain(
            99,
            async move { client.send(&request).await.is_ok() },
        ))
    });
    join_all(writes).await;
    assert!(poll.is_finished(), "a poll that waits behind thirty writes");
}

fn one_at_a_time(api: &Simulated) -> Client {
    Client::over(
        Box::new(api.clone()),
        1,
        Budget::Whole,
        crate::cloud::Timing::default(),
    )
}

/// Whoever gives up hands its place, and its leave to be sent, to the next.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_holds_nobody_up() {
    let api = Simulated::new(Latency::REALISTIC);
    let client = one_at_a_time(&api);
    let spawn = |name: &str| {
        let call = Call::CreateTag {
            name: name.to_owned(),
        };
        let (client, request) = (client.clone(), call.request());
        tokio::spawn(async move { client.send(&request).await.is_ok() })
    };
    let (first, second, third) = (spawn("a"), spawn("b"), spawn("c"));
    tokio::task::yield_now().await;
    // One that is under way, and one that waits.
    first.abort();
    second.abort();
    assert!(third.await.expect("no panic"));
    assert_eq!(api.count("POST /v2/tags"), 1);
}
