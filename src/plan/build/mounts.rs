//! The first login to a droplet, and the volumes that are attached and mounted there.

use super::Draft;
use super::droplet::{End, Life, Mounted, PlannedDroplet};
use super::turns::IN_ORDER;
use crate::plan::step::{StepId, StepKind};

impl<'a> Draft<'a> {
    /// Login, attach, mount.
    pub(super) fn draw_mounts(
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
                    user: self.user.clone(),
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
                        region: self.region.clone(),
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
}
