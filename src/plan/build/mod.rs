//! From verdicts to steps: the draft of a plan, and what all kinds of resource need to draw it.
//!
//! Each file adds the steps of one kind of resource. Whatever a step waits for is added before it,
//! so the order in which steps are listed is an order in which they could be done.

mod activity;
mod clone;
mod creates;
mod droplet;
mod ending;
mod finish;
mod foundation;
mod mounts;
mod populate;
mod removal;
mod runs;
mod snapshot;
mod turns;
mod volume;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use activity::{described, mount_text};
pub(super) use droplet::{End, PlannedDroplet};
pub(super) use finish::{empty_tags, streamed};
pub(super) use turns::{Taker, Turns};

use super::Goal;
use super::change::{Action, Activity, Cause, Change, FieldChange, Reason};
use super::compare;
use super::error::Refusal;
use super::expected;
use super::graph::Graph;
use super::step::{DropletRef, ImageRef, StepId, StepKind, VolumeRef};
use crate::address::Address;
use crate::desired::Scope;
use crate::live::ownership::{self, Owner};
use crate::live::{Live, LiveDroplet, LiveVolume};
use crate::shared::{Shared, Texts};

/// A plan that is being drawn.
pub(super) struct Draft<'a> {
    pub scope: &'a Scope,
    pub owner: Owner,
    /// Of what steps of all droplets say the same: the region, the user who logs in, the environment's
    /// tag.
    pub region: Shared<str>,
    pub user: Shared<str>,
    pub environment_tag: Shared<str>,
    pub goal: Goal,
    /// Whether builders stay when something went wrong on them.
    pub keep_builder: bool,
    pub live: &'a Live,
    pub graph: Graph,
    pub changes: Vec<Change>,
    pub activities: Vec<Activity>,
    pub notices: Vec<String>,
    pub refusals: Vec<Refusal>,
    /// Steps that every droplet of the environment needs: key, tags, firewall; with the reason.
    pub foundations: Vec<(StepId, &'static str)>,
    /// The step that makes tags.
    pub tags: Option<StepId>,
    /// The step that makes or updates the firewall.
    pub firewall: Option<StepId>,
    /// The step that registers the key.
    pub key: Option<StepId>,
    /// Droplets by volume and volumes by droplet, as they are now; of volumes that are ours or used.
    pub attached: Attached<'a>,
    /// Steps that detach a volume from where it is, by its id.
    pub freed: BTreeMap<&'a str, StepId>,
    /// Steps that free droplets that exist of volumes they no longer mount, by the droplets' ids.
    pub releases: BTreeMap<u64, Vec<StepId>>,
    /// Steps after which a droplet of this plan no longer holds a volume, by its name in the manifest.
    pub let_go: BTreeMap<&'a str, Vec<StepId>>,
    /// Who has a volume that several droplets mount when.
    pub turns: Turns<'a>,
    /// The latest step that hands a volume on, by its name in the manifest.
    pub handed: BTreeMap<&'a str, StepId>,
    /// What must have succeeded before a snapshot is taken of a volume, by its name in the manifest:
    /// the runs of those that have it itself, and that they let go of it.
    pub left: BTreeMap<&'a str, Vec<StepId>>,
    /// Steps after which a volume is filled, by its name in the manifest.
    pub filled: BTreeMap<&'a str, StepId>,
    /// Steps that see to a snapshot of a volume, by its name in the manifest.
    pub taken: BTreeMap<&'a str, StepId>,
    /// Steps that delete volumes, leftover copies among them, by the volumes' names.
    pub clones_gone: BTreeMap<&'a str, StepId>,
    /// Logins to droplets that exist, by their id.
    pub connects: BTreeMap<u64, StepId>,
    /// The latest event of droplets that exist: one event per droplet at a time.
    pub events: BTreeMap<u64, StepId>,
    /// By the droplets' names in the manifest: the latest attaching of what environments share, to them
    /// or, where they have nothing of it, to those they need.
    pub attachings: BTreeMap<&'a str, BTreeSet<StepId>>,
    /// All steps that destroy a droplet.
    pub destroys: Vec<StepId>,
    /// Of those, the ones that destroy a droplet that exists, by its id.
    pub destroyed: BTreeMap<u64, StepId>,
    /// Volumes of the manifest by their name there: what steps refer to, and what must be done first.
    pub volumes: BTreeMap<&'a str, PlannedVolume<'a>>,
    /// Of those, the ones that are made anew.
    pub renewed: BTreeSet<&'a str>,
    /// Droplets of the manifest that stay as they are, and nothing is done on them.
    pub bystanders: Vec<(&'a crate::desired::Droplet, &'a LiveDroplet)>,
    /// Snapshots of the manifest by their name there.
    pub images: BTreeMap<&'a str, PlannedImage<'a>>,
    /// Tags of single resources that lose a bearer.
    pub dropped: BTreeSet<String>,
    /// Tags that resources bear after the plan.
    pub borne: BTreeSet<String>,
    /// The droplet that the latest of `activities` is about.
    pub told: Option<activity::Told<'a>>,
    /// Tags of the copy of a volume that was made last, without its expiry and with it.
    pub tags_of_last_copy: Option<(&'a Texts, Texts)>,
}

/// Which volumes of ours, or that the manifest uses, are attached where; of the whole project when it
/// is emptied.
#[derive(Debug, Default)]
pub(super) struct Attached<'a> {
    pub droplets: BTreeMap<&'a str, BTreeSet<u64>>,
    pub volumes: BTreeMap<u64, Vec<&'a LiveVolume>>,
}

