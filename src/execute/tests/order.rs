//! What starts when, and what is skipped.

use super::{Act, RUN_FAILS, Scenario, TOOL_FAILS, told};
use crate::execute::event::FailureClass;
use crate::execute::outcome::Ending;

#[tokio::test(start_paused = true)]
async fn steps_wait_for_what_the_edges_say_and_for_nothing_else() {
    let played = Scenario::new()
        .run(Act::Take(2))
        .run(Act::Take(5))
        .run(Act::Take(1))
        .run(Act::Take(1))
        .needs(0, 2)
        .needs(1, 3)
        .after(2, 3)
        .play()
        .await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
    0 start 0
    0 start 1
    2 end 0
    2 start 2
    3 end 2
    5 end 1
    5 start 3
    6 end 3
    6 close
    ");
    assert_eq!(played.outcome.ending, Ending::Succeeded);
    assert_eq!(played.outcome.ending.exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_skips_only_what_needs_it_and_cleanup_runs() {
    let played = Scenario::new()
        .create(Act::Take(10))
        .run(RUN_FAILS)
        .run(Act::Take(1))
        .destroy(Act::Take(5))
        .run(Act::Take(60))
        .run(Act::Take(1))
        .needs(0, 1)
        .needs(1, 2)
        .after(2, 3)
        .needs(2, 3)
        .needs(4, 5)
        .play()
        .await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
     0 start 0
     0 start 4
    10 end 0
    10 start 1
    10 fail 1
    10 start 3
    15 end 3
    60 end 4
    60 start 5
    61 end 5
    61 close
    ");
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 6 steps
    0 started: create droplet
    4 started: run step 4
    0 done
    1 started: run step 1
    1 failed: it failed with [redacted] [dewpoint::test::failed]
    2 skipped for 1: droplet.runner run step 1 failed
    3 started: destroy droplet
    3 done
    4 done
    5 started: run step 5
    5 done
    run finished: 4 done, 1 failed (1 runs), 1 skipped, interrupted: false, $0.0015, $0.00/h
    ");
    assert_eq!(played.outcome.ending.exit_code(), 3);
    assert_eq!(played.outcome.runs_failed, 1);
    assert_eq!(played.outcome.standing.present().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_skipped_step_ends_only_after_all_before_it() {
    // 3 only waits for 2, which stands after 1: it must not overtake 1 because 0 failed.
    let played = Scenario::new()
        .run(TOOL_FAILS)
        .run(Act::Take(30))
        .run(Act::Take(1))
        .destroy(Act::Take(1))
        .needs(0, 2)
        .after(1, 2)
        .after(2, 3)
        .play()
        .await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
     0 start 0
     0 fail 0
     0 start 1
    30 end 1
    30 start 3
    31 end 3
    31 close
    ");
    assert_eq!(played.outcome.ending.exit_code(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_allowed_failure_is_no_failure() {
    let played = Scenario::new()
        .run(Act::Fail(FailureClass::RunStep, true))
        .run(Act::Take(1))
        .needs(0, 1)
        .play()
        .await;
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 2 steps
    0 started: run step 0
    0 failed: it failed with [redacted] [dewpoint::test::failed]
    1 started: run step 1
    1 done
    run finished: 2 done, 0 failed (0 runs), 0 skipped, interrupted: false, $0.00, $0.00/h
    ");
    assert_eq!(played.outcome.ending, Ending::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_has_failed() {
    let played = Scenario::new()
        .run(Act::Panic)
        .run(Act::Take(1))
        .run(Act::Take(1))
        .needs(0, 1)
        .play()
        .await;
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 3 steps
    0 started: run step 0
    2 started: run step 2
    0 failed: dewpoint itself failed in this step [dewpoint::execute::panicked]
    1 skipped for 0: droplet.runner run step 0 failed
    2 done
    run finished: 1 done, 1 failed (0 runs), 1 skipped, interrupted: false, $0.00, $0.00/h
    ");
    assert_eq!(played.outcome.ending, Ending::Failed);
    assert_eq!(played.outcome.failures[0].1.causes, ["as the script says"]);
}

#[tokio::test(start_paused = true)]
async fn limits_bound_what_runs_at_once_in_the_plans_order() {
    let mut scenario = Scenario::new();
    scenario.limits.commands = 2;
    for _ in 0..5 {
        scenario = scenario.run(Act::Take(10));
    }
    let played = scenario.destroy(Act::Take(1)).play().await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
     0 start 0
     0 start 1
     0 start 5
     1 end 5
    10 end 0
    10 end 1
    10 start 2
    10 start 3
    20 end 2
    20 end 3
    20 start 4
    30 end 4
    30 close
    ");
}

#[tokio::test(start_paused = true)]
async fn steps_that_wait_for_each_other_are_skipped_not_waited_for() {
    let played = Scenario::new()
        .run(Act::Take(1))
        .run(Act::Take(1))
        .run(Act::Take(1))
        .needs(1, 2)
        .needs(2, 1)
        .play()
        .await;
    insta::assert_snapshot!(told(&played.outcome.events), @r"
    run started, 3 steps
    0 started: run step 0
    0 done
    1 skipped: it waits for itself: the plan is at fault
    2 skipped: it waits for itself: the plan is at fault
    run finished: 1 done, 0 failed (0 runs), 2 skipped, interrupted: false, $0.00, $0.00/h
    ");
    assert_eq!(played.outcome.ending, Ending::Failed);
}
