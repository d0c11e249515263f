//! One maker, at a time, of what the environments of a project share: its snapshots and volumes.
//!
//! An environment's lock does not keep two environments from building one snapshot twice, nor one from
//! pruning what the other is about to boot from. Two further locks do, which lie beside those of
//! environments, under names that no environment can have:
//! - `.making`: whoever makes, replaces or prunes what is shared has it from before its last look at the
//!   cloud until the last such step has ended;
//! - `.pruning`: whoever deletes a shared snapshot has it for that moment, and only deletes while no
//!   other environment's lock is held: its run may have planned with the snapshot. Whoever begins looks
//!   at the cloud only once nobody has it.
//!
//! **Invariant:** they are taken in this order: environment, `.making`, `.pruning`; and nobody waits for
//! an environment's while it has one of the others. Nor is a volume that another environment has waited
//! for with `.making` in the hand, which that one may need to let go of the volume: a plan is made once
//! the volume is free, and a step that needs one which somebody was quicker to attach fails where what
//! `.making` is held for waits for it ([`awaited_by_makers`]). Nobody is asked anything meanwhile, either.
//! So no circle of waits can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::lock::{self, Lock, LockError};
use super::shared_lock::{self, Lease, SharedLock, Terms};
use crate::address::Address;
use crate::cloud::fenced_by;
use crate::plan::{Plan, Step, StepId, StepKind};
use crate::store::Store;

const MAKING: &str = ".making";
const PRUNING: &str = ".pruning";

/// How long another one's deletes of snapshots may take.
const A_MOMENT: Duration = Duration::from_secs(3 * 60);

/// Where the locks of a project lie, and who asks.
#[derive(Debug, Clone)]
pub struct ProjectPlace {
    /// The folder `.dewpoint`.
    pub state: Utf8PathBuf,
    /// The store that all machines share, if there is one.
    pub store: Option<Store>,
    /// Of locks in the store.
    pub terms: Terms,
    /// Name of the project.
    pub project: String,
    /// Name of the environment, whose own lock is held.
    pub environment: String,
    /// What is done, such as `apply`.
    pub command: String,
}

/// A lock on what is shared.
#[derive(Debug)]
pub struct ProjectLock {
    _folder: Lock,
    shared: Option<SharedLock>,
}

impl ProjectLock {
    /// The right that comes with it, where it can be lost.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        self.shared.as_ref().map(|shared| shared.lease().clone())
    }

    /// Lets go of it.
    pub async fn release(self) {
        if let Some(shared) = self.shared {
            shared.release().await;
        }
    }
}

impl ProjectPlace {
    /// Takes the right to make, replace and prune what is shared; waits for it as long as `patience`.
    ///
    /// # Errors
    /// [`LockError::Project`] when another run keeps it; when a lock cannot be used.
    pub async fn making(&self, patience: Duration) -> Result<ProjectLock, LockError> {
        self.take(MAKING, patience).await
    }

    /// Waits until nobody deletes what this run may be about to plan with. Whoever deletes from now on
    /// sees that this environment is worked on.
    ///
    /// # Errors
    /// As [`ProjectPlace::making`].
    pub async fn until_nobody_prunes(&self) -> Result<(), LockError> {
        self.take(PRUNING, A_MOMENT).await?.release().await;
        Ok(())
    }

    /// Deletes a shared snapshot, unless another environment is worked on: gives who works on it then.
    ///
    /// # Errors
    /// When a lock cannot be used.
    pub async fn prune<T>(&self, delete: impl Future<Output = T>) -> Result<Pruned<T>, LockError> {
        let lock = self.take(PRUNING, A_MOMENT).await?;
        let busy = self.others().await;
        let pruned = match busy {
            Ok(None) => match lock.lease() {
                Some(lease) => Ok(Pruned::Done(fenced_by(Arc::new(lease), delete).await)),
                None => Ok(Pruned::Done(delete.await)),
            },
            Ok(Some(who)) => Ok(Pruned::InUse(who)),
            Err(error) => Err(error),
        };
        lock.release().await;
        pruned
    }

    /// Another environment that is worked on, and by whom.
    async fn others(&self) -> Result<Option<String>, LockError> {
        let is_other =
            |environment: &str| environment != self.environment && !environment.starts_with('.');
        for environment in lock::environments(&self.state, &self.project) {
            if is_other(&environment)
                && let Some(holder) = lock::held(&self.state, &self.project, &environment)
            {
                return Ok(Some(format!("environment {environment}: {holder}")));
            }
        }
        match &self.store {
            Some(store) => Ok(shared_lock::held(store, &self.project, is_other).await?),
            None => Ok(None),
        }
    }

