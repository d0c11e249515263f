//! Turns: droplets that share a volume have it one after the other.
//!
//! All of them boot at the same time; attach, mount, runs, unmount and detach come in turn. One
//! order holds for all volumes, so that no two droplets wait for each other's: after whom they need,
//! first who has one of them already, then who can begin earliest, which ends soonest, then by address. Who stays hands a
//! volume on only when it is unmounted; the last one keeps it, if it stays.

use std::collections::{BTreeMap, BTreeSet};

use super::droplet::{Life, Mounted, PlannedDroplet};
use super::waits::manifest_name;
use super::{Draft, expected};
use crate::address::Address;
use crate::desired::{Droplet, Mount};
use crate::manifest::schema::Scope;
use crate::plan::step::{StepId, StepKind};

/// How many names a notice lists before it only counts.
const MOST_TOLD: usize = 6;

/// Who has which volume when.
#[derive(Debug, Default)]
pub(in crate::plan) struct Turns<'a> {
    /// Volumes that several droplets mount, by their names in the manifest: the addresses of the
    /// droplets in turn.
    volumes: BTreeMap<&'a str, Vec<&'a Address>>,
    /// The place of each droplet that takes turns.
    places: BTreeMap<&'a Address, usize>,
}

/// A droplet before its steps are drawn.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Taker<'a> {
    pub droplet: &'a Droplet,
    /// Id of the one that exists and is used.
    pub live: Option<u64>,
    /// Steps that must have ended before it is made.
    pub first: Vec<StepId>,
}

impl<'a> Turns<'a> {
    /// Whether several droplets mount a volume.
    pub fn is_shared(&self, volume: &str) -> bool {
        self.volumes.contains_key(volume)
    }

    /// Whether a droplet is the first to have a volume.
    pub fn is_first(&self, volume: &str, droplet: &Address) -> bool {
        let order = self.volumes.get(volume);
        order.is_none_or(|order| order.first() == Some(&droplet))
    }

    /// Whether someone has a volume after a droplet.
    fn hands_on(&self, volume: &str, droplet: &Address) -> bool {
        let order = self.volumes.get(volume);
        order.is_some_and(|order| order.last() != Some(&droplet))
    }

    /// Positions of the droplets that take turns, in turn.
    pub(super) fn order(&self, droplets: &[PlannedDroplet<'_>]) -> Vec<usize> {
        let mut order: Vec<(usize, usize)> = droplets
            .iter()
            .enumerate()
            .filter_map(|(at, planned)| Some((*self.places.get(&planned.droplet.address)?, at)))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, at)| at).collect()
    }
}

