//! The engine: one task that alone starts steps.
//!
//! It tells that a step starts, with the journal written, and only then spawns it; it waits for a
//! message of a step, an interrupt or the end of its patience; it tells what came of it, and starts
//! what became ready.
//!
//! Where the right to change the environment can be lost (see [`super::shared_lock`]), each step asks
//! for it first, and its loss ends everything at once, clean-up included: it is left to whoever has
//! that right now.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::INTERRUPTED;
use super::event::{EventKind, Failure};
use super::feed::{Feed, Inbox, Message};
use super::interrupt::{Interrupts, Signal, may_be_dropped};
use super::journal::JournalError;
use super::limits::Queue;
use super::order::{End, Next, Order};
use super::outcome::{Ending, Outcome};
use super::perform::Perform;
use super::run_state::StepState;
use super::shared_lock::{Lease, LeaseLost};
use super::stream::Stream;
use crate::plan::{Plan, Step, StepId, StepKind};

/// How long after an interrupt a step that is let finish may still take: it may be waiting for an
/// answer that never comes, and whoever interrupted the run may end it after 7 s. What it was about to
/// make is looked for by whoever cleans up.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long after an interrupt artifacts of what was interrupted may still begin to be brought back:
/// deletes are due within 2 s.
const ARTIFACTS_BEGIN: Duration = Duration::from_millis(800);

/// A step that runs.
struct Running {
    since: Instant,
    /// Asks it to come to an end of its own.
    cancel: CancellationToken,
    /// Ends it.
    abort: CancellationToken,
}

/// Why no new steps start.
enum Stop {
    /// The journal cannot be written.
    Journal,
    /// A signal came in.
    Signal(Signal),
    /// The lock was lost.
    Lock,
}

pub(super) struct Engine<'a, P> {
    plan: &'a Plan,
    performer: Arc<P>,
    stream: Stream<'a>,
    feed: Feed,
    order: Order,
    queue: Queue,
    running: BTreeMap<StepId, Running>,
    tasks: JoinSet<()>,
    journal_failure: Option<Failure>,
    lease: Option<Lease>,
    lock_failure: Option<Failure>,
    signal: Option<Signal>,
    patience_ends: Option<Instant>,
    /// Until when artifacts may still begin to be brought back, after an interrupt.
    artifacts_until: Option<Instant>,
}

impl<'a, P: Perform> Engine<'a, P> {
    pub(super) fn new(
        plan: &'a Plan,
        performer: Arc<P>,
        stream: Stream<'a>,
        feed: Feed,
        queue: Queue,
        lease: Option<Lease>,
    ) -> Self {
        Self {
            plan,
            performer,
            stream,
            feed,
            order: Order::new(plan),
            queue,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            journal_failure: None,
            lease,
            lock_failure: None,
            signal: None,
            patience_ends: None,
            artifacts_until: None,
        }
    }

    /// Executes the plan to its end.
    pub(super) async fn run(
        mut self,
        run: String,
        mut inbox: Inbox,
        mut interrupts: Interrupts,
    ) -> Outcome {
        self.tell(EventKind::RunStarted {
            run,
            project: self.plan.project.clone(),
            environment: self.plan.environment.clone(),
            goal: self.plan.goal,
            steps: u32::try_from(self.plan.steps.len()).unwrap_or(u32::MAX),
            expected_seconds: self.plan.cost.expected_seconds,
        });
        let first = self.order.first().into_iter().map(Next::Ready);
        self.advance(first.collect());
        let mut signals = 0;
        let lease = self.lease.clone();
        while self.launch() {
            tokio::select! {
                biased;
                signal = interrupts.next() => {
                    signals += 1;
                    self.interrupt(signal, signals);
                    if signals > 1 {
                        break;
                    }
                }
                () = sleep_until(self.patience_ends.unwrap_or_else(Instant::now)),
                    if self.patience_ends.is_some() => {
                    self.patience_ends = None;
                    self.abort(|_| true);
                }
                lost = lost(lease.as_ref()), if self.lock_failure.is_none() => {
                    self.lock_lost(&lost);
                }
                message = inbox.next() => self.take(message),
            }
        }
        self.end_the_rest();
        if signals < 2 {
            let performer = Arc::clone(&self.performer);
            tokio::select! {
                biased;
                // After a first one something may be waited for; a second ends that.
                signal = interrupts.next(), if signals == 1 => self.interrupt(signal, 2),
                notice = performer.close() => {
                    if let Some(text) = notice {
                        self.tell(EventKind::Notice { text });
                    }
                }
            }
        }
        self.finish()
    }

