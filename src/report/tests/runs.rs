//! Runs: line by line, and their end.

use super::{money, plan, runner};
use crate::address::Address;
use crate::execute::{Event, EventKind, Failure, FailureClass, OutputStream};
use crate::plan::{Goal, Plan, StepId};
use crate::report::hints::{Flags, Next};
use crate::report::lines::line_of;
use crate::report::outcome;
use crate::report::style::Palette;

/// Events of a run, one after the other.
pub(crate) struct Story(pub(crate) Vec<Event>);

impl Story {
    pub(crate) fn new() -> Self {
        Self(vec![]).then(EventKind::RunStarted {
            run: "01M0".to_owned(),
            project: "shop".to_owned(),
            environment: "main".to_owned(),
            goal: Goal::Apply,
            steps: 5,
            expected_seconds: 240,
        })
    }

    pub(crate) fn then(mut self, kind: EventKind) -> Self {
        let number = self.0.len() as u64;
        self.0.push(Event {
            seq: number,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: number * 1_500,
            kind,
        });
        self
    }

    pub(crate) fn started(self, plan: &Plan, step: u32) -> Self {
        let step = &plan.steps[step as usize];
        self.then(EventKind::Started {
            step: step.id,
            address: step.address.clone(),
            title: step.kind.title(),
        })
    }

    pub(crate) fn done(self, step: u32, note: &str) -> Self {
        self.then(EventKind::Done {
            step: StepId(step),
            took_ms: 1_500,
            note: note.to_owned(),
        })
    }

    pub(crate) fn did(self, plan: &Plan, step: u32, note: &str) -> Self {
        self.started(plan, step).done(step, note)
    }

    pub(crate) fn failed(self, plan: &Plan, step: u32, failure: Failure) -> Self {
        self.started(plan, step).then(EventKind::Failed {
            step: StepId(step),
            took_ms: 75_000,
            failure,
        })
    }

    pub(crate) fn skipped(self, step: u32, because: Option<u32>) -> Self {
        self.then(EventKind::Skipped {
            step: StepId(step),
            because: because.map(StepId),
            reason: match because {
                Some(_) => "droplet.runner[1] sync failed".to_owned(),
                None => "interrupted by SIGINT".to_owned(),
            },
        })
    }

    pub(crate) fn finished(
        self,
        failed: u32,
        skipped: u32,
        interrupted: bool,
        hourly: &str,
    ) -> Self {
        self.then(EventKind::RunFinished {
            done: 5 - failed - skipped,
            failed,
            skipped,
            runs_failed: 0,
            interrupted,
            api_calls: 21,
            cost: money("0.0012"),
            hourly: money(hourly),
        })
    }

