//! The steps of a plan and what comes before what. The only place that knows petgraph.

use std::borrow::Cow;

use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef as _;

use super::step::{Edge, EdgeKind, Step, StepId, StepKind};
use crate::address::Address;

/// Steps in the order in which they were added, which is an order in which they could be done:
/// whatever a step waits for must have been added before it.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Beside the graph, whose nodes have their positions: they are handed out as they lie.
    steps: Vec<Step>,
    graph: DiGraph<(), (EdgeKind, ReasonId)>,
    /// Why steps wait: few for all of the edges.
    reasons: Vec<&'static str>,
    /// Whether an edge leads to a step that was added before the one it comes from.
    leads_back: bool,
}

/// Position of a reason among those of a graph.
type ReasonId = u16;

/// What a step waits for, one entry for each step: how, and why.
struct Direct {
    from: NodeIndex,
    kind: EdgeKind,
    /// Which of several was named first.
    edge: EdgeIndex,
    reason: ReasonId,
}

/// Steps that wait for each other: a fault of ours, never of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cycle(pub String);

impl Graph {
    /// Adds a step.
    pub fn add(&mut self, address: Address, kind: StepKind, expected_seconds: u64) -> StepId {
        self.insert(address, kind, expected_seconds, false)
    }

    /// Adds a step that only removes what the plan itself calls ephemeral.
    pub fn add_cleanup(
        &mut self,
        address: Address,
        kind: StepKind,
        expected_seconds: u64,
    ) -> StepId {
        self.insert(address, kind, expected_seconds, true)
    }

    fn insert(
        &mut self,
        address: Address,
        kind: StepKind,
        expected_seconds: u64,
        cleanup: bool,
    ) -> StepId {
        let id = StepId(u32::try_from(self.steps.len()).expect("fewer steps than 4 billion"));
        self.graph.add_node(());
        self.steps.push(Step {
            id,
            address,
            kind,
            cleanup,
            expected_seconds,
        });
        id
    }

    /// `to` needs `from` to have succeeded.
    pub fn needs(&mut self, from: StepId, to: StepId, reason: &'static str) {
        self.edge(from, to, EdgeKind::Needs, reason);
    }

    /// `to` waits until `from` has ended, however.
    pub fn after(&mut self, from: StepId, to: StepId, reason: &'static str) {
        self.edge(from, to, EdgeKind::After, reason);
    }

    fn edge(&mut self, from: StepId, to: StepId, kind: EdgeKind, reason: &'static str) {
        self.leads_back |= from >= to;
        let reason = self.reason(reason);
        self.graph.add_edge(node(from), node(to), (kind, reason));
    }

    fn reason(&mut self, reason: &'static str) -> ReasonId {
        // Each is written once in the program, so it is known by where it is.
        let mut known = self.reasons.iter();
        let place = known.position(|known| std::ptr::eq(*known, reason));
        let place = place.unwrap_or_else(|| {
            self.reasons.push(reason);
            self.reasons.len() - 1
        });
        ReasonId::try_from(place).expect("fewer reasons than 65 thousand")
    }

    /// What the steps do, in order.
    pub fn kinds(&self) -> impl Iterator<Item = &StepKind> {
        self.steps.iter().map(|step| &step.kind)
    }

