//! Volumes: names, tags, and the tag that keeps what cannot be read back.

use serde::Serialize;

use super::expand::{environment_tags, project_tags, sorted, volume_name};
use super::{DesiredError, Volume};
use crate::address::Address;
use crate::digest::Digest;
use crate::live::ownership;
use crate::manifest::Manifest;
use crate::manifest::schema;

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

pub(super) fn volumes(manifest: &Manifest) -> Result<Vec<Volume>, DesiredError> {
    let mut volumes = Vec::new();
    for (name, volume) in &manifest.volumes {
        let address = Address::Volume(name.clone());
        if volume.existing.is_some() {
            // Whoever made it says what it bears.
            volumes.push(Volume {
                address,
                name: volume_name(manifest, name, volume),
                size: None,
                filesystem: volume.filesystem,
                scope: schema::Scope::Project,
                tags: Vec::new(),
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
        });
    }
    volumes.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(volumes)
}
