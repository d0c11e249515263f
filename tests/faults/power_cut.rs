//! `kill -9` of the local cloud in the middle of a run, at each call that changes something: what it
//! kept is whole, and the next apply converges.

use std::time::Duration;

use dewpoint::plan::Goal;
use serde_json::{Value, json};

use crate::lab::{Lab, rule};
use crate::matrix::{begin, settles, succeed};
use crate::observed::everything;
use crate::worlds::{EXAMPLES, WORLDS, World};

/// Longer than any test takes.
const HELD: u64 = 3_600_000;

/// When the power is cut: before a call is carried out, or when it was and its answer is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Cuts the power at the `nth` call of a method; says whether there was one.
async fn cut(lab: &Lab, world: &World, method: &str, nth: u64, side: Side) -> bool {
    let fault: Value = match side {
        Side::Before => json!({ "delay": { "ms": HELD } }),
        Side::After => json!({ "slow": { "ms": HELD } }),
    };
    let mut rule = rule(method, "/v2/**", &fault);
    rule["nth"] = json!(nth);
    lab.calls();
    lab.strike(&[rule]);
    let mut run = std::pin::pin!(lab.go(world.manifest, world.goal, world.fails, |_| vec![]));
    let mut carried_out = 0;
    loop {
        tokio::select! {
            biased;
            ran = &mut run => {
                drop(ran.expect("can be planned"));
                lab.heal();
                return false;
            }
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        let calls = lab.calls();
        carried_out += calls.iter().filter(|call| call["method"] == method).count();
        let is_there = match side {
            Side::Before => lab.met() >= nth,
            Side::After => u64::try_from(carried_out).is_ok_and(|count| count >= nth),
        };
        if is_there {
            break;
        }
    }
    // It goes on while the cloud is away: what it waits for is there again soon.
    let (_, ran) = tokio::join!(lab.cut_power(), run);
    drop(ran.expect("was planned"));
    lab.heard().await;
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_local_cloud_is_killed_at_every_write() {
    let first = Lab::start(None).await;
    let empty = first.account();
    let is_whole = std::env::var_os("ALL_FAULTS").is_some();
    let work = EXAMPLES.iter().chain(&WORLDS).map(|world| {
        let (first, empty) = (&first, &empty);
        async move {
            let lab = Lab::start(Some(first)).await;
            let base = begin(&lab, world, empty).await;
            let mut count = 0;
            for (method, side) in [
                ("POST", Side::Before),
                ("POST", Side::After),
                ("PUT", Side::Before),
                ("PUT", Side::After),
                // Its answer has no body that could be under way.
                ("DELETE", Side::Before),
            ] {
                for nth in 1.. {
                    // Each call on one side, when there is no time for both.
                    if !is_whole && method == "POST" && (nth % 2 == 0) == (side == Side::Before) {
                        continue;
                    }
                    lab.restore(&base);
                    let told = format!("{}: {side:?} {method} {nth}", world.name);
                    if !cut(&lab, world, method, nth, side).await {
                        break;
                    }
                    count += 1;
                    if nth % 4 < 2 {
                        let settled = settles(&lab, world, None).await;
                        settled.unwrap_or_else(|error| panic!("{told}: {error}"));
                        continue;
                    }
                    let goal = Goal::DestroyProject;
                    let destroyed = succeed(&lab, "destroy", world.manifest, goal, false).await;
                    destroyed.unwrap_or_else(|error| panic!("{told}: {error}"));
                    let left = everything(&lab.at_rest().await);
                    assert!(left.is_empty(), "{told}: {left:?}");
                }
            }
            count
        }
    });
    let counts = futures_util::future::join_all(work).await;
    let count: usize = counts.iter().sum();
    println!("the power was cut {count} times");
    assert!(count > 60, "{counts:?}");
}
