//! Given up at every moment: the next apply converges, and a destroy from elsewhere ends empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dewpoint::execute::{Event, Listener};
use dewpoint::plan::{Goal, Plan};

use crate::lab::Lab;
use crate::matrix::{begin, settles, succeed};
use crate::observed::everything;
use crate::worlds::{EXAMPLES, WORLDS, World};

/// Stops a run for good at its `at`th record: when the record was written, before what it announces
/// is done; or, told late, some calls later.
struct Stop {
    at: usize,
    seen: usize,
    stopped: Arc<tokio::sync::Notify>,
    was_reached: Arc<AtomicBool>,
}

impl Listener for Stop {
    fn event(&mut self, _: &Event, _: &Plan) {
        self.seen += 1;
        if self.seen == self.at {
            self.was_reached.store(true, Ordering::SeqCst);
            self.stopped.notify_one();
        }
    }
}

/// Gives a run up at a record, some milliseconds after it; says whether it came to that record.
async fn given_up(lab: &Lab, world: &World, at: usize, later: Duration) -> bool {
    let stopped = Arc::new(tokio::sync::Notify::new());
    let was_reached = Arc::new(AtomicBool::new(false));
    let stop = Stop {
        at,
        seen: 0,
        stopped: Arc::clone(&stopped),
        was_reached: Arc::clone(&was_reached),
    };
    let run = lab.go(world.manifest, world.goal, world.fails, |_| {
        vec![Box::new(stop)]
    });
    tokio::select! {
        biased;
        // Dropped with all its tasks and connections, as a kill would end them.
        () = async {
            stopped.notified().await;
            tokio::time::sleep(later).await;
        } => {}
        ran = run => drop(ran.expect("can be planned")),
    }
    // What was sent arrives before anybody else asks.
    lab.heard().await;
    was_reached.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn given_up_at_every_record_of_the_journal() {
    let first = Lab::start(None).await;
    let empty = first.account();
    let is_whole = std::env::var_os("ALL_FAULTS").is_some();
    let work = WORLDS.iter().chain(&EXAMPLES).map(|world| {
        let (first, empty) = (&first, &empty);
        async move {
            let lab = Lab::start(Some(first)).await;
            let base = begin(&lab, world, empty).await;
            let mut count = 0;
            // Every record, at once and while what it announces is under way; a destroy follows on
            // every other, for it knows nothing of a journal. Both of each when there is time.
            for is_first in [true, false] {
                if !is_first && !is_whole {
                    break;
                }
                for at in 1.. {
                    lab.restore(&base);
                    let is_at_once = (at % 4 < 2) == is_first;
                    let later = Duration::from_millis(if is_at_once { 0 } else { 3 });
                    if !given_up(&lab, world, at, later).await {
                        break;
                    }
                    count += 1;
                    let told = format!("{} at record {at}, {later:?} later", world.name);
                    if at % 2 == 0 {
                        let settled = settles(&lab, world, None).await;
                        settled.unwrap_or_else(|error| panic!("{told}: {error}"));
                        continue;
                    }
                    let goal = Goal::DestroyProject;
                    let destroyed = succeed(&lab, "destroy", world.manifest, goal, false).await;
                    destroyed.unwrap_or_else(|error| panic!("{told}: {error}"));
                    let mut left = everything(&lab.at_rest().await);
                    // A snapshot that was still being taken shows once its builder can be destroyed,
                    // after the account was looked at: another destroy sees it.
                    if left.iter().all(|left| left.starts_with("1 snapshot ")) && !left.is_empty() {
                        let again = succeed(&lab, "again", world.manifest, goal, false).await;
                        again.unwrap_or_else(|error| panic!("{told}: {error}"));
                        left = everything(&lab.at_rest().await);
                    }
                    assert!(left.is_empty(), "{told}: {left:?}");
                }
            }
            count
        }
    });
    let counts = futures_util::future::join_all(work).await;
    let count: usize = counts.iter().sum();
    println!("given up at {count} moments");
    assert!(count > 150, "{counts:?}");
}
