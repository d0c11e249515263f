//! The account, and what it may have: sizes and regions.

use rust_decimal::Decimal;
use serde::Deserialize;

use super::client::Client;
use super::error::CloudError;
use super::request::Call;
use super::wire;
use crate::live::{Account, Catalog, RegionOffer, SizeOffer};
use crate::units::Money;

#[derive(Deserialize)]
struct AccountWire {
    #[serde(default, deserialize_with = "wire::whole32")]
    droplet_limit: u32,
    #[serde(default, deserialize_with = "wire::whole32")]
    volume_limit: u32,
    #[serde(default, deserialize_with = "wire::or_default")]
    status: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    uuid: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    team: TeamWire,
}

/// Whoever is in a team sees the team's resources, not their own.
#[derive(Default, Deserialize)]
struct TeamWire {
    #[serde(default, deserialize_with = "wire::or_default")]
    uuid: String,
}

#[derive(Deserialize)]
struct SizeWire {
    slug: String,
    #[serde(default, deserialize_with = "wire::whole32")]
    disk: u32,
    #[serde(default, deserialize_with = "wire::whole32")]
    memory: u32,
    #[serde(default, deserialize_with = "wire::whole32")]
    vcpus: u32,
    /// Prices are floats such as 0.00743999984115362, read without going through one.
    #[serde(with = "rust_decimal::serde::float")]
    price_hourly: Decimal,
    #[serde(with = "rust_decimal::serde::float")]
    price_monthly: Decimal,
    #[serde(default, deserialize_with = "wire::or_default")]
    regions: Vec<String>,
    #[serde(default, deserialize_with = "wire::or_default")]
    available: bool,
}

#[derive(Deserialize)]
struct RegionWire {
    slug: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    available: bool,
    #[serde(default, deserialize_with = "wire::or_default")]
    features: Vec<String>,
}

impl Client {
    /// Limits and state of the account.
    pub(super) async fn account(&self) -> Result<Account, CloudError> {
        let account: AccountWire = self.read(&Call::Account, "account").await?;
        let id = if account.team.uuid.is_empty() {
            account.uuid
        } else {
            account.team.uuid
        };
        Ok(Account {
            id,
            droplet_limit: account.droplet_limit,
            volume_limit: account.volume_limit,
            status: account.status,
        })
    }

    /// Sizes and regions on offer.
    pub(super) async fn catalog(&self) -> Result<Catalog, CloudError> {
        let (sizes, regions) = futures_util::future::try_join(
            self.list::<SizeWire>(&Call::Sizes, "sizes"),
            self.list::<RegionWire>(&Call::Regions, "regions"),
        )
        .await?;
        let mut catalog = Catalog {
            sizes: sizes.into_iter().map(size).collect(),
            regions: regions.into_iter().map(region).collect(),
            ..Catalog::default()
        };
        catalog.sizes.sort_by(|a, b| a.slug.cmp(&b.slug));
        catalog.regions.sort_by(|a, b| a.slug.cmp(&b.slug));
        Ok(catalog)
    }
}

fn size(mut size: SizeWire) -> SizeOffer {
    size.regions.sort();
    SizeOffer {
        slug: size.slug,
        disk_gib: size.disk,
        memory_mib: size.memory,
        vcpus: size.vcpus,
        price_hourly: Money(size.price_hourly),
        price_monthly: Money(size.price_monthly),
        regions: size.regions,
        available: size.available,
    }
}

fn region(mut region: RegionWire) -> RegionOffer {
    region.features.sort();
    RegionOffer {
        slug: region.slug,
        available: region.available,
        features: region.features,
    }
}
