//! What runs in the background outlives its users, and not its droplet.

use super::Checker;
use super::subjects::Class;
use crate::plan::step::StepId;

/// A step that ends what runs in the background, or cannot be while it runs.
struct End {
    /// The droplet it runs on.
    droplet: usize,
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
    pub(super) fn backgrounds(&self) -> Vec<(StepId, usize)> {
        // What runs lies somewhere else for each: in a loop that does nothing but read it, one is
        // fetched while another is.
        let runs = self.subjects.runs.iter();
        runs.filter(|(_, run)| run.background.is_some())
            .filter_map(|(step, _)| Some((*step, self.subjects.droplet(*step)?)))
            .collect()
    }

    /// What is on a droplet is stopped before volumes leave it and before it is destroyed.
    pub(super) fn background_steps_are_stopped(
        &mut self,
        backgrounds: &[(StepId, usize)],
        ends: &Ends,
    ) {
        for &(started, droplet) in backgrounds {
            let ends = ends.of(droplet);
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
    pub(super) fn services_outlive_their_users(
        &mut self,
        backgrounds: &[(StepId, usize)],
        ends: &Ends,
    ) {
        for &(started, droplet) in backgrounds {
            let mut users = self.order.that_need(started);
            users.retain(|user| {
                let class = self.subjects.class(*user);
                class == Some(Class::Run) && self.subjects.droplet(*user) != Some(droplet)
            });
            let ends = ends.of(droplet).iter();
            for end in ends.filter(|end| end.over && end.step > started) {
                for &user in &users {
                    if !self.comes_before(user, end.step, false) {
                        let text = format!("step {} could still need it", user.0 + 1);
                        self.wrong(end.step, text);
                    }
                }
            }
        }
    }

    /// The steps that end what runs in the background.
    pub(super) fn ends(&self) -> Ends {
        let steps = self.subjects.ends.iter();
        let ends = steps.filter_map(|&step| {
            let class = self.subjects.class(step)?;
            Some(End {
                droplet: self.subjects.droplet(step)?,
                step,
                stops: class == Class::StopBackground,
                takes: class != Class::StopBackground,
                over: class != Class::Unmount,
            })
        });
        let mut ends: Vec<End> = ends.collect();
        ends.sort_by_key(|end| end.droplet);
        let mut begins = vec![0; self.subjects.droplets() + 1];
        for end in &ends {
            begins[end.droplet + 1] += 1;
        }
        for droplet in 1..begins.len() {
            begins[droplet] += begins[droplet - 1];
        }
        Ends { ends, begins }
    }
}

/// What ends what runs in the background.
pub(super) struct Ends {
    /// By droplet, those of one in order.
    ends: Vec<End>,
    /// Where those of each droplet begin, and where those of the last end.
    begins: Vec<usize>,
}

impl Ends {
    /// Those of one droplet.
    fn of(&self, droplet: usize) -> &[End] {
        &self.ends[self.begins[droplet]..self.begins[droplet + 1]]
    }
}
