//! Droplets: created in groups, and each with what happens on it until it stays or goes.

use std::collections::BTreeMap;

use super::waits::{Waits, manifest_name};
use super::{Draft, known};
use crate::desired::{Desired, Droplet};
use crate::live::LiveDroplet;
use crate::plan::step::{DropletRef, StepId, StepKind, TaggedResource, VolumeRef};
use crate::shared::Shared;
use crate::units::Seconds;

/// What becomes of a droplet when its runs are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum End {
    /// It stays.
    Stays,
    /// It is destroyed, whatever happened.
    Destroyed,
    /// It is destroyed if every run succeeded; else it may have a deadline of its own.
    DestroyedOnSuccess(Option<Seconds>),
}

/// A droplet as steps see it.
#[derive(Debug)]
pub(in crate::plan) struct PlannedDroplet<'a> {
    pub droplet: &'a Droplet,
    /// The one that exists and is used; else it is made.
    pub live: Option<&'a LiveDroplet>,
    /// Steps that destroy what has its name, which must have succeeded before it is made.
    pub first: Vec<StepId>,
    pub end: End,
    /// Tags it gets and loses.
    pub add: Vec<String>,
    pub remove: Vec<String>,
}

impl PlannedDroplet<'_> {
    /// Whether something is brought there or runs there.
    pub fn works(&self) -> bool {
        self.droplet.source.is_some() || !self.droplet.runs.is_empty()
    }

    /// Whether it is made for its runs and goes with them.
    pub fn is_single_use(&self) -> bool {
        self.live.is_none() && self.end != End::Stays
    }
}

/// What happened to a droplet so far, as the steps that are drawn.
pub(super) struct Life<'a> {
    pub reference: DropletRef,
    /// Everything on it, in order.
    pub all: Vec<StepId>,
    /// What must have succeeded for the next run.
    pub required: Vec<StepId>,
    /// What must only have ended before the next run.
    pub ended: Vec<StepId>,
    /// Steps on droplets that it needs: what must have succeeded, and what must only have ended.
    pub needed: Vec<StepId>,
    pub needed_ended: Vec<StepId>,
    /// The login.
    pub connect: Option<StepId>,
    /// The step that writes the inventory.
    pub prepared: Option<StepId>,
    /// Steps that free it of volumes it no longer mounts.
    pub releases: Vec<StepId>,
    /// Runs and what brings back what they made.
    pub work: Vec<StepId>,
    /// What runs in the background.
    pub backgrounds: Vec<Background>,
    /// What was mounted.
    pub mounts: Vec<Mounted<'a>>,
    /// The latest event.
    pub event: Option<StepId>,
}

/// A run step that runs on in the background.
pub(super) struct Background {
    /// Its position among the droplet's runs.
    pub run: usize,
    /// The step that starts it.
    pub step: StepId,
    /// What that needs on its own droplet.
    pub required: Vec<StepId>,
}

/// What those wait for that need a droplet.
struct Done {
    required: Vec<StepId>,
    ended: Vec<StepId>,
}

/// A volume that is mounted on a droplet.
pub(super) struct Mounted<'a> {
    /// The volume's name in the manifest.
    pub name: &'a str,
    pub volume: VolumeRef,
    pub path: Shared<str>,
    /// The step that makes or grows the volume.
    pub made: Option<StepId>,
    /// Steps that take it from whoever had it before.
    pub freed: Vec<StepId>,
    /// The step that attaches it, if it is not attached already.
    pub attach: Option<StepId>,
    /// The step that mounts it.
    pub mount: StepId,
    /// Whether another droplet has it after this one.
    pub hands_on: bool,
    /// Whether it is the droplet's own copy, which goes with it.
    pub is_copy: bool,
}

/// How steps speak of a droplet.
pub(super) fn reference(
    planned: &PlannedDroplet<'_>,
    created: Option<StepId>,
) -> Option<DropletRef> {
    match (planned.live, created) {
        (Some(live), _) => Some(known(live)),
        (None, Some(step)) => Some(DropletRef::Created {
            step,
            name: planned.droplet.name.clone(),
        }),
        (None, None) => None,
    }
}

