//! Runs that a team shares: sent when they have ended, read from where they lie.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::args::Storing;
use super::commands::history::read as read_here;
use super::context::{Context, Loaded, private_folder};
use super::env_vars;
use super::error::CliError;
use super::exit::Exit;
use super::terminal::tell;
use super::waiting::waiting;
use crate::execute::Interrupts;
use crate::execute::history::{self, By, How, PastRun};
use crate::execute::team::{self, Team};
use crate::plan::Plan;
use crate::report::hints;
use crate::store::Store;

/// How long a run may take to be sent; its folder stays, and is sent later.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same after a signal: whoever sent it may kill soon.
const HURRY: Duration = Duration::from_secs(3);
/// How many runs of before are sent along.
const MOST_OF_BEFORE: usize = 20;
/// How often a run that is followed from afar is looked at.
pub(super) const FAR_PAUSE: Duration = Duration::from_secs(5);

/// The history of the manifest's project in the store that is given, if one is.
///
/// # Errors
/// When the store cannot be opened.
pub(super) fn open(storing: &Storing, loaded: &Loaded) -> miette::Result<Option<Team>> {
    let Some(address) = storing.address() else {
        return Ok(None);
    };
    let store = Store::open_for_files(address)?;
    Ok(Some(Team::new(store, &loaded.manifest.project)))
}

/// Who this is.
fn this() -> By {
    team::this(
        env_vars::WHO
            .into_iter()
            .filter_map(|name| std::env::var(name).ok()),
    )
}

/// Sends the runs of a command.
#[derive(Debug)]
pub(super) struct Recorder {
    team: Team,
    by: By,
    begun: Mutex<Vec<Begun>>,
}

#[derive(Debug)]
struct Begun {
    id: String,
    beats: JoinHandle<()>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

impl Recorder {
    pub(super) fn new(team: Team) -> Self {
        Self {
            team,
            by: this(),
            begun: Mutex::default(),
        }
    }

    /// A run begins: from here on it is listed as one that goes on, and owed to the store.
    pub(super) fn begin(&self, plan: &Plan, run_folder: &Utf8Path) {
        let id = run_folder.file_name().unwrap_or_default().to_owned();
        let owed = private_folder(run_folder.as_std_path())
            .and_then(|()| team::mark(run_folder, self.team.address(), false));
        if let Err(error) = owed {
            // Then only this command sends it.
            tracing::info!(%error, "that the run is to be sent is not noted");
        }
        let run = PastRun {
            id: id.clone(),
            folder: run_folder.to_owned(),
            began: None,
            project: plan.project.clone(),
            environment: plan.environment.clone(),
            goal: Some(plan.goal),
            how: How::Running,
            exit: None,
            took_ms: 0,
            cost: None,
            steps: Vec::new(),
            problem: None,
            stored: None,
        };
        let (team, by) = (self.team.clone(), self.by.clone());
        let beats = tokio::spawn(async move {
            let mut last = None;
            loop {
                match team.beat(&run, &by, last).await {
                    Ok(sent) => last = sent,
                    // It is told at the end, if it still is so.
                    Err(error) => tracing::info!(%error, "no sign of life in the store"),
                }
                sleep(team::BEAT).await;
            }
        });
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push(Begun { id, beats });
    }

