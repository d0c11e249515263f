//! Where each step of a run is: the one table of legal transitions. The engine, the exit code and
//! the history all fold events with it.

use super::event::{Event, EventKind, Failure, FailureClass};
use crate::plan::StepId;

/// Where a step is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Not started.
    Waiting,
    /// Started, not ended.
    Running,
    /// Ended well.
    Done,
    /// Ended badly, but that is allowed.
    FailedAllowed,
    /// Ended badly.
    Failed,
    /// Never started.
    Skipped,
}

impl StepState {
    /// In words, after its name.
    const fn words(self) -> &'static str {
        match self {
            Self::Waiting => "has not begun",
            Self::Running => "is running",
            Self::Done | Self::FailedAllowed | Self::Failed => "has ended",
            Self::Skipped => "was skipped",
        }
    }

    /// Whether nothing more can come of it.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// An event that cannot follow those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} cannot follow: {problem}")]
pub struct IllegalEvent {
    /// Its position in the stream.
    pub seq: u64,
    /// What is wrong.
    pub problem: String,
}

/// A run as far as its events tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunState {
    steps: Vec<StepState>,
    next_seq: u64,
    began: bool,
    finished: bool,
    failures: Vec<(StepId, Failure)>,
    runs_failed: u32,
    signals: Vec<String>,
}

impl RunState {
    /// Before the first event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an event.
    ///
    /// # Errors
    /// When it cannot follow those before it; the state is as it was then.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let illegal = |problem: String| {
            Err(IllegalEvent {
                seq: event.seq,
                problem,
            })
        };
        // Not every event has to be seen: a journal holds no output.
        if event.seq < self.next_seq {
            return illegal("a later one has been seen".to_owned());
        }
        if self.finished {
            return illegal("the run has finished".to_owned());
        }
        if !self.began && !matches!(event.kind, EventKind::RunStarted { .. }) {
            return illegal("the run has not started".to_owned());
        }
        match &event.kind {
            EventKind::RunStarted { steps, .. } => {
                if self.began {
                    return illegal("the run has started already".to_owned());
                }
                self.began = true;
                self.steps = vec![StepState::Waiting; *steps as usize];
            }
            EventKind::Started { step, .. }
            | EventKind::Output { step, .. }
            | EventKind::Progress { step, .. }
            | EventKind::Done { step, .. }
            | EventKind::Failed { step, .. }
            | EventKind::Skipped { step, .. }
            | EventKind::Retried {
                step: Some(step), ..
            } => {
                let Some(state) = self.steps.get_mut(step.0 as usize) else {
                    return illegal(format!("there is no step {}", step.0));
                };
                match next(*state, &event.kind) {
                    Some(after) => *state = after,
                    None => {
                        let problem = format!("step {} {}", step.0, state.words());
                        return illegal(problem);
                    }
                }
            }
            EventKind::Retried { step: None, .. } | EventKind::Notice { .. } => {}
            EventKind::Interrupted { signal, .. } => self.signals.push(signal.clone()),
            EventKind::RunFinished { .. } => {
                if let Some(open) = self.steps.iter().position(|state| !state.has_ended()) {
                    return illegal(format!("step {open} has not ended"));
                }
                self.finished = true;
            }
        }
        if let EventKind::Failed { step, failure, .. } = &event.kind
            && !failure.allowed
        {
            self.runs_failed += u32::from(failure.class == FailureClass::RunStep);
            self.failures.push((*step, failure.clone()));
        }
        self.next_seq = event.seq + 1;
        Ok(())
    }

    /// Where a step is; `None` when the plan has no such step.
    #[must_use]
    pub fn step(&self, step: StepId) -> Option<StepState> {
        self.steps.get(step.0 as usize).copied()
    }

    /// How many steps are in one of these states.
    #[must_use]
    pub fn count(&self, states: &[StepState]) -> u32 {
        let count = self.steps.iter().filter(|state| states.contains(state));
        u32::try_from(count.count()).unwrap_or(u32::MAX)
    }

    /// Failures that are not allowed, in the order they came.
    #[must_use]
    pub fn failures(&self) -> &[(StepId, Failure)] {
        &self.failures
    }

    /// How many run steps failed, those that may fail not counted.
    #[must_use]
    pub const fn runs_failed(&self) -> u32 {
        self.runs_failed
    }

    /// The signals that came in, in order.
    #[must_use]
    pub fn signals(&self) -> &[String] {
        &self.signals
    }

    /// Whether the last event has come.
    #[must_use]
    pub const fn has_finished(&self) -> bool {
        self.finished
    }
}

