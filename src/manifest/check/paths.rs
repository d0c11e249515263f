//! Paths: on a droplet absolute and plain, on this side inside their folder where that is due.

use camino::{Utf8Component, Utf8Path};
use globset::Glob;

use super::super::error::{Kind, Problem};
use super::super::path::Path;
use super::super::report::Report;
use super::super::wording::shown;

/// Folders that belong to the system: whatever is put over one of them breaks the droplet.
const OF_THE_SYSTEM: [&str; 13] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", "/var",
];

/// Checks a path on a droplet; false when it is none.
pub(super) fn on_droplet(path: &Path, text: &str, report: &mut Report) -> bool {
    let is_plain = Utf8Path::new(text)
        .components()
        .all(|part| matches!(part, Utf8Component::RootDir | Utf8Component::Normal(_)));
    let message = if !text.starts_with('/') {
        format!("`{}` is not an absolute path", shown(text))
    } else if !is_plain {
        format!("`{}` has `..` in it", shown(text))
    } else if text.contains(char::is_control) {
        "a path cannot have control characters in it".to_owned()
    } else {
        return true;
    };
    report.value(
        path,
        Problem::new(Kind::BadPath, message)
            .help("write a path from the droplet's root, such as `/opt/app`"),
    );
    false
}

/// Checks where something is put over a folder of the droplet.
pub(super) fn over_folder(path: &Path, text: &str, what: &str, report: &mut Report) -> bool {
    if !on_droplet(path, text, report) {
        return false;
    }
    let plain = normal(text);
    let is_of_the_system = OF_THE_SYSTEM.contains(&plain.as_str())
        || ["/dev/", "/proc/", "/sys/"]
            .iter()
            .any(|folder| plain.starts_with(folder));
    if is_of_the_system {
        report.value(
            path,
            Problem::new(
                Kind::BadPath,
                format!("{what} over `{plain}` would break the droplet"),
            )
            .help("choose a folder of its own, such as `/mnt/data` or `/opt/app`"),
        );
    }
    !is_of_the_system
}

/// An absolute path without doubled or trailing slashes, so that two ways to write one are alike.
pub(super) fn normal(text: &str) -> String {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// Checks a path on this side that must be relative to the manifest's folder.
///
/// `..` is allowed: a manifest in a folder of its own may copy what lies next to it. An absolute
/// path is not: it would make the recipe another one on another machine.
pub(super) fn beside_manifest(path: &Path, text: &str, report: &mut Report) {
    let message = if text.trim().is_empty() {
        "the path is empty".to_owned()
    } else if Utf8Path::new(text).is_absolute() || text.starts_with('~') {
        format!(
            "`{}` is an absolute path, which other machines may not have",
            shown(text)
        )
    } else if text.contains(char::is_control) {
        "a path cannot have control characters in it".to_owned()
    } else {
        return;
    };
    report.value(
        path,
        Problem::new(Kind::BadPath, message)
            .help("write a path relative to the manifest's folder, such as `./requirements.txt`"),
    );
}

/// Checks a pattern of files that must stay inside their folder.
pub(super) fn artifact(path: &Path, pattern: &str, report: &mut Report) {
    let problem = if pattern.trim().is_empty() {
        Problem::new(Kind::BadPath, "the pattern is empty")
    } else if pattern.starts_with('/')
        || pattern.starts_with('~')
        || pattern.split('/').any(|part| part == "..")
    {
        Problem::new(
            Kind::BadPath,
            format!("`{}` leads out of the step's folder", shown(pattern)),
        )
    } else if pattern.contains(char::is_control) {
        Problem::new(
            Kind::BadPath,
            "a pattern cannot have control characters in it",
        )
    } else if let Err(error) = Glob::new(pattern) {
        Problem::new(
            Kind::BadPath,
            format!("`{}` is not a pattern: {}", shown(pattern), error.kind()),
        )
    } else {
        return;
    };
    report.value(
        path,
        problem.help("write a pattern inside the folder, such as `report.xml` or `logs/**`"),
    );
}