    /// Starts what is ready and has room; says whether anything runs.
    fn launch(&mut self) -> bool {
        while let Some(id) = self.queue.pop() {
            let plan = self.plan;
            // Asked each time: a machine that was paused starts here, before any timer has gone off.
            if self.lock_failure.is_none()
                && let Some(Err(lost)) = self.lease.as_ref().map(Lease::check)
            {
                self.lock_lost(&lost);
            }
            let Some(step) = plan.step(id) else { continue };
            match self.reason_not_to_start(step) {
                Some(reason) => {
                    self.queue.release(step);
                    self.skip(id, None, reason);
                }
                None => self.start(step),
            }
        }
        !self.running.is_empty()
    }

    /// Why a step must not start now. Clean-up always may, as long as the lock is ours.
    fn reason_not_to_start(&self, step: &Step) -> Option<String> {
        match self.stop() {
            Some(Stop::Lock) => Some("the lock was lost".to_owned()),
            Some(Stop::Signal(_)) if self.is_last_look(step) => None,
            Some(stop) if !step.cleanup => Some(match stop {
                Stop::Signal(signal) => format!("interrupted by {}", signal.name()),
                _ => "the journal of this run cannot be written".to_owned(),
            }),
            _ => None,
        }
    }

    /// Whether a step brings back artifacts of a run that an interrupt met on its way.
    fn is_last_look(&self, step: &Step) -> bool {
        let is_open = self.artifacts_until.is_some_and(|end| Instant::now() < end);
        if !is_open || !matches!(step.kind, StepKind::Collect { .. }) {
            return false;
        }
        self.plan.edges.iter().any(|edge| {
            let began = || {
                let state = self.stream.state().step(edge.from);
                state.is_some_and(|state| !matches!(state, StepState::Waiting | StepState::Skipped))
            };
            let is_run = |step: &Step| matches!(step.kind, StepKind::Run { .. });
            edge.to == step.id && self.plan.step(edge.from).is_some_and(is_run) && began()
        })
    }

    fn stop(&self) -> Option<Stop> {
        if self.lock_failure.is_some() {
            return Some(Stop::Lock);
        }
        let signal = self.signal.map(Stop::Signal);
        signal.or_else(|| self.journal_failure.as_ref().map(|_| Stop::Journal))
    }

    fn start(&mut self, step: &Step) {
        let announced = self.stream.announce(EventKind::Started {
            step: step.id,
            address: step.address.clone(),
            title: step.kind.title(),
        });
        if let Err(error) = announced {
            self.journal_failed(&error);
            if let Some(reason) = self.reason_not_to_start(step) {
                self.queue.release(step);
                self.skip(step.id, None, reason);
                return;
            }
            self.tell(EventKind::Started {
                step: step.id,
                address: step.address.clone(),
                title: step.kind.title(),
            });
        }
        let running = Running {
            since: Instant::now(),
            cancel: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        if self.signal.is_some() && !step.cleanup {
            running.cancel.cancel();
        }
        let reporter = self.feed.reporter(step, running.cancel.clone());
        let abort = running.abort.clone();
        let performer = Arc::clone(&self.performer);
        let step = step.clone();
        self.running.insert(step.id, running);
        self.tasks.spawn(async move {
            let work = AssertUnwindSafe(performer.perform(&step, &reporter)).catch_unwind();
            let result = tokio::select! {
                biased;
                () = abort.cancelled() => Err(Failure::interrupted()),
                result = reporter.feed().hold_up(work) => match result {
                    Ok(result) => result,
                    Err(payload) => Err(Failure::panicked(payload.as_ref())),
                },
            };
            reporter.ended(result);
        });
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Event(kind) => self.tell(kind),
            Message::Ended(id, result) => self.ended(id, result),
        }
    }

