//! Attaching, detaching and growing volumes.

use serde_json::{Map, Value, json};

use super::Account;
use super::jobs::JobKind;
use crate::local::exchange::{Answer, Millis, Refusal};
use crate::local::latency::Wait;
use crate::local::validate;

pub(super) fn too_many_volumes() -> Refusal {
    Refusal::unprocessable(format!(
        "cannot attach more than {} volumes to a single Droplet",
        validate::VOLUMES_PER_DROPLET
    ))
}

impl Account {
    pub(super) fn act_on_volume_by_name(
        &mut self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let name = validate::required_text(body, "volume_name")?;
        let region = validate::optional_text(body, "region")?;
        let found: Vec<String> = self
            .volumes
            .values()
            .filter(|volume| volume.name == name && !volume.going)
            .filter(|volume| region.is_none_or(|region| volume.region == region))
            .map(|volume| volume.id.clone())
            .collect();
        match found.as_slice() {
            [id] if validate::required_text(body, "type")? != "resize" => {
                self.act_on_volume(&id.clone(), body, now)
            }
            [_] => Err(Refusal::missing(
                "The specified action type is not available.",
            )),
            [] => Err(Refusal::not_found()),
            _ => Err(Refusal::unprocessable("region is required")),
        }
    }

    pub(super) fn act_on_volume(
        &mut self,
        id: &str,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let kind = validate::required_text(body, "type")?;
        let region = validate::optional_text(body, "region")?;
        if region.is_some_and(|region| self.volume(id).is_ok_and(|found| found.region != region)) {
            return Err(Refusal::unprocessable("volume and region do not match"));
        }
        match kind {
            "attach" => self.attach(id, validate::required_number(body, "droplet_id")?, now),
            "detach" => self.detach(id, validate::required_number(body, "droplet_id")?, now),
            "resize" => self.resize(id, validate::required_number(body, "size_gigabytes")?, now),
            _ => Err(Refusal::missing(
                "The specified action type is not available.",
            )),
        }
    }

    fn attach(&mut self, id: &str, droplet: u64, now: Millis) -> Result<Answer, Refusal> {
        let volume = self.volume(id)?;
        let target = self
            .droplets
            .get(&droplet)
            .ok_or_else(|| Refusal::missing("droplet not found"))?;
        if volume.region != target.region {
            return Err(Refusal::unprocessable(
                "volume and droplet must be in the same region",
            ));
        }
        if volume.droplet.is_some() {
            return Err(Refusal::unprocessable("This volume is already attached"));
        }
        self.check_volume_idle(id)?;
        self.check_idle(droplet)?;
        let attached = self
            .volumes
            .values()
            .filter(|volume| volume.droplet == Some(droplet))
            .count();
        if attached >= validate::VOLUMES_PER_DROPLET {
            return Err(too_many_volumes());
        }
        let job = JobKind::Attach {
            volume: id.to_owned(),
            droplet,
        };
        Ok(self.begin_volume_action("attach_volume", id, Some(droplet), job, Wait::Attach, now))
    }

    fn detach(&mut self, id: &str, droplet: u64, now: Millis) -> Result<Answer, Refusal> {
        if self.volume(id)?.droplet != Some(droplet) {
            return Err(Refusal::unprocessable("Attachment not found"));
        }
        self.check_volume_idle(id)?;
        // A droplet that is gone has no events; its volumes linger for a while all the same.
        if self.droplets.contains_key(&droplet) {
            self.check_idle(droplet)?;
        }
        let job = JobKind::Detach {
            volume: id.to_owned(),
        };
        Ok(self.begin_volume_action("detach_volume", id, Some(droplet), job, Wait::Detach, now))
    }

    fn resize(&mut self, id: &str, size: u64, now: Millis) -> Result<Answer, Refusal> {
        let volume = self.volume(id)?;
        let droplet = volume.droplet;
        let size_gib = u32::try_from(size)
            .ok()
            .filter(|size| *size <= 16_384)
            .ok_or_else(|| {
                Refusal::unprocessable("invalid size: must be between 1GiB and 16384GiB")
            })?;
        if size_gib <= volume.size_gib {
            return Err(Refusal::unprocessable(
                "invalid size: volumes can only be made larger",
            ));
        }
        self.check_volume_idle(id)?;
        if let Some(droplet) = droplet.filter(|droplet| self.droplets.contains_key(droplet)) {
            self.check_idle(droplet)?;
        }
        let job = JobKind::ResizeVolume {
            volume: id.to_owned(),
            size_gib,
        };
        Ok(self.begin_volume_action("resize_volume", id, droplet, job, Wait::Attach, now))
    }

    fn check_volume_idle(&self, id: &str) -> Result<(), Refusal> {
        if self.is_volume_busy(id) {
            return Err(Refusal::unprocessable(
                "Volume already has a pending event.",
            ));
        }
        Ok(())
    }

    fn begin_volume_action(
        &mut self,
        kind: &str,
        volume: &str,
        droplet: Option<u64>,
        job: JobKind,
        wait: Wait,
        now: Millis,
    ) -> Answer {
        let region = self
            .volumes
            .get(volume)
            .map(|volume| volume.region.clone())
            .unwrap_or_default();
        let action =
            self.begin_action(kind, &region, now, (droplet, Some(volume.to_owned()), None));
        let due = now + self.wait(wait);
        self.begin_job(job, Some(action), due);
        Answer::new(202, json!({ "action": self.actions[&action].json() }))
    }
}
