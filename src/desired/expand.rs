//! From a manifest to what should exist: defaults, instances, names, tags.

use std::collections::BTreeMap;

use serde::Serialize;

use super::kind::Kind;
use super::spec::SourceSpec;
use super::{
    Desired, DesiredError, Droplet, Image, Inputs, Scope, ScopeDroplet, firewall, git_read, names,
    snapshots, user_data, volumes,
};
use crate::address::{Address, Instance};
use crate::digest::Digest;
use crate::live::ownership;
use crate::manifest::Manifest;
use crate::manifest::schema::{self, Access, HostKeyPolicy, ImageSource};
use crate::shared::Shared;

pub(super) fn scope(manifest: &Manifest) -> Scope {
    let project = &manifest.project;
    let environment = &manifest.environment;
    let mut droplets = BTreeMap::new();
    for (name, droplet) in &manifest.droplets {
        for address in addresses(name, droplet) {
            let full = names::droplet(project, environment, name, address.instance());
            let mounts: BTreeMap<String, String> = droplet
                .volumes
                .iter()
                .filter_map(|mount| {
                    let volume = manifest.volumes.get(&mount.volume)?;
                    let name = match mount.access {
                        Access::Exclusive => volume_name(manifest, &mount.volume, volume),
                        Access::Clone => names::clone(project, environment, &full, &mount.volume),
                    };
                    Some((name, mount.mount.clone()))
                })
                .collect();
            droplets.insert(
                full,
                ScopeDroplet {
                    address,
                    mounts,
                    has_background: droplet.run.iter().any(|run| run.background),
                },
            );
        }
    }
    Scope {
        project: project.clone(),
        environment: environment.clone(),
        region: manifest.region.clone(),
        protect: manifest.protect.clone(),
        user: manifest.ssh.user.clone(),
        host_key: manifest.ssh.host_key,
        key_generated: manifest.ssh.key == "generated",
        droplets,
        volumes: manifest
            .volumes
            .iter()
            .map(|(name, volume)| (volume_name(manifest, name, volume), Address::volume(name)))
            .collect(),
        was: manifest
            .volumes
            .iter()
            .filter_map(|(name, volume)| {
                let was = volume.was.as_ref()?;
                let now = volume_name(manifest, name, volume);
                Some((now, volume_name(manifest, was, volume)))
            })
            .collect(),
        existing: manifest
            .volumes
            .values()
            .filter_map(|volume| volume.existing.clone())
            .collect(),
        snapshots: manifest.snapshots.keys().cloned().collect(),
    }
}

pub(super) fn desired(manifest: &Manifest, inputs: &Inputs) -> Result<Desired, DesiredError> {
    let snapshots = snapshots::snapshots(manifest, inputs)?;
    let volumes = volumes::volumes(manifest, &snapshots)?;
    let droplets = droplets(manifest, inputs, &snapshots)?;
    let desired = Desired {
        scope: scope(manifest),
        ttl: manifest.ttl,
        limits: manifest.limits.clone(),
        ssh_key: inputs.ssh_key.clone(),
        firewall: firewall::firewall(manifest),
        volumes,
        snapshots,
        droplets,
    };
    check_names(&desired)?;
    Ok(desired)
}

pub(super) fn project_tags(manifest: &Manifest) -> Vec<String> {
    vec![
        ownership::TAG.to_owned(),
        ownership::project_tag(&manifest.project),
    ]
}

pub(super) fn environment_tags(manifest: &Manifest) -> Vec<String> {
    let mut tags = project_tags(manifest);
    tags.push(ownership::environment_tag(
        &manifest.project,
        &manifest.environment,
    ));
    tags
}

pub(super) fn sorted(mut tags: Vec<String>) -> Vec<String> {
    tags.sort();
    tags.dedup();
    tags
}

pub(super) fn volume_name(manifest: &Manifest, name: &str, volume: &schema::Volume) -> String {
    if let Some(existing) = &volume.existing {
        return existing.clone();
    }
    match volume.scope {
        schema::Scope::Project => names::project_volume(&manifest.project, name),
        schema::Scope::Environment => {
            names::environment_volume(&manifest.project, &manifest.environment, name)
        }
    }
}

