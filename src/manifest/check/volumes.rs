//! `volumes`.

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{Manifest, Populate, Scope, Volume};
use super::super::wording::shown;
use super::{exactly_one, names, not_blank, slug, snapshots};

/// The largest volume DigitalOcean makes: 16 TiB.
const MOST_GIB: u32 = 16 * 1024;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (name, volume) in &manifest.volumes {
        let path = Path::of("volumes").then(name.as_str());
        names::resource(&path, "volume", name, report);
        exactly_one(
            &path,
            &[
                ("size", volume.size.is_some()),
                ("existing", volume.existing.is_some()),
            ],
            report,
        );
        if volume.size.is_some_and(|size| size.0 > MOST_GIB) {
            report.value(
                &path.then("size"),
                Problem::new(
                    Kind::BadValue,
                    format!("a volume has at most {MOST_GIB}GiB"),
                )
                .help("use several volumes"),
            );
        }
        if let Some(existing) = &volume.existing {
            existing_name(&path.then("existing"), existing, report);
            if volume.scope == Scope::Environment {
                report.value(
                    &path.then("scope"),
                    Problem::new(
                        Kind::BadValue,
                        "an `existing` volume goes with no environment",
                    )
                    .help("remove `scope`: the volume is used, and never deleted"),
                );
            }
        }
        if let Some(was) = &volume.was {
            check_was(&path.then("was"), name, was, manifest, report);
        }
        if let Some(populate) = &volume.populate {
            check_populate(&path, volume, populate, report);
        }
    }
}

fn check_populate(path: &Path, volume: &Volume, populate: &Populate, report: &mut Report) {
    if volume.existing.is_some() {
        report.key(
            &path.then("populate"),
            Problem::new(
                Kind::BadValue,
                "an `existing` volume is used, and never changed",
            )
            .help("remove `populate`, or write `size` for a volume of the project's own"),
        );
    }
    let path = path.then("populate");
    snapshots::image(&path.then("image"), &populate.image, report);
    slug(
        &path.then("size"),
        "a size",
        &populate.size,
        "s-1vcpu-1gb",
        report,
    );
    if populate.run.is_empty() && !report.is_touched(&path.then("run")) {
        report.value(
            &path.then("run"),
            Problem::new(Kind::BadValue, "nothing fills the volume")
                .help("write `run: [{ command: ... }]`, or remove `populate`"),
        );
    }
    for (index, step) in populate.run.iter().enumerate() {
        let path = path.then("run").then(index);
        if let Some(name) = &step.name {
            not_blank(&path.then("name"), "`name`", name, report);
        }
        not_blank(&path.then("command"), "the script", &step.command, report);
    }
}

fn existing_name(path: &Path, name: &str, report: &mut Report) {
    let is_name = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_name {
        report.value(
            path,
            Problem::new(
                Kind::BadName,
                format!("`{}` cannot be the name of a volume", shown(name)),
            )
            .help("write the name it has on DigitalOcean: at most 64 of `a-z`, `0-9` and `-`, a letter first"),
        );
    }
}

fn check_was(path: &Path, name: &str, was: &str, manifest: &Manifest, report: &mut Report) {
    let is_existing = |name: &str| {
        let volume = manifest.volumes.get(name);
        volume.is_some_and(|volume| volume.existing.is_some())
    };
    let is_name = !was.is_empty()
        && was
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let (kind, message, help) = if is_existing(name) {
        (
            Kind::BadValue,
            "an `existing` volume has no other name".to_owned(),
            "remove `was`",
        )
    } else if !is_name {
        (
            Kind::BadName,
            format!("`{}` cannot have been the name of a volume", shown(was)),
            "write the name it had in this manifest",
        )
    } else if manifest.volumes.contains_key(was) {
        (
            Kind::NotUnique,
            format!("`{was}` is another volume of this manifest"),
            "write the name it had before, which nothing has any more",
        )
    } else {
        return;
    };
    report.value(path, Problem::new(kind, message).help(help));
}
