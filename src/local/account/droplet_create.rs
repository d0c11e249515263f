//! Droplets: created, one or many in a call.

use serde_json::{Map, Value, json};

use super::Account;
use super::droplets::{Droplet, DropletStatus};
use super::jobs::JobKind;
use crate::local::catalog::{self, Image, Region, Size};
use crate::local::exchange::{Answer, Millis, Refusal};
use crate::local::latency::Wait;
use crate::local::validate;

/// What a create asks for, checked.
struct Wanted {
    names: Vec<String>,
    region: &'static Region,
    size: &'static Size,
    image: Image,
    keys: Vec<String>,
    tags: Vec<String>,
    user_data: Option<String>,
    volumes: Vec<String>,
    vpc: Option<String>,
    features: Vec<String>,
}

impl Account {
    pub(super) fn create_droplets(
        &mut self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let wanted = self.check_create(body, now)?;
        let vpc = match &wanted.vpc {
            Some(vpc) => vpc.clone(),
            None => self.default_vpc(wanted.region.slug, now),
        };
        self.make_tags(&wanted.tags, now);
        // What is not ASCII makes creates fail later on, as it does on DigitalOcean.
        let doomed = wanted
            .user_data
            .as_ref()
            .is_some_and(|text| !text.is_ascii());
        let mut droplets = Vec::new();
        let mut links = Vec::new();
        for name in &wanted.names {
            self.counters.droplet += 1;
            let id = self.counters.droplet;
            let droplet = Droplet {
                id,
                name: name.clone(),
                status: DropletStatus::New,
                region: wanted.region.slug.to_owned(),
                size: wanted.size.slug.to_owned(),
                disk_gib: wanted.size.disk_gib,
                image: wanted.image.clone(),
                tags: wanted.tags.clone(),
                features: wanted.features.clone(),
                keys: wanted.keys.clone(),
                user_data: wanted.user_data.clone(),
                created_at: now,
                address: self.public_address(id),
                private_address: self.private_address(id),
                network_at: None,
                vpc: vpc.clone(),
                vpc_at: now + self.wait(Wait::Vpc),
                going: false,
                resizing: None,
            };
            self.droplets.insert(id, droplet);
            for volume in &wanted.volumes {
                if let Some(volume) = self.volumes.get_mut(volume) {
                    volume.droplet = Some(id);
                }
            }
            let action =
                self.begin_action("create", wanted.region.slug, now, (Some(id), None, None));
            let due = now + self.wait(Wait::DropletActive);
            let job = self.begin_job(JobKind::Create { droplet: id }, Some(action), due);
            if let Some(job) = self.jobs.get_mut(&job) {
                job.doomed = doomed;
            }
            droplets.push(self.droplet_json(&self.droplets[&id], now));
            links.push(json!({
                "id": action,
                "rel": "create",
                // Relative, as the service has it.
                "href": format!("/v2/actions/{action}"),
            }));
        }
        let links = json!({ "actions": links });
        let body = if body.contains_key("names") {
            json!({ "droplets": droplets, "links": links })
        } else {
            json!({ "droplet": droplets.remove(0), "links": links })
        };
        Ok(Answer::new(202, body))
    }

