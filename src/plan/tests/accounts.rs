//! Any account: what earlier applies made, and then whatever others and accidents do to it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::holders::{droplet, volume};
use super::laws::{manifests, shared};
use super::world::{is_ours, nothing};
use super::*;
use crate::live::{DropletStatus, LiveFirewall, LiveSshKey, LiveVolumeSnapshot};

/// Something that happens to an account.
#[derive(Debug, Clone)]
pub(super) struct Accident {
    what: u8,
    which: Index,
    other: Index,
}

/// How many sorts of accident there are.
const SORTS: u8 = 27;

fn accidents() -> BoxedStrategy<Vec<Accident>> {
    let one = (0..SORTS, any::<Index>(), any::<Index>())
        .prop_map(|(what, which, other)| Accident { what, which, other });
    prop::collection::vec(one, 0..7).boxed()
}

/// An account to which one or two manifests were applied, or none; and accidents.
pub(super) fn accounts() -> BoxedStrategy<Live> {
    let before = prop_oneof![
        1 => Just(Vec::new()),
        3 => manifests().prop_map(|one| vec![one]),
        1 => (manifests(), manifests()).prop_map(|(one, two)| vec![one, two]),
    ]
    .boxed();
    let account = |(alone, before, accidents): (bool, Vec<String>, Vec<Accident>)| {
        let mut live = if alone { nothing() } else { shared() };
        for yaml in &before {
            live = applied(yaml, &live);
        }
        for accident in &accidents {
            accident.happen(&mut live);
        }
        settle(&mut live);
        live
    };
    (any::<bool>(), before, accidents())
        .prop_map(account)
        .boxed()
}

fn texts(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

/// Tags of something that is ours, someone's, or neither.
fn owners(at: Index) -> Vec<String> {
    let all: [&[&str]; 9] = [
        &["dewpoint", "dewpoint:app", "dewpoint:app:main"],
        &["dewpoint", "dewpoint:app"],
        &["dewpoint:app:main"],
        &["dewpoint:app"],
        &["dewpoint"],
        &["dewpoint", "dewpoint:app", "dewpoint:app:pr-1"],
        &["dewpoint", "dewpoint:apps", "dewpoint:apps:main"],
        &["theirs"],
        &[],
    ];
    texts(all[at.index(all.len())])
}

/// Names that the manifests use, or could.
fn names(at: Index) -> &'static str {
    let all = [
        "app-data",
        "app-main-scratch",
        "app-models",
        "app-main-models",
        "app-main-copy-data-1",
        "app-old",
        "theirs",
    ];
    all[at.index(all.len())]
}

fn pick<T>(list: &mut [T], at: Index) -> Option<&mut T> {
    let count = list.len();
    (count > 0).then(|| &mut list[at.index(count)])
}

/// Lists of the tags of all there is.
fn tag_lists(live: &mut Live) -> Vec<&mut Vec<String>> {
    let droplets = live.droplets.iter_mut().map(|droplet| &mut droplet.tags);
    let volumes = live.volumes.iter_mut().map(|volume| &mut volume.tags);
    let images = live.images.iter_mut().map(|image| &mut image.tags);
    let snapshots = live
        .volume_snapshots
        .iter_mut()
        .map(|taken| &mut taken.tags);
    droplets
        .chain(volumes)
        .chain(images)
        .chain(snapshots)
        .collect()
}

/// An id that nothing has.
fn next(live: &Live) -> u64 {
    let droplets = live.droplets.iter().chain(&live.holders).map(|d| d.id);
    let images = live.images.iter().map(|image| image.id);
    let keys = live.ssh_keys.iter().map(|key| key.id);
    let number = |id: &String| id.rsplit('-').next().and_then(|last| last.parse().ok());
    let volumes = live.volumes.iter().filter_map(|volume| number(&volume.id));
    let taken = live.volume_snapshots.iter().filter_map(|s| number(&s.id));
    let walls = live.firewalls.iter().filter_map(|wall| number(&wall.id));
    let all = droplets
        .chain(images)
        .chain(keys)
        .chain(volumes)
        .chain(taken)
        .chain(walls);
    all.max().unwrap_or(100).max(100) + 1
}

