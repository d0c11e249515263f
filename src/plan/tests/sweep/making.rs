//! Accounts for sweeps, made up thing by thing.

use std::collections::BTreeMap;

use super::super::world::nothing;
use super::OLD;
use crate::live::{
    AccountWide, DropletStatus, Live, LiveDroplet, LiveFirewall, LiveImage, LiveSshKey, LiveVolume,
};

/// An account that is being made up.
#[derive(Clone)]
pub struct Making {
    pub live: Live,
    pub firewalls_made: BTreeMap<String, i64>,
    pub next: u64,
}

impl std::fmt::Debug for Making {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for droplet in &self.live.droplets {
            writeln!(f, "{} {} {:?}", droplet.id, droplet.name, droplet.tags)?;
        }
        for volume in &self.live.volumes {
            let LiveVolume {
                id,
                name,
                droplet_ids,
                tags,
                ..
            } = volume;
            writeln!(f, "{id} {name} on {droplet_ids:?} {tags:?}")?;
        }
        for wall in &self.live.firewalls {
            writeln!(f, "{} {} {:?}", wall.id, wall.name, wall.tags)?;
        }
        for key in &self.live.ssh_keys {
            writeln!(f, "{} {}", key.id, key.name)?;
        }
        writeln!(f, "{:?}", self.live.tags)
    }
}

pub fn owned(project: &str, environment: Option<&str>) -> Vec<String> {
    let mut tags = vec!["dewpoint".to_owned(), format!("dewpoint:{project}")];
    tags.extend(environment.map(|environment| format!("dewpoint:{project}:{environment}")));
    tags
}

pub fn texts(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

impl Making {
    pub fn new() -> Self {
        Self {
            live: nothing(),
            firewalls_made: BTreeMap::new(),
            next: 1_000,
        }
    }

    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn tags(&mut self, tags: &[String]) {
        for tag in tags.iter().filter(|tag| tag.starts_with("dewpoint")) {
            if !self.live.tags.contains(tag) {
                self.live.tags.push(tag.clone());
            }
        }
        self.live.tags.sort();
    }

    pub fn droplet(&mut self, name: &str, mut tags: Vec<String>, created_at: i64) -> u64 {
        tags.sort();
        self.tags(&tags);
        let id = self.id();
        self.live.droplets.push(LiveDroplet {
            id,
            name: name.to_owned(),
            status: DropletStatus::Active,
            region: "nyc3".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image_id: 1,
            image_slug: None,
            public_ipv4: Some([203, 0, 113, 1].into()),
            private_ipv4: None,
            volume_ids: Vec::new(),
            tags,
            vpc: None,
            created_at,
        });
        id
    }

    pub fn volume(&mut self, name: &str, mut tags: Vec<String>, droplet: Option<u64>) {
        tags.sort();
        self.tags(&tags);
        let id = format!("vol-{}", self.id());
        if let Some(droplet) = droplet {
            let droplets = &mut self.live.droplets;
            let holder = droplets.iter_mut().find(|live| live.id == droplet);
            holder.expect("a droplet").volume_ids.push(id.clone());
        }
        self.live.volumes.push(LiveVolume {
            id,
            name: name.to_owned(),
            region: "nyc3".to_owned(),
            size_gib: 10,
            droplet_ids: droplet.into_iter().collect(),
            tags,
            created_at: OLD,
        });
    }

    pub fn firewall(&mut self, name: &str, tags: Vec<String>, created_at: i64) {
        self.tags(&tags);
        let id = format!("fw-{}", self.id());
        self.firewalls_made.insert(id.clone(), created_at);
        self.live.firewalls.push(LiveFirewall {
            id,
            name: name.to_owned(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            tags,
            droplet_ids: Vec::new(),
        });
    }

    pub fn key(&mut self, name: &str) {
        let id = self.id();
        self.live.ssh_keys.push(LiveSshKey {
            id,
            name: name.to_owned(),
            fingerprint: format!("fp:{id}"),
        });
    }

    pub fn image(&mut self, name: &str, tags: Vec<String>, created_at: i64) -> u64 {
        self.tags(&tags);
        let id = self.id();
        self.live.images.push(LiveImage {
            id,
            name: name.to_owned(),
            status: "available".to_owned(),
            regions: vec!["nyc3".to_owned()],
            min_disk_gib: 25,
            size_mb: 2_500,
            tags,
            created_at,
        });
        id
    }

    /// A whole environment whose droplets have this lease.
    pub fn environment(&mut self, project: &str, environment: &str, expires: i64) {
        let name = format!("{project}-{environment}");
        let mut tags = owned(project, Some(environment));
        self.volume(&format!("{name}-scratch"), tags.clone(), None);
        tags.push(format!("dewpoint-expires:{expires}"));
        tags.push("dewpoint-spec:0123456789ab".to_owned());
        let droplet = self.droplet(&format!("{name}-web"), tags, OLD);
        self.volume(
            &format!("{project}-models"),
            owned(project, None),
            Some(droplet),
        );
        let tag = format!("dewpoint:{project}:{environment}");
        self.firewall(&name, vec![tag], OLD);
        self.key(&name);
    }

    pub fn account(&self) -> AccountWide {
        account(&self.live, &self.firewalls_made)
    }
}

/// What a sweep would read of this.
pub fn account(live: &Live, firewalls_made: &BTreeMap<String, i64>) -> AccountWide {
    let mut borne: BTreeMap<String, u64> = live.tags.iter().map(|tag| (tag.clone(), 0)).collect();
    let droplets = live.droplets.iter().map(|droplet| &droplet.tags);
    let volumes = live.volumes.iter().map(|volume| &volume.tags);
    let images = live.images.iter().map(|image| &image.tags);
    let snapshots = live.volume_snapshots.iter().map(|snapshot| &snapshot.tags);
    let all = droplets.chain(volumes).chain(images).chain(snapshots);
    for tag in all.flatten() {
        if let Some(count) = borne.get_mut(tag) {
            *count += 1;
        }
    }
    AccountWide {
        live: live.clone(),
        borne,
        firewalls_made: firewalls_made.clone(),
    }
}
