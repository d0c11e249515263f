//! When the steps of a plan are expected to begin and end if nothing but edges holds them back, and
//! which of them the whole waits for.

use super::Plan;
use super::step::{Edge, StepId};

/// Expected times of a plan's steps, in seconds from its start, by their position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// When each begins.
    pub starts: Vec<u64>,
    /// When each ends.
    pub ends: Vec<u64>,
    /// By how much each can be late without making the whole late.
    pub slacks: Vec<u64>,
    /// The critical path: the longest chain of steps, from the first to the last; of several as
    /// long, one.
    pub path: Vec<StepId>,
    /// How long the whole takes.
    pub whole: u64,
}

impl Schedule {
    /// Of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let took: Vec<u64> = plan
            .steps
            .iter()
            .map(|step| step.expected_seconds)
            .collect();
        let ends = super::cost::ends(&took, &plan.edges);
        let starts: Vec<u64> = ends
            .iter()
            .zip(&took)
            .map(|(end, took)| end.saturating_sub(*took))
            .collect();
        let whole = ends.iter().copied().max().unwrap_or(0);
        let mut latest = vec![whole; took.len()];
        // Edges are sorted by where they come from, and go from lower to higher ids.
        for edge in plan.edges.iter().rev() {
            let (from, to) = ends_of(edge);
            latest[from] = latest[from].min(latest[to].saturating_sub(took[to]));
        }
        let slacks = latest
            .iter()
            .zip(&ends)
            // A plan from a file may say that a step takes for ever: the end is the end then.
            .map(|(latest, end)| latest.saturating_sub(*end))
            .collect();
        let mut schedule = Self {
            starts,
            ends,
            slacks,
            path: Vec::new(),
            whole,
        };
        schedule.path = schedule.path_of(plan);
        schedule
    }

    /// The longest chain, from its end: of what a step waits for, what ends last.
    fn path_of(&self, plan: &Plan) -> Vec<StepId> {
        let mut last: Vec<Option<usize>> = vec![None; self.ends.len()];
        for edge in &plan.edges {
            let (from, to) = ends_of(edge);
            let known = &mut last[to];
            if known.is_none_or(|known| (self.ends[known], known) < (self.ends[from], from)) {
                *known = Some(from);
            }
        }
        // Of those that end at the same time the one that comes last in the plan, so that steps
        // that take no time are on the path, too.
        let mut at = (0..self.ends.len()).max_by_key(|step| (self.ends[*step], *step));
        let mut path = Vec::new();
        while let Some(step) = at {
            path.push(plan.steps[step].id);
            at = last[step];
        }
        path.reverse();
        path
    }
}

/// How long it takes from the beginning of each step until all that waits for it, directly or not,
/// has ended, if nothing but edges holds it back: the longest chain that begins with the step.
///
/// Of steps that could begin now the one with the longest chain is the one to begin with: what is
/// left of the whole cannot take less than that. Edges are sorted by where they come from, as a plan
/// has them, and go from lower to higher ids; others count for nothing.
#[must_use]
pub fn chains(took: &[u64], edges: &[Edge]) -> Vec<u64> {
    let mut chains = took.to_vec();
    for edge in edges.iter().rev() {
        let (from, to) = ends_of(edge);
        if from < to && to < chains.len() {
            chains[from] = chains[from].max(took[from].saturating_add(chains[to]));
        }
    }
    chains
}

const fn ends_of(edge: &Edge) -> (usize, usize) {
    (edge.from.0 as usize, edge.to.0 as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::EdgeKind;

    fn edges(pairs: &[(u32, u32)]) -> Vec<Edge> {
        let mut edges: Vec<Edge> = pairs
            .iter()
            .map(|&(from, to)| Edge {
                from: StepId(from),
                to: StepId(to),
                kind: EdgeKind::Needs,
                reason: "".into(),
            })
            .collect();
        edges.sort();
        edges
    }

    #[test]
    fn a_chain_is_the_longest_way_to_the_end_its_beginning_included() {
        // 0 -> 1 -> 3, 0 -> 2 -> 3, and 4 alone.
        let diamond = edges(&[(0, 1), (0, 2), (1, 3), (2, 3)]);
        assert_eq!(
            chains(&[1, 10, 20, 100, 7], &diamond),
            [121, 110, 120, 100, 7]
        );
        assert_eq!(chains(&[3, 4], &[]), [3, 4]);
        assert_eq!(chains(&[], &[]), [0; 0]);
    }

    #[test]
    fn a_plan_that_says_that_its_steps_take_for_ever_has_a_schedule() {
        let yaml = "version: 1\nproject: app\nregion: nyc3\ndroplets: { web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, run: [{ name: t, command: \"true\" }] } }\n";
        let mut plan = crate::plan::tests::planned(yaml);
        for step in &mut plan.steps {
            step.expected_seconds = u64::MAX - u64::from(step.id.0 % 2);
        }
        let schedule = Schedule::of(&plan);
        assert_eq!(schedule.whole, u64::MAX);
        assert_eq!(schedule.slacks.len(), plan.steps.len());
        let catalog = crate::live::Catalog::default();
        let cost = crate::plan::cost::of(
            &plan.steps,
            &plan.edges,
            &crate::plan::cost::Up::default(),
            &crate::plan::cost::Kept::default(),
            &catalog,
        );
        assert_eq!(cost.expected_seconds, u64::MAX.div_ceil(1_000));
    }

    #[test]
    fn the_longest_chain_is_the_whole_and_nothing_overflows() {
        let line = edges(&[(0, 1), (1, 2)]);
        assert_eq!(chains(&[u64::MAX, 1, u64::MAX], &line), [u64::MAX; 3]);
        let took = [5, 6, 7];
        let whole = super::super::cost::ends(&took, &line).into_iter().max();
        assert_eq!(chains(&took, &line).into_iter().max(), whole);
    }
}
