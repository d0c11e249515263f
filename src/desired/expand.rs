//! From a manifest to what should exist: defaults, instances, names, tags.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::spec::{FirewallSpec, ProvisionStep, RunSpec, SourceSpec};
use super::{
    Desired, DesiredError, Droplet, Image, Inputs, Mount, Run, Scope, ScopeDroplet, Snapshot,
    Volume, git_read, names, recipe, user_data,
};
use crate::address::{Address, Instance};
use crate::digest::Digest;
use crate::live::{FirewallRule, ownership};
use crate::manifest::Manifest;
use crate::manifest::schema::{
    self, AfterRun, AfterRunWord, Firewall, HostKeyPolicy, ImageSource, Protocol, When,
};
use crate::units::Seconds;

/// How long a script of a recipe may take when the manifest does not say.
const PROVISION_TIMEOUT: Seconds = Seconds(30 * 60);
/// How long a run step may take when the manifest does not say.
const RUN_TIMEOUT: Seconds = Seconds(60 * 60);

pub(super) fn scope(manifest: &Manifest) -> Scope {
    let project = &manifest.project;
    let environment = &manifest.environment;
    let mut droplets = BTreeMap::new();
    for (name, droplet) in &manifest.droplets {
        let mounts: BTreeMap<String, String> = droplet
            .volumes
            .iter()
            .filter_map(|mount| {
                let volume = manifest.volumes.get(&mount.volume)?;
                let name = volume_name(manifest, &mount.volume, volume.scope);
                Some((name, mount.mount.clone()))
            })
            .collect();
        for instance in instances(droplet) {
            let full = names::droplet(project, environment, name, instance.as_ref());
            droplets.insert(
                full,
                ScopeDroplet {
                    address: Address::Droplet {
                        name: name.clone(),
                        instance,
                    },
                    mounts: mounts.clone(),
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
            .map(|(name, volume)| {
                (
                    volume_name(manifest, name, volume.scope),
                    Address::Volume(name.clone()),
                )
            })
            .collect(),
        snapshots: manifest.snapshots.keys().cloned().collect(),
    }
}

pub(super) fn desired(manifest: &Manifest, inputs: &Inputs) -> Result<Desired, DesiredError> {
    let snapshots = snapshots(manifest, inputs)?;
    let volumes = volumes(manifest)?;
    let droplets = droplets(manifest, inputs)?;
    let desired = Desired {
        scope: scope(manifest),
        ttl: manifest.ttl,
        limits: manifest.limits.clone(),
        ssh_key: inputs.ssh_key.clone(),
        firewall: firewall(manifest),
        volumes,
        snapshots,
        droplets,
    };
    check_names(&desired)?;
    Ok(desired)
}

fn project_tags(manifest: &Manifest) -> Vec<String> {
    vec![
        ownership::TAG.to_owned(),
        ownership::project_tag(&manifest.project),
    ]
}

fn environment_tags(manifest: &Manifest) -> Vec<String> {
    let mut tags = project_tags(manifest);
    tags.push(ownership::environment_tag(
        &manifest.project,
        &manifest.environment,
    ));
    tags
}

fn sorted(mut tags: Vec<String>) -> Vec<String> {
    tags.sort();
    tags.dedup();
    tags
}

fn volume_name(manifest: &Manifest, name: &str, scope: schema::Scope) -> String {
    match scope {
        schema::Scope::Project => names::project_volume(&manifest.project, name),
        schema::Scope::Environment => {
            names::environment_volume(&manifest.project, &manifest.environment, name)
        }
    }
}

// ---- firewall

fn firewall(manifest: &Manifest) -> Option<FirewallSpec> {
    let rules = match &manifest.firewall {
        Firewall::Word(schema::FirewallWord::None) => return None,
        Firewall::Rules(rules) => rules,
    };
    let tag = ownership::environment_tag(&manifest.project, &manifest.environment);
    let mut inbound = vec![rule("tcp", "22", networks(&manifest.ssh.allow_from), &[])];
    for protocol in ["tcp", "udp", "icmp"] {
        inbound.push(rule(protocol, "0", Vec::new(), std::slice::from_ref(&tag)));
    }
    for added in &rules.inbound {
        let (protocol, ports) = match (added.protocol, added.ports.as_deref()) {
            (Protocol::Icmp, _) => ("icmp", "0"),
            (Protocol::Tcp, ports) => ("tcp", ports.unwrap_or("0")),
            (Protocol::Udp, ports) => ("udp", ports.unwrap_or("0")),
        };
        let ports = if ports == "all" { "0" } else { ports };
        inbound.push(rule(protocol, ports, networks(&added.from), &[]));
    }
    let everywhere = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let outbound = ["tcp", "udp", "icmp"]
        .map(|protocol| rule(protocol, "0", everywhere.clone(), &[]))
        .to_vec();
    Some(FirewallSpec {
        name: names::environment(&manifest.project, &manifest.environment),
        inbound: merged(&inbound),
        outbound: merged(&outbound),
        tags: vec![tag],
    })
}

fn networks(networks: &[ipnet::IpNet]) -> Vec<String> {
    // Bits beyond the prefix mean nothing; the API may drop them, which would look like a change.
    networks.iter().map(|net| net.trunc().to_string()).collect()
}

fn rule(protocol: &str, ports: &str, addresses: Vec<String>, tags: &[String]) -> FirewallRule {
    FirewallRule {
        protocol: protocol.to_owned(),
        ports: ports.to_owned(),
        addresses,
        tags: tags.to_vec(),
    }
}

/// One rule for each protocol and ports, peers sorted: rules are a set, and several of one kind
/// add up, so equal meaning becomes equal value.
pub(crate) fn merged(rules: &[FirewallRule]) -> Vec<FirewallRule> {
    type Peers<'a> = (BTreeSet<&'a String>, BTreeSet<&'a String>);
    let mut by_kind: BTreeMap<(&str, &str), Peers<'_>> = BTreeMap::new();
    for FirewallRule {
        protocol,
        ports,
        addresses,
        tags,
    } in rules
    {
        let peers = by_kind.entry((protocol, ports)).or_default();
        peers.0.extend(addresses);
        peers.1.extend(tags);
    }
    by_kind
        .into_iter()
        .map(|((protocol, ports), (addresses, tags))| FirewallRule {
            protocol: protocol.to_owned(),
            ports: ports.to_owned(),
            addresses: addresses.into_iter().cloned().collect(),
            tags: tags.into_iter().cloned().collect(),
        })
        .collect()
}

// ---- volumes

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

fn volumes(manifest: &Manifest) -> Result<Vec<Volume>, DesiredError> {
    let mut volumes = Vec::new();
    for (name, volume) in &manifest.volumes {
        let address = Address::Volume(name.clone());
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
            name: volume_name(manifest, name, volume.scope),
            size,
            filesystem: volume.filesystem,
            scope: volume.scope,
            tags: sorted(tags),
        });
    }
    volumes.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(volumes)
}

// ---- snapshots

fn image(manifest: &Manifest, by: &Address, source: &ImageSource) -> Result<Image, DesiredError> {
    match source {
        ImageSource::Slug(slug) => Ok(Image::Slug(slug.clone())),
        ImageSource::Id(id) => Ok(Image::Id(*id)),
        ImageSource::Snapshot(reference) => {
            if manifest.snapshots.contains_key(&reference.snapshot) {
                Ok(Image::Snapshot(reference.snapshot.clone()))
            } else {
                Err(DesiredError::UnknownSnapshot {
                    by: by.clone(),
                    name: reference.snapshot.clone(),
                })
            }
        }
    }
}

fn snapshots(manifest: &Manifest, inputs: &Inputs) -> Result<Vec<Snapshot>, DesiredError> {
    let mut done: Vec<Snapshot> = Vec::new();
    let mut waiting: BTreeMap<&String, &schema::Snapshot> = manifest.snapshots.iter().collect();
    while !waiting.is_empty() {
        // The first by name whose base is done: the order of the manifest does not matter.
        let mut ready = None;
        for (&name, &snapshot) in &waiting {
            let address = Address::Snapshot(name.clone());
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
            return Err(DesiredError::SnapshotCycle(Address::Snapshot(
                (*name).clone(),
            )));
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
    let address = Address::Snapshot(name.to_owned());
    let provision = snapshot
        .provision
        .iter()
        .enumerate()
        .map(|(position, step)| provision_step(inputs, &address, position + 1, step))
        .collect::<Result<Vec<_>, _>>()?;
    let base = match &from {
        Image::Slug(slug) => recipe::Base::Slug(slug),
        Image::Id(id) => recipe::Base::Id(*id),
        Image::Snapshot(parent) => {
            let parent = done.iter().find(|done| done.name == *parent);
            recipe::Base::Snapshot(&parent.expect("parents are done first").digest)
        }
    };
    let digest = recipe::digest(base, &provision);
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
        tags: sorted(project_tags(manifest)),
        builder_name: names::builder(&manifest.project, &manifest.environment, name),
        builder_tags: sorted(builder_tags),
        address,
    })
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
fn first_words(script: &str) -> String {
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

fn pairs(map: &indexmap::IndexMap<String, String>) -> Vec<(String, String)> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

// ---- droplets

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

/// The part of a droplet that cannot be read back. The environment's name is in it, as it is in
/// the host key that user data holds; so no other environment shares the tag.
#[derive(Serialize)]
struct DropletSpecDigest<'a> {
    user_data: u32,
    fingerprint: &'a str,
    host_key: HostKeyPolicy,
    image: &'a Image,
}

fn spec_tag<T: Serialize>(manifest: &Manifest, part: &T) -> String {
    let digest = Digest::of(&(&manifest.project, &manifest.environment, part));
    ownership::spec_tag(digest.short())
}

fn droplets(manifest: &Manifest, inputs: &Inputs) -> Result<Vec<Droplet>, DesiredError> {
    let mut droplets = Vec::new();
    for (name, droplet) in &manifest.droplets {
        let whole = Address::droplet(name);
        let image = image(manifest, &whole, &droplet.image)?;
        let mut tags = environment_tags(manifest);
        tags.push(spec_tag(
            manifest,
            &DropletSpecDigest {
                user_data: user_data::VERSION,
                fingerprint: &inputs.ssh_key.fingerprint,
                host_key: manifest.ssh.host_key,
                image: &image,
            },
        ));
        tags.extend(droplet.tags.iter().cloned());
        let tags = sorted(tags);
        let mounts = droplet
            .volumes
            .iter()
            .map(|mount| {
                if !manifest.volumes.contains_key(&mount.volume) {
                    return Err(DesiredError::UnknownVolume {
                        by: whole.clone(),
                        name: mount.volume.clone(),
                    });
                }
                Ok(Mount {
                    volume: mount.volume.clone(),
                    path: mount.mount.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let source = droplet
            .source
            .as_ref()
            .map(|source| source_spec(inputs, name, source))
            .transpose()?;
        let after_run = match droplet.after_run {
            AfterRun::Word(word) => word,
            // Destroyed after a success; that it goes later after a failure is `sweep`'s affair.
            AfterRun::KeepOnFailure(_) => AfterRunWord::DestroyOnSuccess,
        };
        for instance in instances(droplet) {
            let full = names::droplet(
                &manifest.project,
                &manifest.environment,
                name,
                instance.as_ref(),
            );
            let address = Address::Droplet {
                name: name.clone(),
                instance,
            };
            droplets.push(Droplet {
                runs: runs(manifest, droplet, &address, &full, source.as_ref()),
                address,
                name: full,
                image: image.clone(),
                size: droplet.size.clone(),
                tags: tags.clone(),
                mounts: mounts.clone(),
                source: source.clone(),
                after_run,
            });
        }
    }
    droplets.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(droplets)
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

fn runs(
    manifest: &Manifest,
    droplet: &schema::Droplet,
    address: &Address,
    name: &str,
    source: Option<&SourceSpec>,
) -> Vec<Run> {
    let mut env = vec![
        ("DEWPOINT_ENV".to_owned(), manifest.environment.clone()),
        ("DEWPOINT_DROPLET".to_owned(), name.to_owned()),
    ];
    if let Address::Droplet {
        instance: Some(Instance::Matrix(pairs)),
        ..
    } = address
    {
        env.extend(
            pairs
                .iter()
                .map(|(key, value)| (matrix_variable(key), value.clone())),
        );
    }
    env.extend(pairs(&droplet.env));
    droplet
        .run
        .iter()
        .map(|run| {
            let mut spec = RunSpec {
                name: run.name.clone(),
                command: run.command.clone(),
                env: env.clone(),
                secrets: sorted(droplet.secrets.clone()),
                cwd: source.map(|source| source.into_path().to_owned()),
                timeout: run.timeout.unwrap_or(RUN_TIMEOUT),
                retries: run.retries,
                allow_failure: run.allow_failure,
                once: None,
            };
            if run.when == When::Once {
                // What it does, not how patiently: the same command with more retries has run.
                let what = Digest::of(&(&spec.name, &spec.command, &spec.env, &spec.cwd));
                spec.once = Some(what.short().to_owned());
            }
            Run {
                spec,
                artifacts: run.artifacts.clone(),
            }
        })
        .collect()
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
