//! Files and folders between this machine and a droplet, for `dewpoint cp`.
//!
//! In comes a path on either side; out comes the same file or folder on the other, as `cp -pR` would
//! have made it: modes and times kept, owners not, links below a folder as links, a link that is named
//! as what it leads to. Contents stream through an archive: neither side needs room for more than the
//! files themselves.
//!
//! **Invariant:** what arrives is unpacked beside its place and moved there when all of it has come, so
//! that a file is whole or not there.
//!
//! **Invariant:** nothing a droplet sends is written outside the place that was named: no path leads
//! out, and no link is gone through but the one that was named.

mod error;
mod incoming;
mod outgoing;
mod pieces;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use camino::Utf8Path;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

pub use error::CopyError;

use super::connect::Session;
use super::exec::{Status, printable};
use super::output::Stream;
use super::shell::quote;

/// How much may be under way between the archive and the connection.
const BETWEEN_BYTES: usize = 256 * 1024;
/// The same as pieces that a droplet sends, each of some 32 KiB.
const BETWEEN_PIECES: usize = 16;
/// Of what a droplet complains about, this much is kept.
const LONGEST_COMPLAINT_BYTES: usize = 16 * 1024;

/// Name of what is copied in the archive that is sent: so it needs no quoting over there.
const DATA: &str = "data";
/// Last entry of the archive that is sent: without it, the connection broke.
const END: &str = "end";
/// Last line after the archive that comes: without it, the connection broke.
const COMPLETE: &str = "complete";

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Files and links, folders not counted.
    pub files: u64,
    /// Their contents, all told.
    pub bytes: u64,
    /// Where it is now, on the other side.
    pub place: String,
    /// What cannot be carried, in the order it was met: sockets, pipes and devices.
    pub left_out: Vec<String>,
    /// What the droplet's `tar` says of files that changed while they were read.
    pub warnings: String,
}

/// What a copy is told from outside, and tells.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// How many bytes of contents have passed so far.
    pub bytes: Arc<AtomicU64>,
    /// Ends it; nothing of it is left then.
    pub stop: CancellationToken,
}

impl Watched {
    fn passed(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What a path stands for on its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

/// The last part of a path, by which it is called in a folder. `None` where the path names a folder's
/// contents: `.`, `..`, `/`, nothing, or something that ends in one of them.
fn name_of(path: &str) -> Option<&str> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    (!matches!(name, "" | "." | "..")).then_some(name)
}

/// Copies a file or a folder of this machine to a droplet. A folder that is there already takes it in
/// under its own name, and keeps what it has beside; else `to` is what it becomes. A relative path
/// begins at the user's home.
///
/// # Errors
/// When something cannot be read, the droplet does not take it, or [`Watched::stop`] ended it. Nothing
/// of it is left on the droplet then; of a folder that went into one that was there, what was already
/// moved is whole.
pub async fn send(
    session: &Session,
    from: &Utf8Path,
    to: &str,
    watched: &Watched,
) -> Result<Carried, CopyError> {
    let kind = outgoing::kind(from)?;
    let script = scripts::receive(to, name_of(from.as_str()), kind);
    let doing = format!("copying {from} to it");
    let (writer, reader) = tokio::io::duplex(BETWEEN_BYTES);
    let packing = {
        let (from, watched) = (from.to_owned(), watched.clone());
        let writer = SyncIoBridge::new(writer);
        tokio::task::spawn_blocking(move || outgoing::pack(&from, writer, &watched))
    };
    let said = tokio::select! {
        said = session.sh(&script, &doing, reader) => Some(said),
        () = watched.stop.cancelled() => None,
    };
    // It has ended, or meets a pipe that nobody reads any more.
    let packed = ended(packing.await);
    let Some(said) = said else {
        return Err(CopyError::Stopped);
    };
    let said = said?;
    match (said.status, packed) {
        // What could not be read here is why the droplet got no end.
        (_, Err(outgoing::Broken::Here(error))) => Err(error),
        (Status::Exit(0), Ok(carried)) => Ok(Carried {
            place: printable(&said.out),
            ..carried
        }),
        (status, _) => Err(scripts::failure(
            session.label(),
            to,
            &status,
            &printable(&said.out),
            &said.err,
            || session.failed(&doing, &status.to_string(), &said.err),
        )),
    }
}

/// Copies a file or a folder of a droplet to this machine; as [`send`] the other way.
///
/// # Errors
/// As [`send`]; and when the droplet sends what is no copy of a file or a folder.
pub async fn fetch(
    session: &Session,
    from: &str,
    to: &Utf8Path,
    watched: &Watched,
) -> Result<Carried, CopyError> {
    let doing = format!("copying {from} from it");
    let command = format!("exec sh -c {}", quote(&scripts::give(from)));
    let (pieces, received) = mpsc::channel(BETWEEN_PIECES);
    let unpacking = {
        let (label, to, watched) = (session.label().to_owned(), to.to_owned(), watched.clone());
        let name = name_of(from).map(str::to_owned);
        tokio::task::spawn_blocking(move || {
            incoming::unpack(received, name.as_deref(), &to, &label, &watched)
        })
    };
    let mut complaint = Vec::new();
    let passing = async {
        let mut exec = session.exec(&command, &doing).await?;
        // Moved in: the thread reads an end when this future is done, or dropped.
        let pieces = pieces;
        while let Some((stream, bytes)) = exec.next().await? {
            if stream == Stream::Err {
                complaint.extend_from_slice(&bytes);
                let surplus = complaint.len().saturating_sub(LONGEST_COMPLAINT_BYTES);
                complaint.drain(..surplus);
            } else if pieces.send(bytes).await.is_err() {
                // The thread has met what it cannot take, and says it.
                return Ok(None);
            }
        }
        exec.finish().map(Some)
    };
    let passed = tokio::select! {
        passed = passing => Some(passed),
        () = watched.stop.cancelled() => None,
    };
    let unpacked = ended(unpacking.await);
    let Some(passed) = passed else {
        return Err(CopyError::Stopped);
    };
    let complaint = printable(&complaint);
    match passed? {
        // 1: something changed while it was read, which is said.
        Some(Status::Exit(0 | 1)) if !matches!(unpacked, Ok(None)) => {}
        None => {}
        Some(status) => {
            return Err(scripts::failure(
                session.label(),
                from,
                &status,
                from,
                &complaint,
                || session.failed(&doing, &status.to_string(), &complaint),
            ));
        }
    }
    let unpacked = unpacked?.ok_or_else(|| CopyError::archive(session.label(), "it is empty"))?;
    let carried = ended(tokio::task::spawn_blocking(move || unpacked.install()).await)?;
    Ok(Carried {
        warnings: complaint.trim_end().to_owned(),
        ..carried
    })
}

/// What a thread came to; a panic of it is one of ours.
fn ended<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_itself_or_what_is_in_it() {
        for (path, name) in [
            ("a", Some("a")),
            ("/opt/app/", Some("app")),
            ("x/..", None),
            ("x/.", None),
            (".", None),
            ("", None),
            ("/", None),
            ("./.env", Some(".env")),
        ] {
            assert_eq!(name_of(path), name, "{path:?}");
        }
    }
}
