//! Secrets in files that a run brought back: told, never changed. Only plain text is seen: what a
//! program compressed or encoded is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

use aho_corasick::AhoCorasick;
use camino::Utf8Path;

use crate::secret::Secret;

/// Shorter values stand in files by chance.
const SHORTEST_BYTES: usize = 4;

/// Names of the secrets whose value stands in each file, by the files' paths below the folder;
/// files without any are left out.
///
/// # Errors
/// When a file cannot be read.
pub fn exposed_in(
    folder: &Utf8Path,
    files: &[String],
    secrets: &BTreeMap<String, Secret<String>>,
) -> io::Result<BTreeMap<String, BTreeSet<String>>> {
    let (names, values): (Vec<&String>, Vec<&str>) = secrets
        .iter()
        // Exposed to be found again.
        .map(|(name, value)| (name, value.expose().trim()))
        .filter(|(_, value)| value.len() >= SHORTEST_BYTES)
        .unzip();
    let mut exposed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if names.is_empty() {
        return Ok(exposed);
    }
    let finder = AhoCorasick::new(&values).map_err(io::Error::other)?;
    for path in files {
        for found in finder.stream_find_iter(File::open(folder.join(path))?) {
            let name = names[found?.pattern().as_usize()];
            exposed
                .entry(path.clone())
                .or_default()
                .insert(name.clone());
        }
    }
    Ok(exposed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_a_secret_are_named_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let secrets = [
            ("TOKEN", "s3cretvalue\n"),
            ("KEY", "another-one"),
            ("PIN", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())))
        .into();
        let far = format!("{}s3cretvalue", "\0".repeat(100_000));
        for (path, text) in [
            ("env", "KEY=another-one\nTOKEN=s3cretvalue\n"),
            ("clean", "s3cret value 1"),
            ("far", far.as_str()),
        ] {
            std::fs::write(folder.join(path), text).expect("written");
        }
        let files = ["clean", "env", "far"].map(str::to_owned);
        let exposed = exposed_in(folder, &files, &secrets).expect("read");
        let exposed: Vec<(&str, Vec<&str>)> = exposed
            .iter()
            .map(|(path, names)| (path.as_str(), names.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(
            exposed,
            [("env", vec!["KEY", "TOKEN"]), ("far", vec!["TOKEN"])]
        );
    }
}
