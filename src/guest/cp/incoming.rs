//! What a droplet sends, onto this machine: beside its place, and there when it is whole.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, futimens, linkat, mkdirat,
    openat, symlinkat, utimensat,
};
use rustix::io::Errno;
use tar::{Archive, EntryType};
use tokio::sync::mpsc;

use super::outgoing::HERE;
use super::pieces::{Measured, Pieces};
use super::{COMPLETE, Carried, CopyError, DATA, Kind, Watched};

/// What names and attributes between two entries may take: they are read whole, and a path has 4 KiB at
/// most.
const BETWEEN_ENTRIES_BYTES: u64 = 256 * 1024;

/// What has come, in a folder beside its place. Dropped, it is gone.
pub(super) struct Unpacked {
    work: tempfile::TempDir,
    kind: Kind,
    place: PathBuf,
    carried: Carried,
}

/// Unpacks what comes. `None` when nothing came: then the droplet says why.
pub(super) fn unpack(
    received: mpsc::Receiver<Bytes>,
    name: Option<&str>,
    to: &Utf8Path,
    label: &str,
    watched: &Watched,
) -> Result<Option<Unpacked>, CopyError> {
    let mut pieces = Pieces::new(received);
    let kind = match pieces.line().as_deref() {
        None => return Ok(None),
        Some(b"file") => Kind::File,
        Some(b"folder") => Kind::Folder,
        Some(_) => return Err(CopyError::archive(label, "it begins with something else")),
    };
    let (place, folder) = place(to, name, kind)?;
    let work = tempfile::Builder::new()
        .prefix(".dewpoint.")
        .tempdir_in(&folder)
        .map_err(|cause| write_error(&folder, cause))?;
    let mut unpacker = Unpacker {
        root: work.path().to_owned(),
        folders: Vec::new(),
        carried: Carried::default(),
        label,
        watched,
    };
    unpacker.all(pieces, kind)?;
    Ok(Some(Unpacked {
        carried: unpacker.carried,
        work,
        kind,
        place,
    }))
}

/// Where it goes, and the folder it is unpacked in until then.
fn place(
    to: &Utf8Path,
    name: Option<&str>,
    kind: Kind,
) -> Result<(PathBuf, Utf8PathBuf), CopyError> {
    let mut place = to.to_owned();
    if to.is_dir() {
        if let Some(name) = name {
            place = to.join(name);
        }
    } else if to.as_str().ends_with('/') {
        return Err(no_folder(to));
    }
    if kind == Kind::File && place.is_file() {
        // A link that is named leads to what is written, as it does for `cp`.
        place = place
            .canonicalize_utf8()
            .map_err(|cause| write_error(&place, cause))?;
    }
    match (kind, place.is_dir(), place.exists()) {
        (Kind::File, true, _) => return Err(in_the_way(place.as_std_path(), "folder", "file")),
        (Kind::Folder, true, _) => return Ok((place.clone().into(), place)),
        (Kind::Folder, false, true) => {
            return Err(in_the_way(place.as_std_path(), "file", "folder"));
        }
        _ => {}
    }
    let folder = match place.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent.to_owned(),
        _ => Utf8PathBuf::from("."),
    };
    if !folder.is_dir() {
        return Err(no_folder(&folder));
    }
    Ok((place.into(), folder))
}

struct Unpacker<'a> {
    /// Where everything goes, and nothing beside it.
    root: PathBuf,
    /// Modes and times of folders: they would keep what goes into them out, and change by it.
    folders: Vec<(Vec<OsString>, u32, Timestamps)>,
    carried: Carried,
    label: &'a str,
    watched: &'a Watched,
}