    /// Line by line, as they come.
    fn lines(&self, plan: &Plan) -> String {
        let lines = self.0.iter();
        let lines = lines.filter_map(|event| line_of(event, plan, Palette::PLAIN));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What stands under it all.
    fn end(&self, plan: &Plan) -> String {
        self.end_at(plan, None)
    }

    /// The same on a terminal.
    pub(super) fn end_at(&self, plan: &Plan, width: Option<usize>) -> String {
        let next = local();
        let view = outcome::View {
            palette: Palette::PLAIN,
            run_folder: ".dewpoint/runs/01M0",
            next: &next,
            width,
            retells: true,
        };
        outcome::render(plan, &self.0, view)
    }

    /// The same where each failure stands just above.
    fn end_below(&self, plan: &Plan) -> String {
        let next = local();
        let view = outcome::View {
            palette: Palette::PLAIN,
            run_folder: ".dewpoint/runs/01M0",
            next: &next,
            width: None,
            retells: false,
        };
        outcome::render(plan, &self.0, view)
    }
}

/// What a further command of these is given.
fn local() -> Next {
    Next {
        flags: Flags::default().switch("--local"),
        ..Next::default()
    }
}

pub(crate) fn tests_failed() -> Failure {
    Failure {
        class: FailureClass::RunStep,
        allowed: false,
        code: "dewpoint::run::exit".to_owned(),
        message: "exit status 1".to_owned(),
        help: None,
        causes: vec![],
        exit_status: Some(1),
        script: Vec::new(),
        tail: vec![
            "test_greeting FAILED".to_owned(),
            "\u{1b}[31mE  AssertionError: 1 != 2\u{1b}[0m".to_owned(),
        ],
    }
}

pub(crate) fn sync_failed() -> Failure {
    Failure {
        class: FailureClass::Tool,
        allowed: false,
        code: "dewpoint::guest::connection_lost".to_owned(),
        message: "the connection to droplet.runner[1] was lost while bringing files".to_owned(),
        help: Some("apply again".to_owned()),
        causes: vec!["broken pipe".to_owned()],
        exit_status: None,
        script: Vec::new(),
        tail: vec![],
    }
}

#[test]
fn a_run_line_by_line() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "droplet 3164444 at 203.0.113.7")
        .then(EventKind::Retried {
            step: None,
            attempt: 1,
            wait_ms: 61_000,
            reason: "GET /v2/droplets is held back by the rate limit".to_owned(),
        })
        .did(&plan, 2, "12 files, 3 sent")
        .started(&plan, 3)
        .then(EventKind::Output {
            step: StepId(3),
            address: runner(1),
            stream: OutputStream::Out,
            line: "\u{1b}[32m4 passed\u{1b}[0m".to_owned(),
        })
        .then(EventKind::Retried {
            step: Some(StepId(3)),
            attempt: 2,
            wait_ms: 1_000,
            reason: "exit status 1".to_owned(),
        })
        .then(EventKind::Progress {
            step: StepId(3),
            text: "waiting".to_owned(),
        })
        .then(EventKind::Failed {
            step: StepId(3),
            took_ms: 75_000,
            failure: Failure {
                allowed: true,
                ..tests_failed()
            },
        })
        .then(EventKind::Interrupted {
            signal: "SIGINT".to_owned(),
            times: 1,
        })
        .failed(&plan, 4, sync_failed())
        .skipped(1, None)
        .then(EventKind::Notice {
            text: "something to know".to_owned(),
        })
        .then(EventKind::Interrupted {
            signal: "SIGINT".to_owned(),
            times: 2,
        });
    insta::assert_snapshot!(story.lines(&plan), @r"
    run 01M0: 5 steps
    ok droplet.runner[1] create droplet (1.5s, droplet 3164444 at 203.0.113.7)
      GET /v2/droplets is held back by the rate limit; waiting 1m1s
    ok droplet.runner[1] sync (1.5s, 12 files, 3 sent)
    > droplet.runner[1] run tests
    droplet.runner[1] | 4 passed
      droplet.runner[1] run tests: exit status 1; try 2 in 1.0s
    FAILED droplet.runner[1] run tests (allowed) (1m15s): exit status 1
    SIGINT: no new steps; removing what is ephemeral (once more to stop at once)
    FAILED droplet.runner[1] destroy droplet (1m15s): the connection to droplet.runner[1] was lost while bringing files
      caused by: broken pipe
    note: something to know
    SIGINT: stopping now
    ");
}

