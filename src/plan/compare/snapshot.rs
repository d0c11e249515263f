//! Snapshots: a new recipe is a new snapshot. Old ones go only once the new one counts.

use std::collections::BTreeMap;

use crate::desired::{Desired, Image, Snapshot, names};
use crate::live::ownership::{self, Owner};
use crate::live::{Live, LiveImage};
use crate::plan::error::{Refusal, RefusalKind};

/// The status of an image that droplets can be made from.
pub(in crate::plan) const AVAILABLE: &str = "available";

/// Where the snapshot of a recipe comes from.
#[derive(Debug, Clone, Copy)]
pub(in crate::plan) enum State<'a> {
    /// It is there.
    Keep(&'a LiveImage),
    /// It was taken by a run that could not tag it any more.
    Complete(&'a LiveImage),
    /// It is built.
    Build,
}

/// What becomes of a snapshot.
#[derive(Debug)]
pub(in crate::plan) struct Verdict<'a> {
    /// What it shall be.
    pub snapshot: &'a Snapshot,
    /// Where it comes from.
    pub state: State<'a>,
    /// The newest of earlier recipes, when there is one.
    pub before: Option<&'a LiveImage>,
    /// Whether it is built because the one it is made from is, or is newer than it.
    pub upstream: bool,
    /// Whether it is built because the one there is has become too old.
    pub aged: bool,
    /// Whether it is built because the command asks for it.
    pub forced: bool,
    /// Regions it is to be copied to, sorted. The manifest's own is among them when it is only
    /// elsewhere.
    pub transfers: Vec<String>,
    /// Images that go, once the new one counts: oldest first.
    pub prune: Vec<&'a LiveImage>,
    /// Ids of all images that are exactly this snapshot; of one that is made anew from time to
    /// time, of the newest alone.
    pub same: Vec<u64>,
    /// Whether it, or what it is made from, is made anew from time to time.
    pub is_renewed: bool,
    /// An image of the exact name that cannot be used or removed yet.
    pub unfinished: bool,
}

impl Verdict<'_> {
    /// What those that are made from it must know of it.
    pub fn for_those_above(&self, below: &BTreeMap<&str, Below>) -> Below {
        let parent = match &self.snapshot.from {
            Image::Snapshot(parent) => below.get(parent.as_str()).copied().unwrap_or_default(),
            Image::Slug(_) | Image::Id(_) => Below::default(),
        };
        let is_renewed = self.snapshot.refresh.is_some() || parent.made_at.is_some();
        let (built, made_at) = match self.state {
            State::Build => (true, i64::MAX),
            State::Keep(image) | State::Complete(image) => (false, image.created_at),
        };
        Below {
            built,
            forced: built && (self.forced || parent.forced),
            asked: false,
            made_at: is_renewed.then_some(made_at),
        }
    }
}

/// Private images by the name in the manifest that theirs could stand for.
pub(in crate::plan) type ByName<'a> = BTreeMap<&'a str, Vec<&'a LiveImage>>;

/// Puts the account's images in order: of each name the newest first.
pub(in crate::plan) fn by_name<'a>(project: &str, live: &'a Live) -> ByName<'a> {
    let mut by_name = ByName::new();
    for image in &live.images {
        let called = ownership::called(&image.name, &image.tags);
        if let Some(name) = names::snapshot_of(project, called) {
            by_name.entry(name).or_default().push(image);
        }
    }
    for images in by_name.values_mut() {
        images.sort_by_key(|image| std::cmp::Reverse((image.created_at, image.id)));
    }
    by_name
}

/// What is known of the snapshots below one.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::plan) struct Below {
    /// Whether the one it is made from is built in this plan.
    pub built: bool,
    /// Whether that is because the command asks for it: then what is made from it is built anew too,
    /// although its recipe is the same.
    pub forced: bool,
    /// Whether the command asks for this one itself to be built anew.
    pub asked: bool,
    /// When the one it is made from was made, if that or one below it is made anew from time to
    /// time: what is older than it is outdated. Later than any time when it is built.
    pub made_at: Option<i64>,
}

