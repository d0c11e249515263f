//! Events: the one account of a run. The terminal view, JSON lines, journal and JUnit report are
//! listeners on this stream; there are no mirror types.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::plan::{Goal, StepId};
use crate::units::Money;

/// What a run step says that had nothing to do, for `when: once` is satisfied.
pub const DONE_BEFORE: &str = "has succeeded before";

/// Something that happened in a run: a line of `--log-format json`, and of a journal. Fields may be
/// added, and kinds of events: a reader skips what it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Position in the stream, from 0, without gaps.
    pub seq: u64,
    /// Wall time.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Milliseconds since the run began, by a clock that never goes back.
    pub elapsed_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The JSON Schema of [`Event`]: what `schemas/event.schema.json` holds.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Event).to_value()
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The run began. First event of each stream.
    RunStarted {
        /// Id of the run, a ULID.
        run: String,
        /// Name of the project.
        project: String,
        /// Name of the environment.
        environment: String,
        /// What the plan is made to reach.
        goal: Goal,
        /// How many steps the plan has.
        steps: u32,
        /// How long it is expected to take, in seconds.
        expected_seconds: u64,
    },
    /// A step is about to start. Written before anything is done for it.
    Started {
        /// Which step.
        step: StepId,
        /// The resource it belongs to.
        address: Address,
        /// What it is called.
        title: String,
    },
    /// A line of output of a droplet.
    Output {
        /// The step that runs there.
        step: StepId,
        /// The resource it belongs to.
        address: Address,
        /// Where it came from.
        stream: OutputStream,
        /// The line, without its end, secrets redacted, control sequences kept.
        line: String,
    },
    /// A step says what it is doing or waiting for.
    Progress {
        /// Which step.
        step: StepId,
        /// In words, such as `waiting for the droplet to become active`.
        text: String,
    },
    /// A step, or one call of it, is tried again.
    Retried {
        /// Which step; absent when a call of the whole client waits.
        step: Option<StepId>,
        /// Which try comes now, from 2.
        attempt: u32,
        /// Milliseconds until then.
        wait_ms: u64,
        /// Why.
        reason: String,
    },
    /// A step succeeded.
    Done {
        /// Which step.
        step: StepId,
        /// Milliseconds it took.
        took_ms: u64,
        /// What came of it, such as `droplet 3164444`; may be empty.
        note: String,
    },
    /// A step failed.
    Failed {
        /// Which step.
        step: StepId,
        /// Milliseconds it took.
        took_ms: u64,
        /// How.
        failure: Failure,
    },
    /// A step was not started.
    Skipped {
        /// Which step.
        step: StepId,
        /// The failed step it is due to, if it is one.
        because: Option<StepId>,
        /// Why, in words.
        reason: String,
    },
    /// Something the reader should know that belongs to no step.
    Notice {
        /// In words.
        text: String,
    },
    /// A signal came in.
    Interrupted {
        /// Such as `SIGINT`.
        signal: String,
        /// How many came so far.
        times: u32,
    },
    /// The run ended. Last event of each stream.
    RunFinished {
        /// Steps that succeeded, or whose failure is allowed.
        done: u32,
        /// Steps that failed, those that may fail not counted.
        failed: u32,
        /// Steps that were not started.
        skipped: u32,
        /// Run steps that failed, those that may fail not counted.
        runs_failed: u32,
        /// Whether a signal ended it.
        interrupted: bool,
        /// Calls to the API so far, those of planning included.
        api_calls: u64,
        /// What droplets of this run cost so far.
        cost: Money,
        /// What an hour costs of the environment's droplets that are up now.
        hourly: Money,
    },
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Whose fault a failure is; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// A run step failed: the tests' fault, not the tool's.
    RunStep,
    /// Anything else.
    Tool,
}

/// How a step failed, in a form that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Whose fault it is.
    pub class: FailureClass,
    /// Whether the run counts as a success all the same (`allow_failure`).
    pub allowed: bool,
    /// Code of the error, such as `dewpoint::cloud::refused`.
    pub code: String,
    /// What happened to which resource, in what state things are now.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
    /// What caused it, outermost first.
    pub causes: Vec<String>,
    /// Exit status of a run step that returned one.
    pub exit_status: Option<i32>,
    /// The lines of its script around the one that failed, numbered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script: Vec<String>,
    /// The last lines of its output, when it has some.
    pub tail: Vec<String>,
}
