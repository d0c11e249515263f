//! Reads the state of an account in as few calls as the API allows, all at once.

use std::collections::BTreeSet;

use futures_util::future::{try_join, try_join_all, try_join5};
use tokio::time::Instant;

use super::client::Client;
use super::droplets::Droplet;
use super::error::CloudError;
use super::images::Image;
use super::volumes::Volume;
use crate::live::ownership::{self, Owner};
use crate::live::{Live, LiveDroplet, LiveFirewall, LiveSshKey, LiveVolumeSnapshot};

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Name of the project.
    pub project: String,
    /// Name of the environment.
    pub environment: String,
    /// MD5 fingerprint (colons) of the SSH key to look for.
    pub ssh_key: Option<String>,
    /// Whether to look for leftovers too: droplets whose tags are gone, the key by its name when no
    /// fingerprint is at hand, and tags.
    pub for_destroy: bool,
    /// Whether to read snapshots of volumes, as for a destroy: one call that only those need who make
    /// copies of volumes.
    pub volume_snapshots: bool,
}

/// Reads the account: at most 8 calls, and one more for each further 200 of a kind. One more for
/// snapshots of volumes; for a destroy three or four more.
///
/// Listed are the droplets that bear the environment's tag (for a destroy also those whose name
/// begins as ours do), and all volumes, private images and firewalls, which the API cannot filter.
///
/// # Errors
/// When a part cannot be read, and when the token may not see tags: then nothing would tell what is
/// ours.
pub async fn observe(client: &Client, query: &Query) -> Result<Live, CloudError> {
    let (parts, (keys, tags, catalog, volume_snapshots)) = try_join(
        try_join5(
            client.account(),
            droplets(client, query),
            client.volumes(),
            client.private_images(),
            client.firewalls(),
        ),
        futures_util::future::try_join4(
            ssh_keys(client, query),
            our_tags(client, query),
            client.catalog(),
            volume_snapshots(client, query),
        ),
    )
    .await?;
    let (account, droplets, volumes, images, firewalls) = parts;
    let mut live = Live {
        account,
        droplets,
        holders: Vec::new(),
        volumes: volumes
            .into_iter()
            .map(Volume::into_live)
            .collect::<Result<_, _>>()?,
        volume_snapshots,
        images: images
            .into_iter()
            .map(Image::into_live)
            .collect::<Result<_, _>>()?,
        firewalls: firewalls.into_iter().map(LiveFirewall::from).collect(),
        ssh_keys: keys,
        tags,
        catalog,
    };
    live.droplets.sort_by_key(|droplet| droplet.id);
    live.droplets.dedup_by_key(|droplet| droplet.id);
    live.volumes.sort_by(|a, b| a.id.cmp(&b.id));
    live.images.sort_by_key(|image| image.id);
    live.firewalls.sort_by(|a, b| a.id.cmp(&b.id));
    live.ssh_keys.sort_by_key(|key| key.id);
    Ok(live)
}

/// Reads the environment's droplets alone, as [`observe`] does: one call.
///
/// # Errors
/// When they cannot be read.
pub async fn droplets_of(client: &Client, query: &Query) -> Result<Vec<LiveDroplet>, CloudError> {
    droplets(client, query).await
}

impl Client {
    /// Looks up the droplets of others that have a volume of the project, one call each, for a
    /// refusal to tell them by name. Volumes of other environments are asked about only when the whole
    /// project is meant. A droplet
    /// that is gone has nothing any more, whatever its volume still says; one of the environment
    /// that its list left out is put among its droplets.
    ///
    /// # Errors
    /// When the API cannot be read.
    pub async fn look_up_holders(
        &self,
        owner: &Owner,
        whole_project: bool,
        live: &mut Live,
    ) -> Result<(), CloudError> {
        let ids: BTreeSet<u64> = live
            .volumes
            .iter()
            .filter(|volume| {
                owner.in_environment(&volume.tags)
                    || owner.in_project_only(&volume.tags)
                    || (whole_project && owner.in_project(&volume.tags))
            })
            .flat_map(|volume| volume.droplet_ids.iter().copied())
            .filter(|id| live.droplets.iter().all(|droplet| droplet.id != *id))
            .collect();
        let found = try_join_all(ids.iter().map(|id| self.droplet(*id))).await?;
        let found = self::live(found.into_iter().flatten().collect())?;
        let there: BTreeSet<u64> = found.iter().map(|droplet| droplet.id).collect();
        let (ours, others) = found
            .into_iter()
            .partition(|droplet| owner.in_environment(&droplet.tags));
        live.holders = others;
        live.droplets.extend::<Vec<LiveDroplet>>(ours);
        live.droplets.sort_by_key(|droplet| droplet.id);
        let is_gone = |id: &u64| ids.contains(id) && !there.contains(id);
        for volume in &mut live.volumes {
            volume.droplet_ids.retain(|id| !is_gone(id));
        }
        Ok(())
    }
}

