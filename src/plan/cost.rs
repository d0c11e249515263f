//! What a plan costs.

mod lives;
mod waits;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Plan;
use super::durations::{Durations, longest};
use super::step::{Edge, Step};
use crate::live::Catalog;
use crate::units::{Gib, Money};
use lives::Lives;
use waits::Waits;

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
    /// What the expectations go by.
    #[serde(default)]
    pub basis: Basis,
    /// Of executing the plan once, at most: every step takes until its timeout. What stays
    /// afterwards costs on.
    #[serde(default)]
    pub most_once: Money,
    /// How long executing takes at most, in seconds, but for waits at the API's request limits.
    #[serde(default)]
    pub most_seconds: u64,
    /// What had no price: sizes the account does not know, snapshots whose size shows once they are taken.
    pub unpriced: Vec<String>,
}

/// What expected durations go by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// How long things usually take on DigitalOcean.
    #[default]
    Usual,
    /// How long things take on the local cloud.
    LocalCloud,
    /// How long most of these steps took in past runs on the same cloud, in the same region.
    PastRuns {
        /// How many runs.
        runs: u32,
    },
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
pub(crate) fn volume_hourly(gib: u64) -> Money {
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

    let mut cost = Cost {
        hourly_while_up: up.hourly(catalog),
        monthly_kept,
        monthly_droplets,
        unpriced,
        ..Cost::default()
    };
    // Steps are read once: those of a large plan are in no cache any more when they are read again.
    let mut usual = Vec::with_capacity(steps.len());
    let mut most = Vec::with_capacity(steps.len());
    let mut lives = Lives::with_capacity(steps.len());
    for step in steps {
        usual.push(step.expected_seconds.saturating_mul(1_000));
        most.push(longest(&step.kind));
        lives.note(step);
    }
    cost.expect_of(&lives, edges, &usual, catalog);
    let mut waits = Waits::of(&most, edges);
    cost.most_seconds = waits.ends(&most).into_iter().max().unwrap_or(0);
    let most = lives.last(|create, destroy| waits.longest_life(create, destroy));
    cost.most_once = most.price(catalog);
    cost
}

impl Cost {
    /// Sizes of droplets that the account has no price of. A snapshot that is yet to be taken has
    /// none either, but what it costs comes after the plan.
    pub fn unpriced_sizes(&self) -> impl Iterator<Item = &str> {
        let unpriced = self.unpriced.iter().map(String::as_str);
        unpriced.filter(|what| !what.starts_with("snapshot."))
    }

    /// Sets what follows from how many milliseconds each step is expected to take.
    pub(super) fn expect(
        &mut self,
        steps: &[Step],
        edges: &[Edge],
        expected_ms: &[u64],
        catalog: &Catalog,
    ) {
        let mut lives = Lives::with_capacity(steps.len());
        for step in steps {
            lives.note(step);
        }
        self.expect_of(&lives, edges, expected_ms, catalog);
    }

    fn expect_of(
        &mut self,
        lives: &Lives<'_>,
        edges: &[Edge],
        expected_ms: &[u64],
        catalog: &Catalog,
    ) {
        let ends = ends(expected_ms, edges);
        let whole = ends.iter().copied().max().unwrap_or(0);
        self.expected_seconds = whole.div_ceil(1_000);
        let lasted = lives.last(|create, destroy| {
            let start = ends[create].saturating_sub(expected_ms[create]);
            let end = destroy.map_or(whole, |step| ends[step]);
            end.saturating_sub(start).div_ceil(1_000)
        });
        self.expected_once = lasted.price(catalog);
    }
}

impl Plan {
    /// Tells times and costs by what is known of how long steps take where it is carried out. What
    /// it does, and in which order, stays as it is.
    pub fn expect(&mut self, durations: &Durations, catalog: &Catalog) {
        let (expected, basis) = durations.of(&self.steps);
        for (step, ms) in self.steps.iter_mut().zip(&expected) {
            step.expected_seconds = ms.saturating_add(500) / 1_000;
        }
        self.cost.basis = basis;
        self.cost
            .expect(&self.steps, &self.edges, &expected, catalog);
    }
}

