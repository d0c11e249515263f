//! A folder of this side onto a droplet: only what changed is sent.
//!
//! What was sent is remembered on the droplet, beside how each file looked right after (mode, size,
//! time of last change). So one question tells what differs: what changed here, and what something
//! over there has changed since. One more command carries it all out: at most two round trips.
//! What a run made beside is not in that memory and is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;

use super::connect::Session;
use super::error::GuestError;
use super::exec::Status;
use super::pack::{self, Packed};
use super::shell::quote;
use super::target;
use super::tree::{self, Choice, Entry, Tree};

/// First word of what the droplet answers; another one means another version's memory.
const FORMAT: &str = "dewpoint-sync-1";
/// Exit code of [`apply_script`]: another sync came between.
const MOVED: i32 = 9;
/// Exit code of [`apply_script`]: the target turned out to be a folder of the system.
const SYSTEM: i32 = 8;

/// What a sync did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Files and links that are on the droplet now, folders not counted.
    pub files: usize,
    /// How many of them were sent.
    pub sent: usize,
    /// How many were deleted there.
    pub deleted: usize,
    /// Bytes sent, all told, before encryption.
    pub bytes_sent: u64,
    /// Commands it took, each a round trip.
    pub round_trips: u32,
    /// What could not be carried, sorted: sockets, pipes and devices; submodules of git whose
    /// address is not told.
    pub left_out: Vec<String>,
}

/// Brings a folder of this side onto a droplet, uncommitted changes too. What `.gitignore` files
/// name stays, as do `.git` and `.dewpoint`. Deletions are carried.
///
/// # Errors
/// When the folder cannot be read, a file name is not UTF-8, the target is none, or the droplet
/// does not take it.
pub async fn sync_path(
    session: &Session,
    folder: &Utf8Path,
    into: &str,
) -> Result<SyncReport, GuestError> {
    sync_folder(session, folder, Choice::NotIgnored, into, None).await
}

/// [`sync_path`], if the folder still holds exactly these files.
///
/// # Errors
/// [`GuestError::SourceMoved`] before anything is sent; those of [`sync_path`].
pub async fn sync_path_as(
    session: &Session,
    folder: &Utf8Path,
    into: &str,
    expected: &SourceFiles,
) -> Result<SyncReport, GuestError> {
    sync_folder(session, folder, Choice::NotIgnored, into, Some(expected)).await
}

/// The files of a folder, as [`sync_path`] brings them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFiles {
    /// By path relative to the folder: kind, size and the first half of the contents' SHA-256.
    pub files: BTreeMap<String, String>,
    /// A file that does not count and is not brought: the plan that is carried out may lie there.
    pub but_for: Option<String>,
}

impl SourceFiles {
    /// Reads a folder, but for one file.
    ///
    /// # Errors
    /// When it cannot be read, or a name in it is not UTF-8.
    pub fn read(folder: &Utf8Path, but_for: Option<String>) -> Result<Self, GuestError> {
        let mut tree = Tree::read(folder, Choice::NotIgnored)?;
        Self::leave_out(&mut tree, but_for.as_deref());
        let files = tree
            .entries
            .iter()
            .map(|(path, entry)| (path.clone(), looks_of(entry)))
            .collect();
        Ok(Self { files, but_for })
    }

    fn leave_out(tree: &mut Tree, but_for: Option<&str>) {
        if let Some(path) = but_for {
            tree.entries.remove(path);
        }
    }

    /// Takes what does not count out of a folder's contents, and refuses them when they are others.
    fn hold(&self, mut tree: Tree, folder: &Utf8Path) -> Result<Tree, GuestError> {
        Self::leave_out(&mut tree, self.but_for.as_deref());
        let is_same = tree.entries.len() == self.files.len()
            && tree
                .entries
                .iter()
                .all(|(path, entry)| self.files.get(path) == Some(&looks_of(entry)));
        if is_same {
            Ok(tree)
        } else {
            Err(moved(folder))
        }
    }
}

fn looks_of(entry: &Entry) -> String {
    entry.record("").trim_end().to_owned()
}

fn moved(folder: &Utf8Path) -> GuestError {
    GuestError::SourceMoved {
        path: folder.to_owned(),
    }
}

