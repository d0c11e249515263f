//! Droplets: created in groups, and each with what happens on it until it stays or goes.

use std::collections::{BTreeMap, BTreeSet};

use super::turns::IN_ORDER;
use super::waits::{Waits, manifest_name};
use super::{Draft, known};
use crate::desired::{Desired, Droplet, Image};
use crate::live::LiveDroplet;
use crate::plan::step::{
    CollectLog, DropletRef, DropletSpec, InventoryDroplet, NewDroplet, StepId, StepKind,
    TaggedResource, VolumeRef,
};
use crate::units::Seconds;

/// The API makes at most this many droplets in one call.
const PER_CREATE: usize = 10;

/// Why a run waits for steps of another droplet.
const NEEDED: &str = "`needs`: runs of the other droplet must be done, its background steps ready";

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
    run: usize,
    /// The step that starts it.
    step: StepId,
    /// What that needs on its own droplet.
    required: Vec<StepId>,
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
    /// Whether it is the droplet's own copy, which goes with it.
    pub is_copy: bool,
}

/// How steps speak of a droplet.
fn reference(planned: &PlannedDroplet<'_>, created: Option<StepId>) -> Option<DropletRef> {
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
            done.entry(name).or_default().push(Done {
                required: life.required.clone(),
                ended: life.ended.clone(),
            });
            work.entry(name).or_default().extend(&life.work);
            if !life.backgrounds.is_empty() && waits.has_dependants(name) {
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

    /// One step that knows every droplet of the environment, for all on which something runs.
    fn draw_gathering(
        &mut self,
        droplets: &[PlannedDroplet<'a>],
        created: &[Option<StepId>],
    ) -> Option<StepId> {
        if !droplets.iter().any(PlannedDroplet::works) {
            return None;
        }
        let first = droplets.first()?;
        let prefix = format!("{}-", self.scope.environment_name());
        let host = |droplet: &Droplet| {
            let name = &droplet.name;
            name.strip_prefix(&prefix).unwrap_or(name).to_owned()
        };
        let entries = droplets.iter().zip(created);
        let entries = entries.filter_map(|(planned, created)| {
            Some(InventoryDroplet {
                address: planned.droplet.address.clone(),
                host: host(planned.droplet),
                droplet: reference(planned, *created)?,
            })
        });
        let there = self
            .bystanders
            .iter()
            .map(|(droplet, live)| InventoryDroplet {
                address: droplet.address.clone(),
                host: host(droplet),
                droplet: known(live),
            });
        let mut entries: Vec<InventoryDroplet> = entries.chain(there).collect();
        entries.sort_by(|a, b| a.address.cmp(&b.address));
        let step = self.step(
            &first.droplet.address,
            StepKind::Gather { droplets: entries },
        );
        let creates: BTreeSet<StepId> = created.iter().flatten().copied().collect();
        for create in creates {
            self.graph.after(
                create,
                step,
                "the inventory has the addresses of all droplets that could be made",
            );
        }
        Some(step)
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
                    self.borne.extend(kept.cloned());
                    self.borne.extend(planned.add.iter().cloned());
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

    /// Login, attach, mount.
    fn draw_mounts(
        &mut self,
        planned: &PlannedDroplet<'a>,
        created: Option<StepId>,
        expiry: &str,
        life: &mut Life<'a>,
    ) {
        let droplet = planned.droplet;
        let address = &droplet.address;
        let mut attachings = self.attachings_of_needed(droplet);
        // What goes is unmounted first, which takes a login and the mounts it is to undo.
        let goes = planned.live.is_some() && planned.end != End::Stays;
        let works = planned.works()
            || (goes && !droplet.mounts.is_empty())
            || droplet
                .mounts
                .iter()
                .any(|mount| mount.copy.is_none() && self.turns.is_shared(&mount.volume));
        // What is attached already is only mounted again when something is to be done there, in
        // case the droplet was started anew, or when it grew.
        let due: Vec<&str> = droplet
            .mounts
            .iter()
            .filter(|mount| {
                works
                    || !self.has_mount(planned.live, mount)
                    || (mount.copy.is_none()
                        && self
                            .volumes
                            .get(mount.volume.as_str())
                            .is_some_and(|volume| volume.grows))
            })
            .map(|mount| mount.volume.as_str())
            .collect();
        if !works && due.is_empty() {
            self.note_attachings(droplet, attachings);
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
        life.connect = Some(connect);
        life.required = vec![connect];
        for mount in self.in_order_of_names(droplet) {
            if !due.contains(&mount.volume.as_str()) {
                continue;
            }
            let to_mount = match &mount.copy {
                None => self.volume_to_mount(planned, mount),
                Some(copy) => self.clone_to_mount(planned, created, mount, copy, expiry),
            };
            let Some(volume) = to_mount else { continue };
            let attach = (!volume.is_attached).then(|| {
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
                if let Some(filled) = volume.filled {
                    self.graph
                        .needs(filled, attach, "a volume is filled before it is used");
                }
                for &freed in &volume.freed {
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
                if mount.copy.is_none() && self.is_shared(mount) {
                    for before in std::mem::take(&mut attachings) {
                        self.graph.after(before, attach, IN_ORDER);
                    }
                    attachings.insert(attach);
                }
                life.event = Some(attach);
                life.all.push(attach);
                attach
            });
            let step = self.step(
                address,
                StepKind::Mount {
                    droplet: life.reference.clone(),
                    volume_name: volume.name,
                    filesystem: volume.filesystem,
                    path: mount.path.clone(),
                    usage: volume.usage,
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
                freed: volume.freed,
                attach,
                mount: step,
                hands_on: mount.copy.is_none() && self.hands_on(&mount.volume, droplet),
                is_copy: mount.copy.is_some(),
            });
        }
        self.note_attachings(droplet, attachings);
        if let (Some(live), Some(event)) = (planned.live, life.event) {
            self.events.insert(live.id, event);
        }
    }

    /// Login, source, runs and artifacts of a droplet that is up: nothing else of it.
    pub fn draw_run_alone(
        &mut self,
        desired: &Desired,
        planned: &PlannedDroplet<'a>,
        live: &LiveDroplet,
    ) {
        let nothing_runs = planned.droplet.source.is_none() && planned.droplet.runs.is_empty();
        if nothing_runs {
            return;
        }
        let connect = self.connect_known(live, &planned.droplet.address);
        let mut life = Life {
            reference: known(live),
            all: vec![connect],
            required: vec![connect],
            ended: Vec::new(),
            needed: Vec::new(),
            needed_ended: Vec::new(),
            connect: Some(connect),
            prepared: None,
            releases: Vec::new(),
            work: Vec::new(),
            backgrounds: Vec::new(),
            mounts: Vec::new(),
            event: None,
        };
        self.draw_runs(planned, &mut life);
        self.draw_logs(planned, &mut life, &[]);
        self.note_activity(desired, planned);
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
        life.required.extend(life.prepared);
        for (position, run) in droplet.runs.iter().enumerate() {
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
            for &before in &life.needed {
                self.graph.needs(before, step, NEEDED);
            }
            for &before in &life.needed_ended {
                self.graph.after(before, step, NEEDED);
            }
            life.all.push(step);
            life.work.push(step);
            let mut ended = Vec::new();
            if run.spec.background.is_some() {
                for &release in &life.releases {
                    self.graph.after(
                        release,
                        step,
                        "what runs is stopped while a volume leaves the droplet",
                    );
                }
                life.backgrounds.push(Background {
                    run: position,
                    step,
                    required: life.required.clone(),
                });
            } else if !run.artifacts.is_empty() {
                let collect = self.step(
                    address,
                    StepKind::Collect {
                        droplet: life.reference.clone(),
                        run: run.spec.name.clone(),
                        cwd: run.spec.cwd.clone(),
                        patterns: run.artifacts.clone(),
                        background: None,
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
                life.work.push(collect);
                ended.push(collect);
            }
            if run.spec.allow_failure {
                ended.push(step);
            } else {
                life.required = vec![step];
                // They come before all that comes after this one.
                life.needed.clear();
                life.needed_ended.clear();
            }
            life.ended = ended;
        }
    }

    /// The inventory, before the runs.
    fn draw_preparation(
        &mut self,
        planned: &PlannedDroplet<'a>,
        inventory: Option<StepId>,
        life: &mut Life<'a>,
    ) {
        let (Some(inventory), Some(connect), false) =
            (inventory, life.connect, planned.droplet.runs.is_empty())
        else {
            return;
        };
        let runs = planned.droplet.runs.iter();
        let background = runs.filter(|run| run.spec.background.is_some());
        let background = background.map(|run| run.spec.name.clone()).collect();
        let step = self.step(
            &planned.droplet.address,
            StepKind::Prepare {
                droplet: life.reference.clone(),
                inventory,
                background,
            },
        );
        self.graph
            .needs(inventory, step, "the inventory is written once it is known");
        self.graph
            .needs(connect, step, "writing the inventory needs a login");
        life.all.push(step);
        life.prepared = Some(step);
    }

    /// Logs and artifacts of what runs in the background: they are whole when all else is done.
    fn draw_logs(&mut self, planned: &PlannedDroplet<'a>, life: &mut Life<'a>, users: &[StepId]) {
        let reason = "a log is brought back once nothing needs what writes it any more";
        let before: Vec<StepId> = life.work.iter().chain(users).copied().collect();
        for background in &life.backgrounds {
            let run = &planned.droplet.runs[background.run];
            let collect = self.step(
                &planned.droplet.address,
                StepKind::Collect {
                    droplet: life.reference.clone(),
                    run: run.spec.name.clone(),
                    cwd: run.spec.cwd.clone(),
                    patterns: run.artifacts.clone(),
                    background: Some(CollectLog {
                        allow_failure: run.spec.allow_failure,
                    }),
                },
            );
            for &step in &background.required {
                self.graph
                    .needs(step, collect, "there is a log only if the run could begin");
            }
            self.graph.after(background.step, collect, reason);
            for &step in &before {
                self.graph.after(step, collect, reason);
            }
            life.all.push(collect);
        }
    }
}
