//! Actions on droplets.

use serde_json::{Map, Value, json};

use super::Account;
use super::droplets::DropletStatus;
use super::jobs::JobKind;
use crate::local::catalog;
use crate::local::exchange::{Answer, Millis, Refusal, Request};
use crate::local::latency::Wait;
use crate::local::validate;

/// Actions that can be asked for by tag.
const BY_TAG: [&str; 8] = [
    "power_cycle",
    "power_on",
    "power_off",
    "shutdown",
    "enable_ipv6",
    "enable_backups",
    "disable_backups",
    "snapshot",
];

impl Account {
    pub(super) fn act_on_droplet(
        &mut self,
        droplet: u64,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let id = self.begin_droplet_action(droplet, body, now)?;
        Ok(Answer::new(
            201,
            json!({ "action": self.actions[&id].json() }),
        ))
    }

    pub(super) fn act_on_tag(&mut self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        let body = request.object()?;
        let kind = validate::required_text(body, "type")?;
        if !BY_TAG.contains(&kind) {
            return Err(unknown_type());
        }
        let tag = request
            .parameter("tag_name")
            .ok_or_else(|| Refusal::unprocessable("tag_name is required"))?;
        let droplets: Vec<u64> = self
            .droplets
            .values()
            .filter(|droplet| droplet.tags.iter().any(|t| t == tag))
            .map(|droplet| droplet.id)
            .collect();
        for droplet in &droplets {
            if self.check_idle(*droplet).is_err() {
                return Err(Refusal::unprocessable(
                    "there are currently blocking events processing for one or more of the droplets",
                ));
            }
        }
        let mut actions = Vec::new();
        for droplet in droplets {
            // A droplet that is already as asked is passed over.
            if let Ok(id) = self.begin_droplet_action(droplet, body, now) {
                actions.push(self.actions[&id].json());
            }
        }
        Ok(Answer::new(201, json!({ "actions": actions })))
    }

    /// Checks and begins an action; its id.
    fn begin_droplet_action(
        &mut self,
        droplet: u64,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<u64, Refusal> {
        let kind = validate::required_text(body, "type")?.to_owned();
        let found = self.droplets.get(&droplet).ok_or_else(Refusal::not_found)?;
        let status = found.status;
        let region = found.region.clone();
        let feature = |feature: &str, on: bool| JobKind::Feature {
            droplet,
            feature: feature.to_owned(),
            on,
        };
        // What is wrong with the request itself comes before what is in its way.
        let (job, wait) = match kind.as_str() {
            "power_off" => (JobKind::PowerOff { droplet }, Wait::PowerOff),
            "shutdown" => (JobKind::ShutDown { droplet }, Wait::Shutdown),
            "power_on" => (JobKind::PowerOn { droplet }, Wait::PowerOn),
            "reboot" => (JobKind::Reboot { droplet }, Wait::Reboot),
            "power_cycle" => (JobKind::Restart { droplet }, Wait::Reboot),
            "snapshot" => {
                let name = match validate::optional_text(body, "name")? {
                    Some(name) if !name.is_empty() => name.to_owned(),
                    _ => format!("{}-{now}", found.name),
                };
                let image = self.counters.image + 1;
                let job = JobKind::Snapshot {
                    droplet,
                    image,
                    name,
                };
                (job, Wait::Snapshot)
            }
            "resize" => (JobKind::Idle, Wait::Resize),
            "rebuild" | "restore" => {
                let image = self.image_for_rebuild(body.get("image"), found.disk_gib)?;
                (JobKind::Rebuild { droplet, image }, Wait::Rebuild)
            }
            "rename" => {
                let name = validate::required_text(body, "name")?;
                validate::droplet_name(name)?;
                let name = name.to_owned();
                (JobKind::Rename { droplet, name }, Wait::SmallAction)
            }
            "enable_ipv6" => (feature("ipv6", true), Wait::SmallAction),
            "enable_backups" => (feature("backups", true), Wait::SmallAction),
            "disable_backups" => (feature("backups", false), Wait::SmallAction),
            "password_reset" | "change_backup_policy" => (JobKind::Idle, Wait::SmallAction),
            _ => return Err(unknown_type()),
        };
        self.check_idle(droplet)?;
        let is_off = status == DropletStatus::Off;
        match kind.as_str() {
            "power_off" | "shutdown" if is_off => {
                return Err(Refusal::unprocessable("Droplet is already powered off"));
            }
            "reboot" | "power_cycle" if is_off => {
                return Err(Refusal::unprocessable("Droplet is currently powered off"));
            }
            "power_on" if !is_off => {
                return Err(Refusal::unprocessable("Droplet is already powered on"));
            }
            "resize" => {
                if !is_off {
                    return Err(Refusal::unprocessable(
                        "Droplet is currently on. Please power it off to run this event.",
                    ));
                }
                self.begin_resize(droplet, body, now)?;
            }
            "snapshot" => self.counters.image += 1,
            _ => {}
        }
        let action = self.begin_action(&kind, &region, now, (Some(droplet), None, None));
        let due = now + self.wait(wait);
        self.begin_job(job, Some(action), due);
        Ok(action)
    }

    fn begin_resize(
        &mut self,
        droplet: u64,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<(), Refusal> {
        let size = catalog::find_size(validate::required_text(body, "size")?)
            .ok_or_else(|| Refusal::unprocessable("You specified an invalid size."))?;
        let with_disk = validate::optional_flag(body, "disk")?.unwrap_or(false);
        let shows_at = now + self.wait(Wait::ResizeShows);
        let found = self
            .droplets
            .get_mut(&droplet)
            .ok_or_else(Refusal::not_found)?;
        let is_offered =
            catalog::find_region(&found.region).is_some_and(|region| size.is_in(region));
        if !is_offered {
            return Err(Refusal::unprocessable(
                "Size is not available in this region.",
            ));
        }
        if size.disk_gib < found.disk_gib {
            return Err(Refusal::unprocessable(
                "This size is not available because it has a smaller disk.",
            ));
        }
        let disk = if with_disk {
            size.disk_gib
        } else {
            found.disk_gib
        };
        found.resizing = Some((size.slug.to_owned(), disk, shows_at));
        Ok(())
    }

    fn image_for_rebuild(&self, asked: Option<&Value>, disk_gib: u32) -> Result<u64, Refusal> {
        let found = match asked {
            Some(Value::String(slug)) => self
                .public_images
                .iter()
                .find(|image| image.slug.as_deref() == Some(slug)),
            Some(Value::Number(id)) => id.as_u64().and_then(|id| self.any_image(id)),
            _ => None,
        };
        found
            .filter(|image| image.min_disk_gib <= disk_gib)
            .map(|image| image.id)
            .ok_or_else(|| Refusal::unprocessable("You specified an invalid image."))
    }
}

fn unknown_type() -> Refusal {
    Refusal::missing("The specified action type is not available.")
}
