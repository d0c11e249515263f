//! Volumes: made, grown, tagged, removed.

use super::{Draft, PlannedVolume, because};
use crate::address::Address;
use crate::desired::spec::VolumeSpec;
use crate::live::{LiveVolume, ownership};
use crate::manifest::schema::Scope;
use crate::plan::Goal;
use crate::plan::change::{Action, Cause};
use crate::plan::compare::{another, lost, made, volume};
use crate::plan::cost;
use crate::plan::narrow::REPLACE;
use crate::plan::step::{DeletedVolume, StepId, StepKind, TaggedResource, VolumeRef};
use crate::units::Gib;

impl<'a> Draft<'a> {
    /// Makes, grows or tags a volume; `gone` is the step that deletes the one it replaces.
    pub fn draw_volume(&mut self, verdict: volume::Verdict<'a>, gone: Option<StepId>) {
        let volume::Verdict {
            volume,
            live,
            replaces,
            grow,
            add,
            remove,
            fields,
            lease,
            populate,
        } = verdict;
        if let Some(wanted) = &volume.populate
            && !goes_with(self.empties(), volume.scope)
        {
            self.borne.insert(wanted.tag.clone());
        }
        let renamed = !remove.is_empty() || add.iter().any(|tag| ownership::is_name_tag(tag));
        let goes = goes_with(self.empties(), volume.scope);
        if !goes {
            self.borne.extend(volume.tags.iter().cloned());
            self.borne.extend(lease.add.clone());
            let kept = live.into_iter().flat_map(|live| &live.tags);
            let kept = kept.filter(|tag| ownership::is_expires_tag(tag));
            self.borne
                .extend(kept.filter(|tag| !lease.remove.contains(tag)).cloned());
        } else {
            self.drop_tags(volume.tags.iter().chain(&lease.add));
            self.drop_tags(live.into_iter().flat_map(|live| &live.tags));
        }
        let address = &volume.address;
        let Some(live) = live else {
            let Some(size) = volume.size else {
                // Someone's own that is not there: refused already.
                return;
            };
            let mut tags = volume.tags.clone();
            tags.extend(lease.add);
            tags.sort();
            let step = self.step(
                address,
                StepKind::CreateVolume {
                    spec: VolumeSpec {
                        name: volume.name.as_str().into(),
                        region: self.region.clone(),
                        size,
                        tags: tags.into(),
                    },
                },
            );
            if let Some(tags) = self.tags {
                self.graph
                    .needs(tags, step, "a volume bears its tags from the start");
            }
            if let Some(gone) = gone {
                self.graph
                    .needs(gone, step, "the one that has its name must be gone first");
            }
            self.volumes.insert(
                name_of(address),
                PlannedVolume {
                    volume,
                    live: None,
                    reference: VolumeRef::Created { step },
                    made: Some(step),
                    grows: false,
                    populate: populate.map(|(populate, _)| populate),
                },
            );
            if !goes {
                let mut fields = vec![
                    made("size", size.to_string()),
                    made("filesystem", volume::word(volume.filesystem)),
                    made("price", format!("{}/month", cost::volume_monthly(size))),
                ];
                fields.extend(volume.populate.iter().flat_map(volume::populated));
                let (id, action, reasons) = match replaces {
                    None => (None, Action::Create, Vec::new()),
                    Some(old) => {
                        if old.size_gib != size.0 {
                            fields[0].old = Some(Gib(old.size_gib).to_string());
                        }
                        fields.insert(0, another(&old.id));
                        let reasons = because(Cause::Command, REPLACE);
                        (Some(old.id.clone()), Action::DestroyThenCreate, reasons)
                    }
                };
                self.change(address, &volume.name, id, action, reasons, fields);
            } else if let Some(old) = replaces {
                let reasons = because(
                    Cause::Command,
                    format!("{REPLACE}, and `test` empties the environment when it is done"),
                );
                self.change(
                    address,
                    &volume.name,
                    Some(old.id.clone()),
                    Action::Delete,
                    reasons,
                    Vec::new(),
                );
            }
            return;
        };
        let resize = grow.map(|to| {
            let step = self.step(
                address,
                StepKind::ResizeVolume {
                    id: live.id.clone(),
                    region: live.region.clone(),
                    to,
                },
            );
            // Growing an attached volume is an event of its droplet too: detaching comes after.
            for droplet in self
                .attached
                .droplets
                .get(live.id.as_str())
                .cloned()
                .unwrap_or_default()
            {
                self.event(droplet, step);
            }
            step
        });
        let (mut add, mut remove) = (add, remove);
        add.extend(lease.add);
        remove.extend(lease.remove);
        // What goes needs no tags any more.
        let is_tagged = !add.is_empty() || !remove.is_empty();
        if is_tagged && !goes {
            add.sort();
            remove.sort();
            self.drop_tags(&remove);
            let step = self.step(
                address,
                StepKind::UpdateTags {
                    resource: TaggedResource::Volume,
                    id: live.id.clone(),
                    add,
                    remove,
                },
            );
            if let Some(tags) = self.tags {
                self.graph
                    .needs(tags, step, "only a tag that exists can be given");
            }
        }
        self.volumes.insert(
            name_of(address),
            PlannedVolume {
                volume,
                live: Some(live),
                reference: VolumeRef::Known {
                    id: live.id.clone(),
                },
                made: resize,
                grows: resize.is_some(),
                populate: populate.map(|(populate, _)| populate),
            },
        );
        let (action, reasons) = if goes {
            (
                Action::Delete,
                because(
                    Cause::Command,
                    "`test` empties the environment when it is done",
                ),
            )
        } else if volume.size.is_none() {
            let reasons = because(
                Cause::Manifest,
                "someone's own: it is used, and never changed",
            );
            (Action::Keep, reasons)
        } else if fields.is_empty() {
            (Action::Keep, Vec::new())
        } else if renamed {
            let text = format!(
                "it is renamed: it stays `{}` on DigitalOcean, and a tag remembers",
                live.name
            );
            (Action::Update, because(Cause::Manifest, text))
        } else if let Some((_, why)) = populate {
            (Action::Update, because(Cause::Manifest, why))
        } else if grow.is_some() {
            (
                Action::Update,
                because(Cause::Manifest, "the manifest asks for more"),
            )
        } else {
            (
                Action::Update,
                because(Cause::Drift, "someone took tags of dewpoint from it"),
            )
        };
        self.change(
            address,
            &volume.name,
            Some(live.id.clone()),
            action,
            reasons,
            fields,
        );
    }

