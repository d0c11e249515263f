//! The engine with scripted steps, under paused time.

mod early;
mod fleet;
mod interrupts;
mod lost_lock;
mod order;
mod pace;
mod record;
mod steps;
mod volumes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
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
use super::journal::Journal;
use super::limits::{Limits, Queue};
use super::listener::Listener;
use super::outcome::Outcome;
use super::perform::Perform;
use super::redact::Redactor;
use super::shared_lock::Lease;
use super::standing::Tariff;
use super::stream::Stream;
use crate::address::Address;
use crate::digest::Digest;
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::step::{DropletRef, DropletSpec, ImageRef, NewDroplet, RunSpec};
use crate::plan::{Cost, Edge, EdgeKind, Goal, Plan, Step, StepId, StepKind, schedule};
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
    is_hurried: Arc<AtomicBool>,
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
                script: Vec::new(),
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

    fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
    }

    async fn close(&self) -> Option<String> {
        self.log.note("close");
        None
    }
}

/// A run to be: given steps, acts and edges, when it is executed, then what was noted.
struct Scenario {
    plan: Plan,
    acts: BTreeMap<StepId, Act>,
    /// Seconds that steps are expected to take, where that is not nothing.
    took: BTreeMap<StepId, u64>,
    limits: Limits,
    listeners: Vec<Box<dyn Listener>>,
    folder: tempfile::TempDir,
    interrupts: Interrupts,
    sender: UnboundedSender<Signal>,
    lease: Option<Lease>,
}

struct Played {
    outcome: Outcome,
    log: Vec<String>,
    /// Whether whoever performed the steps was told that time is short.
    was_hurried: bool,
    folder: tempfile::TempDir,
}

impl Played {
    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("UTF-8")
    }
}

fn empty_plan() -> Plan {
    Plan {
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
    }
}

impl Scenario {
    fn new() -> Self {
        let (sender, interrupts) = Interrupts::channel();
        Self {
            plan: empty_plan(),
            acts: BTreeMap::new(),
            took: BTreeMap::new(),
            limits: Limits::for_parallelism(16),
            listeners: vec![],
            folder: tempfile::tempdir().expect("a temporary folder"),
            interrupts,
            sender,
            lease: None,
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
        let run = plain_run(&name, "true");
        let droplet = DropletRef::Known {
            id: 1,
            name: "shop-main-runner".into(),
        };
        self.step(
            StepKind::Run {
                droplet,
                run: run.into(),
            },
            false,
            act,
        )
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
            name: "shop-main-runner".into(),
        }];
        self.step(
            StepKind::CreateDroplets {
                spec: Box::new(spec),
                droplets,
            },
            false,
            act,
        )
    }

    /// A droplet's destruction, as clean-up.
    fn destroy(self, act: Act) -> Self {
        let droplet = DropletRef::Created {
            step: StepId(0),
            name: "shop-main-runner".into(),
        };
        let tag = "dewpoint:shop:main".to_owned();
        self.step(
            StepKind::DestroyDroplet {
                droplet,
                tag: tag.into(),
            },
            true,
            act,
        )
    }

    /// The last step is expected to take so many seconds.
    fn expected(mut self, seconds: u64) -> Self {
        let last = self.plan.steps.last().expect("a step").id;
        self.took.insert(last, seconds);
        self
    }

    fn edge(mut self, from: u32, to: u32, kind: EdgeKind) -> Self {
        self.plan.edges.push(Edge {
            from: StepId(from),
            to: StepId(to),
            kind,
            reason: "because".into(),
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
        let is_hurried = Arc::new(AtomicBool::new(false));
        let performer = Arc::new(Scripted {
            acts: self.acts,
            is_hurried: Arc::clone(&is_hurried),
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
        let steps = self.plan.steps.iter();
        let took: Vec<u64> = steps
            .map(|step| self.took.get(&step.id).copied().unwrap_or_default())
            .collect();
        let queue = Queue::new(self.limits, schedule::chains(&took, &self.plan.edges));
        let engine = Engine::new(&self.plan, performer, stream, feed, queue, self.lease);
        let run = engine.run("01RUN".to_owned(), inbox, self.interrupts);
        let outcome = tokio::time::timeout(Duration::from_secs(10_000), run).await;
        let lines = std::mem::take(&mut *log.lines.lock().unwrap_or_else(PoisonError::into_inner));
        Played {
            outcome: outcome.expect("a run ends"),
            log: lines,
            was_hurried: is_hurried.load(Ordering::Relaxed),
            folder: self.folder,
        }
    }
}

/// A stream's events, one a line, without times.
fn told(events: &[Event]) -> String {
    let lines = events.iter().map(|event| match &event.kind {
        EventKind::RunStarted { steps, .. } => format!("run started, {steps} steps"),
        EventKind::Started { step, title, .. } => format!("{} started: {title}", step.0),
        EventKind::Done { step, note, .. } if note.is_empty() => format!("{} done", step.0),
        EventKind::Done { step, note, .. } => format!("{} done: {note}", step.0),
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
        EventKind::Retried {
            attempt, reason, ..
        } => format!("try {attempt}: {reason}"),
        EventKind::Output { .. } | EventKind::Progress { .. } => format!("{:?}", event.kind),
    });
    lines.collect::<Vec<_>>().join("\n")
}

const RUN_FAILS: Act = Act::Fail(FailureClass::RunStep, false);
const TOOL_FAILS: Act = Act::Fail(FailureClass::Tool, false);

/// A command in the foreground, as plain as can be.
fn plain_run(name: &str, command: &str) -> RunSpec {
    RunSpec {
        name: name.into(),
        command: command.into(),
        env: vec![],
        secrets: vec![].into(),
        cwd: None,
        timeout: Seconds(60),
        retries: 0,
        allow_failure: false,
        once: None,
        background: None,
    }
}
