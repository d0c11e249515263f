//! References: what one part of a manifest names must be in another, and never lead in a circle.

use std::collections::{HashMap, HashSet};

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{Access, ImageSource, Manifest};
use super::super::suggest::{any_of, nearest};
use super::super::wording::shown;
use crate::address::{Address, Instance};

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (name, snapshot) in &manifest.snapshots {
        let path = Path::of("snapshots").then(name.as_str()).then("from");
        image(&path, &snapshot.from, manifest, report);
    }
    for (name, volume) in &manifest.volumes {
        if let Some(populate) = &volume.populate {
            let path = Path::of("volumes").then(name.as_str());
            image(
                &path.then("populate").then("image"),
                &populate.image,
                manifest,
                report,
            );
        }
    }
    for (name, droplet) in &manifest.droplets {
        let path = Path::of("droplets").then(name.as_str());
        image(&path.then("image"), &droplet.image, manifest, report);
        for (index, mount) in droplet.volumes.iter().enumerate() {
            let place = path.then("volumes").then(index).then("volume");
            named(&place, "volume", &mount.volume, &manifest.volumes, report);
            let volume = manifest.volumes.get(&mount.volume);
            if mount.access == Access::Clone
                && volume.is_some_and(|volume| volume.existing.is_some())
            {
                let place = path.then("volumes").then(index).then("access");
                report.value(
                    &place,
                    Problem::new(
                        Kind::BadValue,
                        format!("there are no clones of someone's own volume, as `{}` is", mount.volume),
                    )
                    .help("remove `access`, or clone a volume of the project's own, whose changes dewpoint knows of"),
                );
            }
        }
        for (index, other) in droplet.needs.iter().enumerate() {
            let place = path.then("needs").then(index);
            if other == name {
                report.value(
                    &place,
                    Problem::new(Kind::Cycle, format!("`{name}` cannot wait for itself"))
                        .help("remove it from the list"),
                );
            } else {
                named(&place, "droplet", other, &manifest.droplets, report);
            }
        }
    }
    cycles(manifest, report);
    waiting_circles(manifest, report);
    for (index, text) in manifest.protect.iter().enumerate() {
        protected(&Path::of("protect").then(index), text, manifest, report);
    }
}

fn image(path: &Path, image: &ImageSource, manifest: &Manifest, report: &mut Report) {
    match image {
        ImageSource::Snapshot(reference) => named(
            &path.then("snapshot"),
            "snapshot",
            &reference.snapshot,
            &manifest.snapshots,
            report,
        ),
        // A snapshot's name where an image's is due is a common slip.
        ImageSource::Slug(slug) if manifest.snapshots.contains_key(slug) => report.value(
            path,
            Problem::new(
                Kind::Dangling,
                format!("`{slug}` is a snapshot of this manifest, not the slug of an image"),
            )
            .help(format!("write `{{ snapshot: {slug} }}`")),
        ),
        ImageSource::Slug(_) | ImageSource::Id(_) => {}
    }
}

/// Checks that a name is one of a block's, or of a block that had to be dropped.
fn named<T>(
    path: &Path,
    kind: &str,
    name: &str,
    block: &indexmap::IndexMap<String, T>,
    report: &mut Report,
) {
    // The nearest of many names is dear, and beyond so many problems nobody reads it.
    if report.is_full() {
        return;
    }
    let all = Path::of(&format!("{kind}s"));
    if block.contains_key(name) || report.is_settled(&all) || report.is_settled(&all.then(name)) {
        return;
    }
    let problem = Problem::new(
        Kind::Dangling,
        format!("there is no {kind} `{}`", shown(name)),
    )
    .help(others(kind, name, block));
    report.value(path, problem);
}

fn others<T>(kind: &str, name: &str, block: &indexmap::IndexMap<String, T>) -> String {
    let names = || block.keys().map(String::as_str);
    match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if block.is_empty() => format!("declare it under `{kind}s`"),
        None if block.len() > 12 => {
            format!("declare it under `{kind}s`, or name one that is there")
        }
        None => format!("declare it under `{kind}s`, or name {}", any_of(names())),
    }
}

