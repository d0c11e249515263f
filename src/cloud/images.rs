//! Private images: snapshots of builder droplets.
//!
//! The action that takes a snapshot never tells the image's id, and names are not unique: the image
//! is found by its builder and its exact name.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Deserialize;

use super::actions::{Action, Progress};
use super::client::{Client, parse_key};
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::retry::Lag;
use super::volumes::is_in_doubt;
use super::waits::Awaited;
use super::wire;
use crate::live::{Catalog, ImageOffer, Live, LiveImage};

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Image {
    #[serde(deserialize_with = "wire::whole")]
    id: u64,
    #[serde(default, deserialize_with = "wire::or_default")]
    name: String,
    #[serde(default, deserialize_with = "wire::present")]
    slug: Option<String>,
    #[serde(default, deserialize_with = "wire::or_default")]
    status: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    regions: Vec<String>,
    #[serde(default, deserialize_with = "wire::whole32")]
    min_disk_size: u32,
    #[serde(default, deserialize_with = "wire::thousandths")]
    size_gigabytes: u64,
    #[serde(default, deserialize_with = "wire::present")]
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "wire::unix")]
    created_at: i64,
}

/// A snapshot in its builder's list, which gives neither tags nor status.
#[derive(Debug, Clone, Deserialize)]
struct Taken {
    #[serde(deserialize_with = "wire::whole")]
    id: u64,
    #[serde(default, deserialize_with = "wire::or_default")]
    name: String,
}

impl Image {
    fn into_offer(mut self) -> ImageOffer {
        self.regions.sort();
        ImageOffer {
            min_disk_gib: self.min_disk_size,
            regions: self.regions,
            status: self.status,
        }
    }

    pub fn into_live(mut self) -> Result<LiveImage, CloudError> {
        self.regions.sort();
        Ok(LiveImage {
            tags: wire::sorted_tags(self.tags, || format!("image {}", self.id))?,
            id: self.id,
            name: self.name,
            status: self.status,
            regions: self.regions,
            min_disk_gib: self.min_disk_size,
            size_mb: self.size_gigabytes,
            created_at: self.created_at,
        })
    }
}

/// A snapshot's name without its digest: of one recipe each is about as large as the last.
fn lineage(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(lineage, _)| lineage)
}

impl Client {
    /// Looks for public images by slug, one call each, and notes them in the catalogue; when one is
    /// not there, what distributions there are too.
    ///
    /// # Errors
    /// When the API cannot be read.
    pub async fn look_up_images(
        &self,
        slugs: &BTreeSet<String>,
        catalog: &mut Catalog,
    ) -> Result<(), CloudError> {
        let found = try_join_all(slugs.iter().map(async |slug| {
            let call = Call::PublicImage { slug: slug.clone() };
            let image: Option<Image> = self.find(&call, "image").await?;
            Ok::<_, CloudError>((slug.clone(), image.map(Image::into_offer)))
        }))
        .await?;
        let is_missing = found.iter().any(|(_, image)| image.is_none());
        catalog.images.extend(found);
        if is_missing {
            let all: Vec<Image> = self.list(&Call::Distributions, "images").await?;
            catalog.distributions = all.into_iter().filter_map(|image| image.slug).collect();
            catalog.distributions.sort();
            catalog.distributions.dedup();
        }
        Ok(())
    }

    pub(super) async fn private_images(&self) -> Result<Vec<Image>, CloudError> {
        self.list(&Call::PrivateImages, "images").await
    }

    async fn image(&self, id: u64) -> Result<Option<Image>, CloudError> {
        self.find(&Call::Image { id }, "image").await
    }

    /// The tags an image bears.
    pub(super) async fn image_tags(&self, id: &str) -> Result<Vec<String>, CloudError> {
        let id = id.parse().unwrap_or_default();
        let image: Image = self.read(&Call::Image { id }, "image").await?;
        Ok(image.into_live()?.tags)
    }