impl Unpacker<'_> {
    fn all(&mut self, pieces: Pieces, kind: Kind) -> Result<(), CopyError> {
        let budget = Rc::new(Cell::new(BETWEEN_ENTRIES_BYTES));
        let reader = Measured {
            inner: pieces,
            budget: Rc::clone(&budget),
        };
        let mut archive = Archive::new(reader);
        let mut is_there = false;
        for entry in archive.entries().map_err(|cause| self.bad(cause))? {
            let mut entry = entry.map_err(|cause| self.bad(cause))?;
            // Contents, what fills their last block, and what comes before the next ones.
            let contents = entry.size().saturating_add(BETWEEN_ENTRIES_BYTES);
            budget.set(contents);
            let path = parts(&entry.path_bytes()).ok_or_else(|| {
                CopyError::archive(self.label, "a path in it leads out of the folder")
            })?;
            let path = match (kind, path.as_slice()) {
                (Kind::File, [_]) if !is_there => vec![OsString::from(DATA)],
                (Kind::File, _) => {
                    return Err(CopyError::archive(self.label, "it is not the one file"));
                }
                (Kind::Folder, path) => {
                    let mut whole = vec![OsString::from(DATA)];
                    whole.extend_from_slice(path);
                    whole
                }
            };
            is_there = true;
            self.entry(&mut entry, &path)?;
            budget.set(budget.get().max(BETWEEN_ENTRIES_BYTES));
        }
        if !is_there {
            return Err(CopyError::archive(self.label, "there is nothing in it"));
        }
        // What fills the archive's last record, and the word that it was the last.
        budget.set(BETWEEN_ENTRIES_BYTES);
        let mut rest = Vec::new();
        let read = archive.into_inner().read_to_end(&mut rest);
        read.map_err(|cause| self.bad(cause))?;
        if !rest.ends_with(format!("{COMPLETE}\n").as_bytes()) {
            return Err(CopyError::archive(self.label, "its end is missing"));
        }
        for (path, mode, times) in std::mem::take(&mut self.folders).into_iter().rev() {
            let set = |errno: Errno| write_error_at(&self.at(&path), errno.into());
            let folder = File::from(self.open_folder(&path, false).map_err(set)?);
            futimens(&folder, &times).map_err(set)?;
            folder
                .set_permissions(Permissions::from_mode(mode))
                .map_err(|cause| write_error_at(&self.at(&path), cause))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &[OsString],
    ) -> Result<(), CopyError> {
        let header = entry.header();
        let kind = header.entry_type();
        // What runs as its owner must not become ours.
        let mode = header.mode().map_err(|cause| self.bad(cause))? & 0o777;
        let seconds = header.mtime().map_err(|cause| self.bad(cause))?;
        let times = times(entry, seconds).map_err(|cause| self.bad(cause))?;
        let failed = |errno: Errno| write_error_at(&self.at(path), errno.into());
        let (name, parents) = path.split_last().expect("it begins with its root");
        match kind {
            EntryType::Directory => {
                drop(self.open_folder(path, true).map_err(failed)?);
                self.folders.push((path.to_vec(), mode, times));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let parent = self.open_folder(parents, true).map_err(failed)?;
                let file = openat(
                    parent.as_fd(),
                    name.as_os_str(),
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o600),
                )
                .map_err(failed)?;
                let mut file = File::from(file);
                self.fill(&mut file, entry, path)?;
                let failed = |cause: io::Error| write_error_at(&self.at(path), cause);
                futimens(&file, &times).map_err(|errno| failed(errno.into()))?;
                file.set_permissions(Permissions::from_mode(mode))
                    .map_err(failed)?;
                self.carried.files += 1;
            }
            EntryType::Symlink => {
                let parent = self.open_folder(parents, true).map_err(failed)?;
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = OsStr::from_bytes(&target);
                symlinkat(target, parent.as_fd(), name.as_os_str()).map_err(failed)?;
                utimensat(
                    parent.as_fd(),
                    name.as_os_str(),
                    &times,
                    AtFlags::SYMLINK_NOFOLLOW,
                )
                .map_err(failed)?;
                self.carried.files += 1;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = parts(&target).filter(|target| !target.is_empty());
                let target = target.ok_or_else(|| {
                    CopyError::archive(self.label, "a link in it leads out of the folder")
                })?;
                let (target, above) = target.split_last().expect("it is not empty");
                let mut whole = vec![OsString::from(DATA)];
                whole.extend_from_slice(above);
                let from = self.open_folder(&whole, false).map_err(failed)?;
                let parent = self.open_folder(parents, true).map_err(failed)?;
                linkat(
                    from.as_fd(),
                    target.as_os_str(),
                    parent.as_fd(),
                    name.as_os_str(),
                    AtFlags::empty(),
                )
                .map_err(failed)?;
                self.carried.files += 1;
            }
            _ => {
                let shown: PathBuf = path[1..].iter().collect();
                self.carried.left_out.push(shown.display().to_string());
            }
        }
        Ok(())
    }

    fn fill(
        &mut self,
        file: &mut File,
        content: &mut impl Read,
        path: &[OsString],
    ) -> Result<(), CopyError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = content.read(&mut buffer).map_err(|cause| self.bad(cause))?;
            if count == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..count])
                .map_err(|cause| write_error_at(&self.at(path), cause))?;
            self.carried.bytes += count as u64;
            self.watched.passed(count);
        }
    }

    /// Opens folder after folder and follows no link; makes what is missing, for us alone until its mode
    /// comes.
    fn open_folder(&self, path: &[OsString], makes: bool) -> Result<OwnedFd, Errno> {
        const FOLDER: OFlags = OFlags::DIRECTORY
            .union(OFlags::RDONLY)
            .union(OFlags::NOFOLLOW)
            .union(OFlags::CLOEXEC);
        let mut folder = openat(CWD, &self.root, FOLDER, Mode::empty())?;
        for part in path {
            if makes {
                match mkdirat(folder.as_fd(), part.as_os_str(), Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
            folder = openat(folder.as_fd(), part.as_os_str(), FOLDER, Mode::empty())?;
        }
        Ok(folder)
    }

    fn at(&self, path: &[OsString]) -> PathBuf {
        let mut at = self.root.clone();
        at.extend(path);
        at
    }

    fn bad(&self, cause: io::Error) -> CopyError {
        CopyError::archive(self.label, cause)
    }
}

impl Unpacked {
    /// Moves it to its place.
    pub(super) fn install(self) -> Result<Carried, CopyError> {
        let from = self.work.path().join(DATA);
        if self.kind == Kind::Folder && self.place.is_dir() {
            refuse_conflicts(&from, &self.place)?;
            merge(&from, &self.place)?;
        } else {
            std::fs::rename(&from, &self.place)
                .map_err(|cause| write_error_at(&self.place, cause))?;
        }
        Ok(Carried {
            place: self.place.display().to_string(),
            ..self.carried
        })
    }
}

/// Looks, before anything is moved, whether a file would take a folder's place or the reverse. A link
/// of this side is no folder here: a droplet does not write through it.
fn refuse_conflicts(from: &Path, into: &Path) -> Result<(), CopyError> {
    for entry in listed(from)? {
        let there = into.join(entry.file_name());
        let Ok(found) = there.symlink_metadata() else {
            continue;
        };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match (is_folder, found.is_dir()) {
            (true, true) => refuse_conflicts(&entry.path(), &there)?,
            (true, false) => {
                let kind = if found.is_symlink() { "link" } else { "file" };
                return Err(in_the_way(&there, kind, "folder"));
            }
            (false, true) => return Err(in_the_way(&there, "folder", "file")),
            (false, false) => {}
        }
    }
    Ok(())
}

fn merge(from: &Path, into: &Path) -> Result<(), CopyError> {
    // It goes away, and what is in it could not leave a folder that nobody may write.
    std::fs::set_permissions(from, Permissions::from_mode(0o700))
        .map_err(|cause| write_error_at(from, cause))?;
    for entry in listed(from)? {
        let there = into.join(entry.file_name());
        let both = there.symlink_metadata().is_ok_and(|found| found.is_dir());
        if both && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            merge(&entry.path(), &there)?;
        } else {
            std::fs::rename(entry.path(), &there).map_err(|cause| write_error_at(&there, cause))?;
        }
    }
    Ok(())
}