    async fn take(&self, which: &str, patience: Duration) -> Result<ProjectLock, LockError> {
        let end = tokio::time::Instant::now() + patience;
        let command = format!("{} --env {}", self.command, self.environment);
        let of_project = |error| match error {
            LockError::Held { holder, .. } => LockError::Project {
                project: self.project.clone(),
                holder,
            },
            LockError::HeldInStore {
                holder, address, ..
            } => LockError::Project {
                project: self.project.clone(),
                holder: format!("{holder}, in {address}"),
            },
            other => other,
        };
        let folder = Lock::acquire(&self.state, &self.project, which, &command, patience)
            .await
            .map_err(of_project)?;
        let shared = match &self.store {
            None => None,
            Some(store) => {
                let left = end.saturating_duration_since(tokio::time::Instant::now());
                let taken =
                    SharedLock::acquire(store, &self.project, which, &command, self.terms, left);
                Some(taken.await.map_err(of_project)?)
            }
        };
        Ok(ProjectLock {
            _folder: folder,
            shared,
        })
    }
}

/// What came of deleting a shared snapshot.
#[derive(Debug)]
pub enum Pruned<T> {
    /// It was tried, and this came of it.
    Done(T),
    /// Somebody may be using it: who.
    InUse(String),
}

/// What steps need to work on what is shared.
#[derive(Debug, Clone)]
pub struct ProjectRight {
    /// Where the project's locks lie.
    pub place: ProjectPlace,
    /// The right to make, where it can be lost.
    pub lease: Option<Lease>,
    /// Names in the manifest of the volumes that are the project's.
    pub volumes: BTreeSet<String>,
    /// Steps that attach a volume and that a step waits for which makes something shared.
    pub awaited: BTreeSet<StepId>,
}

/// Steps that attach a volume and that a step waits for, in however many steps, which makes, replaces or
/// prunes what environments share: until they have ended the project's lock is held.
#[must_use]
pub fn awaited_by_makers(plan: &Plan, is_shared: impl Fn(&str) -> bool) -> BTreeSet<StepId> {
    let mut before: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
    for edge in &plan.edges {
        before.entry(edge.to).or_default().push(edge.from);
    }
    let makers = plan.steps.iter();
    let makers = makers.filter(|step| makes_shared(step, &is_shared));
    let mut waiting: Vec<StepId> = makers.map(|step| step.id).collect();
    let mut seen = BTreeSet::new();
    while let Some(step) = waiting.pop() {
        let before = before.get(&step).into_iter().flatten();
        waiting.extend(before.filter(|step| seen.insert(**step)));
    }
    seen.retain(|step| {
        let step = plan.step(*step);
        step.is_some_and(|step| matches!(step.kind, StepKind::Attach { .. }))
    });
    seen
}