    /// Takes a snapshot of a droplet and waits until it is available. One of that name that was
    /// taken of this droplet before is taken for it.
    ///
    /// # Errors
    /// When the API refuses, its action fails, or the image does not show in time.
    pub async fn snapshot_droplet(&self, id: u64, name: &str) -> Result<LiveImage, CloudError> {
        if let Some(image) = self.taken(id, name).await? {
            return self.wait_until_available(image, name).await;
        }
        let call = Call::SnapshotDroplet {
            id,
            name: name.to_owned(),
        };
        let request = call.request();
        let mut patience = Patience::new(self, self.timing().fault_deadline);
        let action = loop {
            let asked = match self.call_through(&call, Lag::PendingEvent).await {
                Ok(answer) => parse_key::<Action>(&request, &answer, "action"),
                Err(error) => Err(error),
            };
            let error = match asked {
                Ok(action) => break action,
                // Never a second one while the first may be under way: a minute for each GB, and
                // two images of one name.
                Err(error) if is_in_doubt(&error) => error,
                Err(error) => return Err(error),
            };
            if let Some(action) = self.running_snapshot(id).await? {
                break action;
            }
            if let Some(image) = self.taken(id, name).await? {
                return self.wait_until_available(image, name).await;
            }
            if !patience.pause(&request.label(), &error.to_string()).await {
                return Err(error);
            }
        };
        let timing = self.timing();
        let what = format!("snapshot of droplet {id}");
        let awaited = (Awaited::Snapshot, lineage(name));
        self.wait_action(&action, &what, awaited, timing.snapshot, timing.poll_slow)
            .await?;
        let mut patience = Patience::new(self, timing.snapshot_listed);
        loop {
            if let Some(image) = self.taken(id, name).await? {
                return self.wait_until_available(image, name).await;
            }
            if !patience.wait().await {
                return Err(patience.in_vain(format!("snapshot {name} to be listed")));
            }
        }
    }

