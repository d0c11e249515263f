//! `droplets`: how many, what they mount, what they fetch, what they are handed.

use std::collections::HashMap;

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{
    Access, AfterRun, AfterRunWord, Droplet, Manifest, Source, VolumeMount,
};
use super::super::wording::shown;
use super::{MOST_DROPLETS, env, exactly_one, names, not_blank, paths, run, slug, snapshots};

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (name, droplet) in &manifest.droplets {
        let path = Path::of("droplets").then(name.as_str());
        names::resource(&path, "droplet", name, report);
        snapshots::image(&path.then("image"), &droplet.image, report);
        slug(
            &path.then("size"),
            "a size",
            &droplet.size,
            "s-1vcpu-1gb",
            report,
        );
        multiplicity(&path, droplet, report);
        mounts(&path.then("volumes"), &droplet.volumes, report);
        if let Some(source) = &droplet.source {
            check_source(&path.then("source"), source, report);
        }
        env(&path.then("env"), &droplet.env, report);
        secrets(&path, droplet, report);
        tags(&path.then("tags"), &droplet.tags, report);
        run::check(&path.then("run"), &droplet.run, report);
        needs(&path.then("needs"), &droplet.needs, report);
    }
    let all = all_instances(manifest);
    let is_said = manifest
        .droplets
        .values()
        .any(|droplet| instances(droplet) > MOST_DROPLETS);
    if all > MOST_DROPLETS && !is_said {
        let message = format!(
            "{all} droplets in all are more than the {MOST_DROPLETS} one manifest may ask for"
        );
        let problem = Problem::new(Kind::TooMany, message).help("ask for fewer");
        report.key(&Path::of("droplets"), problem);
    }
    turns(manifest, report);
}

/// How many droplets the manifest asks for.
pub(super) fn all_instances(manifest: &Manifest) -> u64 {
    manifest
        .droplets
        .values()
        .fold(0, |sum, droplet| sum.saturating_add(instances(droplet)))
}

/// How many droplets this one stands for.
pub(super) fn instances(droplet: &Droplet) -> u64 {
    match droplet.count {
        Some(count) => u64::from(count),
        None => droplet.matrix.values().fold(1_u64, |product, values| {
            product.saturating_mul(values.len() as u64)
        }),
    }
}

fn multiplicity(path: &Path, droplet: &Droplet, report: &mut Report) {
    let matrix = path.then("matrix");
    if droplet.count.is_some() && !droplet.matrix.is_empty() {
        report.two_keys(
            &matrix,
            &path.then("count"),
            Problem::new(Kind::ExactlyOne, "`count` and `matrix` exclude each other")
                .help("keep one of the two"),
        );
    }
    if droplet.count == Some(0) {
        report.value(
            &path.then("count"),
            Problem::new(Kind::BadValue, "a `count` of 0 asks for no droplet")
                .help("write at least 1, or remove the droplet from the manifest"),
        );
    }
    if instances(droplet) > MOST_DROPLETS {
        let place = if droplet.count.is_some() {
            path.then("count")
        } else {
            matrix.clone()
        };
        report.value(
            &place,
            Problem::new(
                Kind::TooMany,
                format!(
                    "{} droplets are more than the {MOST_DROPLETS} one manifest may ask for",
                    instances(droplet)
                ),
            )
            .help("ask for fewer"),
        );
    }
    let mut keys: HashMap<String, &str> = HashMap::new();
    for (key, values) in &droplet.matrix {
        let place = matrix.then(key.as_str());
        let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_key {
            report.key(
                &place,
                Problem::new(
                    Kind::BadName,
                    format!("`{}` cannot be the name of a matrix key", shown(key)),
                )
                .help("use letters, digits and `_`, and begin with a letter: a step sees it as `DEWPOINT_MATRIX_<KEY>`"),
            );
        } else if let Some(first) = keys.insert(key.to_uppercase(), key) {
            report.two_keys(
                &place,
                &matrix.then(first),
                Problem::new(
                    Kind::NotUnique,
                    format!(
                        "`{first}` and `{key}` would both be `DEWPOINT_MATRIX_{}`",
                        key.to_uppercase()
                    ),
                )
                .help("rename one of the two"),
            );
        }
        if values.is_empty() && !report.is_touched(&place) {
            report.value(
                &place,
                Problem::new(
                    Kind::BadValue,
                    format!("`{key}` has no values, so there would be no droplet"),
                )
                .help("write at least one value"),
            );
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, value) in values.iter().enumerate() {
            let item = place.then(index);
            let is_value = !value.is_empty()
                && value.len() <= 100
                && !value
                    .contains(|c: char| ",=[]".contains(c) || c.is_control() || c.is_whitespace());
            if !is_value {
                report.value(
                    &item,
                    Problem::new(
                        Kind::BadValue,
                        format!("`{}` cannot be the value of a matrix key", shown(value)),
                    )
                    .help("it becomes part of an address: write it without blanks, `,`, `=`, `[` and `]`"),
                );
            } else if let Some(first) = seen.insert(value, index) {
                report.two_values(
                    &item,
                    &place.then(first),
                    Problem::new(
                        Kind::NotUnique,
                        format!("the value `{}` stands twice", shown(value)),
                    )
                    .help("keep one of the two"),
                );
            }
        }
    }
}

