//! What came of a run.

use super::event::{Event, Failure, FailureClass};
use super::interrupt::Signal;
use super::standing::Standing;
use crate::plan::StepId;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of it succeeded.
    Succeeded,
    /// Everything was realised, but a run step failed: the tests' fault, not the tool's.
    RunFailed,
    /// Something else failed.
    Failed,
    /// A signal ended it.
    Interrupted(Signal),
}

impl Ending {
    /// From what happened. Failures that are allowed are not among these.
    pub(super) fn of(
        signal: Option<Signal>,
        failures: &[(Option<StepId>, Failure)],
        skipped: u32,
    ) -> Self {
        let is_run = |(_, failure): &(_, Failure)| failure.class == FailureClass::RunStep;
        match signal {
            Some(signal) => Self::Interrupted(signal),
            None if failures.is_empty() && skipped == 0 => Self::Succeeded,
            None if !failures.is_empty() && failures.iter().all(is_run) => Self::RunFailed,
            // Steps that were skipped though nothing failed: only a plan at fault does that.
            None => Self::Failed,
        }
    }

    /// The exit code that says so.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::RunFailed => 3,
            Self::Interrupted(signal) => signal.exit_code(),
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
#[must_use]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// All that happened, but for output and progress.
    pub events: Vec<Event>,
    /// Failures that are not allowed, with the step they belong to if there is one.
    pub failures: Vec<(Option<StepId>, Failure)>,
    /// How many run steps failed, those that may fail not counted.
    pub runs_failed: u32,
    /// What stands now.
    pub standing: Standing,
}
