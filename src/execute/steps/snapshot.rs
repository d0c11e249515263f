//! From a builder to a snapshot.

use std::time::Duration;

use super::Steps;
use crate::execute::error::StepError;
use crate::execute::feed::Reporter;
use crate::execute::project_lock::Pruned;
use crate::guest;
use crate::plan::StepId;
use crate::plan::step::{DropletRef, ImageRef, TaggedResource};

/// How long a guest that was told to power off may take.
const OFF_BY_ITSELF: Duration = Duration::from_secs(60);
/// How long a guest that was asked by the API to shut down may take.
const OFF_WHEN_ASKED: Duration = Duration::from_secs(60);
/// How long cutting the power may take: the API is known to take more than five minutes over it.
const OFF_BY_FORCE: Duration = Duration::from_secs(7 * 60);

/// How the note begins of a step that has left an old snapshot where it is.
pub const NOT_PRUNED: &str = "left for a later apply";

impl Steps {
    /// Cleans a builder and powers it off: from within, else by request, else by force.
    pub(super) async fn power_off(
        &self,
        droplet: &DropletRef,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let client = &self.settings.client;
        let id = self.droplet(droplet)?.id;
        let user = &self.sessions.login(droplet.name())?.user;
        let session = self.session(droplet).await?;
        guest::seal(&session, user).await?;
        self.sessions.close(droplet.name()).await;
        if client.wait_droplet_off(id, OFF_BY_ITSELF).await? {
            return Ok(String::new());
        }
        reporter.progress("still on; asking the API to shut it down");
        match self.off_by_the_api(id, reporter).await? {
            Some(true) => Ok("shut down by the API".to_owned()),
            Some(false) => Ok("powered off by the API".to_owned()),
            None => Err(StepError::StillOn {
                name: droplet.name().to_owned(),
            }),
        }
    }

    /// Has the API shut a droplet down, else cut its power: whether the first was enough; none when it is
    /// still on after both.
    pub(super) async fn off_by_the_api(
        &self,
        id: u64,
        reporter: &Reporter,
    ) -> Result<Option<bool>, StepError> {
        let client = &self.settings.client;
        client.shutdown_droplet(id).await?;
        if client.wait_droplet_off(id, OFF_WHEN_ASKED).await? {
            return Ok(Some(true));
        }
        reporter.progress("still on; cutting the power");
        client.power_off_droplet(id).await?;
        let is_off = client.wait_droplet_off(id, OFF_BY_FORCE).await?;
        Ok(is_off.then_some(false))
    }

    /// Takes a snapshot of a builder.
    pub(super) async fn take_snapshot(
        &self,
        step: StepId,
        droplet: &DropletRef,
        name: &str,
    ) -> Result<String, StepError> {
        let droplet = self.droplet(droplet)?.id;
        let client = &self.settings.client;
        let image = client.snapshot_droplet(droplet, name).await?;
        self.outputs.took_image(step, image.id);
        Ok(format!("image {}", image.id))
    }

    /// Tags a snapshot.
    pub(super) async fn tag_snapshot(
        &self,
        image: &ImageRef,
        tags: &[String],
    ) -> Result<String, StepError> {
        let id = self.image(image)?.to_string();
        // The tag that says whose it is comes last: one that bears it has all of them.
        let (last, first): (Vec<String>, Vec<String>) = tags
            .iter()
            .cloned()
            .partition(|tag| *tag == self.project_tag);
        let client = &self.settings.client;
        client.add_tags(TaggedResource::Image, &id, &first).await?;
        client.add_tags(TaggedResource::Image, &id, &last).await?;
        Ok(String::new())
    }

    fn image(&self, image: &ImageRef) -> Result<u64, StepError> {
        let id = match image {
            ImageRef::Id(id) => Some(*id),
            ImageRef::Taken(step) => self.outputs.image(*step),
            ImageRef::Slug(_) => None,
        };
        id.ok_or_else(|| StepError::NotMade {
            what: "the snapshot".to_owned(),
        })
    }

    /// Copies a snapshot to a further region.
    pub(super) async fn transfer(
        &self,
        image: &ImageRef,
        region: &str,
    ) -> Result<String, StepError> {
        let id = self.image(image)?;
        self.settings.client.transfer_image(id, region).await?;
        Ok(String::new())
    }

    /// Deletes an old snapshot; not while another environment may be about to use it.
    pub(super) async fn prune(&self, id: u64, name: &str) -> Result<String, StepError> {
        let delete = self.settings.client.delete_image(id);
        let Some(right) = &self.settings.project else {
            delete.await?;
            return Ok(String::new());
        };
        match right.place.prune(delete).await? {
            Pruned::Done(deleted) => {
                deleted?;
                Ok(String::new())
            }
            Pruned::InUse(who) if self.empties_project => Err(StepError::ProjectInUse {
                name: name.to_owned(),
                who,
            }),
            // The next plan finds it.
            Pruned::InUse(who) => Ok(format!("{NOT_PRUNED}, as it may be in use by {who}")),
        }
    }
}
