//! Tags: objects of the account that resources bear. Deleting one takes it from everything that
//! bears it, other environments' things too.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde::Deserialize;

use super::client::Client;
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::wire;
use crate::plan::step::TaggedResource;

#[derive(Debug, Clone, Deserialize)]
struct Tag {
    #[serde(default, deserialize_with = "wire::or_default")]
    name: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Resources {
    #[serde(default, deserialize_with = "wire::whole")]
    count: u64,
}

/// Tags of one resource that are changed at once.
const TAGS_AT_ONCE: usize = 8;

impl Client {
    /// Names of the account's tags that begin with `dewpoint`, sorted.
    pub(super) async fn our_tags(&self) -> Result<Vec<String>, CloudError> {
        Ok(self.tags_with_bearers().await?.into_keys().collect())
    }

    /// The account's tags that begin with `dewpoint`, each with how many things bear it.
    pub(super) async fn tags_with_bearers(&self) -> Result<BTreeMap<String, u64>, CloudError> {
        let tags: Vec<Tag> = self.list(&Call::Tags, "tags").await?;
        Ok(tags
            .into_iter()
            .filter(|tag| tag.name.starts_with(crate::live::ownership::TAG))
            .map(|tag| (tag.name, tag.resources.count))
            .collect())
    }

    /// Makes a tag. One that is there already is a success.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn create_tag(&self, name: &str) -> Result<(), CloudError> {
        self.call(&Call::CreateTag {
            name: name.to_owned(),
        })
        .await
        .map(drop)
    }

    /// Deletes a tag that no resource bears; says whether it is gone.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn delete_tag_if_empty(&self, name: &str) -> Result<bool, CloudError> {
        let tag: Option<Tag> = self
            .find(
                &Call::Tag {
                    name: name.to_owned(),
                },
                "tag",
            )
            .await?;
        match tag {
            None => return Ok(true),
            Some(tag) if tag.resources.count > 0 => return Ok(false),
            Some(_) => {}
        }
        match self
            .call(&Call::DeleteTag {
                name: name.to_owned(),
            })
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Gives a resource tags, making those that do not exist, and reads back that it bears them:
    /// the API accepts tags for things that do not exist.
    ///
    /// # Errors
    /// [`CloudError::TagsNotApplied`] when they do not show; else when the API refuses.
    pub async fn add_tags(
        &self,
        resource: TaggedResource,
        id: &str,
        tags: &[String],
    ) -> Result<(), CloudError> {
        if tags.is_empty() {
            return Ok(());
        }
        let mut done = futures_util::stream::iter(tags.to_vec())
            .map(|tag| async move { self.tag_resource(resource, id, &tag).await })
            .buffer_unordered(TAGS_AT_ONCE);
        while let Some(one) = done.next().await {
            one?;
        }
        let mut patience = Patience::new(self, self.timing().read_back);
        loop {
            let borne = self.tags_of(resource, id).await?;
            if tags.iter().all(|tag| borne.contains(tag)) {
                return Ok(());
            }
            if !patience.wait().await {
                let kind = match resource {
                    TaggedResource::Droplet => "droplet",
                    TaggedResource::Volume => "volume",
                    TaggedResource::Image => "image",
                };
                return Err(CloudError::TagsNotApplied {
                    what: format!("{kind} {id}"),
                });
            }
        }
    }

    async fn tag_resource(
        &self,
        resource: TaggedResource,
        id: &str,
        tag: &str,
    ) -> Result<(), CloudError> {
        let call = Call::TagResource {
            tag: tag.to_owned(),
            resource,
            id: id.to_owned(),
        };
        match self.call(&call).await {
            Err(error) if error.is_not_found() => {
                self.create_tag(tag).await?;
                self.call(&call).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    /// Takes tags from a resource. One it does not bear is no error.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn remove_tags(
        &self,
        resource: TaggedResource,
        id: &str,
        tags: &[String],
    ) -> Result<(), CloudError> {
        let mut done = futures_util::stream::iter(tags.to_vec())
            .map(|tag| async move {
                let call = Call::UntagResource {
                    tag,
                    resource,
                    id: id.to_owned(),
                };
                match self.call(&call).await {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(()),
                }
            })
            .buffer_unordered(TAGS_AT_ONCE);
        while let Some(one) = done.next().await {
            one?;
        }
        Ok(())
    }

    async fn tags_of(&self, resource: TaggedResource, id: &str) -> Result<Vec<String>, CloudError> {
        match resource {
            TaggedResource::Droplet => self.droplet_tags(id).await,
            TaggedResource::Volume => self.volume_tags(id).await,
            TaggedResource::Image => self.image_tags(id).await,
        }
    }
}