/// Finds snapshots that are built from themselves, and reports each circle once.
fn cycles(manifest: &Manifest, report: &mut Report) {
    let parent = |name: &str| match &manifest.snapshots.get(name)?.from {
        ImageSource::Snapshot(reference) => Some(reference.snapshot.as_str()),
        ImageSource::Slug(_) | ImageSource::Id(_) => None,
    };
    let mut done: HashSet<&str> = HashSet::new();
    for start in manifest.snapshots.keys() {
        let mut way: Vec<&str> = Vec::new();
        let mut on_way: HashSet<&str> = HashSet::new();
        let mut next = Some(start.as_str());
        while let Some(name) = next {
            if on_way.contains(name) {
                let circle = way
                    .iter()
                    .skip_while(|one| **one != name)
                    .copied()
                    .collect::<Vec<_>>();
                circular(&circle, report);
                break;
            }
            if !done.insert(name) {
                break;
            }
            way.push(name);
            on_way.insert(name);
            next = parent(name);
        }
    }
}

/// Why a droplet waits for another, as the place that says so.
#[derive(Clone)]
enum Wait {
    /// It needs it.
    Needs(Path),
    /// It gets a copy of what the other leaves on a volume.
    Clones(Path),
}

/// Whom each droplet waits for.
fn waits(manifest: &Manifest) -> HashMap<&str, Vec<(&str, Wait)>> {
    let mut users: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, droplet) in &manifest.droplets {
        let mounts = droplet.volumes.iter();
        for mount in mounts.filter(|mount| mount.access == Access::Exclusive) {
            users.entry(&mount.volume).or_default().push(name);
        }
    }
    let mut waits: HashMap<&str, Vec<(&str, Wait)>> = HashMap::new();
    for (name, droplet) in &manifest.droplets {
        let path = Path::of("droplets").then(name.as_str());
        let all = waits.entry(name).or_default();
        for (index, other) in droplet.needs.iter().enumerate() {
            all.push((other, Wait::Needs(path.then("needs").then(index))));
        }
        for (index, mount) in droplet.volumes.iter().enumerate() {
            let others = users.get(mount.volume.as_str()).into_iter().flatten();
            if mount.access == Access::Clone {
                let place = path.then("volumes").then(index).then("access");
                all.extend(others.map(|other| (*other, Wait::Clones(place.clone()))));
            }
        }
    }
    waits
}

/// Finds droplets that wait for one another, and reports each circle once: where it closes.
fn waiting_circles(manifest: &Manifest, report: &mut Report) {
    let waits = waits(manifest);
    let mut done: HashSet<&str> = HashSet::new();
    for start in manifest.droplets.keys() {
        // The way so far: a droplet, and which of its needs comes next.
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, next)) = way.last_mut() {
            let Some((other, _)) = waits.get(*name).and_then(|waits| waits.get(*next)) else {
                done.insert(name);
                way.pop();
                continue;
            };
            *next += 1;
            // That nothing waits for itself is told where references are.
            if other == name || done.contains(other) {
                continue;
            }
            match way.iter().position(|(on_way, _)| on_way == other) {
                Some(first) => waiting_circle(&way[first..], &waits, report),
                None => way.push((other, 0)),
            }
        }
    }
}

