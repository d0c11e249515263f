//! Volumes: names, tags, and the tag that keeps what cannot be read back.

use serde::Serialize;

use super::expand::{environment_tags, image, project_tags, sorted, spec_tag, volume_name};
use super::snapshots::{base, first_words};
use super::spec::ProvisionStep;
use super::{DesiredError, Populate, Snapshot, Volume, names, recipe};
use crate::address::Address;
use crate::digest::Digest;
use crate::live::ownership;
use crate::manifest::Manifest;
use crate::manifest::schema;
use crate::units::Seconds;

/// The part of a volume that cannot be read back. The project's name keeps the tag from being
/// shared with others, so that it can be removed with the volume.
#[derive(Serialize)]
struct VolumeSpecDigest<'a> {
    owner: &'a str,
    filesystem: schema::Filesystem,
}

/// The spec tag of a volume of that file system.
pub(crate) fn volume_spec_tag(owner_tag: &str, filesystem: schema::Filesystem) -> String {
    let digest = Digest::of(&VolumeSpecDigest {
        owner: owner_tag,
        filesystem,
    });
    ownership::spec_tag(digest.short())
}

/// How long a step that fills a volume may take when the manifest does not say.
const POPULATE_TIMEOUT: Seconds = Seconds(60 * 60);

/// What fills a volume; `owner` is the tag of whose it is.
fn populate(
    manifest: &Manifest,
    name: &str,
    populate: &schema::Populate,
    owner: &str,
    snapshots: &[Snapshot],
) -> Result<Populate, DesiredError> {
    let address = Address::volume(name);
    let image = image(manifest, &address, &populate.image)?;
    let steps: Vec<ProvisionStep> = populate
        .run
        .iter()
        .map(|step| ProvisionStep::Run {
            name: step
                .name
                .clone()
                .unwrap_or_else(|| first_words(&step.command)),
            script: step.command.clone(),
            env: Vec::new(),
            timeout: step.timeout.unwrap_or(POPULATE_TIMEOUT),
        })
        .collect();
    let recipe = recipe::digest(base(&image, snapshots), &steps);
    // The owner's name keeps the tag from being shared, so that it can be removed with the volume.
    let digest = Digest::of(&(owner, recipe.as_str()));
    let mut droplet_tags = environment_tags(manifest);
    droplet_tags.push(spec_tag(manifest, &("populate", recipe.as_str())));
    Ok(Populate {
        tag: ownership::populated_tag(digest.short()),
        marks: ownership::populating_tag(digest.short()),
        image,
        size: populate.size.clone(),
        steps,
        droplet: names::populator(&manifest.project, &manifest.environment, name),
        droplet_tags: sorted(droplet_tags),
    })
}

pub(super) fn volumes(
    manifest: &Manifest,
    snapshots: &[Snapshot],
) -> Result<Vec<Volume>, DesiredError> {
    let mut volumes = Vec::new();
    for (name, volume) in &manifest.volumes {
        let address = Address::volume(name);
        if volume.existing.is_some() {
            // Whoever made it says what it bears.
            volumes.push(Volume {
                address,
                name: volume_name(manifest, name, volume),
                size: None,
                filesystem: volume.filesystem,
                scope: schema::Scope::Project,
                tags: Vec::new(),
                populate: None,
            });
            continue;
        }
        let Some(size) = volume.size else {
            return Err(DesiredError::VolumeWithoutSize(address));
        };
        let (mut tags, owner) = match volume.scope {
            schema::Scope::Project => (
                project_tags(manifest),
                ownership::project_tag(&manifest.project),
            ),
            schema::Scope::Environment => (
                environment_tags(manifest),
                ownership::environment_tag(&manifest.project, &manifest.environment),
            ),
        };
        tags.push(volume_spec_tag(&owner, volume.filesystem));
        volumes.push(Volume {
            address,
            name: volume_name(manifest, name, volume),
            size: Some(size),
            filesystem: volume.filesystem,
            scope: volume.scope,
            tags: sorted(tags),
            populate: volume
                .populate
                .as_ref()
                .map(|wanted| populate(manifest, name, wanted, &owner, snapshots))
                .transpose()?,
        });
    }
    volumes.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(volumes)
}
