//! The folder of a run as one file, and back. What comes back may come from anybody.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use super::entry::VERSION;
use crate::execute::history::By;
use crate::execute::journal;
use crate::execute::withheld::{self, Withheld};

/// What a bundle says of itself: its first file.
pub(super) const ABOUT: &str = "run.json";
/// Which stores have been sent the run.
pub(super) const STORES: &str = "stores.json";
/// The page that `report` makes, from the rest.
const REPORT: &str = "report.html";

/// How much of a folder a bundle holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Bytes, as they lie on the disk.
    pub bytes: u64,
    /// How many files.
    pub files: usize,
    /// Artifacts, too.
    pub artifacts: bool,
}

/// Of a run that has ended.
pub(super) const WHOLE: Most = Most {
    bytes: 512 << 20,
    files: 10_000,
    artifacts: true,
};

/// Of a run that goes on: it is sent again and again.
pub(super) const SO_FAR: Most = Most {
    bytes: 16 << 20,
    files: 1_000,
    artifacts: false,
};

/// The largest bundle that is fetched: what is packed can be somewhat larger than it was.
pub(super) const LARGEST: u64 = WHOLE.bytes + (64 << 20);
/// What is read whole, when it is looked at: journal and plan.
const LARGEST_READ: u64 = 64 << 20;
/// The longest path in a bundle, and its most folders.
const LONGEST_PATH: u64 = 1_024;
const DEEPEST: usize = 24;

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// Version of what lies in it.
    pub version: u32,
    /// Which dewpoint made it.
    pub dewpoint: String,
    /// Who ran it, and where.
    #[serde(flatten)]
    pub by: By,
    /// How many files are not in it, for they hold a secret, or are too large or too many.
    pub left_out: usize,
}

