//! From a manifest to what should exist: defaults, instances, names, tags.

use std::collections::BTreeMap;

use serde::Serialize;

use super::spec::{BackgroundSpec, ProbeSpec, ReadySpec, RunSpec, SourceSpec};
use super::{
    Desired, DesiredError, Droplet, Image, Inputs, Mount, Run, Scope, ScopeDroplet, VolumeCopy,
    firewall, git_read, names, snapshots, user_data, volumes,
};
use crate::address::{Address, Instance};
use crate::digest::Digest;
use crate::live::ownership;
use crate::manifest::Manifest;
use crate::manifest::http_target;
use crate::manifest::schema::{self, Access, HostKeyPolicy, ImageSource, When};
use crate::shared::{Shared, Texts};
use crate::units::Seconds;

/// How long a run step may take when the manifest does not say.
const RUN_TIMEOUT: Seconds = Seconds(60 * 60);
/// How long a background step may take to be ready when the manifest does not say.
const READY_TIMEOUT: Seconds = Seconds(60);

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

/// Which of its kind a droplet is, from 1.
const INDEX: &str = "DEWPOINT_INDEX";
/// How many there are of its kind.
const COUNT: &str = "DEWPOINT_COUNT";

/// What the droplets of one kind have in common: it lies in memory once for all of them.
struct Kind<'a> {
    manifest: &'a Manifest,
    droplet: &'a schema::Droplet,
    source: Option<&'a SourceSpec>,
    /// Variables that are the same on all, those that tell them apart left out.
    environment: Variable,
    counts: Variable,
    own: Vec<Variable>,
    /// Names of variables that tell them apart.
    name: Shared<str>,
    index: Shared<str>,
    secrets: Texts,
    cwd: Option<Shared<str>>,
    runs: Vec<KindRun>,
    mounts: Vec<KindMount>,
}

/// What a run step is on all of them.
struct KindRun {
    name: Shared<str>,
    command: Shared<str>,
    artifacts: Texts,
}

/// What all of them mount.
struct KindMount {
    volume: Shared<str>,
    path: Shared<str>,
    /// Tags of their copies of the volume, if each has its own.
    copy_tags: Option<Texts>,
}

/// A variable and its value.
type Variable = (Shared<str>, Shared<str>);

impl<'a> Kind<'a> {
    fn of(
        manifest: &'a Manifest,
        droplet: &'a schema::Droplet,
        count: usize,
        source: Option<&'a SourceSpec>,
    ) -> Self {
        let variable = |name: &str, value: &str| (Shared::from(name), Shared::from(value));
        let copy_tags = |volume: &str| {
            let mut tags = environment_tags(manifest);
            let Manifest {
                project,
                environment,
                ..
            } = manifest;
            tags.push(ownership::clone_tag(project, environment, volume));
            Shared::from(sorted(tags))
        };
        let runs = droplet.run.iter().map(|run| KindRun {
            name: run.name.as_str().into(),
            command: run.command.as_str().into(),
            artifacts: run.artifacts.clone().into(),
        });
        let mounts = droplet.volumes.iter().map(|mount| KindMount {
            volume: mount.volume.as_str().into(),
            path: mount.mount.as_str().into(),
            copy_tags: (mount.access == Access::Clone).then(|| copy_tags(&mount.volume)),
        });
        let own = droplet.env.iter();
        Self {
            manifest,
            droplet,
            source,
            environment: variable("DEWPOINT_ENV", &manifest.environment),
            counts: variable(COUNT, &count.to_string()),
            own: own.map(|(name, value)| variable(name, value)).collect(),
            name: "DEWPOINT_DROPLET".into(),
            index: INDEX.into(),
            secrets: sorted(droplet.secrets.clone()).into(),
            cwd: source.map(|source| source.into_path().into()),
            runs: runs.collect(),
            mounts: mounts.collect(),
        }
    }

    /// What one of them mounts; `name` is its own on DigitalOcean.
    fn mounts(&self, name: &str) -> Vec<Mount> {
        let Manifest {
            project,
            environment,
            ..
        } = self.manifest;
        let mounts = self.mounts.iter().map(|mount| Mount {
            volume: mount.volume.clone(),
            path: mount.path.clone(),
            copy: mount.copy_tags.as_ref().map(|tags| VolumeCopy {
                name: names::clone(project, environment, name, &mount.volume).into(),
                tags: tags.clone(),
            }),
        });
        mounts.collect()
    }

