//! Events as plain lines: for pipes, logs and CI.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::actions::{Groups, Piece};
use super::labels::{step_label, step_title};
use super::style::Palette;
use crate::execute::error::INTERRUPTED;
use crate::execute::{Event, EventKind, Listener};
use crate::plan::{Plan, StepId, StepKind};
use crate::seemly;
use crate::times::duration;
use crate::units::Seconds;

/// Off a terminal a wait is one line in this time, not one a resource.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The line for an event, or `None` when it is not worth one. Pure, and shared with the terminal
/// view, so that both say the same.
#[must_use]
pub fn line_of(event: &Event, plan: &Plan, palette: Palette) -> Option<String> {
    let who = |step: StepId| plan.step(step).map(step_label).unwrap_or_default();
    let what = |step: StepId| match plan.step(step).map(|step| &step.kind) {
        Some(kind) => kind.title(),
        None => String::new(),
    };
    let text = match &event.kind {
        EventKind::RunStarted { run, steps, .. } => palette.faint(&format!(
            "run {run}: {steps} {}",
            if *steps == 1 { "step" } else { "steps" }
        )),
        EventKind::Started {
            step,
            address,
            title,
        } => {
            let announced = matches!(
                plan.step(*step)?.kind,
                StepKind::Run { .. } | StepKind::Provision { .. } | StepKind::TakeSnapshot { .. }
            );
            if !announced {
                return None;
            }
            format!(
                "{} {} {title}",
                palette.running(">"),
                palette.strong(&address.to_string())
            )
        }
        EventKind::Output { address, line, .. } => {
            format!(
                "{} {}",
                palette.faint(&format!("{address} |")),
                seemly::line(line)
            )
        }
        EventKind::Progress { .. } => return None,
        EventKind::Retried {
            step,
            attempt,
            wait_ms,
            reason,
        } => {
            let who = step
                .and_then(|step| plan.step(step))
                .map(|step| format!("{}: ", step_title(step)))
                .unwrap_or_default();
            let when = match (*attempt, *wait_ms) {
                (0 | 1, wait) => format!("waiting {}", duration(wait)),
                (attempt, 0) => format!("try {attempt}"),
                (attempt, wait) => format!("try {attempt} in {}", duration(wait)),
            };
            palette.changed(&format!("  {who}{reason}; {when}"))
        }
        EventKind::Done {
            step,
            took_ms,
            note,
        } => {
            let note = if note.is_empty() {
                String::new()
            } else {
                format!(", {note}")
            };
            let took = palette.faint(&format!("({}{note})", duration(*took_ms)));
            format!(
                "{} {} {} {took}",
                palette.good("ok"),
                palette.strong(&who(*step)),
                what(*step)
            )
        }
        EventKind::Failed {
            step,
            took_ms,
            failure,
        } if failure.code == INTERRUPTED => format!(
            "{} {} {} ({})",
            palette.changed("stopped"),
            palette.strong(&who(*step)),
            what(*step),
            duration(*took_ms),
        ),
        EventKind::Failed {
            step,
            took_ms,
            failure,
        } => {
            let allowed = if failure.allowed { " (allowed)" } else { "" };
            let mut text = format!(
                "{} {} {}{allowed} ({}): {}",
                palette.bad("FAILED"),
                palette.strong(&who(*step)),
                what(*step),
                duration(*took_ms),
                seemly::text(&failure.message),
            );
            for cause in &failure.causes {
                text.push_str("\n  caused by: ");
                text.push_str(&seemly::text(cause));
            }
            text
        }
        // What stopped it is told once; what did not run because of that is told in the end.
        EventKind::Skipped { .. } => return None,
        EventKind::Notice { text } => {
            format!("{} {}", palette.changed("note:"), seemly::text(text))
        }
        EventKind::Interrupted { signal, times } => palette.bad(&if *times == 1 {
            format!(
                "{signal}: no new steps; removing what is ephemeral (once more to stop at once)"
            )
        } else {
            format!("{signal}: stopping now")
        }),
        EventKind::RunFinished { .. } => return None,
    };
    Some(text)
}