pub(super) async fn sync_folder(
    session: &Session,
    folder: &Utf8Path,
    choice: Choice,
    into: &str,
    expected: Option<&SourceFiles>,
) -> Result<SyncReport, GuestError> {
    target::check_folder(into)?;
    let reading = {
        let (folder, expected) = (folder.to_owned(), expected.cloned());
        on_a_thread(move || {
            let tree = Tree::read(&folder, choice)?;
            match expected {
                Some(expected) => expected.hold(tree, &folder),
                None => Ok(tree),
            }
        })
    };
    let doing = format!("bringing files to {into}");
    let question = look_script(into);
    let asking = session.sh_ok(&question, &doing, tokio::io::empty());
    let (tree, answer) = tokio::try_join!(reading, asking)?;
    let known = Known::parse(&answer).map_err(|cause| GuestError::BadArchive {
        label: session.label().to_owned(),
        cause,
    })?;

    let paths = to_send(&tree, &known);
    let packed = {
        let folder = folder.to_owned();
        on_a_thread(move || pack::pack(&folder, paths.iter().map(String::as_str))).await?
    };
    // Between reading and packing, too, nothing may have become another.
    let is_held = |(path, entry): (&String, &Entry)| tree.entries.get(path) == Some(entry);
    let sent = to_send(&tree, &known);
    if expected.is_some()
        && !(packed.entries.len() == sent.len() && packed.entries.iter().all(is_held))
    {
        return Err(moved(folder));
    }
    let change = Change::new(tree.entries, &known, &packed);
    let mut report = SyncReport {
        files: change.files,
        sent: not_folders(packed.entries.values()),
        deleted: change.deleted,
        bytes_sent: question.len() as u64,
        round_trips: 1,
        left_out: tree.left_out,
    };
    if change.is_nothing(&known, &packed) {
        return Ok(report);
    }
    let script = apply_script(into, &change);
    report.round_trips += 1;
    report.bytes_sent += script.len() as u64 + change.control.len() as u64 + packed.length;
    let archive = tokio::fs::File::from_std(packed.archive);
    let input = AsyncReadExt::chain(change.control.as_slice(), archive);
    let said = session.sh(&script, &doing, input).await?;
    match said.status {
        Status::Exit(0) => Ok(report),
        Status::Exit(MOVED) => {
            Err(session.failed(&doing, "another sync to the same folder came between", ""))
        }
        Status::Exit(SYSTEM) => Err(target::bad(into, "it leads to a folder of the system")),
        status => Err(session.failed(&doing, &status.to_string(), &said.err)),
    }
}

/// Runs what reads and digests files where it holds nothing else up.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GuestError> + Send + 'static,
) -> Result<T, GuestError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// What the droplet remembers.
#[derive(Debug, Default)]
struct Known {
    /// The records of what was sent. While an interrupted sync is unfinished: of before and after.
    records: BTreeSet<String>,
    /// Paths that do not look as they did after the last sync.
    drifted: BTreeSet<String>,
    is_unfinished: bool,
    /// There is no folder: it is made, even if nothing is in it.
    is_gone: bool,
}

impl Known {
    fn parse(answer: &[u8]) -> std::io::Result<Self> {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(answer)
            .take(512 * 1024 * 1024)
            .read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let mut parts = text.split_terminator('\0');
        let mut known = Self::default();
        if parts.next() != Some(FORMAT) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the answer is not that of a sync",
            ));
        }
        match parts.next() {
            Some("unfinished") => known.is_unfinished = true,
            Some("gone") => known.is_gone = true,
            _ => {}
        }
        // `MODE SIZE TIME PATH`, up to an empty one.
        for part in parts.by_ref().take_while(|part| !part.is_empty()) {
            known
                .drifted
                .extend(tree::path_of_record(part).map(ToOwned::to_owned));
        }
        known.records.extend(parts.map(ToOwned::to_owned));
        Ok(known)
    }
}

/// What must be sent, and every folder above it.
fn to_send(tree: &Tree, known: &Known) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (path, entry) in &tree.entries {
        let is_there = !known.is_unfinished
            && !known.drifted.contains(path)
            && known.records.contains(&entry.record(path));
        if !is_there {
            paths.extend(tree::parents(path).map(ToOwned::to_owned));
            paths.insert(path.clone());
        }
    }
    paths
}

fn not_folders<'a>(entries: impl Iterator<Item = &'a Entry>) -> usize {
    entries.filter(|entry| **entry != Entry::Folder).count()
}

