//! What a plan costs.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::step::{DropletRef, Edge, Step, StepKind, VolumeRef};
use crate::live::Catalog;
use crate::units::{Gib, Money};

/// What a plan costs, from live prices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Of an hour while every droplet of the plan is up, with its clones of volumes (builders not counted).
    pub hourly_while_up: Money,
    /// Of a month of what stays after the plan: volumes, snapshots, kept droplets.
    pub monthly_kept: Money,
    /// Of that, the kept droplets: the same that cost by the hour.
    #[serde(default)]
    pub monthly_droplets: Money,
    /// Of executing the plan once, as expected: droplets and builders for as long as they are expected to live.
    pub expected_once: Money,
    /// How long executing is expected to take, in seconds, along the longest chain.
    pub expected_seconds: u64,
    /// What had no price: sizes the account does not know, snapshots whose size shows once they are taken.
    pub unpriced: Vec<String>,
}

/// Prices that no API tells, in US dollars, as of 2026-08: volumes by the GiB and month of their
/// size (published; attached or not), snapshots by the GB and month of what they take
/// (DigitalOcean's documentation).
mod prices {
    use rust_decimal::Decimal;

    pub const VOLUME_GIB_MONTH: Decimal = Decimal::from_parts(10, 0, 0, false, 2);
    /// Volumes are billed by the hour, of which a month has this many.
    pub const VOLUME_MONTH_HOURS: Decimal = Decimal::from_parts(672, 0, 0, false, 0);
    pub const SNAPSHOT_GB_MONTH: Decimal = Decimal::from_parts(6, 0, 0, false, 2);
    /// A droplet is billed by the second, at least a minute or this, whichever is more.
    pub const DROPLET_LEAST: Decimal = Decimal::from_parts(1, 0, 0, false, 2);
    pub const DROPLET_LEAST_SECONDS: u64 = 60;
}

/// Of a month of a volume of that size.
#[must_use]
pub fn volume_monthly(size: Gib) -> Money {
    Money(prices::VOLUME_GIB_MONTH * Decimal::from(size.0))
}

/// Of an hour of volumes of so many GiB.
fn volume_hourly(gib: u64) -> Money {
    Money(prices::VOLUME_GIB_MONTH * Decimal::from(gib) / prices::VOLUME_MONTH_HOURS)
}

/// Of a month of a snapshot that takes that many MB (thousandths of a GB).
#[must_use]
pub fn image_monthly(size_mb: u64) -> Money {
    Money(prices::SNAPSHOT_GB_MONTH * Decimal::from(size_mb) / Decimal::from(1_000))
}

/// Sizes of the droplets that are up during the plan, how many of each, and of those how many stay.
#[derive(Debug, Default)]
pub(super) struct Up<'a> {
    pub sizes: BTreeMap<&'a str, (u64, u64)>,
    /// GiB of throw-away copies of volumes, and of those that stay with their droplets.
    pub clones: (u64, u64),
}

impl<'a> Up<'a> {
    pub fn add(&mut self, size: &'a str, stays: bool) {
        let (up, kept) = self.sizes.entry(size).or_default();
        *up += 1;
        *kept += u64::from(stays);
    }

    pub fn add_clone(&mut self, gib: u32, stays: bool) {
        let (up, kept) = &mut self.clones;
        *up += u64::from(gib);
        *kept += if stays { u64::from(gib) } else { 0 };
    }

    /// Of an hour, as far as sizes have a price.
    pub fn hourly(&self, catalog: &Catalog) -> Money {
        let clones = volume_hourly(self.clones.0);
        let sizes = self.sizes.iter().filter_map(|(slug, (up, _))| {
            let size = catalog.size(slug)?;
            Some(Money(size.price_hourly.0 * Decimal::from(*up)))
        });
        clones + sizes.sum()
    }
}

/// What stays beside droplets.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub volumes: Vec<Gib>,
    pub images_mb: Vec<u64>,
    /// Snapshots that are built, whose size is not known yet.
    pub unknown: Vec<String>,
}

