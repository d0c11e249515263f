//! Throw-away copies of volumes, and the snapshots they are made from.
//!
//! A copy is made of what those leave that have the volume itself, once all of them are done. It
//! lives as long as its droplet: one that stays keeps it, and one without its droplet is a leftover.

use super::Draft;
use super::droplet::{End, Mounted, PlannedDroplet};
use crate::desired::spec::{VolumeSpec, VolumeUse};
use crate::desired::{Mount, VolumeCopy};
use crate::live::{LiveDroplet, LiveVolume, ownership};
use crate::manifest::schema::Filesystem;
use crate::plan::step::{DeletedVolume, StepId, StepKind, TaggedResource, VolumeRef};
use crate::shared::{Shared, Texts};
use crate::units::Gib;

/// What is mounted: a volume, or a droplet's own copy of it.
pub(super) struct ToMount {
    pub reference: VolumeRef,
    /// Its name on DigitalOcean.
    pub name: Shared<str>,
    pub filesystem: Filesystem,
    pub usage: VolumeUse,
    /// The step that makes or grows it.
    pub made: Option<StepId>,
    /// Whether its file system grows.
    pub grows: bool,
    /// The step after which it is filled.
    pub filled: Option<StepId>,
    /// Steps that take it from whoever had it before.
    pub freed: Vec<StepId>,
    /// Whether the droplet has it already.
    pub is_attached: bool,
}

