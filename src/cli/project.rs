//! The project's lock, around planning and the steps that need it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::context::{Context, Loaded};
use super::locks::Locks;
use super::planning::Planned;
use super::terminal::tell;
use crate::execute::lock::LockError;
use crate::execute::project_lock::{
    ProjectLock, ProjectPlace, ProjectRight, awaited_by_makers, makes_shared,
};
use crate::execute::shared_lock::Lease;
use crate::execute::{Event, EventKind, Listener};
use crate::manifest::Manifest;
use crate::manifest::schema::Scope;
use crate::plan::{Plan, StepId};

/// The project's lock while a command has it.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) place: ProjectPlace,
    lock: Mutex<Option<ProjectLock>>,
}

/// Names of the volumes that are the project's.
fn shared_volumes(manifest: &Manifest) -> BTreeSet<String> {
    let volumes = manifest.volumes.iter();
    let ours = volumes
        .filter(|(_, volume)| volume.existing.is_none() && volume.scope == Scope::Project)
        .map(|(name, _)| name.clone());
    ours.collect()
}

/// Steps of a plan that make, replace or prune what environments share.
fn making_steps(plan: &Plan, volumes: &BTreeSet<String>) -> BTreeSet<StepId> {
    let steps = plan.steps.iter();
    steps
        .filter(|step| makes_shared(step, |name| volumes.contains(name)))
        .map(|step| step.id)
        .collect()
}

impl Making {
    pub(super) fn new(place: ProjectPlace) -> Self {
        Self {
            place,
            lock: Mutex::default(),
        }
    }

    /// Makes a plan that no other environment makes obsolete: where it makes something that they share,
    /// nobody else does from before the look at the cloud on.
    ///
    /// # Errors
    /// When there is no plan, or another run keeps the lock for longer than is waited.
    pub(super) async fn plan(
        &self,
        context: &Context,
        loaded: &Loaded,
        patience: Duration,
        mut plan: impl AsyncFnMut() -> miette::Result<Planned>,
    ) -> miette::Result<Planned> {
        let volumes = shared_volumes(&loaded.manifest);
        if volumes.is_empty() && loaded.manifest.snapshots.is_empty() {
            return plan().await;
        }
        match self.place.making(Duration::ZERO).await {
            Ok(lock) => self.keep(lock).await,
            // Most plans make nothing that is shared: they need not wait.
            Err(LockError::Project { .. }) => self.place.until_nobody_prunes().await?,
            Err(error) => return Err(error.into()),
        }
        let planned = plan().await?;
        if making_steps(&planned.plan, &volumes).is_empty() {
            self.let_go().await;
            return Ok(planned);
        }
        if self.is_held().await {
            return Ok(planned);
        }
        self.wait(context, patience).await?;
        // Whoever had it may have made just that.
        let planned = plan().await?;
        if making_steps(&planned.plan, &volumes).is_empty() {
            self.let_go().await;
        }
        Ok(planned)
    }

    /// Takes the lock for a plan that was made before.
    ///
    /// # Errors
    /// When another run keeps the lock for longer than is waited.
    pub(super) async fn take_for(
        &self,
        context: &Context,
        loaded: &Loaded,
        patience: Duration,
        plan: &Plan,
    ) -> miette::Result<()> {
        if making_steps(plan, &shared_volumes(&loaded.manifest)).is_empty() {
            return Ok(self.place.until_nobody_prunes().await?);
        }
        self.wait(context, patience).await
    }

    /// Takes the lock; says whom it waits for.
    async fn wait(&self, context: &Context, patience: Duration) -> miette::Result<()> {
        let lock = match self.place.making(Duration::ZERO).await {
            Err(held @ LockError::Project { .. }) if !patience.is_zero() => {
                if !context.global.quiet {
                    tell(&format!("waiting, as {held}; nothing is made before"));
                }
                self.place.making(patience).await?
            }
            taken => taken?,
        };
        self.keep(lock).await;
        Ok(())
    }

    async fn keep(&self, lock: ProjectLock) {
        *self.lock.lock().await = Some(lock);
    }

    async fn is_held(&self) -> bool {
        self.lock.lock().await.is_some()
    }

    /// Lets go of the lock; says whether it was held.
    pub(super) async fn let_go(&self) -> bool {
        let held = self.lock.lock().await.take();
        match held {
            Some(lock) => {
                lock.release().await;
                true
            }
            None => false,
        }
    }

    /// Takes the lock for what makes something shared by itself, not by a plan: the right that comes with
    /// it, where it can be lost.
    ///
    /// # Errors
    /// When another run keeps the lock for longer than is waited.
    pub(super) async fn take(
        &self,
        context: &Context,
        patience: Duration,
    ) -> miette::Result<Option<Lease>> {
        self.wait(context, patience).await?;
        let lock = self.lock.lock().await;
        Ok(lock.as_ref().and_then(ProjectLock::lease))
    }

    /// What the steps of a plan need; and the end of the lock, once the last that needs it has ended.
    pub(super) async fn for_steps(&self, loaded: &Loaded, plan: &Plan) -> (ProjectRight, Until) {
        let volumes = shared_volumes(&loaded.manifest);
        let left = making_steps(plan, &volumes);
        let lock = self.lock.lock().await.take();
        let right = ProjectRight {
            place: self.place.clone(),
            lease: lock.as_ref().and_then(ProjectLock::lease),
            awaited: awaited_by_makers(plan, |name| volumes.contains(name)),
            volumes,
        };
        let over = CancellationToken::new();
        if left.is_empty() {
            over.cancel();
        }
        let release = {
            let over = over.clone();
            tokio::spawn(async move {
                over.cancelled().await;
                if let Some(lock) = lock {
                    lock.release().await;
                }
            })
        };
        (
            right,
            Until {
                left,
                over,
                release,
            },
        )
    }
}

/// The end of the project's lock.
#[derive(Debug)]
pub(super) struct Until {
    left: BTreeSet<StepId>,
    over: CancellationToken,
    release: JoinHandle<()>,
}

impl Until {
    /// Who sees the steps end.
    pub(super) fn listener(&self) -> Box<dyn Listener> {
        Box::new(Watch {
            left: self.left.clone(),
            over: self.over.clone(),
        })
    }

    /// The run is over: the lock is let go, if it is not yet.
    pub(super) async fn end(self) {
        self.over.cancel();
        let _ = self.release.await;
    }
}

struct Watch {
    left: BTreeSet<StepId>,
    over: CancellationToken,
}

impl Listener for Watch {
    fn event(&mut self, event: &Event, _: &Plan) {
        let ended = match &event.kind {
            EventKind::Done { step, .. }
            | EventKind::Failed { step, .. }
            | EventKind::Skipped { step, .. } => step,
            _ => return,
        };
        if self.left.remove(ended) && self.left.is_empty() {
            self.over.cancel();
        }
    }
}

impl Locks {
    /// The project's lock.
    pub(super) const fn making(&self) -> &Making {
        &self.making
    }
}