/// Compares a snapshot at a time in seconds since 1970.
pub(in crate::plan) fn compare<'a>(
    desired: &'a Desired,
    snapshot: &'a Snapshot,
    owner: &Owner,
    by_name: &ByName<'a>,
    below: Below,
    now: i64,
    refusals: &mut Vec<Refusal>,
) -> Verdict<'a> {
    let Snapshot {
        address,
        name,
        lineage: _,
        image_name,
        // The digest of what is compared here stands in the name.
        digest: _,
        // In the digest.
        from: _,
        size: _,
        provision: _,
        keep,
        refresh,
        regions: wanted_regions,
        tags: _,
        builder_name: _,
        builder_tags: _,
    } = snapshot;
    let images = by_name.get(name.as_str()).map_or(&[][..], Vec::as_slice);
    let region = &desired.scope.region;
    let mut good = Vec::new();
    let mut elsewhere = None;
    let mut taken = Vec::new();
    let mut older = Vec::new();
    let mut unfinished = false;
    for &image in images {
        let LiveImage {
            id: _,
            name: live_name,
            status,
            regions,
            min_disk_gib: _,
            size_mb: _,
            tags,
            created_at: _,
        } = image;
        let exact = ownership::called(live_name, tags) == image_name;
        let available = status == AVAILABLE;
        if owner.in_project(tags) {
            match (exact, available) {
                (true, true) if regions.contains(region) => good.push(image),
                // The newest one: they are in order.
                (true, true) => drop(elsewhere.get_or_insert(image)),
                (true, false) => unfinished = true,
                (false, _) => older.push(image),
            }
        } else if exact && ownership::is_unclaimed(tags) {
            if available && regions.contains(region) {
                taken.push(image);
            } else {
                unfinished = true;
            }
        }
    }
    let mut comes_from_elsewhere = false;
    if let (Some(image), [], true) = (elsewhere, good.as_slice(), taken.is_empty()) {
        if wanted_regions.is_some() {
            good.push(image);
            comes_from_elsewhere = true;
        } else {
            refusals.push(Refusal {
                address: Some(address.clone()),
                kind: RefusalKind::Region,
                reason: format!(
                    "`{image_name}` is in {}, not in {region}",
                    image.regions.join(", ")
                ),
                help: format!(
                    "add `regions: [{region}]` so that it is copied here, or set `region` to where it is"
                ),
            });
        }
    }
    let is_renewed = refresh.is_some() || below.made_at.is_some();
    let newest = match (good.first().copied(), taken.first().copied()) {
        // The one that a run took anew and could not tag any more.
        (Some(good), Some(taken)) if is_renewed && taken.created_at > good.created_at => {
            Some(taken)
        }
        (good, taken) => good.or(taken),
    };
    let mut same: Vec<u64> = good.iter().chain(&taken).map(|image| image.id).collect();
    same.sort_unstable();
    if is_renewed && let Some(newest) = newest {
        // The earlier ones are outdated, although their recipe is the same.
        same = vec![newest.id];
    }
    let aged = newest.zip(*refresh).is_some_and(|(image, refresh)| {
        let most = i64::try_from(refresh.0).unwrap_or(i64::MAX);
        now.saturating_sub(image.created_at) > most
    });
    let outdated = newest
        .zip(below.made_at)
        .is_some_and(|(image, made_at)| made_at > image.created_at);
    let forced = below.asked || below.forced;
    let state = match newest {
        Some(image) if !aged && !outdated && !forced => {
            if good.iter().any(|good| good.id == image.id) {
                State::Keep(image)
            } else {
                State::Complete(image)
            }
        }
        _ => State::Build,
    };
    if aged || outdated || forced {
        comes_from_elsewhere = false;
    }
    let used = match state {
        State::Keep(image) | State::Complete(image) => Some(image.id),
        State::Build => None,
    };
    let further = good
        .into_iter()
        .chain(taken)
        .filter(|image| Some(image.id) != used);
    let mut prune: Vec<&LiveImage> = Vec::new();
    if is_renewed {
        // One recipe, built again from time to time: the earlier ones are older ones.
        older.extend(further);
        older.sort_by_key(|image| std::cmp::Reverse((image.created_at, image.id)));
    } else {
        // Further copies of the very same snapshot are of no use.
        prune.extend(further);
    }
    // Of older ones, the newest stay.
    let before = match newest {
        Some(newest) if forced => Some(newest),
        _ => older.first().copied(),
    };
    let room = (*keep as usize).saturating_sub(1);
    prune.extend(older.iter().skip(room));
    let named: Vec<u64> = images_by_id(desired);
    prune.retain(|image| !named.contains(&image.id));
    prune.sort_by_key(|image| (image.created_at, image.id));
    let there: &[String] = match state {
        State::Keep(image) | State::Complete(image) => &image.regions,
        State::Build => &[],
    };
    let mut transfers: Vec<String> = wanted_regions
        .iter()
        .flatten()
        .filter(|region| !there.contains(region))
        .cloned()
        .collect();
    if comes_from_elsewhere {
        transfers.push(region.clone());
        transfers.sort();
    }
    Verdict {
        snapshot,
        state,
        before,
        upstream: below.built || (outdated && !aged),
        aged,
        forced: below.asked,
        transfers,
        prune,
        same,
        is_renewed,
        unfinished,
    }
}

/// Ids of the images that the manifest names: they are in use, whatever they are called.
fn images_by_id(desired: &Desired) -> Vec<u64> {
    let mut ids: Vec<u64> = desired
        .droplets
        .iter()
        .map(|droplet| &droplet.image)
        .chain(desired.snapshots.iter().map(|snapshot| &snapshot.from))
        .filter_map(|image| match image {
            Image::Id(id) => Some(*id),
            Image::Slug(_) | Image::Snapshot(_) => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
