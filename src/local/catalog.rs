//! What the local account can have: regions, sizes with prices, public images.
//!
//! Figures are those DigitalOcean published or served in autumn 2026.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exchange::{Millis, timestamp};
use super::seam::Tier;
use super::tiers::describe_image;

/// A droplet size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Such as `s-1vcpu-1gb`.
    pub slug: &'static str,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Disk in GiB.
    pub disk_gib: u32,
    /// Transfer in TB a month.
    transfer: f64,
    /// US dollars a month.
    monthly: f64,
    /// US dollars an hour.
    hourly: f64,
    /// What the panel calls it.
    description: &'static str,
    offered: Offered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Everywhere,
    InLargeRegions,
    OutOfStock,
}

const fn size(
    slug: &'static str,
    (vcpus, memory_mib, disk_gib): (u32, u32, u32),
    transfer: f64,
    (monthly, hourly): (f64, f64),
    description: &'static str,
    offered: Offered,
) -> Size {
    Size {
        slug,
        memory_mib,
        vcpus,
        disk_gib,
        transfer,
        monthly,
        hourly,
        description,
        offered,
    }
}

use Offered::{Everywhere, InLargeRegions, OutOfStock};

/// Every size.
#[rustfmt::skip]
pub const SIZES: [Size; 28] = [
    size("s-1vcpu-512mb-10gb", (1, 512, 10), 0.5, (4.0, 0.00595), "Basic", Everywhere),
    size("s-1vcpu-1gb", (1, 1024, 25), 1.0, (6.0, 0.00893), "Basic", Everywhere),
    size("s-1vcpu-1gb-amd", (1, 1024, 25), 1.0, (7.0, 0.01042), "Basic AMD", Everywhere),
    size("s-1vcpu-1gb-intel", (1, 1024, 25), 1.0, (7.0, 0.01042), "Basic Intel", Everywhere),
    size("s-1vcpu-2gb", (1, 2048, 50), 2.0, (12.0, 0.01786), "Basic", Everywhere),
    size("s-2vcpu-2gb", (2, 2048, 60), 3.0, (18.0, 0.02679), "Basic", Everywhere),
    size("s-2vcpu-2gb-amd", (2, 2048, 60), 3.0, (21.0, 0.03125), "Basic AMD", Everywhere),
    size("s-2vcpu-4gb", (2, 4096, 80), 4.0, (24.0, 0.03571), "Basic", Everywhere),
    size("s-2vcpu-4gb-amd", (2, 4096, 80), 4.0, (28.0, 0.04167), "Basic AMD", Everywhere),
    size("s-2vcpu-4gb-intel", (2, 4096, 80), 4.0, (28.0, 0.04167), "Basic Intel", Everywhere),
    size("s-4vcpu-8gb", (4, 8192, 160), 5.0, (48.0, 0.07143), "Basic", Everywhere),
    size("s-4vcpu-8gb-amd", (4, 8192, 160), 5.0, (56.0, 0.08333), "Basic AMD", Everywhere),
    size("s-4vcpu-8gb-intel", (4, 8192, 160), 5.0, (56.0, 0.08333), "Basic Intel", Everywhere),
    size("s-8vcpu-16gb", (8, 16384, 320), 6.0, (96.0, 0.14286), "Basic", Everywhere),
    size("s-8vcpu-16gb-amd", (8, 16384, 320), 6.0, (112.0, 0.16667), "Basic AMD", Everywhere),
    size("c-2", (2, 4096, 25), 4.0, (42.0, 0.0625), "CPU-Optimized", Everywhere),
    size("c-4", (4, 8192, 50), 5.0, (84.0, 0.125), "CPU-Optimized", Everywhere),
    size("c-8", (8, 16384, 100), 6.0, (168.0, 0.25), "CPU-Optimized", Everywhere),
    size("c-16", (16, 32768, 200), 7.0, (336.0, 0.5), "CPU-Optimized", InLargeRegions),
    size("g-2vcpu-8gb", (2, 8192, 25), 4.0, (63.0, 0.09375), "General Purpose", InLargeRegions),
    size("g-4vcpu-16gb", (4, 16384, 50), 5.0, (126.0, 0.1875), "General Purpose", InLargeRegions),
    size("g-8vcpu-32gb", (8, 32768, 100), 6.0, (252.0, 0.375), "General Purpose", InLargeRegions),
    size("g-16vcpu-64gb", (16, 65536, 200), 7.0, (504.0, 0.75), "General Purpose", InLargeRegions),
    size("m-2vcpu-16gb", (2, 16384, 50), 4.0, (84.0, 0.125), "Memory-Optimized", InLargeRegions),
    size("m-4vcpu-32gb", (4, 32768, 100), 6.0, (168.0, 0.25), "Memory-Optimized", InLargeRegions),
    size("m-8vcpu-64gb", (8, 65536, 200), 7.0, (336.0, 0.5), "Memory-Optimized", InLargeRegions),
    size("so-2vcpu-16gb", (2, 16384, 300), 4.0, (131.0, 0.19494), "Storage-Optimized", InLargeRegions),
    size("c-60-intel", (60, 122_880, 750), 12.0, (1638.0, 2.4375), "Premium Intel", OutOfStock),
];