// ---- droplets

pub(super) fn image(
    manifest: &Manifest,
    by: &Address,
    source: &ImageSource,
) -> Result<Image, DesiredError> {
    match source {
        ImageSource::Slug(slug) => Ok(Image::Slug(slug.clone().into())),
        ImageSource::Id(id) => Ok(Image::Id(*id)),
        ImageSource::Snapshot(reference) => {
            if manifest.snapshots.contains_key(&reference.snapshot) {
                Ok(Image::Snapshot(reference.snapshot.clone().into()))
            } else {
                Err(DesiredError::UnknownSnapshot {
                    by: by.clone(),
                    name: reference.snapshot.clone(),
                })
            }
        }
    }
}

pub(super) fn pairs(map: &indexmap::IndexMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The instances that `count` or `matrix` ask for: one without a name, none, or several.
fn instances(droplet: &schema::Droplet) -> Vec<Option<Instance>> {
    if !droplet.matrix.is_empty() {
        let mut combinations: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for (key, values) in &droplet.matrix {
            combinations = combinations
                .iter()
                .flat_map(|combination| {
                    values.iter().map(|value| {
                        let mut longer = combination.clone();
                        longer.push((key.clone(), value.clone()));
                        longer
                    })
                })
                .collect();
        }
        return combinations
            .into_iter()
            .map(|pairs| Some(Instance::Matrix(pairs)))
            .collect();
    }
    match droplet.count.unwrap_or(1) {
        1 => vec![None],
        count => (1..=count).map(|i| Some(Instance::Index(i))).collect(),
    }
}

/// The addresses of the instances of a droplet.
pub(super) fn addresses(name: &str, droplet: &schema::Droplet) -> Vec<Address> {
    let name = Shared::<str>::from(name);
    instances(droplet)
        .into_iter()
        .map(|instance| Address::Droplet {
            name: name.clone(),
            instance,
        })
        .collect()
}

/// The part of a droplet that cannot be read back. The environment's name is in it, as it is in
/// the host key that user data holds; so no other environment shares the tag.
#[derive(Serialize)]
struct DropletSpecDigest<'a> {
    user_data: u32,
    fingerprint: &'a str,
    host_key: HostKeyPolicy,
    image: &'a Image,
    /// Digest of the recipe of the snapshot it is made from: what a droplet was made from is known
    /// also when that image is there no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<&'a str>,
}

pub(super) fn spec_tag<T: Serialize>(manifest: &Manifest, part: &T) -> String {
    let digest = Digest::of(&(&manifest.project, &manifest.environment, part));
    ownership::spec_tag(digest.short())
}

fn droplets(
    manifest: &Manifest,
    inputs: &Inputs,
    snapshots: &[super::Snapshot],
) -> Result<Vec<Droplet>, DesiredError> {
    let mut droplets = Vec::new();
    for (name, droplet) in &manifest.droplets {
        let whole = Address::droplet(name);
        let image = image(manifest, &whole, &droplet.image)?;
        let recipe = match &image {
            Image::Snapshot(from) => snapshots
                .iter()
                .find(|snapshot| snapshot.name == *from)
                .map(|snapshot| snapshot.digest.as_str()),
            Image::Slug(_) | Image::Id(_) => None,
        };
        let mut tags = environment_tags(manifest);
        tags.push(spec_tag(
            manifest,
            &DropletSpecDigest {
                user_data: user_data::VERSION,
                fingerprint: &inputs.ssh_key.fingerprint,
                host_key: manifest.ssh.host_key,
                image: &image,
                recipe,
            },
        ));
        tags.extend(droplet.tags.iter().cloned());
        let tags = sorted(tags);
        if let Some(mount) = droplet
            .volumes
            .iter()
            .find(|mount| !manifest.volumes.contains_key(&mount.volume))
        {
            return Err(DesiredError::UnknownVolume {
                by: whole,
                name: mount.volume.clone(),
            });
        }
        let source = droplet
            .source
            .as_ref()
            .map(|source| source_spec(inputs, name, source))
            .transpose()?
            .map(Shared::from);
        let addresses = addresses(name, droplet);
        let kind = Kind::of(manifest, droplet, addresses.len(), source.as_deref());
        let size = Shared::<str>::from(droplet.size.as_str());
        let tags = Shared::from(tags);
        let needs = Shared::from(waits_for(manifest, droplet));
        for (index, address) in (1..).zip(addresses) {
            let full: Shared<str> = names::droplet(
                &manifest.project,
                &manifest.environment,
                name,
                address.instance(),
            )
            .into();
            droplets.push(Droplet {
                runs: kind.runs(&address, &full, index),
                mounts: kind.mounts(&full),
                address,
                name: full,
                image: image.clone(),
                size: size.clone(),
                tags: tags.clone(),
                source: source.clone(),
                needs: needs.clone(),
                after_run: droplet.after_run,
            });
        }
    }
    droplets.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(droplets)
}

