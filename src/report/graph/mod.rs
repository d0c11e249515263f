//! The steps of a plan as a graph to look at: Mermaid, DOT, or an SVG that needs no other program.
//!
//! All three draw one [`Graph`]: lanes of what belongs to one resource, nodes with how long they
//! are expected to take, the critical path marked. Droplets that go the same way share a lane,
//! their steps a node, unless every step is asked for.

mod dot;
mod fold;
mod layout;
mod mermaid;
mod svg;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use dot::render as dot;
pub use mermaid::render as mermaid;
pub use svg::render as svg;

use super::groups::title_of;
use crate::address::Address;
use crate::plan::schedule::Schedule;
use crate::plan::{EdgeKind, Plan, Step, StepKind};
use crate::times;
use crate::units::Seconds;

/// Steps as they are drawn. Nodes are in an order in which they could be done: links go forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// What it is of.
    title: String,
    /// What is told of it as a whole.
    summary: String,
    lanes: Vec<String>,
    nodes: Vec<Node>,
    links: Vec<Link>,
}

/// A step, or steps of several droplets that go the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    lane: usize,
    /// What it does.
    title: String,
    /// How many steps it stands for.
    steps: usize,
    /// Whether it makes droplets.
    makes: bool,
    /// Expected times, in seconds: of several steps the first that begins, the longest.
    start: u64,
    seconds: u64,
    slack: u64,
    critical: bool,
    cleanup: bool,
}

/// What waits for what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    from: usize,
    to: usize,
    kind: EdgeKind,
    /// Why.
    reason: String,
    critical: bool,
}

impl Node {
    /// `run tests`, `run tests ×40`.
    fn label(&self) -> String {
        self.title.clone() + &self.several()
    }

    /// For how many droplets it is done; a create says that itself.
    fn several(&self) -> String {
        match self.steps {
            1 => String::new(),
            _ if self.makes => String::new(),
            several => format!(" \u{d7}{several}"),
        }
    }

    /// `1m, from 1m20s`: expected duration and start.
    fn times(&self) -> String {
        let took = match self.seconds {
            0 => "under 1s".to_owned(),
            seconds => Seconds(seconds).to_string(),
        };
        format!("{took}, from {}", Seconds(self.start))
    }
}

impl Graph {
    /// Of a plan; `all`: every step is a node of its own.
    #[must_use]
    pub fn of(plan: &Plan, all: bool) -> Self {
        let schedule = Schedule::of(plan);
        let folded = if all {
            fold::nothing(plan)
        } else {
            fold::alike(plan)
        };
        let mut on_path = vec![false; plan.steps.len()];
        for step in &schedule.path {
            on_path[step.0 as usize] = true;
        }
        let mut lanes: BTreeMap<(u8, usize, String), usize> = BTreeMap::new();
        let mut keys = Vec::new();
        for steps in &folded.nodes {
            let key = lane(plan, &folded, steps);
            keys.push(key.clone());
            lanes.entry(key).or_default();
        }
        for (position, lane) in lanes.values_mut().enumerate() {
            *lane = position;
        }
        let nodes = folded.nodes.iter().zip(&keys).map(|(steps, key)| {
            let first = &plan.steps[steps[0]];
            let times = |of: &[u64]| steps.iter().map(|step| of[*step]).min().unwrap_or(0);
            Node {
                lane: lanes[key],
                title: title(plan, steps),
                steps: steps.len(),
                makes: matches!(first.kind, StepKind::CreateDroplets { .. }),
                start: times(&schedule.starts),
                seconds: steps
                    .iter()
                    .map(|step| plan.steps[*step].expected_seconds)
                    .max()
                    .unwrap_or(0),
                slack: times(&schedule.slacks),
                critical: steps.iter().any(|step| on_path[*step]),
                cleanup: first.cleanup,
            }
        });
        let mut graph = Self {
            title: format!("{} / {}", plan.project, plan.environment),
            summary: summary(plan),
            nodes: nodes.collect(),
            lanes: lanes.into_keys().map(|(_, _, title)| title).collect(),
            links: Vec::new(),
        };
        let next: BTreeMap<u32, u32> = schedule
            .path
            .windows(2)
            .map(|pair| (pair[0].0, pair[1].0))
            .collect();
        graph.link(plan, &folded, &next);
        if !all {
            graph.leave_out_what_follows();
        }
        graph
    }

