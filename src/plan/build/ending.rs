//! The end of a droplet that goes: stop, unmount, detach, destroy.
//!
//! It is clean-up, done whatever happened, but where it hangs on the success of every run: a droplet
//! whose run failed stays to be looked at.

use super::Draft;
use super::droplet::{End, Life, PlannedDroplet};
use crate::address::Address;
use crate::plan::step::{DropletRef, StepId, StepKind};
use crate::units::Seconds;

impl<'a> Draft<'a> {
    /// What is done for a droplet that is still there after these steps, the last of which would
    /// have destroyed it.
    pub(super) fn draw_keeping(
        &mut self,
        address: &Address,
        droplet: DropletRef,
        keep: Option<Seconds>,
        before: &[StepId],
    ) {
        let step = self.cleanup(
            address,
            StepKind::KeepDroplet {
                droplet,
                keep,
                tag: self.environment_tag.clone(),
            },
        );
        for &before in before {
            self.graph.after(
                before,
                step,
                "whether it is kept shows once it could have been destroyed",
            );
        }
    }

    /// Stop, unmount, detach, destroy; all of it once `users`, steps on other droplets that need what
    /// runs here, have ended. Returns the step that stops it, if one does.
    pub(super) fn draw_end(
        &mut self,
        planned: &PlannedDroplet<'a>,
        life: Life<'a>,
        users: &[StepId],
    ) -> Option<StepId> {
        let droplet = planned.droplet;
        let address = &droplet.address;
        let gate: &[StepId] = match planned.end {
            End::DestroyedOnSuccess(_) => &life.required,
            End::Stays | End::Destroyed => &[],
        };
        // What a failure keeps is no clean-up: clean-up happens whatever failed.
        let certain = gate.is_empty();
        let gate_reason = "it is only destroyed if every run succeeded";
        let mut before = life.all.clone();
        before.extend_from_slice(users);
        let mut event = life.event;
        let mut stopped = None;
        if let (Some(connect), false) = (life.connect, life.backgrounds.is_empty()) {
            let stop = self.removing(
                address,
                StepKind::StopBackground {
                    droplet: life.reference.clone(),
                },
                certain,
            );
            self.graph
                .needs(connect, stop, "stopping what runs needs a login");
            for &step in &before {
                self.graph.after(
                    step,
                    stop,
                    "what runs is stopped once nothing needs it any more",
                );
            }
            for &step in gate {
                self.graph.needs(step, stop, gate_reason);
            }
            before.push(stop);
            stopped = Some(stop);
        }
        let mut detaches = Vec::new();
        // Its own copies go with it: nobody looks at them any more.
        for mounted in life.mounts.iter().filter(|mounted| !mounted.is_copy) {
            let unmount = self.removing(
                address,
                StepKind::Unmount {
                    droplet: life.reference.clone(),
                    path: mounted.path.clone(),
                },
                certain,
            );
            // Whoever is next gets its turn also when this droplet could not have its own.
            if !mounted.hands_on {
                self.graph
                    .needs(mounted.mount, unmount, "only what was mounted is unmounted");
            }
            for &step in &before {
                self.graph
                    .after(step, unmount, "a volume is unmounted once nothing uses it");
            }
            let detach = self.removing(
                address,
                StepKind::Detach {
                    volume: mounted.volume.clone(),
                    droplet: life.reference.clone(),
                    region: self.region.clone(),
                },
                certain,
            );
            if let Some(attach) = mounted.attach.filter(|_| !mounted.hands_on) {
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
            let left = self.left.entry(mounted.name).or_default();
            left.extend(life.required.iter().copied().chain([detach]));
            if mounted.hands_on {
                self.hand_on(mounted, detach);
            }
        }
        let destroy = self.removing(
            address,
            StepKind::DestroyDroplet {
                droplet: life.reference.clone(),
                tag: self.environment_tag.clone(),
            },
            certain,
        );
        for &step in &before {
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
        if let End::DestroyedOnSuccess(Some(keep)) = planned.end {
            before.push(destroy);
            self.draw_keeping(address, life.reference.clone(), Some(keep), &before);
        }
        for mounted in life.mounts.iter().filter(|mounted| mounted.is_copy) {
            self.draw_clone_end(planned, mounted, destroy, certain);
        }
        for mount in droplet.mounts.iter().filter(|mount| mount.copy.is_none()) {
            let let_go = self.let_go.entry(&mount.volume).or_default();
            let_go.extend(detaches.iter().copied().chain([destroy]));
        }
        if let Some(live) = planned.live {
            self.drop_tags(&live.tags);
            self.destroyed.insert(live.id, destroy);
        }
        self.destroys.push(destroy);
        stopped
    }
}