    /// What runs on one of them, which is the `index`th of them, from 1.
    fn runs(&self, address: &Address, name: &Shared<str>, index: usize) -> Vec<Run> {
        let mut env = Vec::with_capacity(4 + self.own.len());
        env.extend([
            self.environment.clone(),
            (self.name.clone(), name.clone()),
            (self.index.clone(), index.to_string().into()),
            self.counts.clone(),
        ]);
        if let Some(Instance::Matrix(pairs)) = address.instance() {
            let pairs = pairs.iter();
            env.extend(pairs.map(|(key, value)| {
                (
                    Shared::from(matrix_variable(key)),
                    Shared::from(value.as_str()),
                )
            }));
        }
        env.extend(self.own.iter().cloned());
        let runs = self.droplet.run.iter().zip(&self.runs);
        runs.map(|(run, kind)| {
            let mut spec = RunSpec {
                name: kind.name.clone(),
                command: kind.command.clone(),
                env: env.clone(),
                secrets: self.secrets.clone(),
                cwd: self.cwd.clone(),
                timeout: run.timeout.unwrap_or(RUN_TIMEOUT),
                retries: run.retries,
                allow_failure: run.allow_failure,
                once: None,
                background: None,
            };
            if run.background {
                let ready = run.ready.as_ref().and_then(ready_spec);
                spec.timeout = ready.as_ref().map_or(READY_TIMEOUT, |ready| ready.timeout);
                spec.background = Some(BackgroundSpec {
                    definition: definition(&spec, self.source),
                    ready,
                });
            }
            if run.when == When::Once {
                // What it does, not how patiently: the same command with more retries has run.
                let env = counted_env(&spec);
                let what = Digest::of(&(&spec.name, &spec.command, &env, &spec.cwd));
                spec.once = Some(what.short().to_owned());
            }
            Run {
                spec: spec.into(),
                artifacts: kind.artifacts.clone(),
            }
        })
        .collect()
    }
}

/// All that makes a background step what it is; when it counts as ready is no part of that.
fn definition(spec: &RunSpec, source: Option<&SourceSpec>) -> Digest {
    let commit = match source {
        Some(SourceSpec::Git { url, commit, .. }) => Some((url, commit)),
        Some(SourceSpec::Path { .. }) | None => None,
    };
    let env = counted_env(spec);
    Digest::of(&(&spec.command, &env, &spec.secrets, &spec.cwd, commit))
}

/// The variables that make a command what it is. A droplet's place among those of its kind is part of
/// that only where the command names it: else each droplet's steps would be others whenever one more
/// is asked for.
fn counted_env(spec: &RunSpec) -> Vec<&Variable> {
    let counts = |name: &str| match name {
        INDEX | COUNT => spec.command.contains(name),
        _ => true,
    };
    spec.env.iter().filter(|(name, _)| counts(name)).collect()
}

/// When a background step is ready; `None` for a manifest that its own checks refuse.
fn ready_spec(ready: &schema::Ready) -> Option<ReadySpec> {
    let probe = match (ready.tcp, &ready.http, &ready.command) {
        (Some(port), None, None) => ProbeSpec::Tcp { port },
        (None, Some(url), None) => {
            let target = http_target(url)?;
            ProbeSpec::Http {
                url: url.clone(),
                own_port: target.is_local.then_some(target.port),
            }
        }
        (None, None, Some(script)) => ProbeSpec::Command {
            script: script.clone(),
        },
        _ => return None,
    };
    Some(ReadySpec {
        probe,
        timeout: ready.timeout.unwrap_or(READY_TIMEOUT),
    })
}

/// `DEWPOINT_MATRIX_<KEY>`: upper case, and `_` for what a variable's name cannot have.
fn matrix_variable(key: &str) -> String {
    let key: String = key
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
            _ => '_',
        })
        .collect();
    format!("DEWPOINT_MATRIX_{key}")
}

// ---- names

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_among_others_counts_only_where_a_command_names_it() {
        let spec = |command: &str, place: Option<&str>| {
            let mut env: Vec<Variable> = vec![("DEWPOINT_ENV".into(), "main".into())];
            env.extend(place.map(|count| (COUNT.into(), count.into())));
            RunSpec {
                name: "serve".into(),
                command: command.into(),
                env,
                secrets: Vec::new().into(),
                cwd: None,
                timeout: RUN_TIMEOUT,
                retries: 0,
                allow_failure: false,
                once: None,
                background: None,
            }
        };
        let digest = |command, place| definition(&spec(command, place), None);
        // As before there were such variables, and whatever the count is.
        let plain = "./serve --port 8000";
        assert_eq!(digest(plain, None), digest(plain, Some("2")));
        assert_eq!(digest(plain, Some("2")), digest(plain, Some("3")));
        let counting = "./serve --of $DEWPOINT_COUNT";
        assert_ne!(digest(counting, Some("2")), digest(counting, Some("3")));
    }
}