fn listed(folder: &Path) -> Result<Vec<std::fs::DirEntry>, CopyError> {
    std::fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(|cause| write_error_at(folder, cause))
}

/// The parts of a path that stays below where it begins.
fn parts(path: &[u8]) -> Option<Vec<OsString>> {
    if path.starts_with(b"/") || path.contains(&0) {
        return None;
    }
    let parts = path.split(|&byte| byte == b'/');
    let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
    parts
        .map(|part| (part != b"..").then(|| OsString::from_vec(part.to_vec())))
        .collect()
}

/// When it was changed, to the nanosecond where the droplet says it.
fn times(entry: &mut tar::Entry<'_, impl Read>, seconds: u64) -> io::Result<Timestamps> {
    let mut time = (i64::try_from(seconds).unwrap_or_default(), 0);
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            if extension.key() == Ok("mtime")
                && let Ok(text) = extension.value()
                && let Some(exact) = exact_time(text)
            {
                time = exact;
            }
        }
    }
    let (tv_sec, tv_nsec) = time;
    Ok(Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec { tv_sec, tv_nsec },
    })
}

/// Seconds with a fraction, as pax writes them.
fn exact_time(text: &str) -> Option<(i64, i64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    // Before 1970 the fraction goes the other way.
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds - 1, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

fn in_the_way(path: &Path, found: &'static str, wanted: &'static str) -> CopyError {
    CopyError::InTheWay {
        path: path.display().to_string(),
        side: HERE.to_owned(),
        found,
        wanted,
    }
}

fn no_folder(path: &Utf8Path) -> CopyError {
    CopyError::NoFolder {
        path: path.to_string(),
        side: HERE.to_owned(),
    }
}

fn write_error(path: &Utf8Path, cause: io::Error) -> CopyError {
    CopyError::Write {
        path: path.to_owned(),
        cause,
    }
}

fn write_error_at(path: &Path, cause: io::Error) -> CopyError {
    let path = path.to_string_lossy().into_owned();
    write_error(Utf8Path::new(&path), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out() {
        for bad in ["/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"] {
            assert_eq!(parts(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parts(b"./a//b/"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(parts(b"./"), Some(vec![]));
    }

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(exact_time("17.25"), Some((17, 250_000_000)));
        assert_eq!(exact_time("17"), Some((17, 0)));
        assert_eq!(exact_time("17.1234567899"), Some((17, 123_456_789)));
        assert_eq!(exact_time("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(exact_time("x"), None);
        assert_eq!(exact_time("1.x"), None);
    }
}
