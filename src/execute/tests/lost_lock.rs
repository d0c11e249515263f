//! What the loss of a lock ends: everything.

use std::time::Duration;

use tokio::time::Instant;

use super::{Act, Scenario, told};
use crate::execute::interrupt::Signal;
use crate::execute::outcome::Ending;
use crate::execute::shared_lock::Lease;

/// Good for so many seconds of the test's time.
fn good_for(seconds: u64) -> Lease {
    let began = Instant::now();
    Lease::unrenewed(Duration::from_secs(seconds), move || began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_ends_all_that_runs_and_nothing_is_cleaned_up() {
    let mut scenario = Scenario::new()
        .create(Act::Take(10))
        .run(Act::Hang)
        .run(Act::Take(1))
        .destroy(Act::Take(5))
        .create(Act::Hang)
        .needs(0, 1)
        .needs(1, 2)
        .after(2, 3);
    scenario.lease = Some(good_for(30));
    let played = scenario.play().await;
    // Also the create that an interrupt would have let finish.
    insta::assert_snapshot!(played.log.join("\n"), @r"
     0 start 0
     0 start 4
    10 end 0
    10 start 1
    30 drop 1
    30 drop 4
    30 close
    ");
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 5 steps
    0 started: create droplet
    4 started: create droplet
    0 done
    1 started: run step 1
    notice: the lock on shop / main was lost: it could not be renewed in time; this machine was paused, or the store did not answer: nothing more is started or sent; clean-up is left to whoever has the lock now
    1 failed: stopped, for the lock was lost [dewpoint::execute::interrupted]
    2 skipped: the lock was lost
    3 skipped: the lock was lost
    4 failed: stopped, for the lock was lost [dewpoint::execute::interrupted]
    run finished: 1 done, 2 failed (0 runs), 2 skipped, interrupted: false, $0.003, $0.36/h
    ");
    assert_eq!(played.outcome.ending, Ending::Failed);
    let (step, failure) = played.outcome.failures.last().expect("a failure");
    assert_eq!(*step, None);
    assert_eq!(failure.code, "dewpoint::execute::lock_lost");
}

#[tokio::test(start_paused = true)]
async fn clean_up_after_an_interrupt_ends_with_the_lock_too() {
    let mut scenario = Scenario::new()
        .create(Act::Take(1))
        .run(Act::Hang)
        .destroy(Act::Hang)
        .destroy(Act::Take(1))
        .needs(0, 1)
        .after(1, 2)
        .after(2, 3)
        .signal(5, Signal::Int);
    scenario.lease = Some(good_for(30));
    let played = scenario.play().await;
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 4 steps
    0 started: create droplet
    0 done
    1 started: run step 1
    SIGINT 1
    1 failed: interrupted [dewpoint::execute::interrupted]
    2 started: destroy droplet
    notice: the lock on shop / main was lost: it could not be renewed in time; this machine was paused, or the store did not answer: nothing more is started or sent; clean-up is left to whoever has the lock now
    2 failed: interrupted [dewpoint::execute::interrupted]
    3 skipped: the lock was lost
    run finished: 1 done, 2 failed (0 runs), 1 skipped, interrupted: true, $0.003, $0.36/h
    ");
    assert_eq!(played.outcome.ending, Ending::Interrupted(Signal::Int));
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_the_lock_before_the_first_step_starts_none() {
    let mut scenario = Scenario::new().create(Act::Take(1)).destroy(Act::Take(1));
    scenario.lease = Some(good_for(0));
    let played = scenario.play().await;
    assert_eq!(played.log, ["  0 close"]);
}
