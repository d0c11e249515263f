//! Volumes and their snapshots.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Account;
use super::jobs::JobKind;
use crate::local::catalog;
use crate::local::exchange::{Answer, Millis, Refusal, Request, timestamp};
use crate::local::latency::Wait;
use crate::local::validate;

/// The largest volume in GiB.
const LARGEST_GIB: u64 = 16_384;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// Its name, unique in its region.
    pub name: String,
    /// Its region's slug.
    pub region: String,
    /// Its size in GiB.
    pub size_gib: u32,
    /// What people read about it.
    pub description: String,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Millis,
    /// The droplet it is attached to.
    pub droplet: Option<u64>,
    /// When it is free again, after its droplet is gone.
    pub free_at: Option<Millis>,
    /// The snapshot it is a copy of.
    pub from: Option<String>,
    /// The file system and label it was made with.
    pub filesystem: Option<(String, String)>,
    /// Whether it is being deleted.
    pub going: bool,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeSnapshot {
    /// Its id.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// The volume it was taken of.
    pub volume: String,
    /// The region's slug.
    pub region: String,
    /// How large a copy is at least, in GiB.
    pub min_disk_gib: u32,
    /// What it takes in GB.
    pub size_gb: f64,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Millis,
}

impl Volume {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "region": catalog::find_region(&self.region).map(catalog::Region::json),
            "size_gigabytes": self.size_gib,
            "description": self.description,
            "created_at": timestamp(self.created_at),
            "tags": self.tags,
            "droplet_ids": self.droplet.into_iter().collect::<Vec<_>>(),
            // Known when a volume is made and never again.
            "filesystem_type": "",
            "filesystem_label": "",
        })
    }
}

impl VolumeSnapshot {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "created_at": timestamp(self.created_at),
            "regions": [self.region],
            "min_disk_size": self.min_disk_gib,
            "size_gigabytes": self.size_gb,
            "resource_id": self.volume,
            "resource_type": "volume",
            "tags": self.tags,
        })
    }
}

impl Account {
    /// The volume of that id.
    pub(super) fn volume(&self, id: &str) -> Result<&Volume, Refusal> {
        self.volumes
            .get(id)
            .filter(|volume| !volume.going)
            .ok_or_else(Refusal::not_found)
    }

    /// The volume of that name; names are unique in a region only.
    pub(super) fn volume_named(&self, name: &str, region: &str) -> Option<&Volume> {
        self.volumes
            .values()
            .find(|volume| volume.name == name && volume.region == region)
    }

    /// Whether an event of a volume has not ended.
    pub(super) fn is_volume_busy(&self, id: &str) -> bool {
        self.actions
            .values()
            .any(|action| action.is_running() && action.volume.as_deref() == Some(id))
    }

    pub(super) fn list_volumes(&self, request: &Request) -> Result<Answer, Refusal> {
        let name = request.parameter("name").filter(|name| !name.is_empty());
        let region = request.parameter("region").filter(|slug| !slug.is_empty());
        let all = self
            .volumes
            .values()
            .filter(|volume| !volume.going)
            .filter(|volume| name.is_none_or(|name| volume.name == name))
            .filter(|volume| region.is_none_or(|region| volume.region == region))
            .map(Volume::json)
            .collect();
        Self::page(request, "volumes", all)
    }

    pub(super) fn show_volume(&self, id: &str) -> Result<Answer, Refusal> {
        Ok(Answer::ok(json!({ "volume": self.volume(id)?.json() })))
    }

    pub(super) fn create_volume(
        &mut self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let name = validate::required_text(body, "name")?;
        validate::volume_name(name)?;
        let description = validate::optional_text(body, "description")?.unwrap_or_default();
        let from = validate::optional_text(body, "snapshot_id")?.filter(|id| !id.is_empty());
        let (region, size_gib) = match from {
            Some(id) => {
                let snapshot = self
                    .volume_snapshots
                    .get(id)
                    .ok_or_else(|| Refusal::missing("snapshot not found"))?;
                // The size does not apply to copies: clients read it back.
                (snapshot.region.clone(), snapshot.min_disk_gib)
            }
            None => {
                let region = validate::required_text(body, "region")?;
                let size = validate::required_number(body, "size_gigabytes")?;
                let size = u32::try_from(size)
                    .ok()
                    .filter(|size| (1..=LARGEST_GIB).contains(&u64::from(*size)))
                    .ok_or_else(|| {
                        Refusal::unprocessable("invalid size: must be between 1GiB and 16384GiB")
                    })?;
                (region.to_owned(), size)
            }
        };
        if !catalog::find_region(&region).is_some_and(|region| region.available && region.storage) {
            return Err(Refusal::unprocessable(
                "region does not support volumes or is not available",
            ));
        }
        let filesystem = filesystem(body)?;
        let tags = validate::tags(body)?;
        if self.volume_named(name, &region).is_some() {
            return Err(Refusal::conflict(
                "a volume with the same name already exists in this region",
            ));
        }
        let limit = usize::try_from(self.config.volume_limit).unwrap_or(usize::MAX);
        if limit > 0 && self.volumes.len() >= limit {
            return Err(Refusal::forbidden(
                "failed to create volume: volume/snapshot capacity limit exceeded",
            ));
        }
        self.make_tags(&tags, now);
        let volume = Volume {
            id: self.uuid(),
            name: name.to_owned(),
            region,
            size_gib,
            description: description.to_owned(),
            tags,
            created_at: now,
            droplet: None,
            free_at: None,
            from: from.map(str::to_owned),
            filesystem,
            going: false,
        };
        let mut shown = volume.json();
        if let (Some((kind, label)), Some(shown)) = (&volume.filesystem, shown.as_object_mut()) {
            shown.insert("filesystem_type".to_owned(), json!(kind));
            shown.insert("filesystem_label".to_owned(), json!(label));
        }
        let id = volume.id.clone();
        self.volumes.insert(id.clone(), volume);
        let due = now + self.wait(Wait::VolumeCreate);
        let job = self.begin_job(JobKind::CreateVolume { volume: id }, None, due);
        Ok(Answer::new(201, json!({ "volume": shown })).after(job))
    }

