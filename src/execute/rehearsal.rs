//! How a run would go if each step took as long as it is said to: the engine's own order and limits,
//! and nothing is done. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::limits::{Limits, Queue};
use super::order::{End, Next, Order};
use crate::plan::{Plan, StepId};

/// How a run would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// When each step begins, in the order in which they do.
    pub begins: Vec<(u64, StepId)>,
    /// When the last one ends.
    pub whole: u64,
}

/// Plays a plan whose steps all succeed after so long, by their position. Where there is no room for
/// all that is ready, the longest of `chains` comes first (see [`crate::plan::schedule::chains`]),
/// and where those tell nothing, the plan's order.
#[must_use]
pub fn rehearse(plan: &Plan, took: &[u64], chains: &[u64], limits: Limits) -> Rehearsal {
    let mut order = Order::new(plan);
    let mut queue = Queue::new(limits, chains.to_vec());
    let mut running: BinaryHeap<Reverse<(u64, StepId)>> = BinaryHeap::new();
    let mut rehearsal = Rehearsal {
        begins: Vec::with_capacity(plan.steps.len()),
        whole: 0,
    };
    let mut ready = order.first();
    loop {
        for step in ready.drain(..).filter_map(|id| plan.step(id)) {
            queue.push(step);
        }
        while let Some(id) = queue.pop() {
            let took = took.get(id.0 as usize).copied().unwrap_or_default();
            rehearsal.begins.push((rehearsal.whole, id));
            running.push(Reverse((rehearsal.whole.saturating_add(took), id)));
        }
        let Some(Reverse((end, id))) = running.pop() else {
            return rehearsal;
        };
        rehearsal.whole = end;
        if let Some(step) = plan.step(id) {
            queue.release(step);
        }
        let next = order.ended(id, End::Succeeded).into_iter();
        ready.extend(next.filter_map(|next| match next {
            Next::Ready(id) => Some(id),
            Next::Skip(..) => None,
        }));
    }
}
