//! The head of a manifest: version, names, region, limits, what is protected, variables.

use globset::Glob;

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::schema::{Limits, Manifest};
use super::super::variables::is_variable_name;
use super::super::wording::shown;
use super::{names, slug};

/// The version of the format this program reads.
const VERSION: u32 = 1;

pub(super) fn check(manifest: &Manifest, is_environment_given: bool, report: &mut Report) {
    if manifest.version != VERSION {
        report.value(
            &Path::of("version"),
            Problem::new(
                Kind::BadValue,
                format!("version {} of the manifest is not known", manifest.version),
            )
            .help(format!(
                "write `version: {VERSION}`, or use a newer dewpoint"
            )),
        );
    }
    names::project(&manifest.project, report);
    names::environment(&manifest.environment, is_environment_given, report);
    slug(
        &Path::of("region"),
        "a region",
        &manifest.region,
        "nyc3",
        report,
    );
    if let Some(limits) = &manifest.limits {
        check_limits(limits, report);
    }
    for name in manifest.variables.keys() {
        if !is_variable_name(name) {
            report.key(
                &Path::of("variables").then(name.as_str()),
                Problem::new(
                    Kind::BadName,
                    format!("`{}` cannot be the name of a variable", shown(name)),
                )
                .help("use letters, digits, `_` and `-`, and begin with a letter or `_`"),
            );
        }
    }
}

fn check_limits(limits: &Limits, report: &mut Report) {
    let path = Path::of("limits");
    if limits.droplets == Some(0) {
        report.value(
            &path.then("droplets"),
            Problem::new(Kind::BadValue, "a limit of 0 droplets allows nothing")
                .help("write at least 1, or remove the limit"),
        );
    }
    if limits
        .cost_per_hour
        .is_some_and(|cost| cost <= rust_decimal::Decimal::ZERO)
    {
        report.value(
            &path.then("cost_per_hour"),
            Problem::new(Kind::BadValue, "a limit of no cost at all allows nothing")
                .help("write dollars an hour above 0, or remove the limit"),
        );
    }
    if let Some(sizes) = &limits.sizes {
        let path = path.then("sizes");
        if sizes.is_empty() {
            report.value(
                &path,
                Problem::new(Kind::BadValue, "a limit to no sizes at all allows nothing")
                    .help("name sizes such as `s-*`, or remove the limit"),
            );
        }
        for (index, pattern) in sizes.iter().enumerate() {
            if pattern.is_empty() || Glob::new(pattern).is_err() {
                report.value(
                    &path.then(index),
                    Problem::new(
                        Kind::BadValue,
                        format!("`{}` is not a pattern of sizes", shown(pattern)),
                    )
                    .help("write a size or a pattern such as `s-*`"),
                );
            }
        }
    }
}
