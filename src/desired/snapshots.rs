//! Snapshots: each after the one it is made from, with its recipe and its builder.

use std::collections::BTreeMap;

use super::expand::{environment_tags, image, pairs, project_tags, sorted, spec_tag};
use super::spec::ProvisionStep;
use super::{DesiredError, Image, Inputs, Snapshot, names, recipe};
use crate::address::Address;
use crate::manifest::Manifest;
use crate::manifest::schema;
use crate::units::Seconds;

/// How long a script of a recipe may take when the manifest does not say.
const PROVISION_TIMEOUT: Seconds = Seconds(30 * 60);

pub(super) fn snapshots(
    manifest: &Manifest,
    inputs: &Inputs,
) -> Result<Vec<Snapshot>, DesiredError> {
    let mut done: Vec<Snapshot> = Vec::new();
    let mut waiting: BTreeMap<&String, &schema::Snapshot> = manifest.snapshots.iter().collect();
    while !waiting.is_empty() {
        // The first by name whose base is done: the order of the manifest does not matter.
        let mut ready = None;
        for (&name, &snapshot) in &waiting {
            let address = Address::snapshot(name);
            let from = image(manifest, &address, &snapshot.from)?;
            let is_ready = match &from {
                Image::Snapshot(parent) => done.iter().any(|done| done.name == *parent),
                Image::Slug(_) | Image::Id(_) => true,
            };
            if is_ready {
                ready = Some((name, snapshot, from));
                break;
            }
        }
        let Some((name, snapshot, from)) = ready else {
            let (name, _) = waiting.first_key_value().expect("the loop's condition");
            return Err(DesiredError::SnapshotCycle(Address::snapshot(name)));
        };
        waiting.remove(name);
        let built = self::snapshot(manifest, inputs, name, snapshot, from, &done)?;
        done.push(built);
    }
    Ok(done)
}

fn snapshot(
    manifest: &Manifest,
    inputs: &Inputs,
    name: &str,
    snapshot: &schema::Snapshot,
    from: Image,
    done: &[Snapshot],
) -> Result<Snapshot, DesiredError> {
    let address = Address::snapshot(name);
    let provision = snapshot
        .provision
        .iter()
        .enumerate()
        .map(|(position, step)| provision_step(inputs, &address, position + 1, step))
        .collect::<Result<Vec<_>, _>>()?;
    let digest = recipe::digest(base(&from, done), &provision);
    let mut builder_tags = environment_tags(manifest);
    // The environment's name keeps the tag from being shared, so that it can be removed after.
    builder_tags.push(spec_tag(manifest, &("builder", digest.as_str())));
    Ok(Snapshot {
        name: name.to_owned(),
        lineage: names::lineage(&manifest.project, name),
        image_name: names::snapshot(&manifest.project, name, &digest),
        digest,
        from,
        size: snapshot.size.clone(),
        provision,
        keep: snapshot.keep.max(1),
        refresh: snapshot.refresh,
        regions: snapshot.regions.as_ref().map(|regions| {
            let others = regions.iter().filter(|region| **region != manifest.region);
            sorted(others.cloned().collect())
        }),
        tags: sorted(project_tags(manifest)),
        builder_name: names::builder(&manifest.project, &manifest.environment, name),
        builder_tags: sorted(builder_tags),
        address,
    })
}

/// What a droplet is made from, as far as a recipe goes.
pub(super) fn base<'a>(from: &'a Image, done: &'a [Snapshot]) -> recipe::Base<'a> {
    match from {
        Image::Slug(slug) => recipe::Base::Slug(slug),
        Image::Id(id) => recipe::Base::Id(*id),
        Image::Snapshot(parent) => {
            let parent = done.iter().find(|done| done.name == *parent);
            recipe::Base::Snapshot(&parent.expect("parents are done first").digest)
        }
    }
}

fn provision_step(
    inputs: &Inputs,
    address: &Address,
    number: usize,
    step: &schema::Provision,
) -> Result<ProvisionStep, DesiredError> {
    match (&step.run, &step.copy) {
        (Some(script), None) => Ok(ProvisionStep::Run {
            name: step.name.clone().unwrap_or_else(|| first_words(script)),
            script: script.clone(),
            env: pairs(&step.env),
            timeout: step.timeout.unwrap_or(PROVISION_TIMEOUT),
        }),
        (None, Some(copy)) => Ok(ProvisionStep::Copy {
            name: step
                .name
                .clone()
                .unwrap_or_else(|| format!("copy {}", copy.from)),
            from: copy.from.clone(),
            to: copy.to.clone(),
            digest: inputs
                .copies
                .get(&copy.from)
                .cloned()
                .ok_or_else(|| DesiredError::NotRead(copy.from.clone()))?,
        }),
        _ => Err(DesiredError::ProvisionShape {
            address: address.clone(),
            number,
        }),
    }
}

/// What a script without a name is called: the beginning of its first line.
pub(super) fn first_words(script: &str) -> String {
    let line = script
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or("script");
    match line.char_indices().nth(32) {
        Some((end, _)) => format!("{}...", line[..end].trim_end()),
        None => line.to_owned(),
    }
}