impl Accident {
    fn happen(&self, live: &mut Live) {
        let Self { what, which, other } = *self;
        let id = next(live);
        match what {
            // A tag is taken from something, or all of them are.
            0..=2 => {
                let mut lists = tag_lists(live);
                if let Some(tags) = pick(&mut lists, which)
                    && !tags.is_empty()
                {
                    let at = other.index(tags.len());
                    tags.remove(at);
                }
            }
            3 => {
                if let Some(tags) = pick(&mut tag_lists(live), which) {
                    tags.clear();
                }
            }
            // Something gets another's tag.
            4 => {
                let more = owners(other);
                if let Some(tags) = pick(&mut tag_lists(live), which) {
                    tags.extend(more);
                }
            }
            // Something gets an absurd or a past expiry.
            5 => {
                let more = [
                    "dewpoint-expires:soon",
                    "dewpoint-expires:1",
                    "dewpoint-expires:9999999999",
                ];
                let more = other.get(&more).to_string();
                if let Some(tags) = pick(&mut tag_lists(live), which) {
                    tags.retain(|tag| !tag.starts_with("dewpoint-expires:"));
                    tags.push(more);
                }
            }
            // Droplets are off, new, archived.
            6 | 7 => {
                let states = [
                    DropletStatus::Off,
                    DropletStatus::New,
                    DropletStatus::Other("archive".to_owned()),
                ];
                if let Some(droplet) = pick(&mut live.droplets, which) {
                    droplet.status = other.get(&states).clone();
                    if droplet.status == DropletStatus::New {
                        droplet.public_ipv4 = None;
                    }
                }
            }
            // A droplet is being destroyed; it is gone, and volumes do not know yet, or they do.
            8 => {
                if let Some(droplet) = pick(&mut live.droplets, which) {
                    droplet.tags.clear();
                }
            }
            9 | 10 if !live.droplets.is_empty() => {
                let mut gone = live.droplets.remove(which.index(live.droplets.len()));
                if what == 9 {
                    for volume in &mut live.volumes {
                        volume.droplet_ids.retain(|id| *id != gone.id);
                    }
                } else if other.index(2) == 0 {
                    gone.tags.clear();
                    live.holders.push(gone);
                }
            }
            // A volume is somebody else's to have.
            11 | 12 => {
                // By its name it may be one of ours that is being destroyed.
                let names = ["box", "app-main-box", "app-main-old", "app-pr-1-box"];
                let name = names[usize::try_from(id % 4).expect("a small number")];
                let mut holder = droplet(id, name, &[]);
                holder.tags = owners(other);
                // Of this environment only what its listing has.
                holder.tags.retain(|tag| tag != "dewpoint:app:main");
                let Some(volume) = pick(&mut live.volumes, which) else {
                    return;
                };
                volume.droplet_ids = vec![id];
                let volume = volume.id.clone();
                for droplet in &mut live.droplets {
                    droplet.volume_ids.retain(|held| *held != volume);
                }
                holder.volume_ids = vec![volume];
                if what == 11 {
                    live.droplets.push(holder);
                } else {
                    live.holders.push(holder);
                }
            }
            // Only one side says that a volume is attached.
            13 => {
                if let Some(volume) = pick(&mut live.volumes, which) {
                    volume.droplet_ids.clear();
                }
            }
            14 => {
                if let Some(droplet) = pick(&mut live.droplets, which) {
                    droplet.volume_ids.clear();
                }
            }
            // A volume hangs on another droplet of the account.
            15 => {
                let count = live.droplets.len();
                let Some(volume) = pick(&mut live.volumes, which) else {
                    return;
                };
                if count > 0 {
                    let holder = &mut live.droplets[other.index(count)];
                    if holder.region == volume.region {
                        volume.droplet_ids = vec![holder.id];
                        let volume = volume.id.clone();
                        for droplet in &mut live.droplets {
                            droplet.volume_ids.retain(|held| *held != volume);
                        }
                        live.droplets[other.index(count)].volume_ids.push(volume);
                    }
                }
            }
            // There are two of something.
            16 => {
                if let Some(droplet) = pick(&mut live.droplets, which) {
                    let mut twin = droplet.clone();
                    twin.id = id;
                    twin.volume_ids.clear();
                    live.droplets.push(twin);
                }
            }
            17 | 18 => {
                if let Some(image) = pick(&mut live.images, which) {
                    let mut twin = image.clone();
                    let was = twin.id;
                    twin.id = id;
                    twin.created_at += if other.index(2) == 0 { 1_000 } else { -1_000 };
                    live.images.push(twin);
                    if what == 18 {
                        // Droplets stand on either.
                        for (at, droplet) in live.droplets.iter_mut().enumerate() {
                            if droplet.image_id == was && (at + other.index(2)) % 2 == 0 {
                                droplet.image_id = id;
                            }
                        }
                    }
                }
            }
            19 => {
                if let Some(volume) = pick(&mut live.volumes, which) {
                    let mut twin = volume.clone();
                    twin.id = format!("vol-{id}");
                    twin.region = "sfo3".to_owned();
                    twin.droplet_ids.clear();
                    let is_taken = live
                        .volumes
                        .iter()
                        .any(|volume| volume.name == twin.name && volume.region == "sfo3");
                    if !is_taken {
                        live.volumes.push(twin);
                    }
                }
            }
            // A volume that may have one of our names.
            20 => {
                let mut more = volume(&format!("vol-{id}"), names(which), &[]);
                more.tags = owners(other);
                let is_taken = |name: &str| {
                    let mut all = live.volumes.iter();
                    all.any(|volume| volume.name == name && volume.region == "nyc3")
                };
                if !is_taken(&more.name) {
                    live.volumes.push(more);
                }
            }
            // A droplet that may have one of our names.
            21 => {
                let name = which.get(&[
                    "app-main-web",
                    "app-main-api",
                    "app-main-old",
                    "app-main-builder.base",
                    "web",
                ]);
                let mut more = droplet(id, name, &[]);
                more.tags = owners(other);
                live.droplets.push(more);
            }
            // A snapshot of a volume that is there, or is not.
            22 => {
                let volumes: Vec<&str> = live
                    .volumes
                    .iter()
                    .map(|v| v.id.as_str())
                    .chain(["gone"])
                    .collect();
                let of = (*which.get(&volumes)).to_owned();
                let mut tags = owners(other);
                if id.is_multiple_of(2) {
                    let mark = format!("dewpoint-snap:x{id}");
                    tags.push(mark.clone());
                    let mut all = live.volumes.iter_mut();
                    if let Some(volume) = all.find(|volume| volume.id == of && id.is_multiple_of(4))
                    {
                        volume.tags.push(mark);
                    }
                }
                live.volume_snapshots.push(LiveVolumeSnapshot {
                    id: format!("snap-{id}"),
                    name: format!("app-data-snap-{id}"),
                    volume_id: of,
                    regions: texts(&["nyc3"]),
                    min_disk_gib: 1,
                    size_mb: 1,
                    tags,
                    created_at: 0,
                });
            }
            // A snapshot is unfinished, untagged, elsewhere.
            23 => {
                if let Some(image) = pick(&mut live.images, which) {
                    match other.index(3) {
                        0 => image.status = "pending".to_owned(),
                        1 => image.tags.clear(),
                        _ => image.regions = texts(&["sfo3"]),
                    }
                }
            }
            // The firewall is gone, opened, or another's.
            24 => match other.index(3) {
                0 => live.firewalls.clear(),
                1 => live
                    .firewalls
                    .iter_mut()
                    .for_each(|wall| wall.inbound.clear()),
                _ => {
                    live.firewalls.clear();
                    live.firewalls.push(LiveFirewall {
                        id: format!("fw-{id}"),
                        name: "app-main".to_owned(),
                        inbound: Vec::new(),
                        outbound: Vec::new(),
                        tags: texts(&["dewpoint:app:pr-1"]),
                        droplet_ids: Vec::new(),
                    });
                }
            },
            // The key is gone, or there is an earlier one.
            25 => {
                if other.index(2) == 0 {
                    live.ssh_keys.clear();
                } else {
                    live.ssh_keys.push(LiveSshKey {
                        id,
                        name: "app-main".to_owned(),
                        fingerprint: format!("old:{id}"),
                    });
                }
            }
            // Someone made a volume larger, or it is smaller than asked for.
            26 => {
                if let Some(volume) = pick(&mut live.volumes, which) {
                    volume.size_gib = 1 + u32::try_from(other.index(5)).expect("a small number");
                }
            }
            _ => {}
        }
    }
}

