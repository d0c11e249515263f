//! The steps of a plan and what comes before what. The only place that knows petgraph.

use std::collections::BTreeMap;

use petgraph::Direction;
use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use super::step::{Edge, EdgeKind, Step, StepId, StepKind};
use crate::address::Address;

/// Steps in the order in which they were added, which is an order in which they could be done:
/// whatever a step waits for must have been added before it.
#[derive(Debug, Default)]
pub(super) struct Graph {
    graph: DiGraph<Step, (EdgeKind, &'static str)>,
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
        let id =
            StepId(u32::try_from(self.graph.node_count()).expect("fewer steps than 4 billion"));
        self.graph.add_node(Step {
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
        self.graph.add_edge(node(from), node(to), (kind, reason));
    }

    /// What the steps do, in order.
    pub fn kinds(&self) -> impl Iterator<Item = &StepKind> {
        self.graph.node_weights().map(|step| &step.kind)
    }

    /// Copies of snapshots: whose, and the region's slug.
    pub fn transfers(&self) -> impl Iterator<Item = (&Address, &str)> {
        self.graph
            .node_weights()
            .filter_map(|step| match &step.kind {
                StepKind::Transfer { region, .. } => Some((&step.address, region.as_str())),
                _ => None,
            })
    }

    /// When each step ends at the earliest, in seconds, by its position.
    pub fn earliest_ends(&self) -> Vec<u64> {
        let mut ends = vec![0_u64; self.graph.node_count()];
        // Whatever a step waits for was added before it.
        for node in self.graph.node_indices() {
            let begins = self
                .graph
                .neighbors_directed(node, Direction::Incoming)
                .map(|before| ends[before.index()])
                .max()
                .unwrap_or_default();
            ends[node.index()] = begins.saturating_add(self.graph[node].expected_seconds);
        }
        ends
    }

    /// Steps after which something no longer bears a tag, or that could give one.
    pub fn takers_of_tags(&self) -> Vec<StepId> {
        self.graph
            .node_weights()
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
        self.graph
            .node_weights()
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
    pub fn finish(mut self) -> Result<(Vec<Step>, Vec<Edge>), Cycle> {
        if let Err(cycle) = toposort(&self.graph, None) {
            let step = &self.graph[cycle.node_id()];
            return Err(Cycle(format!("{} of {}", step.kind.title(), step.address)));
        }
        let edges = self.reduced();
        let steps = self
            .graph
            .node_weights_mut()
            .map(|step| {
                std::mem::replace(
                    step,
                    Step {
                        id: step.id,
                        address: Address::Firewall,
                        kind: StepKind::DeleteTags { names: Vec::new() },
                        cleanup: false,
                        expected_seconds: 0,
                    },
                )
            })
            .collect();
        Ok((steps, edges))
    }

    /// All edges but those that follow from others.
    ///
    /// An edge follows from a path between the same steps if the path waits at least as strictly:
    /// all of it but its first edge must be `Needs`, since a step that is skipped early (because
    /// another predecessor failed, or at an interrupt) says nothing about those it waits for. The
    /// first edge may be weaker only if the edge in question is.
    fn reduced(&self) -> Vec<Edge> {
        let mut edges = Vec::with_capacity(self.graph.edge_count());
        let mut seen = Vec::new();
        let mut mark = vec![u32::MAX; self.graph.node_count()];
        for to in self.graph.node_indices() {
            // One edge for each predecessor: the stricter, and of those the first that was named.
            let mut direct: BTreeMap<NodeIndex, (EdgeKind, &'static str)> = BTreeMap::new();
            for edge in self.graph.edges_directed(to, Direction::Incoming) {
                let (kind, reason) = *edge.weight();
                // petgraph lists the newest edge first.
                direct
                    .entry(edge.source())
                    .and_modify(|known| {
                        if kind <= known.0 {
                            *known = (kind, reason);
                        }
                    })
                    .or_insert((kind, reason));
            }
            if direct.len() > 1 {
                self.mark_needed_by_needed(to, &direct, &mut mark, &mut seen);
            }
            for (from, (kind, reason)) in direct {
                let by_needs = mark[from.index()] == 2 * index(to);
                let by_any = by_needs || mark[from.index()] == 2 * index(to) + 1;
                let follows = match kind {
                    EdgeKind::Needs => by_needs,
                    EdgeKind::After => by_any,
                };
                if !follows {
                    edges.push(Edge {
                        from: StepId(index(from)),
                        to: StepId(index(to)),
                        kind,
                        reason: reason.to_owned(),
                    });
                }
            }
        }
        edges.sort();
        edges
    }

    /// Marks, for the step `to`, whatever comes before one of the steps it needs: with `2 * to`
    /// what is needed all the way, with `2 * to + 1` what must only have ended first.
    fn mark_needed_by_needed(
        &self,
        to: NodeIndex,
        direct: &BTreeMap<NodeIndex, (EdgeKind, &'static str)>,
        mark: &mut [u32],
        seen: &mut Vec<NodeIndex>,
    ) {
        let (needed, ended) = (2 * index(to), 2 * index(to) + 1);
        // Nothing before the earliest predecessor is of interest.
        let Some(earliest) = direct.keys().next().copied() else {
            return;
        };
        seen.clear();
        seen.extend(
            direct
                .iter()
                .filter(|(_, (kind, _))| *kind == EdgeKind::Needs)
                .map(|(from, _)| *from),
        );
        while let Some(at) = seen.pop() {
            for edge in self.graph.edges_directed(at, Direction::Incoming) {
                let from = edge.source();
                if from < earliest {
                    continue;
                }
                let (kind, _) = *edge.weight();
                match kind {
                    EdgeKind::Needs if mark[from.index()] != needed => {
                        mark[from.index()] = needed;
                        seen.push(from);
                    }
                    EdgeKind::After if mark[from.index()] != needed => {
                        mark[from.index()] = ended;
                    }
                    _ => {}
                }
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

    #[test]
    fn a_circle_is_told() {
        let circle = [(0, 1, Needs), (1, 0, After)];
        assert!(graph(2, &circle).finish().is_err());
    }
}
