//! Whether the files and folders a manifest names are there: all that are not, at once, before any
//! call to the cloud.

use camino::{Utf8Path, Utf8PathBuf};

use super::context::Loaded;
use crate::manifest::{self, LocalPath, LocalUse};

/// Looks for every file and folder the manifest names.
///
/// # Errors
/// All that are missing or of the wrong kind, each with its place in the manifest.
pub fn check(loaded: &Loaded) -> miette::Result<()> {
    let found = manifest::local_paths(&loaded.manifest)
        .into_iter()
        .filter_map(|path| {
            let (message, help) = problem(&loaded.base, &path)?;
            Some((path, message, help))
        })
        .collect();
    match manifest::unusable(&loaded.name, &loaded.text, found) {
        Some(errors) => Err(errors.into()),
        None => Ok(()),
    }
}

/// Where the SSH key of that name lies: `~/` is the user's home.
#[must_use]
pub fn key_path(base: &Utf8Path, path: &str) -> Utf8PathBuf {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => Utf8Path::new(&home).join(rest),
        _ => base.join(path),
    }
}

/// What is wrong with a path and what to do about it; nothing when it will do.
fn problem(base: &Utf8Path, path: &LocalPath) -> Option<(String, String)> {
    let (place, kind) = match path.used_as {
        LocalUse::Key => (key_path(base, &path.path), "file"),
        LocalUse::Source => (base.join(&path.path), "folder"),
        LocalUse::Copy => (base.join(&path.path), "file or folder"),
    };
    // What is named is what a link leads to.
    let seen = std::fs::metadata(&place);
    let shown = tidy(&place);
    match seen {
        Ok(seen) => {
            let will_do = match path.used_as {
                LocalUse::Key => !seen.is_dir(),
                LocalUse::Source => seen.is_dir(),
                LocalUse::Copy => seen.is_dir() || seen.is_file(),
            };
            (!will_do).then(|| {
                (
                    format!("{shown} is not a {kind}"),
                    format!("name a {kind} there"),
                )
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some((
            match std::fs::read_link(&place) {
                Ok(target) => format!(
                    "{shown} is a link to {}, and there is no such {kind}",
                    target.display()
                ),
                Err(_) => format!("there is no {kind} {shown}"),
            },
            "make it, or correct the path: it is relative to the folder of the manifest".to_owned(),
        )),
        Err(error) => Some((
            format!("{shown} cannot be looked at: {error}"),
            "make it readable, or name another".to_owned(),
        )),
    }
}

/// A path without the `.` that stand in it.
fn tidy(path: &Utf8Path) -> Utf8PathBuf {
    path.components().collect()
}
