//! A file or a folder of this machine as an archive that streams.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use tar::{Builder, EntryType, Header};

use super::{Carried, CopyError, DATA, END, Kind, Watched};
use crate::guest::tree;

/// What this side is called in messages.
pub(super) const HERE: &str = "this machine";

/// What is at a path; a link that is named stands for what it leads to.
pub(super) fn kind(from: &Utf8Path) -> Result<Kind, CopyError> {
    let meta = match from.metadata() {
        Ok(meta) => meta,
        Err(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Err(CopyError::Missing {
                path: from.to_string(),
                side: HERE.to_owned(),
            });
        }
        Err(cause) => return Err(read_error(from, cause)),
    };
    if meta.is_dir() {
        Ok(Kind::Folder)
    } else if meta.is_file() {
        // A droplet must not be asked for its place in vain.
        File::open(from).map_err(|cause| read_error(from, cause))?;
        Ok(Kind::File)
    } else {
        Err(CopyError::Kind {
            path: from.to_string(),
            side: HERE.to_owned(),
        })
    }
}

/// Why there is no whole archive.
pub(super) enum Broken {
    /// Something of this side.
    Here(CopyError),
    /// Nobody reads it any more: the other side says why.
    Pipe,
}

/// Writes the archive, and its end only when all before it is right.
pub(super) fn pack(
    from: &Utf8Path,
    writer: impl Write,
    watched: &Watched,
) -> Result<Carried, Broken> {
    let from = from
        .canonicalize_utf8()
        .map_err(|cause| broken(from, cause))?;
    let mut packer = Packer {
        builder: Builder::new(BufWriter::with_capacity(64 * 1024, writer)),
        carried: Carried::default(),
        watched,
    };
    packer.entry(&from, DATA)?;
    let mut end = Header::new_gnu();
    end.set_entry_type(EntryType::Regular);
    end.set_mode(0o600);
    end.set_size(0);
    packer
        .builder
        .append_data(&mut end, END, io::empty())
        .map_err(|_pipe| Broken::Pipe)?;
    let mut buffer = packer.builder.into_inner().map_err(|_pipe| Broken::Pipe)?;
    buffer.flush().map_err(|_pipe| Broken::Pipe)?;
    Ok(packer.carried)
}

struct Packer<'a, W: Write> {
    builder: Builder<W>,
    carried: Carried,
    watched: &'a Watched,
}

impl<W: Write> Packer<'_, W> {
    fn entry(&mut self, from: &Utf8Path, path: &str) -> Result<(), Broken> {
        let meta = from
            .symlink_metadata()
            .map_err(|cause| broken(from, cause))?;
        if meta.is_dir() {
            let mut header = self.header(&meta, EntryType::Directory, 0)?;
            self.builder
                .append_data(&mut header, format!("{path}/"), io::empty())
                .map_err(|_pipe| Broken::Pipe)?;
            let mut names = Vec::new();
            for entry in from.read_dir_utf8().map_err(|cause| broken(from, cause))? {
                let entry = entry.map_err(|cause| broken(from, cause))?;
                names.push(entry.file_name().to_owned());
            }
            names.sort();
            for name in names {
                self.entry(&from.join(&name), &format!("{path}/{name}"))?;
            }
        } else if meta.is_symlink() {
            let target = std::fs::read_link(from).map_err(|cause| broken(from, cause))?;
            let mut header = self.header(&meta, EntryType::Symlink, 0)?;
            self.builder
                .append_link(&mut header, path, target)
                .map_err(|_pipe| Broken::Pipe)?;
            self.carried.files += 1;
        } else if meta.is_file() {
            self.file(from, path)?;
        } else {
            self.carried.left_out.push(from.to_string());
        }
        Ok(())
    }

    fn file(&mut self, from: &Utf8Path, path: &str) -> Result<(), Broken> {
        let file = tree::open(from).map_err(|cause| broken(from, cause))?;
        // Of what was opened: another file may have its name by now.
        let meta = file.metadata().map_err(|cause| broken(from, cause))?;
        let mut header = self.header(&meta, EntryType::Regular, meta.len())?;
        let mut content = Content {
            file,
            left: meta.len(),
            has_shrunk: false,
            failed: None,
            watched: self.watched,
        };
        let appended = self.builder.append_data(&mut header, path, &mut content);
        if content.has_shrunk {
            return Err(Broken::Here(CopyError::Shrank {
                path: from.to_owned(),
            }));
        }
        if let Some(cause) = content.failed {
            return Err(broken(from, cause));
        }
        appended.map_err(|_pipe| Broken::Pipe)?;
        self.carried.files += 1;
        self.carried.bytes += meta.len();
        Ok(())
    }

    /// A header, and before it what it has no room for: the fraction of a second.
    fn header(&mut self, meta: &Metadata, kind: EntryType, size: u64) -> Result<Header, Broken> {
        let seconds = meta.mtime();
        if meta.mtime_nsec() != 0 && seconds >= 0 {
            let time = format!("{seconds}.{:09}", meta.mtime_nsec());
            self.builder
                .append_pax_extensions([("mtime", time.as_bytes())])
                .map_err(|_pipe| Broken::Pipe)?;
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        // Whose it is does not come along, so what runs as its owner must not either.
        header.set_mode(meta.mode() & 0o777);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(seconds).unwrap_or_default());
        Ok(header)
    }
}

/// Exactly as much of a file as its header says.
struct Content<'a> {
    file: File,
    left: u64,
    has_shrunk: bool,
    failed: Option<io::Error>,
    watched: &'a Watched,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..most]) {
            Ok(0) => {
                self.has_shrunk = true;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.left -= count as u64;
                self.watched.passed(count);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

fn read_error(path: &Utf8Path, cause: io::Error) -> CopyError {
    CopyError::Read {
        path: path.to_owned(),
        cause,
    }
}

fn broken(path: &Utf8Path, cause: io::Error) -> Broken {
    Broken::Here(read_error(path, cause))
}
