//! Which step may start next. Pure.

use crate::plan::{EdgeKind, Plan, StepId};

/// How a step ended, as far as others wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It succeeded, or its failure is allowed.
    Succeeded,
    /// It failed.
    Failed,
    /// It was not started, for this step failed.
    SkippedFor(StepId),
    /// It was not started, for the run is being stopped.
    Stopped,
}

/// What becomes of a step whose predecessors have all ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It may start.
    Ready(StepId),
    /// It cannot, for the other failed.
    Skip(StepId, StepId),
}

/// The plan's edges, and how much of them is left.
///
/// **Invariant:** when a step has ended, all that stands before it has ended, also when it was
/// skipped: so an edge that the planner left out because others imply it holds all the same.
#[derive(Debug)]
pub(super) struct Order {
    waits_for: Vec<usize>,
    successors: Vec<Vec<(StepId, EdgeKind)>>,
    is_cleanup: Vec<bool>,
    failed_for: Vec<Option<StepId>>,
}

impl Order {
    /// Reads a plan's edges; those that name steps the plan does not have are dropped.
    pub(super) fn new(plan: &Plan) -> Self {
        let count = plan.steps.len();
        let mut order = Self {
            waits_for: vec![0; count],
            successors: vec![Vec::new(); count],
            is_cleanup: plan.steps.iter().map(|step| step.cleanup).collect(),
            failed_for: vec![None; count],
        };
        for edge in &plan.edges {
            let (from, to) = (edge.from.0 as usize, edge.to.0 as usize);
            if from < count && to < count {
                order.waits_for[to] += 1;
                order.successors[from].push((edge.to, edge.kind));
            }
        }
        order
    }

    /// The steps that wait for none, in the plan's order.
    pub(super) fn first(&self) -> Vec<StepId> {
        (0_u32..)
            .zip(&self.waits_for)
            .filter(|(_, waits)| **waits == 0)
            .map(|(id, _)| StepId(id))
            .collect()
    }

    /// Takes note of a step's end; says what waited for it alone. Clean-up never needs anything:
    /// it removes what is there.
    pub(super) fn ended(&mut self, step: StepId, end: End) -> Vec<Next> {
        let root = match end {
            End::Failed => Some(step),
            End::SkippedFor(root) => Some(root),
            End::Succeeded | End::Stopped => None,
        };
        let mut next = Vec::new();
        for (successor, kind) in std::mem::take(&mut self.successors[step.0 as usize]) {
            let position = successor.0 as usize;
            if let (Some(root), EdgeKind::Needs) = (root, kind) {
                let known = &mut self.failed_for[position];
                *known = Some(known.map_or(root, |known| known.min(root)));
            }
            self.waits_for[position] -= 1;
            if self.waits_for[position] == 0 {
                next.push(match self.failed_for[position] {
                    Some(root) if !self.is_cleanup[position] => Next::Skip(successor, root),
                    _ => Next::Ready(successor),
                });
            }
        }
        next
    }
}
