//! What an interrupt makes of calls: deletes go at once, creates that were not sent never go. In virtual
//! time.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::pace::{batches, key};
use super::simulated::Simulated;
use crate::cloud::{Budget, Client, Destroyed};
use crate::local::latency::Latency;

/// A delete's answer, and what the way there may take.
const A_DELETE: Duration = Duration::from_millis(800);

/// So many droplets that exist, by id.
async fn made(client: &Client, key: &str, droplets: usize) -> Vec<u64> {
    let batches = batches(key, droplets);
    let made = join_all(batches.iter().map(|new| client.create_droplets(new))).await;
    let made = made.into_iter().flat_map(|made| made.expect("made"));
    made.map(|droplet| droplet.id).collect()
}

#[tokio::test(start_paused = true)]
async fn deletes_go_at_once_whatever_else_holds_calls_back() {
    let api = Simulated::new(Latency::REALISTIC);
    // What is made takes all that the budget leaves for a minute, and more.
    let client = api.client(Budget::PerHour(200));
    let key = key(&client).await;
    let ids = made(&client, &key, 40).await;
    let held = tokio::spawn({
        let client = client.clone();
        async move {
            for _ in 0..20 {
                client.account().await.expect("an answer");
            }
        }
    });
    sleep(Duration::from_secs(20)).await;
    client.hurry();
    let begun = Instant::now();
    let destroyed = join_all(ids.iter().map(|id| client.destroy_droplet(*id))).await;
    // More than writes may be at once, and nobody waits for them to be gone.
    assert!(begun.elapsed() < A_DELETE, "{:?}", begun.elapsed());
    for destroyed in destroyed {
        assert_eq!(destroyed.expect("accepted"), Destroyed::Accepted);
    }
    assert_eq!((api.count("DELETE /v2/droplets"), api.refused()), (40, 0));
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_droplets_to_be_gone_waits_no_longer() {
    let api = Simulated::new(Latency::REALISTIC);
    let client = api.client(Budget::Whole);
    let key = key(&client).await;
    let ids = made(&client, &key, 10).await;
    let (ends, all) = (client.clone(), ids.clone());
    let destroys =
        tokio::spawn(async move { join_all(all.iter().map(|id| ends.destroy_droplet(*id))).await });
    sleep(Duration::from_secs(3)).await;
    client.hurry();
    let begun = Instant::now();
    for destroyed in destroys.await.expect("no panic") {
        assert_eq!(destroyed.expect("accepted"), Destroyed::Accepted);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // They are gone 9 s after their deletes: those that are not when patience ends are told.
    let ids: BTreeSet<u64> = ids.into_iter().collect();
    let until = |seconds| Instant::now() + Duration::from_secs(seconds);
    let left = client.wait_droplets_gone(ids.clone(), until(2)).await;
    assert_eq!(left, ids);
    let left = client.wait_droplets_gone(ids, until(20)).await;
    assert_eq!((left, api.droplets()), (BTreeSet::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_not_sent_never_is() {
    let api = Simulated::new(Latency::REALISTIC);
    // Ten a minute.
    let client = api.client(Budget::PerHour(100));
    let key = key(&client).await;
    // All that the budget leaves for this minute, and more.
    let held = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.account().await })
    });
    let held: Vec<_> = held.collect();
    sleep(Duration::from_secs(3)).await;
    let before = api.count("POST /v2/droplets");
    let batches = batches(&key, 30);
    let (first, second) = (client.clone(), client.clone());
    let (one, other) = (batches[0].clone(), batches[1].clone());
    // One waits for the rate limit, the other for the first to find out whether the key is known.
    let waiting = [
        tokio::spawn(async move { first.create_droplets(&one).await }),
        tokio::spawn(async move { second.create_droplets(&other).await }),
    ];
    sleep(Duration::from_millis(10)).await;
    client.hurry();
    let begun = Instant::now();
    for waiting in waiting {
        let error = waiting.await.expect("no panic").expect_err("not sent");
        assert!(error.is_not_sent() && error.is_final(), "{error}");
    }
    // Nor is one that comes later.
    let error = client.create_droplets(&batches[2]).await;
    assert!(error.expect_err("too late").is_not_sent());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(api.count("POST /v2/droplets"), before);
    for held in held {
        held.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_the_key_is_too_new_for_is_not_tried_again() {
    let api = Simulated::new(Latency::REALISTIC);
    let client = api.client(Budget::Whole);
    let key = key(&client).await;
    let new = batches(&key, 10).remove(0);
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.create_droplets(&new).await });
    while api.count("POST /v2/droplets") == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    // It was answered, and the next try is a while off.
    sleep(Duration::from_millis(2_000)).await;
    let before = api.count("POST /v2/droplets");
    client.hurry();
    let error = waiting.await.expect("no panic").expect_err("not made");
    assert!(error.is_not_sent(), "{error}");
    assert_eq!(api.count("POST /v2/droplets"), before);
}