/// A region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Such as `nyc3`.
    pub slug: &'static str,
    name: &'static str,
    /// Whether new resources can be made there.
    pub available: bool,
    /// Whether it has volumes.
    pub storage: bool,
    large: bool,
}

const fn region(
    slug: &'static str,
    name: &'static str,
    available: bool,
    storage: bool,
    large: bool,
) -> Region {
    Region {
        slug,
        name,
        available,
        storage,
        large,
    }
}

/// Every region that the official document knows, but for old ones; the service has newer ones.
pub const REGIONS: [Region; 13] = [
    region("nyc1", "New York 1", true, true, true),
    region("nyc2", "New York 2", false, true, false),
    region("nyc3", "New York 3", true, true, true),
    region("sfo1", "San Francisco 1", false, false, false),
    region("sfo2", "San Francisco 2", true, true, true),
    region("sfo3", "San Francisco 3", true, true, true),
    region("ams3", "Amsterdam 3", true, true, true),
    region("sgp1", "Singapore 1", true, true, true),
    region("lon1", "London 1", true, true, true),
    region("fra1", "Frankfurt 1", true, true, true),
    region("tor1", "Toronto 1", true, true, true),
    region("blr1", "Bangalore 1", true, true, true),
    region("syd1", "Sydney 1", true, true, true),
];

/// An image, public or of the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its slug, when it is public.
    pub slug: Option<String>,
    /// Such as `Ubuntu`.
    pub distribution: String,
    /// The slugs of regions that hold it.
    pub regions: Vec<String>,
    /// Disk in GiB that droplets made from it need.
    pub min_disk_gib: u32,
    /// What it takes in GB.
    pub size_gb: f64,
    /// When it was made.
    pub created_at: Millis,
    /// What people read about it.
    pub description: String,
    /// Its tags; of the account's own images alone.
    pub tags: Vec<String>,
    /// The droplet it is a snapshot of.
    pub droplet: Option<u64>,
    /// From when on lists show it.
    pub listed_at: Millis,
}

