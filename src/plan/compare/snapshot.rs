//! Snapshots: a new recipe is a new snapshot. Old ones go only once the new one counts.

use std::collections::BTreeMap;

use crate::desired::{Desired, Image, Snapshot, names};
use crate::live::ownership::Owner;
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
    /// Whether it is built because the one it is made from is.
    pub upstream: bool,
    /// Images that go, once the new one counts: oldest first.
    pub prune: Vec<&'a LiveImage>,
    /// Ids of all images that are exactly this snapshot.
    pub same: Vec<u64>,
    /// An image of the exact name that cannot be used or removed yet.
    pub unfinished: bool,
}

/// Private images by the name in the manifest that theirs could stand for.
pub(in crate::plan) type ByName<'a> = BTreeMap<&'a str, Vec<&'a LiveImage>>;

/// Puts the account's images in order: of each name the newest first.
pub(in crate::plan) fn by_name<'a>(project: &str, live: &'a Live) -> ByName<'a> {
    let mut by_name = ByName::new();
    for image in &live.images {
        if let Some(name) = names::snapshot_of(project, &image.name) {
            by_name.entry(name).or_default().push(image);
        }
    }
    for images in by_name.values_mut() {
        images.sort_by_key(|image| std::cmp::Reverse((image.created_at, image.id)));
    }
    by_name
}

/// Compares a snapshot; `built` names those below it that are built in this plan.
pub(in crate::plan) fn compare<'a>(
    desired: &'a Desired,
    snapshot: &'a Snapshot,
    owner: &Owner,
    by_name: &ByName<'a>,
    built: &[&str],
    refusals: &mut Vec<Refusal>,
) -> Verdict<'a> {
    let Snapshot {
        address,
        name,
        lineage: _,
        image_name,
        // The digest of what is compared here stands in the name.
        digest: _,
        from,
        size: _,
        provision: _,
        keep,
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
        let exact = live_name == image_name;
        let available = status == AVAILABLE;
        if owner.in_project(tags) {
            match (exact, available) {
                (true, true) if regions.contains(region) => good.push(image),
                (true, true) => elsewhere = Some(image),
                (true, false) => unfinished = true,
                (false, _) => older.push(image),
            }
        } else if exact && tags.is_empty() {
            if available && regions.contains(region) {
                taken.push(image);
            } else {
                unfinished = true;
            }
        }
    }
    if let (Some(image), []) = (elsewhere, good.as_slice()) {
        refusals.push(Refusal {
            address: Some(address.clone()),
            kind: RefusalKind::Region,
            reason: format!(
                "`{image_name}` is in {}, not in {region}",
                image.regions.join(", ")
            ),
            help: "set `region` to where it is, or delete it there so that it is built here"
                .to_owned(),
        });
    }
    let mut same: Vec<u64> = good.iter().chain(&taken).map(|image| image.id).collect();
    same.sort_unstable();
    let state = match (good.first(), taken.first()) {
        (Some(image), _) => State::Keep(image),
        (None, Some(image)) => State::Complete(image),
        (None, None) => State::Build,
    };
    let used = match state {
        State::Keep(image) | State::Complete(image) => Some(image.id),
        State::Build => None,
    };
    // Further copies of the very same snapshot are of no use; of older ones, the newest stay.
    let mut prune: Vec<&LiveImage> = good
        .into_iter()
        .chain(taken)
        .filter(|image| Some(image.id) != used)
        .collect();
    let before = older.first().copied();
    let room = (*keep as usize).saturating_sub(1);
    prune.extend(older.iter().skip(room));
    let named: Vec<u64> = images_by_id(desired);
    prune.retain(|image| !named.contains(&image.id));
    prune.sort_by_key(|image| (image.created_at, image.id));
    Verdict {
        snapshot,
        state,
        before,
        upstream: matches!(from, Image::Snapshot(parent) if built.contains(&parent.as_str())),
        prune,
        same,
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