impl<'a> Draft<'a> {
    /// Creates what must be created, in as few calls as the API allows, and does on each droplet
    /// what is to be done there.
    pub fn draw_droplets(
        &mut self,
        desired: &'a Desired,
        droplets: &[PlannedDroplet<'a>],
        expiry: &str,
    ) {
        let created = self.draw_creates(desired, droplets, expiry);
        let inventory = self.draw_gathering(droplets, &created);
        let waits = Waits::of(droplets);
        let mut done: BTreeMap<&str, Vec<Done>> = BTreeMap::new();
        // What is needed while others run outlives them.
        let mut held: Vec<(&PlannedDroplet<'a>, Life<'a>)> = Vec::new();
        let mut work: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
        for position in waits.order_with(&self.turns.order(droplets), droplets) {
            let planned = &droplets[position];
            let name = manifest_name(planned.droplet);
            let needed = planned.droplet.needs.iter();
            let needed = needed.filter_map(|name| done.get(name.as_str())).flatten();
            let made = created[position];
            let Some(life) = self.draw_life(planned, made, inventory, expiry, needed) else {
                continue;
            };
            let is_needed = waits.has_dependants(name);
            if is_needed {
                done.entry(name).or_default().push(Done {
                    required: life.required.clone(),
                    ended: life.ended.clone(),
                });
            }
            work.entry(name).or_default().extend(&life.work);
            if is_needed && !life.backgrounds.is_empty() {
                held.push((planned, life));
            } else {
                let stop = self.draw_rest(planned, life, &[]);
                work.entry(name).or_default().extend(stop);
            }
        }
        // Those that need come after those that are needed.
        for (planned, life) in held.into_iter().rev() {
            let name = manifest_name(planned.droplet);
            let users: Vec<StepId> = waits
                .dependants(name)
                .filter_map(|user| work.get(user))
                .flatten()
                .copied()
                .collect();
            let stop = self.draw_rest(planned, life, &users);
            work.entry(name).or_default().extend(stop);
        }
        for planned in droplets {
            self.note_activity(desired, planned);
        }
    }

    /// What is done on a droplet, but for what comes when nobody needs it any more.
    fn draw_life<'d>(
        &mut self,
        planned: &PlannedDroplet<'a>,
        created: Option<StepId>,
        inventory: Option<StepId>,
        expiry: &str,
        needed: impl Iterator<Item = &'d Done> + Clone,
    ) -> Option<Life<'a>> {
        let reference = reference(planned, created)?;
        let releases = planned
            .live
            .and_then(|live| self.releases.get(&live.id).cloned())
            .unwrap_or_default();
        let mut life = Life {
            reference,
            all: created.into_iter().chain(releases.clone()).collect(),
            releases,
            connect: None,
            prepared: None,
            required: created.into_iter().collect(),
            ended: Vec::new(),
            needed: needed
                .clone()
                .flat_map(|done| done.required.iter().copied())
                .collect(),
            needed_ended: needed.flat_map(|done| done.ended.iter().copied()).collect(),
            work: Vec::new(),
            backgrounds: Vec::new(),
            mounts: Vec::new(),
            event: created.or_else(|| {
                planned
                    .live
                    .and_then(|live| self.events.get(&live.id).copied())
            }),
        };
        self.draw_retagging(planned);
        self.draw_leases(planned);
        self.draw_mounts(planned, created, expiry, &mut life);
        self.draw_preparation(planned, inventory, &mut life);
        self.draw_runs(planned, &mut life);
        // What waits for a droplet waits for what that waits for.
        life.required.append(&mut life.needed);
        life.ended.append(&mut life.needed_ended);
        Some(life)
    }

    /// What comes when nobody needs a droplet any more: logs are brought back, and it goes unless it
    /// stays. `users` are steps on other droplets that need what runs here. Returns the step that
    /// stops it, if one does.
    fn draw_rest(
        &mut self,
        planned: &PlannedDroplet<'a>,
        mut life: Life<'a>,
        users: &[StepId],
    ) -> Option<StepId> {
        self.draw_logs(planned, &mut life, users);
        if planned.end != End::Destroyed {
            self.draw_hand_over(planned, &mut life);
        }
        match planned.end {
            End::Stays => {
                if let Some(live) = planned.live {
                    let kept = live.tags.iter().filter(|tag| !planned.remove.contains(tag));
                    self.bear_tags(kept.chain(&planned.add));
                }
                None
            }
            End::Destroyed | End::DestroyedOnSuccess(_) => self.draw_end(planned, life, users),
        }
    }

    fn draw_retagging(&mut self, planned: &PlannedDroplet<'a>) {
        let Some(live) = planned.live else { return };
        if planned.add.is_empty() && planned.remove.is_empty() {
            return;
        }
        let step = self.step(
            &planned.droplet.address,
            StepKind::UpdateTags {
                resource: TaggedResource::Droplet,
                id: live.id.to_string(),
                add: planned.add.clone(),
                remove: planned.remove.clone(),
            },
        );
        if let Some(tags) = self.tags {
            self.graph
                .needs(tags, step, "only a tag that exists can be given");
        }
        self.drop_tags(&planned.remove);
    }
}
