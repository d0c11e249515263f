//! Files of this side as a compressed archive, and exactly what went into it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use camino::Utf8Path;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::error::GuestError;
use super::tree::{self, Entry};

/// Files up to this size are read whole before their header is written, so that one that shrinks
/// meanwhile does no harm.
const READ_WHOLE_BYTES: u64 = 8 * 1024 * 1024;

/// An archive that stands ready, in a file without a name.
pub(super) struct Packed {
    pub(super) archive: File,
    pub(super) length: u64,
    /// What is in it: not what was there when the folder was read, but when it was packed.
    pub(super) entries: BTreeMap<String, Entry>,
}

/// Packs these paths of a folder as they are now. What is gone is left out.
pub(super) fn pack<'a>(
    folder: &Utf8Path,
    paths: impl IntoIterator<Item = &'a str>,
) -> Result<Packed, GuestError> {
    let spool = tempfile::tempfile().map_err(spool_error)?;
    let mut builder = Builder::new(GzEncoder::new(
        io::BufWriter::new(spool),
        Compression::fast(),
    ));
    let mut entries = BTreeMap::new();
    for path in paths {
        if let Some(entry) = append(&mut builder, &folder.join(path), path)? {
            entries.insert(path.to_owned(), entry);
        }
    }
    let mut archive = builder
        .into_inner()
        .and_then(GzEncoder::finish)
        .and_then(|buffer| buffer.into_inner().map_err(io::Error::other))
        .map_err(spool_error)?;
    let length = archive.stream_position().map_err(spool_error)?;
    archive.seek(SeekFrom::Start(0)).map_err(spool_error)?;
    Ok(Packed {
        archive,
        length,
        entries,
    })
}

fn append(
    builder: &mut Builder<impl io::Write>,
    from: &Utf8Path,
    path: &str,
) -> Result<Option<Entry>, GuestError> {
    let Some(meta) = tree::present(from, from.symlink_metadata())? else {
        return Ok(None);
    };
    if meta.is_dir() {
        let mut header = header(&Entry::Folder, EntryType::Directory, 0);
        builder
            .append_data(&mut header, format!("{path}/"), io::empty())
            .map_err(spool_error)?;
        return Ok(Some(Entry::Folder));
    }
    if meta.is_symlink() {
        let Some(entry) = tree::link(from)? else {
            return Ok(None);
        };
        if let Entry::Link { target } = &entry {
            let mut header = header(&entry, EntryType::Symlink, 0);
            builder
                .append_link(&mut header, path, target)
                .map_err(spool_error)?;
        }
        return Ok(Some(entry));
    }
    if !meta.is_file() {
        return Ok(None);
    }
    let Some(mut file) = tree::present(from, tree::open(from))? else {
        return Ok(None);
    };
    let meta = file
        .metadata()
        .map_err(|cause| tree::read_error(from, cause))?;
    if !meta.is_file() {
        return Ok(None);
    }
    let mut entry = Entry::File {
        executable: tree::is_executable(&meta),
        size: meta.len(),
        sha256: [0; 32],
    };
    let mut hash = Sha256::new();
    if meta.len() <= READ_WHOLE_BYTES {
        let mut content = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
        file.by_ref()
            .take(READ_WHOLE_BYTES)
            .read_to_end(&mut content)
            .map_err(|cause| tree::read_error(from, cause))?;
        hash.update(&content);
        let mut header = header(&entry, EntryType::Regular, content.len() as u64);
        builder
            .append_data(&mut header, path, content.as_slice())
            .map_err(spool_error)?;
        if let Entry::File { size, .. } = &mut entry {
            *size = content.len() as u64;
        }
    } else {
        let mut header = header(&entry, EntryType::Regular, meta.len());
        let whole = Whole {
            file,
            hash: &mut hash,
            left: meta.len(),
        };
        builder
            .append_data(&mut header, path, whole)
            .map_err(|cause| tree::read_error(from, cause))?;
    }
    if let Entry::File { sha256, .. } = &mut entry {
        *sha256 = hash.finalize().into();
    }
    Ok(Some(entry))
}

fn header(entry: &Entry, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(entry.mode());
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A large file, digested on its way: exactly as long as its header says. What it lost meanwhile
/// is made up with zeros; the digest is that of what was sent, so the next sync sends it anew.
struct Whole<'a> {
    file: File,
    hash: &'a mut Sha256,
    left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let mut count = self.file.read(&mut buffer[..most])?;
        if count == 0 {
            buffer[..most].fill(0);
            count = most;
        }
        self.hash.update(&buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

fn spool_error(cause: io::Error) -> GuestError {
    GuestError::Write {
        path: std::env::temp_dir()
            .try_into()
            .unwrap_or_else(|_| "the folder for temporary files".into()),
        cause,
    }
}
