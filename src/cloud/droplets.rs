//! Droplets: how they are asked for, how they are read.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::client::Client;
use super::error::CloudError;
use super::request::Call;
use super::wire::{self, Slug};
use crate::live::{DropletStatus, LiveDroplet};
use crate::secret::Secret;

/// Up to ten droplets of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDroplets {
    /// Slug of their region.
    pub region: String,
    /// Slug of their size.
    pub size: String,
    /// What they are made from.
    pub image: DropletImage,
    /// Every tag they are to bear, `env_tag` among them.
    pub tags: Vec<String>,
    /// MD5 fingerprint of the account's SSH key that may log in.
    pub ssh_key: String,
    /// What cloud-init reads; ASCII.
    pub user_data: Option<Secret<String>>,
    /// Their names, 1 to 10, all different.
    pub names: Vec<String>,
    /// The tag under which they are found again when the answer is lost.
    pub env_tag: String,
}

/// What droplets are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropletImage {
    /// A public image.
    Slug(String),
    /// A private image.
    Id(u64),
}

/// A droplet that is being made, as soon as it has a public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its public address.
    pub address: Ipv4Addr,
    /// Whether the API calls it active.
    pub is_active: bool,
}

/// Is told of droplets while they are being made. Must return at once.
pub trait Witness: Sync {
    /// The API has accepted all droplets of a create, by name and id: they exist. Not told of a create
    /// whose answer was lost.
    fn accepted(&self, droplets: &BTreeMap<String, u64>);

    /// It has a public address, active or not; told as often as it is looked at.
    fn seen(&self, seen: Sighting<'_>);
}

/// Nobody needs to know.
impl Witness for () {
    fn accepted(&self, _: &BTreeMap<String, u64>) {}

    fn seen(&self, _: Sighting<'_>) {}
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Droplet {
    pub id: u64,
    pub name: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    status: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    region: Slug,
    #[serde(default, deserialize_with = "wire::or_default")]
    size_slug: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    image: ImageOf,
    #[serde(default, deserialize_with = "wire::or_default")]
    networks: Networks,
    #[serde(default, deserialize_with = "wire::or_default")]
    volume_ids: Vec<String>,
    #[serde(default, deserialize_with = "wire::present")]
    tags: Option<Vec<String>>,
    #[serde(default)]
    vpc_uuid: Option<String>,
    #[serde(default, deserialize_with = "wire::unix")]
    pub created_at: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct ImageOf {
    #[serde(default, deserialize_with = "wire::whole")]
    id: u64,
    #[serde(default)]
    slug: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Networks {
    #[serde(default, deserialize_with = "wire::or_default")]
    v4: Vec<Network>,
}

#[derive(Debug, Clone, Deserialize)]
struct Network {
    #[serde(default)]
    ip_address: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

impl Droplet {
    /// Powered on and reachable from outside. The address can come seconds after the status.
    pub fn is_ready(&self) -> bool {
        self.status == "active" && self.address("public").is_some()
    }

    pub fn bears(&self, tag: &str) -> bool {
        self.tags.iter().flatten().any(|borne| borne == tag)
    }

    pub fn is_off(&self) -> bool {
        self.status == "off"
    }

    /// What of it can be reached already; none while it has no public address.
    pub fn sighting(&self) -> Option<Sighting<'_>> {
        Some(Sighting {
            name: &self.name,
            address: self.address("public")?,
            is_active: self.status == "active",
        })
    }

    fn address(&self, kind: &str) -> Option<Ipv4Addr> {
        self.networks
            .v4
            .iter()
            .filter(|network| network.kind.as_deref() == Some(kind))
            .find_map(|network| network.ip_address.as_deref()?.parse().ok())
    }

    pub fn into_live(self) -> Result<LiveDroplet, CloudError> {
        let public_ipv4 = self.address("public");
        let private_ipv4 = self.address("private");
        let mut volume_ids = self.volume_ids;
        volume_ids.sort();
        Ok(LiveDroplet {
            id: self.id,
            tags: wire::sorted_tags(self.tags, || format!("droplet {}", self.id))?,
            name: self.name,
            status: match self.status.as_str() {
                "new" => DropletStatus::New,
                "active" => DropletStatus::Active,
                "off" => DropletStatus::Off,
                _ => DropletStatus::Other(self.status),
            },
            region: self.region.slug,
            size: self.size_slug,
            image_id: self.image.id,
            image_slug: self.image.slug.filter(|slug| !slug.is_empty()),
            public_ipv4,
            private_ipv4,
            volume_ids,
            vpc: self.vpc_uuid.filter(|vpc| !vpc.is_empty()),
            created_at: self.created_at,
        })
    }
}

impl Client {
    pub(super) async fn droplet(&self, id: u64) -> Result<Option<Droplet>, CloudError> {
        self.find(&Call::Droplet { id }, "droplet").await
    }

    pub(super) async fn droplets_tagged(&self, tag: &str) -> Result<Vec<Droplet>, CloudError> {
        self.list(
            &Call::DropletsTagged {
                tag: tag.to_owned(),
            },
            "droplets",
        )
        .await
    }

    pub(super) async fn all_droplets(&self) -> Result<Vec<Droplet>, CloudError> {
        self.list(&Call::Droplets, "droplets").await
    }

    /// The tags a droplet bears.
    pub(super) async fn droplet_tags(&self, id: &str) -> Result<Vec<String>, CloudError> {
        // No id of ours is anything but a number; one that is not names no droplet.
        let id = id.parse().unwrap_or_default();
        let droplet: Droplet = self.read(&Call::Droplet { id }, "droplet").await?;
        Ok(droplet.into_live()?.tags)
    }

    /// A droplet by its id, whoever's it is; none when it is gone.
    ///
    /// # Errors
    /// When the API cannot be asked or hides tags.
    pub async fn find_droplet(&self, id: u64) -> Result<Option<LiveDroplet>, CloudError> {
        self.droplet(id).await?.map(Droplet::into_live).transpose()
    }

    /// The droplets that bear a tag and have exactly that name, oldest first. Names are not unique.
    ///
    /// # Errors
    /// When the API cannot be asked or hides tags.
    pub async fn find_droplets(
        &self,
        tag: &str,
        name: &str,
    ) -> Result<Vec<LiveDroplet>, CloudError> {
        let mut found: Vec<LiveDroplet> = self
            .droplets_tagged(tag)
            .await?
            .into_iter()
            .filter(|droplet| droplet.name == name)
            .map(Droplet::into_live)
            .collect::<Result<_, _>>()?;
        found.sort_by_key(|droplet| (droplet.created_at, droplet.id));
        Ok(found)
    }
}