    /// Copies of snapshots: whose, and the region's slug.
    pub fn transfers(&self) -> impl Iterator<Item = (&Address, &str)> {
        self.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Transfer { region, .. } => Some((&step.address, region.as_str())),
            _ => None,
        })
    }

    /// When each step ends at the earliest, in seconds, by its position.
    pub fn earliest_ends(&self) -> Vec<u64> {
        let mut ends = vec![0_u64; self.steps.len()];
        // Whatever a step waits for was added before it.
        for node in self.graph.node_indices() {
            let begins = self
                .graph
                .neighbors_directed(node, Direction::Incoming)
                .map(|before| ends[before.index()])
                .max()
                .unwrap_or_default();
            ends[node.index()] = begins.saturating_add(self.steps[node.index()].expected_seconds);
        }
        ends
    }

    /// Steps after which something no longer bears a tag, or that could give one.
    pub fn takers_of_tags(&self) -> Vec<StepId> {
        self.steps
            .iter()
            .filter(|step| {
                matches!(
                    step.kind,
                    StepKind::DestroyDroplet { .. }
                        | StepKind::KeepDroplet { .. }
                        | StepKind::DeleteVolume { .. }
                        | StepKind::DeleteVolumeSnapshot { .. }
                        | StepKind::TagVolume { .. }
                        | StepKind::Prune { .. }
                        | StepKind::UpdateTags { .. }
                        | StepKind::DeleteFirewall { .. }
                )
            })
            .map(|step| step.id)
            .collect()
    }

    /// Steps that make throw-away copies of volumes, or see to what these are made from.
    pub fn makers_of_copies(&self) -> Vec<StepId> {
        self.steps
            .iter()
            .filter(|step| {
                matches!(
                    step.kind,
                    StepKind::SnapshotVolume { .. } | StepKind::CloneVolume { .. }
                )
            })
            .map(|step| step.id)
            .collect()
    }

    /// The steps, and the edges that say something others do not: sorted.
    pub fn finish(self) -> Result<(Vec<Step>, Vec<Edge>), Cycle> {
        // A circle takes an edge that leads back.
        if self.leads_back
            && let Err(cycle) = toposort(&self.graph, None)
        {
            let step = &self.steps[cycle.node_id().index()];
            return Err(Cycle(format!("{} of {}", step.kind.title(), step.address)));
        }
        let edges = self.reduced();
        Ok((self.steps, edges))
    }

    /// All edges but those that follow from others.
    ///
    /// An edge follows from a path between the same steps if the path waits at least as strictly:
    /// all of it but its first edge must be `Needs`, since a step that is skipped early (because
    /// another predecessor failed, or at an interrupt) says nothing about those it waits for. The
    /// first edge may be weaker only if the edge in question is.
    fn reduced(&self) -> Vec<Edge> {
        let mut kept = Reduced::with_capacity(self.steps.len(), self.graph.edge_count());
        let mut direct = Vec::new();
        for to in self.graph.node_indices() {
            self.direct(to, &mut direct);
            kept.add(to, &direct);
        }
        kept.finish(&self.reasons)
    }

    /// What a step waits for, sorted, with one edge for each: the stricter, and of those the first
    /// that was named.
    fn direct(&self, to: NodeIndex, direct: &mut Vec<Direct>) {
        direct.clear();
        let edges = self.graph.edges_directed(to, Direction::Incoming);
        direct.extend(edges.map(|edge| {
            let (kind, reason) = *edge.weight();
            Direct {
                from: edge.source(),
                kind,
                edge: edge.id(),
                reason,
            }
        }));
        direct.sort_unstable_by_key(|edge| (edge.from, edge.kind, edge.edge));
        direct.dedup_by_key(|edge| edge.from);
    }
}

/// Edges that say something others do not, of the steps up to one.
///
/// What the edges say that are left out, those that are kept say together: so these alone are looked
/// at for the next step.
struct Reduced {
    /// By the step that waits; of each first the `Needs`, then the `After`, both by what comes first.
    edges: Vec<Kept>,
    /// For each step where its edges begin, and where its `After` do.
    begins: Vec<(usize, usize)>,
    /// By step: `2 * to` of what `to` needs all the way, `2 * to + 1` of what must only have ended.
    mark: Vec<u32>,
    /// Steps that are yet to be looked at.
    waiting: Vec<u32>,
}

/// An edge that is kept.
#[derive(Clone, Copy)]
struct Kept {
    from: u32,
    to: u32,
    kind: EdgeKind,
    reason: ReasonId,
}

impl Reduced {
    fn with_capacity(steps: usize, edges: usize) -> Self {
        Self {
            edges: Vec::with_capacity(edges),
            begins: Vec::with_capacity(steps),
            mark: vec![u32::MAX; steps],
            waiting: Vec::new(),
        }
    }