fn mounts(path: &Path, mounts: &[VolumeMount], report: &mut Report) {
    let mut volumes: HashMap<&str, usize> = HashMap::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, mount) in mounts.iter().enumerate() {
        let item = path.then(index);
        if let Some(first) = volumes.insert(&mount.volume, index) {
            report.two_values(
                &item.then("volume"),
                &path.then(first).then("volume"),
                Problem::new(
                    Kind::NotUnique,
                    format!("the volume `{}` is mounted twice", shown(&mount.volume)),
                )
                .help("keep one of the two"),
            );
        }
        let place = item.then("mount");
        if paths::over_folder(&place, &mount.mount, "a mount", report)
            && let Some(first) = places.insert(paths::normal(&mount.mount), index)
        {
            report.two_values(
                &place,
                &path.then(first).then("mount"),
                Problem::new(
                    Kind::NotUnique,
                    format!("two volumes are mounted at `{}`", shown(&mount.mount)),
                )
                .help("mount one of them elsewhere"),
            );
        }
    }
}

fn needs(path: &Path, names: &[String], report: &mut Report) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = seen.insert(name, index) {
            report.two_values(
                &path.then(index),
                &path.then(first),
                Problem::new(
                    Kind::NotUnique,
                    format!("the droplet `{}` stands twice", shown(name)),
                )
                .help("keep one of the two"),
            );
        }
    }
}

fn check_source(path: &Path, source: &Source, report: &mut Report) {
    exactly_one(
        path,
        &[
            ("git", source.git.is_some()),
            ("path", source.path.is_some()),
        ],
        report,
    );
    if let Some(url) = &source.git {
        git_address(&path.then("git"), url, report);
    }
    if let Some(folder) = &source.path {
        not_blank(&path.then("path"), "the path", folder, report);
    }
    if let Some(reference) = &source.reference {
        let place = path.then("ref");
        if source.path.is_some() && source.git.is_none() {
            report.key(
                &place,
                Problem::new(Kind::BadValue, "`ref` has no effect on a `path`")
                    .help("remove it, or write `git` in place of `path`"),
            );
        }
        let is_reference = !reference.is_empty()
            && !reference.starts_with('-')
            && !reference.contains(|c: char| c.is_whitespace() || c.is_control());
        if !is_reference {
            report.value(
                &place,
                Problem::new(
                    Kind::BadValue,
                    format!("`{}` is not a branch, tag or commit", shown(reference)),
                )
                .help("write a name such as `main`, or a commit"),
            );
        }
    }
    if let Some(into) = &source.into {
        paths::over_folder(&path.then("into"), into, "a source", report);
    }
}

fn git_address(path: &Path, url: &str, report: &mut Report) {
    let has_password = url.split_once("://").is_some_and(|(_, rest)| {
        rest.split('/')
            .next()
            .and_then(|host| host.rsplit_once('@'))
            .is_some_and(|(user, _)| user.contains(':'))
    });
    if has_password {
        // The address itself is not repeated: errors end in logs.
        report.value(
            path,
            Problem::new(Kind::BadValue, "the address has a password in it")
                .help("remove it and let git's own credential helper or an SSH key log in"),
        );
    } else if url.trim().is_empty()
        || url.starts_with('-')
        || url.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        report.value(
            path,
            Problem::new(
                Kind::BadValue,
                format!("`{}` is not the address of a repository", shown(url)),
            )
            .help("write an address such as `https://github.com/acme/app.git`"),
        );
    }
}

