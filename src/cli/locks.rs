//! The locks a command holds from before its look at the cloud until its end.

use tokio::time::Instant;

use super::args::Locking;
use super::context::{Context, Loaded};
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
) -> miette::Result<Locks> {
    // Before anything is waited for.
    let store = locking.place().map(Store::open).transpose()?;
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
    })
}

impl Locks {
    /// The right that comes with them, where it can be lost.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.shared.as_ref().map(|shared| shared.lease().clone())
    }

    /// Lets go of them.
    pub async fn release(self) {
        if let Some(shared) = self.shared {
            shared.release().await;
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
