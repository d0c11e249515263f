//! Which steps are drawn as one: those of droplets of one name that go exactly the same way.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::plan::{EdgeKind, Plan, StepKind};

/// Steps as nodes.
pub(super) struct Folded {
    /// The steps of each node, by position, in an order in which they could be done.
    pub nodes: Vec<Vec<usize>>,
    /// The node of each step.
    pub node_of: Vec<usize>,
    /// Droplets that share their lane, by each of them.
    pub alike: BTreeMap<Address, Vec<Address>>,
    /// Droplets as they first occur.
    pub order: Vec<Address>,
}

/// Each step is a node.
pub(super) fn nothing(plan: &Plan) -> Folded {
    let order = order(plan);
    Folded {
        nodes: (0..plan.steps.len()).map(|step| vec![step]).collect(),
        node_of: (0..plan.steps.len()).collect(),
        alike: order
            .iter()
            .map(|address| (address.clone(), vec![address.clone()]))
            .collect(),
        order,
    }
}

/// Steps of droplets of one name that do the same, wait for the same and are waited for by the
/// same, all the way to both ends of the plan. Droplets that take turns do not: each waits for
/// another.
pub(super) fn alike(plan: &Plan) -> Folded {
    let classes = classes(plan);
    let count = classes.iter().max().map_or(0, |most| most + 1);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (step, class) in classes.iter().enumerate() {
        members[*class].push(step);
    }
    // A class comes as late as its longest chain of predecessors, then as its first step: all
    // steps of a class have chains of the same length.
    let mut depth = vec![0_usize; plan.steps.len()];
    for edge in &plan.edges {
        let after = depth[edge.from.0 as usize] + 1;
        let to = &mut depth[edge.to.0 as usize];
        *to = after.max(*to);
    }
    members.sort_by_key(|steps| (depth[steps[0]], steps[0]));
    let mut node_of = vec![0; plan.steps.len()];
    for (node, steps) in members.iter().enumerate() {
        for step in steps {
            node_of[*step] = node;
        }
    }
    let order = order(plan);
    let mut ways: BTreeMap<(&str, BTreeSet<usize>), Vec<Address>> = BTreeMap::new();
    for address in &order {
        let Address::Droplet { name, .. } = address else {
            continue;
        };
        let way = plan.steps.iter().enumerate().filter(|(_, step)| {
            // What is done for all bears the address of the first.
            step.address == *address
                && !matches!(
                    step.kind,
                    StepKind::CreateDroplets { .. } | StepKind::Gather { .. }
                )
        });
        let way = way.map(|(step, _)| node_of[step]).collect();
        ways.entry((name, way)).or_default().push(address.clone());
    }
    let alike = ways
        .into_values()
        .flat_map(|alike| {
            let each = alike.clone();
            each.into_iter()
                .map(move |address| (address, alike.clone()))
        })
        .collect();
    Folded {
        nodes: members,
        node_of,
        alike,
        order,
    }
}

/// All droplets, as they first occur.
fn order(plan: &Plan) -> Vec<Address> {
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    for step in &plan.steps {
        let made: Vec<&Address> = match &step.kind {
            StepKind::CreateDroplets { droplets, .. } => {
                droplets.iter().map(|droplet| &droplet.address).collect()
            }
            _ => vec![&step.address],
        };
        for address in made {
            if matches!(address, Address::Droplet { .. }) && seen.insert(address) {
                order.push(address.clone());
            }
        }
    }
    order
}

/// A class for each step: first by what it does, then split by the classes on both sides until
/// nothing is split any more.
fn classes(plan: &Plan) -> Vec<usize> {
    let mut before: Vec<Vec<(usize, EdgeKind)>> = vec![Vec::new(); plan.steps.len()];
    let mut after = before.clone();
    for edge in &plan.edges {
        let (from, to) = (edge.from.0 as usize, edge.to.0 as usize);
        before[to].push((from, edge.kind));
        after[from].push((to, edge.kind));
    }
    let (mut classes, mut count) = numbered(plan.steps.iter().enumerate().map(|(at, step)| {
        let (name, own) = match &step.address {
            // Calls that make different numbers of droplets still do the same.
            Address::Droplet { name, .. } => (name.as_str(), None),
            _ => ("", Some(at)),
        };
        let title = match &step.kind {
            StepKind::CreateDroplets { .. } => "create".to_owned(),
            kind => kind.title(),
        };
        (name, own, title, step.cleanup, step.expected_seconds)
    }));
    loop {
        let seen = |sides: &[(usize, EdgeKind)]| -> BTreeSet<(usize, EdgeKind)> {
            let side = sides.iter();
            side.map(|(step, kind)| (classes[*step], *kind)).collect()
        };
        let (split, more) = numbered(
            (0..plan.steps.len())
                .map(|step| (classes[step], seen(&before[step]), seen(&after[step]))),
        );
        if more == count {
            return split;
        }
        (classes, count) = (split, more);
    }
}

/// A number for each of several values, the same for equal ones, and how many there are.
fn numbered<T: Ord>(values: impl Iterator<Item = T>) -> (Vec<usize>, usize) {
    let mut known: BTreeMap<T, usize> = BTreeMap::new();
    let mut numbers = Vec::new();
    for value in values {
        let next = known.len();
        numbers.push(*known.entry(value).or_insert(next));
    }
    (numbers, known.len())
}
