//! Past runs, read from their journals. History, not state: what is missing or broken is said, and
//! stops nothing.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, Failure, FailureClass};
use super::journal::{self, JournalError, log_path};
use super::run_state::{RunState, StepState};
use crate::address::Address;
use crate::plan::{Goal, Plan, StepId, StepKind};
use crate::units::Money;

/// How a past run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// All of it succeeded.
    Succeeded,
    /// Everything was realised, but a run step failed.
    RunFailed,
    /// Something else failed.
    Failed,
    /// A signal ended it, after it had cleaned up.
    Interrupted,
    /// Its journal has no end: it was killed, or its machine stopped.
    CutOff,
    /// It has not ended yet.
    Running,
    /// Its journal cannot be read.
    Unreadable,
}

impl How {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::RunFailed => "a run step failed",
            Self::Failed => "failed",
            Self::Interrupted | Self::CutOff => "interrupted",
            Self::Running => "running",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Who ran something, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The name of their account.
    pub who: String,
    /// The machine's name.
    pub machine: String,
}

/// What is known of a run that was stored for a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Who ran it, and where.
    pub by: By,
    /// Where all of it lies.
    pub address: String,
}

/// A step of a past run that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastStep {
    /// Its position in the plan.
    pub id: StepId,
    /// The resource it belongs to.
    pub address: Address,
    /// What it is called, such as `run tests`.
    pub title: String,
    /// Its own name, such as `tests`, when it has one.
    pub name: Option<String>,
    /// Where it was when the journal ended.
    pub state: StepState,
    /// How it failed.
    pub failure: Option<Failure>,
    /// Where its output lies; nothing is there when it said nothing.
    pub log: Option<Utf8PathBuf>,
}

/// A past run, or one that goes on.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Its id, a ULID: it begins with the time.
    pub id: String,
    /// Its folder.
    pub folder: Utf8PathBuf,
    /// When it began.
    pub began: Option<Timestamp>,
    /// Name of the project; empty when the journal does not tell.
    pub project: String,
    /// Name of the environment; empty when the journal does not tell.
    pub environment: String,
    /// What its plan was made to reach.
    pub goal: Option<Goal>,
    /// How it ended.
    pub how: How,
    /// Its exit code; none when it was killed, or goes on.
    pub exit: Option<u8>,
    /// Milliseconds until its last event.
    pub took_ms: u64,
    /// What its droplets cost meanwhile; none while that is not known.
    pub cost: Option<Money>,
    /// Steps that were started, in the order they were.
    pub steps: Vec<PastStep>,
    /// What is wrong with its journal.
    pub problem: Option<String>,
    /// Of one that comes from a team's store: who ran it, and where it lies.
    pub stored: Option<Stored>,
}

impl PastRun {
    /// Steps that failed and were not allowed to.
    pub fn failed(&self) -> impl Iterator<Item = &PastStep> {
        let failed = |step: &&PastStep| step.state == StepState::Failed;
        self.steps.iter().filter(failed)
    }

    /// Steps that had not ended when the journal did.
    pub fn open(&self) -> impl Iterator<Item = &PastStep> {
        let open = |step: &&PastStep| step.state == StepState::Running;
        self.steps.iter().filter(open)
    }
}

/// Ids of all runs below `runs`, newest first; none when there is no such folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn ids(runs: &Utf8Path) -> Result<Vec<String>, JournalError> {
    let failed = |cause| JournalError::Read {
        path: runs.to_owned(),
        cause,
    };
    let entries = match std::fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(failed(cause)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if name.parse::<ulid::Ulid>().is_ok() {
            ids.push(name.into_owned());
        }
    }
    ids.sort();
    ids.reverse();
    Ok(ids)
}

/// Reads a run; `is_running` says whether one of that project and environment goes on.
#[must_use]
pub fn read(runs: &Utf8Path, id: &str, is_running: impl Fn(&str, &str) -> bool) -> PastRun {
    let folder = runs.join(id);
    let mut run = PastRun {
        id: id.to_owned(),
        folder: folder.clone(),
        began: began(id),
        project: String::new(),
        environment: String::new(),
        goal: None,
        how: How::Unreadable,
        exit: None,
        took_ms: 0,
        cost: None,
        steps: Vec::new(),
        problem: None,
        stored: None,
    };
    let (events, broken) = match journal::read_leniently(&folder) {
        Ok(read) => read,
        Err(error) => {
            run.problem = Some(told(&error));
            return run;
        }
    };
    run.problem = broken.as_ref().map(told);
    fold(&mut run, &events, journal::read_plan(&folder).as_ref());
    if run.how == How::CutOff && is_running(&run.project, &run.environment) {
        run.how = How::Running;
    }
    run
}

