//! The journal of a run: `journal.jsonl`, every event but output, and a log for each command that
//! says something. History, not state: losing it loses nothing live.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use miette::Diagnostic;
use thiserror::Error;

use super::event::{Event, EventKind};
use crate::plan::{Plan, Step, StepId, StepKind};

/// The journal's name in the folder of its run.
pub const FILE: &str = "journal.jsonl";

/// The name of the plan that was carried out, in the folder of its run.
pub const PLAN: &str = "plan.json";

/// A journal that cannot be written or read.
#[derive(Debug, Error, Diagnostic)]
pub enum JournalError {
    /// A folder cannot be made.
    #[error("cannot make the folder {path}")]
    #[diagnostic(
        code(dewpoint::execute::journal_folder),
        help("make it writable, or run from a folder that is")
    )]
    Folder {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    #[diagnostic(
        code(dewpoint::execute::journal_write),
        help("make room on the disk, or make the folder writable, then apply again")
    )]
    Write {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A journal cannot be read.
    #[error("cannot read {path}")]
    #[diagnostic(code(dewpoint::execute::journal_read))]
    Read {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A line of a journal is no event.
    #[error("line {line} of {path} is not an event")]
    #[diagnostic(
        code(dewpoint::execute::journal_format),
        help("the run was written by another version of dewpoint, or the file was edited")
    )]
    Format {
        /// Which journal.
        path: Utf8PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
}

/// Makes the folder of a new run: `runs/<ulid>` below `state`, which is made to be ignored by git.
/// All of it is for its owner alone.
///
/// # Errors
/// When a folder cannot be made.
pub fn make_run_folder(state: &Utf8Path) -> Result<Utf8PathBuf, JournalError> {
    let folder = state.join("runs").join(ulid::Ulid::generate().to_string());
    make_folder(&folder)?;
    let ignore = state.join(".gitignore");
    match create(&ignore).and_then(|mut file| file.write_all(b"*\n")) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(JournalError::Write {
            path: ignore,
            cause,
        }),
        _ => Ok(folder),
    }
}

/// Makes a folder, and those above it, for its owner alone.
pub(super) fn make_folder(path: &Utf8Path) -> Result<(), JournalError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|cause| JournalError::Folder {
            path: path.to_owned(),
            cause,
        })
}

/// Makes a file, for its owner alone, where none is.
fn create(path: &Utf8Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Writes the journal of one run.
#[derive(Debug)]
pub struct Journal {
    folder: Utf8PathBuf,
    file: File,
    logs: BTreeMap<StepId, (Utf8PathBuf, File)>,
}

impl Journal {
    /// Begins the journal in the folder of a run, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or is there already: a run has one journal.
    pub fn create(folder: &Utf8Path) -> Result<Self, JournalError> {
        make_folder(folder)?;
        let path = folder.join(FILE);
        let file = create(&path).map_err(|cause| JournalError::Write { path, cause })?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            logs: BTreeMap::new(),
        })
    }

    /// Keeps the plan beside the journal: whoever looks back learns what each step was. No secret is
    /// in a plan.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_plan(&self, plan: &Plan) -> Result<(), JournalError> {
        let path = self.folder.join(PLAN);
        let text = serde_json::to_vec(plan).expect("a plan is plain data");
        create(&path)
            .and_then(|mut file| {
                // Half a plan tells nothing.
                file.write_all(&text)
                    .inspect_err(|_| drop(std::fs::remove_file(&path)))
            })
            .map_err(|cause| JournalError::Write { path, cause })
    }

    /// Writes an event, so that it outlives this process. Output goes to the log of its step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, event: &Event, plan: &Plan) -> Result<(), JournalError> {
        match &event.kind {
            EventKind::Output { step, line, .. } => return self.log(*step, line, plan),
            // Moments of waiting: of use to whoever watches, not to whoever looks back.
            EventKind::Progress { .. } => return Ok(()),
            EventKind::Done { step, .. } | EventKind::Failed { step, .. } => {
                self.logs.remove(step);
            }
            _ => {}
        }
        let mut line = serde_json::to_vec(event).expect("an event is plain data");
        line.push(b'\n');
        let length = self.file.metadata().map(|file| file.len());
        // One write a line: whoever reads while the run goes on sees whole lines.
        self.file.write_all(&line).map_err(|cause| {
            // Of a line that a full disk cut off nothing is left: what can be written later, for clean-up
            // goes on, would stand behind half a line.
            if let Ok(length) = length {
                let _ = self.file.set_len(length);
            }
            JournalError::Write {
                path: self.folder.join(FILE),
                cause,
            }
        })
    }

    fn log(&mut self, id: StepId, line: &str, plan: &Plan) -> Result<(), JournalError> {
        let Some(step) = plan.step(id) else {
            return Ok(());
        };
        if !self.logs.contains_key(&id) {
            let log = open_log(&self.folder, step)?;
            self.logs.insert(id, log);
        }
        let (path, file) = self.logs.get_mut(&id).expect("it was put there just now");
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        file.write_all(&bytes).map_err(|cause| JournalError::Write {
            path: path.clone(),
            cause,
        })
    }
}