/// Whom a droplet waits for: a copy of a volume is one of what those leave there that have it itself.
fn waits_for(manifest: &Manifest, droplet: &schema::Droplet) -> Vec<String> {
    let mut names = droplet.needs.clone();
    let clones = droplet.volumes.iter();
    for clone in clones.filter(|mount| mount.access == Access::Clone) {
        let users = manifest.droplets.iter().filter(|(_, other)| {
            other
                .volumes
                .iter()
                .any(|mount| mount.volume == clone.volume && mount.access == Access::Exclusive)
        });
        names.extend(users.map(|(name, _)| name.clone()));
    }
    sorted(names)
}

fn source_spec(
    inputs: &Inputs,
    droplet: &str,
    source: &schema::Source,
) -> Result<SourceSpec, DesiredError> {
    match (&source.git, &source.path) {
        (Some(url), None) => {
            let read = git_read(source).expect("it names a repository");
            let found = inputs
                .commits
                .get(&read)
                .ok_or_else(|| DesiredError::NotRead(url.clone()))?;
            Ok(SourceSpec::Git {
                url: url.clone(),
                reference: found.reference.clone(),
                commit: found.commit.clone(),
                into: source.into.clone().unwrap_or_else(|| default_into(url)),
            })
        }
        (None, Some(path)) => Ok(SourceSpec::Path {
            path: path.clone(),
            into: source.into.clone().unwrap_or_else(|| default_into(path)),
        }),
        _ => Err(DesiredError::SourceShape(droplet.to_owned())),
    }
}

/// `/opt/` and the name of the repository or folder; `/opt/source` for one that has none, such
/// as `.`, since the name of the manifest's folder differs from machine to machine.
fn default_into(place: &str) -> String {
    let last = place
        .trim_end_matches('/')
        .rsplit(['/', ':'])
        .next()
        .unwrap_or_default();
    let last = last.strip_suffix(".git").unwrap_or(last);
    let plain = !last.is_empty()
        && last
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && last.chars().any(|c| c != '.');
    format!("/opt/{}", if plain { last } else { "source" })
}

fn check_names(desired: &Desired) -> Result<(), DesiredError> {
    let mut seen: BTreeMap<&str, &Address> = BTreeMap::new();
    for droplet in &desired.droplets {
        if let Some(first) = seen.insert(&droplet.name, &droplet.address) {
            return Err(same_name(first, &droplet.address, &droplet.name));
        }
    }
    let mut seen: BTreeMap<&str, &Address> = BTreeMap::new();
    for volume in &desired.volumes {
        if let Some(first) = seen.insert(&volume.name, &volume.address) {
            return Err(same_name(first, &volume.address, &volume.name));
        }
        if volume.name.len() > names::VOLUME_MAX {
            return Err(DesiredError::NameTooLong {
                address: volume.address.clone(),
                name: volume.name.clone(),
                max: names::VOLUME_MAX,
            });
        }
    }
    Ok(())
}

fn same_name(first: &Address, second: &Address, name: &str) -> DesiredError {
    DesiredError::SameName {
        first: first.clone(),
        second: second.clone(),
        name: name.to_owned(),
    }
}
