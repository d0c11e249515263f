//! A pure interpreter of steps on what exists: what the cloud would look like if every step did
//! what it says.

use std::collections::{BTreeMap, BTreeSet};

use crate::live::{
    Account, Catalog, DropletStatus, Live, LiveDroplet, LiveFirewall, LiveImage, LiveSshKey,
    LiveVolume, LiveVolumeSnapshot, RegionOffer, SizeOffer, ownership,
};
use crate::plan::step::{
    DeletedVolume, DropletRef, FirewallRef, ImageRef, Step, StepKind, TaggedResource, VolumeRef,
    VolumeSpec,
};
use crate::plan::{Plan, StepId};
use crate::units::Money;

pub(super) const REGION: &str = "nyc3";
/// The project of all manifests here.
const OWNER: &str = "dewpoint:app";

/// Whether tags are those of a droplet of the environment, or of one that lost it.
pub(super) fn is_ours(tags: &[String]) -> bool {
    let has = |tag: &str| tags.iter().any(|borne| borne == tag);
    let of_another = tags
        .iter()
        .any(|tag| tag.starts_with("dewpoint:app:") && tag != "dewpoint:app:main");
    has("dewpoint:app:main") || (has(OWNER) && !of_another)
}

/// An account with nothing in it.
pub(crate) fn nothing() -> Live {
    let size = |slug: &str, disk_gib: u32, hourly: &str, monthly: &str| SizeOffer {
        slug: slug.to_owned(),
        disk_gib,
        memory_mib: 1_024,
        vcpus: 1,
        price_hourly: Money(hourly.parse().expect("a price")),
        price_monthly: Money(monthly.parse().expect("a price")),
        regions: vec![REGION.to_owned(), "sfo3".to_owned()],
        available: true,
    };
    Live {
        account: Account {
            id: String::new(),
            droplet_limit: 0,
            volume_limit: 0,
            status: "active".to_owned(),
        },
        catalog: Catalog {
            sizes: vec![
                size("c-2", 50, "0.0625", "42"),
                size("s-1vcpu-1gb", 25, "0.00893", "6"),
                size("s-2vcpu-4gb", 80, "0.03571", "24"),
            ],
            regions: [REGION, "sfo3"]
                .map(|slug| RegionOffer {
                    slug: slug.to_owned(),
                    available: true,
                    features: vec!["storage".to_owned(), "image_transfer".to_owned()],
                })
                .to_vec(),
            ..Catalog::default()
        },
        ..Live::default()
    }
}

/// What exists while steps are done.
pub(crate) struct World {
    pub live: Live,
    next: u64,
    droplets: BTreeMap<(u32, String), u64>,
    volumes: BTreeMap<u32, String>,
    images: BTreeMap<u32, u64>,
    snapshots: BTreeMap<u32, String>,
    firewalls: BTreeMap<u32, String>,
    /// Builders' disks, by droplet.
    off: BTreeSet<u64>,
}

