//! Which droplets wait for which, by `needs`.

use std::collections::{BTreeMap, BTreeSet};

use super::droplet::PlannedDroplet;
use crate::address::Address;
use crate::desired::Droplet;

/// A droplet's name in the manifest.
pub(super) fn manifest_name(droplet: &Droplet) -> &str {
    match &droplet.address {
        Address::Droplet { name, .. } => name,
        _ => &droplet.name,
    }
}

/// Which droplets wait for which.
pub(super) struct Waits<'d> {
    /// Positions of a droplet's instances, by its name in the manifest.
    positions: BTreeMap<&'d str, Vec<usize>>,
    /// Names, each after those it needs.
    names: Vec<&'d str>,
    /// Whoever needs a droplet, also through others.
    dependants: BTreeMap<&'d str, BTreeSet<&'d str>>,
}

impl<'d> Waits<'d> {
    pub(super) fn of(droplets: &'d [PlannedDroplet<'_>]) -> Self {
        let mut positions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut needs: BTreeMap<&str, &[String]> = BTreeMap::new();
        for (position, planned) in droplets.iter().enumerate() {
            let name = manifest_name(planned.droplet);
            positions.entry(name).or_default().push(position);
            needs.insert(name, &planned.droplet.needs);
        }
        let mut names = Vec::with_capacity(needs.len());
        let mut seen = BTreeSet::new();
        for name in needs.keys() {
            after_needed(name, &needs, &mut seen, &mut names);
        }
        let mut dependants: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        // The last ones first: who needs them is known when those come that they need.
        for name in names.iter().rev() {
            let mut all = dependants.get(name).cloned().unwrap_or_default();
            all.insert(name);
            for needed in needs[name] {
                let users = dependants.entry(needed).or_default();
                users.extend(&all);
            }
        }
        Self {
            positions,
            names,
            dependants,
        }
    }

    /// Positions of all droplets, each after those it needs.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> + '_ {
        self.names
            .iter()
            .filter_map(|name| self.positions.get(name))
            .flatten()
            .copied()
    }

    /// Positions of all droplets, each after those it needs, and those in `turns` in their order, in
    /// which none comes before one that it needs.
    pub(super) fn order_with(
        &self,
        turns: &[usize],
        droplets: &'d [PlannedDroplet<'_>],
    ) -> Vec<usize> {
        let mut order = Vec::with_capacity(droplets.len());
        let mut seen = vec![false; droplets.len()];
        let mut add = |position: usize| {
            if !std::mem::replace(&mut seen[position], true) {
                order.push(position);
            }
        };
        let mut known = BTreeSet::new();
        for &turn in turns {
            let name = manifest_name(droplets[turn].droplet);
            if known.insert(name) {
                let is_needed =
                    |other: &&&str| self.dependants(other).any(|dependant| dependant == name);
                for needed in self.names.iter().filter(is_needed) {
                    self.positions[needed].iter().copied().for_each(&mut add);
                }
            }
            add(turn);
        }
        self.order().for_each(add);
        order
    }

    /// Whoever needs a droplet, also through others.
    pub(super) fn dependants(&self, name: &str) -> impl Iterator<Item = &'d str> + '_ {
        self.dependants.get(name).into_iter().flatten().copied()
    }

    pub(super) fn has_dependants(&self, name: &str) -> bool {
        self.dependants(name).next().is_some()
    }
}

/// Appends a name after those it needs. A circle, which the manifest's checks refuse, is cut where
/// it closes.
fn after_needed<'d>(
    start: &'d str,
    needs: &BTreeMap<&'d str, &'d [String]>,
    seen: &mut BTreeSet<&'d str>,
    names: &mut Vec<&'d str>,
) {
    if !seen.insert(start) {
        return;
    }
    let mut way = vec![(start, 0)];
    while let Some((name, next)) = way.last_mut() {
        match needs.get(name).and_then(|needs| needs.get(*next)) {
            None => {
                names.push(name);
                way.pop();
            }
            Some(needed) => {
                *next += 1;
                if needs.contains_key(needed.as_str()) && seen.insert(needed) {
                    way.push((needed, 0));
                }
            }
        }
    }
}
