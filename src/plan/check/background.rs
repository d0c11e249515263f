//! What runs in the background outlives its users, and not its droplet.

use super::{Checker, DropletKey};
use crate::plan::step::{StepId, StepKind};

impl<'a> Checker<'a> {
    /// Steps that start something in the background, with the droplet it runs on.
    fn backgrounds(&self) -> Vec<(StepId, DropletKey<'a>)> {
        let backgrounds = self.steps().filter_map(|step| match &step.kind {
            StepKind::Run { droplet, run } if run.background.is_some() => {
                Some((step.id, DropletKey::of(droplet)))
            }
            _ => None,
        });
        backgrounds.collect()
    }

    /// What is on a droplet is stopped before volumes leave it and before it is destroyed.
    pub(super) fn background_steps_are_stopped(&mut self) {
        for (started, droplet) in self.backgrounds() {
            let stops: Vec<StepId> = self
                .steps()
                .filter(|step| {
                    matches!(&step.kind, StepKind::StopBackground { droplet: on } if DropletKey::of(on) == droplet)
                })
                .map(|step| step.id)
                .filter(|stop| self.comes_before(started, *stop, false))
                .collect();
            for step in self.steps().filter(|step| step.id > started) {
                let (StepKind::Unmount { droplet: on, .. }
                | StepKind::DestroyDroplet { droplet: on, .. }) = &step.kind
                else {
                    continue;
                };
                let is_stopped = || {
                    let mut stops = stops.iter();
                    stops.any(|stop| self.comes_before(*stop, step.id, false))
                };
                if DropletKey::of(on) == droplet && !is_stopped() {
                    let text = format!("what step {} started could still run", started.0 + 1);
                    self.wrong(step.id, text);
                }
            }
        }
    }

    /// What runs on one droplet and is needed by a run on another stays until that has ended.
    pub(super) fn services_outlive_their_users(&mut self) {
        for (started, droplet) in self.backgrounds() {
            let users: Vec<StepId> = self
                .steps()
                .filter(|step| step.id > started)
                .filter(|step| {
                    matches!(&step.kind, StepKind::Run { droplet: on, .. } if DropletKey::of(on) != droplet)
                })
                .map(|step| step.id)
                .filter(|user| self.comes_before(started, *user, true))
                .collect();
            for step in self.steps().filter(|step| step.id > started) {
                let (StepKind::StopBackground { droplet: on }
                | StepKind::DestroyDroplet { droplet: on, .. }) = &step.kind
                else {
                    continue;
                };
                if DropletKey::of(on) != droplet {
                    continue;
                }
                for &user in &users {
                    if !self.comes_before(user, step.id, false) {
                        let text = format!("step {} could still need it", user.0 + 1);
                        self.wrong(step.id, text);
                    }
                }
            }
        }
    }
}