#[test]
fn the_end_of_a_run_that_went_well() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, "")
        .did(&plan, 2, "")
        .did(&plan, 3, "")
        .did(&plan, 4, "")
        .finished(0, 0, false, "0");
    insta::assert_snapshot!(story.end(&plan), @r"
    Runs:
      droplet.runner[1]  tests     1.5s  ok

    Done: 5 of 5 steps done, 16s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch), $5.00/month
    help: `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn the_end_of_a_run_whose_tests_failed() {
    let plan = plan(1);
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, "")
        .did(&plan, 2, "")
        .failed(&plan, 3, tests_failed())
        .did(&plan, 4, "")
        .finished(1, 0, false, "0");
    // Where it stands just above, the result is enough.
    let below = story.end_below(&plan);
    assert!(below.contains("FAILED: exit status 1\n"), "{below}");
    assert!(
        !below.contains("last output") && !below.contains("error:"),
        "{below}"
    );
    insta::assert_snapshot!(story.end(&plan), @r"
    Runs:
      droplet.runner[1]  tests    1m15s  FAILED: exit status 1
          log: .dewpoint/runs/01M0/shop-main-runner-1/tests.log

    error: droplet.runner[1] run tests [dewpoint::run::exit]
      exit status 1
      last output:
        test_greeting FAILED
        E  AssertionError: 1 != 2

    Failed: 4 of 5 steps done, 1 failed, 16s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch), $5.00/month
    help: `dewpoint apply --local` runs all run steps again, but for `when: once` that has succeeded, `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn the_end_of_a_run_that_left_droplets_up() {
    let mut plan = plan(3);
    // Kept: not destroyed by the plan.
    plan.steps.truncate(5);
    plan.changes
        .retain(|change| change.address.to_string().starts_with("volume"));
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, "")
        .failed(&plan, 2, sync_failed())
        .skipped(3, Some(2))
        .skipped(4, Some(2))
        .finished(1, 2, false, "0.0268");
    insta::assert_snapshot!(story.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests           skipped: droplet.runner[1] sync failed

    error: droplet.runner[1] sync [dewpoint::guest::connection_lost]
      the connection to droplet.runner[1] was lost while bringing files
      caused by: broken pipe
      help: apply again
      2 steps were skipped because of this

    Failed: 2 of 5 steps done, 1 failed, 2 skipped, 13s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.runner[1..3] (shop-main-runner-1 to shop-main-runner-3), $0.0268/h
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch), $5.00/month
    help: `dewpoint apply --local` goes on from here, `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn the_end_of_a_run_that_was_stopped_at_once() {
    let plan = plan(1);
    let interrupted = Failure {
        code: crate::execute::error::INTERRUPTED.to_owned(),
        message: "interrupted".to_owned(),
        ..sync_failed()
    };
    let story = Story::new()
        .did(&plan, 1, "")
        .failed(&plan, 0, interrupted)
        .skipped(2, None)
        .skipped(3, None)
        .skipped(4, None)
        .finished(1, 3, true, "0.0089");
    insta::assert_snapshot!(story.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests           skipped: interrupted by SIGINT

    Interrupted: 1 of 5 steps done, 1 stopped, 3 skipped, 12s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db), $0.0089/h
    Kept: volume.models (shop-models), volume.old (shop-old), volume.scratch (shop-scratch), $5.00/month
    May be left: droplet.runner[1] (shop-main-runner-1)
    help: `dewpoint apply --local` goes on from here, `dewpoint destroy --local` finds and removes what is left
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn a_builder_that_was_destroyed_is_not_kept() {
    let mut plan = plan(1);
    plan.changes = vec![super::change(
        "snapshot.base",
        "shop-main-builder.base",
        crate::plan::Action::Delete,
        (
            crate::plan::Cause::Leftover,
            "an earlier run left this builder",
        ),
    )];
    plan.steps[4].address = "snapshot.base".parse().expect("an address");
    plan.steps[4].kind = crate::plan::StepKind::DestroyDroplet {
        droplet: crate::plan::step::DropletRef::Known {
            id: 1,
            name: "shop-main-builder.base".into(),
        },
        tag: "dewpoint:shop:main".into(),
    };
    let destroyed = Story::new().did(&plan, 4, "").finished(0, 0, false, "0");
    insta::assert_snapshot!(destroyed.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests           skipped: the run ended before it

    Done: 5 of 5 steps done, 4.5s in all, 21 API calls, $0.0012 of droplets.
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
    let still_there = Story::new().finished(0, 5, false, "0");
    insta::assert_snapshot!(still_there.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests           skipped: the run ended before it

    Done: 0 of 5 steps done, 5 skipped, 1.5s in all, 21 API calls, $0.0012 of droplets.
    Up: the builder of snapshot.base (shop-main-builder.base)
    help: `dewpoint apply --local` runs all run steps again, but for `when: once` that has succeeded, `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn runs_tell_of_tries_and_of_what_was_done_before_and_notices_are_told_again() {
    let plan = plan(2);
    let story = Story::new()
        .started(&plan, 3)
        .then(EventKind::Retried {
            step: Some(StepId(3)),
            attempt: 2,
            wait_ms: 1_000,
            reason: "exit status 1".to_owned(),
        })
        .done(3, "at try 2")
        .did(&plan, 6, "has succeeded before")
        .then(EventKind::Notice {
            text: "the artifact `report.xml` matched nothing on shop-main-runner-1".to_owned(),
        })
        .finished(0, 0, false, "0");
    insta::assert_snapshot!(story.end(&plan), @r"
    Runs:
      droplet.runner[1]  tests     1.5s  ok at try 2
      droplet.runner[2]  tests           skipped: has succeeded before

    note: the artifact `report.xml` matched nothing on shop-main-runner-1

    Done: 5 of 8 steps done, 10s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old), $5.00/month
    help: `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn a_terminal_is_told_the_end_of_the_output_and_long_lines_hang() {
    let plan = plan(1);
    let failure = Failure {
        tail: (1..=20)
            .map(|line| format!("line {line} {}", "x".repeat(100)))
            .collect(),
        ..tests_failed()
    };
    let story = Story::new()
        .failed(&plan, 3, failure)
        .finished(1, 0, false, "0");
    insta::assert_snapshot!(story.end_at(&plan, Some(60)), @r"
    Runs:
      droplet.runner[1]  tests    1m15s  FAILED: exit status 1
          log: .dewpoint/runs/01M0/shop-main-runner-1/tests.log

    error: droplet.runner[1] run tests [dewpoint::run::exit]
      exit status 1
      last output:
        line 16 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
        line 17 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
        line 18 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
        line 19 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
        line 20 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...

    Failed: 4 of 5 steps done, 1 failed, 4.5s in all, 21 API
        calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old),
        $5.00/month
    help: `dewpoint apply --local` runs all run steps again, but
        for `when: once` that has succeeded, `dewpoint destroy
        --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
    assert!(story.end(&plan).contains("line 1 x"), "a file is told all");
}

