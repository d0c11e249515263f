//! What would stand if a manifest had been applied and nothing else had happened.

use std::collections::BTreeMap;

use crate::desired::{Desired, Droplet, Image};
use crate::live::ownership;
use crate::live::{
    Account, Catalog, DropletStatus, Live, LiveDroplet, LiveFirewall, LiveImage, LiveSshKey,
    LiveVolume,
};
use crate::manifest::schema::{AfterRun, AfterRunWord, Scope};
use crate::units::Seconds;

/// When everything happens: a difference has no time, only an order.
pub(super) const NOW: i64 = 1_000_000_000;

/// Ids that nobody can have written in a manifest.
const FIRST_ID: u64 = 1 << 48;

/// Whether a droplet stands after an apply.
pub(super) fn stands(droplet: &Droplet) -> bool {
    droplet.after_run == AfterRun::Word(AfterRunWord::Keep)
}

/// What would stand but for snapshots of volumes, which nobody's manifest asks for. Leases are taken for renewed: `ttl` is that of the manifest that comes.
pub(super) fn applied(desired: &Desired, ttl: Seconds, catalog: Option<&Catalog>) -> Live {
    let scope = &desired.scope;
    let mut ids = FIRST_ID..;
    let mut id = || ids.next().expect("more ids than resources");
    let mut images: Vec<LiveImage> = Vec::new();
    for (position, snapshot) in (0..).zip(&desired.snapshots) {
        let mut regions = vec![scope.region.clone()];
        regions.extend(snapshot.regions.iter().flatten().cloned());
        regions.sort();
        images.push(LiveImage {
            id: id(),
            name: snapshot.image_name.clone(),
            status: "available".to_owned(),
            regions,
            min_disk_gib: 0,
            size_mb: 0,
            tags: snapshot.tags.clone(),
            // Each after the one it is made from.
            created_at: NOW + position,
        });
    }
    let lease = i64::try_from(ttl.0).unwrap_or(i64::MAX);
    let expiry = ownership::expires_tag(NOW.saturating_add(lease));
    let mut volumes: BTreeMap<&str, LiveVolume> = BTreeMap::new();
    for volume in &desired.volumes {
        let mut tags = volume.tags.clone();
        if let Some(populate) = &volume.populate {
            tags.push(populate.tag.clone());
        }
        if volume.scope == Scope::Environment && volume.size.is_some() {
            tags.push(expiry.clone());
        }
        tags.sort();
        volumes.insert(
            &volume.name,
            LiveVolume {
                id: format!("{}", id()),
                name: volume.name.clone(),
                region: scope.region.clone(),
                // Nobody compares the size of someone's own.
                size_gib: volume.size.map_or(1, |size| size.0),
                droplet_ids: Vec::new(),
                tags,
                created_at: NOW,
            },
        );
    }
    let names: BTreeMap<String, &str> = desired
        .volumes
        .iter()
        .map(|volume| (volume.address.to_string(), volume.name.as_str()))
        .collect();
    let mut copies: Vec<LiveVolume> = Vec::new();
    let mut droplets = Vec::new();
    for droplet in desired.droplets.iter().filter(|droplet| stands(droplet)) {
        let number = id();
        let mut volume_ids = Vec::new();
        for mount in &droplet.mounts {
            let name = names.get(&format!("volume.{}", mount.volume));
            let Some(volume) = name.and_then(|name| volumes.get_mut(name)) else {
                continue;
            };
            if let Some(copy) = &mount.copy {
                let mut tags = (*copy.tags).clone();
                tags.push(expiry.clone());
                tags.sort();
                let copy = LiveVolume {
                    id: format!("{}", id()),
                    name: copy.name.as_str().to_owned(),
                    region: scope.region.clone(),
                    size_gib: volume.size_gib,
                    droplet_ids: vec![number],
                    tags,
                    created_at: NOW,
                };
                volume_ids.push(copy.id.clone());
                copies.push(copy);
                continue;
            }
            // Of several that have it in turn, one has it; which one is no change.
            if volume.droplet_ids.is_empty() {
                volume.droplet_ids.push(number);
                volume_ids.push(volume.id.clone());
            }
        }
        let (image_id, image_slug) = match &droplet.image {
            Image::Slug(slug) => (1, Some(slug.as_str().to_owned())),
            Image::Id(image) => (*image, None),
            Image::Snapshot(name) => {
                let taken = desired
                    .snapshot(name)
                    .and_then(|wanted| images.iter().find(|image| image.name == wanted.image_name));
                (taken.map_or(0, |image| image.id), None)
            }
        };
        let mut tags = (*droplet.tags).clone();
        tags.push(expiry.clone());
        tags.sort();
        droplets.push(LiveDroplet {
            id: number,
            name: droplet.name.as_str().to_owned(),
            status: DropletStatus::Active,
            region: scope.region.clone(),
            size: droplet.size.as_str().to_owned(),
            image_id,
            image_slug,
            public_ipv4: None,
            private_ipv4: None,
            volume_ids,
            tags,
            vpc: None,
            created_at: NOW,
        });
    }
    let firewalls = desired
        .firewall
        .iter()
        .map(|spec| LiveFirewall {
            id: format!("{}", id()),
            name: spec.name.clone(),
            inbound: spec.inbound.clone(),
            outbound: spec.outbound.clone(),
            tags: spec.tags.clone(),
            droplet_ids: Vec::new(),
        })
        .collect();
    Live {
        account: Account::default(),
        droplets,
        volumes: volumes.into_values().chain(copies).collect(),
        images,
        firewalls,
        ssh_keys: vec![LiveSshKey {
            id: id(),
            name: scope.environment_name(),
            fingerprint: desired.ssh_key.fingerprint.clone(),
        }],
        catalog: catalog.cloned().unwrap_or_default(),
        ..Live::default()
    }
}
