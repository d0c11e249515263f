//! A folder of this side as a value: paths, kinds, contents' digests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use ignore::WalkBuilder;
use sha2::{Digest as _, Sha256};

use super::error::GuestError;

/// Never carried: the repository's own folder, and ours with its keys.
pub(super) const NEVER: [&str; 2] = [".git", ".dewpoint"];

/// Which files of a folder count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// All of them.
    All,
    /// All but `.git` and `.dewpoint`.
    AllButOurs,
    /// As above, and what `.gitignore` files leave.
    NotIgnored,
}

/// One thing in a folder. Of its mode only whether it can be executed counts: the rest is the
/// umask of whoever made it, and differs between machines that hold the same files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its size in bytes.
        size: u64,
        /// The digest of its contents.
        sha256: [u8; 32],
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: String,
    },
}

impl Entry {
    /// The mode it gets on a droplet.
    pub(super) fn mode(&self) -> u32 {
        match self {
            Self::File {
                executable: false, ..
            } => 0o644,
            Self::File { .. } | Self::Folder => 0o755,
            Self::Link { .. } => 0o777,
        }
    }

    /// The entry as text: kind (`d` folder, `f` file, `x` executable, `l` link), size, the first
    /// 128 bits of the content's SHA-256, path. Never holds a zero byte, and sorts as bytes do.
    pub(super) fn record(&self, path: &str) -> String {
        let short = |digest: &[u8]| hex::encode(&digest[..16]);
        match self {
            Self::Folder => format!("d 0 - {path}"),
            Self::File {
                executable,
                size,
                sha256,
            } => {
                let kind = if *executable { 'x' } else { 'f' };
                format!("{kind} {size} {} {path}", short(sha256))
            }
            Self::Link { target } => {
                let digest = Sha256::digest(target.as_bytes());
                format!("l {} {} {path}", target.len(), short(&digest))
            }
        }
    }
}

/// The path of a record.
pub(super) fn path_of_record(record: &str) -> Option<&str> {
    record.splitn(4, ' ').nth(3)
}

/// A folder's contents, by path relative to it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) entries: BTreeMap<String, Entry>,
    /// What cannot be carried: sockets, pipes, devices.
    pub(super) left_out: Vec<String>,
}

impl Tree {
    /// Reads a folder, following no link below it. Files that vanish meanwhile are not there.
    pub(super) fn read(folder: &Utf8Path, choice: Choice) -> Result<Self, GuestError> {
        if !folder.is_dir() {
            return Err(GuestError::SourceFolder {
                path: folder.to_owned(),
            });
        }
        let mut walk = WalkBuilder::new(folder);
        // Only `.gitignore` files count: what else git ignores differs between machines.
        walk.standard_filters(false)
            .require_git(false)
            .git_ignore(choice == Choice::NotIgnored)
            .parents(choice == Choice::NotIgnored)
            .follow_links(false);
        if choice != Choice::All {
            walk.filter_entry(|entry| {
                entry.depth() == 0 || !NEVER.iter().any(|name| entry.file_name() == *name)
            });
        }
        let mut tree = Self::default();
        for found in walk.build() {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    if error
                        .io_error()
                        .is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound)
                    {
                        continue;
                    }
                    return Err(GuestError::SourceRead {
                        path: folder.to_owned(),
                        cause: io::Error::other(error),
                    });
                }
            };
            if found.depth() == 0 {
                continue;
            }
            let relative = found
                .path()
                .strip_prefix(folder)
                .expect("a walk stays below its root");
            let path = utf8(relative)?;
            match look(&folder.join(&path))? {
                Found::Entry(entry) => drop(tree.entries.insert(path, entry)),
                Found::Special => tree.left_out.push(path),
                Found::Nothing => {}
            }
        }
        tree.left_out.sort();
        Ok(tree)
    }

    pub(super) fn records(entries: &BTreeMap<String, Entry>) -> BTreeSet<String> {
        entries
            .iter()
            .map(|(path, entry)| entry.record(path))
            .collect()
    }
}

/// What is at a path.
pub(super) enum Found {
    Entry(Entry),
    Special,
    Nothing,
}

/// Reads what is at a path, without following a link there.
pub(super) fn look(path: &Utf8Path) -> Result<Found, GuestError> {
    let Some(meta) = present(path, path.symlink_metadata())? else {
        return Ok(Found::Nothing);
    };
    if meta.is_dir() {
        return Ok(Found::Entry(Entry::Folder));
    }
    if meta.is_symlink() {
        return Ok(link(path)?.map_or(Found::Nothing, Found::Entry));
    }
    if !meta.is_file() {
        return Ok(Found::Special);
    }
    let Some(file) = present(path, open(path))? else {
        return Ok(Found::Nothing);
    };
    let (size, sha256) = digest(file).map_err(|cause| read_error(path, cause))?;
    Ok(Found::Entry(Entry::File {
        executable: is_executable(&meta),
        size,
        sha256,
    }))
}

/// The link at a path, if it is still one.
pub(super) fn link(path: &Utf8Path) -> Result<Option<Entry>, GuestError> {
    let Some(target) = present(path, std::fs::read_link(path))? else {
        return Ok(None);
    };
    Ok(Some(Entry::Link {
        target: utf8(&target)?,
    }))
}

pub(super) fn is_executable(meta: &Metadata) -> bool {
    meta.mode() & 0o100 != 0
}

/// Opens a file that is no link, and waits for no pipe's other end.
pub(super) fn open(path: &Utf8Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Size and SHA-256 of what can be read.
fn digest(mut from: impl Read) -> io::Result<(u64, [u8; 32])> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hash.finalize().into())),
            Ok(count) => {
                hash.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What was read, or nothing if the file is gone or has become something else.
pub(super) fn present<T>(path: &Utf8Path, read: io::Result<T>) -> Result<Option<T>, GuestError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidInput
            ) || cause.raw_os_error() == Some(libc::ELOOP) =>
        {
            Ok(None)
        }
        Err(cause) => Err(read_error(path, cause)),
    }
}

pub(super) fn read_error(path: &Utf8Path, cause: io::Error) -> GuestError {
    GuestError::SourceRead {
        path: path.to_owned(),
        cause,
    }
}

fn utf8(path: &Path) -> Result<String, GuestError> {
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| GuestError::SourceName {
            path: path.to_string_lossy().into_owned(),
        })
}

/// Every folder above a path, outermost first.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// A path without its last part, for a file that is copied on its own.
pub(super) fn split_file(path: &Utf8Path) -> (Utf8PathBuf, String) {
    let name = path.file_name().unwrap_or_default().to_owned();
    let parent = match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent.to_owned(),
        _ => Utf8PathBuf::from("."),
    };
    (parent, name)
}