fn secrets(path: &Path, droplet: &Droplet, report: &mut Report) {
    let list = path.then("secrets");
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, name) in droplet.secrets.iter().enumerate() {
        let item = list.then(index);
        if let Some(problem) = super::variable_name(name) {
            report.value(&item, problem);
        } else if let Some(first) = seen.insert(name, index) {
            report.two_values(
                &item,
                &list.then(first),
                Problem::new(
                    Kind::NotUnique,
                    format!("the secret `{}` stands twice", shown(name)),
                )
                .help("keep one of the two"),
            );
        } else if droplet.env.contains_key(name) {
            report.two_values(
                &item,
                &path.then("env").then(name.as_str()),
                Problem::new(
                    Kind::NotUnique,
                    format!("`{}` is both a secret and in `env`", shown(name)),
                )
                .help("keep one of the two"),
            );
        }
    }
}

fn tags(path: &Path, tags: &[String], report: &mut Report) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, tag) in tags.iter().enumerate() {
        let item = path.then(index);
        let is_tag = (1..=255).contains(&tag.len())
            && tag
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-:".contains(c));
        if !is_tag {
            report.value(
                &item,
                Problem::new(Kind::BadName, format!("`{}` cannot be a tag", shown(tag)))
                    .help("use at most 255 letters, digits, `_`, `-` and `:`"),
            );
        } else if tag == "dewpoint" || tag.starts_with("dewpoint:") || tag.starts_with("dewpoint-")
        {
            report.value(
                &item,
                Problem::new(
                    Kind::BadName,
                    format!("`{tag}` is one of dewpoint's own tags"),
                )
                .help("choose a tag that does not begin with `dewpoint`"),
            );
        } else if let Some(first) = seen.insert(tag, index) {
            report.two_values(
                &item,
                &path.then(first),
                Problem::new(Kind::NotUnique, format!("the tag `{tag}` stands twice"))
                    .help("keep one of the two"),
            );
        }
    }
}

/// Refuses a turn on a shared volume with nothing to do in it, or with something that does not end:
/// the droplet must hand the volume on when its runs are over.
fn turns(manifest: &Manifest, report: &mut Report) {
    let mut users: HashMap<&str, u64> = HashMap::new();
    let mut cloned_by: HashMap<&str, &str> = HashMap::new();
    let exclusive = |mount: &&VolumeMount| mount.access == Access::Exclusive;
    for (name, droplet) in &manifest.droplets {
        for mount in droplet.volumes.iter().filter(|mount| !exclusive(mount)) {
            cloned_by.entry(&mount.volume).or_insert(name);
        }
        for mount in droplet.volumes.iter().filter(exclusive) {
            let users = users.entry(&mount.volume).or_default();
            *users = users.saturating_add(instances(droplet));
        }
    }
    for (name, droplet) in &manifest.droplets {
        let path = Path::of("droplets").then(name.as_str());
        let is_idle = droplet.run.is_empty() && droplet.source.is_none();
        let runs_on = droplet.run.iter().any(|run| run.background);
        let stays = droplet.after_run == AfterRun::Word(AfterRunWord::Keep);
        if !(is_idle || runs_on || stays) || report.is_touched(&path) {
            continue;
        }
        let what = if is_idle {
            "has nothing to run in its turn"
        } else {
            "runs on in the background when its turn is over"
        };
        for (index, mount) in droplet.volumes.iter().enumerate() {
            if mount.access != Access::Exclusive || !manifest.volumes.contains_key(&mount.volume) {
                continue;
            }
            let place = path.then("volumes").then(index).then("volume");
            let is_shared = users
                .get(mount.volume.as_str())
                .is_some_and(|users| *users > 1);
            if let Some(other) = cloned_by.get(mount.volume.as_str()) {
                // Copies are made of what the volume holds when nobody has it any more.
                let what = match (is_idle, runs_on) {
                    (true, _) => "has nothing to run after which it could let go of it",
                    (_, true) => "runs on in the background, and does not let go of it",
                    _ => "keeps it when its runs are over",
                };
                report.value(
                    &place,
                    Problem::new(
                        Kind::BadValue,
                        format!(
                            "`{other}` gets a clone of what `{name}` leaves on the volume `{}`, and `{name}` {what}",
                            shown(&mount.volume)
                        ),
                    )
                    .help(format!(
                        "give `{name}` a `run` that ends and `after_run: destroy`, or mount `access: clone` there too"
                    )),
                );
            } else if is_shared && (is_idle || runs_on) {
                report.value(
                    &place,
                    Problem::new(
                        Kind::BadValue,
                        format!(
                            "`{name}` takes turns on the volume `{}` and {what}",
                            shown(&mount.volume)
                        ),
                    )
                    .help("give it a `run` that ends, or a volume of its own"),
                );
            }
        }
    }
}