/// What steps cost, with what is up and what stays.
pub(super) fn of(
    steps: &[Step],
    edges: &[Edge],
    up: &Up<'_>,
    kept: &Kept,
    catalog: &Catalog,
) -> Cost {
    let mut unpriced: Vec<String> = up
        .sizes
        .keys()
        .filter(|slug| catalog.size(slug).is_none())
        .map(|slug| (*slug).to_owned())
        .collect();
    unpriced.extend(kept.unknown.iter().cloned());
    let droplets = up.sizes.iter().filter_map(|(slug, (_, stay))| {
        let size = catalog.size(slug)?;
        Some(Money(size.price_monthly.0 * Decimal::from(*stay)))
    });
    let clones = Money(prices::VOLUME_GIB_MONTH * Decimal::from(up.clones.1));
    let volumes = kept.volumes.iter().map(|size| volume_monthly(*size));
    let volumes = volumes.chain([clones]);
    let images = kept.images_mb.iter().map(|size| image_monthly(*size));
    let monthly_droplets: Money = droplets.sum();
    let monthly_kept = monthly_droplets + volumes.chain(images).sum();

    let ends = ends(steps, edges);
    let expected_seconds = ends.iter().copied().max().unwrap_or(0);
    let mut born: BTreeMap<(u32, &str), (u64, u64, &str)> = BTreeMap::new();
    for (step, &end) in steps.iter().zip(&ends) {
        match &step.kind {
            StepKind::CreateDroplets { spec, droplets } => {
                let start = end - step.expected_seconds;
                for droplet in droplets {
                    let life = (start, expected_seconds, spec.size.as_str());
                    born.insert((step.id.0, &droplet.name), life);
                }
            }
            StepKind::DestroyDroplet {
                droplet: DropletRef::Created { step, name },
                ..
            } => {
                if let Some(life) = born.get_mut(&(step.0, name.as_str())) {
                    life.1 = end;
                }
            }
            _ => {}
        }
    }
    let clones = clones_once(steps, &ends, expected_seconds);
    let mut lives: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (start, end, size) in born.values() {
        let (count, seconds) = lives.entry(size).or_default();
        *count += 1;
        *seconds += (end - start).max(prices::DROPLET_LEAST_SECONDS);
    }
    let droplets_once: Money = lives
        .into_iter()
        .filter_map(|(slug, (count, seconds))| {
            let hourly = catalog.size(slug)?.price_hourly.0;
            let used = hourly * Decimal::from(seconds) / Decimal::from(3_600);
            Some(Money(
                used.max(prices::DROPLET_LEAST * Decimal::from(count)),
            ))
        })
        .sum();
    Cost {
        hourly_while_up: up.hourly(catalog),
        monthly_kept,
        monthly_droplets,
        expected_once: droplets_once + clones,
        expected_seconds,
        unpriced,
    }
}

/// What throw-away copies of volumes cost while they are there.
fn clones_once(steps: &[Step], ends: &[u64], last: u64) -> Money {
    let mut lives: BTreeMap<u32, (u64, u64, u32)> = BTreeMap::new();
    for (step, &end) in steps.iter().zip(ends) {
        match &step.kind {
            StepKind::CloneVolume { spec, .. } => {
                let start = end - step.expected_seconds;
                lives.insert(step.id.0, (start, last, spec.size.0));
            }
            StepKind::DeleteVolume {
                volume: VolumeRef::Created { step },
                ..
            } => {
                if let Some(life) = lives.get_mut(&step.0) {
                    life.1 = end;
                }
            }
            _ => {}
        }
    }
    let used = lives.into_values().map(|(start, end, gib)| {
        let seconds = Decimal::from(end - start);
        Money(volume_hourly(u64::from(gib)).0 * seconds / Decimal::from(3_600))
    });
    used.sum()
}

/// When each step is expected to end, in seconds from the start, if nothing but edges holds it back.
fn ends(steps: &[Step], edges: &[Edge]) -> Vec<u64> {
    let mut starts = vec![0; steps.len()];
    let mut ends = vec![0; steps.len()];
    // Edges are sorted by where they come from, and go from lower to higher ids.
    let mut edges = edges.iter().peekable();
    for (position, step) in steps.iter().enumerate() {
        let end: u64 = starts[position] + step.expected_seconds;
        ends[position] = end;
        while let Some(edge) = edges.next_if(|edge| edge.from.0 as usize == position) {
            let start = &mut starts[edge.to.0 as usize];
            *start = end.max(*start);
        }
    }
    ends
}
