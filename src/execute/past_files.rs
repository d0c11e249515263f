//! What a past run left in its folder, for a report of it: bounded, so that a run that printed
//! gigabytes makes a page that a browser can open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use camino::{Utf8Path, Utf8PathBuf};

use super::event::Event;
use super::history::PastRun;
use super::journal;
use crate::plan::{Plan, StepId};

/// How many bytes of a log are read from its beginning, and from its end.
const LOG_HEAD: u64 = 64 * 1024;
const LOG_TAIL: u64 = 192 * 1024;
/// How many bytes are read of all logs together.
const ALL_LOGS: u64 = 16 * 1024 * 1024;
/// How many artifacts are listed.
const MOST_ARTIFACTS: usize = 1_000;
/// Largest artifact that is looked at for test results, and how many bytes of them in all.
const TEST_FILE: u64 = 4 * 1024 * 1024;
const ALL_TEST_FILES: u64 = 16 * 1024 * 1024;

/// What a step said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PastLog {
    /// Its beginning; all of it when it is short.
    pub head: String,
    /// How many bytes of it stand neither in `head` nor in `tail`.
    pub left_out: u64,
    /// Its end; empty when it is short.
    pub tail: String,
}

/// A file that was brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Relative to the folder of the run.
    pub path: Utf8PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its text, when it is XML that may hold test results.
    pub xml: Option<String>,
}

/// What a run left.
#[derive(Debug, Clone, Default)]
pub struct PastFiles {
    /// Its events, without output.
    pub events: Vec<Event>,
    /// Its plan, when it kept one that can be read.
    pub plan: Option<Plan>,
    /// What its steps said.
    pub logs: BTreeMap<StepId, PastLog>,
    /// What was brought back, sorted by path.
    pub artifacts: Vec<Artifact>,
    /// How many artifacts there are beside those.
    pub more_artifacts: usize,
}

/// Reads what a run left. What cannot be read is as if it were not there: the run's
/// [`problem`](PastRun::problem) tells of its journal.
#[must_use]
pub fn read(run: &PastRun) -> PastFiles {
    let mut files = PastFiles {
        plan: journal::read_plan(&run.folder),
        ..PastFiles::default()
    };
    if let Ok((events, _)) = journal::read_leniently(&run.folder) {
        files.events = events;
    }
    let mut room = ALL_LOGS;
    for step in &run.steps {
        let Some(log) = &step.log else { continue };
        if let Ok(log) = read_log(log, room) {
            room = room.saturating_sub((log.head.len() + log.tail.len()) as u64);
            files.logs.insert(step.id, log);
        }
    }
    list_artifacts(&run.folder, &mut files);
    files
}

fn read_log(path: &Utf8Path, room: u64) -> io::Result<PastLog> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let (head, tail) = (LOG_HEAD.min(room / 4), LOG_TAIL.min(room / 4 * 3));
    if bytes <= head + tail {
        return Ok(PastLog {
            head: text(&mut file, bytes)?,
            ..PastLog::default()
        });
    }
    let begin = text(&mut file, head)?;
    file.seek(SeekFrom::Start(bytes - tail))?;
    Ok(PastLog {
        head: begin,
        left_out: bytes - head - tail,
        tail: text(&mut file, tail)?,
    })
}

fn text(file: &mut File, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn list_artifacts(folder: &Utf8Path, files: &mut PastFiles) {
    let walk = ignore::WalkBuilder::new(folder.join("artifacts"))
        .standard_filters(false)
        .follow_links(false)
        .sort_by_file_path(Ord::cmp)
        .build();
    let mut room = ALL_TEST_FILES;
    for entry in walk.flatten() {
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        if files.artifacts.len() == MOST_ARTIFACTS {
            files.more_artifacts += 1;
            continue;
        }
        let path = Utf8PathBuf::from(entry.path().to_string_lossy().into_owned());
        let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
        let is_xml = path.extension() == Some("xml") && bytes <= TEST_FILE.min(room);
        let xml = is_xml
            .then(|| {
                File::open(&path)
                    .and_then(|mut file| text(&mut file, bytes))
                    .ok()
            })
            .flatten();
        if xml.is_some() {
            room -= bytes;
        }
        let path = path.strip_prefix(folder).unwrap_or(&path).to_owned();
        files.artifacts.push(Artifact { path, bytes, xml });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_beginning_and_the_end_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Utf8PathBuf::from_path_buf(folder.path().join("x.log")).expect("UTF-8");
        std::fs::write(&path, "short\n").expect("written");
        let log = read_log(&path, ALL_LOGS).expect("read");
        assert_eq!((log.head.as_str(), log.left_out), ("short\n", 0));
        let long = format!(
            "{}{}{}",
            "a".repeat(100_000),
            "b".repeat(100_000),
            "c".repeat(200_000)
        );
        std::fs::write(&path, &long).expect("written");
        let log = read_log(&path, ALL_LOGS).expect("read");
        let read = (log.head.len() + log.tail.len()) as u64;
        assert_eq!(read + log.left_out, 400_000);
        assert_eq!(read, LOG_HEAD + LOG_TAIL);
        assert!(log.head.starts_with('a') && log.tail.ends_with('c'));
        // The last of many logs still shows how it ended.
        let log = read_log(&path, 1_000).expect("read");
        assert_eq!((log.head.len(), log.tail.len()), (250, 750));
    }

    #[test]
    fn artifacts_are_files_of_the_folder_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let artifacts = folder.join("artifacts/box");
        std::fs::create_dir_all(&artifacts).expect("made");
        std::fs::write(artifacts.join("report.xml"), "<testsuites/>").expect("written");
        std::fs::write(artifacts.join(".hidden"), "x").expect("written");
        std::fs::write(folder.join("outside.xml"), "<secret/>").expect("written");
        std::os::unix::fs::symlink(folder.join("outside.xml"), artifacts.join("link.xml"))
            .expect("made");
        let mut files = PastFiles::default();
        list_artifacts(folder, &mut files);
        let paths: Vec<&str> = files.artifacts.iter().map(|a| a.path.as_str()).collect();
        assert_eq!(paths, ["artifacts/box/.hidden", "artifacts/box/report.xml"]);
        assert_eq!(files.artifacts[1].xml.as_deref(), Some("<testsuites/>"));
    }
}
