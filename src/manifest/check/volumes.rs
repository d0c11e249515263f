//! `volumes`.

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::Manifest;
use super::{exactly_one, names};

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
        for (key, is_given, help) in [
            (
                "populate",
                volume.populate.is_some(),
                "remove it; fill the volume in a droplet's `run` step, which finds the data there the next time",
            ),
            (
                "was",
                volume.was.is_some(),
                "remove it and keep the volume's name",
            ),
            (
                "existing",
                volume.existing.is_some(),
                "write `size` for a volume of the project's own",
            ),
        ] {
            if is_given {
                report.not_yet(&path.then(key), &format!("`{key}`"), help);
            }
        }
    }
}
