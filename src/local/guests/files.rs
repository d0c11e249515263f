//! Files of volumes and snapshots, whatever the tier.

use std::fs;

use camino::Utf8Path;

use super::error::GuestError;

/// Makes a file of that size, or grows it to that.
pub(in crate::local) fn grow(file: &Utf8Path, size_gib: u32) -> std::io::Result<()> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(file)?;
    let wanted = u64::from(size_gib) << 30;
    if file.metadata()?.len() < wanted {
        file.set_len(wanted)?;
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(in crate::local) fn remove(file: &Utf8Path) -> std::io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// How many bytes a file takes, its holes not counted.
pub(in crate::local) fn allocated(file: &Utf8Path) -> u64 {
    fs::metadata(file).map_or(0, |data| {
        std::os::unix::fs::MetadataExt::blocks(&data) * 512
    })
}

/// Names of what is in a folder.
pub(in crate::local) fn names(folder: &Utf8Path) -> Result<Vec<String>, GuestError> {
    let failed = || GuestError::io(format!("cannot look through {folder}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}
