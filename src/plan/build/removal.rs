//! Droplets that exist and go; volumes that leave a droplet that stays.

use super::{Draft, known};
use crate::address::Address;
use crate::live::{DropletStatus, LiveDroplet, LiveVolume};
use crate::plan::step::{StepId, StepKind, VolumeRef};

impl<'a> Draft<'a> {
    /// Destroys a droplet that exists. Volumes that stay are unmounted first, so that what was
    /// written to them is there; a droplet that cannot be reached is destroyed all the same. With
    /// `only_after`, nothing of it begins unless that step succeeded.
    pub fn draw_removal(
        &mut self,
        droplet: &'a LiveDroplet,
        address: &Address,
        only_after: Option<StepId>,
        doomed: impl Fn(&LiveVolume) -> bool,
    ) -> StepId {
        let volumes: Vec<&'a LiveVolume> = self
            .attached
            .to(droplet.id)
            .into_iter()
            .filter(|volume| !doomed(volume))
            .collect();
        let before = if volumes.is_empty() {
            Vec::new()
        } else {
            self.draw_release(droplet, address, &volumes, false)
        };
        let destroy = self.step(
            address,
            StepKind::DestroyDroplet {
                droplet: known(droplet),
                tag: self.environment_tag.clone(),
            },
        );
        for &step in &before {
            self.graph
                .after(step, destroy, "its volumes leave it before it is destroyed");
        }
        if let Some(only_after) = only_after {
            let reason = "what it is replaced by must be possible first";
            for step in before.into_iter().chain([destroy]) {
                self.graph.needs(only_after, step, reason);
            }
        }
        if let Some(&event) = self.events.get(&droplet.id) {
            self.graph
                .after(event, destroy, "one event per droplet at a time");
        }
        self.drop_tags(&droplet.tags);
        self.destroys.push(destroy);
        self.destroyed.insert(droplet.id, destroy);
        destroy
    }

    /// Unmounts and detaches volumes of a droplet that exists. Returns the steps. From a droplet that
    /// `stays` nothing is torn off: what cannot be unmounted is in use, and stays attached.
    pub fn draw_release(
        &mut self,
        droplet: &'a LiveDroplet,
        address: &Address,
        volumes: &[&'a LiveVolume],
        stays: bool,
    ) -> Vec<StepId> {
        let mut steps = Vec::new();
        let reachable = droplet.status == DropletStatus::Active && droplet.public_ipv4.is_some();
        let connect = reachable.then(|| self.connect_known(droplet, address));
        steps.extend(connect);
        let has_background = self
            .scope
            .droplets
            .get(&droplet.name)
            // What is no longer in the manifest may have had some.
            .is_none_or(|droplet| droplet.has_background);
        let stop = connect.filter(|_| has_background).map(|connect| {
            let stop = self.step(
                address,
                StepKind::StopBackground {
                    droplet: known(droplet),
                },
            );
            self.graph
                .needs(connect, stop, "stopping what runs needs a login");
            stop
        });
        steps.extend(stop);
        for &volume in volumes {
            let unmount = connect.map(|connect| {
                let path = self.mount_path(droplet, volume);
                let unmount = self.step(
                    address,
                    StepKind::Unmount {
                        droplet: known(droplet),
                        path: path.into(),
                    },
                );
                self.graph
                    .needs(connect, unmount, "unmounting needs a login");
                if let Some(stop) = stop {
                    self.graph
                        .after(stop, unmount, "a volume is unmounted once nothing uses it");
                }
                unmount
            });
            let detach = self.step(
                address,
                StepKind::Detach {
                    volume: VolumeRef::Known {
                        id: volume.id.clone(),
                    },
                    droplet: known(droplet),
                    region: volume.region.as_str().into(),
                },
            );
            for before in unmount.into_iter().chain(connect) {
                let reason = "a volume is unmounted before it is detached";
                if stays {
                    self.graph.needs(before, detach, reason);
                } else {
                    self.graph.after(before, detach, reason);
                }
            }
            self.event(droplet.id, detach);
            self.freed.insert(&volume.id, detach);
            steps.extend(unmount);
            steps.push(detach);
        }
        steps
    }

    /// The login to a droplet that exists: one for all that needs it.
    pub(super) fn connect_known(&mut self, droplet: &LiveDroplet, address: &Address) -> StepId {
        if let Some(&connect) = self.connects.get(&droplet.id) {
            return connect;
        }
        let connect = self.step(
            address,
            StepKind::Connect {
                droplet: known(droplet),
                user: self.user.clone(),
                host_key: self.scope.host_key,
            },
        );
        self.connects.insert(droplet.id, connect);
        connect
    }

    /// Puts an event of a droplet that exists after the one before.
    pub(super) fn event(&mut self, droplet: u64, step: StepId) {
        if let Some(before) = self.events.insert(droplet, step) {
            self.graph
                .after(before, step, "one event per droplet at a time");
        }
    }

    /// Where a volume is mounted: as the manifest says, else by its device, which `umount` takes too.
    fn mount_path(&self, droplet: &LiveDroplet, volume: &LiveVolume) -> String {
        self.scope
            .droplets
            .get(&droplet.name)
            .and_then(|droplet| droplet.mounts.get(&volume.name))
            .cloned()
            .unwrap_or_else(|| format!("/dev/disk/by-id/scsi-0DO_Volume_{}", volume.name))
    }
}
