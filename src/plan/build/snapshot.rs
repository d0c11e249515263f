//! Snapshots: built by a builder droplet, tagged, and only then in the place of older ones.

use super::{Draft, PlannedImage, because};
use crate::desired::{Desired, Image};
use crate::live::LiveDroplet;
use crate::plan::change::{Action, Cause, FieldChange, Reason};
use crate::plan::compare::{lost, made, snapshot};
use crate::plan::cost;
use crate::plan::narrow::REPLACE;
use crate::plan::step::{
    DropletRef, DropletSpec, ImageRef, NewDroplet, ProvisionStep, StepId, StepKind,
};

impl<'a> Draft<'a> {
    /// Builds, completes or keeps a snapshot; `leftover` are steps that destroy builders of
    /// earlier runs, `expiry` is the expiry tag of a builder.
    pub fn draw_snapshot(
        &mut self,
        desired: &'a Desired,
        verdict: &snapshot::Verdict<'a>,
        leftovers: &[(&'a LiveDroplet, StepId)],
        expiry: &str,
    ) {
        let snapshot = verdict.snapshot;
        let address = &snapshot.address;
        self.borne.extend(snapshot.tags.iter().cloned());
        let (reference, counts, min_disk) = match verdict.state {
            snapshot::State::Keep(image) => {
                (ImageRef::Id(image.id), None, Some(image.min_disk_gib))
            }
            snapshot::State::Complete(image) => {
                let tag = self.draw_tag(verdict, ImageRef::Id(image.id));
                for &(_, destroy) in leftovers {
                    self.graph.after(
                        destroy,
                        tag,
                        "the builder of the run that could not finish goes first",
                    );
                }
                (ImageRef::Id(image.id), Some(tag), Some(image.min_disk_gib))
            }
            snapshot::State::Build => {
                let (take, tag) = self.draw_build(desired, verdict, leftovers, expiry);
                let disk = self
                    .live
                    .catalog
                    .size(&snapshot.size)
                    .map(|size| size.disk_gib);
                (ImageRef::Taken(take), Some(tag), disk)
            }
        };
        let copies = self.draw_transfers(verdict, &reference, counts);
        // Droplets of this region wait for no other's copy.
        let counts = copies
            .iter()
            .find(|(region, _)| **region == self.scope.region)
            .map_or(counts, |(_, step)| Some(*step));
        for image in &verdict.prune {
            self.drop_tags(&image.tags);
            let step = self.step(
                address,
                StepKind::Prune {
                    id: image.id,
                    name: image.name.clone(),
                },
            );
            if let Some(counts) = counts {
                self.graph.needs(
                    counts,
                    step,
                    "an old snapshot goes only once the new one counts",
                );
            }
            for &(_, copy) in &copies {
                self.graph.needs(
                    copy,
                    step,
                    "an old snapshot goes only once the new one is wherever it shall be",
                );
            }
        }
        if verdict.unfinished {
            self.notices.push(format!(
                "{address}: an image `{}` that is not finished is left alone",
                snapshot.image_name
            ));
        }
        self.change_snapshot(desired, verdict);
        self.images.insert(
            &snapshot.name,
            PlannedImage {
                snapshot,
                reference,
                counts,
                min_disk_gib: min_disk,
            },
        );
    }

    /// Copies to further regions, with the regions' slugs.
    fn draw_transfers<'v>(
        &mut self,
        verdict: &'v snapshot::Verdict<'a>,
        image: &ImageRef,
        counts: Option<StepId>,
    ) -> Vec<(&'v String, StepId)> {
        let mut copies = Vec::new();
        for region in &verdict.transfers {
            let step = self.step(
                &verdict.snapshot.address,
                StepKind::Transfer {
                    image: image.clone(),
                    region: region.clone(),
                },
            );
            if let ImageRef::Taken(take) = image {
                self.graph
                    .needs(*take, step, "there must be a snapshot to copy");
            }
            if let Some(counts) = counts {
                self.graph
                    .needs(counts, step, "only a snapshot that counts is copied");
            }
            copies.push((region, step));
        }
        copies
    }

    fn draw_tag(&mut self, verdict: &snapshot::Verdict<'a>, image: ImageRef) -> StepId {
        let step = self.step(
            &verdict.snapshot.address,
            StepKind::TagSnapshot {
                image,
                tags: verdict.snapshot.tags.clone(),
            },
        );
        if let Some(tags) = self.tags {
            self.graph
                .needs(tags, step, "only a tag that exists can be given");
        }
        step
    }

    /// The steps of a build. Returns the one that takes the snapshot and the one that tags it.
    fn draw_build(
        &mut self,
        desired: &'a Desired,
        verdict: &snapshot::Verdict<'a>,
        leftovers: &[(&'a LiveDroplet, StepId)],
        expiry: &str,
    ) -> (StepId, StepId) {
        let snapshot = verdict.snapshot;
        let address = &snapshot.address;
        let (image, needs) = self.image(&snapshot.from);
        let mut tags = snapshot.builder_tags.clone();
        tags.push(expiry.to_owned());
        tags.sort();
        self.drop_tags(&tags);
        let create = self.step(
            address,
            StepKind::CreateDroplets {
                spec: Box::new(DropletSpec {
                    region: self.scope.region.clone(),
                    size: snapshot.size.clone(),
                    image,
                    tags,
                    ssh_key_fingerprint: desired.ssh_key.fingerprint.clone(),
                    user: self.scope.user.clone(),
                    host_key: self.scope.host_key,
                }),
                droplets: vec![NewDroplet {
                    address: address.clone(),
                    name: snapshot.builder_name.as_str().into(),
                }],
            },
        );
        for &(step, reason) in &self.foundations {
            self.graph.needs(step, create, reason);
        }
        if let Some(counts) = needs {
            self.graph.needs(
                counts,
                create,
                "the builder is made from the snapshot below",
            );
        }
        for &(_, destroy) in leftovers {
            self.graph.needs(
                destroy,
                create,
                "a builder of an earlier run has the same name",
            );
        }
        let droplet = DropletRef::Created {
            step: create,
            name: snapshot.builder_name.as_str().into(),
        };
        let mut chain = vec![create];
        let connect = self.step(
            address,
            StepKind::Connect {
                droplet: droplet.clone(),
                user: self.user.clone(),
                host_key: self.scope.host_key,
            },
        );
        self.graph
            .needs(create, connect, "there must be a droplet to log in to");
        chain.push(connect);
        let mut last = connect;
        let of = u32::try_from(snapshot.provision.len()).unwrap_or(u32::MAX);
        for (number, step) in (1..).zip(&snapshot.provision) {
            let provision = self.step(
                address,
                StepKind::Provision {
                    droplet: droplet.clone(),
                    number,
                    of,
                    step: Box::new(step.clone()),
                },
            );
            let reason = if number == 1 {
                "provisioning needs a login"
            } else {
                "a recipe is done in order"
            };
            self.graph.needs(last, provision, reason);
            chain.push(provision);
            last = provision;
        }
        let off = self.step(
            address,
            StepKind::PowerOff {
                droplet: droplet.clone(),
            },
        );
        self.graph.needs(
            last,
            off,
            "only a recipe that was done to its end makes a snapshot",
        );
        let take = self.step(
            address,
            StepKind::TakeSnapshot {
                droplet: droplet.clone(),
                name: snapshot.image_name.clone(),
            },
        );
        self.graph.needs(
            off,
            take,
            "a snapshot of a droplet that is off is consistent",
        );
        let tag = self.draw_tag(verdict, ImageRef::Taken(take));
        self.graph
            .needs(take, tag, "there must be a snapshot to tag");
        chain.extend([off, take, tag]);
        let keep = self.keep_builder;
        let destroy = self.removing(
            address,
            StepKind::DestroyDroplet {
                droplet: droplet.clone(),
                tag: self.environment_tag.clone(),
            },
            !keep,
        );
        if keep {
            self.graph.needs(
                tag,
                destroy,
                "`--keep-builder`: one whose snapshot does not come about stays",
            );
        }
        for &step in &chain {
            self.graph.after(
                step,
                destroy,
                "the builder goes once its snapshot is tagged, or cannot be taken any more",
            );
        }
        if keep {
            chain.push(destroy);
            self.draw_keeping(address, droplet, None, &chain);
        }
        self.destroys.push(destroy);
        (take, tag)
    }

    fn change_snapshot(&mut self, desired: &'a Desired, verdict: &snapshot::Verdict<'a>) {
        let snapshot = verdict.snapshot;
        let address = &snapshot.address;
        match verdict.state {
            snapshot::State::Build => {
                let mut fields = vec![
                    FieldChange {
                        old: verdict.before.map(|image| image.name.clone()),
                        ..made("name", &snapshot.image_name)
                    },
                    made("from", image_name(desired, &snapshot.from)),
                    made("builder", &snapshot.size),
                ];
                fields.extend((1..).zip(&snapshot.provision).map(described));
                fields.extend(
                    verdict
                        .transfers
                        .iter()
                        .map(|region| made("region", region)),
                );
                fields.extend(verdict.prune.iter().map(|image| lost("prune", &image.name)));
                let reasons = match (verdict.before, verdict.upstream) {
                    (Some(_), _) if verdict.forced => because(Cause::Command, REPLACE),
                    (Some(before), _) if verdict.aged => because(
                        Cause::Age,
                        format!(
                            "`{}` is older than `refresh: {}`",
                            before.name,
                            snapshot
                                .refresh
                                .map(|age| age.to_string())
                                .unwrap_or_default()
                        ),
                    ),
                    (Some(_), true) => because(
                        Cause::Upstream,
                        "the snapshot it is made from is built anew",
                    ),
                    (Some(_), false) => because(Cause::Manifest, "its recipe changed"),
                    (None, _) => Vec::new(),
                };
                let action = if verdict.prune.is_empty() {
                    Action::Create
                } else {
                    Action::CreateThenDestroy
                };
                let id = verdict.prune.last().map(|image| image.id.to_string());
                self.change(address, &snapshot.image_name, id, action, reasons, fields);
            }
            snapshot::State::Complete(image) | snapshot::State::Keep(image) => {
                let complete = matches!(verdict.state, snapshot::State::Complete(_));
                let mut reasons: Vec<Reason> = Vec::new();
                let mut fields = Vec::new();
                if complete {
                    reasons = because(
                        Cause::Leftover,
                        "an earlier run took it and could not tag it any more",
                    );
                    fields.push(made("tags", snapshot.tags.join(", ")));
                }
                if !verdict.transfers.is_empty() {
                    reasons.extend(because(
                        Cause::Manifest,
                        format!("it is to be in {} too", verdict.transfers.join(", ")),
                    ));
                    fields.extend(
                        verdict
                            .transfers
                            .iter()
                            .map(|region| made("region", region)),
                    );
                }
                if !verdict.prune.is_empty() {
                    reasons.extend(because(
                        Cause::Manifest,
                        format!("`keep: {}`: older ones go", snapshot.keep),
                    ));
                    fields.extend(verdict.prune.iter().map(|image| {
                        lost(
                            "prune",
                            format!(
                                "{} ({}/month)",
                                image.name,
                                cost::image_monthly(image.size_mb)
                            ),
                        )
                    }));
                }
                let action = if fields.is_empty() {
                    Action::Keep
                } else {
                    Action::Update
                };
                self.change(
                    address,
                    &image.name,
                    Some(image.id.to_string()),
                    action,
                    reasons,
                    fields,
                );
            }
        }
    }

    /// What a droplet is made from, and the step it must wait for.
    pub(super) fn image(&self, image: &Image) -> (ImageRef, Option<StepId>) {
        match image {
            Image::Slug(slug) => (ImageRef::Slug(slug.as_str().to_owned()), None),
            Image::Id(id) => (ImageRef::Id(*id), None),
            Image::Snapshot(name) => {
                let planned = self
                    .images
                    .get(name.as_str())
                    .expect("snapshots are drawn before what is made from them");
                (planned.reference.clone(), planned.counts)
            }
        }
    }
}

/// What an image is called in a plan.
pub(super) fn image_name(desired: &Desired, image: &Image) -> String {
    match image {
        Image::Slug(slug) => slug.as_str().to_owned(),
        Image::Id(id) => format!("image {id}"),
        Image::Snapshot(name) => desired.snapshot(name).map_or_else(
            || name.as_str().to_owned(),
            |snapshot| snapshot.image_name.clone(),
        ),
    }
}

fn described((number, step): (usize, &ProvisionStep)) -> FieldChange {
    match step {
        ProvisionStep::Run { script, .. } => {
            made(&format!("provision[{number}]"), script.trim_end())
        }
        ProvisionStep::Copy { from, to, .. } => made(
            &format!("provision[{number}]"),
            format!("copy {from} to {to}"),
        ),
    }
}