    fn check_create(&self, body: &Map<String, Value>, now: Millis) -> Result<Wanted, Refusal> {
        let names = if body.contains_key("names") {
            validate::texts(body, "names")?
        } else {
            vec![validate::required_text(body, "name")?.to_owned()]
        };
        if names.is_empty() || names.len() > validate::NAMES_AT_ONCE {
            return Err(Refusal::unprocessable(format!(
                "names must have between 1 and {} entries",
                validate::NAMES_AT_ONCE
            )));
        }
        for name in &names {
            validate::droplet_name(name)?;
        }
        let region = Self::region_for_create(validate::optional_text(body, "region")?)?;
        let size = catalog::find_size(validate::required_text(body, "size")?).ok_or_else(|| {
            Refusal::unprocessable("You specified an invalid size for Droplet creation.")
        })?;
        if !size.is_in(region) {
            return Err(Refusal::unprocessable(
                "Size is not available in this region.",
            ));
        }
        let image = self.image_for_create(body.get("image"), region)?;
        if image.min_disk_gib > size.disk_gib {
            return Err(Refusal::unprocessable(
                "This size is not available because it has a smaller disk.",
            ));
        }
        let keys = self.keys_for_create(body, now)?;
        let tags = validate::tags(body)?;
        let user_data = validate::optional_text(body, "user_data")?.map(str::to_owned);
        if user_data
            .as_ref()
            .is_some_and(|text| text.len() > validate::USER_DATA_BYTES)
        {
            return Err(Refusal::unprocessable(
                "User data is too long (maximum is 64 KiB)",
            ));
        }
        let volumes = self.volumes_for_create(body, region, names.len())?;
        let vpc = match validate::optional_text(body, "vpc_uuid")?.filter(|id| !id.is_empty()) {
            None => None,
            Some(id) => match self.vpcs.get(id) {
                Some(vpc) if vpc.region == region.slug => Some(id.to_owned()),
                _ => return Err(Refusal::missing("Failed to resolve VPC")),
            },
        };
        let mut features = Vec::new();
        for (key, feature) in [
            ("monitoring", "monitoring"),
            ("backups", "backups"),
            ("ipv6", "ipv6"),
            ("private_networking", "private_networking"),
        ] {
            if validate::optional_flag(body, key)? == Some(true) {
                features.push(feature.to_owned());
            }
        }
        // The agent shows although nobody asked for it.
        if validate::optional_flag(body, "with_droplet_agent")? != Some(false) {
            features.push("droplet_agent".to_owned());
        }
        validate::optional_flag(body, "public_networking")?;
        let limit = usize::try_from(self.config.droplet_limit).unwrap_or(usize::MAX);
        if self.droplets.len() + names.len() > limit {
            return Err(Refusal::unprocessable(
                "creating this/these droplet(s) will exceed your droplet limit",
            ));
        }
        Ok(Wanted {
            names,
            region,
            size,
            image,
            keys,
            tags,
            user_data,
            volumes,
            vpc,
            features,
        })
    }

    /// A region by its slug, by the beginning of it (`nyc`), or any.
    fn region_for_create(asked: Option<&str>) -> Result<&'static Region, Refusal> {
        let asked = asked.unwrap_or("nyc3");
        if let Some(region) = catalog::find_region(asked) {
            return if region.available {
                Ok(region)
            } else {
                Err(Refusal::unprocessable("Region is not available"))
            };
        }
        catalog::REGIONS
            .iter()
            .find(|region| region.available && !asked.is_empty() && region.slug.starts_with(asked))
            .ok_or_else(|| Refusal::unprocessable("Region is not available"))
    }

    fn image_for_create(&self, asked: Option<&Value>, region: &Region) -> Result<Image, Refusal> {
        let found = match asked {
            Some(Value::String(slug)) => self
                .public_images
                .iter()
                .find(|image| image.slug.as_deref() == Some(slug)),
            Some(Value::Number(id)) => id.as_u64().and_then(|id| self.any_image(id)),
            _ => None,
        };
        found
            .filter(|image| image.regions.iter().any(|slug| slug == region.slug))
            .cloned()
            .ok_or_else(|| {
                Refusal::unprocessable("You specified an invalid image for Droplet creation.")
            })
    }

    fn keys_for_create(
        &self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Vec<String>, Refusal> {
        let mut lines = Vec::new();
        let mut unknown = Vec::new();
        for key in validate::list(body, "ssh_keys")? {
            let asked = match key {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // A new key is unknown to creates for a while.
            match self.find_key(&asked).filter(|key| key.usable_at <= now) {
                Some(key) => lines.push(key.public_key.clone()),
                None => unknown.push(asked),
            }
        }
        if unknown.is_empty() {
            Ok(lines)
        } else {
            Err(Refusal::unprocessable(format!(
                "{} are invalid key identifiers for Droplet creation.",
                unknown.join(", ")
            )))
        }
    }

    fn volumes_for_create(
        &self,
        body: &Map<String, Value>,
        region: &Region,
        droplets: usize,
    ) -> Result<Vec<String>, Refusal> {
        let mut ids = Vec::new();
        for volume in validate::list(body, "volumes")? {
            // Clients send ids as texts or as objects.
            let id = match volume {
                Value::Object(object) => validate::required_text(object, "id")?,
                other => other.as_str().unwrap_or_default(),
            };
            let volume = self
                .volumes
                .get(id)
                .filter(|volume| !volume.going && volume.region == region.slug)
                .ok_or_else(|| {
                    Refusal::unprocessable("You specified an invalid volume for Droplet creation.")
                })?;
            if volume.droplet.is_some() || droplets > 1 || self.is_volume_busy(id) {
                return Err(Refusal::unprocessable("This volume is already attached"));
            }
            ids.push(id.to_owned());
        }
        if ids.len() > validate::VOLUMES_PER_DROPLET {
            return Err(super::volume_actions::too_many_volumes());
        }
        Ok(ids)
    }
}