/// When each step ends if nothing but edges holds it back, by how long each takes.
pub(crate) fn ends(took: &[u64], edges: &[Edge]) -> Vec<u64> {
    let mut starts = vec![0_u64; took.len()];
    let mut ends = vec![0; took.len()];
    // Edges are sorted by where they come from, and go from lower to higher ids.
    let mut left = edges;
    for (position, took) in took.iter().enumerate() {
        let end = starts[position].saturating_add(*took);
        ends[position] = end;
        while let Some((edge, rest)) = left.split_first()
            && edge.from.0 as usize == position
        {
            let start = &mut starts[edge.to.0 as usize];
            *start = end.max(*start);
            left = rest;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::step::{
        DropletRef, DropletSpec, EdgeKind, ImageRef, NewDroplet, StepId, StepKind,
    };

    fn plan(kinds: Vec<StepKind>, edges: &[(u32, u32)]) -> (Vec<Step>, Vec<Edge>) {
        let steps = (0..).zip(kinds).map(|(id, kind)| Step {
            id: StepId(id),
            address: crate::address::Address::droplet("web"),
            kind,
            cleanup: false,
            expected_seconds: 60,
        });
        let mut edges: Vec<Edge> = edges
            .iter()
            .map(|&(from, to)| Edge {
                from: StepId(from),
                to: StepId(to),
                kind: EdgeKind::Needs,
                reason: "".into(),
            })
            .collect();
        edges.sort();
        (steps.collect(), edges)
    }

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        catalog.sizes.push(crate::live::SizeOffer {
            slug: "s".to_owned(),
            disk_gib: 1,
            memory_mib: 1,
            vcpus: 1,
            price_hourly: Money(Decimal::from(3_600)),
            price_monthly: Money(Decimal::from(1)),
            regions: Vec::new(),
            available: true,
        });
        catalog
    }

    fn create() -> StepKind {
        StepKind::CreateDroplets {
            spec: Box::new(DropletSpec {
                region: "nyc3".to_owned(),
                size: "s".to_owned(),
                image: ImageRef::Id(1),
                tags: Vec::new(),
                ssh_key_fingerprint: String::new(),
                user: "root".to_owned(),
                host_key: crate::manifest::schema::HostKeyPolicy::Derived,
            }),
            droplets: vec![NewDroplet {
                address: crate::address::Address::droplet("web"),
                name: "web".into(),
            }],
        }
    }

    fn destroy(step: u32) -> StepKind {
        StepKind::DestroyDroplet {
            droplet: DropletRef::Created {
                step: StepId(step),
                name: "web".into(),
            },
            tag: String::new().into(),
        }
    }

    fn transfer() -> StepKind {
        StepKind::Transfer {
            image: ImageRef::Id(1),
            region: "sfo3".to_owned(),
        }
    }

    /// What must be over before a droplet is made is no part of its life; what its end waits for
    /// beside is, however early it could begin.
    #[test]
    fn a_life_is_at_most_what_can_lie_between_its_ends() {
        // A dollar a second.
        let kinds = vec![transfer(), create(), transfer(), destroy(1)];
        let (steps, edges) = plan(kinds, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
        let cost = of(&steps, &edges, &Up::default(), &Kept::default(), &catalog());
        let longest = |kind: &StepKind| Decimal::from(longest(kind));
        let expected = longest(&transfer()).max(longest(&create())) + longest(&destroy(1));
        assert_eq!(cost.most_once, Money(expected));
        // Create and destroy, a minute each: the second transfer takes no longer than the create.
        assert_eq!(cost.expected_once, Money(Decimal::from(120)));
        // One that stays is counted to the end of everything.
        let (steps, edges) = plan(vec![create(), transfer()], &[(0, 1)]);
        let cost = of(&steps, &edges, &Up::default(), &Kept::default(), &catalog());
        assert_eq!(
            cost.most_once,
            Money(longest(&create()) + longest(&transfer()))
        );
    }
}
