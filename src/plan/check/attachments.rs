//! One event of a droplet, and one attachment of a volume, at a time.

use super::Checker;
use crate::plan::step::{StepId, StepKind};

impl<'a> Checker<'a> {
    pub(super) fn one_event_per_droplet(&mut self) {
        let mut last: Vec<Option<StepId>> = vec![None; self.subjects.droplets()];
        for step in std::mem::take(&mut self.subjects.events) {
            let (Some(droplet), Some(of)) = (step.kind.droplet(), self.subjects.droplet(step.id))
            else {
                continue;
            };
            if let Some(before) = last[of].replace(step.id)
                && !self.comes_before(before, step.id, false)
            {
                let text = format!(
                    "droplet {} could have an event with step {} at the same time",
                    droplet.name(),
                    before.0 + 1
                );
                self.wrong(step.id, text);
            }
        }
        // Nothing happens on a droplet while or after it is destroyed.
        for end in &mut last {
            *end = end.filter(|end| {
                let end = &self.plan.steps[end.0 as usize];
                matches!(end.kind, StepKind::DestroyDroplet { .. })
            });
        }
        for step in self.steps() {
            let end = self.subjects.droplet(step.id).and_then(|of| last[of]);
            let Some(end) = end.filter(|end| step.id != *end) else {
                continue;
            };
            // What keeps a droplet sees to what the end left.
            if !self.comes_before(step.id, end, false)
                && !matches!(step.kind, StepKind::KeepDroplet { .. })
                && let Some(droplet) = step.kind.droplet()
            {
                let text = format!(
                    "it could still run when droplet {} is destroyed",
                    droplet.name()
                );
                self.wrong(step.id, text);
            }
        }
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
            let (droplet, volume) = (subjects.droplet(step.id), subjects.volume(step.id));
            match (&step.kind, droplet, volume) {
                (StepKind::Attach { .. }, Some(droplet), Some(volume)) => {
                    let mut place = std::mem::take(&mut places[volume]);
                    if !place.holders.is_empty() {
                        self.wrong(step.id, "its volume is attached to a droplet already");
                    }
                    self.needs_freed(step.id, &place.freed);
                    held[droplet].push(volume);
                    place.holders.clear();
                    place.holders.push(droplet);
                    place.attached = Some(step.id);
                    place.before = std::mem::take(&mut place.freed);
                    places[volume] = place;
                }
                (StepKind::Detach { .. }, Some(droplet), Some(volume)) => {
                    let mut place = std::mem::take(&mut places[volume]);
                    if !place.leaves(droplet) {
                        self.wrong(step.id, "its volume is not attached to that droplet");
                    }
                    if let Some(attached) = place.attached.take()
                        && !self.comes_before(attached, step.id, false)
                    {
                        let text = format!(
                            "it could run before step {}, which attaches",
                            attached.0 + 1
                        );
                        self.wrong(step.id, text);
                    }
                    self.needs_freed(step.id, &std::mem::take(&mut place.before));
                    place.freed.push(step.id);
                    places[volume] = place;
                }
                (StepKind::SnapshotVolume { .. }, _, Some(volume)) => {
                    let place = &places[volume];
                    if !place.holders.is_empty() {
                        self.wrong(step.id, "its volume is attached, so it may be written to");
                    }
                    self.needs_freed(step.id, &place.freed);
                }
                (StepKind::DestroyDroplet { .. }, Some(gone), _) => {
                    for volume in std::mem::take(&mut held[gone]) {
                        let place = &mut places[volume];
                        if place.leaves(gone) {
                            place.attached = None;
                            place.freed.push(step.id);
                        }
                    }
                }
                (StepKind::DeleteVolume { .. }, _, Some(volume)) => {
                    let place = std::mem::take(&mut places[volume]);
                    if !place.holders.is_empty() {
                        self.wrong(step.id, "its volume is still attached");
                    }
                    for freed in place.freed {
                        if !self.comes_before(freed, step.id, false) {
                            let text =
                                format!("it could run before step {}, which frees it", freed.0 + 1);
                            self.wrong(step.id, text);
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