/// A circle, as droplets and the position after that of the wait which leads on.
fn waiting_circle(
    circle: &[(&str, usize)],
    waits: &HashMap<&str, Vec<(&str, Wait)>>,
    report: &mut Report,
) {
    let mut text = String::new();
    let mut places = Vec::new();
    let mut clones = false;
    for (name, next) in circle {
        let wait = waits
            .get(name)
            .and_then(|waits| waits.get(next.saturating_sub(1)));
        let Some((_, wait)) = wait else { continue };
        let (verb, place) = match wait {
            Wait::Clones(place) => ("gets a clone of what is left by", place),
            Wait::Needs(place) => ("needs", place),
        };
        clones |= matches!(wait, Wait::Clones(_));
        places.push(place.clone());
        text.push_str(&format!("`{name}` {verb} "));
    }
    let first = circle.first().map(|(name, _)| *name).unwrap_or_default();
    report.several_values(
        &places,
        Problem::new(
            Kind::Cycle,
            format!("droplets wait for one another in a circle: {text}`{first}`"),
        )
        .help(if clones {
            "a clone is made once those are done that have the volume itself: mount it with `access: clone` everywhere, or remove one of them from `needs`"
        } else {
            "remove one of them from `needs`"
        }),
    );
}

fn circular(circle: &[&str], report: &mut Report) {
    let path = |name: &str| Path::of("snapshots").then(name).then("from");
    if let [name] = circle {
        report.value(
            &path(name).then("snapshot"),
            Problem::new(
                Kind::Cycle,
                format!("the snapshot `{name}` is built from itself"),
            )
            .help("write an image's slug, such as `ubuntu-24-04-x64`, or another snapshot"),
        );
        return;
    }
    let mut way: Vec<String> = circle.iter().map(|name| format!("`{name}`")).collect();
    way.extend(way.first().cloned());
    let places: Vec<Path> = circle
        .iter()
        .map(|name| path(name).then("snapshot"))
        .collect();
    report.several_values(
        &places,
        Problem::new(
            Kind::Cycle,
            format!(
                "snapshots are built from one another in a circle: {}",
                way.join(" from ")
            ),
        )
        .help("build one of them from an image's slug, such as `ubuntu-24-04-x64`"),
    );
}

fn protected(path: &Path, text: &str, manifest: &Manifest, report: &mut Report) {
    let Ok(address) = text.parse::<Address>() else {
        let kinds = ["volume", "snapshot", "droplet"];
        let kind = text.split('.').next().unwrap_or_default();
        let help = match nearest(kind, kinds) {
            Some(near) if near != kind && text.contains('.') => {
                format!("did you mean `{near}{}`?", shown(&text[kind.len()..]))
            }
            _ => "write `volume.NAME`, `snapshot.NAME`, `droplet.NAME`, `firewall` or `ssh_key`"
                .to_owned(),
        };
        report.value(
            path,
            Problem::new(
                Kind::BadValue,
                format!("`{}` is not an address", shown(text)),
            )
            .help(help),
        );
        return;
    };
    match &address {
        Address::SshKey | Address::Firewall => {}
        Address::Volume(name) => named(path, "volume", name, &manifest.volumes, report),
        Address::Snapshot(name) => named(path, "snapshot", name, &manifest.snapshots, report),
        Address::Droplet { name, instance } => {
            named(path, "droplet", name, &manifest.droplets, report);
            let (Some(droplet), Some(instance)) = (manifest.droplets.get(&**name), instance) else {
                return;
            };
            let place = Path::of("droplets").then(name.as_str());
            if ["count", "matrix"]
                .iter()
                .any(|key| report.is_touched(&place.then(*key)))
            {
                // Which instances there are is not known.
                return;
            }
            let exists = match instance {
                Instance::Index(index) => droplet
                    .count
                    .is_some_and(|count| (1..=count).contains(index)),
                Instance::Matrix(pairs) => {
                    pairs.len() == droplet.matrix.len()
                        && droplet
                            .matrix
                            .iter()
                            .zip(pairs)
                            .all(|((key, values), pair)| *key == pair.0 && values.contains(&pair.1))
                }
            };
            if !exists {
                report.value(
                    path,
                    Problem::new(
                        Kind::Dangling,
                        format!("there is no such instance of `{name}`: `{}`", shown(text)),
                    )
                    .help(format!(
                        "`count` gives `droplet.{name}[1]` and up, `matrix` gives `droplet.{name}[KEY=VALUE,...]` in the order of its keys"
                    )),
                );
            }
        }
    }
}
