//! What the account can have, and for how much.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Money;

/// Sizes and regions on offer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Every size, sorted by slug.
    pub sizes: Vec<SizeOffer>,
    /// Every region, sorted by slug; empty when nobody asked.
    pub regions: Vec<RegionOffer>,
    /// Public images by slug, as far as somebody asked; none where there is none of that slug.
    pub images: BTreeMap<String, Option<ImageOffer>>,
    /// Slugs of all distributions, sorted; empty unless one that was asked for is not there.
    pub distributions: Vec<String>,
}

/// A public image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOffer {
    /// Disk in GiB that a droplet needs to be made from it.
    pub min_disk_gib: u32,
    /// Slugs of the regions that have it, sorted.
    pub regions: Vec<String>,
    /// `available` when droplets can be made from it.
    pub status: String,
}

/// A droplet size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeOffer {
    /// Such as `s-1vcpu-1gb`.
    pub slug: String,
    /// Disk in GiB.
    pub disk_gib: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Price of an hour.
    pub price_hourly: Money,
    /// Price of a month: the cap of what a month costs.
    pub price_monthly: Money,
    /// Slugs of the regions that have it today, sorted.
    pub regions: Vec<String>,
    /// Whether it can be had at all.
    pub available: bool,
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionOffer {
    /// Such as `nyc3`.
    pub slug: String,
    /// Whether new droplets can be made there.
    pub available: bool,
    /// Such as `storage` and `image_transfer`.
    pub features: Vec<String>,
}

impl Catalog {
    /// The size of that slug.
    #[must_use]
    pub fn size(&self, slug: &str) -> Option<&SizeOffer> {
        self.sizes.iter().find(|size| size.slug == slug)
    }

    /// The region of that slug.
    #[must_use]
    pub fn region(&self, slug: &str) -> Option<&RegionOffer> {
        self.regions.iter().find(|region| region.slug == slug)
    }
}
