//! Droplets: what they are, listed and deleted.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Account;
use super::jobs::JobKind;
use crate::local::catalog::{self, Image, Region, Size};
use crate::local::exchange::{Answer, Millis, Refusal, Request, timestamp};
use crate::local::latency::Wait;

/// Where a droplet is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropletStatus {
    /// Being made.
    New,
    /// Powered on.
    Active,
    /// Powered off.
    Off,
}

/// A droplet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Droplet {
    /// Its id.
    pub id: u64,
    /// Its name; not unique.
    pub name: String,
    /// Where it is in its life.
    pub status: DropletStatus,
    /// Its region's slug.
    pub region: String,
    /// Its size's slug.
    pub size: String,
    /// Its disk in GiB, which may be another than that of its size.
    pub disk_gib: u32,
    /// What it was made from, as that was then.
    pub image: Image,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Its features.
    pub features: Vec<String>,
    /// Public keys that may log in, as lines.
    pub keys: Vec<String>,
    /// Its user data, which the API never shows.
    pub user_data: Option<String>,
    /// When it was made.
    pub created_at: Millis,
    /// Its public address.
    pub address: Ipv4Addr,
    /// Its private address.
    pub private_address: Ipv4Addr,
    /// From when on answers show its addresses.
    pub network_at: Option<Millis>,
    /// Its VPC.
    pub vpc: String,
    /// From when on answers show its VPC.
    pub vpc_at: Millis,
    /// Whether its destruction has been asked for.
    pub going: bool,
    /// The size and disk it will have, and from when on.
    pub resizing: Option<(String, u32, Millis)>,
}

impl Account {
    /// The droplet of that id.
    pub(super) fn droplet(&self, id: &str) -> Result<&Droplet, Refusal> {
        id.parse()
            .ok()
            .and_then(|id: u64| self.droplets.get(&id))
            .ok_or_else(Refusal::not_found)
    }

    pub(super) fn show_droplet(&self, id: u64, now: Millis) -> Result<Answer, Refusal> {
        let droplet = self.droplets.get(&id).ok_or_else(Refusal::not_found)?;
        Ok(Answer::ok(
            json!({ "droplet": self.droplet_json(droplet, now) }),
        ))
    }

    pub(super) fn list_droplets(&self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        let tag = request.parameter("tag_name").filter(|tag| !tag.is_empty());
        let name = request.parameter("name").filter(|name| !name.is_empty());
        let kind = request.parameter("type");
        if tag.is_some() && (name.is_some() || kind.is_some()) {
            return Err(Refusal::unprocessable(
                "tag_name cannot be combined with name or type",
            ));
        }
        let all = match kind {
            None | Some("droplets") => self
                .droplets
                .values()
                .filter(|droplet| tag.is_none_or(|tag| droplet.tags.iter().any(|t| t == tag)))
                .filter(|droplet| name.is_none_or(|name| droplet.name.eq_ignore_ascii_case(name)))
                .map(|droplet| self.droplet_json(droplet, now))
                .collect(),
            // There is no size with a GPU here.
            Some("gpus") => Vec::new(),
            Some(_) => return Err(Refusal::unprocessable("type must be droplets or gpus")),
        };
        Self::page(request, "droplets", all)
    }

    pub(super) fn delete_droplet(&mut self, id: u64, now: Millis) -> Result<Answer, Refusal> {
        let droplet = self.droplets.get(&id).ok_or_else(Refusal::not_found)?;
        if droplet.going {
            return Ok(Answer::empty());
        }
        if droplet.status != DropletStatus::New {
            self.check_idle(id)?;
        }
        self.begin_destroy(id, now);
        Ok(Answer::empty())
    }

