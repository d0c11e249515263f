//! Droplets: created in groups, and each with what happens on it until it stays or goes.

use std::collections::BTreeMap;

use super::{Draft, known};
use crate::desired::{Desired, Droplet, Image};
use crate::live::LiveDroplet;
use crate::plan::step::{
    DropletRef, DropletSpec, NewDroplet, StepId, StepKind, TaggedResource, VolumeRef, VolumeUse,
};

/// The API makes at most this many droplets in one call.
const PER_CREATE: usize = 10;

/// What becomes of a droplet when its runs are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum End {
    /// It stays.
    Stays,
    /// It is destroyed, whatever happened.
    Destroyed,
    /// It is destroyed if every run succeeded.
    DestroyedOnSuccess,
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
    /// What was mounted.
    pub mounts: Vec<Mounted<'a>>,
    /// The latest event.
    pub event: Option<StepId>,
}

/// A volume that is mounted on a droplet.
pub(super) struct Mounted<'a> {
    /// The volume's name in the manifest.
    pub name: &'a str,
    pub volume: VolumeRef,
    pub path: String,
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
        // What takes turns is drawn in turn: a step is drawn after what it waits for.
        let mut order: Vec<usize> = (0..droplets.len()).collect();
        order.sort_by_key(|&at| self.turns.place(&droplets[at].droplet.address));
        for at in order {
            self.draw_life(&droplets[at], created[at]);
            self.note_activity(desired, &droplets[at]);
        }
    }

    fn draw_creates(
        &mut self,
        desired: &'a Desired,
        droplets: &[PlannedDroplet<'a>],
        expiry: &str,
    ) -> Vec<Option<StepId>> {
        // Those that wait for the end of an older one are made apart, lest all wait with them.
        type Shape<'s> = (&'s str, &'s Image, &'s [String], bool);
        let mut shapes: BTreeMap<Shape<'_>, Vec<usize>> = BTreeMap::new();
        for (position, planned) in droplets.iter().enumerate() {
            if planned.live.is_none() {
                let Droplet {
                    size, image, tags, ..
                } = planned.droplet;
                shapes
                    .entry((size, image, tags, !planned.first.is_empty()))
                    .or_default()
                    .push(position);
            }
        }
        let mut groups: Vec<&[usize]> = shapes
            .values()
            .flat_map(|positions| positions.chunks(PER_CREATE))
            .collect();
        // In the order of the manifest's addresses, whatever their shapes.
        groups.sort_by_key(|group| group[0]);
        let mut created = vec![None; droplets.len()];
        for group in groups {
            let first = &droplets[group[0]].droplet;
            let (image, needs) = self.image(&first.image);
            let mut tags = first.tags.clone();
            tags.push(expiry.to_owned());
            tags.sort();
            let step = self.step(
                &first.address,
                StepKind::CreateDroplets {
                    spec: DropletSpec {
                        region: self.scope.region.clone(),
                        size: first.size.clone(),
                        image,
                        tags: tags.clone(),
                        ssh_key_fingerprint: desired.ssh_key.fingerprint.clone(),
                        user: self.scope.user.clone(),
                        host_key: self.scope.host_key,
                    },
                    droplets: group
                        .iter()
                        .map(|&position| NewDroplet {
                            address: droplets[position].droplet.address.clone(),
                            name: droplets[position].droplet.name.clone(),
                        })
                        .collect(),
                },
            );
            for &(before, reason) in &self.foundations {
                self.graph.needs(before, step, reason);
            }
            if let Some(counts) = needs {
                self.graph.needs(
                    counts,
                    step,
                    "it is made from a snapshot that must count first",
                );
            }
            for &position in group {
                for &before in &droplets[position].first {
                    self.graph
                        .needs(before, step, "the one that has its name must be gone first");
                }
                created[position] = Some(step);
                if droplets[position].end == End::Stays {
                    self.borne.extend(tags.iter().cloned());
                } else {
                    self.drop_tags(&tags);
                }
            }
        }
        created
    }

    fn draw_life(&mut self, planned: &PlannedDroplet<'a>, created: Option<StepId>) {
        let droplet = planned.droplet;
        let reference = match (planned.live, created) {
            (Some(live), _) => known(live),
            (None, Some(step)) => DropletRef::Created {
                step,
                name: droplet.name.clone(),
            },
            (None, None) => return,
        };
        let releases = planned
            .live
            .and_then(|live| self.releases.get(&live.id).cloned())
            .unwrap_or_default();
        let mut life = Life {
            reference,
            all: created.into_iter().chain(releases).collect(),
            required: created.into_iter().collect(),
            ended: Vec::new(),
            mounts: Vec::new(),
            event: created.or_else(|| {
                planned
                    .live
                    .and_then(|live| self.events.get(&live.id).copied())
            }),
        };
        self.draw_retagging(planned);
        self.draw_mounts(planned, created, &mut life);
        self.draw_runs(planned, &mut life);
        if planned.end != End::Destroyed {
            self.draw_hand_over(planned, &mut life);
        }
        match planned.end {
            End::Stays => {
                if let Some(live) = planned.live {
                    let kept = live.tags.iter().filter(|tag| !planned.remove.contains(tag));
                    self.borne.extend(kept.cloned());
                    self.borne.extend(planned.add.iter().cloned());
                }
            }
            End::Destroyed | End::DestroyedOnSuccess => self.draw_end(planned, life),
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

    /// Login, attach, mount.
    fn draw_mounts(
        &mut self,
        planned: &PlannedDroplet<'a>,
        created: Option<StepId>,
        life: &mut Life<'a>,
    ) {
        let droplet = planned.droplet;
        let address = &droplet.address;
        // What goes is unmounted first, which takes a login and the mounts it is to undo.
        let goes = planned.live.is_some() && planned.end != End::Stays;
        let works = droplet.source.is_some()
            || !droplet.runs.is_empty()
            || (goes && !droplet.mounts.is_empty())
            || droplet
                .mounts
                .iter()
                .any(|mount| self.turns.is_shared(&mount.volume));
        let is_attached = |draft: &Self, volume: &str| {
            let live = planned.live;
            live.is_some_and(|live| draft.is_attached_to(volume, live.id))
        };
        // What is attached already is only mounted again when something is to be done there, in
        // case the droplet was started anew, or when it grew.
        let due: Vec<&str> = droplet
            .mounts
            .iter()
            .filter(|mount| {
                works
                    || !is_attached(self, &mount.volume)
                    || self
                        .volumes
                        .get(mount.volume.as_str())
                        .is_some_and(|volume| volume.grows)
            })
            .map(|mount| mount.volume.as_str())
            .collect();
        if !works && due.is_empty() {
            return;
        }
        let connect = match planned.live {
            Some(live) => self.connect_known(live, address),
            None => self.step(
                address,
                StepKind::Connect {
                    droplet: life.reference.clone(),
                    user: self.scope.user.clone(),
                    host_key: self.scope.host_key,
                },
            ),
        };
        if let Some(created) = created {
            self.graph
                .needs(created, connect, "there must be a droplet to log in to");
        }
        life.all.push(connect);
        life.required = vec![connect];
        for mount in &droplet.mounts {
            if !due.contains(&mount.volume.as_str()) {
                continue;
            }
            let Some(volume) = self.volumes.get(mount.volume.as_str()).cloned() else {
                continue;
            };
            let freed = volume
                .live
                .and_then(|live| self.freed.get(live.id.as_str()).copied());
            let handed = self.handed.get(mount.volume.as_str()).copied();
            let freed: Vec<StepId> = freed.into_iter().chain(handed).collect();
            let attach = (!is_attached(self, &mount.volume)).then(|| {
                let attach = self.step(
                    address,
                    StepKind::Attach {
                        volume: volume.reference.clone(),
                        droplet: life.reference.clone(),
                        region: self.scope.region.clone(),
                    },
                );
                self.graph.needs(
                    connect,
                    attach,
                    "a volume is attached once the first boot is over",
                );
                if let Some(made) = volume.made {
                    self.graph.needs(
                        made,
                        attach,
                        "there must be a volume of that size to attach",
                    );
                }
                for &freed in &freed {
                    self.graph.needs(
                        freed,
                        attach,
                        "a volume is attached to one droplet at a time",
                    );
                }
                if let Some(event) = life.event {
                    self.graph
                        .after(event, attach, "one event per droplet at a time");
                }
                life.event = Some(attach);
                life.all.push(attach);
                attach
            });
            let step = self.step(
                address,
                StepKind::Mount {
                    droplet: life.reference.clone(),
                    volume_name: volume.volume.name.clone(),
                    filesystem: volume.volume.filesystem,
                    path: mount.path.clone(),
                    usage: match volume.volume.size {
                        Some(_) => VolumeUse::Own,
                        None => VolumeUse::Existing,
                    },
                },
            );
            self.graph.needs(connect, step, "mounting needs a login");
            if let Some(attach) = attach {
                self.graph
                    .needs(attach, step, "a volume is attached before it is mounted");
            }
            if let (true, Some(grown)) = (volume.grows, volume.made) {
                self.graph.needs(
                    grown,
                    step,
                    "the file system grows into what the volume grew by",
                );
            }
            life.all.push(step);
            life.required.push(step);
            life.mounts.push(Mounted {
                name: &mount.volume,
                volume: volume.reference,
                path: mount.path.clone(),
                made: volume.made,
                freed,
                attach,
                mount: step,
                hands_on: self.hands_on(&mount.volume, droplet),
            });
        }
        if let (Some(live), Some(event)) = (planned.live, life.event) {
            self.events.insert(live.id, event);
        }
    }

    /// Source, runs, artifacts.
    fn draw_runs(&mut self, planned: &PlannedDroplet<'a>, life: &mut Life<'a>) {
        let droplet = planned.droplet;
        let address = &droplet.address;
        if let Some(source) = &droplet.source {
            let sync = self.step(
                address,
                StepKind::Sync {
                    droplet: life.reference.clone(),
                    source: source.clone(),
                },
            );
            for &before in &life.required {
                self.graph.needs(
                    before,
                    sync,
                    "the source may lie on a volume, and needs a login",
                );
            }
            life.all.push(sync);
            life.required = vec![sync];
        }
        for run in &droplet.runs {
            let step = self.step(
                address,
                StepKind::Run {
                    droplet: life.reference.clone(),
                    run: run.spec.clone(),
                },
            );
            for &before in &life.required {
                self.graph.needs(
                    before,
                    step,
                    "a run needs what comes before it on its droplet",
                );
            }
            for &before in &life.ended {
                self.graph.after(
                    before,
                    step,
                    "runs of a droplet come one after the other, artifacts in between",
                );
            }
            life.all.push(step);
            let mut ended = Vec::new();
            if !run.artifacts.is_empty() {
                let collect = self.step(
                    address,
                    StepKind::Collect {
                        droplet: life.reference.clone(),
                        run: run.spec.name.clone(),
                        cwd: run.spec.cwd.clone(),
                        patterns: run.artifacts.clone(),
                    },
                );
                for &before in &life.required {
                    self.graph.needs(
                        before,
                        collect,
                        "there are artifacts only if the run could begin",
                    );
                }
                self.graph.after(
                    step,
                    collect,
                    "artifacts are brought back also when the run failed",
                );
                life.all.push(collect);
                ended.push(collect);
            }
            if run.spec.allow_failure {
                ended.push(step);
            } else {
                life.required = vec![step];
            }
            life.ended = ended;
        }
    }
}