/// A volume as steps see it.
#[derive(Debug, Clone)]
pub(super) struct PlannedVolume<'a> {
    pub volume: &'a crate::desired::Volume,
    pub live: Option<&'a LiveVolume>,
    pub reference: VolumeRef,
    /// The step that makes or grows it.
    pub made: Option<StepId>,
    /// Whether it grows, so that its file system must too.
    pub grows: bool,
    /// What fills it first.
    pub populate: Option<&'a crate::desired::Populate>,
}

/// A snapshot as steps see it.
#[derive(Debug, Clone)]
pub(super) struct PlannedImage<'a> {
    pub snapshot: &'a crate::desired::Snapshot,
    pub reference: ImageRef,
    /// The step after which it counts.
    pub counts: Option<StepId>,
    /// Disk a droplet needs; unknown when the builder's size is.
    pub min_disk_gib: Option<u32>,
}

impl<'a> Draft<'a> {
    pub fn new(scope: &'a Scope, live: &'a Live, goal: Goal) -> Self {
        let owner = Owner::new(&scope.project, &scope.environment);
        let attached = Attached::of(live, scope, &owner, goal);
        Self {
            scope,
            region: scope.region.as_str().into(),
            user: scope.user.as_str().into(),
            environment_tag: owner.environment_tag.as_str().into(),
            owner,
            goal,
            keep_builder: false,
            live,
            graph: Graph::default(),
            changes: Vec::new(),
            activities: Vec::new(),
            notices: Vec::new(),
            refusals: Vec::new(),
            foundations: Vec::new(),
            tags: None,
            firewall: None,
            key: None,
            attached,
            freed: BTreeMap::new(),
            releases: BTreeMap::new(),
            let_go: BTreeMap::new(),
            turns: Turns::default(),
            handed: BTreeMap::new(),
            left: BTreeMap::new(),
            filled: BTreeMap::new(),
            taken: BTreeMap::new(),
            clones_gone: BTreeMap::new(),
            connects: BTreeMap::new(),
            events: BTreeMap::new(),
            attachings: BTreeMap::new(),
            destroys: Vec::new(),
            destroyed: BTreeMap::new(),
            volumes: BTreeMap::new(),
            renewed: BTreeSet::new(),
            bystanders: Vec::new(),
            images: BTreeMap::new(),
            dropped: BTreeSet::new(),
            borne: BTreeSet::new(),
            told: None,
            tags_of_last_copy: None,
        }
    }

