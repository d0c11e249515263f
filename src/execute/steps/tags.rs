//! Tags.

use futures_util::future::try_join_all;

use super::Steps;
use crate::execute::error::StepError;
use crate::plan::step::TaggedResource;

impl Steps {
    /// Makes tags that creates name.
    pub(super) async fn create_tags(&self, names: &[String]) -> Result<String, StepError> {
        let client = &self.settings.client;
        let creates = names.iter().cloned();
        try_join_all(creates.map(|name| async move { client.create_tag(&name).await })).await?;
        Ok(String::new())
    }

    /// Removes tags that nothing bears any more. One that still is borne stays: another environment
    /// may have it, or something could not be destroyed.
    pub(super) async fn delete_tags(&self, names: &[String]) -> Result<String, StepError> {
        let client = &self.settings.client;
        let deletes = names.iter().cloned();
        let deleted = try_join_all(
            deletes.map(|name| async move { client.delete_tag_if_empty(&name).await }),
        );
        let kept: Vec<&str> = names
            .iter()
            .zip(deleted.await?)
            .filter(|(_, is_gone)| !is_gone)
            .map(|(name, _)| name.as_str())
            .collect();
        Ok(if kept.is_empty() {
            String::new()
        } else {
            format!("still in use: {}", kept.join(", "))
        })
    }

    /// Takes note in a volume's tags of what it holds. No step before makes these: none stays behind
    /// without a bearer when the volume does not come to hold it.
    pub(super) async fn tag_volume(
        &self,
        id: &str,
        add: &[String],
        remove: &[String],
    ) -> Result<String, StepError> {
        self.create_tags(add).await?;
        self.update_tags(TaggedResource::Volume, id, add, remove)
            .await
    }

    /// Gives tags, then takes others: so that a resource is never without the tags that say whose
    /// it is.
    pub(super) async fn update_tags(
        &self,
        resource: TaggedResource,
        id: &str,
        add: &[String],
        remove: &[String],
    ) -> Result<String, StepError> {
        let client = &self.settings.client;
        client.add_tags(resource, id, add).await?;
        client.remove_tags(resource, id, remove).await?;
        Ok(String::new())
    }
}
