//! What an interrupt ends, and what it does not.

use super::{Act, Scenario, told};
use crate::execute::interrupt::Signal;

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_what_runs_and_cleans_up_at_once() {
    let played = Scenario::new()
        .create(Act::Take(10))
        .run(Act::Hang)
        .run(Act::Take(1))
        .destroy(Act::Take(5))
        .needs(0, 1)
        .needs(1, 2)
        .after(2, 3)
        .signal(20, Signal::Term)
        .play()
        .await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
     0 start 0
    10 end 0
    10 start 1
    20 drop 1
    20 start 3
    25 end 3
    25 close
    ");
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 4 steps
    0 started: create droplet
    0 done
    1 started: run step 1
    SIGTERM 1
    1 failed: interrupted [dewpoint::execute::interrupted]
    2 skipped: interrupted by SIGTERM
    3 started: destroy droplet
    3 done
    run finished: 2 done, 1 failed (0 runs), 1 skipped, interrupted: true, $0.0025, $0.00/h
    ");
    assert_eq!(played.outcome.ending.exit_code(), 143);
    assert!(played.was_hurried);
}

#[tokio::test(start_paused = true)]
async fn a_create_in_flight_is_awaited_then_destroyed() {
    let played = Scenario::new()
        .create(Act::HeedAfter(1))
        .run(Act::Take(1))
        .destroy(Act::Take(5))
        .needs(0, 1)
        .after(0, 2)
        .after(1, 2)
        .signal(3, Signal::Int)
        .play()
        .await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
    0 start 0
    4 fail 0
    4 start 2
    9 end 2
    9 close
    ");
    assert_eq!(played.outcome.ending.exit_code(), 130);
}

#[tokio::test(start_paused = true)]
async fn patience_with_what_is_let_finish_ends() {
    let played = Scenario::new()
        .create(Act::Hang)
        .destroy(Act::Take(5))
        .after(0, 1)
        .signal(3, Signal::Int)
        .play()
        .await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
     0 start 0
     7 drop 0
     7 start 1
    12 end 1
    12 close
    ");
    assert_eq!(played.outcome.ending.exit_code(), 130);
}

#[tokio::test(start_paused = true)]
async fn two_interrupts_stop_at_once_and_say_what_may_be_left() {
    let played = Scenario::new()
        .create(Act::Take(1))
        .run(Act::Hang)
        .destroy(Act::Hang)
        .run(Act::Take(1))
        .needs(0, 1)
        .after(1, 2)
        .needs(1, 3)
        .signal(5, Signal::Int)
        .signal(6, Signal::Int)
        .play()
        .await;
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 4 steps
    0 started: create droplet
    0 done
    1 started: run step 1
    SIGINT 1
    1 failed: interrupted [dewpoint::execute::interrupted]
    2 started: destroy droplet
    3 skipped: interrupted by SIGINT
    SIGINT 2
    2 failed: interrupted [dewpoint::execute::interrupted]
    run finished: 1 done, 2 failed (0 runs), 1 skipped, interrupted: true, $0.0006, $0.36/h
    ");
    let left: Vec<&str> = played
        .outcome
        .standing
        .present()
        .map(|(_, name, _)| name)
        .collect();
    assert_eq!(left, ["shop-main-runner"]);
    assert_eq!(played.outcome.ending.exit_code(), 130);
}

#[tokio::test(start_paused = true)]
async fn queued_steps_do_not_hold_up_cleanup_after_an_interrupt() {
    let mut scenario = Scenario::new();
    scenario.limits.api = 1;
    let played = scenario
        .create(Act::HeedAfter(3))
        .create(Act::Take(1))
        .run(Act::Take(1))
        .destroy(Act::Take(1))
        .after(1, 3)
        .needs(1, 2)
        .signal(1, Signal::Int)
        .play()
        .await;
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 4 steps
    0 started: create droplet
    SIGINT 1
    1 skipped: interrupted by SIGINT
    2 skipped: interrupted by SIGINT
    0 failed: interrupted [dewpoint::execute::interrupted]
    3 started: destroy droplet
    3 done
    run finished: 1 done, 1 failed (0 runs), 2 skipped, interrupted: true, $0.0005, $0.00/h
    ");
}
