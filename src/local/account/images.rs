//! Images and droplet snapshots: the same things, seen twice.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Account;
use super::jobs::JobKind;
use super::outcomes::{Done, gigabytes};
use crate::local::catalog::{self, Image};
use crate::local::exchange::{Answer, Millis, Refusal, Request, timestamp};
use crate::local::latency::Wait;
use crate::local::validate;

impl Account {
    /// An image by id or slug.
    pub(super) fn image(&self, id: &str) -> Result<&Image, Refusal> {
        match id.parse() {
            Ok(id) => self.any_image(id),
            Err(_) => self
                .public_images
                .iter()
                .find(|image| image.slug.as_deref() == Some(id)),
        }
        .ok_or_else(Refusal::not_found)
    }

    /// An image by id, public or not.
    pub(super) fn any_image(&self, id: u64) -> Option<&Image> {
        self.images
            .get(&id)
            .or_else(|| self.public_images.iter().find(|image| image.id == id))
    }

    /// Ids of the snapshots of droplets.
    pub fn snapshot_images(&self) -> impl Iterator<Item = u64> {
        self.images.keys().copied()
    }

    /// Takes what users of snapshots should know, by image; image descriptions say it.
    pub fn set_image_warnings(&mut self, warnings: BTreeMap<u64, String>) {
        self.image_warnings = warnings;
    }

    /// An image as the API shows it, with what its users should know.
    fn image_json(&self, image: &Image) -> Value {
        let mut shown = image.json();
        if let Some(warning) = self.image_warnings.get(&image.id) {
            let described = image.description.as_str();
            let separator = if described.is_empty() { "" } else { " " };
            shown["description"] = json!(format!("{described}{separator}WARNING: {warning}"));
        }
        shown
    }

    pub(super) fn list_images(&self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        let private = request.parameter("private") == Some("true");
        let tag = request.parameter("tag_name");
        let kind = request.parameter("type");
        let public = self
            .public_images
            .iter()
            .filter(|_| !private && tag.is_none() && kind != Some("application"));
        let own = self
            .images
            .values()
            .filter(|image| image.listed_at <= now && kind.is_none())
            .filter(|image| tag.is_none_or(|tag| image.tags.iter().any(|t| t == tag)));
        let all = public
            .chain(own)
            .map(|image| self.image_json(image))
            .collect();
        Self::page(request, "images", all)
    }

    pub(super) fn show_image(&self, id: &str) -> Result<Answer, Refusal> {
        Ok(Answer::ok(
            json!({ "image": self.image_json(self.image(id)?) }),
        ))
    }

    fn own_image(&mut self, id: &str) -> Result<&mut Image, Refusal> {
        let id = self.image(id)?.id;
        self.images
            .get_mut(&id)
            .ok_or_else(|| Refusal::forbidden("You do not have access for the attempted action."))
    }