/// Packs the folder of a run into a file; says how many files were left out.
pub(super) fn pack(folder: &Utf8Path, by: &By, most: Most, into: &mut File) -> io::Result<usize> {
    let (files, left_out) = chosen(folder, most);
    let mut tar = Builder::new(GzEncoder::new(into, Compression::default()));
    let about = About {
        version: VERSION,
        dewpoint: env!("CARGO_PKG_VERSION").to_owned(),
        by: by.clone(),
        left_out,
    };
    let text = serde_json::to_vec(&about)?;
    append(
        &mut tar,
        Utf8Path::new(ABOUT),
        text.len() as u64,
        text.as_slice(),
    )?;
    for (path, bytes) in files {
        // What was put in its place meanwhile is not followed.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(folder.join(&path));
        let Ok(file) = opened else { continue };
        // As long as it was: one that grows meanwhile is sent as it was, one that was cut is filled up.
        let file = file.take(bytes).chain(io::repeat(b'\n')).take(bytes);
        append(&mut tar, &path, bytes, file)?;
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(left_out)
}

fn append(
    tar: &mut Builder<impl io::Write>,
    path: &Utf8Path,
    bytes: u64,
    from: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(bytes);
    header.set_entry_type(EntryType::Regular);
    tar.append_data(&mut header, path, from)
}

/// Files of a run's folder that a bundle of that size has room for: journal and plan first, then logs,
/// artifacts last, small ones before large ones; and how many it has none for.
fn chosen(folder: &Utf8Path, most: Most) -> (Vec<(Utf8PathBuf, u64)>, usize) {
    let walk = ignore::WalkBuilder::new(folder)
        .standard_filters(false)
        .follow_links(false)
        .max_depth(Some(DEEPEST))
        .build();
    let withheld = Withheld::of(folder);
    let mut found = Vec::new();
    let mut left_out = 0;
    for entry in walk.flatten() {
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let Some(path) = Utf8Path::from_path(entry.path())
            .and_then(|path| path.strip_prefix(folder).ok())
            .filter(|path| path.as_str().len() as u64 <= LONGEST_PATH && is_safe(path))
        else {
            left_out += 1;
            continue;
        };
        let is_artifact = path.starts_with("artifacts");
        // Ours, and what is only being written.
        let is_ours = [STORES, REPORT, ABOUT, withheld::FILE].contains(&path.as_str())
            || path.as_str().starts_with('.');
        if is_ours || (is_artifact && !most.artifacts) {
            continue;
        }
        if withheld.has(path) {
            left_out += 1;
            continue;
        }
        let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        let rank = match path.as_str() {
            journal::FILE => 0,
            journal::PLAN => 1,
            _ if is_artifact => 3,
            _ => 2,
        };
        found.push((rank, bytes, path.to_owned()));
    }
    found.sort();
    let (mut room, mut files) = (most.bytes, Vec::new());
    for (_, bytes, path) in found {
        if bytes <= room && files.len() < most.files {
            room -= bytes;
            files.push((path, bytes));
        } else {
            left_out += 1;
        }
    }
    (files, left_out)
}

/// How many bytes a bundle of that size would hold, packed or not.
pub(super) fn size(folder: &Utf8Path, most: Most) -> u64 {
    chosen(folder, most).0.iter().map(|(_, bytes)| bytes).sum()
}

/// Unpacks a bundle into a folder that is empty; what is wrong with it is said in words.
pub(super) fn unpack(bundle: &Path, into: &Utf8Path) -> Result<About, String> {
    let file = File::open(bundle).map_err(|error| error.to_string())?;
    // Everything that is read, headers and what fills up blocks included.
    let most = WHOLE.bytes + WHOLE.files as u64 * 4_096 + (1 << 20);
    let mut archive = Archive::new(GzDecoder::new(file).take(most));
    let mut about = None;
    let mut long_name: Option<String> = None;
    let mut count = 0;
    let entries = archive.entries().map_err(|error| error.to_string())?;
    // Raw: extensions are read here, where their size is bounded.
    for entry in entries.raw(true) {
        let mut entry =
            entry.map_err(|error| format!("it is no archive, or was cut off: {error}"))?;
        let kind = entry.header().entry_type();
        if kind == EntryType::GNULongName {
            let mut name = Vec::new();
            (&mut entry)
                .take(LONGEST_PATH + 1)
                .read_to_end(&mut name)
                .map_err(|error| error.to_string())?;
            let name = String::from_utf8_lossy(&name);
            long_name = Some(name.trim_end_matches('\0').to_owned());
            continue;
        }
        let path = match long_name.take() {
            Some(name) => name,
            None => String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
        };
        let path = Utf8Path::new(&path);
        if kind != EntryType::Regular || !is_safe(path) {
            return Err("it holds what no bundle holds: not a plain file of its folder".to_owned());
        }
        count += 1;
        if count > WHOLE.files + 1 {
            return Err("it holds too many files".to_owned());
        }
        let is_read = [ABOUT, journal::FILE, journal::PLAN].contains(&path.as_str());
        if is_read && entry.size() > LARGEST_READ {
            return Err(format!("its {path} is too large"));
        }
        if about.is_none() {
            about = Some(read_about(path, &mut entry)?);
            continue;
        }
        write(&into.join(path), &mut entry).map_err(|error| error.to_string())?;
    }
    about.ok_or_else(|| "it is empty".to_owned())
}

fn read_about(path: &Utf8Path, entry: impl Read) -> Result<About, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    if path != ABOUT {
        return Err("it does not say what it is".to_owned());
    }
    let mut text = Vec::new();
    entry
        .take(LARGEST_READ)
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())?;
    let unread = |error: serde_json::Error| error.to_string();
    let Version { version } = serde_json::from_slice(&text).map_err(unread)?;
    if version != VERSION {
        return Err(format!(
            "another version of dewpoint has stored it, in format {version}; this one knows format {VERSION}"
        ));
    }
    serde_json::from_slice(&text).map_err(unread)
}

/// Writes a file, for its owner alone, where none is.
fn write(path: &Utf8Path, entry: &mut impl Read) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::copy(entry, &mut file)?;
    Ok(())
}

