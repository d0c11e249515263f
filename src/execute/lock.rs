//! One run for an environment at a time, on this machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::journal::file_name;

/// How often a lock that is held is tried again: nothing tells when a file's lock is let go, but a wait
/// that could not be given up.
const PAUSE: Duration = Duration::from_millis(200);

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its host: a folder may be shared by several.
    pub host: String,
    /// What it does, such as `apply`.
    pub command: String,
    /// Since when.
    pub since: jiff::Timestamp,
}

impl Holder {
    /// This process, from now on.
    pub(super) fn this(command: &str) -> Self {
        Self {
            pid: std::process::id(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            command: command.to_owned(),
            since: jiff::Timestamp::now(),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`dewpoint {}` (process {} on {}, since {})",
            self.command,
            self.pid,
            self.host,
            self.since.strftime("%Y-%m-%d %H:%M:%S UTC"),
        )
    }
}

/// A lock that was not had.
#[derive(Debug, Error, Diagnostic)]
pub enum LockError {
    /// Another run has it.
    #[error("{environment} is locked by {holder}")]
    #[diagnostic(
        code(dewpoint::execute::locked),
        help("wait until it has ended: `--lock-timeout 10m` waits for you")
    )]
    Held {
        /// Which environment.
        environment: String,
        /// Who has it, as far as it says.
        holder: String,
    },
    /// Another run has it, wherever it is.
    #[error("{environment} is locked by {holder}, in {address}")]
    #[diagnostic(
        code(dewpoint::execute::locked),
        help(
            "wait until it has ended: `--lock-timeout 10m` waits for you; the lease of one that was killed runs out by itself, within a minute unless it was given a longer one"
        )
    )]
    HeldInStore {
        /// Which environment.
        environment: String,
        /// Who has it.
        holder: String,
        /// Which store the lock lies in.
        address: String,
    },
    /// Another run makes or prunes what the environments of a project share.
    #[error("the snapshots and volumes of {project} are being worked on by {holder}")]
    #[diagnostic(
        code(dewpoint::execute::project_locked),
        help(
            "wait until it has ended: `apply` and `test` do, unless told `--no-wait`, and `--lock-timeout 10m` waits for you"
        )
    )]
    Project {
        /// Which project.
        project: String,
        /// Who has them, as far as it says.
        holder: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The lock's file cannot be used.
    #[error("cannot lock {path}")]
    #[diagnostic(
        code(dewpoint::execute::lock_file),
        help("make the folder writable, or run from a folder that is")
    )]
    File {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// A lock on an environment: held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of an environment, `locks/<project>-<environment>.lock` below `state`;
    /// waits for it as long as `patience`.
    ///
    /// # Errors
    /// [`LockError::Held`] when another run keeps it, [`LockError::File`] when there is no lock to
    /// be had.
    pub async fn acquire(
        state: &Utf8Path,
        project: &str,
        environment: &str,
        command: &str,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let folder = state.join("locks");
        let path = folder.join(file_name(&format!("{project}-{environment}.lock")));
        let failed = |cause| LockError::File {
            path: path.clone(),
            cause,
        };
        super::journal::make_folder(&folder).map_err(|error| match error {
            super::journal::JournalError::Folder { path, cause } => LockError::File { path, cause },
            other => failed(std::io::Error::other(other)),
        })?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link in its place would have another file emptied.
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        let end = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                    return Err(LockError::Held {
                        environment: format!("{project} / {environment}"),
                        holder: holder(&mut file),
                    });
                }
                Err(TryLockError::WouldBlock) => sleep(PAUSE).await,
            }
        }
        let holder = Holder::this(command);
        let text = serde_json::to_string(&holder).expect("a holder is plain data");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(failed)?;
        Ok(Self { file })
    }
}

/// Environments of a project that there ever was a lock of, in that folder. Those of a project whose
/// name begins alike may be among them.
#[must_use]
pub fn environments(state: &Utf8Path, project: &str) -> Vec<String> {
    let Ok(entries) = state.join("locks").read_dir_utf8() else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().strip_prefix(project)?.strip_prefix('-')?;
            Some(name.strip_suffix(".lock")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

/// Who holds the lock of an environment, as far as can be told without taking it: taking it for a
/// moment could turn another run away. A holder that was killed does not count.
#[must_use]
pub fn held(state: &Utf8Path, project: &str, environment: &str) -> Option<Holder> {
    let path = state
        .join("locks")
        .join(file_name(&format!("{project}-{environment}.lock")));
    let text = std::fs::read_to_string(&path).ok()?;
    let holder: Holder = serde_json::from_str(&text).ok()?;
    if holder.host != rustix::system::uname().nodename().to_string_lossy() {
        // Another machine on a shared folder: nothing here says that it has gone.
        return Some(holder);
    }
    let locked = match (
        std::fs::read_to_string("/proc/locks"),
        std::fs::metadata(&path),
    ) {
        (Ok(locks), Ok(file)) => {
            use std::os::unix::fs::MetadataExt as _;
            let inode = format!(":{}", file.ino());
            locks
                .lines()
                .filter(|line| line.contains(" FLOCK "))
                .any(|line| line.split_whitespace().any(|word| word.ends_with(&inode)))
        }
        // Not Linux: a process of that number is all that can be asked for.
        _ => i32::try_from(holder.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()),
    };
    locked.then_some(holder)
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays, or two could each hold a lock on a file of that name; it only must not
        // name us any more. The lock itself goes with the file's handle.
        let _ = self.file.set_len(0);
    }
}

/// Who holds the lock, in words.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match read.map(|_| serde_json::from_str::<Holder>(&text)) {
        Ok(Ok(holder)) => holder.to_string(),
        // It has just been taken, or is just being let go.
        _ => "another run".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn acquire(
        state: &Utf8Path,
        environment: &str,
        patience: u64,
    ) -> Result<Lock, LockError> {
        let patience = Duration::from_secs(patience);
        Lock::acquire(state, "shop", environment, "apply", patience).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_run_at_a_time_and_the_other_learns_whose() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = Utf8Path::from_path(folder.path()).expect("UTF-8");
        let first = acquire(state, "main", 0).await.expect("free");
        let other = acquire(state, "pr-1", 0)
            .await
            .expect("another environment");
        assert!(held(state, "shop", "main").is_some());
        let error = acquire(state, "main", 60).await.expect_err("held");
        let text = error.to_string();
        assert!(
            text.starts_with("shop / main is locked by `dewpoint apply` (process "),
            "{text}"
        );
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        let (second, ()) = tokio::join!(acquire(state, "main", 60), async {
            sleep(Duration::from_secs(5)).await;
            drop(first);
        });
        drop((second.expect("it was let go in time"), other));
        assert_eq!(held(state, "shop", "main"), None);
        // One that was killed leaves its name, and no lock.
        let path = state.join("locks/shop-main.lock");
        // Where locks cannot be looked at, its number must be nobody's.
        let pid = if cfg!(target_os = "linux") {
            std::process::id()
        } else {
            i32::MAX.unsigned_abs()
        };
        let text = format!(
            r#"{{"pid":{pid},"host":"{}","command":"apply","since":"2026-08-01T00:00:00Z"}}"#,
            rustix::system::uname().nodename().to_string_lossy()
        );
        std::fs::write(path, text).expect("written");
        assert_eq!(held(state, "shop", "main"), None);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = Utf8Path::from_path(folder.path()).expect("UTF-8");
        std::fs::write(state.join("locks"), "").expect("written");
        let error = acquire(state, "main", 0).await.expect_err("no folder");
        assert!(matches!(error, LockError::File { .. }));
    }
}