/// Whether a step makes, replaces or prunes what environments share; `is_shared` says of a volume
/// whether they do.
#[must_use]
pub fn makes_shared(step: &Step, is_shared: impl Fn(&str) -> bool) -> bool {
    let is_of_project = match &step.address {
        Address::Snapshot(_) => true,
        Address::Volume(name) => is_shared(name),
        Address::SshKey | Address::Firewall | Address::Droplet { .. } => false,
    };
    is_of_project
        && match &step.kind {
            StepKind::TakeSnapshot { .. }
            | StepKind::TagSnapshot { .. }
            | StepKind::Transfer { .. }
            | StepKind::Prune { .. }
            | StepKind::CreateVolume { .. }
            | StepKind::ResizeVolume { .. }
            | StepKind::DeleteVolume { .. }
            | StepKind::TagVolume { .. }
            | StepKind::UpdateTags { .. } => true,
            // Its own lock is that the API takes one snapshot of a volume in 10 minutes.
            StepKind::SnapshotVolume { .. }
            | StepKind::DeleteVolumeSnapshot { .. }
            | StepKind::CloneVolume { .. }
            | StepKind::CreateSshKey { .. }
            | StepKind::DeleteSshKey { .. }
            | StepKind::CreateTags { .. }
            | StepKind::DeleteTags { .. }
            | StepKind::CreateFirewall { .. }
            | StepKind::UpdateFirewall { .. }
            | StepKind::DeleteFirewall { .. }
            | StepKind::CreateDroplets { .. }
            | StepKind::Connect { .. }
            | StepKind::Provision { .. }
            | StepKind::PowerOff { .. }
            | StepKind::Attach { .. }
            | StepKind::Mount { .. }
            | StepKind::Gather { .. }
            | StepKind::Prepare { .. }
            | StepKind::Sync { .. }
            | StepKind::Run { .. }
            | StepKind::Collect { .. }
            | StepKind::StopBackground { .. }
            | StepKind::Unmount { .. }
            | StepKind::Detach { .. }
            | StepKind::DestroyDroplet { .. }
            | StepKind::KeepDroplet { .. } => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        lease: Duration::from_secs(60),
    };

    fn place(state: &camino::Utf8Path, store: Option<&Store>, environment: &str) -> ProjectPlace {
        ProjectPlace {
            state: state.to_owned(),
            store: store.cloned(),
            terms: TERMS,
            project: "shop".to_owned(),
            environment: environment.to_owned(),
            command: "apply".to_owned(),
        }
    }

    fn temporary() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
        (folder, path)
    }

    #[tokio::test]
    async fn one_makes_and_the_other_learns_for_which_environment() {
        let (_one, here) = temporary();
        let (_two, elsewhere) = temporary();
        let store = Store::in_memory();
        let first = place(&here, Some(&store), "main");
        let lock = first.making(Duration::ZERO).await.expect("free");
        for state in [&here, &elsewhere] {
            let other = place(state, Some(&store), "pr-1");
            let error = other.making(Duration::ZERO).await.expect_err("held");
            let text = error.to_string();
            assert!(
                text.starts_with("the snapshots and volumes of shop are being worked on by `dewpoint apply --env main`"),
                "{text}"
            );
            // It keeps nobody from looking, whatever it makes.
            other.until_nobody_prunes().await.expect("nobody prunes");
        }
        lock.lease().expect("in a store").check().expect("ours");
        lock.release().await;
        let other = place(&elsewhere, Some(&store), "pr-1");
        other.making(Duration::ZERO).await.expect("let go");
    }

    #[test]
    fn what_fills_a_shared_volume_waits_for_nobody_else() {
        let attaches = |yaml: &str, is_shared: bool| -> Vec<String> {
            let manifest = serde_yaml::from_str(yaml).expect("a manifest");
            let inputs = crate::desired::Inputs {
                ssh_key: crate::desired::SshKey {
                    public_key: "ssh-ed25519 AAAA".to_owned(),
                    fingerprint: "aa".to_owned(),
                    generated: true,
                },
                copies: BTreeMap::new(),
                commits: BTreeMap::new(),
            };
            let desired = crate::desired::desired(&manifest, &inputs).expect("desired");
            let live = crate::plan::tests::world::nothing();
            let options = crate::plan::Options::default();
            let plan = crate::plan::plan(&desired, &live, &options, 0).expect("a plan");
            let awaited = awaited_by_makers(&plan, |name| is_shared && name == "data");
            awaited
                .into_iter()
                .filter_map(|step| match &plan.step(step)?.kind {
                    StepKind::Attach { droplet, .. } => Some(droplet.name().to_owned()),
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        let yaml = r#"
version: 1
project: app
region: nyc3
volumes:
  data:
    size: 1GiB
    populate: { image: ubuntu-24-04-x64, size: c-2, run: [{ name: pull, command: pull }] }
droplets:
  use: { image: ubuntu-24-04-x64, size: c-2, volumes: [{ volume: data, mount: /mnt/data }] }
"#;
        assert_eq!(attaches(yaml, true), ["app-main-builder.volume.data"]);
        // The environment's own is nobody else's.
        let own = yaml.replace("    size: 1GiB", "    size: 1GiB\n    scope: environment");
        assert!(attaches(&own, false).is_empty());
    }

    #[tokio::test]
    async fn nothing_is_pruned_while_another_environment_is_worked_on() {
        let (_one, here) = temporary();
        let (_two, elsewhere) = temporary();
        let store = Store::in_memory();
        let pruner = place(&here, Some(&store), "main");
        let own = SharedLock::acquire(&store, "shop", "main", "apply", TERMS, Duration::ZERO);
        let own = own.await.expect("free");
        let is_pruned = async || match pruner.prune(async {}).await.expect("no fault") {
            Pruned::Done(()) => None,
            Pruned::InUse(who) => Some(who),
        };
        assert_eq!(is_pruned().await, None);
        // On another machine.
        let other = SharedLock::acquire(&store, "shop", "pr-1", "test", TERMS, Duration::ZERO);
        let other = other.await.expect("free");
        let who = is_pruned().await.expect("in use");
        assert!(
            who.starts_with("environment pr-1: `dewpoint test` (process "),
            "{who}"
        );
        other.release().await;
        assert_eq!(is_pruned().await, None);
        // In the same folder; another folder's or project's do not count.
        let zero = Duration::ZERO;
        let _ours = Lock::acquire(&here, "shop", "main", "apply", zero)
            .await
            .expect("free");
        let _theirs = Lock::acquire(&here, "other", "pr-1", "apply", zero)
            .await
            .expect("free");
        let _away = Lock::acquire(&elsewhere, "shop", "pr-1", "apply", zero)
            .await
            .expect("free");
        assert_eq!(is_pruned().await, None);
        let held = Lock::acquire(&here, "shop", "pr-2", "run", zero)
            .await
            .expect("free");
        let who = is_pruned().await.expect("in use");
        assert!(who.starts_with("environment pr-2: `dewpoint run`"), "{who}");
        drop(held);
        assert_eq!(is_pruned().await, None);
        own.release().await;
    }
}