/// Whether a path stays in its folder, whatever it is.
fn is_safe(path: &Utf8Path) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty() && part.len() <= 255 && !part.chars().any(|c| c.is_control() || c == '\\')
    };
    let count = path.components().count();
    (1..=DEEPEST).contains(&count)
        && !path.as_str().ends_with('/')
        && path
            .components()
            .all(|part| matches!(part, Utf8Component::Normal(part) if is_plain(part)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn by() -> By {
        By {
            who: "ann".to_owned(),
            machine: "laptop".to_owned(),
        }
    }

    fn temporary() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
        (folder, path)
    }

    fn write_all(folder: &Utf8Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
    }

    /// Paths of all files below, sorted.
    fn files(folder: &Utf8Path) -> Vec<String> {
        let walk = ignore::WalkBuilder::new(folder)
            .standard_filters(false)
            .build();
        let mut files: Vec<String> = walk
            .flatten()
            .filter(|entry| !entry.file_type().is_some_and(|kind| kind.is_dir()))
            .map(|entry| {
                let path = entry.path().strip_prefix(folder).expect("below");
                path.to_string_lossy().into_owned()
            })
            .collect();
        files.sort();
        files
    }

    /// A search that found nothing.
    fn searched(folder: &Utf8Path) {
        withheld::note_done(folder, "box", std::collections::BTreeSet::new()).expect("noted");
    }

    #[test]
    fn a_folder_comes_back_for_its_owner_alone() {
        let (_one, from) = temporary();
        let (_two, to) = temporary();
        let deep = format!("artifacts/box/{}/report.xml", "x".repeat(150));
        write_all(
            &from,
            &[
                ("journal.jsonl", "{}\n"),
                ("plan.json", "{}"),
                ("droplet.box/run-tests.log", "ok\n"),
                (&deep, "<testsuites/>"),
                ("report.html", "made here"),
                ("stores.json", "{}"),
                (".tmpX", "half"),
            ],
        );
        searched(&from);
        symlink("/etc/passwd", from.join("artifacts/box/link")).expect("linked");
        let bundle = tempfile::NamedTempFile::new().expect("a file");
        let left_out = pack(&from, &by(), WHOLE, &mut bundle.reopen().expect("opened"));
        assert_eq!(left_out.expect("packed"), 0);
        let about = unpack(bundle.path(), &to).expect("unpacked");
        assert_eq!((about.by, about.left_out), (by(), 0));
        let expected = [
            deep.as_str(),
            "droplet.box/run-tests.log",
            "journal.jsonl",
            "plan.json",
        ];
        assert_eq!(files(&to), expected);
        let mode = |path: &str| {
            let seen = std::fs::symlink_metadata(to.join(path)).expect("there");
            seen.permissions().mode() & 0o777
        };
        assert_eq!((mode(&deep), mode("artifacts/box")), (0o600, 0o700));
        // A run that goes on is sent without its artifacts, and never more of it than is borne.
        let bundle = tempfile::NamedTempFile::new().expect("a file");
        let most = Most { bytes: 7, ..SO_FAR };
        let left_out = pack(&from, &by(), most, &mut bundle.reopen().expect("opened"));
        assert_eq!(left_out.expect("packed"), 1);
        let (_three, to) = temporary();
        assert_eq!(unpack(bundle.path(), &to).expect("unpacked").left_out, 1);
        assert_eq!(files(&to), ["journal.jsonl", "plan.json"]);
    }

    /// A bundle with these entries after its first.
    fn hostile(entries: &[(EntryType, &str, &str, u64)]) -> Result<Vec<String>, String> {
        let mut bytes = Vec::new();
        let mut tar = Builder::new(GzEncoder::new(&mut bytes, Compression::fast()));
        let about =
            format!(r#"{{"version":1,"dewpoint":"1","who":"a","machine":"b","left_out":0}}"#);
        append(
            &mut tar,
            Utf8Path::new(ABOUT),
            about.len() as u64,
            about.as_bytes(),
        )
        .expect("appended");
        for (kind, path, link, size) in entries {
            let mut header = Header::new_gnu();
            let field = &mut header.as_gnu_mut().expect("GNU").name;
            field[..path.len()].copy_from_slice(path.as_bytes());
            let field = &mut header.as_gnu_mut().expect("GNU").linkname;
            field[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(*size);
            header.set_mode(0o4777);
            header.set_cksum();
            tar.append(&header, io::repeat(b'a').take(*size))
                .expect("appended");
        }
        tar.into_inner().expect("whole").finish().expect("whole");
        let bundle = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(bundle.path(), bytes).expect("written");
        let (folder, outside) = temporary();
        let into = outside.join("in/to");
        std::fs::create_dir_all(&into).expect("made");
        let unpacked = unpack(bundle.path(), &into);
        let all = files(&outside);
        drop(folder);
        assert!(all.iter().all(|path| path.starts_with("in/to/")), "{all:?}");
        unpacked.map(|_| all)
    }

    #[test]
    fn nothing_of_a_hostile_bundle_gets_out_of_its_folder() {
        let file = EntryType::Regular;
        let well = hostile(&[(file, "a/b.log", "", 3)]).expect("as it should be");
        assert_eq!(well, ["in/to/a/b.log"]);
        for (kind, path, link) in [
            (file, "../escaped", ""),
            (file, "a/../../escaped", ""),
            (file, "/tmp/dewpoint-escaped", ""),
            (file, "a\\..\\b", ""),
            (file, "a/\u{1b}[2J", ""),
            (file, "", ""),
            (EntryType::Symlink, "a", "/etc"),
            (EntryType::Link, "a", "/etc/passwd"),
            (EntryType::Directory, "a", ""),
            (EntryType::Fifo, "a", ""),
            (EntryType::Char, "a", ""),
            (EntryType::XHeader, "a", ""),
            (EntryType::GNULongLink, "a", ""),
        ] {
            let error = hostile(&[(kind, path, link, 0)]).expect_err("refused");
            assert!(error.contains("what no bundle holds"), "{path}: {error}");
        }
        // A link first, a file through it then; a file twice; a file where a folder has to be.
        for entries in [
            [(EntryType::Symlink, "a", "..", 0), (file, "a/b", "", 3)],
            [(file, "a", "", 3), (file, "a", "", 3)],
            [(file, "a", "", 3), (file, "a/b", "", 3)],
        ] {
            hostile(&entries).expect_err("refused");
        }
    }

    #[test]
    fn a_bundle_without_an_end_is_given_up() {
        let file = EntryType::Regular;
        let error = hostile(&[(file, journal::FILE, "", LARGEST_READ + 1)]).expect_err("too large");
        assert!(error.contains("journal.jsonl is too large"), "{error}");
        let long = hostile(&[
            (EntryType::GNULongName, "x", "", 1 << 20),
            (file, "a", "", 1),
        ]);
        assert!(long.expect_err("too long").contains("what no bundle holds"));
        let names: Vec<String> = (0..=WHOLE.files + 1).map(|n| n.to_string()).collect();
        let many: Vec<_> = names
            .iter()
            .map(|name| (file, name.as_str(), "", 0))
            .collect();
        assert!(hostile(&many).expect_err("too many").contains("too many"));

        let (_folder, into) = temporary();
        let bundle = tempfile::NamedTempFile::new().expect("a file");
        for bytes in [&b""[..], b"no archive", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"] {
            std::fs::write(bundle.path(), bytes).expect("written");
            unpack(bundle.path(), &into).expect_err("no bundle");
        }
    }

    #[test]
    fn a_bundle_of_another_version_is_told() {
        for (text, said) in [
            (
                r#"{"version":2,"news":true}"#,
                "in format 2; this one knows format 1",
            ),
            (r#"{"version":0}"#, "in format 0"),
            (r#"{"version":1}"#, "missing field"),
        ] {
            let error = read_about(Utf8Path::new(ABOUT), text.as_bytes()).expect_err("refused");
            assert!(error.contains(said), "{error}");
        }
        assert!(read_about(Utf8Path::new("x"), &b"{}"[..]).is_err());
    }
}
