//! Files of this side that a recipe puts on a builder, and the digest that stands for them.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::connect::Session;
use super::error::GuestError;
use super::exec::Status;
use super::pack::{self, Packed};
use super::shell::quote;
use super::sync::{SyncReport, on_a_thread};
use super::target;
use super::tree::{self, Choice, Entry, Found, Tree};
use crate::digest::Digest;

/// Exit code of the script: a folder is where a file should go.
const IS_FOLDER: i32 = 8;

/// Digests a file or a folder with all below it: relative paths in sorted order, kinds, contents,
/// targets of links, and of modes whether a file can be executed. Owners, times and the rest of the
/// modes do not count, so that the same files have the same digest on every machine. A folder's
/// `.git` and `.dewpoint` are left out; `.gitignore` is not heeded, for what is copied was named.
///
/// # Errors
/// When something cannot be read, has a name that is not UTF-8, or is neither file nor folder.
pub fn copy_digest(path: &Utf8Path) -> Result<Digest, GuestError> {
    Ok(copied(path)?.digest())
}

/// What a recipe copies, wherever it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    /// A file on its own.
    File(Entry),
    /// A folder: all below it, by path relative to it; each folder stands for itself.
    Folder(BTreeMap<String, Entry>),
}

impl Copied {
    /// The digest that stands for it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::File(entry) => file_digest(entry.clone()),
            Self::Folder(entries) => digest("folder", entries),
        }
    }

    /// Whether something of that path in a folder is never copied.
    #[must_use]
    pub fn leaves_out(path: &str) -> bool {
        path.split('/').any(|part| tree::NEVER.contains(&part))
    }
}

/// Reads what a recipe would copy; see [`copy_digest`] for what counts of it.
///
/// # Errors
/// As [`copy_digest`].
pub fn copied(path: &Utf8Path) -> Result<Copied, GuestError> {
    let path = real(path)?;
    if path.is_dir() {
        let tree = Tree::read(&path, Choice::AllButOurs)?;
        return Ok(Copied::Folder(tree.entries));
    }
    match tree::look(&path)? {
        Found::Entry(entry) => Ok(Copied::File(entry)),
        Found::Special => Err(GuestError::SourceKind { path }),
        Found::Nothing => Err(gone(&path)),
    }
}

/// Puts a file or a folder on a droplet, if it is still what `expected` stands for. A file becomes
/// `to` itself, or goes into it if `to` ends in `/`; a folder's contents are laid into `to`, beside
/// what is there. Files are root's, 0644 or 0755.
///
/// # Errors
/// [`GuestError::CopyChanged`] before anything is sent; when the target is none, or the droplet
/// does not take it.
pub async fn copy_to(
    session: &Session,
    from: &Utf8Path,
    to: &str,
    expected: &Digest,
) -> Result<SyncReport, GuestError> {
    let path = to.strip_suffix('/').unwrap_or(to);
    target::check(path)?;
    let copy = {
        let from = from.to_owned();
        on_a_thread(move || pack_copy(&from)).await?
    };
    if copy.digest != *expected {
        return Err(GuestError::CopyChanged {
            path: from.to_owned(),
        });
    }
    let doing = format!("copying to {path}");
    let script = copy_script(path, copy.file_name.as_deref(), to.ends_with('/'));
    let files = copy.packed.entries.values();
    let sent = files.filter(|entry| **entry != Entry::Folder).count();
    let report = SyncReport {
        files: sent,
        sent,
        deleted: 0,
        bytes_sent: script.len() as u64 + copy.packed.length,
        round_trips: 1,
        left_out: copy.left_out,
    };
    let input = tokio::fs::File::from_std(copy.packed.archive);
    let said = session.sh(&script, &doing, input).await?;
    match said.status {
        Status::Exit(0) => Ok(report),
        Status::Exit(IS_FOLDER) => Err(target::bad(
            to,
            "a folder is there; end the path in `/` to copy into it",
        )),
        status => Err(session.failed(&doing, &status.to_string(), &said.err)),
    }
}

/// What is copied, packed, and the digest of exactly that.
struct Copy {
    packed: Packed,
    digest: Digest,
    /// The file's own name, if it is one and no folder.
    file_name: Option<String>,
    left_out: Vec<String>,
}

fn pack_copy(path: &Utf8Path) -> Result<Copy, GuestError> {
    let path = &real(path)?;
    let meta = path
        .metadata()
        .map_err(|cause| tree::read_error(path, cause))?;
    if meta.is_dir() {
        let tree = Tree::read(path, Choice::AllButOurs)?;
        let packed = pack::pack(path, tree.entries.keys().map(String::as_str))?;
        let digest = digest("folder", &packed.entries);
        return Ok(Copy {
            packed,
            digest,
            file_name: None,
            left_out: tree.left_out,
        });
    }
    if !meta.is_file() {
        return Err(GuestError::SourceKind { path: path.clone() });
    }
    let (parent, name) = tree::split_file(path);
    let packed = pack::pack(&parent, [name.as_str()])?;
    let Some(entry) = packed.entries.get(&name) else {
        return Err(gone(path));
    };
    let digest = file_digest(entry.clone());
    Ok(Copy {
        packed,
        digest,
        file_name: Some(name),
        left_out: Vec::new(),
    })
}

/// A link that was named stands for what it leads to; links below a folder are copied as such.
fn real(path: &Utf8Path) -> Result<Utf8PathBuf, GuestError> {
    path.canonicalize_utf8()
        .map_err(|cause| tree::read_error(path, cause))
}

fn gone(path: &Utf8Path) -> GuestError {
    tree::read_error(path, std::io::ErrorKind::NotFound.into())
}

/// Only where it goes counts, not what it is called here.
fn file_digest(entry: Entry) -> Digest {
    digest("file", &BTreeMap::from([(String::new(), entry)]))
}

fn digest(kind: &str, entries: &BTreeMap<String, Entry>) -> Digest {
    let mut text = format!("dewpoint-copy-v1 {kind}\0");
    for (path, entry) in entries {
        // Every part ends in a zero byte, which none of them can hold.
        let (kind, content) = match entry {
            Entry::Folder => ("folder", String::new()),
            Entry::File {
                executable, sha256, ..
            } => (
                if *executable { "executable" } else { "file" },
                hex::encode(sha256),
            ),
            Entry::Link { target } => ("link", target.clone()),
        };
        text.push_str(&format!("{path}\0{kind}\0{content}\0"));
    }
    Digest::of_bytes(text.as_bytes())
}

/// A file is unpacked beside its place and moved there, so that it is whole or not there.
fn copy_script(path: &str, file: Option<&str>, into: bool) -> String {
    let to = quote(path);
    let Some(name) = file else {
        return format!(
            "set -eu\numask 022\nmkdir -p -- {to}\ncd -- {to}\n\
             exec tar -xzmf - --no-same-owner --no-overwrite-dir --keep-directory-symlink"
        );
    };
    let name = quote(name);
    let place = if into {
        format!("folder={to}; name={name}")
    } else {
        format!("to={to}; folder=${{to%/*}}; folder=${{folder:-/}}; name=${{to##*/}}")
    };
    format!(
        r#"set -eu
umask 022
{place}
mkdir -p -- "$folder"
cd -- "$folder"
if [ -d "./$name" ]; then exit {IS_FOLDER}; fi
work=$(mktemp -d ./.dewpoint.XXXXXXXX)
trap 'rm -rf -- "$work"' EXIT
tar -xzmf - --no-same-owner -C "$work"
mv -f -- "$work"/{name} "./$name""#
    )
}