    /// Sends what was run, and what is still owed from before. That it cannot is said, and changes
    /// nothing else.
    pub(super) async fn end(self, context: &Context, loaded: &Loaded, is_interrupted: bool) {
        let begun = self.begun.into_inner();
        let begun = begun.unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<String> = begun.iter().map(|begun| begun.id.clone()).collect();
        drop(begun);
        if ids.is_empty() {
            return;
        }
        let runs = loaded.looked_at("runs");
        let address = self.team.address();
        let of_before: Vec<String> = history::ids(&runs)
            .unwrap_or_default()
            .into_iter()
            .filter(|id| !ids.contains(id) && team::is_unsent(&runs.join(id), address))
            .take(MOST_OF_BEFORE)
            .collect();
        ids.extend(of_before);
        let patience = if is_interrupted { HURRY } else { PATIENCE };
        let stop = CancellationToken::new();
        let sending = async {
            for id in &ids {
                let run = read_here(loaded, id);
                if !is_over(&run, &loaded.manifest.project) {
                    continue;
                }
                match self.team.push(&run, &self.by, &stop).await {
                    Ok(pushed) if pushed.is_there => sent(&self.team, &run, pushed.left_out),
                    Ok(_) if is_interrupted => {
                        return Err((id, "there was no more time".to_owned()));
                    }
                    Ok(_) => return Err((id, "it took too long, or was interrupted".to_owned())),
                    Err(error) => return Err((id, told(&error))),
                }
            }
            Ok(())
        };
        let what = format!("the run to be stored in {address}");
        let ended = ended_by(&stop, patience, waiting(context, &what, sending)).await;
        if let Err((id, why)) = ended {
            let again = format!(
                "`dewpoint history --store {} --push`",
                crate::guest::quote(address)
            );
            tell(&format!(
                "warning: run {id} is not stored in {address}: {why}\n  it stays in {}; the next run with this store sends it, and so does {}",
                loaded.relative(&runs.join(id)),
                hints::complete(&again, &context.flags())
            ));
        }
    }
}

/// Whether a run can be sent: it is of this project, and has ended.
fn is_over(run: &PastRun, project: &str) -> bool {
    run.goal.is_some() && run.project == project && run.how != How::Running
}

fn sent(team: &Team, run: &PastRun, left_out: usize) {
    if let Err(error) = team::mark(&run.folder, team.address(), true) {
        tracing::info!(%error, "that the run was sent is not noted");
    }
    if left_out > 0 {
        tell(&format!(
            "note: {left_out} files of run {} are not stored, as they hold a secret, are too large or too many: they stay in {}",
            run.id, run.folder
        ));
    }
}

/// Does something until it has ended; after some time, or at a signal, it is asked to.
async fn ended_by<T>(
    stop: &CancellationToken,
    patience: Duration,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    let mut interrupts = Interrupts::listen().unwrap_or_else(|_| Interrupts::none());
    tokio::select! {
        biased;
        done = &mut work => return done,
        _ = interrupts.next() => {}
        () = sleep(patience) => {}
    }
    stop.cancel();
    work.await
}

/// An error with its cause on one line.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Sends every run of the project that is here and not there.
///
/// # Errors
/// When runs cannot be read, or the store does not answer, or refuses.
pub(super) async fn push(context: &Context, loaded: &Loaded, team: &Team) -> miette::Result<Exit> {
    let there = team.list(None, usize::MAX, Timestamp::now()).await?;
    let is_there = |id: &String| {
        let listed = there.iter().find(|run| run.id == *id);
        listed.is_some_and(|run| !matches!(run.how, How::Running | How::CutOff))
    };
    let by = this();
    let (mut count, mut were_there) = (0, 0);
    for id in history::ids(&loaded.looked_at("runs"))? {
        let run = read_here(loaded, &id);
        if !is_over(&run, &loaded.manifest.project) {
            continue;
        }
        if is_there(&id) {
            were_there += 1;
            continue;
        }
        let never = CancellationToken::new();
        let pushing = team.push(&run, &by, &never);
        let pushed = waiting(context, &format!("run {id} to be sent"), pushing).await?;
        sent(team, &run, pushed.left_out);
        count += 1;
    }
    tell(&format!(
        "{count} runs were sent to {}, {were_there} were there already",
        team.address()
    ));
    Ok(Exit::Success)
}

/// Where past runs are read from.
#[derive(Debug)]
pub(super) enum Source {
    /// The folder beside the manifest.
    Here,
    /// A team's store.
    There(Team),
}

impl Source {
    /// The one that is given.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn of(storing: &Storing, loaded: &Loaded) -> miette::Result<Self> {
        Ok(match open(storing, loaded)? {
            Some(team) => Self::There(team),
            None => Self::Here,
        })
    }

    /// The run that is meant: the newest of the environment, or the one whose id is, begins or ends
    /// like that.
    ///
    /// # Errors
    /// When there is none, or several are meant.
    pub(super) async fn find(
        &self,
        loaded: &Loaded,
        given: Option<&String>,
    ) -> miette::Result<PastRun> {
        let team = match self {
            Self::Here => {
                let id = super::commands::history::find(loaded, given)?;
                return Ok(read_here(loaded, &id));
            }
            Self::There(team) => team,
        };
        let now = Timestamp::now();
        let listed = match given {
            None => {
                let environment = &loaded.manifest.environment;
                let newest = team.list(Some(environment), 1, now).await?;
                newest.into_iter().next().ok_or(CliError::NoRuns)?
            }
            Some(given) => {
                let wanted = given.to_ascii_uppercase();
                let mut found = team.list(None, usize::MAX, now).await?;
                found.retain(|run| run.id.starts_with(&wanted) || run.id.ends_with(&wanted));
                match <[PastRun; 1]>::try_from(found) {
                    Ok([run]) => run,
                    Err(several) => {
                        return Err(CliError::NoRun {
                            given: given.clone(),
                            found: several.len(),
                        }
                        .into());
                    }
                }
            }
        };
        fetched(team, loaded, listed).await
    }
}

/// A run that was fetched, as if it had been run here.
async fn fetched(team: &Team, loaded: &Loaded, listed: PastRun) -> miette::Result<PastRun> {
    let into: Utf8PathBuf = loaded.folder("fetched")?;
    let left_out = team.fetch(&listed.id, &into).await?;
    let mut run = history::read(&into, &listed.id, |_, _| listed.how == How::Running);
    if left_out > 0 {
        tell(&format!(
            "note: {left_out} files of this run were not stored, as they hold a secret, are too large or too many: they are where it was run"
        ));
    }
    if run.goal.is_some() && run.project != loaded.manifest.project {
        run.problem = Some(format!("it says that it is of project {}", run.project));
    }
    run.stored = listed.stored;
    Ok(run)
}