    fn link(&mut self, plan: &Plan, folded: &fold::Folded, next: &BTreeMap<u32, u32>) {
        let mut links: BTreeMap<(usize, usize), Link> = BTreeMap::new();
        for edge in &plan.edges {
            let from = folded.node_of[edge.from.0 as usize];
            let to = folded.node_of[edge.to.0 as usize];
            let critical = next.get(&edge.from.0) == Some(&edge.to.0);
            let link = links.entry((from, to)).or_insert_with(|| Link {
                from,
                to,
                kind: edge.kind,
                reason: edge.reason.to_string(),
                critical: false,
            });
            link.kind = link.kind.min(edge.kind);
            link.critical |= critical;
        }
        self.links = links.into_values().collect();
    }

    /// Leaves out links between nodes that other links connect by a longer way. A plan keeps some
    /// of them, for a step that is skipped tells nothing of what it waits for; the order that a
    /// picture shows is the same.
    fn leave_out_what_follows(&mut self) {
        let count = self.nodes.len();
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); count];
        for link in &self.links {
            after[link.from].push(link.to);
        }
        // Links go forward: from the last node to the first, what comes after a node is known.
        let mut reached = vec![vec![false; count]; count];
        for node in (0..count).rev() {
            let mut all = vec![false; count];
            for &next in &after[node] {
                all[next] = true;
                for (all, far) in all.iter_mut().zip(&reached[next]) {
                    *all |= far;
                }
            }
            reached[node] = all;
        }
        let follows = |link: &Link| {
            after[link.from]
                .iter()
                .any(|between| *between != link.to && reached[*between][link.to])
        };
        self.links.retain(|link| link.critical || !follows(link));
    }

    /// Titles along the critical path.
    fn critical_path(&self) -> String {
        let titles: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| node.critical)
            .map(|node| format!("{} {}", self.lanes[node.lane], node.title))
            .collect();
        titles.join(", then ")
    }
}

fn summary(plan: &Plan) -> String {
    match plan.steps.len() {
        0 => "nothing to do".to_owned(),
        1 => format!("1 step, {}", times::about(plan.cost.expected_seconds)),
        steps => format!(
            "{steps} steps, {}",
            times::about(plan.cost.expected_seconds)
        ),
    }
}

/// What a node does. Droplets that several calls make are told as one number.
fn title(plan: &Plan, steps: &[usize]) -> String {
    let made: usize = steps
        .iter()
        .map(|step| match &plan.steps[*step].kind {
            StepKind::CreateDroplets { droplets, .. } => droplets.len(),
            _ => 0,
        })
        .sum();
    match made {
        0 | 1 => plan.steps[steps[0]].kind.title(),
        made => format!("create {made} droplets"),
    }
}

/// Where a node lies: lanes are in the order environment, snapshots, volumes, droplets, and then as
/// they first occur; with what the lane is called.
fn lane(plan: &Plan, folded: &fold::Folded, steps: &[usize]) -> (u8, usize, String) {
    let step = &plan.steps[steps[0]];
    match lane_address(step) {
        Address::SshKey | Address::Firewall => (0, 0, "environment".to_owned()),
        address @ (Address::Snapshot(_) | Address::Volume(_)) => {
            let rank = if matches!(address, Address::Snapshot(_)) {
                1
            } else {
                2
            };
            let first = plan.steps.iter().position(|step| step.address == *address);
            (rank, first.unwrap_or(0), address.to_string())
        }
        address @ Address::Droplet { .. } => {
            let alike = folded.alike.get(address).map_or(&[][..], Vec::as_slice);
            let first = alike.first().unwrap_or(address);
            let rank = folded.order.iter().position(|known| known == first);
            let title = if alike.is_empty() {
                address.to_string()
            } else {
                title_of(alike.iter())
            };
            (3, rank.unwrap_or(0), title)
        }
    }
}

/// Whose a step is: of a create, the first droplet's; what is of all droplets is the environment's.
const fn lane_address(step: &Step) -> &Address {
    match &step.kind {
        StepKind::Gather { .. } => &Address::Firewall,
        _ => &step.address,
    }
}
