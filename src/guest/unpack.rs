//! What a droplet sent, onto this side: only what was asked for, only below one folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::DirBuilderExt as _;

use camino::Utf8Path;
use flate2::read::MultiGzDecoder;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use tar::{Archive, EntryType};

use super::error::GuestError;

/// The longest name or set of attributes that is read: a path has 4 KiB at most.
const LONGEST_HEADER_BYTES: u64 = 64 * 1024;

/// Writes the files of an archive below `dest`. `wanted` are the paths that were asked for; any
/// other name, kind or size beyond `limit_bytes` ends it. Gives paths and sizes of what was
/// written.
pub(super) fn unpack(
    archive: File,
    wanted: &[String],
    dest: &Utf8Path,
    limit_bytes: u64,
    label: &str,
) -> Result<BTreeMap<String, u64>, GuestError> {
    // Several times through: nothing is written until every name is known to be harmless.
    let rewind = |mut archive: &File| {
        io::Seek::rewind(&mut archive).map_err(|cause| bad_archive(label, cause))
    };
    rewind(&archive)?;
    refuse_long_headers(&archive, limit_bytes, wanted.len(), label)?;
    rewind(&archive)?;
    each(&archive, wanted, limit_bytes, label, |_, _, _| Ok(()))?;
    rewind(&archive)?;
    let mut written = BTreeMap::new();
    // What a command writes into an artifact may be a secret: for their owner alone.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dest)
        .map_err(|cause| write_error(dest, cause))?;
    each(
        &archive,
        wanted,
        limit_bytes,
        label,
        |path, mode, content| {
            let size = write(dest, path, mode, content, label)?;
            written.insert(path.to_owned(), size);
            Ok(())
        },
    )?;
    Ok(written)
}

/// What is in a packed archive, up to what it may be. Headers and padding count as well: an archive
/// of a million empty files is too large too.
fn plain(archive: &File, limit_bytes: u64, files: usize) -> Archive<impl Read> {
    let slack = limit_bytes / 4 + 16 * 1024 * 1024 + files as u64 * 4096;
    Archive::new(MultiGzDecoder::new(io::BufReader::new(archive)).take(limit_bytes + slack))
}

/// Refuses names and attributes that would fill this side's memory: they are read whole.
fn refuse_long_headers(
    archive: &File,
    limit_bytes: u64,
    files: usize,
    label: &str,
) -> Result<(), GuestError> {
    let bad = |cause| bad_archive(label, cause);
    let mut archive = plain(archive, limit_bytes, files);
    let mut total = 0_u64;
    for entry in archive.entries().map_err(bad)?.raw(true) {
        let entry = entry.map_err(bad)?;
        // Told here, for what goes beyond it is not unpacked to be looked at.
        total = total.saturating_add(entry.size());
        if total > limit_bytes.saturating_add(files as u64 * LONGEST_HEADER_BYTES) {
            return Err(GuestError::ArtifactsTooLarge {
                label: label.to_owned(),
                limit_bytes,
            });
        }
        let kind = entry.header().entry_type();
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_global_extensions()
            || kind.is_pax_local_extensions();
        if is_extension && entry.size() > LONGEST_HEADER_BYTES {
            return Err(GuestError::UnsafeArchive {
                label: label.to_owned(),
                path: "a name".to_owned(),
                problem: "it is longer than any name can be",
            });
        }
    }
    Ok(())
}

fn each(
    archive: &File,
    wanted: &[String],
    limit_bytes: u64,
    label: &str,
    mut take: impl FnMut(&str, u32, &mut dyn Read) -> Result<(), GuestError>,
) -> Result<(), GuestError> {
    let bad = |cause| bad_archive(label, cause);
    let refuse = |path: &[u8], problem| GuestError::UnsafeArchive {
        label: label.to_owned(),
        path: super::exec::printable(path).replace('\n', " "),
        problem,
    };
    let mut archive = plain(archive, limit_bytes, wanted.len());
    let mut total = 0;
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        let raw = entry.path_bytes().into_owned();
        let path =
            std::str::from_utf8(&raw).map_err(|_bad_utf8| refuse(&raw, "the name is not UTF-8"))?;
        let path = path.strip_prefix("./").unwrap_or(path);
        if path.starts_with('/') {
            return Err(refuse(&raw, "the path is absolute"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse(&raw, "the path has empty parts, `.` or `..`"));
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {}
            EntryType::Symlink | EntryType::Link => return Err(refuse(&raw, "it is a link")),
            EntryType::Directory => return Err(refuse(&raw, "it is a folder")),
            _ => return Err(refuse(&raw, "it is no file")),
        }
        if wanted
            .binary_search_by(|name| name.as_str().cmp(path))
            .is_err()
        {
            return Err(refuse(&raw, "it was not asked for"));
        }
        total += entry.size();
        if total > limit_bytes {
            return Err(GuestError::ArtifactsTooLarge {
                label: label.to_owned(),
                limit_bytes,
            });
        }
        let mode = entry.header().mode().map_err(bad)?;
        let path = path.to_owned();
        take(&path, mode, &mut entry)?;
    }
    Ok(())
}

/// Writes one file, opening folder after folder and following no link.
fn write(
    dest: &Utf8Path,
    path: &str,
    mode: u32,
    content: &mut dyn Read,
    label: &str,
) -> Result<u64, GuestError> {
    let failed = |cause: io::Error| write_error(&dest.join(path), cause);
    let file = create(dest, path, mode).map_err(|errno| failed(errno.into()))?;
    let mut file = File::from(file);
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    let mut fill = |file: &mut File| loop {
        let count = content
            .read(&mut buffer)
            .map_err(|cause| bad_archive(label, cause))?;
        if count == 0 {
            return Ok(size);
        }
        file.write_all(&buffer[..count]).map_err(failed)?;
        size += count as u64;
    };
    fill(&mut file).inspect_err(|_| {
        // Half a file must not pass for a whole one, nor keep a full disk full.
        let _ = file.set_len(0);
        let _ = std::fs::remove_file(dest.join(path));
    })
}

fn create(dest: &Utf8Path, path: &str, mode: u32) -> Result<OwnedFd, Errno> {
    const FOLDER: OFlags = OFlags::DIRECTORY
        .union(OFlags::RDONLY)
        .union(OFlags::CLOEXEC);
    let mut folder = openat(CWD, dest.as_str(), FOLDER, Mode::empty())?;
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    for part in parts {
        match mkdirat(folder.as_fd(), part, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        folder = openat(
            folder.as_fd(),
            part,
            FOLDER | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
    }
    match unlinkat(folder.as_fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let mode = if mode & 0o100 == 0 { 0o600 } else { 0o700 };
    openat(
        folder.as_fd(),
        name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(mode),
    )
}

fn bad_archive(label: &str, cause: io::Error) -> GuestError {
    GuestError::BadArchive {
        label: label.to_owned(),
        cause,
    }
}

fn write_error(path: &Utf8Path, cause: io::Error) -> GuestError {
    GuestError::Write {
        path: path.to_owned(),
        cause,
    }
}