fn told(error: &JournalError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// When a run was begun, by its id.
pub(super) fn began(id: &str) -> Option<Timestamp> {
    let id: ulid::Ulid = id.parse().ok()?;
    Timestamp::from_millisecond(i64::try_from(id.timestamp_ms()).ok()?).ok()
}

fn fold(run: &mut PastRun, events: &[Event], plan: Option<&Plan>) {
    let mut state = RunState::new();
    let mut failures: BTreeMap<StepId, Failure> = BTreeMap::new();
    let mut began: Vec<PastStep> = Vec::new();
    for event in events {
        if let Err(illegal) = state.apply(event) {
            run.problem.get_or_insert_with(|| {
                format!(
                    "its journal has a gap, as after a full disk, and what it tells after that is left out ({illegal})"
                )
            });
            break;
        }
        run.took_ms = run.took_ms.max(event.elapsed_ms);
        match &event.kind {
            EventKind::RunStarted {
                project,
                environment,
                goal,
                ..
            } => {
                run.began = Some(event.at);
                run.project.clone_from(project);
                run.environment.clone_from(environment);
                run.goal = Some(*goal);
                run.how = How::CutOff;
            }
            EventKind::Started {
                step,
                address,
                title,
            } => began.push(past_step(run, plan, *step, address, title)),
            EventKind::Failed { step, failure, .. } => {
                failures.insert(*step, failure.clone());
            }
            EventKind::RunFinished {
                skipped,
                interrupted,
                cost,
                ..
            } => {
                run.cost = Some(*cost);
                (run.how, run.exit) = ended(&state, *interrupted, *skipped);
            }
            _ => {}
        }
    }
    for step in &mut began {
        step.state = state.step(step.id).unwrap_or(StepState::Running);
        step.failure = failures.remove(&step.id);
    }
    run.steps = began;
}

fn ended(state: &RunState, interrupted: bool, skipped: u32) -> (How, Option<u8>) {
    if interrupted {
        let exit = match state.signals().first().map(String::as_str) {
            Some("SIGTERM") => 143,
            Some("SIGHUP") => 129,
            _ => 130,
        };
        return (How::Interrupted, Some(exit));
    }
    let failures = state.failures();
    let of_runs = |(_, failure): &(StepId, Failure)| failure.class == FailureClass::RunStep;
    if failures.is_empty() && skipped == 0 {
        (How::Succeeded, Some(0))
    } else if !failures.is_empty() && failures.iter().all(of_runs) {
        (How::RunFailed, Some(3))
    } else {
        (How::Failed, Some(1))
    }
}

fn past_step(
    run: &PastRun,
    plan: Option<&Plan>,
    id: StepId,
    address: &Address,
    title: &str,
) -> PastStep {
    let step = plan.and_then(|plan| plan.step(id));
    let name = step.and_then(|step| match &step.kind {
        StepKind::Run { run, .. } => Some(run.name.as_str().to_owned()),
        StepKind::Provision { step, .. } => Some(step.name().to_owned()),
        _ => None,
    });
    PastStep {
        id,
        address: address.clone(),
        title: title.to_owned(),
        name,
        state: StepState::Running,
        failure: None,
        log: step.map(|step| {
            let path = run.folder.join(log_path(step));
            // Two names that differ only in what a file name cannot hold.
            let stem = path.file_stem().unwrap_or_default();
            let other = path.with_file_name(format!("{stem}-{}.log", id.0));
            if other.exists() { other } else { path }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str = r#"{"seq":0,"at":"2026-08-01T00:00:00Z","elapsed_ms":0,"event":"run_started","run":"R","project":"app","environment":"main","goal":"apply","steps":1,"expected_seconds":3}"#;
    const STEP: &str = r#"{"seq":1,"at":"2026-08-01T00:00:01Z","elapsed_ms":1000,"event":"started","step":0,"address":"droplet.box","title":"run tests"}"#;

    fn of(text: &str, is_running: bool) -> PastRun {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let id = ulid::Ulid::generate().to_string();
        std::fs::create_dir(runs.join(&id)).expect("made");
        std::fs::write(runs.join(&id).join(journal::FILE), text).expect("written");
        std::fs::create_dir(runs.join("not-a-run")).expect("made");
        assert_eq!(ids(runs).expect("readable"), [id.as_str()]);
        let run = read(runs, &id, |project, environment| {
            (project, environment) == ("app", "main") && is_running
        });
        assert!(run.began.is_some());
        run
    }

    #[test]
    fn what_a_journal_does_not_tell_is_said() {
        let cut = format!("{STARTED}\n{STEP}\n{{\"seq\":2,\"at\":\"20");
        let run = of(&cut, false);
        assert_eq!((run.how, run.exit, run.took_ms), (How::CutOff, None, 1_000));
        assert_eq!(run.open().count(), 1);
        assert_eq!(of(&cut, true).how, How::Running);

        let mended = format!("{STARTED}\nnonsense\n{STEP}\n");
        let run = of(&mended, false);
        assert_eq!((run.how, run.steps.len()), (How::CutOff, 0));
        let problem = run.problem.expect("a problem");
        assert!(problem.starts_with("line 2 of "), "{problem}");

        let run = of(&format!("{STARTED}\n{STARTED}\n"), false);
        assert_eq!(run.how, How::CutOff);
        let problem = run.problem.expect("a problem");
        assert!(
            problem.starts_with("its journal has a gap, as after a full disk, "),
            "{problem}"
        );
        let run = of("", false);
        assert_eq!((run.how, run.goal), (How::Unreadable, None));
    }
}
