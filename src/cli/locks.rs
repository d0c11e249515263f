//! What a command works under from before its look at the cloud until its end: the locks it holds, and
//! the store that its runs are kept in.

use tokio::time::Instant;

use super::args::{Locking, Storing};
use super::context::{Context, Loaded};
use super::exit::Exit;
use super::team::{self, Recorder};
use super::waiting::waiting;
use crate::execute::lock::Lock;
use crate::execute::shared_lock::{Lease, SharedLock, Terms};
use crate::plan::Goal;
use crate::store::Store;

/// What keeps other dewpoints from changing an environment.
#[derive(Debug)]
pub struct Locks {
    /// That of the folder, which goes by itself.
    _folder: Lock,
    shared: Option<SharedLock>,
    recorder: Option<Recorder>,
}

/// Takes the folder's lock, and the one that all machines share if there is a place for it.
///
/// # Errors
/// When another dewpoint holds one for longer than is waited, or the place cannot be used.
pub async fn take(
    context: &Context,
    loaded: &Loaded,
    command: &str,
    locking: &Locking,
    storing: Option<&Storing>,
) -> miette::Result<Locks> {
    // Before anything is waited for.
    let store = locking.place().map(Store::open).transpose()?;
    let recorder = match storing {
        Some(storing) => team::open(storing, loaded)?.map(Recorder::new),
        None => None,
    };
    let state = loaded.state()?;
    let (project, environment) = (&loaded.manifest.project, &loaded.manifest.environment);
    let end = Instant::now() + locking.patience();
    let folder = Lock::acquire(&state, project, environment, command, locking.patience()).await?;
    let shared = match &store {
        None => None,
        Some(store) => {
            let left = end.saturating_duration_since(Instant::now());
            let terms = Terms {
                lease: locking.lease(),
            };
            let acquiring = SharedLock::acquire(store, project, environment, command, terms, left);
            let what = format!("the lock in {}", store.address());
            Some(waiting(context, &what, acquiring).await?)
        }
    };
    Ok(Locks {
        _folder: folder,
        shared,
        recorder,
    })
}

impl Locks {
    /// The right that comes with them, where it can be lost.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.shared.as_ref().map(|shared| shared.lease().clone())
    }

    /// What keeps the runs, where they are kept for a team.
    pub(super) const fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Lets go of them; then, with nobody waiting, has the runs kept.
    pub async fn release(self, context: &Context, loaded: &Loaded, done: &miette::Result<Exit>) {
        let Self {
            _folder: folder,
            shared,
            recorder,
        } = self;
        if let Some(shared) = shared {
            shared.release().await;
        }
        drop(folder);
        if let Some(recorder) = recorder {
            let is_interrupted = done.as_ref().is_ok_and(|exit| exit.is_interrupt());
            recorder.end(context, loaded, is_interrupted).await;
        }
    }
}

/// What a command is called that works towards a goal.
#[must_use]
pub const fn name_of(goal: Goal) -> &'static str {
    match goal {
        Goal::Apply => "apply",
        Goal::Test => "test",
        Goal::Run => "run",
        Goal::Destroy => "destroy",
        Goal::DestroyProject => "destroy --project",
        Goal::Sweep => "sweep",
    }
}