impl<'a> Draft<'a> {
    /// The copy that a droplet has.
    pub(in crate::plan) fn live_copy(
        &self,
        droplet: &LiveDroplet,
        copy: &VolumeCopy,
    ) -> Option<&'a LiveVolume> {
        let mut attached = self.attached.to(droplet.id).into_iter();
        attached.find(|volume| {
            volume.name == copy.name
                && volume.region == self.scope.region
                && self.owner.in_environment(&volume.tags)
        })
    }

    /// Whether a droplet has what it is to mount, and keeps it.
    pub(super) fn has_mount(&self, droplet: Option<&LiveDroplet>, mount: &Mount) -> bool {
        droplet.is_some_and(|droplet| match &mount.copy {
            None => self.is_attached_to(&mount.volume, droplet.id),
            Some(copy) => self.live_copy(droplet, copy).is_some(),
        })
    }

    /// The tags of a copy that is made: those of one volume's copies are the same.
    fn tags_of_copy(&mut self, copy: &'a VolumeCopy, expiry: &str) -> Texts {
        if let Some((last, tags)) = &self.tags_of_last_copy
            && last.is_same(&copy.tags)
        {
            return tags.clone();
        }
        let mut tags = (*copy.tags).clone();
        tags.push(expiry.to_owned());
        tags.sort();
        let tags = Shared::from(tags);
        self.tags_of_last_copy = Some((&copy.tags, tags.clone()));
        tags
    }

    /// A volume itself.
    pub(super) fn volume_to_mount(
        &self,
        planned: &PlannedDroplet<'a>,
        mount: &Mount,
    ) -> Option<ToMount> {
        let volume = self.volumes.get(mount.volume.as_str())?;
        let freed = volume
            .live
            .and_then(|live| self.freed.get(live.id.as_str()).copied());
        let handed = self.handed.get(mount.volume.as_str()).copied();
        Some(ToMount {
            reference: volume.reference.clone(),
            name: volume.volume.name.as_str().into(),
            filesystem: volume.volume.filesystem,
            usage: match volume.volume.size {
                Some(_) => VolumeUse::Own,
                None => VolumeUse::Existing,
            },
            made: volume.made,
            grows: volume.grows,
            filled: self.filled.get(mount.volume.as_str()).copied(),
            freed: freed.into_iter().chain(handed).collect(),
            is_attached: self.has_mount(planned.live, mount),
        })
    }

    /// A droplet's own copy of a volume, which is made unless the droplet has it.
    pub(super) fn clone_to_mount(
        &mut self,
        planned: &PlannedDroplet<'a>,
        created: Option<StepId>,
        mount: &'a Mount,
        copy: &'a VolumeCopy,
        expiry: &str,
    ) -> Option<ToMount> {
        let volume = self.volumes.get(mount.volume.as_str())?.clone();
        let live = planned.live.and_then(|live| self.live_copy(live, copy));
        let tags = match live {
            Some(live) => live.tags.clone().into(),
            None => self.tags_of_copy(copy, expiry),
        };
        if planned.end == End::Stays {
            self.bear_tags(tags.iter());
        } else {
            self.drop_tags(tags.iter());
        }
        let (reference, made) = match live {
            Some(live) => {
                let id = live.id.clone();
                (VolumeRef::Known { id }, None)
            }
            None => {
                let snapshot = self.draw_volume_snapshot(&mount.volume)?;
                let size = volume.live.map_or(1, |live| live.size_gib);
                let size = volume.volume.size.map_or(size, |wanted| wanted.0.max(size));
                let step = self.step(
                    &planned.droplet.address,
                    StepKind::CloneVolume {
                        snapshot,
                        of: mount.volume.clone(),
                        spec: VolumeSpec {
                            name: copy.name.clone(),
                            region: self.region.clone(),
                            size: Gib(size),
                            tags,
                        },
                    },
                );
                self.graph
                    .needs(snapshot, step, "a clone is made from a snapshot");
                if let Some(tags) = self.tags {
                    self.graph
                        .needs(tags, step, "a volume bears its tags from the start");
                }
                if let Some(created) = created {
                    self.graph
                        .needs(created, step, "a clone is made for a droplet that is there");
                }
                if let Some(&gone) = self.clones_gone.get(copy.name.as_str()) {
                    self.graph.needs(
                        gone,
                        step,
                        "the leftover clone that has its name must be gone first",
                    );
                }
                self.let_go.entry(&mount.volume).or_default().push(step);
                (VolumeRef::Created { step }, Some(step))
            }
        };
        Some(ToMount {
            reference,
            name: copy.name.clone(),
            filesystem: volume.volume.filesystem,
            usage: VolumeUse::Clone,
            made,
            grows: false,
            filled: None,
            freed: Vec::new(),
            is_attached: live.is_some(),
        })
    }

    /// Sees to a snapshot of what a volume holds, once for all that get a copy.
    fn draw_volume_snapshot(&mut self, volume: &'a str) -> Option<StepId> {
        if let Some(&step) = self.taken.get(volume) {
            return Some(step);
        }
        let planned = self.volumes.get(volume)?.clone();
        let left = self.left.get(volume).cloned().unwrap_or_default();
        let freed = planned
            .live
            .and_then(|live| self.freed.get(live.id.as_str()).copied());
        let found = planned
            .live
            .filter(|_| left.is_empty() && freed.is_none())
            .and_then(|live| live.current_snapshot(&self.live.volume_snapshots));
        let step = self.step(
            &planned.volume.address,
            StepKind::SnapshotVolume {
                volume: planned.reference.clone(),
                volume_name: planned.volume.name.as_str().into(),
                tags: ownership::owner_tags(&planned.volume.tags)
                    .cloned()
                    .collect::<Vec<String>>()
                    .into(),
                found: found.map(|snapshot| snapshot.name.as_str().into()),
            },
        );
        if let Some(made) = planned.made {
            self.graph
                .needs(made, step, "there must be a volume to take a snapshot of");
        }
        for before in left {
            self.graph.needs(
                before,
                step,
                "a clone is one of what those leave that have the volume itself",
            );
        }
        if let Some(freed) = freed {
            self.graph.needs(
                freed,
                step,
                "a snapshot is taken of a volume that nothing has",
            );
        }
        self.let_go.entry(volume).or_default().push(step);
        self.taken.insert(volume, step);
        Some(step)
    }

    /// Deletes a droplet's own copy of a volume, once the droplet is gone.
    pub(super) fn draw_clone_end(
        &mut self,
        planned: &PlannedDroplet<'a>,
        mounted: &Mounted<'a>,
        destroy: StepId,
        certain: bool,
    ) {
        let mounts = planned.droplet.mounts.iter();
        let mut copies = mounts.filter(|mount| mount.volume.as_str() == mounted.name);
        let Some(copy) = copies.find_map(|mount| mount.copy.as_ref()) else {
            return;
        };
        let step = self.removing(
            &planned.droplet.address,
            StepKind::DeleteVolume {
                volume: mounted.volume.clone(),
                name: copy.name.clone(),
                sort: DeletedVolume::Clone,
            },
            certain,
        );
        let reason = "a clone goes once its droplet is gone";
        self.graph.needs(destroy, step, reason);
        for before in mounted.made.into_iter().chain(mounted.attach) {
            self.graph.after(before, step, reason);
        }
    }

    /// Copies of volumes expire with the droplet that has them.
    pub(super) fn draw_leases(&mut self, planned: &PlannedDroplet<'a>) {
        let Some(live) = planned.live else { return };
        let is_expiry = |tag: &&String| ownership::is_expires_tag(tag);
        let new: Vec<String> = planned.add.iter().filter(is_expiry).cloned().collect();
        if new.is_empty() {
            return;
        }
        let copies = planned.droplet.mounts.iter();
        for copy in copies.filter_map(|mount| mount.copy.as_ref()) {
            let Some(volume) = self.live_copy(live, copy) else {
                continue;
            };
            let old = volume.tags.iter().filter(is_expiry);
            let remove: Vec<String> = old.filter(|tag| !new.contains(tag)).cloned().collect();
            self.drop_tags(&remove);
            let step = self.step(
                &planned.droplet.address,
                StepKind::UpdateTags {
                    resource: TaggedResource::Volume,
                    id: volume.id.clone(),
                    add: new.clone(),
                    remove,
                },
            );
            if let Some(tags) = self.tags {
                self.graph
                    .needs(tags, step, "only a tag that exists can be given");
            }
        }
    }
}
