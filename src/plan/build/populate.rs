//! Volumes that are filled: on a droplet of their own, before anything else has them.
//!
//! The steps work on the volume in place. That it is filled is noted only when all of them have
//! succeeded and the volume was unmounted; that it is being filled anew is noted before.

use super::{Draft, PlannedVolume};
use crate::address::Address;
use crate::desired::spec::VolumeUse;
use crate::desired::{Desired, POPULATE_AT};
use crate::live::{LiveDroplet, ownership};
use crate::plan::compare::volume;
use crate::plan::step::{
    DropletRef, DropletSpec, NewDroplet, StepId, StepKind, TaggedResource, VolumeRef,
};

impl<'a> Draft<'a> {
    /// Whether a volume is filled by this plan.
    pub fn is_filled(&self, volume: &str) -> bool {
        let planned = self.volumes.get(volume);
        planned.is_some_and(|planned| planned.populate.is_some())
    }

    /// Fills what is to be filled; `leftovers` are steps that destroy droplets of earlier runs,
    /// `expiry` is the expiry tag of a droplet.
    pub fn draw_populates(
        &mut self,
        desired: &'a Desired,
        leftovers: &[(&'a LiveDroplet, StepId)],
        expiry: &str,
    ) {
        let names: Vec<&'a str> = self.volumes.keys().copied().collect();
        for name in names {
            let planned = self.volumes[name].clone();
            if planned.populate.is_some() {
                self.draw_populate(desired, name, &planned, leftovers, expiry);
            }
        }
    }

    fn draw_populate(
        &mut self,
        desired: &'a Desired,
        name: &'a str,
        planned: &PlannedVolume<'a>,
        leftovers: &[(&'a LiveDroplet, StepId)],
        expiry: &str,
    ) {
        let Some(populate) = planned.populate else {
            return;
        };
        let address = &planned.volume.address;
        let (image, counts) = self.image(&populate.image);
        let mut tags = populate.droplet_tags.clone();
        tags.push(expiry.to_owned());
        tags.sort();
        self.drop_tags(&tags);
        let create = self.step(
            address,
            StepKind::CreateDroplets {
                spec: Box::new(DropletSpec {
                    region: self.scope.region.clone(),
                    size: populate.size.clone(),
                    image,
                    tags,
                    ssh_key_fingerprint: desired.ssh_key.fingerprint.clone(),
                    user: self.scope.user.clone(),
                    host_key: self.scope.host_key,
                }),
                droplets: vec![NewDroplet {
                    address: address.clone(),
                    name: populate.droplet.as_str().into(),
                }],
            },
        );
        for &(step, reason) in &self.foundations {
            self.graph.needs(step, create, reason);
        }
        if let Some(counts) = counts {
            self.graph.needs(
                counts,
                create,
                "it is made from a snapshot that must count first",
            );
        }
        for (_, destroy) in leftovers
            .iter()
            .filter(|(droplet, _)| droplet.name == populate.droplet)
        {
            self.graph.needs(
                *destroy,
                create,
                "the one that has its name must be gone first",
            );
        }
        let droplet = DropletRef::Created {
            step: create,
            name: populate.droplet.as_str().into(),
        };
        let connect = self.step(
            address,
            StepKind::Connect {
                droplet: droplet.clone(),
                user: self.user.clone(),
                host_key: self.scope.host_key,
            },
        );
        self.graph
            .needs(create, connect, "there must be a droplet to log in to");
        let attach = self.draw_populate_attach(planned, &droplet, connect);
        let mount = self.step(
            address,
            StepKind::Mount {
                droplet: droplet.clone(),
                volume_name: planned.volume.name.as_str().into(),
                filesystem: planned.volume.filesystem,
                path: POPULATE_AT.into(),
                usage: VolumeUse::Own,
            },
        );
        self.graph
            .needs(attach, mount, "a volume is attached before it is mounted");
        let mut chain = vec![create, connect, attach, mount];
        let mut last = mount;
        let of = u32::try_from(populate.steps.len()).unwrap_or(u32::MAX);
        for (number, step) in (1..).zip(&populate.steps) {
            let provision = self.step(
                address,
                StepKind::Provision {
                    droplet: droplet.clone(),
                    number,
                    of,
                    step: Box::new(step.clone()),
                },
            );
            self.graph
                .needs(last, provision, "what fills a volume is done in order");
            chain.push(provision);
            last = provision;
        }
        let [unmount, detach, destroy] = self.draw_populate_end(address, planned, droplet, &chain);
        let record = self.draw_populated(planned, populate, [last, unmount, detach]);
        self.handed.insert(name, detach);
        self.filled.insert(name, record);
        self.left.entry(name).or_default().extend([detach, record]);
        let let_go = self.let_go.entry(name).or_default();
        // Should the detach fail, the volume is held until its droplet is gone.
        let_go.extend([detach, destroy, record]);
    }

    /// Attaches a volume to what fills it.
    fn draw_populate_attach(
        &mut self,
        planned: &PlannedVolume<'a>,
        droplet: &DropletRef,
        connect: StepId,
    ) -> StepId {
        let address = &planned.volume.address;
        let marked = planned
            .live
            .zip(planned.populate)
            .and_then(|(live, populate)| {
                if !volume::is_marked_first(populate, live) {
                    return None;
                }
                let step = self.step(
                    address,
                    StepKind::UpdateTags {
                        resource: TaggedResource::Volume,
                        id: live.id.clone(),
                        add: vec![populate.marks.clone()],
                        remove: Vec::new(),
                    },
                );
                if let Some(tags) = self.tags {
                    self.graph
                        .needs(tags, step, "only a tag that exists can be given");
                }
                Some(step)
            });
        let attach = self.step(
            address,
            StepKind::Attach {
                volume: planned.reference.clone(),
                droplet: droplet.clone(),
                region: self.region.clone(),
            },
        );
        self.graph.needs(
            connect,
            attach,
            "a volume is attached once the first boot is over",
        );
        if let Some(made) = planned.made {
            self.graph.needs(
                made,
                attach,
                "there must be a volume of that size to attach",
            );
        }
        if let Some(marked) = marked {
            self.graph.needs(
                marked,
                attach,
                "that it is filled anew is noted before it is changed",
            );
        }
        let freed = self.freed_of(planned);
        if let Some(freed) = freed {
            self.graph.needs(
                freed,
                attach,
                "a volume is attached to one droplet at a time",
            );
        }
        attach
    }

    /// The step that takes a volume from whoever had it before.
    fn freed_of(&self, planned: &PlannedVolume<'a>) -> Option<StepId> {
        let live = planned.live?;
        self.freed.get(live.id.as_str()).copied()
    }

    /// Takes a volume from what fills it, and destroys that. Returns the steps that unmount,
    /// detach and destroy.
    fn draw_populate_end(
        &mut self,
        address: &Address,
        planned: &PlannedVolume<'a>,
        droplet: DropletRef,
        chain: &[StepId],
    ) -> [StepId; 3] {
        let unmount = self.cleanup(
            address,
            StepKind::Unmount {
                droplet: droplet.clone(),
                path: POPULATE_AT.into(),
            },
        );
        let detach = self.cleanup(
            address,
            StepKind::Detach {
                volume: planned.reference.clone(),
                droplet: droplet.clone(),
                region: self.region.clone(),
            },
        );
        let destroy = self.cleanup(
            address,
            StepKind::DestroyDroplet {
                droplet,
                tag: self.environment_tag.clone(),
            },
        );
        for &before in chain {
            for step in [unmount, detach, destroy] {
                self.graph.after(
                    before,
                    step,
                    "what fills a volume goes once that is done, or cannot be done any more",
                );
            }
        }
        if let Some(made) = planned.made {
            self.graph
                .after(made, detach, "a volume is there before it is detached");
        }
        if let Some(freed) = self.freed_of(planned) {
            self.graph
                .needs(freed, detach, "a volume is handed on by whoever has it");
        }
        self.graph.after(
            unmount,
            detach,
            "a volume is unmounted before it is detached",
        );
        for before in [unmount, detach] {
            self.graph.after(
                before,
                destroy,
                "its volumes leave it before it is destroyed",
            );
        }
        self.destroys.push(destroy);
        [unmount, detach, destroy]
    }

    /// Notes that a volume is filled.
    fn draw_populated(
        &mut self,
        planned: &PlannedVolume<'a>,
        populate: &'a crate::desired::Populate,
        needs: [StepId; 3],
    ) -> StepId {
        let live_tags = planned.live.map_or(&[][..], |live| &live.tags);
        let mut remove: Vec<String> = live_tags
            .iter()
            .filter(|tag| ownership::is_populated_tag(tag) || ownership::is_populating_tag(tag))
            .filter(|tag| **tag != populate.tag)
            .cloned()
            .collect();
        let was_filled = live_tags.iter().any(|tag| ownership::is_populated_tag(tag));
        if was_filled && !remove.contains(&populate.marks) {
            remove.push(populate.marks.clone());
        }
        remove.sort();
        self.drop_tags(&remove);
        self.drop_tags([&populate.tag]);
        let record = self.step(
            &planned.volume.address,
            StepKind::TagVolume {
                volume: planned.reference.clone(),
                add: vec![populate.tag.clone()],
                remove,
            },
        );
        if let VolumeRef::Created { step } = planned.reference {
            self.graph
                .needs(step, record, "there must be a volume to tag");
        }
        for before in needs {
            self.graph.needs(
                before,
                record,
                "a volume counts as filled once all of it succeeded and was written",
            );
        }
        record
    }
}