fn open_log(folder: &Utf8Path, step: &Step) -> Result<(Utf8PathBuf, File), JournalError> {
    let (droplet, name) = log_name(step);
    let folder = folder.join(&droplet);
    make_folder(&folder)?;
    let path = folder.join(format!("{name}.log"));
    let (path, file) = match create(&path) {
        // Two names that differ only in what a file name cannot hold.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            let path = folder.join(format!("{name}-{}.log", step.id.0));
            let file = create(&path);
            (path, file)
        }
        file => (path, file),
    };
    match file {
        Ok(file) => Ok((path, file)),
        Err(cause) => Err(JournalError::Write { path, cause }),
    }
}

/// Where the output of a step lies, relative to the folder of its run.
#[must_use]
pub fn log_path(step: &Step) -> Utf8PathBuf {
    let (droplet, name) = log_name(step);
    Utf8PathBuf::from(droplet).join(format!("{name}.log"))
}

/// Folder and name of the log of a step.
fn log_name(step: &Step) -> (String, String) {
    let (droplet, name) = match &step.kind {
        StepKind::Run { droplet, run } => (droplet.name().to_owned(), run.name.as_str().to_owned()),
        StepKind::Provision {
            droplet,
            number,
            step,
            ..
        } => (
            droplet.name().to_owned(),
            format!("{number:02}-{}", step.name()),
        ),
        StepKind::Connect { droplet, .. }
        | StepKind::PowerOff { droplet }
        | StepKind::Mount { droplet, .. }
        | StepKind::Prepare { droplet, .. }
        | StepKind::StopBackground { droplet }
        | StepKind::Sync { droplet, .. }
        | StepKind::Collect { droplet, .. }
        | StepKind::Unmount { droplet, .. } => (droplet.name().to_owned(), step.kind.title()),
        _ => (step.address.to_string(), step.kind.title()),
    };
    (file_name(&droplet), file_name(&name))
}

/// A text as the name of a file: short, without anything that means something to a shell or a file
/// system.
pub(super) fn file_name(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .take(80)
        .collect();
    match plain.trim_matches(['-', '.']) {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// The plan of a run; none when it kept none, or another version did: without it only less is told.
pub(super) fn read_plan(folder: &Utf8Path) -> Option<Plan> {
    let bytes = std::fs::read(folder.join(PLAN)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Reads a journal. A last line that was cut off, for its writer was killed, is left out.
///
/// # Errors
/// When it cannot be read, or another line is no event.
pub fn read(folder: &Utf8Path) -> Result<Vec<Event>, JournalError> {
    match read_leniently(folder)? {
        (_, Some(broken)) => Err(broken),
        (events, None) => Ok(events),
    }
}

/// As [`read`], but what stands before a line that is no event counts; that line is told.
///
/// # Errors
/// When it cannot be read.
pub fn read_leniently(
    folder: &Utf8Path,
) -> Result<(Vec<Event>, Option<JournalError>), JournalError> {
    let path = folder.join(FILE);
    let read = |cause| JournalError::Read {
        path: path.clone(),
        cause,
    };
    let mut reader = BufReader::new(File::open(&path).map_err(read)?);
    let mut events = Vec::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        reader.read_until(b'\n', &mut bytes).map_err(read)?;
        if bytes.last() != Some(&b'\n') {
            return Ok((events, None));
        }
        match serde_json::from_slice(&bytes) {
            Ok(event) => events.push(event),
            Err(cause) => {
                let broken = JournalError::Format {
                    path,
                    line: events.len() + 1,
                    cause,
                };
                return Ok((events, Some(broken)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn any_name_makes_a_file_name() {
        for (text, expected) in [
            ("tests", "tests"),
            ("unit tests / fast", "unit-tests---fast"),
            ("../../etc/passwd", "etc-passwd"),
            ("..", "unnamed"),
            ("", "unnamed"),
            ("größe", "gr--e"),
        ] {
            assert_eq!(file_name(text), expected);
        }
        assert_eq!(file_name(&"x".repeat(500)).len(), 80);
    }

    #[test]
    fn a_run_folder_is_its_owners_alone_and_no_part_of_the_repository() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = Utf8PathBuf::from_path_buf(folder.path().join(".dewpoint")).expect("UTF-8");
        let first = make_run_folder(&state).expect("made");
        let second = make_run_folder(&state).expect("made");
        assert_ne!(first, second);
        let mode = |path: &Utf8Path| {
            let mode = std::fs::metadata(path)
                .expect("is there")
                .permissions()
                .mode();
            mode & 0o777
        };
        assert_eq!((mode(&state), mode(&first)), (0o700, 0o700));
        let ignored = std::fs::read_to_string(state.join(".gitignore")).expect("is there");
        assert_eq!(ignored, "*\n");
        drop(Journal::create(&first).expect("made"));
        assert_eq!(mode(&first.join(FILE)), 0o600);
        let again = Journal::create(&first).expect_err("a run has one journal");
        assert!(matches!(again, JournalError::Write { .. }));
    }

    #[test]
    fn a_journal_that_was_cut_off_can_be_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let event = r#"{"seq":0,"at":"2026-08-01T00:00:00Z","elapsed_ms":0,"event":"notice","text":"hello"}"#;
        std::fs::write(folder.join(FILE), format!("{event}\n{{\"seq\":1,\"at")).expect("written");
        assert_eq!(read(folder).expect("readable").len(), 1);
        std::fs::write(folder.join(FILE), format!("{event}\nwhat\n")).expect("written");
        let error = read(folder).expect_err("no event");
        assert!(matches!(error, JournalError::Format { line: 2, .. }));
    }
}
