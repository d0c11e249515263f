//! Volumes that were renamed. DigitalOcean cannot rename a volume, so it keeps its name there for
//! good; a tag remembers what the manifest calls it now. Here the names that a manifest's volumes
//! would have are replaced by those that they do have, before anything is compared.

use std::collections::{BTreeMap, HashMap};

use super::compare::volume::is_ours;
use super::error::{Refusal, RefusalKind};
use crate::desired::{Desired, Scope};
use crate::live::ownership::{self, Owner};
use crate::live::{Live, LiveVolume};

/// What volumes are called on DigitalOcean, by the names their addresses stand for.
#[derive(Debug, Default)]
pub(super) struct Renames {
    names: BTreeMap<String, String>,
    /// Names that mean two volumes, or one that has become another's.
    pub refusals: Vec<Refusal>,
}

impl Renames {
    /// Finds them by tag, and by `was` what is to be renamed.
    pub fn find(scope: &Scope, live: &Live) -> Self {
        let owner = Owner::new(&scope.project, &scope.environment);
        let ours: Vec<&LiveVolume> = live
            .volumes
            .iter()
            .filter(|volume| volume.region == scope.region && is_ours(&owner, volume))
            .collect();
        let mut renames = Self::default();
        let mut by_name: HashMap<&str, &LiveVolume> = HashMap::new();
        let mut by_tag: HashMap<&str, &LiveVolume> = HashMap::new();
        for &volume in &ours {
            by_name.entry(&volume.name).or_insert(volume);
            for tag in volume.tags.iter().filter(|tag| ownership::is_name_tag(tag)) {
                by_tag.entry(tag).or_insert(volume);
            }
        }
        let named = |name: &str| by_name.get(name).copied();
        let called = |name: &str| {
            let tagged = by_tag.get(ownership::name_tag(name).as_str()).copied();
            tagged.or_else(|| named(name).filter(|volume| !is_called_otherwise(volume)))
        };
        for (name, address) in &scope.volumes {
            if scope.existing.contains(name) {
                continue;
            }
            let now = called(name);
            let before = scope.was.get(name).and_then(|was| called(was));
            let mut refuse = |reason: String, help: &str| {
                renames.refusals.push(Refusal {
                    address: Some(address.clone()),
                    kind: RefusalKind::NameTaken,
                    reason,
                    help: help.to_owned(),
                });
            };
            match (now, before) {
                (Some(now), Some(before)) => refuse(
                    format!(
                        "there are both `{}` and `{}`, which `was` says it is",
                        now.name, before.name
                    ),
                    "remove `was`, or give the volume a name that is not taken",
                ),
                (Some(found), None) | (None, Some(found)) => {
                    renames.names.insert(name.clone(), found.name.clone());
                }
                (None, None) => {
                    if named(name).is_some() {
                        refuse(
                            format!(
                                "`{name}` was renamed to another volume of the project, and keeps its name on DigitalOcean"
                            ),
                            "give this volume another name",
                        );
                    }
                }
            }
        }
        renames
            .names
            .retain(|name, found| name != found || named(found).is_some_and(is_called_otherwise));
        renames
    }

    /// Whether every volume is called what its address says.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn name(&self, name: &str) -> String {
        self.names.get(name).map_or(name, String::as_str).to_owned()
    }

    /// The scope with the names that volumes have.
    pub fn scope(&self, scope: &Scope) -> Scope {
        let mut scope = scope.clone();
        scope.volumes = std::mem::take(&mut scope.volumes)
            .into_iter()
            .map(|(name, address)| (self.name(&name), address))
            .collect();
        for droplet in scope.droplets.values_mut() {
            droplet.mounts = std::mem::take(&mut droplet.mounts)
                .into_iter()
                .map(|(name, path)| (self.name(&name), path))
                .collect();
        }
        scope
    }

    /// The desired state with the names that volumes have, and the tags that remember the others.
    pub fn desired(&self, desired: &Desired) -> Desired {
        let mut desired = desired.clone();
        desired.scope = self.scope(&desired.scope);
        for volume in &mut desired.volumes {
            if let Some(name) = self.names.get(&volume.name)
                && *name != volume.name
            {
                volume.tags.push(ownership::name_tag(&volume.name));
                volume.tags.sort();
                volume.name.clone_from(name);
            }
        }
        desired
    }
}

fn is_called_otherwise(volume: &LiveVolume) -> bool {
    volume.tags.iter().any(|tag| ownership::is_name_tag(tag))
}
