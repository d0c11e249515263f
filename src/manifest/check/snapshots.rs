//! `snapshots`.

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{ImageSource, Manifest, Provision, Snapshot};
use super::super::wording::shown;
use super::{env, exactly_one, names, not_blank, paths, slug};

/// In seconds: a build takes minutes, and its end must not be the next one's beginning.
const SHORTEST_REFRESH: u64 = 3_600;

pub(super) fn check(manifest: &Manifest, report: &mut Report) {
    for (name, snapshot) in &manifest.snapshots {
        let path = Path::of("snapshots").then(name.as_str());
        names::resource(&path, "snapshot", name, report);
        image(&path.then("from"), &snapshot.from, report);
        slug(
            &path.then("size"),
            "a size",
            &snapshot.size,
            "s-1vcpu-1gb",
            report,
        );
        if snapshot.keep == 0 {
            report.value(
                &path.then("keep"),
                Problem::new(Kind::BadValue, "keeping 0 snapshots would keep none to use")
                    .help("write at least 1"),
            );
        }
        if let Some(refresh) = snapshot.refresh
            && refresh.0 < SHORTEST_REFRESH
        {
            report.value(
                &path.then("refresh"),
                Problem::new(
                    Kind::BadValue,
                    "a snapshot that is rebuilt more often than hourly is never done",
                )
                .help("write at least 1h, such as `30d`"),
            );
        }
        regions(&path.then("regions"), snapshot, &manifest.region, report);
        for (index, step) in snapshot.provision.iter().enumerate() {
            provision(&path.then("provision").then(index), step, report);
        }
    }
}

/// Checks the form of an image's slug. What a reference names is another check.
pub(super) fn image(path: &Path, image: &ImageSource, report: &mut Report) {
    match image {
        ImageSource::Slug(text) => slug(path, "an image", text, "ubuntu-24-04-x64", report),
        ImageSource::Id(0) => report.value(
            path,
            Problem::new(Kind::BadValue, "0 is not the id of an image")
                .help("write an image's slug such as `ubuntu-24-04-x64`, or its id"),
        ),
        ImageSource::Id(_) | ImageSource::Snapshot(_) => {}
    }
}

fn regions(path: &Path, snapshot: &Snapshot, region: &str, report: &mut Report) {
    let Some(regions) = &snapshot.regions else {
        return;
    };
    if report.is_touched(path) || report.is_settled(&Path::of("region")) {
        return;
    }
    if !regions.iter().any(|one| one == region) {
        let problem = Problem::new(
            Kind::OtherRegion,
            format!(
                "no copy of this snapshot would be in `{}`, where its droplets are",
                shown(region)
            ),
        )
        .help(format!("add `{}` to the list", shown(region)));
        report.two_keys(path, &Path::of("region"), problem);
        return;
    }
    for (index, one) in regions.iter().enumerate() {
        let path = path.then(index);
        slug(&path, "a region", one, "sfo3", report);
        if regions[..index].contains(one) {
            let problem = Problem::new(
                Kind::BadValue,
                format!("`{}` stands in the list twice", shown(one)),
            );
            report.value(&path, problem.help("remove one of them"));
        }
    }
}

fn provision(path: &Path, step: &Provision, report: &mut Report) {
    exactly_one(
        path,
        &[("run", step.run.is_some()), ("copy", step.copy.is_some())],
        report,
    );
    if let Some(name) = &step.name {
        not_blank(&path.then("name"), "`name`", name, report);
    }
    if let Some(script) = &step.run {
        not_blank(&path.then("run"), "the script", script, report);
    }
    if let Some(copy) = &step.copy {
        let path = path.then("copy");
        paths::beside_manifest(&path.then("from"), &copy.from, report);
        paths::over_folder(&path.then("to"), &copy.to, "a copy", report);
    }
    env(&path.then("env"), &step.env, report);
    if step.copy.is_some() && step.run.is_none() {
        for (key, is_given) in [
            ("env", !step.env.is_empty()),
            ("timeout", step.timeout.is_some()),
        ] {
            if is_given {
                report.key(
                    &path.then(key),
                    Problem::new(Kind::BadValue, format!("`{key}` has no effect on a `copy`"))
                        .help("remove it, or move it to a step with `run`"),
                );
            }
        }
    }
}