impl Client {
    /// Looks up droplets of these names that have lost their environment's tag and bear no other
    /// environment's, in one call and one more for each further 200 droplets of the project; says
    /// whether there are any. Only a plan that would make droplets of these names needs to know:
    /// it would double them.
    ///
    /// # Errors
    /// When the API cannot be read.
    pub async fn look_up_lost(
        &self,
        owner: &Owner,
        names: &BTreeSet<&str>,
        live: &mut Live,
    ) -> Result<bool, CloudError> {
        let found = self::live(self.droplets_tagged(&owner.project_tag).await?)?;
        let before = live.droplets.len();
        for droplet in found {
            let is_lost = names.contains(droplet.name.as_str())
                && owner.in_project_only(&droplet.tags)
                && live.droplets.iter().all(|known| known.id != droplet.id);
            if is_lost {
                live.droplets.push(droplet);
            }
        }
        live.droplets.sort_by_key(|droplet| droplet.id);
        Ok(live.droplets.len() > before)
    }
}

impl Client {
    /// Waits for droplets that have a volume of the project, bear a name as its droplets do and no tags
    /// (a DELETE strips them), until they are gone, or for as long as a DELETE may take; says whether
    /// one of them has gone. One that is still there is someone else's, or its DELETE failed; so is what
    /// cannot be looked at. Two calls for each look.
    pub async fn await_leaving(&self, owner: &Owner, project: &str, live: &mut Live) -> bool {
        let ours = live
            .volumes
            .iter()
            .filter(|volume| owner.in_project(&volume.tags));
        let held: BTreeSet<u64> = ours
            .clone()
            .flat_map(|volume| volume.droplet_ids.iter().copied())
            .collect();
        let ours: BTreeSet<&String> = ours.map(|volume| &volume.id).collect();
        let has_one = |droplet: &LiveDroplet| {
            held.contains(&droplet.id) || droplet.volume_ids.iter().any(|id| ours.contains(id))
        };
        let all = live.droplets.iter().chain(&live.holders);
        let leaving: BTreeSet<u64> = all
            .filter(|droplet| ownership::may_be_leaving(project, droplet) && has_one(droplet))
            .map(|droplet| droplet.id)
            .collect();
        if leaving.is_empty() {
            return false;
        }
        let deadline = Instant::now() + self.timing().leaving;
        let left = self.wait_droplets_gone(leaving.clone(), deadline).await;
        let is_gone = |id: &u64| leaving.contains(id) && !left.contains(id);
        for list in [&mut live.droplets, &mut live.holders] {
            list.retain(|droplet| !is_gone(&droplet.id));
        }
        for volume in &mut live.volumes {
            volume.droplet_ids.retain(|id| !is_gone(id));
        }
        left.len() < leaving.len()
    }
}

/// By tag; for a destroy also the ghosts: a droplet that is being destroyed has lost its tags.
async fn droplets(client: &Client, query: &Query) -> Result<Vec<LiveDroplet>, CloudError> {
    let tag = ownership::environment_tag(&query.project, &query.environment);
    if !query.for_destroy {
        return live(client.droplets_tagged(&tag).await?);
    }
    let (tagged, all) = try_join(client.droplets_tagged(&tag), client.all_droplets()).await?;
    let prefix = format!("{}-", query.project);
    let project = ownership::project_tag(&query.project);
    let mut found = tagged;
    found.extend(
        all.into_iter()
            .filter(|droplet| droplet.name.starts_with(&prefix) || droplet.bears(&project)),
    );
    live(found)
}

fn live(droplets: Vec<Droplet>) -> Result<Vec<LiveDroplet>, CloudError> {
    droplets.into_iter().map(Droplet::into_live).collect()
}

async fn ssh_keys(client: &Client, query: &Query) -> Result<Vec<LiveSshKey>, CloudError> {
    let keys = match &query.ssh_key {
        Some(fingerprint) => client.ssh_key(fingerprint).await?.into_iter().collect(),
        None if query.for_destroy => client.ssh_keys().await?,
        None => Vec::new(),
    };
    Ok(keys.into_iter().map(LiveSshKey::from).collect())
}

async fn volume_snapshots(
    client: &Client,
    query: &Query,
) -> Result<Vec<LiveVolumeSnapshot>, CloudError> {
    if query.for_destroy || query.volume_snapshots {
        client.volume_snapshots().await
    } else {
        Ok(Vec::new())
    }
}

async fn our_tags(client: &Client, query: &Query) -> Result<Vec<String>, CloudError> {
    if query.for_destroy {
        client.our_tags().await
    } else {
        Ok(Vec::new())
    }
}