/// As the API tells it: what is borne exists, lists are sorted, and a droplet of this environment
/// that a look by id found is among its droplets.
fn settle(live: &mut Live) {
    for tags in tag_lists(live) {
        tags.sort();
        tags.dedup();
    }
    let lists: Vec<Vec<String>> = tag_lists(live)
        .into_iter()
        .map(|tags| tags.clone())
        .collect();
    let walls = live.firewalls.iter().flat_map(|wall| wall.tags.clone());
    let borne: Vec<String> = lists.into_iter().flatten().chain(walls).collect();
    live.tags
        .extend(borne.into_iter().filter(|tag| tag.starts_with("dewpoint")));
    live.tags.sort();
    live.tags.dedup();
    live.droplets.sort_by_key(|droplet| droplet.id);
    live.volumes.sort_by(|a, b| a.id.cmp(&b.id));
    live.images.sort_by_key(|image| image.id);
}

/// What a look by id adds, as after a refusal: who is gone has nothing.
pub(super) fn looked_up(live: &Live) -> Live {
    let mut live = live.clone();
    let there: Vec<u64> = live
        .droplets
        .iter()
        .chain(&live.holders)
        .map(|d| d.id)
        .collect();
    for volume in &mut live.volumes {
        volume.droplet_ids.retain(|id| there.contains(id));
    }
    live
}