    pub(super) fn rename_image(
        &mut self,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<Answer, Refusal> {
        let name = validate::optional_text(body, "name")?.map(str::to_owned);
        let description = validate::optional_text(body, "description")?.map(str::to_owned);
        let image = self.own_image(id)?;
        if let Some(name) = name {
            image.name = name;
        }
        if let Some(description) = description {
            image.description = description;
        }
        Ok(Answer::ok(json!({ "image": image.json() })))
    }

    pub(super) fn delete_image(&mut self, id: &str) -> Result<Answer, Refusal> {
        // An id that was given out and is no more is an image that was deleted.
        if let Ok(number) = id.parse::<u64>()
            && !self.images.contains_key(&number)
            && (210_000_001..=self.counters.image).contains(&number)
        {
            return Err(Refusal::unprocessable(
                "Can not delete an already deleted image.",
            ));
        }
        let id = self.own_image(id)?.id;
        self.remove_image(id);
        Ok(Answer::empty())
    }

    fn remove_image(&mut self, id: u64) {
        self.images.remove(&id);
        self.begin_job(JobKind::DeleteImage { image: id }, None, 0);
    }

    pub(super) fn act_on_image(
        &mut self,
        image: u64,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let kind = validate::required_text(body, "type")?.to_owned();
        let found = self.images.get(&image).ok_or_else(|| {
            Refusal::forbidden("You do not have access for the attempted action.")
        })?;
        let (job, wait, region) = match kind.as_str() {
            "transfer" => {
                let region = validate::required_text(body, "region")?;
                if catalog::find_region(region).is_none() {
                    return Err(Refusal::unprocessable("Region is not available"));
                }
                if found.regions.iter().any(|slug| slug == region) {
                    return Err(Refusal::unprocessable(
                        "The image is already available in that region.",
                    ));
                }
                let region = region.to_owned();
                let job = JobKind::Transfer {
                    image,
                    region: region.clone(),
                };
                (job, Wait::Transfer, region)
            }
            "convert" => {
                let region = found.regions.first().cloned().unwrap_or_default();
                (JobKind::Idle, Wait::SmallAction, region)
            }
            _ => {
                return Err(Refusal::missing(
                    "The specified action type is not available.",
                ));
            }
        };
        let action = self.begin_action(&kind, &region, now, (None, None, Some(image)));
        let due = now + self.wait(wait);
        self.begin_job(job, Some(action), due);
        Ok(Answer::new(
            201,
            json!({ "action": self.actions[&action].json() }),
        ))
    }

    /// Adds the image that a snapshot became. `times`: when it was asked for, and now.
    pub(super) fn add_snapshot(
        &mut self,
        droplet: u64,
        image: u64,
        name: String,
        done: Done,
        times: (Millis, Millis),
    ) {
        let listed_at = times.1 + self.wait(Wait::SnapshotListed);
        let Some(droplet) = self.droplets.get(&droplet) else {
            return;
        };
        let parent = &droplet.image;
        // Snapshots are not incremental on DigitalOcean: what is below counts as well.
        let size_gb = ((parent.size_gb + gigabytes(done.bytes)) * 100.0).round() / 100.0;
        self.images.insert(
            image,
            Image {
                id: image,
                name,
                slug: None,
                distribution: parent.distribution.clone(),
                regions: vec![droplet.region.clone()],
                min_disk_gib: droplet.disk_gib,
                size_gb,
                created_at: times.0,
                description: String::new(),
                tags: Vec::new(),
                droplet: Some(droplet.id),
                listed_at,
            },
        );
    }

    pub(super) fn list_snapshots(&self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        let kind = request.parameter("resource_type");
        let region = request.parameter("region");
        let droplets = self
            .images
            .values()
            .filter(|image| image.listed_at <= now && kind.is_none_or(|kind| kind == "droplet"))
            .filter(|image| region.is_none_or(|slug| image.regions.iter().any(|r| r == slug)))
            .map(snapshot_json);
        let volumes = self
            .volume_snapshots
            .values()
            .filter(|_| kind.is_none_or(|kind| kind == "volume"))
            .filter(|snapshot| region.is_none_or(|slug| snapshot.region == slug))
            .map(super::volumes::VolumeSnapshot::json);
        Self::page(request, "snapshots", droplets.chain(volumes).collect())
    }

    pub(super) fn show_snapshot(&self, id: &str) -> Result<Answer, Refusal> {
        if let Some(snapshot) = self.volume_snapshots.get(id) {
            return Ok(Answer::ok(json!({ "snapshot": snapshot.json() })));
        }
        let image = self.snapshot_image(id)?;
        Ok(Answer::ok(json!({ "snapshot": snapshot_json(image) })))
    }

    fn snapshot_image(&self, id: &str) -> Result<&Image, Refusal> {
        let image = self.image(id)?;
        if image.slug.is_some() {
            return Err(Refusal::bad_request("the resource is not a snapshot"));
        }
        Ok(image)
    }

    pub(super) fn delete_snapshot(&mut self, id: &str) -> Result<Answer, Refusal> {
        if self.volume_snapshots.contains_key(id) {
            return self.delete_volume_snapshot(id);
        }
        let id = self.snapshot_image(id)?.id;
        self.remove_image(id);
        Ok(Answer::empty())
    }

    pub(super) fn list_droplet_snapshots(
        &self,
        request: &Request,
        droplet: u64,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let all = self
            .images
            .values()
            .filter(|image| image.droplet == Some(droplet) && image.listed_at <= now)
            .map(|image| {
                json!({
                    "id": image.id,
                    "name": image.name,
                    "type": "snapshot",
                    "created_at": timestamp(image.created_at),
                    "regions": image.regions,
                    "min_disk_size": image.min_disk_gib,
                    "size_gigabytes": image.size_gb,
                })
            })
            .collect();
        Self::page(request, "snapshots", all)
    }
}

/// A droplet snapshot as `/v2/snapshots` shows it: its id is a text there.
fn snapshot_json(image: &Image) -> Value {
    json!({
        "id": image.id.to_string(),
        "name": image.name,
        "created_at": timestamp(image.created_at),
        "regions": image.regions,
        "min_disk_size": image.min_disk_gib,
        "size_gigabytes": image.size_gb,
        "resource_id": image.droplet.map(|id| id.to_string()).unwrap_or_default(),
        "resource_type": "droplet",
        "tags": image.tags,
    })
}
