//! One event of a droplet, and one attachment of a volume, at a time.

use std::collections::{BTreeSet, HashMap};

use super::{Checker, DropletKey, VolumeKey, references};
use crate::plan::step::{StepId, StepKind};

impl<'a> Checker<'a> {
    pub(super) fn one_event_per_droplet(&mut self) {
        let mut last: HashMap<DropletKey<'a>, StepId> = HashMap::new();
        for step in self.steps() {
            let droplet = match &step.kind {
                StepKind::PowerOff { droplet }
                | StepKind::TakeSnapshot { droplet, .. }
                | StepKind::Attach { droplet, .. }
                | StepKind::Detach { droplet, .. }
                | StepKind::DestroyDroplet { droplet, .. } => droplet,
                _ => continue,
            };
            if let Some(before) = last.insert(DropletKey::of(droplet), step.id)
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
        for step in self.steps() {
            let (Some(droplet), _, _, _) = references(&step.kind) else {
                continue;
            };
            let Some(&end) = last.get(&DropletKey::of(droplet)) else {
                continue;
            };
            if matches!(step.kind, StepKind::KeepDroplet { .. }) {
                // It sees to what the end left.
                continue;
            }
            let is_end = matches!(
                self.plan.steps[end.0 as usize].kind,
                StepKind::DestroyDroplet { .. }
            );
            if is_end && step.id != end && !self.comes_before(step.id, end, false) {
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
        let mut held: HashMap<DropletKey<'a>, Vec<VolumeKey<'a>>> = HashMap::new();
        for (volume, place) in &places {
            for holder in &place.holders {
                held.entry(*holder).or_default().push(*volume);
            }
        }
        for step in self.steps() {
            match &step.kind {
                StepKind::Attach {
                    volume, droplet, ..
                } => {
                    let place = places.entry(VolumeKey::of(volume)).or_default();
                    let mut place = std::mem::take(place);
                    if !place.holders.is_empty() {
                        self.wrong(step.id, "its volume is attached to a droplet already");
                    }
                    self.needs_freed(step.id, &place.freed);
                    let holder = DropletKey::of(droplet);
                    held.entry(holder).or_default().push(VolumeKey::of(volume));
                    place.holders = BTreeSet::from([holder]);
                    place.attached = Some(step.id);
                    place.before = std::mem::take(&mut place.freed);
                    places.insert(VolumeKey::of(volume), place);
                }
                StepKind::Detach {
                    volume, droplet, ..
                } => {
                    let place = places.entry(VolumeKey::of(volume)).or_default();
                    let mut place = std::mem::take(place);
                    if !place.holders.remove(&DropletKey::of(droplet)) {
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
                    places.insert(VolumeKey::of(volume), place);
                }
                StepKind::SnapshotVolume { volume, .. } => {
                    let Some(place) = places.get(&VolumeKey::of(volume)) else {
                        continue;
                    };
                    if !place.holders.is_empty() {
                        self.wrong(step.id, "its volume is attached, so it may be written to");
                    }
                    let freed = place.freed.clone();
                    self.needs_freed(step.id, &freed);
                }
                StepKind::DestroyDroplet { droplet, .. } => {
                    let gone = DropletKey::of(droplet);
                    for volume in held.remove(&gone).unwrap_or_default() {
                        if let Some(place) = places.get_mut(&volume)
                            && place.holders.remove(&gone)
                        {
                            place.attached = None;
                            place.freed.push(step.id);
                        }
                    }
                }
                StepKind::DeleteVolume { volume, .. } => {
                    let place = places.remove(&VolumeKey::of(volume)).unwrap_or_default();
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

    /// Where volumes are. Either side may lag behind: both are believed.
    fn places(&self) -> HashMap<VolumeKey<'a>, Place<'a>> {
        let live = self.live;
        let mut places: HashMap<VolumeKey<'a>, Place<'a>> = HashMap::new();
        let by_volumes = live.volumes.iter().flat_map(|volume| {
            let holders = volume.droplet_ids.iter();
            holders.map(|holder| (volume.id.as_str(), *holder))
        });
        let by_droplets = live.droplets.iter().flat_map(|droplet| {
            let held = droplet.volume_ids.iter();
            held.map(|volume| (volume.as_str(), droplet.id))
        });
        for (volume, holder) in by_volumes.chain(by_droplets) {
            let place = places.entry(VolumeKey::Known(volume)).or_default();
            place.holders.insert(DropletKey::Known(holder));
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
struct Place<'a> {
    /// What has it.
    holders: BTreeSet<DropletKey<'a>>,
    /// The step that attached it there.
    attached: Option<StepId>,
    /// Steps that freed it before that: an attaching that is skipped says nothing about them.
    before: Vec<StepId>,
    /// Steps that freed it since.
    freed: Vec<StepId>,
}