/// What one command carries out.
#[derive(Debug)]
struct Change {
    /// The lists, one after the other, as they go over standard input before the archive.
    control: Vec<u8>,
    /// Their lengths, in the order of [`LISTS`].
    lengths: [usize; LISTS.len()],
    /// Digest of the records as they must be after.
    expected: String,
    files: usize,
    deleted: usize,
    is_same: bool,
}

/// The lists, by the names of their files on the droplet:
/// records to strike and to add; paths to delete; folders to delete, inner ones first; folders that
/// must be folders, outer ones first; paths that must not be folders.
const LISTS: [&str; 6] = ["gone", "added", "delete", "rmdir", "folders", "files"];

impl Change {
    fn new(wanted: BTreeMap<String, Entry>, known: &Known, packed: &Packed) -> Self {
        // What was packed is the truth: it may have changed since the folder was read.
        let mut entries = wanted;
        let sent = to_send(
            &Tree {
                entries: entries.clone(),
                left_out: Vec::new(),
            },
            known,
        );
        for path in sent {
            match packed.entries.get(&path) {
                Some(entry) => drop(entries.insert(path, entry.clone())),
                None => drop(entries.remove(&path)),
            }
        }
        let records = Tree::records(&entries);
        let gone: Vec<&str> = known
            .records
            .difference(&records)
            .map(String::as_str)
            .collect();
        let added: Vec<&str> = records
            .difference(&known.records)
            .map(String::as_str)
            .collect();
        let mut delete = BTreeSet::new();
        let mut rmdir = BTreeSet::new();
        for record in &gone {
            let Some(path) = tree::path_of_record(record) else {
                continue;
            };
            match entries.get(path) {
                // A file where a folder was, or the other way round, is dealt with as it is sent.
                Some(_) => {}
                None if record.starts_with("d ") => drop(rmdir.insert(path)),
                None => drop(delete.insert(path)),
            }
        }
        let mut folders: BTreeSet<&str> = packed
            .entries
            .iter()
            .filter(|(_, entry)| **entry == Entry::Folder)
            .map(|(path, _)| path.as_str())
            .collect();
        // Nothing may be deleted through a link that a run put in a folder's place.
        for path in delete.iter().chain(&rmdir) {
            folders.extend(tree::parents(path));
        }
        let files: Vec<&str> = packed
            .entries
            .iter()
            .filter(|(_, entry)| **entry != Entry::Folder)
            .map(|(path, _)| path.as_str())
            .collect();
        let deleted = delete.len();
        let lists: [Vec<&str>; 6] = [
            gone,
            added,
            delete.into_iter().collect(),
            rmdir.into_iter().rev().collect(),
            folders.into_iter().collect(),
            files,
        ];
        let is_same = lists[0].is_empty() && lists[1].is_empty();
        let mut control = Vec::new();
        let lengths = lists.map(|list| {
            let before = control.len();
            for item in list {
                control.extend_from_slice(item.as_bytes());
                control.push(0);
            }
            control.len() - before
        });
        let mut hash = Sha256::new();
        for record in &records {
            hash.update(record.as_bytes());
            hash.update([0]);
        }
        Self {
            control,
            lengths,
            expected: hex::encode(hash.finalize()),
            files: not_folders(entries.values()),
            deleted,
            is_same,
        }
    }

    fn is_nothing(&self, known: &Known, packed: &Packed) -> bool {
        self.is_same && packed.entries.is_empty() && !known.is_unfinished && !known.is_gone
    }
}

/// Where dewpoint remembers things on a droplet, as sh's `$state`.
pub(super) const STATE_FOLDER: &str = r#"state=${DEWPOINT_STATE_DIR:-}
if [ -z "$state" ]; then
  if [ "$(id -u)" = 0 ]; then state=/var/lib/dewpoint; else state=$HOME/.local/state/dewpoint; fi
fi
"#;

/// The file that remembers what was sent to a folder, as a word for sh that has [`STATE_FOLDER`].
pub(super) fn memory_of(into: &str) -> String {
    format!("\"$state/sync/{}/sent\"", memory_name(into))
}

fn memory_name(into: &str) -> String {
    hex::encode(&Sha256::digest(into.as_bytes())[..16])
}