    fn ended(&mut self, id: StepId, mut result: Result<String, Failure>) {
        let plan = self.plan;
        if let Err(failure) = &mut result
            && failure.code == INTERRUPTED
            && self.signal.is_none()
            && self.lock_failure.is_some()
        {
            "stopped, for the lock was lost".clone_into(&mut failure.message);
        }
        let (Some(running), Some(step)) = (self.running.remove(&id), plan.step(id)) else {
            return;
        };
        self.queue.release(step);
        while self.tasks.try_join_next().is_some() {}
        let took_ms = u64::try_from(running.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let end = match &result {
            Ok(_) => End::Succeeded,
            Err(failure) if failure.allowed => End::Succeeded,
            // Not its fault: what waits for it is stopped as well.
            Err(failure) if failure.code == INTERRUPTED => End::Stopped,
            Err(_) => End::Failed,
        };
        self.tell(match result {
            Ok(note) => EventKind::Done {
                step: id,
                took_ms,
                note,
            },
            Err(failure) => EventKind::Failed {
                step: id,
                took_ms,
                failure,
            },
        });
        let next = self.order.ended(id, end);
        self.advance(next);
    }

    /// Queues what is ready and skips what cannot be done any more.
    fn advance(&mut self, next: Vec<Next>) {
        let plan = self.plan;
        for next in next {
            match next {
                Next::Ready(id) => {
                    if let Some(step) = plan.step(id) {
                        self.queue.push(step);
                    }
                }
                Next::Skip(id, root) => {
                    let reason = plan.step(root).map_or_else(String::new, |step| {
                        format!("{} {} failed", step.address, step.kind.title())
                    });
                    self.skip(id, Some(root), reason);
                }
            }
        }
    }

    /// Skips a step, and whatever can only be skipped because of it.
    fn skip(&mut self, id: StepId, because: Option<StepId>, reason: String) {
        let mut skipped = vec![(id, because, reason)];
        while let Some((id, because, reason)) = skipped.pop() {
            self.tell(EventKind::Skipped {
                step: id,
                because,
                reason: reason.clone(),
            });
            let end = because.map_or(End::Stopped, End::SkippedFor);
            for next in self.order.ended(id, end) {
                match next {
                    Next::Skip(id, root) => skipped.push((id, Some(root), reason.clone())),
                    ready @ Next::Ready(_) => self.advance(vec![ready]),
                }
            }
        }
    }

    fn interrupt(&mut self, signal: Signal, times: u32) {
        self.signal.get_or_insert(signal);
        self.feed.hurry();
        self.performer.hurry();
        self.tell(EventKind::Interrupted {
            signal: signal.name().to_owned(),
            times,
        });
        if times == 1 {
            self.artifacts_until = Some(Instant::now() + ARTIFACTS_BEGIN);
            // Not left to wait for room: clean-up may be waiting for their end.
            for id in self.queue.drain() {
                match self
                    .plan
                    .step(id)
                    .and_then(|step| self.reason_not_to_start(step))
                {
                    Some(reason) => self.skip(id, None, reason),
                    None => self.advance(vec![Next::Ready(id)]),
                }
            }
            self.patience_ends = Some(Instant::now() + PATIENCE);
            for (id, running) in &self.running {
                if self.plan.step(*id).is_some_and(|step| !step.cleanup) {
                    running.cancel.cancel();
                }
            }
            self.abort(may_be_dropped);
        }
    }

    /// Ends everything: what is started or cleaned up from here on is for whoever has the lock now.
    fn lock_lost(&mut self, lost: &LeaseLost) {
        let failure = Failure::from_error(lost);
        let text = format!(
            "{}: nothing more is started or sent; clean-up is left to whoever has the lock now",
            failure.message
        );
        self.lock_failure = Some(failure);
        self.feed.hurry();
        self.tell(EventKind::Notice { text });
        for running in self.running.values() {
            running.abort.cancel();
        }
    }

    /// Ends running steps of these kinds, clean-up excepted.
    fn abort(&self, kinds: fn(&StepKind) -> bool) {
        for (id, running) in &self.running {
            let Some(step) = self.plan.step(*id) else {
                continue;
            };
            if !step.cleanup && kinds(&step.kind) {
                running.abort.cancel();
            }
        }
    }

    /// Gives every step that has not ended an end: after a second signal, and for steps that wait
    /// for each other, which no plan that was checked has.
    fn end_the_rest(&mut self) {
        self.tasks.abort_all();
        for (id, running) in std::mem::take(&mut self.running) {
            let took_ms = u64::try_from(running.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.tell(EventKind::Failed {
                step: id,
                took_ms,
                failure: Failure::interrupted(),
            });
        }
        let reason = match self.stop() {
            Some(Stop::Signal(signal)) => format!("interrupted by {}", signal.name()),
            Some(Stop::Lock) => "the lock was lost".to_owned(),
            _ => "it waits for itself: the plan is at fault".to_owned(),
        };
        for step in &self.plan.steps {
            if self.stream.state().step(step.id) == Some(StepState::Waiting) {
                self.tell(EventKind::Skipped {
                    step: step.id,
                    because: None,
                    reason: reason.clone(),
                });
            }
        }
    }

    /// Tells of what has happened. A journal that cannot be written stops new steps.
    fn tell(&mut self, kind: EventKind) {
        if let Err(error) = self.stream.tell(kind) {
            self.journal_failed(&error);
        }
    }

    fn journal_failed(&mut self, error: &JournalError) {
        if self.journal_failure.is_some() {
            return;
        }
        let failure = Failure::from_error(error);
        let cause = failure.causes.first().map_or("", String::as_str);
        let text = format!("{} ({cause}): no new steps, but clean-up", failure.message);
        self.journal_failure = Some(failure);
        self.tell(EventKind::Notice { text });
    }

    fn finish(mut self) -> Outcome {
        let state = self.stream.state();
        let elapsed_ms = self.stream.elapsed_ms();
        let finished = EventKind::RunFinished {
            done: state.count(&[StepState::Done, StepState::FailedAllowed]),
            failed: state.count(&[StepState::Failed]),
            skipped: state.count(&[StepState::Skipped]),
            runs_failed: state.runs_failed(),
            interrupted: self.signal.is_some(),
            api_calls: self.performer.api_calls(),
            cost: self.stream.standing().cost(elapsed_ms),
            hourly: self.stream.standing().hourly(),
        };
        self.tell(finished);
        let (state, standing, events) = self.stream.close();
        let failures: Vec<(Option<StepId>, Failure)> = state
            .failures()
            .iter()
            .map(|(step, failure)| (Some(*step), failure.clone()))
            .chain(self.journal_failure.map(|failure| (None, failure)))
            .chain(self.lock_failure.map(|failure| (None, failure)))
            .collect();
        let skipped = state.count(&[StepState::Skipped]);
        Outcome {
            ending: Ending::of(self.signal, &failures, skipped),
            events,
            failures,
            runs_failed: state.runs_failed(),
            standing,
        }
    }
}

/// Waits until the lock is lost: for ever, where there is none to lose.
async fn lost(lease: Option<&Lease>) -> LeaseLost {
    match lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
}
