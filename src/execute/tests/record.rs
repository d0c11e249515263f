//! What listeners and the journal are told.

use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;

use super::{Act, Scenario, TOOL_FAILS, told};
use crate::execute::event::{Event, EventKind};
use crate::execute::journal;
use crate::execute::listener::Listener;
use crate::execute::outcome::Ending;
use crate::plan::Plan;

/// Panics at its third event.
struct Fragile(u32);

impl Listener for Fragile {
    fn event(&mut self, _: &Event, _: &Plan) {
        self.0 += 1;
        assert!(self.0 < 3, "as the script says");
    }
}

/// Notes the number of each event.
struct Counting(Arc<Mutex<Vec<u64>>>);

impl Listener for Counting {
    fn event(&mut self, event: &Event, _: &Plan) {
        self.0.lock().expect("not poisoned").push(event.seq);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_takes_nothing_from_the_others() {
    let seen = Arc::default();
    let played = Scenario::new()
        .listener(Fragile(0))
        .listener(Counting(Arc::clone(&seen)))
        .run(Act::Print(10_000))
        .play()
        .await;
    assert_eq!(played.outcome.ending, Ending::Succeeded);
    let seen = seen.lock().expect("not poisoned");
    assert_eq!(*seen, (0..10_004).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_the_run_and_logs_hold_the_output() {
    let played = Scenario::new()
        .run(Act::Print(3))
        .run(TOOL_FAILS)
        .needs(0, 1)
        .play()
        .await;
    let events = journal::read(played.path()).expect("a journal");
    assert_eq!(events.len(), 6);
    let mut state = crate::execute::RunState::new();
    for event in &events {
        state.apply(event).expect("legal");
    }
    assert!(state.has_finished());
    let text = std::fs::read_to_string(played.path().join(journal::FILE)).expect("is there");
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains("it failed with [redacted]"), "{text}");
    let log = played.path().join("shop-main-runner/step-0.log");
    let log = std::fs::read_to_string(log).expect("is there");
    assert_eq!(log, "line 0\nline 1\nline 2\n");
}

/// Makes the journal's folder unusable once a step has started.
struct Vandal(Utf8PathBuf);

impl Listener for Vandal {
    fn event(&mut self, event: &Event, _: &Plan) {
        if matches!(&event.kind, EventKind::RunStarted { .. }) {
            // Where the log of a step wants to make its folder.
            std::fs::write(self.0.join("shop-main-runner"), "").expect("written");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_stops_new_steps_but_not_cleanup() {
    let scenario = Scenario::new();
    let folder = Utf8PathBuf::from_path_buf(scenario.folder.path().to_owned()).expect("UTF-8");
    let played = scenario
        .listener(Vandal(folder.clone()))
        .run(Act::Print(1))
        .run(Act::Take(1))
        .destroy(Act::Take(1))
        .needs(0, 1)
        .after(1, 2)
        .play()
        .await;
    let text = told(&played.outcome.events).replace(folder.as_str(), "RUN");
    insta::assert_snapshot!(text, @r"
    run started, 3 steps
    0 started: run step 0
    notice: cannot make the folder RUN/shop-main-runner (File exists (os error 17)): no new steps, but clean-up
    0 done: printed
    1 skipped: the journal of this run cannot be written
    2 started: destroy droplet
    2 done
    run finished: 2 done, 0 failed (0 runs), 1 skipped, interrupted: false, $0.00, $0.00/h
    ");
    assert_eq!(played.outcome.ending, Ending::Failed);
}
