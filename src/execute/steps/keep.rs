//! Droplets that a failure kept from being destroyed.

use jiff::Timestamp;

use super::Steps;
use crate::execute::error::StepError;
use crate::live::ownership::{expires_tag, is_expires_tag};
use crate::plan::step::{DropletRef, TaggedResource};
use crate::units::Seconds;

/// The note when the droplet is not there, so that nothing had to be done.
pub const NOT_KEPT: &str = "not needed";

impl Steps {
    /// Gives a droplet that is still there its deadline, and says until when it is kept.
    pub(super) async fn keep_droplet(
        &self,
        droplet: &DropletRef,
        keep: Option<Seconds>,
        tag: &str,
    ) -> Result<String, StepError> {
        let name = droplet.name();
        let Ok(known) = self.droplet(droplet) else {
            return Ok(NOT_KEPT.to_owned());
        };
        if self.outputs.is_destroyed(name) {
            return Ok(NOT_KEPT.to_owned());
        }
        let client = &self.settings.client;
        let found = client.find_droplets(tag, name).await?;
        let Some(live) = found.into_iter().find(|found| found.id == known.id) else {
            return Ok(NOT_KEPT.to_owned());
        };
        let words = if let Some(keep) = keep {
            let lease = i64::try_from(keep.0).unwrap_or(i64::MAX);
            let until = Timestamp::now().as_second().saturating_add(lease);
            let new = expires_tag(until);
            let old: Vec<String> = live
                .tags
                .iter()
                .filter(|tag| is_expires_tag(tag) && **tag != new)
                .cloned()
                .collect();
            let id = live.id.to_string();
            client.create_tag(&new).await?;
            client
                .add_tags(TaggedResource::Droplet, &id, std::slice::from_ref(&new))
                .await?;
            client
                .remove_tags(TaggedResource::Droplet, &id, &old)
                .await?;
            for tag in old {
                client.delete_tag_if_empty(&tag).await?;
            }
            let shown = Timestamp::from_second(until).map_or_else(
                |_| tag.to_owned(),
                |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            );
            format!("kept for {keep}, until {shown}")
        } else {
            "kept".to_owned()
        };
        Ok(words)
    }
}
