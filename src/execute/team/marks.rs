//! Which stores a run has been sent to: a file in its folder.

use std::collections::BTreeMap;
use std::io::Read as _;

use camino::Utf8Path;

use super::bundle::STORES;

/// More is no file of ours.
const MOST_BYTES: u64 = 64 * 1_024;

/// Notes whether a run has been sent to a store.
///
/// # Errors
/// When it cannot be written.
pub fn mark(run_folder: &Utf8Path, address: &str, is_sent: bool) -> std::io::Result<()> {
    let mut marks = read(run_folder);
    marks.insert(address.to_owned(), is_sent);
    // For its owner alone from the start, and never seen half written.
    let mut new = tempfile::NamedTempFile::new_in(run_folder)?;
    serde_json::to_writer(&mut new, &marks)?;
    new.persist(run_folder.join(STORES))?;
    Ok(())
}

/// Whether a run was to be sent to a store, and has not been.
#[must_use]
pub fn is_unsent(run_folder: &Utf8Path, address: &str) -> bool {
    read(run_folder).get(address) == Some(&false)
}

/// What cannot be read says nothing.
fn read(run_folder: &Utf8Path) -> BTreeMap<String, bool> {
    let mut text = Vec::new();
    let read = std::fs::File::open(run_folder.join(STORES))
        .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_is_noted_for_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = Utf8Path::from_path(folder.path()).expect("UTF-8");
        assert!(!is_unsent(folder, "s3://a"));
        mark(folder, "s3://a", false).expect("written");
        mark(folder, "s3://b", false).expect("written");
        mark(folder, "s3://a", true).expect("written");
        assert!(!is_unsent(folder, "s3://a") && is_unsent(folder, "s3://b"));
        std::fs::write(folder.join(STORES), "nonsense").expect("written");
        assert!(!is_unsent(folder, "s3://b"));
    }
}