/// Writes one timestamped line per event worth it, and a heartbeat while nothing else happens.
pub struct Lines {
    shared: Arc<Shared>,
    palette: Palette,
    ticker: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    out: Box<dyn Write + Send>,
    broken: bool,
    began: Instant,
    last_line: Instant,
    running: Vec<(StepId, String, Instant)>,
    /// For a log that folds: what is held back.
    groups: Option<Groups>,
    finished: bool,
}

impl State {
    fn write(&mut self, elapsed_ms: u64, text: &str) {
        let mut lines = String::new();
        for line in text.lines() {
            lines.push_str(&format!(
                "{:>7}  {line}\n",
                format!("{}.{}s", elapsed_ms / 1_000, elapsed_ms % 1_000 / 100)
            ));
        }
        self.put(&lines);
    }

    fn put(&mut self, lines: &str) {
        if self.broken {
            return;
        }
        let lines = seemly::screen(lines, true);
        self.broken = self
            .out
            .write_all(lines.as_bytes())
            .and_then(|()| self.out.flush())
            .is_err();
        self.last_line = Instant::now();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    // A panic while a line was written leaves nothing that a next line could not follow.
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, palette: Palette) -> Self {
        let now = Instant::now();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                out,
                broken: false,
                began: now,
                last_line: now,
                running: Vec::new(),
                groups: None,
                finished: false,
            }),
            changed: Condvar::new(),
        });
        let ticking = Arc::clone(&shared);
        let ticker = std::thread::spawn(move || beat(&ticking));
        Self {
            shared,
            palette,
            ticker: Some(ticker),
        }
    }

    /// The same as GitHub Actions reads it: what a step says in a group that folds, what fails as an
    /// annotation.
    #[must_use]
    pub fn for_actions(out: Box<dyn Write + Send>, palette: Palette) -> Self {
        let lines = Self::new(out, palette);
        lock(&lines.shared).groups = Some(Groups::default());
        lines
    }
}

impl Listener for Lines {
    /// Writes what an event is worth.
    fn event(&mut self, event: &Event, plan: &Plan) {
        let mut state = lock(&self.shared);
        match &event.kind {
            EventKind::Started { step, .. } => {
                let what = plan.step(*step).map(step_title).unwrap_or_default();
                state.running.push((*step, what, Instant::now()));
            }
            EventKind::Done { step, .. }
            | EventKind::Failed { step, .. }
            | EventKind::Skipped { step, .. } => {
                state.running.retain(|(running, ..)| running != step);
            }
            _ => {}
        }
        if let Some(groups) = &mut state.groups {
            for piece in groups.pieces(event, plan, self.palette) {
                match piece {
                    Piece::Command(text) => state.put(&format!("{text}\n")),
                    Piece::Line(at, text) => state.write(at, &text),
                }
            }
        } else if let Some(text) = line_of(event, plan, self.palette) {
            state.write(event.elapsed_ms, &text);
        }
    }
}

fn beat(shared: &Shared) {
    let mut state = lock(shared);
    while !state.finished {
        let silent = state.last_line.elapsed();
        if silent >= HEARTBEAT && !state.running.is_empty() {
            let elapsed = u64::try_from(state.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let shown: Vec<String> = state
                .running
                .iter()
                .take(3)
                .map(|(_, what, since)| format!("{what} ({})", Seconds(since.elapsed().as_secs())))
                .collect();
            let more = match state.running.len().saturating_sub(3) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            state.write(
                elapsed,
                &format!("... still at: {}{more}", shown.join(", ")),
            );
        }
        let wait = HEARTBEAT
            .saturating_sub(state.last_line.elapsed())
            .max(Duration::from_millis(100));
        state = shared
            .changed
            .wait_timeout(state, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        lock(&self.shared).finished = true;
        self.shared.changed.notify_all();
        if let Some(ticker) = self.ticker.take() {
            // The ticker only ever writes lines: a panic in it has nothing to tell us.
            let _ = ticker.join();
        }
    }
}