impl<'a> Draft<'a> {
    /// Decides who has which volume when.
    pub fn decide_turns(&mut self, takers: &[Taker<'a>]) {
        let mut users: BTreeMap<&'a str, Vec<usize>> = BTreeMap::new();
        for (position, taker) in takers.iter().enumerate() {
            for mount in themselves(taker.droplet) {
                users.entry(&mount.volume).or_default().push(position);
            }
        }
        users.retain(|volume, users| users.len() > 1 && self.volumes.contains_key(volume));
        if users.is_empty() {
            return;
        }
        let ends = self.graph.earliest_ends();
        let end = |step: StepId| ends.get(step.0 as usize).copied().unwrap_or_default();
        let depths = depths(takers);
        let mut order: Vec<(usize, bool, u64, &'a Address, usize)> = users
            .values()
            .flatten()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|&position| {
                let taker = &takers[position];
                let holds = taker.live.is_some_and(|live| {
                    themselves(taker.droplet).any(|mount| {
                        users.contains_key(mount.volume.as_str())
                            && self.is_attached_to(&mount.volume, live)
                    })
                });
                let begins = if taker.live.is_some() {
                    0
                } else {
                    let (_, counts) = self.image(&taker.droplet.image);
                    let first = taker.first.iter().copied().chain(counts).map(end).max();
                    first.unwrap_or_default() + expected::TO_BE_MADE
                };
                let depth = depths.get(manifest_name(taker.droplet)).copied();
                (
                    depth.unwrap_or_default(),
                    !holds,
                    begins,
                    &taker.droplet.address,
                    position,
                )
            })
            .collect();
        order.sort();
        let mut turns = Turns::default();
        for (place, (_, _, _, address, position)) in order.into_iter().enumerate() {
            turns.places.insert(address, place);
            for mount in themselves(takers[position].droplet) {
                if users.contains_key(mount.volume.as_str()) {
                    turns
                        .volumes
                        .entry(&mount.volume)
                        .or_default()
                        .push(address);
                }
            }
        }
        for (volume, order) in &turns.volumes {
            let told: Vec<String> = order
                .iter()
                .take(MOST_TOLD)
                .map(ToString::to_string)
                .collect();
            let more = match order.len() - told.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.notices.push(format!(
                "volume.{volume} is handed on in turn: {}{more}",
                told.join(", ")
            ));
        }
        self.turns = turns;
    }

    /// Whether a volume of the manifest is attached to a droplet, and not taken from it before its
    /// turn.
    pub(in crate::plan) fn is_attached_to(&self, volume: &str, droplet: u64) -> bool {
        self.volumes
            .get(volume)
            .and_then(|planned| planned.live)
            .filter(|live| !self.freed.contains_key(live.id.as_str()))
            .and_then(|live| self.attached.droplets.get(live.id.as_str()))
            .is_some_and(|droplets| droplets.contains(&droplet))
    }

    /// Whether a droplet hands a volume on.
    pub(super) fn hands_on(&self, volume: &str, droplet: &Droplet) -> bool {
        self.turns.hands_on(volume, &droplet.address)
    }

    /// The next one's turn begins with this detaching, which is done however the attaching went: it
    /// says nothing unless whoever had the volume before has let go of it.
    pub(super) fn hand_on(&mut self, mounted: &Mounted<'a>, detach: StepId) {
        if let Some(made) = mounted.made {
            self.graph
                .after(made, detach, "a volume is there before it is handed on");
        }
        for &freed in &mounted.freed {
            self.graph
                .needs(freed, detach, "a volume is handed on by whoever has it");
        }
        self.handed.insert(mounted.name, detach);
    }

    /// Takes volumes from a droplet that stays after its runs, for those whose turn is next.
    ///
    /// Whatever failed before, the next one gets its turn; only a volume that cannot be unmounted is
    /// not torn from a droplet that lives on.
    pub(super) fn draw_hand_over(&mut self, planned: &PlannedDroplet<'a>, life: &mut Life<'a>) {
        let address = &planned.droplet.address;
        let (handed, kept): (Vec<Mounted<'a>>, Vec<Mounted<'a>>) = std::mem::take(&mut life.mounts)
            .into_iter()
            .partition(|mounted| mounted.hands_on);
        life.mounts = kept;
        for mounted in handed {
            let unmount = self.step(
                address,
                StepKind::Unmount {
                    droplet: life.reference.clone(),
                    path: mounted.path.clone(),
                },
            );
            let detach = self.step(
                address,
                StepKind::Detach {
                    volume: mounted.volume.clone(),
                    droplet: life.reference.clone(),
                    region: self.region.clone(),
                },
            );
            for &step in &life.all {
                self.graph
                    .after(step, unmount, "a volume is unmounted once nothing uses it");
                self.graph
                    .after(step, detach, "a volume is detached once nothing uses it");
            }
            self.graph.needs(
                unmount,
                detach,
                "a volume is not torn from a droplet that lives on",
            );
            if let Some(event) = life.event {
                self.graph
                    .after(event, detach, "one event per droplet at a time");
            }
            life.event = Some(detach);
            life.all.extend([unmount, detach]);
            let left = self.left.entry(mounted.name).or_default();
            left.extend(life.required.iter().copied().chain([detach]));
            self.hand_on(&mounted, detach);
        }
        if let (Some(live), Some(event)) = (planned.live, life.event) {
            self.events.insert(live.id, event);
        }
    }
}

/// Why a volume is attached after another: both may be held by another environment, which would wait
/// for whichever is had first.
pub(super) const IN_ORDER: &str =
    "every environment takes what it shares in one order, so that none waits in a circle";

impl<'a> Draft<'a> {
    /// What a droplet mounts, in the order in which it is attached, whatever the order in the manifest:
    /// that of the names. Droplets of several environments that mount the same then never have what
    /// the other waits for.
    pub(super) fn in_order_of_names(&self, droplet: &'a Droplet) -> Vec<&'a Mount> {
        let name = |mount: &Mount| {
            let planned = self.volumes.get(mount.volume.as_str());
            planned.map(|planned| planned.volume.name.as_str())
        };
        let mut mounts: Vec<&Mount> = droplet.mounts.iter().collect();
        mounts.sort_by_key(|mount| (mount.copy.is_some(), name(mount)));
        mounts
    }

    /// Whether other environments may have a volume.
    pub(super) fn is_shared(&self, mount: &Mount) -> bool {
        let planned = self.volumes.get(mount.volume.as_str());
        planned.is_some_and(|planned| planned.volume.scope == Scope::Project)
    }

    /// Attachings that come before those of a droplet: it runs only with those it needs, and has its
    /// own volume while it waits for theirs otherwise.
    pub(super) fn attachings_of_needed(&self, droplet: &Droplet) -> BTreeSet<StepId> {
        let needed = droplet.needs.iter();
        needed
            .filter_map(|name| self.attachings.get(name.as_str()))
            .flatten()
            .copied()
            .collect()
    }

    pub(super) fn note_attachings(&mut self, droplet: &'a Droplet, attachings: BTreeSet<StepId>) {
        let known = self.attachings.entry(manifest_name(droplet)).or_default();
        known.extend(attachings);
    }
}

/// Of what a droplet mounts the volumes themselves, of which there is only one.
fn themselves(droplet: &Droplet) -> impl Iterator<Item = &Mount> {
    droplet.mounts.iter().filter(|mount| mount.copy.is_none())
}

/// How many droplets each must wait for, one after the other, by the names in the manifest.
fn depths<'t>(takers: &[Taker<'t>]) -> BTreeMap<&'t str, usize> {
    let needs: BTreeMap<&str, &[String]> = takers
        .iter()
        .map(|taker| (manifest_name(taker.droplet), taker.droplet.needs.as_slice()))
        .collect();
    let mut depths: BTreeMap<&str, usize> = needs.keys().map(|name| (*name, 0)).collect();
    // As often as the longest way has steps; a circle, which the manifest's checks refuse, ends too.
    for _ in 0..needs.len() {
        let mut grown = false;
        for (name, needed) in &needs {
            let deepest = needed
                .iter()
                .filter_map(|name| depths.get(name.as_str()))
                .max();
            let depth = deepest.map_or(0, |deepest| deepest + 1);
            if depth > depths[name] {
                depths.insert(name, depth);
                grown = true;
            }
        }
        if !grown {
            break;
        }
    }
    depths
}