    /// All of them, by where they come from and then by where they lead.
    fn finish(self, reasons: &[&'static str]) -> Vec<Edge> {
        // They lie by where they lead, so those from one step are in order among each other: each
        // is only to be put where those from its step are, which takes no comparing.
        let mut begins = vec![0; self.mark.len() + 1];
        for edge in &self.edges {
            begins[edge.from as usize + 1] += 1;
        }
        for step in 0..self.mark.len() {
            begins[step + 1] += begins[step];
        }
        let mut order = vec![0; self.edges.len()];
        for (position, edge) in self.edges.iter().enumerate() {
            let place = &mut begins[edge.from as usize];
            order[*place] = position;
            *place += 1;
        }
        let edges = order.into_iter().map(|position| {
            let Kept {
                from,
                to,
                kind,
                reason,
            } = self.edges[position];
            Edge {
                from: StepId(from),
                to: StepId(to),
                kind,
                reason: Cow::Borrowed(reasons[usize::from(reason)]),
            }
        });
        edges.collect()
    }

    /// Adds the next step, with what it waits for, sorted.
    fn add(&mut self, to: NodeIndex, direct: &[Direct]) {
        if direct.len() > 1 {
            self.mark_needed_by_needed(to, direct);
        }
        let begin = self.edges.len();
        self.keep(to, direct, EdgeKind::Needs);
        self.begins.push((begin, self.edges.len()));
        self.keep(to, direct, EdgeKind::After);
    }

    /// Keeps those edges of a kind that do not follow from what is marked.
    fn keep(&mut self, to: NodeIndex, direct: &[Direct], kind: EdgeKind) {
        let (needed, ended) = (2 * index(to), 2 * index(to) + 1);
        for edge in direct.iter().filter(|edge| edge.kind == kind) {
            let mark = self.mark[edge.from.index()];
            let follows = match kind {
                EdgeKind::Needs => mark == needed,
                EdgeKind::After => mark == needed || mark == ended,
            };
            if !follows {
                self.edges.push(Kept {
                    from: index(edge.from),
                    to: index(to),
                    kind,
                    reason: edge.reason,
                });
            }
        }
    }

    /// Marks, for the step `to`, whatever comes before one of the steps it needs.
    fn mark_needed_by_needed(&mut self, to: NodeIndex, direct: &[Direct]) {
        let Self {
            edges,
            begins,
            mark,
            waiting,
        } = self;
        let (needed, ended) = (2 * index(to), 2 * index(to) + 1);
        // Nothing before the earliest predecessor is of interest.
        let Some(earliest) = direct.first().map(|edge| index(edge.from)) else {
            return;
        };
        let needs = direct.iter().filter(|edge| edge.kind == EdgeKind::Needs);
        waiting.clear();
        waiting.extend(needs.map(|edge| index(edge.from)));
        while let Some(at) = waiting.pop() {
            let at = at as usize;
            let Some(&(begin, after)) = begins.get(at) else {
                continue;
            };
            let end = begins.get(at + 1).map_or(edges.len(), |(end, _)| *end);
            for edge in edges[begin..after].iter().rev() {
                if edge.from < earliest {
                    break;
                }
                let mark = &mut mark[edge.from as usize];
                if *mark != needed {
                    *mark = needed;
                    waiting.push(edge.from);
                }
            }
            // Of what must only have ended nothing but what `to` itself waits for is of interest: of
            // very many, that is looked for.
            let afters = &edges[after..end];
            let mut has_ended = |from: u32| {
                let mark = &mut mark[from as usize];
                if *mark != needed {
                    *mark = ended;
                }
            };
            if afters.len() > direct.len() {
                for edge in direct {
                    let from = index(edge.from);
                    if afters.binary_search_by_key(&from, |edge| edge.from).is_ok() {
                        has_ended(from);
                    }
                }
            } else {
                afters.iter().for_each(|edge| has_ended(edge.from));
            }
        }
    }
}

fn node(id: StepId) -> NodeIndex {
    NodeIndex::new(id.0 as usize)
}

fn index(node: NodeIndex) -> u32 {
    u32::try_from(node.index()).expect("indexes come from step ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(steps: u32, edges: &[(u32, u32, EdgeKind)]) -> Graph {
        let mut graph = Graph::default();
        for _ in 0..steps {
            graph.add(
                Address::Firewall,
                StepKind::DeleteTags { names: Vec::new() },
                1,
            );
        }
        for &(from, to, kind) in edges {
            graph.edge(StepId(from), StepId(to), kind, "test");
        }
        graph
    }

    fn edges(graph: Graph) -> Vec<(u32, u32, EdgeKind)> {
        let (_, edges) = graph.finish().expect("no cycle");
        edges
            .into_iter()
            .map(|edge| (edge.from.0, edge.to.0, edge.kind))
            .collect()
    }

    use EdgeKind::{After, Needs};

    #[test]
    fn what_follows_from_needs_is_left_out() {
        let all = [(0, 1, Needs), (1, 2, Needs), (0, 2, Needs)];
        assert_eq!(edges(graph(3, &all)), [(0, 1, Needs), (1, 2, Needs)]);
        let after = [(0, 1, After), (1, 2, Needs), (0, 2, After)];
        assert_eq!(edges(graph(3, &after)), [(0, 1, After), (1, 2, Needs)]);
    }

    #[test]
    fn what_a_skipped_step_would_not_hold_back_stays() {
        // 1 may be skipped while 0 runs: 2 must wait for 0 itself.
        let clean_up = [(0, 1, Needs), (1, 2, After), (0, 2, After)];
        assert_eq!(edges(graph(3, &clean_up)).len(), 3);
        // 2 must not run when 0 failed, which 1 does not care about.
        let gate = [(0, 1, After), (1, 2, Needs), (0, 2, Needs)];
        assert_eq!(edges(graph(3, &gate)).len(), 3);
    }

    #[test]
    fn of_two_edges_the_stricter_stays() {
        let both = [(0, 1, After), (0, 1, Needs), (0, 1, After)];
        assert_eq!(edges(graph(2, &both)), [(0, 1, Needs)]);
    }

    /// Of a step that waits for the end of very many, only what the next step waits for is looked at.
    #[test]
    fn what_follows_from_one_of_very_many_is_left_out() {
        let many: Vec<_> = (0..20).map(|from| (from, 20, After)).collect();
        let both = [(20, 21, Needs), (7, 21, After)];
        let all: Vec<_> = many.iter().chain(&both).copied().collect();
        let kept = edges(graph(22, &all));
        assert_eq!(kept.len(), 21);
        assert!(!kept.contains(&(7, 21, After)));
        // That it must have succeeded does not follow.
        let both = [(20, 21, Needs), (7, 21, Needs)];
        let all: Vec<_> = many.iter().chain(&both).copied().collect();
        assert!(edges(graph(22, &all)).contains(&(7, 21, Needs)));
    }

    /// Against the definition, tried on every pair of steps of graphs of all sorts.
    #[test]
    fn no_edge_is_left_out_that_says_something_others_do_not() {
        // A small generator of numbers, the same each time.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = |most: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % most
        };
        for _ in 0..300 {
            let steps = u32::try_from(3 + below(9)).expect("a few");
            let mut all = Vec::new();
            for to in 1..steps {
                for from in 0..to {
                    match below(5) {
                        0 | 1 => all.push((from, to, Needs)),
                        2 => all.push((from, to, After)),
                        _ => {}
                    }
                }
            }
            let kept = edges(graph(steps, &all));
            for to in 0..steps {
                for from in 0..to {
                    for kind in [Needs, After] {
                        let (whole, less) =
                            (waits(&all, from, to, kind), waits(&kept, from, to, kind));
                        assert_eq!(whole, less, "{from} {to} {kind:?} of {all:?}: {kept:?}");
                    }
                }
            }
            for left in &kept {
                let others: Vec<_> = kept.iter().filter(|edge| *edge != left).copied().collect();
                assert!(
                    !waits(&others, left.0, left.1, left.2),
                    "{left:?} of {kept:?}"
                );
            }
        }
    }

    /// Whether a step waits for another: a way of `Needs`, the first of which may be `After` if it
    /// is only to have ended.
    fn waits(all: &[(u32, u32, EdgeKind)], from: u32, to: u32, kind: EdgeKind) -> bool {
        all.iter().any(|&(start, next, how)| {
            start == from
                && (how == Needs || kind == After)
                && (next == to || waits(all, next, to, Needs))
        })
    }

    #[test]
    fn a_circle_is_told() {
        let circle = [(0, 1, Needs), (1, 0, After)];
        assert!(graph(2, &circle).finish().is_err());
    }
}
