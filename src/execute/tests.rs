//! The engine with scripted steps, under paused time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use super::engine::Engine;
use super::event::{Event, EventKind, Failure, FailureClass, OutputStream};
use super::feed::{Reporter, feed};
use super::interrupt::{Interrupts, Signal};
use super::journal::{self, Journal};
use super::limits::Limits;
use super::listener::Listener;
use super::outcome::{Ending, Outcome};
use super::perform::Perform;
use super::redact::Redactor;
use super::standing::Tariff;
use super::stream::Stream;
use crate::address::Address;
use crate::digest::Digest;
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::step::{DropletRef, DropletSpec, ImageRef, NewDroplet, RunSpec};
use crate::plan::{Cost, Edge, EdgeKind, Goal, Plan, Step, StepId, StepKind};
use crate::units::{Money, Seconds};

/// What a scripted step does.
#[derive(Debug, Clone)]
enum Act {
    /// Succeeds after so many seconds.
    Take(u64),
    /// Fails at once.
    Fail(FailureClass, /* allowed */ bool),
    /// Panics.
    Panic,
    /// Never ends, and does not heed a request to.
    Hang,
    /// Ends so many seconds after it is asked to.
    HeedAfter(u64),
    /// Prints so many lines, then succeeds.
    Print(usize),
}

/// Plays a part for each step, and notes in its own words when each begins and ends.
struct Scripted {
    acts: BTreeMap<StepId, Act>,
    log: Arc<Log>,
}

struct Log {
    began: Instant,
    lines: Mutex<Vec<String>>,
}

impl Log {
    fn note(&self, text: &str) {
        let line = format!("{:>3} {text}", self.began.elapsed().as_secs());
        let lines = self.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// Notes when work is dropped before its end.
struct Guard<'a>(&'a Log, u32);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.note(&format!("drop {}", self.1));
    }
}

#[async_trait]
impl Perform for Scripted {
    async fn perform(&self, step: &Step, reporter: &Reporter) -> Result<String, Failure> {
        let id = step.id.0;
        self.log.note(&format!("start {id}"));
        let guard = Guard(&self.log, id);
        let result = match self.acts.get(&step.id).cloned().unwrap_or(Act::Take(1)) {
            Act::Take(seconds) => {
                sleep(Duration::from_secs(seconds)).await;
                Ok(String::new())
            }
            Act::Fail(class, allowed) => Err(Failure {
                class,
                allowed,
                code: "dewpoint::test::failed".to_owned(),
                message: "it failed with s3cret".to_owned(),
                help: None,
                causes: vec![],
                exit_status: None,
                tail: vec![],
            }),
            Act::Panic => panic!("as the script says"),
            Act::Hang => std::future::pending().await,
            Act::HeedAfter(seconds) => {
                reporter.cancelled().await;
                sleep(Duration::from_secs(seconds)).await;
                Err(Failure::interrupted())
            }
            Act::Print(lines) => {
                for number in 0..lines {
                    reporter.output(OutputStream::Out, format!("line {number}"));
                    if number % 100 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Ok("printed".to_owned())
            }
        };
        std::mem::forget(guard);
        let word = if result.is_ok() { "end" } else { "fail" };
        self.log.note(&format!("{word} {id}"));
        result
    }

    fn api_calls(&self) -> u64 {
        7
    }

    async fn close(&self) {
        self.log.note("close");
    }
}

/// A run to be: given steps, acts and edges, when it is executed, then what was noted.
struct Scenario {
    plan: Plan,
    acts: BTreeMap<StepId, Act>,
    limits: Limits,
    listeners: Vec<Box<dyn Listener>>,
    folder: tempfile::TempDir,
    interrupts: Interrupts,
    sender: UnboundedSender<Signal>,
}

struct Played {
    outcome: Outcome,
    log: Vec<String>,
    folder: tempfile::TempDir,
}

impl Played {
    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("UTF-8")
    }
}

impl Scenario {
    fn new() -> Self {
        let (sender, interrupts) = Interrupts::channel();
        Self {
            plan: Plan {
                version: 1,
                project: "shop".to_owned(),
                environment: "main".to_owned(),
                region: "nyc3".to_owned(),
                goal: Goal::Apply,
                desired_digest: Digest::of_bytes(b""),
                live_digest: Digest::of_bytes(b""),
                changes: vec![],
                activities: vec![],
                steps: vec![],
                edges: vec![],
                cost: Cost::default(),
                notices: vec![],
            },
            acts: BTreeMap::new(),
            limits: Limits::for_parallelism(16),
            listeners: vec![],
            folder: tempfile::tempdir().expect("a temporary folder"),
            interrupts,
            sender,
        }
    }

    fn step(mut self, kind: StepKind, cleanup: bool, act: Act) -> Self {
        let id = StepId(u32::try_from(self.plan.steps.len()).expect("few"));
        self.plan.steps.push(Step {
            id,
            address: Address::droplet("runner"),
            kind,
            cleanup,
            expected_seconds: 1,
        });
        self.acts.insert(id, act);
        self
    }

    /// A run step.
    fn run(self, act: Act) -> Self {
        let name = format!("step {}", self.plan.steps.len());
        let run = RunSpec {
            name,
            command: "true".to_owned(),
            env: vec![],
            secrets: vec![],
            cwd: None,
            timeout: Seconds(60),
            retries: 0,
            allow_failure: false,
            once: None,
        };
        let droplet = DropletRef::Known {
            id: 1,
            name: "shop-main-runner".to_owned(),
        };
        self.step(StepKind::Run { droplet, run }, false, act)
    }