impl World {
    pub fn new(live: &Live) -> Self {
        // Ids are never used twice, also not those of what is gone while something newer is there.
        let number = |id: &String| id.rsplit('-').next().and_then(|last| last.parse().ok());
        let droplets = live.droplets.iter().map(|droplet| droplet.id);
        let images = live.images.iter().map(|image| image.id);
        let keys = live.ssh_keys.iter().map(|key| key.id);
        let volumes = live.volumes.iter().filter_map(|volume| number(&volume.id));
        let firewalls = live.firewalls.iter().filter_map(|wall| number(&wall.id));
        let snapshots = live.volume_snapshots.iter();
        let snapshots = snapshots.filter_map(|snapshot| number(&snapshot.id));
        let held = live.volumes.iter().flat_map(|volume| &volume.droplet_ids);
        let held = held.chain(live.holders.iter().map(|holder| &holder.id));
        let next = droplets
            .chain(held.copied())
            .chain(images)
            .chain(snapshots)
            .chain(keys)
            .chain(volumes)
            .chain(firewalls)
            .max()
            .unwrap_or(100);
        Self {
            live: live.clone(),
            next,
            droplets: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            off: BTreeSet::new(),
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn droplet(&self, droplet: &DropletRef) -> Option<u64> {
        match droplet {
            DropletRef::Known { id, .. } => Some(*id),
            DropletRef::Created { step, name } => {
                self.droplets.get(&(step.0, name.to_string())).copied()
            }
        }
    }

    fn volume(&self, volume: &VolumeRef) -> Option<String> {
        match volume {
            VolumeRef::Known { id } => Some(id.clone()),
            VolumeRef::Created { step } => self.volumes.get(&step.0).cloned(),
        }
    }

    fn live_droplet(&mut self, id: u64) -> Result<&mut LiveDroplet, String> {
        self.live
            .droplets
            .iter_mut()
            .find(|droplet| droplet.id == id)
            .ok_or_else(|| format!("there is no droplet {id}"))
    }

    fn live_volume(&mut self, id: &str) -> Result<&mut LiveVolume, String> {
        self.live
            .volumes
            .iter_mut()
            .find(|volume| volume.id == id)
            .ok_or_else(|| format!("there is no volume {id}"))
    }

    /// Droplets that have a volume.
    fn holders(&self, volume: &LiveVolume) -> Vec<u64> {
        let by_droplets = self.live.droplets.iter();
        let by_droplets = by_droplets
            .filter(|droplet| droplet.volume_ids.contains(&volume.id))
            .map(|droplet| droplet.id);
        volume
            .droplet_ids
            .iter()
            .copied()
            .chain(by_droplets)
            .collect()
    }

    fn tag_exists(&self, tag: &String) -> Result<(), String> {
        if self.live.tags.contains(tag) {
            Ok(())
        } else {
            Err(format!("there is no tag {tag}"))
        }
    }

    fn make_tags<'t>(&mut self, tags: impl IntoIterator<Item = &'t String>) {
        for tag in tags {
            if tag.starts_with("dewpoint") && !self.live.tags.contains(tag) {
                self.live.tags.push(tag.clone());
            }
        }
        self.live.tags.sort();
    }

    fn bearers(&self, tag: &String) -> usize {
        self.live
            .droplets
            .iter()
            .filter(|d| d.tags.contains(tag))
            .count()
            + self
                .live
                .volumes
                .iter()
                .filter(|v| v.tags.contains(tag))
                .count()
            + self
                .live
                .images
                .iter()
                .filter(|i| i.tags.contains(tag))
                .count()
            + self
                .live
                .volume_snapshots
                .iter()
                .filter(|s| s.tags.contains(tag))
                .count()
    }

    fn create_volume(&mut self, number: u32, spec: &VolumeSpec) -> Result<(), String> {
        if self
            .live
            .volumes
            .iter()
            .any(|volume| volume.name == spec.name && volume.region == spec.region)
        {
            return Err(format!("volume {} exists", spec.name));
        }
        self.make_tags(spec.tags.iter());
        let id = format!("vol-{}", self.id());
        self.volumes.insert(number, id.clone());
        self.live.volumes.push(LiveVolume {
            id,
            name: spec.name.as_str().to_owned(),
            region: spec.region.as_str().to_owned(),
            size_gib: spec.size.0,
            droplet_ids: Vec::new(),
            tags: (*spec.tags).clone(),
            created_at: 0,
        });
        Ok(())
    }

    /// Does a step; what the real cloud would refuse is an error.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        let StepId(number) = step.id;
        match &step.kind {
            StepKind::CreateSshKey {
                name, fingerprint, ..
            } => {
                let id = self.id();
                if !self
                    .live
                    .ssh_keys
                    .iter()
                    .any(|key| key.fingerprint == *fingerprint)
                {
                    self.live.ssh_keys.push(LiveSshKey {
                        id,
                        name: name.clone(),
                        fingerprint: fingerprint.clone(),
                    });
                }
            }
            StepKind::DeleteSshKey {
                name, fingerprint, ..
            } => self
                .live
                .ssh_keys
                .retain(|key| !(key.name == *name && key.fingerprint == *fingerprint)),
            StepKind::CreateTags { names } => self.make_tags(names),
            StepKind::DeleteTags { names } => {
                let empty: Vec<String> = names
                    .iter()
                    .filter(|tag| self.bearers(tag) == 0)
                    .cloned()
                    .collect();
                self.live.tags.retain(|tag| !empty.contains(tag));
            }
            StepKind::CreateFirewall { spec } => {
                for tag in &spec.tags {
                    self.tag_exists(tag)?;
                }
                if self
                    .live
                    .firewalls
                    .iter()
                    .any(|wall| wall.name == spec.name)
                {
                    return Err(format!("firewall {} exists", spec.name));
                }
                let id = format!("fw-{}", self.id());
                self.firewalls.insert(number, id.clone());
                self.live.firewalls.push(LiveFirewall {
                    id,
                    name: spec.name.clone(),
                    inbound: spec.inbound.clone(),
                    outbound: spec.outbound.clone(),
                    tags: spec.tags.clone(),
                    droplet_ids: Vec::new(),
                });
            }
            StepKind::UpdateFirewall { id, spec } => {
                let wall = self
                    .live
                    .firewalls
                    .iter_mut()
                    .find(|wall| wall.id == *id)
                    .ok_or("there is no such firewall")?;
                wall.inbound.clone_from(&spec.inbound);
                wall.outbound.clone_from(&spec.outbound);
                wall.tags.clone_from(&spec.tags);
            }
            StepKind::DeleteFirewall { firewall, .. } => {
                let id = match firewall {
                    FirewallRef::Known(id) => Some(id.clone()),
                    FirewallRef::Created(step) => self.firewalls.get(&step.0).cloned(),
                };
                self.live
                    .firewalls
                    .retain(|wall| Some(&wall.id) != id.as_ref());
            }
            StepKind::CreateVolume { spec } => self.create_volume(number, spec)?,
            StepKind::SnapshotVolume {
                volume,
                volume_name,
                tags,
                found,
            } => {
                let id = self.volume(volume).ok_or("there is no such volume")?;
                let live = self.live_volume(&id)?.clone();
                if !self.holders(&live).is_empty() {
                    return Err(format!("volume {id} is attached"));
                }
                let current = live.current_snapshot(&self.live.volume_snapshots);
                if found.is_some() && current.is_none() {
                    return Err("the snapshot that was found is not there".to_owned());
                }
                let snapshot = match current {
                    Some(current) => current.id.clone(),
                    None => {
                        let marker = self.id();
                        // The same in whatever order steps are done.
                        let count = self.live.volume_snapshots.len();
                        let tag = ownership::snap_tag(&format!("{volume_name}-{count}"));
                        self.live_volume(&id)?.tags.push(tag.clone());
                        let tags: Vec<String> = tags.iter().cloned().chain([tag]).collect();
                        self.make_tags(&tags);
                        let snapshot = format!("snap-{marker}");
                        self.live.volume_snapshots.push(LiveVolumeSnapshot {
                            id: snapshot.clone(),
                            name: format!("{volume_name}-snap-{marker}"),
                            volume_id: id,
                            regions: vec![live.region],
                            min_disk_gib: live.size_gib,
                            size_mb: 100,
                            tags,
                            created_at: i64::try_from(marker).expect("a small id"),
                        });
                        snapshot
                    }
                };
                self.snapshots.insert(number, snapshot);
            }
            StepKind::CloneVolume { snapshot, spec, .. } => {
                let snapshot = self.snapshots.get(&snapshot.0);
                let snapshot = snapshot.ok_or("the snapshot was not taken")?.clone();
                let mut snapshots = self.live.volume_snapshots.iter();
                if !snapshots.any(|live| live.id == snapshot) {
                    return Err("the snapshot is gone".to_owned());
                }
                self.create_volume(number, spec)?;
            }
            StepKind::TagVolume {
                volume,
                add,
                remove,
            } => {
                let id = self.volume(volume).ok_or("there is no such volume")?;
                self.make_tags(add);
                let tags = &mut self.live_volume(&id)?.tags;
                tags.retain(|tag| !remove.contains(tag));
                tags.extend(add.iter().cloned());
                tags.sort();
                tags.dedup();
            }
            StepKind::DeleteVolumeSnapshot { id, .. } => {
                self.live.volume_snapshots.retain(|live| live.id != *id);
            }
            StepKind::ResizeVolume { id, to, .. } => self.live_volume(id)?.size_gib = to.0,
            StepKind::DeleteVolume { volume, sort, .. } => {
                if let Some(id) = self.volume(volume) {
                    let volume = self.live_volume(&id)?.clone();
                    if !self.holders(&volume).is_empty() {
                        return Err(format!("volume {id} is attached"));
                    }
                    self.live.volumes.retain(|volume| volume.id != id);
                    if *sort == DeletedVolume::WithSnapshots {
                        let of = |live: &LiveVolumeSnapshot| {
                            let is_marked = ownership::snap_tags(&live.tags).next().is_some();
                            live.volume_id == id && is_marked && is_ours(&live.tags)
                        };
                        let gone: Vec<LiveVolumeSnapshot> = self
                            .live
                            .volume_snapshots
                            .extract_if(.., |live| of(live))
                            .collect();
                        let markers = gone
                            .iter()
                            .flat_map(|live| ownership::snap_tags(&live.tags));
                        let empty: Vec<&String> =
                            markers.filter(|tag| self.bearers(tag) == 0).collect();
                        self.live.tags.retain(|tag| !empty.contains(&tag));
                    }
                }
            }
            StepKind::UpdateTags {
                resource,
                id,
                add,
                remove,
            } => {
                for tag in add.iter().filter(|tag| tag.starts_with("dewpoint")) {
                    self.tag_exists(tag)?;
                }
                let number = id.parse().unwrap_or(0);
                let tags = match resource {
                    TaggedResource::Droplet => &mut self.live_droplet(number)?.tags,
                    TaggedResource::Volume => &mut self.live_volume(id)?.tags,
                    TaggedResource::Image => {
                        let images = &mut self.live.images;
                        let image = images.iter_mut().find(|image| image.id == number);
                        &mut image.ok_or("there is no such image")?.tags
                    }
                };
                tags.retain(|tag| !remove.contains(tag));
                tags.extend(add.iter().cloned());
                tags.sort();
                tags.dedup();
            }
            StepKind::CreateDroplets { spec, droplets } => {
                if droplets.len() > 10 {
                    return Err("more than ten droplets in one call".to_owned());
                }
                if !self
                    .live
                    .ssh_keys
                    .iter()
                    .any(|key| key.fingerprint == spec.ssh_key_fingerprint)
                {
                    return Err("the key is not registered".to_owned());
                }
                let (image_id, image_slug) = match &spec.image {
                    ImageRef::Slug(slug) => (1, Some(slug.clone())),
                    ImageRef::Id(id) => (*id, None),
                    ImageRef::Taken(step) => (
                        *self
                            .images
                            .get(&step.0)
                            .ok_or("the snapshot was not taken")?,
                        None,
                    ),
                };
                self.make_tags(&spec.tags);
                for droplet in droplets {
                    let mut all = self.live.droplets.iter();
                    let has_name = |live: &&LiveDroplet| live.name == droplet.name;
                    if all.any(|live| has_name(&live) && is_ours(&live.tags)) {
                        return Err(format!("droplet {} is doubled", droplet.name));
                    }
                    let id = self.id();
                    self.droplets
                        .insert((number, droplet.name.as_str().to_owned()), id);
                    self.live.droplets.push(LiveDroplet {
                        id,
                        name: droplet.name.as_str().to_owned(),
                        status: DropletStatus::Active,
                        region: spec.region.clone(),
                        size: spec.size.clone(),
                        image_id,
                        image_slug: image_slug.clone(),
                        public_ipv4: Some([203, 0, 113, 1].into()),
                        private_ipv4: None,
                        volume_ids: Vec::new(),
                        tags: spec.tags.clone(),
                        vpc: None,
                        created_at: 0,
                    });
                }
            }
            StepKind::Gather { .. } => {}
            StepKind::Connect { droplet, .. } => {
                let id = self.droplet(droplet).ok_or("there is no such droplet")?;
                let live = self.live_droplet(id)?;
                match live.status {
                    DropletStatus::New | DropletStatus::Active => {
                        live.status = DropletStatus::Active;
                        live.public_ipv4.get_or_insert([203, 0, 113, 1].into());
                    }
                    _ => return Err(format!("droplet {id} is off")),
                }
            }
            StepKind::Prepare { droplet, .. }
            | StepKind::StopBackground { droplet }
            | StepKind::Provision { droplet, .. }
            | StepKind::Sync { droplet, .. }
            | StepKind::Run { droplet, .. }
            | StepKind::Collect { droplet, .. }
            | StepKind::Mount { droplet, .. } => {
                let id = self.droplet(droplet).ok_or("there is no such droplet")?;
                self.live_droplet(id)?;
            }
            StepKind::KeepDroplet { .. } => {}
            // Nothing is mounted on a droplet that was never made.
            StepKind::Unmount { .. } => {}
            StepKind::PowerOff { droplet } => {
                let id = self.droplet(droplet).ok_or("there is no such droplet")?;
                self.live_droplet(id)?.status = DropletStatus::Off;
                self.off.insert(id);
            }
            StepKind::TakeSnapshot { droplet, name } => {
                let droplet = self.droplet(droplet).ok_or("there is no such droplet")?;
                if !self.off.contains(&droplet) {
                    return Err("the builder is on".to_owned());
                }
                let region = self.live_droplet(droplet)?.region.clone();
                let id = self.id();
                self.images.insert(number, id);
                self.live.images.push(LiveImage {
                    id,
                    name: name.clone(),
                    status: "available".to_owned(),
                    regions: vec![region],
                    min_disk_gib: 25,
                    size_mb: 1_500,
                    tags: Vec::new(),
                    created_at: i64::try_from(id).expect("a small id"),
                });
            }
            StepKind::TagSnapshot { image, tags } => {
                for tag in tags {
                    self.tag_exists(tag)?;
                }
                let id = match image {
                    ImageRef::Id(id) => *id,
                    ImageRef::Taken(step) => *self.images.get(&step.0).ok_or("not taken")?,
                    ImageRef::Slug(_) => return Err("a public image bears no tags".to_owned()),
                };
                let image = self.live.images.iter_mut().find(|image| image.id == id);
                image.ok_or("there is no such image")?.tags.clone_from(tags);
            }
            StepKind::Transfer { image, region } => {
                let id = match image {
                    ImageRef::Id(id) => *id,
                    ImageRef::Taken(step) => *self.images.get(&step.0).ok_or("not taken")?,
                    ImageRef::Slug(_) => return Err("a public image is everywhere".to_owned()),
                };
                let image = self.live.images.iter_mut().find(|image| image.id == id);
                let regions = &mut image.ok_or("there is no such image")?.regions;
                if regions.contains(region) {
                    return Err("it is there already".to_owned());
                }
                regions.push(region.clone());
            }
            StepKind::Prune { id, .. } => self.live.images.retain(|image| image.id != *id),
            StepKind::Attach {
                volume, droplet, ..
            } => {
                let volume = self.volume(volume).ok_or("there is no such volume")?;
                let droplet = self.droplet(droplet).ok_or("there is no such droplet")?;
                let held = self.live_volume(&volume)?.clone();
                if !self.holders(&held).is_empty() {
                    return Err(format!("volume {volume} is attached already"));
                }
                let live = self.live_volume(&volume)?;
                live.droplet_ids = vec![droplet];
                // From now on it may be written to.
                live.tags
                    .retain(|tag| ownership::snap_tags(std::slice::from_ref(tag)).count() == 0);
                self.live_droplet(droplet)?.volume_ids.push(volume);
            }
            StepKind::Detach {
                volume, droplet, ..
            } => {
                // Nor is anything attached to it.
                let (Some(volume), Some(droplet)) = (self.volume(volume), self.droplet(droplet))
                else {
                    return Ok(());
                };
                self.live_volume(&volume)?
                    .droplet_ids
                    .retain(|id| *id != droplet);
                self.live_droplet(droplet)?
                    .volume_ids
                    .retain(|id| *id != volume);
            }
            StepKind::DestroyDroplet { droplet, .. } => {
                if let Some(id) = self.droplet(droplet) {
                    self.live.droplets.retain(|droplet| droplet.id != id);
                    for volume in &mut self.live.volumes {
                        volume.droplet_ids.retain(|droplet| *droplet != id);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does every step in the order in which the plan lists them.
    pub fn execute(plan: &Plan, live: &Live) -> Live {
        let mut world = Self::new(live);
        for step in &plan.steps {
            if let Err(error) = world.step(step) {
                panic!("{} of {}: {error}", step.kind.title(), step.address);
            }
        }
        world.live
    }
}