    pub(super) fn delete_volume(&mut self, id: &str, now: Millis) -> Result<Answer, Refusal> {
        if self.volume(id)?.droplet.is_some() || self.is_volume_busy(id) {
            return Err(Refusal::conflict("attached volume cannot be deleted"));
        }
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.going = true;
        }
        let volume = id.to_owned();
        let due = now + self.wait(Wait::VolumeDelete);
        let job = self.begin_job(JobKind::DeleteVolume { volume }, None, due);
        Ok(Answer::empty().after(job))
    }

    pub(super) fn delete_volume_by_name(
        &mut self,
        request: &Request,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let name = request.parameter("name").unwrap_or_default();
        let region = request.parameter("region").unwrap_or_default();
        let id = self
            .volume_named(name, region)
            .ok_or_else(Refusal::not_found)?
            .id
            .clone();
        self.delete_volume(&id, now)
    }

    pub(super) fn list_volume_snapshots(
        &self,
        request: &Request,
        volume: &str,
    ) -> Result<Answer, Refusal> {
        let all = self
            .volume_snapshots
            .values()
            .filter(|snapshot| snapshot.volume == volume)
            .map(VolumeSnapshot::json)
            .collect();
        Self::page(request, "snapshots", all)
    }

    pub(super) fn snapshot_volume(
        &mut self,
        volume: &str,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let name = validate::required_text(body, "name")?.to_owned();
        let tags = validate::tags(body)?;
        let found = self.volume(volume)?;
        let (region, min_disk_gib) = (found.region.clone(), found.size_gib);
        if self.volume_snapshots.values().any(|s| s.name == name) {
            return Err(Refusal::conflict(
                "a snapshot with the same name already exists",
            ));
        }
        let of: Vec<&VolumeSnapshot> = self
            .volume_snapshots
            .values()
            .filter(|snapshot| snapshot.volume == volume)
            .collect();
        let every = self.wait(Wait::VolumeSnapshotEvery);
        if of.iter().any(|snapshot| now - snapshot.created_at < every) {
            return Err(Refusal::too_many(
                "failed to create snapshot: this operation is rate-limited - one request per 10m0s",
            ));
        }
        if of.len() >= validate::SNAPSHOTS_PER_VOLUME {
            return Err(Refusal::unprocessable(format!(
                "failed to create snapshot: at most {} snapshots per volume",
                validate::SNAPSHOTS_PER_VOLUME
            )));
        }
        self.make_tags(&tags, now);
        let snapshot = VolumeSnapshot {
            id: self.uuid(),
            name,
            volume: volume.to_owned(),
            region,
            min_disk_gib,
            size_gb: 0.01,
            tags,
            created_at: now,
        };
        let shown = snapshot.json();
        let kind = JobKind::SnapshotVolume {
            volume: volume.to_owned(),
            snapshot: snapshot.id.clone(),
        };
        self.volume_snapshots.insert(snapshot.id.clone(), snapshot);
        let due = now + self.wait(Wait::VolumeSnapshot);
        let job = self.begin_job(kind, None, due);
        Ok(Answer::new(201, json!({ "snapshot": shown })).after(job))
    }

    pub(super) fn show_volume_snapshot(&self, id: &str) -> Result<Answer, Refusal> {
        let snapshot = self
            .volume_snapshots
            .get(id)
            .ok_or_else(Refusal::not_found)?;
        Ok(Answer::ok(json!({ "snapshot": snapshot.json() })))
    }

    pub(super) fn delete_volume_snapshot(&mut self, id: &str) -> Result<Answer, Refusal> {
        self.volume_snapshots
            .remove(id)
            .ok_or_else(Refusal::not_found)?;
        let snapshot = id.to_owned();
        self.begin_job(JobKind::DeleteVolumeSnapshot { snapshot }, None, 0);
        Ok(Answer::empty())
    }
}

/// The file system and label a volume shall be made with.
fn filesystem(body: &Map<String, Value>) -> Result<Option<(String, String)>, Refusal> {
    let label = validate::optional_text(body, "filesystem_label")?.unwrap_or_default();
    let kind = validate::optional_text(body, "filesystem_type")?.unwrap_or_default();
    let longest = match kind {
        "" => return Ok(None),
        "ext4" => 16,
        "xfs" => 12,
        _ => {
            return Err(Refusal::unprocessable(
                "invalid filesystem type: must be ext4 or xfs",
            ));
        }
    };
    if label.len() > longest {
        return Err(Refusal::unprocessable(format!(
            "invalid filesystem label: at most {longest} characters with {kind}"
        )));
    }
    Ok(Some((kind.to_owned(), label.to_owned())))
}
