//! When each step of a run went on, and which chain of them it had to wait for.

use std::collections::{BTreeMap, BTreeSet};

use crate::execute::error::INTERRUPTED;
use crate::execute::{Event, EventKind, Failure};
use crate::plan::{Plan, StepId};
use crate::report::labels::step_label;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Well.
    Ok,
    /// Badly, as it may.
    Allowed,
    /// Badly.
    Failed,
    /// It was interrupted.
    Stopped,
    /// The journal tells no end.
    Open,
}

impl Mark {
    /// In a word, for whoever sees no colour.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Allowed => "failed, allowed",
            Self::Failed => "FAILED",
            Self::Stopped => "stopped",
            Self::Open => "not ended",
        }
    }

    /// As the name of a class of the page.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Allowed => "allowed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Open => "open",
        }
    }
}

/// A step that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Its position in the plan.
    pub id: StepId,
    /// What it belongs to.
    pub label: String,
    /// What it does.
    pub title: String,
    /// Milliseconds from the run's begin to its own.
    pub began: u64,
    /// Milliseconds from the run's begin to its end, or to the journal's.
    pub ended: u64,
    /// How it ended.
    pub mark: Mark,
    /// What came of it.
    pub note: String,
    /// How it failed.
    pub failure: Option<Failure>,
    /// Why it, or a call of it, was tried again.
    pub retries: Vec<String>,
    /// Whether the run had to wait for it.
    pub is_critical: bool,
}

impl Bar {
    /// Milliseconds it took.
    #[must_use]
    pub const fn took(&self) -> u64 {
        self.ended.saturating_sub(self.began)
    }
}

/// The steps of one droplet, or of another resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Its address.
    pub label: String,
    /// In each row, steps that do not overlap, by their begin.
    pub rows: Vec<Vec<usize>>,
}

/// A run in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chart {
    /// Steps in the order they were started.
    pub bars: Vec<Bar>,
    /// Lanes in the order of their first steps.
    pub lanes: Vec<Lane>,
    /// Positions of the chain of steps that the run had to wait for, first one first.
    pub critical: Vec<usize>,
    /// Milliseconds until the last event; at least 1.
    pub took: u64,
}

/// Puts a run's events in order of time; without its plan there is no critical path.
#[must_use]
pub fn chart(events: &[Event], plan: Option<&Plan>) -> Chart {
    let took = events.iter().map(|event| event.elapsed_ms).max();
    let took = took.unwrap_or(0).max(1);
    let mut bars: Vec<Bar> = Vec::new();
    let mut of: BTreeMap<StepId, usize> = BTreeMap::new();
    for event in events {
        match &event.kind {
            EventKind::Started {
                step,
                address,
                title,
            } => {
                let planned = plan.and_then(|plan| plan.step(*step));
                of.insert(*step, bars.len());
                bars.push(Bar {
                    id: *step,
                    label: planned.map_or_else(|| address.to_string(), step_label),
                    title: title.clone(),
                    began: event.elapsed_ms,
                    ended: took,
                    mark: Mark::Open,
                    note: String::new(),
                    failure: None,
                    retries: Vec::new(),
                    is_critical: false,
                });
            }
            EventKind::Retried {
                step: Some(step),
                reason,
                ..
            } => {
                if let Some(bar) = of.get(step) {
                    bars[*bar].retries.push(reason.clone());
                }
            }
            EventKind::Done { step, note, .. } => {
                if let Some(bar) = of.get(step) {
                    let bar = &mut bars[*bar];
                    (bar.ended, bar.mark) = (event.elapsed_ms, Mark::Ok);
                    bar.note.clone_from(note);
                }
            }
            EventKind::Failed { step, failure, .. } => {
                if let Some(bar) = of.get(step) {
                    let bar = &mut bars[*bar];
                    bar.ended = event.elapsed_ms;
                    bar.mark = match failure {
                        failure if failure.code == INTERRUPTED => Mark::Stopped,
                        failure if failure.allowed => Mark::Allowed,
                        _ => Mark::Failed,
                    };
                    bar.failure = Some(failure.clone());
                }
            }
            _ => {}
        }
    }
    let critical = plan.map(|plan| critical(&bars, &of, plan));
    let critical = critical.unwrap_or_default();
    for bar in &critical {
        bars[*bar].is_critical = true;
    }
    Chart {
        lanes: lanes(&bars),
        bars,
        critical,
        took,
    }
}

/// From the step that ended last, back through what each one waited for longest.
fn critical(bars: &[Bar], of: &BTreeMap<StepId, usize>, plan: &Plan) -> Vec<usize> {
    let mut before: BTreeMap<StepId, Vec<usize>> = BTreeMap::new();
    for edge in &plan.edges {
        if let Some(bar) = of.get(&edge.from) {
            before.entry(edge.to).or_default().push(*bar);
        }
    }
    let latest = |of: &[usize]| {
        of.iter()
            .copied()
            .max_by_key(|bar| (bars[*bar].ended, *bar))
    };
    let mut chain = Vec::new();
    let mut seen = BTreeSet::new();
    let all: Vec<usize> = (0..bars.len()).collect();
    let mut next = latest(&all);
    // A journal and a plan that do not belong together could lead round in a circle.
    while let Some(bar) = next.filter(|bar| seen.insert(*bar)) {
        chain.push(bar);
        next = before.get(&bars[bar].id).and_then(|before| latest(before));
    }
    chain.reverse();
    chain
}

fn lanes(bars: &[Bar]) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, bar) in bars.iter().enumerate() {
        let lane = *of.entry(&bar.label).or_insert_with(|| {
            lanes.push(Lane {
                label: bar.label.clone(),
                rows: Vec::new(),
            });
            lanes.len() - 1
        });
        let rows = &mut lanes[lane].rows;
        let free = rows.iter_mut().find(|row| {
            let last = row.last().map(|last| bars[*last].ended);
            last.is_none_or(|ended| ended <= bar.began)
        });
        match free {
            Some(row) => row.push(position),
            None => rows.push(vec![position]),
        }
    }
    lanes
}