struct PublicImage(u64, &'static str, &'static str, &'static str, u32, f64);

const IMAGES: [PublicImage; 6] = [
    PublicImage(
        155_133_621,
        "ubuntu-22-04-x64",
        "22.04 (LTS) x64",
        "Ubuntu",
        7,
        2.36,
    ),
    PublicImage(
        155_133_711,
        "ubuntu-24-04-x64",
        "24.04 (LTS) x64",
        "Ubuntu",
        7,
        2.39,
    ),
    PublicImage(159_651_797, "debian-12-x64", "12 x64", "Debian", 7, 2.1),
    PublicImage(195_932_981, "debian-13-x64", "13 x64", "Debian", 7, 2.2),
    PublicImage(196_105_002, "fedora-42-x64", "42 x64", "Fedora", 15, 2.4),
    PublicImage(
        158_910_213,
        "rockylinux-9-x64",
        "9 x64",
        "Rocky Linux",
        10,
        2.3,
    ),
];

/// When the public images were made: 2026-09-29, the last move of `ubuntu-24-04-x64` that was seen.
const IMAGES_MADE: Millis = 1_790_640_000_000;

/// The public images. Where droplets are guests, their descriptions say what they stand for here.
#[must_use]
pub fn public_images(tier: Tier) -> Vec<Image> {
    let everywhere: Vec<String> = REGIONS.iter().map(|r| r.slug.to_owned()).collect();
    IMAGES
        .iter()
        .map(
            |PublicImage(id, slug, name, distribution, disk, gb)| Image {
                id: *id,
                name: (*name).to_owned(),
                slug: Some((*slug).to_owned()),
                distribution: (*distribution).to_owned(),
                regions: everywhere.clone(),
                min_disk_gib: *disk,
                size_gb: *gb,
                created_at: IMAGES_MADE,
                description: describe_image(tier, slug)
                    .unwrap_or_else(|| format!("{distribution} {name}")),
                tags: Vec::new(),
                droplet: None,
                listed_at: IMAGES_MADE,
            },
        )
        .collect()
}

/// The size of that slug.
#[must_use]
pub fn find_size(slug: &str) -> Option<&'static Size> {
    SIZES.iter().find(|size| size.slug == slug)
}

/// The region of that slug.
#[must_use]
pub fn find_region(slug: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|region| region.slug == slug)
}

impl Size {
    /// Whether droplets of this size can be made in a region.
    #[must_use]
    pub const fn is_in(&self, region: &Region) -> bool {
        region.available
            && match self.offered {
                Everywhere => true,
                InLargeRegions => region.large,
                OutOfStock => false,
            }
    }

    /// As the API shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        let regions: Vec<&str> = REGIONS
            .iter()
            .filter(|region| self.is_in(region))
            .map(|region| region.slug)
            .collect();
        json!({
            "slug": self.slug,
            "memory": self.memory_mib,
            "vcpus": self.vcpus,
            "disk": self.disk_gib,
            "transfer": self.transfer,
            "price_monthly": self.monthly,
            "price_hourly": self.hourly,
            "regions": regions,
            "available": true,
            "description": self.description,
            "networking_throughput": 2000,
            "disk_info": [{ "type": "local", "size": { "amount": self.disk_gib, "unit": "gib" } }],
        })
    }
}

impl Region {
    /// As the API shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        let sizes: Vec<&str> = SIZES
            .iter()
            .filter(|size| size.is_in(self))
            .map(|size| size.slug)
            .collect();
        let mut features = vec!["backups", "ipv6", "metadata", "install_agent"];
        if self.storage {
            features.push("storage");
        }
        features.push("image_transfer");
        json!({
            "slug": self.slug,
            "name": self.name,
            "available": self.available,
            "features": features,
            "sizes": sizes,
        })
    }
}

impl Image {
    /// As the API shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "type": if self.slug.is_some() { "base" } else { "snapshot" },
            "distribution": self.distribution,
            "slug": self.slug,
            "public": self.slug.is_some(),
            "regions": self.regions,
            "created_at": timestamp(self.created_at),
            "min_disk_size": self.min_disk_gib,
            "size_gigabytes": self.size_gb,
            "description": self.description,
            "tags": self.tags,
            "status": "available",
            "error_message": "",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_months_cost_about_their_hours() {
        let mut slugs: Vec<&str> = SIZES.iter().map(|size| size.slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), SIZES.len());
        for size in &SIZES {
            let hours = size.monthly / size.hourly;
            assert!((600.0..=750.0).contains(&hours), "{}: {hours}", size.slug);
        }
    }

    #[test]
    fn what_an_image_stands_for_is_said() {
        let of = |tier: Tier| {
            public_images(tier)
                .into_iter()
                .find(|image| image.slug.as_deref() == Some("ubuntu-24-04-x64"))
                .map(|image| image.description)
                .unwrap_or_default()
        };
        insta::assert_snapshot!(of(Tier::Api), @"Ubuntu 24.04 (LTS) x64");
        assert!(of(Tier::Namespaces).starts_with("ubuntu-24-04-x64 -> host root ("));
        assert!(of(Tier::Vm).ends_with(" machine, NOT Ubuntu 24.04"));
    }
}
