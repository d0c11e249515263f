//! Droplets: created in groups, and each with what happens on it until it stays or goes.

use std::collections::BTreeMap;

use super::snapshot::image_name;
use super::{Draft, known};
use crate::desired::spec::SourceSpec;
use crate::desired::{Desired, Droplet, Image};
use crate::live::LiveDroplet;
use crate::plan::change::{Activity, ActivityRun, FieldChange};
use crate::plan::compare::made;
use crate::plan::step::{
    DropletRef, DropletSpec, NewDroplet, StepId, StepKind, TaggedResource, VolumeRef,
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
struct Life {
    reference: DropletRef,
    /// Everything on it, in order.
    all: Vec<StepId>,
    /// What must have succeeded for the next run.
    required: Vec<StepId>,
    /// What must only have ended before the next run.
    ended: Vec<StepId>,
    /// What was mounted.
    mounts: Vec<Mounted>,
    /// The latest event.
    event: Option<StepId>,
}

/// A volume that is mounted on a droplet.
struct Mounted {
    volume: VolumeRef,
    path: String,
    /// The step that attaches it, if it is not attached already.
    attach: Option<StepId>,
    /// The step that mounts it.
    mount: StepId,
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
        for (planned, created) in droplets.iter().zip(created) {
            self.draw_life(planned, created);
            self.note_activity(desired, planned);
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
        life: &mut Life,
    ) {
        let droplet = planned.droplet;
        let address = &droplet.address;
        // What goes is unmounted first, which takes a login and the mounts it is to undo.
        let goes = planned.live.is_some() && planned.end != End::Stays;
        let works = droplet.source.is_some()
            || !droplet.runs.is_empty()
            || (goes && !droplet.mounts.is_empty());
        let is_attached = |draft: &Self, volume: &str| {
            let live = planned.live?;
            let id = draft.volumes.get(volume)?.live?.id.as_str();
            let droplets = draft.attached.droplets.get(id)?;
            droplets.contains(&live.id).then_some(())
        };
        // What is attached already is only mounted again when something is to be done there, in
        // case the droplet was started anew, or when it grew.
        let due: Vec<&str> = droplet
            .mounts
            .iter()
            .filter(|mount| {
                works
                    || is_attached(self, &mount.volume).is_none()
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
            let attach = is_attached(self, &mount.volume).is_none().then(|| {
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
                let freed = volume
                    .live
                    .and_then(|live| self.freed.get(live.id.as_str()).copied());
                if let Some(freed) = freed {
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
                volume: volume.reference,
                path: mount.path.clone(),
                attach,
                mount: step,
            });
        }
        if let (Some(live), Some(event)) = (planned.live, life.event) {
            self.events.insert(live.id, event);
        }
    }

    /// Source, runs, artifacts.
    fn draw_runs(&mut self, planned: &PlannedDroplet<'a>, life: &mut Life) {
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

    /// Unmount, detach, destroy.
    fn draw_end(&mut self, planned: &PlannedDroplet<'a>, life: Life) {
        let droplet = planned.droplet;
        let address = &droplet.address;
        let gate: &[StepId] = match planned.end {
            End::DestroyedOnSuccess => &life.required,
            End::Stays | End::Destroyed => &[],
        };
        let gate_reason = "it is only destroyed if every run succeeded";
        let mut before = life.all.clone();
        let mut event = life.event;
        let mut detaches = Vec::new();
        for mounted in &life.mounts {
            let unmount = self.cleanup(
                address,
                StepKind::Unmount {
                    droplet: life.reference.clone(),
                    path: mounted.path.clone(),
                },
            );
            self.graph
                .needs(mounted.mount, unmount, "only what was mounted is unmounted");
            for &step in &before {
                self.graph
                    .after(step, unmount, "a volume is unmounted once nothing uses it");
            }
            let detach = self.cleanup(
                address,
                StepKind::Detach {
                    volume: mounted.volume.clone(),
                    droplet: life.reference.clone(),
                    region: self.scope.region.clone(),
                },
            );
            if let Some(attach) = mounted.attach {
                self.graph
                    .needs(attach, detach, "only what was attached is detached");
            }
            for &step in &before {
                self.graph
                    .after(step, detach, "a volume is detached once nothing uses it");
            }
            self.graph.after(
                unmount,
                detach,
                "a volume is unmounted before it is detached",
            );
            if let Some(event) = event {
                self.graph
                    .after(event, detach, "one event per droplet at a time");
            }
            for &step in gate {
                self.graph.needs(step, unmount, gate_reason);
                self.graph.needs(step, detach, gate_reason);
            }
            event = Some(detach);
            before.extend([unmount, detach]);
            detaches.push(detach);
        }
        let destroy = self.cleanup(
            address,
            StepKind::DestroyDroplet {
                droplet: life.reference,
                tag: self.environment_tag(),
            },
        );
        for step in before {
            self.graph.after(
                step,
                destroy,
                "it is destroyed once nothing happens on it any more",
            );
        }
        if let Some(event) = event {
            self.graph
                .after(event, destroy, "one event per droplet at a time");
        }
        for &step in gate {
            self.graph.needs(step, destroy, gate_reason);
        }
        for mount in &droplet.mounts {
            let let_go = self.let_go.entry(&mount.volume).or_default();
            let_go.extend(detaches.iter().copied().chain([destroy]));
        }
        if let Some(live) = planned.live {
            self.drop_tags(&live.tags);
        }
        self.destroys.push(destroy);
    }

    fn note_activity(&mut self, desired: &'a Desired, planned: &PlannedDroplet<'a>) {
        let droplet = planned.droplet;
        let single_use = planned.is_single_use();
        let nothing_runs = droplet.source.is_none() && droplet.runs.is_empty();
        if nothing_runs && planned.end == End::Stays {
            return;
        }
        let after_run = match planned.end {
            End::Stays => "stays",
            End::Destroyed => "is destroyed whatever happens",
            End::DestroyedOnSuccess => "is destroyed if every run succeeded",
        };
        let fields = if single_use {
            described(desired, droplet)
        } else {
            Vec::new()
        };
        self.activities.push(Activity {
            address: droplet.address.clone(),
            name: droplet.name.clone(),
            single_use,
            source: droplet.source.as_ref().map(source_text),
            runs: droplet
                .runs
                .iter()
                .map(|run| ActivityRun {
                    name: run.spec.name.clone(),
                    command: run.spec.command.clone(),
                    timeout: run.spec.timeout,
                    once: run.spec.once.is_some(),
                })
                .collect(),
            after_run: after_run.to_owned(),
            fields,
        });
    }
}

/// What a droplet that is made will be.
pub(in crate::plan) fn described(desired: &Desired, droplet: &Droplet) -> Vec<FieldChange> {
    let mut fields = vec![
        made("size", &droplet.size),
        made("image", image_name(desired, &droplet.image)),
    ];
    for mount in &droplet.mounts {
        fields.push(made(
            "volume",
            format!("{} at {}", mount.volume, mount.path),
        ));
    }
    let own: Vec<&str> = droplet
        .tags
        .iter()
        .map(String::as_str)
        .filter(|tag| !tag.starts_with("dewpoint"))
        .collect();
    if !own.is_empty() {
        fields.push(made("tags", own.join(", ")));
    }
    fields
}

fn source_text(source: &SourceSpec) -> String {
    match source {
        SourceSpec::Git {
            url,
            reference,
            commit,
            ..
        } => {
            let short: String = commit.chars().take(8).collect();
            format!("{url} @ {reference} ({short})")
        }
        SourceSpec::Path { path, into } => format!("{path} -> {into}"),
    }
}
