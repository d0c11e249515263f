//! One event of a droplet, and one attachment of a volume, at a time.

use super::Checker;
use super::subjects::Class;
use crate::plan::step::{DropletRef, StepId};

impl<'a> Checker<'a> {
    pub(super) fn one_event_per_droplet(&mut self) {
        let mut last: Vec<Option<StepId>> = vec![None; self.subjects.droplets()];
        for step in std::mem::take(&mut self.subjects.events) {
            let Some(of) = self.subjects.droplet(step) else {
                continue;
            };
            if let Some(before) = last[of].replace(step)
                && !self.comes_before(before, step, false)
            {
                let text = format!(
                    "droplet {} could have an event with step {} at the same time",
                    self.droplet_name(step),
                    before.0 + 1
                );
                self.wrong(step, text);
            }
        }
        // Nothing happens on a droplet while or after it is destroyed.
        for end in &mut last {
            *end = end.filter(|end| self.subjects.class(*end) == Some(Class::DestroyDroplet));
        }
        for step in self.subjects.all() {
            let end = self.subjects.droplet(step).and_then(|of| last[of]);
            let Some(end) = end.filter(|end| step != *end) else {
                continue;
            };
            // What keeps a droplet sees to what the end left.
            if !self.comes_before(step, end, false)
                && self.subjects.class(step) != Some(Class::KeepDroplet)
            {
                let text = format!(
                    "it could still run when droplet {} is destroyed",
                    self.droplet_name(step)
                );
                self.wrong(step, text);
            }
        }
    }

    fn droplet_name(&self, step: StepId) -> &'a str {
        let droplet = self.plan.step(step).and_then(|step| step.kind.droplet());
        droplet.map_or("", DropletRef::name)
    }

    pub(super) fn one_attachment_per_volume(&mut self) {
        let mut places = self.places();
        // What each droplet has or had, so that not every volume is looked at when it goes.
        let mut held: Vec<Vec<usize>> = vec![Vec::new(); self.subjects.droplets()];
        for (volume, place) in places.iter().enumerate() {
            for &holder in &place.holders {
                held[holder].push(volume);
            }
        }
        for step in self.subjects.holdings.clone() {
            let subjects = &self.subjects;
            let (droplet, volume) = (subjects.droplet(step), subjects.volume(step));
            match (subjects.class(step), droplet, volume) {
                (Some(Class::Attach), Some(droplet), Some(volume)) => {
                    let mut place = std::mem::take(&mut places[volume]);
                    if !place.holders.is_empty() {
                        self.wrong(step, "its volume is attached to a droplet already");
                    }
                    self.needs_freed(step, &place.freed);
                    held[droplet].push(volume);
                    place.holders.clear();
                    place.holders.push(droplet);
                    place.attached = Some(step);
                    place.before = std::mem::take(&mut place.freed);
                    places[volume] = place;
                }
                (Some(Class::Detach), Some(droplet), Some(volume)) => {
                    let mut place = std::mem::take(&mut places[volume]);
                    if !place.leaves(droplet) {
                        self.wrong(step, "its volume is not attached to that droplet");
                    }
                    if let Some(attached) = place.attached.take()
                        && !self.comes_before(attached, step, false)
                    {
                        let text = format!(
                            "it could run before step {}, which attaches",
                            attached.0 + 1
                        );
                        self.wrong(step, text);
                    }
                    self.needs_freed(step, &std::mem::take(&mut place.before));
                    place.freed.push(step);
                    places[volume] = place;
                }
                (Some(Class::SnapshotVolume), _, Some(volume)) => {
                    let place = &places[volume];
                    if !place.holders.is_empty() {
                        self.wrong(step, "its volume is attached, so it may be written to");
                    }
                    self.needs_freed(step, &place.freed);
                }
                (Some(Class::DestroyDroplet), Some(gone), _) => {
                    for volume in std::mem::take(&mut held[gone]) {
                        let place = &mut places[volume];
                        if place.leaves(gone) {
                            place.attached = None;
                            place.freed.push(step);
                        }
                    }
                }
                (Some(Class::DeleteVolume), _, Some(volume)) => {
                    let place = std::mem::take(&mut places[volume]);
                    if !place.holders.is_empty() {
                        self.wrong(step, "its volume is still attached");
                    }
                    for freed in place.freed {
                        if !self.comes_before(freed, step, false) {
                            let text =
                                format!("it could run before step {}, which frees it", freed.0 + 1);
                            self.wrong(step, text);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Where volumes are, by their numbers. Either side may lag behind: both are believed.
    fn places(&self) -> Vec<Place> {
        let (live, subjects) = (self.live, &self.subjects);
        let mut places: Vec<Place> = Vec::new();
        places.resize_with(subjects.volumes(), Place::default);
        let by_volumes = live.volumes.iter().flat_map(|volume| {
            let holders = volume.droplet_ids.iter();
            holders.map(|holder| (volume.id.as_str(), *holder))
        });
        let by_droplets = live.droplets.iter().flat_map(|droplet| {
            let held = droplet.volume_ids.iter();
            held.map(|volume| (volume.as_str(), droplet.id))
        });
        for (volume, holder) in by_volumes.chain(by_droplets) {
            let (volume, holder) = (subjects.volume_of(volume), subjects.droplet_of(holder));
            let (Some(volume), Some(holder)) = (volume, holder) else {
                continue;
            };
            let holders = &mut places[volume].holders;
            if !holders.contains(&holder) {
                holders.push(holder);
            }
        }
        places
    }

    fn needs_freed(&mut self, step: StepId, freed: &[StepId]) {
        for &freed in freed {
            if !self.comes_before(freed, step, true) {
                let text = format!(
                    "it does not need step {}, which frees its volume",
                    freed.0 + 1
                );
                self.wrong(step, text);
            }
        }
    }
}

/// Where a volume is.
#[derive(Default)]
struct Place {
    /// What has it.
    holders: Vec<usize>,
    /// The step that attached it there.
    attached: Option<StepId>,
    /// Steps that freed it before that: an attaching that is skipped says nothing about them.
    before: Vec<StepId>,
    /// Steps that freed it since.
    freed: Vec<StepId>,
}

impl Place {
    /// Takes it from a droplet; tells whether that had it.
    fn leaves(&mut self, droplet: usize) -> bool {
        let before = self.holders.len();
        self.holders.retain(|holder| *holder != droplet);
        self.holders.len() < before
    }
}