/// What of an account is not ours to touch: with the whole project, only what bears none of its tags.
/// What bears no tags and one of these names is ours.
pub(super) fn foreign(live: &Live, whole_project: bool, names: &BTreeSet<String>) -> Live {
    let owned = |tags: &[String]| {
        is_ours(tags) || (whole_project && tags.iter().any(|tag| tag == "dewpoint:app"))
    };
    let is_going = |droplet: &crate::live::LiveDroplet| {
        droplet.tags.is_empty() && names.contains(&droplet.name)
    };
    let mut live = live.clone();
    live.droplets
        .retain(|droplet| !owned(&droplet.tags) && !is_going(droplet));
    live.holders.retain(|droplet| !is_going(droplet));
    live.volumes.retain(|volume| !owned(&volume.tags));
    live.volume_snapshots.retain(|taken| !owned(&taken.tags));
    // One that a run took and could not tag any more is ours too.
    live.images.retain(|image| {
        let is_unclaimed = image
            .tags
            .iter()
            .all(|tag| tag.starts_with("dewpoint") && !tag.starts_with("dewpoint:"));
        !is_unclaimed && !image.tags.iter().any(|tag| tag == "dewpoint:app")
    });
    // Ours lets go of what it has when it goes.
    let others: Vec<u64> = live
        .droplets
        .iter()
        .chain(&live.holders)
        .map(|d| d.id)
        .collect();
    for volume in &mut live.volumes {
        volume.droplet_ids.retain(|id| others.contains(id));
    }
    live.firewalls.retain(|wall| {
        wall.name != "app-main" || wall.tags.iter().any(|tag| tag == "dewpoint:app:pr-1")
    });
    live.ssh_keys.retain(|key| key.name != "app-main");
    live.tags.clear();
    live.catalog = Default::default();
    live
}