/// Where an event about a step leads from where the step is; `None` where it is not legal.
const fn next(state: StepState, event: &EventKind) -> Option<StepState> {
    use StepState::{Done, Failed, FailedAllowed, Running, Skipped, Waiting};
    match (state, event) {
        (Waiting, EventKind::Started { .. }) => Some(Running),
        (Waiting, EventKind::Skipped { .. }) => Some(Skipped),
        (
            Running,
            EventKind::Output { .. } | EventKind::Progress { .. } | EventKind::Retried { .. },
        ) => Some(Running),
        (Running, EventKind::Done { .. }) => Some(Done),
        (Running, EventKind::Failed { failure, .. }) => Some(if failure.allowed {
            FailedAllowed
        } else {
            Failed
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Goal;
    use crate::units::Money;

    fn event(seq: u64, kind: EventKind) -> Event {
        Event {
            seq,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_ms: 0,
            kind,
        }
    }

    fn began(steps: u32) -> EventKind {
        EventKind::RunStarted {
            run: "01".to_owned(),
            project: "shop".to_owned(),
            environment: "main".to_owned(),
            goal: Goal::Apply,
            steps,
            expected_seconds: 0,
        }
    }

    fn started(step: u32) -> EventKind {
        EventKind::Started {
            step: StepId(step),
            address: crate::address::Address::SshKey,
            title: "create ssh_key".to_owned(),
        }
    }

    fn done(step: u32) -> EventKind {
        EventKind::Done {
            step: StepId(step),
            took_ms: 1,
            note: String::new(),
        }
    }

    fn skipped(step: u32) -> EventKind {
        EventKind::Skipped {
            step: StepId(step),
            because: None,
            reason: "why not".to_owned(),
        }
    }

    fn finished() -> EventKind {
        EventKind::RunFinished {
            done: 1,
            failed: 0,
            skipped: 1,
            runs_failed: 0,
            interrupted: false,
            api_calls: 0,
            cost: Money::default(),
            hourly: Money::default(),
        }
    }

    /// What the first illegal event of these is told, if there is one.
    fn check(kinds: &[EventKind]) -> Result<(), String> {
        let mut state = RunState::new();
        for (seq, kind) in (0_u64..).zip(kinds) {
            let before = state.clone();
            if let Err(error) = state.apply(&event(seq, kind.clone())) {
                assert_eq!(state, before, "an illegal event changes nothing");
                return Err(error.to_string());
            }
        }
        Ok(())
    }

    #[test]
    fn a_run_goes_from_start_to_finish() {
        assert_eq!(
            check(&[began(2), started(0), done(0), skipped(1), finished()]),
            Ok(())
        );
    }

    #[test]
    fn what_cannot_follow_is_told() {
        for (kinds, expected) in [
            (
                vec![started(0)],
                "event 0 cannot follow: the run has not started",
            ),
            (
                vec![began(1), began(1)],
                "event 1 cannot follow: the run has started already",
            ),
            (
                vec![began(1), done(0)],
                "event 1 cannot follow: step 0 has not begun",
            ),
            (
                vec![began(1), started(0), started(0)],
                "event 2 cannot follow: step 0 is running",
            ),
            (
                vec![began(1), started(0), skipped(0)],
                "event 2 cannot follow: step 0 is running",
            ),
            (
                vec![began(1), started(7)],
                "event 1 cannot follow: there is no step 7",
            ),
            (
                vec![began(1), started(0), finished()],
                "event 2 cannot follow: step 0 has not ended",
            ),
            (
                vec![began(0), finished(), finished()],
                "event 2 cannot follow: the run has finished",
            ),
        ] {
            assert_eq!(check(&kinds), Err(expected.to_owned()));
        }
        let mut state = RunState::new();
        state
            .apply(&event(3, began(0)))
            .expect("others were not seen");
        let again = state.apply(&event(3, finished())).expect_err("twice");
        assert_eq!(
            again.to_string(),
            "event 3 cannot follow: a later one has been seen"
        );
    }
}
