//! What runs in the background outlives its users, and not its droplet.

use std::collections::HashMap;

use super::{Checker, DropletKey};
use crate::plan::step::{StepId, StepKind};

/// A step that ends what runs in the background, or cannot be while it runs.
struct End {
    step: StepId,
    /// Whether it stops what runs.
    stops: bool,
    /// Whether it takes a volume or the whole droplet away.
    takes: bool,
    /// Whether nothing runs in the background after it.
    over: bool,
}

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
        let backgrounds = self.backgrounds();
        let ends = self.ends(&backgrounds);
        for (started, droplet) in backgrounds {
            let ends = ends.get(&droplet).map_or(&[][..], Vec::as_slice);
            let stops: Vec<StepId> = ends
                .iter()
                .filter(|end| end.stops)
                .map(|end| end.step)
                .filter(|stop| self.comes_before(started, *stop, false))
                .collect();
            for end in ends.iter().filter(|end| end.takes && end.step > started) {
                let mut stops = stops.iter();
                if !stops.any(|stop| self.comes_before(*stop, end.step, false)) {
                    let text = format!("what step {} started could still run", started.0 + 1);
                    self.wrong(end.step, text);
                }
            }
        }
    }

    /// What runs on one droplet and is needed by a run on another stays until that has ended.
    pub(super) fn services_outlive_their_users(&mut self) {
        let backgrounds = self.backgrounds();
        let ends = self.ends(&backgrounds);
        for (started, droplet) in backgrounds {
            let mut users = self.order.that_need(started);
            users.retain(|user| match &self.plan.steps[user.0 as usize].kind {
                StepKind::Run { droplet: on, .. } => DropletKey::of(on) != droplet,
                _ => false,
            });
            let ends = ends.get(&droplet).map_or(&[][..], Vec::as_slice);
            for end in ends.iter().filter(|end| end.over && end.step > started) {
                for &user in &users {
                    if !self.comes_before(user, end.step, false) {
                        let text = format!("step {} could still need it", user.0 + 1);
                        self.wrong(end.step, text);
                    }
                }
            }
        }
    }

    /// Of droplets on which something runs in the background the steps that end that, in order.
    fn ends(&self, backgrounds: &[(StepId, DropletKey<'a>)]) -> HashMap<DropletKey<'a>, Vec<End>> {
        let of = backgrounds
            .iter()
            .map(|(_, droplet)| (*droplet, Vec::new()));
        let mut ends: HashMap<DropletKey<'a>, Vec<End>> = of.collect();
        for step in self.steps() {
            let (droplet, stops, takes) = match &step.kind {
                StepKind::StopBackground { droplet } => (droplet, true, false),
                StepKind::Unmount { droplet, .. } => (droplet, false, true),
                StepKind::DestroyDroplet { droplet, .. } => (droplet, false, true),
                _ => continue,
            };
            if let Some(ends) = ends.get_mut(&DropletKey::of(droplet)) {
                ends.push(End {
                    step: step.id,
                    stops,
                    takes,
                    over: !matches!(step.kind, StepKind::Unmount { .. }),
                });
            }
        }
        ends
    }
}
