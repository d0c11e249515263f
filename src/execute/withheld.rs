//! Which artifacts of a run may be sent away: those that were searched for secrets, without any. A note
//! in the folder of the run, for whoever sends it later has no secret to search by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::journal;
use crate::plan::StepKind;

/// The note's name.
pub const FILE: &str = "searched.jsonl";
/// Folder of what was brought back, in that of the run.
const ARTIFACTS: &str = "artifacts";

/// A line of the note.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "search")]
enum Line {
    /// Files are being brought into a folder.
    Due { folder: String },
    /// They were searched, and these hold a secret.
    Done {
        folder: String,
        exposed: BTreeSet<String>,
    },
}

/// Notes that files are brought into a folder of the run's artifacts, and have to be searched.
pub(super) fn note_due(run_folder: &Utf8Path, folder: &str) -> io::Result<()> {
    append(
        run_folder,
        &Line::Due {
            folder: folder.to_owned(),
        },
    )
}

/// Notes that they were searched, and which of them hold a secret.
pub(super) fn note_done(
    run_folder: &Utf8Path,
    folder: &str,
    exposed: BTreeSet<String>,
) -> io::Result<()> {
    append(
        run_folder,
        &Line::Done {
            folder: folder.to_owned(),
            exposed,
        },
    )
}

fn append(run_folder: &Utf8Path, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(run_folder.join(FILE))?
        .write_all(&bytes)
}

/// Which artifacts of a run may be sent.
#[derive(Debug)]
pub struct Withheld {
    /// Whether there was no secret that they could hold.
    is_free: bool,
    folders: BTreeMap<String, Folder>,
}

#[derive(Debug, Default)]
struct Folder {
    due: usize,
    done: usize,
    exposed: BTreeSet<String>,
}

impl Withheld {
    /// What the folder of a run says. What does not say that it was searched was not.
    #[must_use]
    pub fn of(run_folder: &Utf8Path) -> Self {
        let is_free = journal::read_plan(run_folder).is_some_and(|plan| {
            plan.steps.iter().all(|step| match &step.kind {
                StepKind::Run { run, .. } => run.secrets.is_empty(),
                _ => true,
            })
        });
        let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
        let lines = File::open(run_folder.join(FILE)).map(|file| BufReader::new(file).lines());
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Line::Due { folder }) => folders.entry(folder).or_default().due += 1,
                Ok(Line::Done { folder, exposed }) => {
                    let folder = folders.entry(folder).or_default();
                    folder.done += 1;
                    folder.exposed.extend(exposed);
                }
                Err(_) => break,
            }
        }
        Self { is_free, folders }
    }

    /// Whether a file, by its path in the folder of the run, is an artifact that must stay here.
    #[must_use]
    pub fn has(&self, path: &Utf8Path) -> bool {
        let Ok(path) = path.strip_prefix(ARTIFACTS) else {
            return false;
        };
        let mut parts = path.as_str().splitn(2, '/');
        let (Some(folder), Some(file)) = (parts.next(), parts.next()) else {
            return !self.is_free;
        };
        match self.folders.get(folder) {
            None => !self.is_free,
            Some(folder) => folder.done < folder.due || folder.exposed.contains(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_searched_stays_here() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let stays = |path: &str| Withheld::of(folder).has(Utf8Path::new(path));
        assert!(!stays("journal.jsonl") && !stays("box/tests.log"));
        // A run of before, or one whose plan cannot be read.
        assert!(stays("artifacts/box/a.txt") && stays("artifacts/a.txt"));
        note_due(folder, "box").expect("noted");
        assert!(stays("artifacts/box/a.txt"));
        note_done(folder, "box", BTreeSet::from(["logs/env.txt".to_owned()])).expect("noted");
        assert!(!stays("artifacts/box/a.txt"));
        assert!(stays("artifacts/box/logs/env.txt") && stays("artifacts/other/a.txt"));
        // A second step's, which was interrupted; what the first found stays known.
        note_due(folder, "box").expect("noted");
        assert!(stays("artifacts/box/a.txt"));
        note_done(folder, "box", BTreeSet::new()).expect("noted");
        assert!(!stays("artifacts/box/a.txt") && stays("artifacts/box/logs/env.txt"));
    }
}
