//! What a manifest names on this side: files and folders. Looking for them is the caller's.

use super::error::{Kind, ManifestErrors, Problem};
use super::path::Path;
use super::report::Report;
use super::schema::Manifest;
use super::spans;

/// What a local path is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalUse {
    /// `source.path`: a folder.
    Source,
    /// `provision.copy.from`: a file or a folder.
    Copy,
    /// `ssh.key`: a file.
    Key,
}

/// A path on this side that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath {
    /// What for.
    pub used_as: LocalUse,
    /// As it is written, variables put in.
    pub path: String,
    place: Path,
}

/// Every path on this side that a manifest names.
#[must_use]
pub fn local_paths(manifest: &Manifest) -> Vec<LocalPath> {
    let mut paths = Vec::new();
    let key = manifest.ssh.key.as_str();
    if !matches!(key, "generated" | "agent") {
        paths.push(LocalPath {
            used_as: LocalUse::Key,
            path: key.to_owned(),
            place: Path::of("ssh").then("key"),
        });
    }
    for (name, snapshot) in &manifest.snapshots {
        let place = Path::of("snapshots").then(name.as_str()).then("provision");
        for (index, step) in snapshot.provision.iter().enumerate() {
            if let Some(copy) = &step.copy {
                paths.push(LocalPath {
                    used_as: LocalUse::Copy,
                    path: copy.from.clone(),
                    place: place.then(index).then("copy").then("from"),
                });
            }
        }
    }
    for (name, droplet) in &manifest.droplets {
        let path = droplet
            .source
            .as_ref()
            .and_then(|source| source.path.as_ref());
        if let Some(path) = path {
            let place = Path::of("droplets").then(name.as_str());
            paths.push(LocalPath {
                used_as: LocalUse::Source,
                path: path.clone(),
                place: place.then("source").then("path"),
            });
        }
    }
    paths
}

/// What is wrong with local paths of a manifest that was read: each with what is wrong, in words,
/// and what to do about it. Nothing when there are none.
#[must_use]
pub fn unusable(
    name: &str,
    bytes: &[u8],
    found: Vec<(LocalPath, String, String)>,
) -> Option<ManifestErrors> {
    if found.is_empty() {
        return None;
    }
    // Both were right when the manifest was read; without places the problems are said all the same.
    let text = std::str::from_utf8(super::without_mark(bytes)).unwrap_or_default();
    let mut problems = Vec::new();
    let problem = |message: String, help: String| Problem::new(Kind::NoFile, message).help(help);
    match spans::index(text, &mut Vec::new()) {
        Ok(spans) => {
            let mut report = Report::new(text, spans, Vec::new());
            for (path, message, help) in found {
                report.value(&path.place, problem(message, help));
            }
            problems.extend(report.into_problems());
        }
        Err(_) => problems.extend(
            found
                .into_iter()
                .map(|(path, message, help)| problem(format!("`{}`: {message}", path.place), help)),
        ),
    }
    Some(ManifestErrors::new(name, text, problems))
}
