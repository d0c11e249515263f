//! The creates, in as few calls as the API allows, and the inventory of what they make.

use std::collections::BTreeMap;

use super::droplet::{End, PlannedDroplet, reference};
use super::{Draft, known};
use crate::desired::{Desired, Droplet, Image};
use crate::plan::step::{DropletSpec, InventoryDroplet, NewDroplet, StepId, StepKind};

/// The API makes at most this many droplets in one call.
const PER_CREATE: usize = 10;

impl<'a> Draft<'a> {
    /// One step that knows every droplet of the environment, for all on which something runs.
    pub(super) fn draw_gathering(
        &mut self,
        droplets: &[PlannedDroplet<'a>],
        created: &[Option<StepId>],
    ) -> Option<StepId> {
        if !droplets.iter().any(PlannedDroplet::works) {
            return None;
        }
        let first = droplets.first()?;
        let prefix = format!("{}-", self.scope.environment_name());
        let host = |droplet: &Droplet| {
            let name = &droplet.name;
            name.strip_prefix(&prefix).unwrap_or(name).to_owned()
        };
        let entries = droplets.iter().zip(created);
        let entries = entries.filter_map(|(planned, created)| {
            Some(InventoryDroplet {
                address: planned.droplet.address.clone(),
                host: host(planned.droplet),
                droplet: reference(planned, *created)?,
            })
        });
        let there = self
            .bystanders
            .iter()
            .map(|(droplet, live)| InventoryDroplet {
                address: droplet.address.clone(),
                host: host(droplet),
                droplet: known(live),
            });
        let mut entries: Vec<InventoryDroplet> = entries.chain(there).collect();
        entries.sort_by(|a, b| a.address.cmp(&b.address));
        let step = self.step(
            &first.droplet.address,
            StepKind::Gather { droplets: entries },
        );
        let mut creates: Vec<StepId> = created.iter().flatten().copied().collect();
        creates.sort_unstable();
        creates.dedup();
        for create in creates {
            self.graph.after(
                create,
                step,
                "the inventory has the addresses of all droplets that could be made",
            );
        }
        Some(step)
    }

    pub(super) fn draw_creates(
        &mut self,
        desired: &'a Desired,
        droplets: &[PlannedDroplet<'a>],
        expiry: &str,
    ) -> Vec<Option<StepId>> {
        // Those that wait for the end of an older one are made apart, lest all wait with them.
        type Shape<'s> = (&'s str, &'s Image, &'s [String], bool);
        let mut shapes: BTreeMap<Shape<'_>, Vec<usize>> = BTreeMap::new();
        for (position, planned) in droplets.iter().enumerate() {
            if planned.live.is_none() {
                let Droplet {
                    size, image, tags, ..
                } = planned.droplet;
                shapes
                    .entry((size, image, tags, !planned.first.is_empty()))
                    .or_default()
                    .push(position);
            }
        }
        let mut groups: Vec<&[usize]> = shapes
            .values()
            .flat_map(|positions| positions.chunks(PER_CREATE))
            .collect();
        // In the order of the manifest's addresses, whatever their shapes.
        groups.sort_by_key(|group| group[0]);
        let mut created = vec![None; droplets.len()];
        for group in groups {
            let first = &droplets[group[0]].droplet;
            let (image, needs) = self.image(&first.image);
            let mut tags = (*first.tags).clone();
            tags.push(expiry.to_owned());
            tags.sort();
            let step = self.step(
                &first.address,
                StepKind::CreateDroplets {
                    spec: Box::new(DropletSpec {
                        region: self.scope.region.clone(),
                        size: first.size.as_str().to_owned(),
                        image,
                        tags: tags.clone(),
                        ssh_key_fingerprint: desired.ssh_key.fingerprint.clone(),
                        user: self.scope.user.clone(),
                        host_key: self.scope.host_key,
                    }),
                    droplets: group
                        .iter()
                        .map(|&position| NewDroplet {
                            address: droplets[position].droplet.address.clone(),
                            name: droplets[position].droplet.name.clone(),
                        })
                        .collect(),
                },
            );
            for &(before, reason) in &self.foundations {
                self.graph.needs(before, step, reason);
            }
            if let Some(counts) = needs {
                self.graph.needs(
                    counts,
                    step,
                    "it is made from a snapshot that must count first",
                );
            }
            for &position in group {
                for &before in &droplets[position].first {
                    self.graph
                        .needs(before, step, "the one that has its name must be gone first");
                }
                created[position] = Some(step);
            }
            let stays = |position: &usize| droplets[*position].end == End::Stays;
            if group.iter().any(stays) {
                self.bear_tags(&tags);
            }
            if !group.iter().all(stays) {
                self.drop_tags(&tags);
            }
        }
        created
    }
}