/// What both scripts begin with: `$into`, and `$s`, the folder of what is remembered of it.
fn preamble(into: &str) -> String {
    let name = memory_name(into);
    format!(
        "set -eu\nLC_ALL=C; export LC_ALL\numask 022\n{STATE_FOLDER}s=$state/sync/{name}\ninto={}\n",
        quote(into)
    )
}

/// How the records in `$1` look now, each `MODE SIZE TIME PATH`. Of folders only that they are
/// there counts: the rest changes with whatever a run makes in them.
const LOOKS: &str = r#"looks() {
  (
    cd -- "$into" 2>/dev/null || exit 0
    { grep -zv '^d ' "$1" || :; } | cut -z -d' ' -f4- |
      xargs -0 -r stat --printf='%f %s %.Z %n\0' -- 2>/dev/null || :
    { grep -z '^d ' "$1" || :; } | cut -z -d' ' -f4- |
      xargs -0 -r sh -c 'for path do if [ -d "$path" ] && [ ! -L "$path" ]; then printf "d 0 0 %s\0" "$path"; fi; done' sh || :
  ) | sort -zu
}
"#;

/// Asks what the droplet remembers and what has drifted since.
fn look_script(into: &str) -> String {
    format!(
        r#"{preamble}{LOOKS}{{
  printf '{FORMAT}\0'
  if [ -f "$s/sent" ]; then
    if [ -e "$s/unfinished" ]; then
      printf 'unfinished\0\0'
    else
      if [ -d "$into" ]; then printf 'finished\0'; else printf 'gone\0'; fi
      looks "$s/sent" >"$s/now"
      sort -z "$s/seen" "$s/now" | uniq -zu
      printf '\0'
    fi
    cat "$s/sent"
  else
    printf 'gone\0\0'
  fi
}} | gzip -1"#,
        preamble = preamble(into)
    )
}

/// Carries a change out. Until it is done, the memory holds both what was and what shall be, and
/// says so: whatever breaks, the next sync sends everything anew and deletes what it must.
fn apply_script(into: &str, change: &Change) -> String {
    let take: String = LISTS
        .iter()
        .zip(change.lengths)
        .map(|(name, length)| {
            // head reads nothing beyond; what follows belongs to the next one.
            format!(
                "head -c {length} >\"$s/{name}\"; [ \"$(wc -c <\"$s/{name}\")\" -eq {length} ]\n"
            )
        })
        .collect();
    format!(
        r#"{preamble}{LOOKS}mkdir -p "$s"; chmod 700 "$state" "$s"
{take}touch "$s/sent"
comm -z -23 "$s/sent" "$s/gone" | sort -zu - "$s/added" >"$s/next"
[ "$(sha256sum <"$s/next")" = '{expected}  -' ] || exit {MOVED}
mkdir -p -- "$into" 2>/dev/null || {{
  [ "$(id -u)" != 0 ] && sudo -n mkdir -p -- "$into" && sudo -n chown "$(id -u):$(id -g)" "$into"
}} || mkdir -p -- "$into"
cd -- "$into"
case "$(pwd -P)" in {system}) exit {SYSTEM} ;; esac
sort -zu "$s/sent" "$s/added" >"$s/both"
: >"$s/unfinished"
mv "$s/both" "$s/sent"
xargs -0 -r sh -c 'for path do if [ -L "$path" ] || {{ [ -e "$path" ] && [ ! -d "$path" ]; }}; then rm -f -- "$path"; fi; done' sh <"$s/folders"
xargs -0 -r sh -c 'for path do [ -d "$path" ] && [ ! -L "$path" ] || rm -f -- "$path"; done' sh <"$s/delete"
xargs -0 -r sh -c 'for path do [ -L "$path" ] || rmdir -- "$path" 2>/dev/null || :; done' sh <"$s/rmdir"
xargs -0 -r sh -c 'for path do if [ -d "$path" ] && [ ! -L "$path" ]; then rm -rf -- "$path"; fi; done' sh <"$s/files"
tar -xzmf - --no-same-owner
mv "$s/next" "$s/sent"
looks "$s/sent" >"$s/seen"
rm -f "$s/unfinished" "$s/now"
cd "$s"; rm -f {lists}"#,
        preamble = preamble(into),
        expected = change.expected,
        system = target::system_pattern(),
        lists = LISTS.join(" "),
    )
}