    /// Waits for snapshots of droplets of these names that an earlier run has begun: no list shows them
    /// before, and what has been paid for need not be built again. Says whether there are any that
    /// `live` does not have. One call for each such droplet, two when a snapshot of it was finished.
    ///
    /// # Errors
    /// When the API cannot be read, or one does not end in time.
    pub async fn await_snapshots(
        &self,
        names: &BTreeSet<&str>,
        live: &Live,
    ) -> Result<bool, CloudError> {
        let builders = live
            .droplets
            .iter()
            .filter(|droplet| names.contains(droplet.name.as_str()));
        let mut waited = false;
        for builder in builders {
            let id = builder.id;
            let call = Call::DropletActions { id };
            let actions: Vec<Action> = match self.list(&call, "actions").await {
                Ok(actions) => actions,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let of_snapshots = |progress| {
                let mut of_snapshots = actions.iter().filter(|action| action.kind == "snapshot");
                of_snapshots.find(|action| action.progress() == progress)
            };
            let Some(running) = of_snapshots(Progress::Running) else {
                // One may have been finished after the list of images was read, or a moment ago.
                if of_snapshots(Progress::Completed).is_some() {
                    let window = self.timing().lookup_window;
                    waited |= match self.look_for_snapshot(id, live).await {
                        Ok(Some(is_news)) => is_news,
                        Ok(None) => self.await_listed(id, live, window).await?,
                        Err(error) if error.is_not_found() => false,
                        Err(error) => return Err(error),
                    };
                }
                continue;
            };
            let timing = self.timing();
            let what = format!("snapshot of droplet {id}");
            let awaited = (Awaited::Snapshot, builder.name.as_str());
            match self
                .wait_action(running, &what, awaited, timing.snapshot, timing.poll_slow)
                .await
            {
                // Its action ends before lists show it.
                Ok(_) => {
                    self.await_listed(id, live, timing.snapshot_listed).await?;
                    waited = true;
                }
                // One that failed has left nothing.
                Err(CloudError::ActionFailed { .. }) => waited = true,
                Err(error) => return Err(error),
            }
        }
        Ok(waited)
    }

    /// Whether there is a snapshot of a droplet that `live` does not have; none when no snapshot of it
    /// is listed.
    async fn look_for_snapshot(&self, id: u64, live: &Live) -> Result<Option<bool>, CloudError> {
        let taken: Vec<Taken> = self
            .list(&Call::DropletSnapshots { id }, "snapshots")
            .await?;
        let is_seen = |taken: &Taken| live.images.iter().any(|image| image.id == taken.id);
        Ok((!taken.is_empty()).then(|| !taken.iter().all(is_seen)))
    }

    /// Waits until a snapshot of a droplet is listed that `live` does not have, for so long at most, and
    /// says whether one is.
    async fn await_listed(
        &self,
        id: u64,
        live: &Live,
        window: Duration,
    ) -> Result<bool, CloudError> {
        let mut patience = Patience::new(self, window);
        loop {
            match self.look_for_snapshot(id, live).await {
                Ok(Some(true)) => return Ok(true),
                // The droplet has gone, and with it this list.
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            if !patience.wait().await {
                return Ok(false);
            }
        }
    }

    /// Looks for a snapshot action of a droplet that runs, for as long as one may take to show.
    async fn running_snapshot(&self, id: u64) -> Result<Option<Action>, CloudError> {
        let mut patience = Patience::new(self, self.timing().lookup_window);
        loop {
            let actions: Vec<Action> = self.list(&Call::DropletActions { id }, "actions").await?;
            let running = actions
                .into_iter()
                .find(|action| action.kind == "snapshot" && action.progress() == Progress::Running);
            if running.is_some() || !patience.wait().await {
                return Ok(running);
            }
        }
    }

    /// The newest snapshot of that name that was taken of a droplet.
    async fn taken(&self, droplet: u64, name: &str) -> Result<Option<u64>, CloudError> {
        let taken: Vec<Taken> = self
            .list(&Call::DropletSnapshots { id: droplet }, "snapshots")
            .await?;
        Ok(taken
            .into_iter()
            .filter(|image| image.name == name)
            .map(|image| image.id)
            .max())
    }

    async fn wait_until_available(&self, id: u64, name: &str) -> Result<LiveImage, CloudError> {
        let mut patience = Patience::new(self, self.timing().snapshot_listed);
        loop {
            if let Some(image) = self.image(id).await?
                && image.status == "available"
            {
                return image.into_live();
            }
            if !patience.wait().await {
                return Err(patience.in_vain(format!("snapshot {name} to become available")));
            }
        }
    }

    /// Copies an image to a further region and waits until it is there. One that is there already is
    /// a success.
    ///
    /// # Errors
    /// When the API refuses, its action fails, or the copy does not show in time.
    pub async fn transfer_image(&self, id: u64, region: &str) -> Result<(), CloudError> {
        let call = Call::TransferImage {
            id,
            region: region.to_owned(),
        };
        let request = call.request();
        let timing = self.timing();
        let mut patience = Patience::new(self, timing.fault_deadline);
        let action = loop {
            if self.is_in(id, region).await? {
                return Ok(());
            }
            // One that an earlier run, or a lost answer, left under way is as good.
            if let Some(action) = self.running_transfer(id, region).await? {
                break action;
            }
            let asked = match self.call_through(&call, Lag::PendingEvent).await {
                Ok(answer) => parse_key::<Action>(&request, &answer, "action"),
                Err(error) => Err(error),
            };
            let error = match asked {
                Ok(action) => break action,
                Err(error) if is_in_doubt(&error) => error,
                // Perhaps just now someone else's copy has come there.
                Err(error) if error.is_unprocessable() && self.is_in(id, region).await? => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if !patience.pause(&request.label(), &error.to_string()).await {
                return Err(error);
            }
        };
        let what = format!("transfer of image {id} to {region}");
        let awaited = (Awaited::Transfer, region);
        self.wait_action(&action, &what, awaited, timing.transfer, timing.poll_slow)
            .await?;
        let mut patience = Patience::new(self, timing.snapshot_listed);
        while !self.is_in(id, region).await? {
            if !patience.wait().await {
                return Err(patience.in_vain(format!("image {id} to be in {region}")));
            }
        }
        Ok(())
    }

    async fn is_in(&self, id: u64, region: &str) -> Result<bool, CloudError> {
        let image: Image = self.read(&Call::Image { id }, "image").await?;
        Ok(image.regions.iter().any(|slug| slug == region))
    }

    /// A transfer of an image to that region that is under way.
    async fn running_transfer(&self, id: u64, region: &str) -> Result<Option<Action>, CloudError> {
        let actions: Vec<Action> = self
            .first_page(&Call::ImageActions { id }, "actions")
            .await?;
        Ok(actions.into_iter().find(|action| {
            action.kind == "transfer"
                && action.region_slug == region
                && action.progress() == Progress::Running
        }))
    }

    /// Deletes an image. One that is gone already is a success.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn delete_image(&self, id: u64) -> Result<(), CloudError> {
        match self.call(&Call::DeleteImage { id }).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            // A second delete, after the answer to the first was lost, is refused for good although the
            // image is gone, which reads may show a while later.
            Err(error) if error.is_unprocessable() => {
                let mut lag = Patience::new(self, self.timing().read_back);
                loop {
                    if self.is_deleted(id).await? {
                        return Ok(());
                    }
                    if !lag.wait().await {
                        return Err(error);
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn is_deleted(&self, id: u64) -> Result<bool, CloudError> {
        Ok(self
            .image(id)
            .await?
            .is_none_or(|image| image.status == "deleted"))
    }
}