    /// Makes known a volume that is yet to be replaced.
    pub fn expect_volume(&mut self, verdict: &volume::Verdict<'a>, old: &'a LiveVolume) {
        let reference = VolumeRef::Known { id: old.id.clone() };
        let planned = PlannedVolume {
            volume: verdict.volume,
            live: Some(old),
            reference,
            made: None,
            grows: false,
            populate: verdict.populate.map(|(populate, _)| populate),
        };
        self.volumes
            .insert(name_of(&verdict.volume.address), planned);
        self.renewed.insert(name_of(&verdict.volume.address));
    }

    /// Deletes a volume that exists; `first` are steps that must have succeeded.
    pub fn draw_volume_removal(
        &mut self,
        volume: &'a LiveVolume,
        address: &Address,
        first: &[StepId],
    ) -> StepId {
        let is_copy = ownership::is_clone(&volume.tags);
        let step = self.step(
            address,
            StepKind::DeleteVolume {
                volume: VolumeRef::Known {
                    id: volume.id.clone(),
                },
                name: volume.name.as_str().into(),
                sort: match (is_copy, self.goal) {
                    (true, _) => DeletedVolume::Clone,
                    // Each has a step of its own.
                    (false, Goal::Destroy | Goal::DestroyProject) => DeletedVolume::Alone,
                    (false, _) => DeletedVolume::WithSnapshots,
                },
            },
        );
        if volume.region == self.scope.region {
            // One that somebody took the tag of a copy from has the name of one all the same.
            self.clones_gone.insert(&volume.name, step);
        }
        for &before in first {
            self.graph.needs(
                before,
                step,
                "a volume can only be deleted once nothing holds it",
            );
        }
        if let Some(&freed) = self.freed.get(volume.id.as_str()) {
            self.graph.needs(
                freed,
                step,
                "a volume can only be deleted once nothing holds it",
            );
        }
        let tags: Vec<String> = volume::tags_of_one(&volume.tags).cloned().collect();
        self.drop_tags(&tags);
        step
    }

    /// Says that a volume goes.
    pub fn change_volume_removal(
        &mut self,
        volume: &LiveVolume,
        address: &Address,
        cause: Cause,
        reason: &str,
    ) {
        let size = Gib(volume.size_gib);
        let fields = vec![
            lost("size", size.to_string()),
            lost("price", format!("{}/month", cost::volume_monthly(size))),
        ];
        let reasons = because(cause, reason);
        self.change(
            address,
            &volume.name,
            Some(volume.id.clone()),
            Action::Delete,
            reasons,
            fields,
        );
    }
}

/// Whether a volume goes when a plan empties the environment.
fn goes_with(empties: bool, scope: Scope) -> bool {
    empties && scope == Scope::Environment
}

fn name_of(address: &Address) -> &str {
    match address {
        Address::Volume(name) => name,
        _ => "",
    }
}