    /// A droplet's creation.
    fn create(self, act: Act) -> Self {
        let spec = DropletSpec {
            region: "nyc3".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image: ImageRef::Slug("ubuntu-24-04-x64".to_owned()),
            tags: vec![],
            ssh_key_fingerprint: String::new(),
            user: "root".to_owned(),
            host_key: HostKeyPolicy::Derived,
        };
        let droplets = vec![NewDroplet {
            address: Address::droplet("runner"),
            name: "shop-main-runner".to_owned(),
        }];
        self.step(StepKind::CreateDroplets { spec, droplets }, false, act)
    }

    /// A droplet's destruction, as clean-up.
    fn destroy(self, act: Act) -> Self {
        let droplet = DropletRef::Created {
            step: StepId(0),
            name: "shop-main-runner".to_owned(),
        };
        let tag = "dewpoint:shop:main".to_owned();
        self.step(StepKind::DestroyDroplet { droplet, tag }, true, act)
    }

    fn edge(mut self, from: u32, to: u32, kind: EdgeKind) -> Self {
        self.plan.edges.push(Edge {
            from: StepId(from),
            to: StepId(to),
            kind,
            reason: "because".to_owned(),
        });
        self
    }

    fn needs(self, from: u32, to: u32) -> Self {
        self.edge(from, to, EdgeKind::Needs)
    }

    fn after(self, from: u32, to: u32) -> Self {
        self.edge(from, to, EdgeKind::After)
    }

    fn listener(mut self, listener: impl Listener + 'static) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Sends a signal so many seconds into the run.
    fn signal(self, seconds: u64, signal: Signal) -> Self {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(seconds)).await;
            // The run may be over by then.
            let _ = sender.send(signal);
        });
        self
    }

    async fn play(self) -> Played {
        let log = Arc::new(Log {
            began: Instant::now(),
            lines: Mutex::default(),
        });
        let performer = Arc::new(Scripted {
            acts: self.acts,
            log: Arc::clone(&log),
        });
        let secret = crate::secret::Secret::new("s3cret".to_owned());
        let (feed, inbox) = feed(Redactor::new([&secret]));
        let folder = Utf8PathBuf::from_path_buf(self.folder.path().to_owned()).expect("UTF-8");
        let journal = Journal::create(&folder).expect("a journal");
        let mut tariff = Tariff::default();
        let price = Money("0.36".parse().expect("a price"));
        tariff.by_size.insert("s-1vcpu-1gb".to_owned(), price);
        let stream = Stream::new(&self.plan, tariff, journal, self.listeners);
        let engine = Engine::new(&self.plan, performer, stream, feed, self.limits);
        let run = engine.run("01RUN".to_owned(), inbox, self.interrupts);
        let outcome = tokio::time::timeout(Duration::from_secs(10_000), run).await;
        let lines = std::mem::take(&mut *log.lines.lock().unwrap_or_else(PoisonError::into_inner));
        Played {
            outcome: outcome.expect("a run ends"),
            log: lines,
            folder: self.folder,
        }
    }
}

/// A stream's events, one a line, without times.
fn told(events: &[Event]) -> String {
    let lines = events.iter().map(|event| match &event.kind {
        EventKind::RunStarted { steps, .. } => format!("run started, {steps} steps"),
        EventKind::Started { step, title, .. } => format!("{} started: {title}", step.0),
        EventKind::Done { step, .. } => format!("{} done", step.0),
        EventKind::Failed { step, failure, .. } => {
            format!("{} failed: {} [{}]", step.0, failure.message, failure.code)
        }
        EventKind::Skipped {
            step,
            because,
            reason,
        } => {
            let because = because.map(|because| format!(" for {}", because.0));
            format!("{} skipped{}: {reason}", step.0, because.unwrap_or_default())
        }
        EventKind::Notice { text } => format!("notice: {text}"),
        EventKind::Interrupted { signal, times } => format!("{signal} {times}"),
        EventKind::RunFinished {
            done,
            failed,
            skipped,
            runs_failed,
            interrupted,
            cost,
            hourly,
            ..
        } => format!(
            "run finished: {done} done, {failed} failed ({runs_failed} runs), {skipped} skipped, interrupted: {interrupted}, {cost}, {hourly}/h"
        ),
        EventKind::Output { .. } | EventKind::Progress { .. } | EventKind::Retried { .. } => {
            format!("{:?}", event.kind)
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

const RUN_FAILS: Act = Act::Fail(FailureClass::RunStep, false);
const TOOL_FAILS: Act = Act::Fail(FailureClass::Tool, false);

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
    33 drop 0
    33 start 1
    38 end 1
    38 close
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
async fn limits_bound_what_runs_at_once_in_the_plans_order() {
    let mut scenario = Scenario::new();
    scenario.limits.commands = 2;
    for _ in 0..5 {
        scenario = scenario.run(Act::Take(10));
    }
    let played = scenario.destroy(Act::Take(1)).play().await;
    insta::assert_snapshot!(played.log.join("\n"), @r"
     0 start 5
     0 start 0
     0 start 1
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
async fn queued_steps_do_not_hold_up_cleanup_after_an_interrupt() {
    let mut scenario = Scenario::new();
    scenario.limits.api = 1;
    let played = scenario
        .create(Act::HeedAfter(20))
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
    run finished: 1 done, 1 failed (0 runs), 2 skipped, interrupted: true, $0.0022, $0.00/h
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
    let mut state = super::RunState::new();
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
    0 done
    1 skipped: the journal of this run cannot be written
    2 started: destroy droplet
    2 done
    run finished: 2 done, 0 failed (0 runs), 1 skipped, interrupted: false, $0.00, $0.00/h
    ");
    assert_eq!(played.outcome.ending, Ending::Failed);
}
