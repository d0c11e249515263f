//! What there is of an environment and its project, by address: for those who look and change nothing.

use std::collections::BTreeMap;

use super::compare::firewall;
use super::compare::volume::is_ours;
use super::renames::Renames;
use super::teardown::{is_untagged, volume_address};
use crate::address::{Address, Instance};
use crate::desired::{Scope, names};
use crate::live::ownership::{self, Owner, Whose};
use crate::live::{Live, LiveDroplet, LiveFirewall, LiveImage, LiveVolume, LiveVolumeSnapshot};

/// What there is. Lists are sorted by address, then by name and id.
#[derive(Debug, Clone, Default)]
pub struct Inventory<'a> {
    /// The environment's droplets; a builder bears its snapshot's address.
    pub droplets: Vec<(Address, &'a LiveDroplet)>,
    /// The environment's and the project's volumes.
    pub volumes: Vec<(Address, &'a LiveVolume)>,
    /// The project's snapshots; those too that were taken and not tagged any more.
    pub snapshots: Vec<(Address, &'a LiveImage)>,
    /// Snapshots of these volumes, each by the address of its volume; only where somebody asked for them.
    pub volume_snapshots: Vec<(Address, &'a LiveVolumeSnapshot)>,
    /// The environment's firewall.
    pub firewall: Option<&'a LiveFirewall>,
}

impl<'a> Inventory<'a> {
    /// Sorts out what was found.
    #[must_use]
    pub fn of(scope: &Scope, live: &'a Live) -> Self {
        let owner = Owner::new(&scope.project, &scope.environment);
        let volumes = Renames::find(scope, live).scope(scope);
        let mut inventory = Self {
            droplets: droplets(scope, &live.droplets),
            volumes: live
                .volumes
                .iter()
                .filter(|volume| is_ours(&owner, volume))
                .map(|volume| (volume_address(&volumes, &volume.name), volume))
                .collect(),
            snapshots: live
                .images
                .iter()
                .filter(|image| owner.in_project(&image.tags) || is_untagged(scope, image))
                .map(|image| {
                    let called = ownership::called(&image.name, &image.tags);
                    let name = names::snapshot_of(&scope.project, called).unwrap_or(&image.name);
                    (Address::Snapshot(name.into()), image)
                })
                .collect(),
            volume_snapshots: Vec::new(),
            firewall: firewall::find(&scope.environment_name(), &owner.environment_tag, live)
                .filter(|(_, ours)| *ours)
                .map(|(wall, _)| wall),
        };
        inventory
            .volumes
            .sort_by(|(a, x), (b, y)| (a, &x.name, &x.id).cmp(&(b, &y.name, &y.id)));
        for (address, volume) in &inventory.volumes {
            let snapshots = live.volume_snapshots.iter();
            let snapshots = snapshots.filter(|snapshot| {
                snapshot.volume_id == volume.id && owner.in_project(&snapshot.tags)
            });
            inventory
                .volume_snapshots
                .extend(snapshots.map(|snapshot| (address.clone(), snapshot)));
        }
        inventory
            .snapshots
            .sort_by(|(a, x), (b, y)| (a, y.created_at, x.id).cmp(&(b, x.created_at, y.id)));
        inventory
    }

    /// Whether the environment owns nothing: what the project keeps does not count.
    #[must_use]
    pub fn is_empty(&self, scope: &Scope) -> bool {
        let owner = Owner::new(&scope.project, &scope.environment);
        self.droplets.is_empty()
            && self.firewall.is_none()
            && !self
                .volumes
                .iter()
                .any(|(_, volume)| owner.in_environment(&volume.tags))
    }
}

/// The environment's droplets among some, by address.
#[must_use]
pub fn droplets<'a>(scope: &Scope, found: &'a [LiveDroplet]) -> Vec<(Address, &'a LiveDroplet)> {
    let owner = Owner::new(&scope.project, &scope.environment);
    let known: BTreeMap<&str, &Address> = scope
        .droplets
        .iter()
        .map(|(name, droplet)| (name.as_str(), &droplet.address))
        .collect();
    let mut droplets: Vec<_> = found
        .iter()
        .filter(|droplet| {
            let ours = known.contains_key(droplet.name.as_str());
            owner.droplet(&droplet.tags, ours) == Whose::Ours
        })
        .map(|droplet| {
            let address = known.get(droplet.name.as_str()).map_or_else(
                || names::address_of_stray(&scope.project, &scope.environment, &droplet.name),
                |address| (*address).clone(),
            );
            (address, droplet)
        })
        .collect();
    droplets.sort_by(|(a, x), (b, y)| (a, &x.name, x.id).cmp(&(b, &y.name, y.id)));
    droplets
}

/// The address by which somebody who logs in knows an instance that the manifest's `count` does not make,
/// or does not make any more, as when another value of a variable was given: `droplet.runner[3]` of what
/// a plan, for which it is no longer in the manifest, calls `droplet.runner-3`.
#[must_use]
pub fn beyond_count(scope: &Scope, stray: &Address) -> Option<Address> {
    let Address::Droplet {
        name,
        instance: None,
    } = stray
    else {
        return None;
    };
    let (name, index) = name.rsplit_once('-')?;
    let index: u32 = index.parse().ok()?;
    let is_counted = scope.droplets.values().any(|droplet| {
        matches!(
            &droplet.address,
            Address::Droplet { name: known, instance: None | Some(Instance::Index(_)) } if known.as_str() == name
        )
    });
    (is_counted && index > 1).then(|| Address::Droplet {
        name: name.into(),
        instance: Some(Instance::Index(index)),
    })
}