    pub(super) fn delete_droplets_by_tag(
        &mut self,
        request: &Request,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let tag = request
            .parameter("tag_name")
            .filter(|tag| !tag.is_empty())
            .ok_or_else(|| Refusal::unprocessable("tag_name is required"))?;
        if !self.tags.contains_key(tag) {
            return Err(Refusal::not_found());
        }
        let found: Vec<u64> = self
            .droplets
            .values()
            .filter(|droplet| droplet.tags.iter().any(|t| t == tag))
            .filter(|droplet| {
                // Those that are busy are passed over, and nobody is told.
                droplet.status == DropletStatus::New || self.check_idle(droplet.id).is_ok()
            })
            .map(|droplet| droplet.id)
            .collect();
        for droplet in found {
            self.begin_destroy(droplet, now);
        }
        Ok(Answer::empty())
    }

    fn begin_destroy(&mut self, id: u64, now: Millis) {
        if let Some(droplet) = self.droplets.get_mut(&id) {
            droplet.going = true;
            // Tags are gone at once, long before the droplet is.
            droplet.tags.clear();
            let due = now + self.wait(Wait::DropletGone);
            self.begin_job(JobKind::Destroy { droplet: id }, None, due);
        }
    }

    /// Takes a droplet out, and what follows from that.
    pub(super) fn forget_droplet(&mut self, id: u64, now: Millis) {
        self.droplets.remove(&id);
        let free_at = now + self.wait(Wait::VolumesFree);
        for volume in self.volumes.values_mut() {
            if volume.droplet == Some(id) {
                volume.free_at = Some(free_at);
            }
        }
        let forgets_at = now + self.wait(Wait::FirewallForgets);
        for firewall in self.firewalls.values_mut() {
            if firewall.droplet_ids.contains(&id) {
                firewall.leaving.insert(id, forgets_at);
            }
        }
    }

    /// A droplet as the API shows it.
    pub(super) fn droplet_json(&self, droplet: &Droplet, now: Millis) -> Value {
        let size = catalog::find_size(&droplet.size);
        let (memory, vcpus) = size.map_or((0, 0), |size| (size.memory_mib, size.vcpus));
        let volumes: Vec<&str> = self
            .volumes
            .values()
            .filter(|volume| volume.droplet == Some(droplet.id))
            .map(|volume| volume.id.as_str())
            .collect();
        let snapshots: Vec<u64> = self
            .images
            .values()
            .filter(|image| image.droplet == Some(droplet.id) && image.listed_at <= now)
            .map(|image| image.id)
            .collect();
        let v4 = if droplet.network_at.is_some_and(|at| at <= now) {
            let [a, b, c, _] = droplet.private_address.octets();
            json!([
                {
                    "ip_address": droplet.private_address,
                    "netmask": "255.255.0.0",
                    "gateway": Ipv4Addr::new(a, b, c, 1),
                    "type": "private",
                },
                {
                    "ip_address": droplet.address,
                    "netmask": "255.0.0.0",
                    "gateway": "127.0.0.1",
                    "type": "public",
                },
            ])
        } else {
            json!([])
        };
        let mut shown = json!({
            "id": droplet.id,
            "name": droplet.name,
            "memory": memory,
            "vcpus": vcpus,
            "disk": droplet.disk_gib,
            "disk_info": [{
                "type": "local",
                "size": { "amount": droplet.disk_gib, "unit": "gib" },
            }],
            "locked": false,
            "status": droplet.status,
            "kernel": null,
            "created_at": timestamp(droplet.created_at),
            "features": droplet.features,
            "backup_ids": [],
            "next_backup_window": null,
            "snapshot_ids": snapshots,
            "image": droplet.image.json(),
            "volume_ids": volumes,
            "size": size.map(Size::json),
            "size_slug": droplet.size,
            "networks": { "v4": v4, "v6": [] },
            "region": catalog::find_region(&droplet.region).map(Region::json),
            "tags": droplet.tags,
        });
        if droplet.vpc_at <= now
            && let Some(shown) = shown.as_object_mut()
        {
            shown.insert("vpc_uuid".to_owned(), json!(droplet.vpc));
        }
        shown
    }
}