    /// Adds a step.
    fn step(&mut self, address: &Address, kind: StepKind) -> StepId {
        let expected = expected::seconds(&kind);
        self.graph.add(address.clone(), kind, expected)
    }

    /// Adds a step that only removes what the plan itself calls ephemeral.
    fn cleanup(&mut self, address: &Address, kind: StepKind) -> StepId {
        let expected = expected::seconds(&kind);
        self.graph.add_cleanup(address.clone(), kind, expected)
    }

    /// Adds a step that is clean-up when `ephemeral` says so.
    fn removing(&mut self, address: &Address, kind: StepKind, ephemeral: bool) -> StepId {
        if ephemeral {
            self.cleanup(address, kind)
        } else {
            self.step(address, kind)
        }
    }

    /// Notes what becomes of a resource.
    pub fn change(
        &mut self,
        address: &Address,
        name: &str,
        id: Option<String>,
        action: Action,
        reasons: Vec<Reason>,
        fields: Vec<FieldChange>,
    ) {
        self.changes.push(Change {
            address: address.clone(),
            name: name.to_owned(),
            id,
            action,
            reasons,
            fields,
        });
    }

    /// Whether everything the environment owns goes at the end.
    pub fn empties(&self) -> bool {
        matches!(self.goal, Goal::Test)
    }

    /// The tags of a single resource that goes, or loses them.
    pub(in crate::plan) fn drop_tags<'t>(&mut self, tags: impl IntoIterator<Item = &'t String>) {
        for tag in tags {
            if ownership::is_tag_of_one(tag) && !self.dropped.contains(tag) {
                self.dropped.insert(tag.clone());
            }
        }
    }

    /// The tags of what is there after the plan. Most bear the same.
    pub(in crate::plan) fn bear_tags<'t>(&mut self, tags: impl IntoIterator<Item = &'t String>) {
        for tag in tags {
            if !self.borne.contains(tag) {
                self.borne.insert(tag.clone());
            }
        }
    }
}

impl<'a> Attached<'a> {
    fn of(live: &'a Live, scope: &Scope, owner: &Owner, goal: Goal) -> Self {
        let whole_project = goal == Goal::DestroyProject;
        let ours: BTreeMap<&str, &LiveVolume> = live
            .volumes
            .iter()
            .filter(|volume| {
                compare::volume::is_ours(owner, volume)
                    || (whole_project && owner.in_project(&volume.tags))
                    || (scope.existing.contains(&volume.name) && volume.region == scope.region)
            })
            .map(|volume| (volume.id.as_str(), volume))
            .collect();
        let mut attached = Self::default();
        // Either side may lag behind: believe both.
        for volume in ours.values() {
            for &droplet in &volume.droplet_ids {
                attached.add(droplet, volume);
            }
        }
        for droplet in &live.droplets {
            for id in &droplet.volume_ids {
                if let Some(volume) = ours.get(id.as_str()) {
                    attached.add(droplet.id, volume);
                }
            }
        }
        for volumes in attached.volumes.values_mut() {
            volumes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        }
        attached
    }

    fn add(&mut self, droplet: u64, volume: &'a LiveVolume) {
        if self.droplets.entry(&volume.id).or_default().insert(droplet) {
            self.volumes.entry(droplet).or_default().push(volume);
        }
    }

    /// Our volumes that are attached to a droplet, sorted by name.
    pub fn to(&self, droplet: u64) -> Vec<&'a LiveVolume> {
        self.volumes.get(&droplet).cloned().unwrap_or_default()
    }
}

/// A droplet that exists.
pub(super) fn known(droplet: &LiveDroplet) -> DropletRef {
    DropletRef::Known {
        id: droplet.id,
        name: droplet.name.as_str().into(),
    }
}

/// One reason.
pub(super) fn because(cause: Cause, text: impl Into<String>) -> Vec<Reason> {
    vec![Reason {
        cause,
        text: text.into(),
    }]
}