#[test]
fn what_is_kept_is_priced_once() {
    let mut plan = plan(1);
    plan.changes
        .retain(|change| change.address.to_string() == "volume.models");
    plan.cost.monthly_kept = money("11.00");
    plan.cost.monthly_droplets = money("6.00");
    plan.cost.unpriced = vec!["snapshot.base".to_owned()];
    plan.steps[1].address = "snapshot.base".parse().expect("an address");
    plan.steps[1].kind = crate::plan::StepKind::TakeSnapshot {
        droplet: super::droplet(1),
        name: "shop-base-1".to_owned(),
    };
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, "")
        .finished(0, 0, false, "0.0089");
    insta::assert_snapshot!(story.end(&plan), @r"

    Runs:
      droplet.runner[1]  tests           skipped: the run ended before it

    Done: 5 of 5 steps done, 7.5s in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.runner[1] (shop-main-runner-1), $0.0089/h
    Kept: volume.models (shop-models), snapshot.base (shop-base-1), $5.00/month and the price of snapshot.base, which the next plan knows
    help: `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
    let summary = crate::report::plan_text::summary(&plan, Palette::PLAIN);
    insta::assert_snapshot!(summary, @"No changes. Every apply: 1 run; 5 steps; about 4m; $0.0714/h while up ($6.00/month for droplets that stay), $5.00/month kept, about $0.0123 for this run (at most $0.3571); the price of snapshot.base shows once it is taken.");
}

#[test]
fn an_old_snapshot_that_was_not_deleted_and_those_of_volumes_are_kept() {
    use crate::plan::StepKind;
    let mut plan = plan(1);
    plan.changes
        .retain(|change| change.address.to_string() == "volume.models");
    plan.cost.monthly_kept = money("5.00");
    plan.cost.monthly_droplets = money("0.00");
    let base: Address = "snapshot.base".parse().expect("an address");
    plan.steps[0].address = base.clone();
    plan.steps[0].kind = StepKind::TakeSnapshot {
        droplet: super::droplet(1),
        name: "shop-base-2".to_owned(),
    };
    plan.steps[1].address = base;
    plan.steps[1].kind = StepKind::Prune {
        id: 71,
        name: "shop-base-1".to_owned(),
    };
    plan.steps[2].address = "volume.models".parse().expect("an address");
    plan.steps[2].kind = StepKind::SnapshotVolume {
        volume: crate::plan::step::VolumeRef::Known {
            id: "vol-1".to_owned(),
        },
        volume_name: "shop-models".to_owned().into(),
        tags: Vec::new().into(),
        found: None,
    };
    let kept = |plan: &Plan, story: Story| {
        let end = story.finished(0, 0, true, "0").end(plan);
        let mut lines = end.lines();
        let line = lines.find(|line| line.starts_with("Kept:"));
        line.unwrap_or_else(|| panic!("no line in {end}"))
            .to_owned()
    };
    // Interrupted before the new one was taken, and while it was.
    insta::assert_snapshot!(kept(&plan, Story::new()), @"Kept: volume.models (shop-models), snapshot.base (shop-base-1), $5.00/month and the price of snapshot.base, which the next plan knows");
    // Left for a later apply, with the volume's own.
    let left = "left for a later apply, as it may be in use by app / other";
    let story = Story::new()
        .did(&plan, 0, "")
        .did(&plan, 1, left)
        .did(&plan, 2, "");
    insta::assert_snapshot!(kept(&plan, story), @"Kept: volume.models (shop-models), snapshot.base (shop-base-1), snapshot.base (shop-base-2), the snapshot of volume.models, $5.00/month and the price of snapshot.base, the snapshot of volume.models, which the next plan knows");
    let story = Story::new().did(&plan, 0, "").did(&plan, 1, "");
    insta::assert_snapshot!(kept(&plan, story), @"Kept: volume.models (shop-models), snapshot.base (shop-base-2), $5.00/month");
    // One of the same name is taken for the old one of it.
    plan.steps[1].kind = StepKind::Prune {
        id: 71,
        name: "shop-base-2".to_owned(),
    };
    let story = Story::new().did(&plan, 0, "");
    insta::assert_snapshot!(kept(&plan, story), @"Kept: volume.models (shop-models), snapshot.base (shop-base-2), snapshot.base (shop-base-2, 71), $5.00/month and the price of snapshot.base, which the next plan knows");
    let story = Story::new().did(&plan, 0, "").did(&plan, 1, "");
    insta::assert_snapshot!(kept(&plan, story), @"Kept: volume.models (shop-models), snapshot.base (shop-base-2), $5.00/month");
}

#[test]
fn of_many_results_those_that_did_not_go_well_are_told() {
    let plan = plan(100);
    let story = (0..100).fold(Story::new(), |story, index| {
        let run = 3 + index * 3;
        match index {
            41 => story.failed(&plan, run, tests_failed()),
            42 => story.skipped(run, Some(2)),
            _ => story.did(&plan, run, ""),
        }
    });
    let story = story.finished(1, 1, false, "0");
    insta::assert_snapshot!(story.end_at(&plan, Some(80)), @r"
    Runs:
      droplet.runner[42]   tests    1m15s  FAILED: exit status 1
          log: .dewpoint/runs/01M0/shop-main-runner-42/tests.log
      droplet.runner[43]   tests           skipped: droplet.runner[1] sync failed
      98 of 100 ok, in 1.5s each

    error: droplet.runner[42] run tests [dewpoint::run::exit]
      exit status 1
      last output:
        test_greeting FAILED
        E  AssertionError: 1 != 2

    Failed: 3 of 302 steps done, 1 failed, 1 skipped, 5m in all, 21 API calls,
        $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old), $5.00/month
    help: `dewpoint apply --local` runs all run steps again, but for `when: once`
        that has succeeded, `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
    insta::assert_snapshot!(story.end_at(&plan, Some(160)), @r"
    Runs:
      droplet.runner[42]   tests    1m15s  FAILED: exit status 1
          log: .dewpoint/runs/01M0/shop-main-runner-42/tests.log
      droplet.runner[43]   tests           skipped: droplet.runner[1] sync failed
      98 of 100 ok, in 1.5s each

    error: droplet.runner[42] run tests [dewpoint::run::exit]
      exit status 1
      last output:
        test_greeting FAILED
        E  AssertionError: 1 != 2

    Failed: 3 of 302 steps done, 1 failed, 1 skipped, 5m in all, 21 API calls, $0.0012 of droplets.
    Up: droplet.db (shop-main-db)
    Kept: volume.models (shop-models), volume.old (shop-old), $5.00/month
    help: `dewpoint apply --local` runs all run steps again, but for `when: once` that has succeeded, `dewpoint destroy --local` removes what is up
    Logs, artifacts and journal: .dewpoint/runs/01M0
    ");
}

#[test]
fn of_many_failures_the_first_are_told() {
    let plan = plan(100);
    let story = (0..100).fold(Story::new(), |story, index| {
        story.failed(&plan, 3 + index * 3, tests_failed())
    });
    let end = story.finished(5, 0, false, "0").end(&plan);
    assert_eq!(end.matches("last output:").count(), 20, "{end}");
    assert!(
        end.contains("\nerror: 80 more failed: `dewpoint report` shows each\n"),
        "{end}"
    );
}
