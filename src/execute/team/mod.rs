//! History that a team shares: runs in a store, whoever ran them, wherever.
//!
//! In the store, below `history/<project>/`:
//! - `index/<name>`: an empty object whose name tells of one run ([`entry`]), so that one list is a
//!   history; of a run that goes on it is written again and again, as a sign of life;
//! - `runs/<id>.tar.gz`: the folder of the run, as it lies on the disk of whoever ran it ([`bundle`]);
//!   of a run that goes on, `runs/<id>.partial.tar.gz`: what it has said so far.
//!
//! **Invariants:**
//! - Nothing is sent that does not lie in the folder of a run: what is hidden there is hidden here.
//! - What comes from a store may come from anybody: names are checked, sizes are bounded, nothing is
//!   written outside of the folder that was made for it.
//! - No run waits for the store, and none fails for it.

mod bundle;
mod entry;
mod marks;
#[cfg(test)]
mod tests;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use miette::Diagnostic;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use marks::{is_unsent, mark};

use super::history::{By, How, PastRun};
use crate::store::{Sent, Store, StoreError};

/// How often a run that goes on gives a sign of life.
pub const BEAT: Duration = Duration::from_secs(30);
/// After how many milliseconds without one it counts as cut off: several beats, and clocks that
/// differ.
const SILENT: i64 = 5 * 60 * 1_000;
/// How far back the first look at a long history goes.
const LATELY: jiff::SignedDuration = jiff::SignedDuration::from_hours(31 * 24);
/// The most names that are looked at: at a hundred runs a day, those of nearly three years.
const MOST_NAMES: usize = 100_000;

/// A problem with the history that a team shares.
#[derive(Debug, Error, Diagnostic)]
pub enum TeamError {
    /// The store cannot be used, or holds what it should not.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The run is listed, and what it left is not there.
    #[error("what run {id} left is not in {address}")]
    #[diagnostic(
        code(dewpoint::execute::run_not_stored),
        help(
            "`dewpoint history --store {address} --push` sends it, in the folder where it was run; somebody may also have removed it"
        )
    )]
    NotStored {
        /// Which run.
        id: String,
        /// Where.
        address: String,
    },
    /// A file of this machine cannot be read or written.
    #[error("cannot use {path}")]
    #[diagnostic(
        code(dewpoint::execute::team_file),
        help("make room on the disk, and the folder yours to read and write")
    )]
    File {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// How a run was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Whether it is there now; it was to stop otherwise.
    pub is_there: bool,
    /// How many files were left out.
    pub left_out: usize,
}

/// The history of a project in a store.
#[derive(Debug, Clone)]
pub struct Team {
    store: Store,
    project: String,
}

impl Team {
    /// That of a project.
    #[must_use]
    pub fn new(store: Store, project: &str) -> Self {
        Self {
            store,
            project: project.to_owned(),
        }
    }

    /// The address of the store.
    #[must_use]
    pub fn address(&self) -> &str {
        self.store.address()
    }

    /// The newest runs, of one environment or all, at most so many, newest first.
    ///
    /// # Errors
    /// When the store does not answer, or refuses.
    pub async fn list(
        &self,
        environment: Option<&str>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<PastRun>, TeamError> {
        let is_wanted = |run: &PastRun| {
            // One of which nothing is known may be of any.
            run.goal.is_none() || environment.is_none_or(|wanted| run.environment == wanted)
        };
        // Names begin with the time: mostly, those of late are enough.
        for since in [now.checked_sub(LATELY).ok(), None] {
            let mut runs = self.runs(since, now).await?;
            runs.retain(is_wanted);
            if runs.len() >= most || since.is_none() {
                runs.truncate(most);
                return Ok(runs);
            }
        }
        Ok(Vec::new())
    }

    /// All runs since a time, newest first.
    async fn runs(
        &self,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<PastRun>, TeamError> {
        let folder = ["history", &self.project, "index"];
        let after = since.map(entry::first_since);
        let (listed, more) = self
            .store
            .list_after(&folder, after.as_deref(), MOST_NAMES)
            .await?;
        if more {
            tracing::warn!(
                "there are more than {MOST_NAMES} runs in {}",
                self.address()
            );
        }
        let mut runs: Vec<(PastRun, (bool, i64))> = listed
            .into_iter()
            .filter_map(|listed| {
                let mut run = entry::read(&listed.name, &self.project)?;
                let is_end = !matches!(run.how, How::Running | How::Unreadable);
                if let Some(stored) = &mut run.stored {
                    stored.address = self.whole(&run.id);
                }
                if run.how == How::Running && now.as_millisecond() - listed.written > SILENT {
                    run.how = How::CutOff;
                }
                Some((run, (is_end, listed.written)))
            })
            .collect();
        // Of a run that has several names, its end counts, and of ends the last that was told.
        runs.sort_by(|one, other| {
            let by_id = other.0.id.cmp(&one.0.id);
            by_id.then_with(|| other.1.cmp(&one.1))
        });
        runs.dedup_by(|one, other| one.0.id == other.0.id);
        Ok(runs.into_iter().map(|(run, _)| run).collect())
    }

    /// Where a run lies, for people.
    fn whole(&self, id: &str) -> String {
        format!(
            "{}/history/{}/runs/{id}.tar.gz",
            self.address().trim_end_matches('/'),
            self.project
        )
    }

    /// Fetches what a run left into a folder of its name in `into`, in place of what was there; says
    /// how many files whoever ran it did not send.
    ///
    /// # Errors
    /// When it is not there, or is not what dewpoint stores, or cannot be written.
    pub async fn fetch(&self, id: &str, into: &Utf8Path) -> Result<usize, TeamError> {
        let failed = |path: &Utf8Path| {
            let path = path.to_owned();
            move |cause| TeamError::File { path, cause }
        };
        let bundle = tempfile::NamedTempFile::new_in(into).map_err(failed(into))?;
        let mut found = None;
        for name in [format!("{id}.tar.gz"), format!("{id}.partial.tar.gz")] {
            let reopened = bundle.reopen().map_err(failed(into))?;
            let mut file = tokio::fs::File::from_std(reopened);
            let path = ["history", &self.project, "runs", &name];
            if self
                .store
                .download(&path, &mut file, bundle::LARGEST)
                .await?
            {
                found = Some(name);
                break;
            }
        }
        let Some(name) = found else {
            return Err(TeamError::NotStored {
                id: id.to_owned(),
                address: self.address().to_owned(),
            });
        };
        // Made beside it, and put in its place whole.
        let new = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(into)
            .map_err(failed(into))?;
        let work = {
            let to = Utf8PathBuf::from_path_buf(new.path().to_owned())
                .map_err(|odd| std::io::Error::other(format!("{} is not UTF-8", odd.display())))
                .map_err(failed(into))?;
            let bundle = bundle.path().to_owned();
            tokio::task::spawn_blocking(move || bundle::unpack(&bundle, &to))
        };
        let about = match work.await {
            Ok(Ok(about)) => about,
            Ok(Err(why)) => {
                let path = ["history", &self.project, "runs", &name];
                return Err(self.store.unreadable(&path, why).into());
            }
            Err(error) => return Err(failed(into)(std::io::Error::other(error))),
        };
        let place = into.join(id);
        match std::fs::remove_dir_all(&place) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(&place)(cause));
            }
            _ => {}
        }
        std::fs::rename(new.keep(), &place).map_err(failed(&place))?;
        Ok(about.left_out)
    }

    /// Sends a run that has ended, and has it listed as it ended.
    ///
    /// # Errors
    /// When it cannot be read, or the store does not answer, or refuses.
    pub async fn push(
        &self,
        run: &PastRun,
        by: &By,
        stop: &CancellationToken,
    ) -> Result<Pushed, TeamError> {
        let (sent, left_out) = self.send(run, by, bundle::WHOLE, stop).await?;
        let stopped = Pushed {
            is_there: false,
            left_out,
        };
        if sent == Sent::Stopped {
            return Ok(stopped);
        }
        // Listed once it is there.
        let Some(name) = entry::name(run, by) else {
            return Ok(stopped);
        };
        let listing = self.tell(&name);
        match stop.run_until_cancelled(listing).await {
            Some(listed) => listed?,
            None => return Ok(stopped),
        }
        // What was said while it went on. Left behind, it is outranked.
        let partial = format!("{}.partial.tar.gz", run.id);
        let partial = ["history", &self.project, "runs", &partial];
        let going_on = PastRun {
            how: How::Running,
            exit: None,
            took_ms: 0,
            cost: None,
            ..run.clone()
        };
        let tidying = async {
            if let Some(name) = entry::name(&going_on, by) {
                let name = ["history", &self.project, "index", &name];
                self.store.remove(&name).await?;
            }
            self.store.remove(&partial).await
        };
        if let Some(Err(error)) = stop.run_until_cancelled(tidying).await {
            tracing::info!(%error, "signs of life are left in the store");
        }
        Ok(Pushed {
            is_there: true,
            left_out,
        })
    }

    /// Tells that a run goes on, and what it has said so far if that has changed; gives what was
    /// sent.
    ///
    /// # Errors
    /// As [`Team::push`].
    pub async fn beat(
        &self,
        run: &PastRun,
        by: &By,
        last: Option<u64>,
    ) -> Result<Option<u64>, TeamError> {
        let going_on = PastRun {
            how: How::Running,
            exit: None,
            took_ms: 0,
            cost: None,
            ..run.clone()
        };
        if let Some(name) = entry::name(&going_on, by) {
            self.tell(&name).await?;
        }
        let said = bundle::size(&run.folder, bundle::SO_FAR);
        if last == Some(said) {
            return Ok(last);
        }
        let never = CancellationToken::new();
        self.send(run, by, bundle::SO_FAR, &never).await?;
        Ok(Some(said))
    }

    async fn tell(&self, name: &str) -> Result<(), StoreError> {
        let path = ["history", &self.project, "index", name];
        self.store.write(&path, Bytes::new()).await
    }

    async fn send(
        &self,
        run: &PastRun,
        by: &By,
        most: bundle::Most,
        stop: &CancellationToken,
    ) -> Result<(Sent, usize), TeamError> {
        let failed = |cause| TeamError::File {
            path: run.folder.clone(),
            cause,
        };
        // Beside what it is made of: it may be large, and is for its owner alone.
        let packed = tempfile::NamedTempFile::new_in(&run.folder).map_err(failed)?;
        let mut file = packed.reopen().map_err(failed)?;
        let (folder, whose) = (run.folder.clone(), by.clone());
        let packing =
            tokio::task::spawn_blocking(move || bundle::pack(&folder, &whose, most, &mut file));
        let left_out = match stop.run_until_cancelled(packing).await {
            None => return Ok((Sent::Stopped, 0)),
            Some(Err(error)) => return Err(failed(std::io::Error::other(error))),
            Some(Ok(packed)) => packed.map_err(failed)?,
        };
        let name = match most.artifacts {
            true => format!("{}.tar.gz", run.id),
            false => format!("{}.partial.tar.gz", run.id),
        };
        let path = ["history", &self.project, "runs", &name];
        let sent = self.store.upload(&path, packed.path(), stop).await?;
        Ok((sent, left_out))
    }
}

/// Who this is, by the first of these names that is one, and on which machine.
#[must_use]
pub fn this(names: impl IntoIterator<Item = String>) -> By {
    let who = names
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| format!("user-{}", rustix::process::getuid().as_raw()));
    By {
        who,
        machine: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
    }
}
