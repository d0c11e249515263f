//! What each kind of step does: a function a kind, in a file a subject.

mod background;
mod clone;
mod droplet;
mod files;
mod firewall;
mod inventory;
pub mod keep;
mod run;
pub(super) mod snapshot;
mod ssh_key;
mod tags;
mod unmount;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::StepError;
use super::event::Failure;
use super::feed::Reporter;
use super::outputs::{MadeDroplet, Outputs};
use super::perform::Perform;
use super::project_lock::makes_shared;
use super::sessions::Sessions;
use super::settings::Settings;
use crate::cloud::{fenced_by, for_chain};
use crate::guest::{GuestError, Session};
use crate::live::LiveDroplet;
use crate::live::ownership::{environment_tag, project_tag};
use crate::plan::step::DropletRef;
use crate::plan::{EdgeKind, Goal, Plan, Step, StepId, StepKind};

/// How long a droplet that is being made by someone else may be without an address.
const TO_HAVE_AN_ADDRESS: Duration = Duration::from_secs(3 * 60);

/// How long a droplet that was just made may take until it can be logged in to: the first boot of a
/// large image takes minutes.
const TO_BOOT: Duration = Duration::from_secs(15 * 60);
/// How long a droplet that was up before may take.
const TO_ANSWER: Duration = Duration::from_secs(2 * 60);
/// How long one may take that is to be destroyed, so that its volumes are left tidily.
const TO_TAKE_LEAVE: Duration = Duration::from_secs(30);

/// After a connection broke: until the second look whether its droplet is still there, and the
/// longest time between two.
const GONE_FIRST: Duration = Duration::from_millis(500);
const GONE_LAST: Duration = Duration::from_secs(10);

/// How long unmounting may take once the run was interrupted: destroying is what has to begin before
/// whoever interrupted it loses patience, and that may be 7 s.
const TO_UNMOUNT_IN_A_HURRY: Duration = Duration::from_secs(1);

/// How long after an interrupt droplets are still looked for whose create was never answered: what is
/// found is still to be destroyed before whoever interrupted the run loses patience.
const TO_BE_FOUND_IN_A_HURRY: Duration = Duration::from_millis(3_750);
/// The same where the look came later than that.
const TO_BE_FOUND_AT_LAST: Duration = Duration::from_millis(500);

/// How long after an interrupt droplets whose deletes were accepted are still waited for: whoever
/// interrupted the run may end it after 7 s, and what is left to be told is to be told before.
const TO_BE_GONE_IN_A_HURRY: Duration = Duration::from_secs(5);
/// The same where the last delete came later than that: most are gone in a moment or in ten seconds.
const TO_BE_GONE_AT_LAST: Duration = Duration::from_secs(1);

/// Performs steps against the account and its droplets.
pub(super) struct Steps {
    settings: Settings,
    outputs: Outputs,
    sessions: Sessions,
    project: String,
    environment: String,
    environment_tag: String,
    project_tag: String,
    /// How long the longest chain is that begins with each step: its calls are as urgent.
    chains: Vec<u64>,
    /// Steps that make throw-away copies of volumes.
    clones: BTreeSet<StepId>,
    niceties: BTreeSet<StepId>,
    /// Names of droplets that the plan destroys.
    doomed: BTreeSet<String>,
    /// Names of those that were shut down because a volume could not be unmounted.
    off: Mutex<BTreeSet<String>>,
    /// Names of those that are still on all the same.
    stuck: Mutex<BTreeSet<String>>,
    /// Whether what the project owns is to go, too.
    empties_project: bool,
    /// Whether a droplet could not be destroyed: then the key that opens it is kept.
    droplet_left: AtomicBool,
    /// Ids of droplets that someone else has destroyed.
    gone: Mutex<BTreeSet<u64>>,
    /// When the run was interrupted.
    hurried: OnceLock<Instant>,
    /// Ends the waits of those who wait for that.
    interrupted: CancellationToken,
    /// Droplets, by id, whose deletes were accepted and not waited for.
    going: Mutex<BTreeMap<u64, String>>,
}

impl Steps {
    pub(super) fn new(plan: &Plan, settings: Settings, chains: Vec<u64>) -> Self {
        Self {
            chains,
            outputs: Outputs::default(),
            sessions: Sessions::new(plan),
            project: plan.project.clone(),
            environment: plan.environment.clone(),
            environment_tag: environment_tag(&plan.project, &plan.environment),
            project_tag: project_tag(&plan.project),
            clones: plan
                .steps
                .iter()
                .filter(|step| matches!(step.kind, StepKind::CloneVolume { .. }))
                .map(|step| step.id)
                .collect(),
            niceties: niceties(plan),
            doomed: doomed(plan).into_iter().map(str::to_owned).collect(),
            off: Mutex::default(),
            stuck: Mutex::default(),
            empties_project: plan.goal == Goal::DestroyProject,
            droplet_left: AtomicBool::new(false),
            gone: Mutex::default(),
            hurried: OnceLock::new(),
            interrupted: CancellationToken::new(),
            going: Mutex::default(),
            settings,
        }
    }

    /// Whether a volume is the project's.
    fn is_shared(&self, volume: &str) -> bool {
        let right = self.settings.project.as_ref();
        right.is_some_and(|right| right.volumes.contains(volume))
    }

    /// Id and address of a droplet, as far as they are known.
    fn droplet(&self, droplet: &DropletRef) -> Result<MadeDroplet, StepError> {
        match droplet {
            DropletRef::Known { id, .. } => {
                let mut droplets = self.settings.live.droplets.iter();
                let live = droplets.find(|live| live.id == *id);
                Ok(MadeDroplet {
                    id: *id,
                    address: live.and_then(|live| live.public_ipv4),
                    private: live.and_then(|live| live.private_ipv4),
                })
            }
            DropletRef::Created { step, name } => {
                self.outputs
                    .droplet(*step, name)
                    .ok_or_else(|| StepError::NotMade {
                        what: format!("droplet {name}"),
                    })
            }
        }
    }

    /// The address of a droplet; one that has none yet is looked at until it has.
    async fn address(&self, droplet: &DropletRef) -> Result<Ipv4Addr, StepError> {
        let known = self.droplet(droplet)?;
        if let Some(address) = known.address {
            return Ok(address);
        }
        let address = |found: Vec<LiveDroplet>| {
            let ours = found.into_iter().find(|found| found.id == known.id);
            ours.and_then(|found| found.public_ipv4)
        };
        let client = &self.settings.client;
        let tag = &self.environment_tag;
        let found = client
            .look_for_droplets(tag, &[droplet.name()], TO_HAVE_AN_ADDRESS, address)
            .await?;
        found.ok_or_else(|| StepError::NoAddress {
            name: droplet.name().to_owned(),
        })
    }

    /// The connection to a droplet.
    async fn session(&self, droplet: &DropletRef) -> Result<Session, StepError> {
        let patience = match droplet {
            DropletRef::Known { .. } => TO_ANSWER,
            DropletRef::Created { .. } => TO_BOOT,
        };
        self.session_within(droplet, patience).await
    }

    /// The connection to a droplet, if it can be had in that time.
    async fn session_within(
        &self,
        droplet: &DropletRef,
        patience: Duration,
    ) -> Result<Session, StepError> {
        if self.gone().contains(&self.droplet(droplet)?.id) {
            return Err(Self::is_gone(droplet));
        }
        let address = self.address(droplet).await?;
        let is_lost = self.sessions.is_lost(droplet.name()).await;
        let connect = self
            .sessions
            .get(&self.settings, droplet.name(), address, patience);
        if !is_lost {
            return connect.await;
        }
        tokio::select! {
            biased;
            gone = self.until_gone(droplet) => Err(gone),
            connected = connect => connected,
        }
    }

    /// Ends when a droplet is found to be gone: nobody needs to wait for its answer then.
    async fn until_gone(&self, droplet: &DropletRef) -> StepError {
        let mut pause = GONE_FIRST;
        loop {
            if let Err(gone) = self.refuse_gone(droplet).await {
                return gone;
            }
            sleep(pause).await;
            pause = (pause * 2).min(GONE_LAST);
        }
    }

    /// Refuses a droplet that was destroyed behind our back, or is just being: then it has lost its
    /// tags. While the API cannot be asked it counts as there.
    async fn refuse_gone(&self, droplet: &DropletRef) -> Result<(), StepError> {
        let id = self.droplet(droplet)?.id;
        match self.settings.client.find_droplet(id).await {
            Ok(Some(live)) if !live.tags.is_empty() => Ok(()),
            Ok(_) => {
                self.gone().insert(id);
                Err(Self::is_gone(droplet))
            }
            Err(_) => Ok(()),
        }
    }

    fn off(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stuck(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // Nothing that can panic happens under the lock.
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(droplet: &DropletRef) -> StepError {
        StepError::DropletGone {
            name: droplet.name().to_owned(),
        }
    }

    /// Does something on a droplet that may be done twice: once more over a new connection when the
    /// first was lost in its midst.
    async fn on_droplet<'a, T: Send + 'a>(
        &self,
        droplet: &DropletRef,
        reporter: &Reporter,
        work: impl Fn(Session) -> BoxFuture<'a, Result<T, GuestError>> + Send + Sync,
    ) -> Result<T, StepError> {
        let session = self.session(droplet).await?;
        match work(session).await {
            Err(error) if error.is_connection_lost() => {
                reporter.retried(2, Duration::ZERO, &error.to_string());
                let session = self.session(droplet).await?;
                Ok(work(session).await?)
            }
            other => Ok(other?),
        }
    }
}

#[async_trait]
impl Perform for Steps {
    async fn perform(&self, step: &Step, reporter: &Reporter) -> Result<String, Failure> {
        let chain = self.chains.get(step.id.0 as usize).copied();
        let work = for_chain(chain.unwrap_or_default(), self.carry_out(step, reporter));
        let right = self.settings.project.as_ref();
        match right.and_then(|right| right.lease.clone()) {
            // What is an environment's alone is cleaned up also when the project's lock was lost.
            Some(lease) if makes_shared(step, |name| self.is_shared(name)) => {
                fenced_by(Arc::new(lease), work).await
            }
            _ => work.await,
        }
    }

    fn api_calls(&self) -> u64 {
        self.settings.client.calls()
    }

    fn hurry(&self) {
        self.hurried.get_or_init(Instant::now);
        self.interrupted.cancel();
        self.settings.client.hurry();
    }

    async fn close(&self) -> Option<String> {
        let (left, ()) = tokio::join!(self.wait_for_the_last(), self.sessions.close_all());
        if left.is_empty() {
            return None;
        }
        Some(format!(
            "the API has accepted these deletes and was not done with them yet: {}; `dewpoint status` shows whether anything is left",
            left.join(", ")
        ))
    }
}

impl Steps {
    /// Does what a step is there for.
    async fn carry_out(&self, step: &Step, reporter: &Reporter) -> Result<String, Failure> {
        let done = match &step.kind {
            StepKind::CreateSshKey {
                name,
                public_key,
                fingerprint,
            } => self.create_ssh_key(name, public_key, fingerprint).await,
            StepKind::DeleteSshKey {
                name,
                fingerprint,
                forget_private_key,
            } => {
                self.delete_ssh_key(name, fingerprint, *forget_private_key)
                    .await
            }
            StepKind::CreateTags { names } => self.create_tags(names).await,
            StepKind::DeleteTags { names } => self.delete_tags(names).await,
            StepKind::UpdateTags {
                resource,
                id,
                add,
                remove,
            } => self.update_tags(*resource, id, add, remove).await,
            StepKind::CreateFirewall { spec } => self.create_firewall(step.id, spec).await,
            StepKind::UpdateFirewall { id, spec } => self.update_firewall(id, spec).await,
            StepKind::DeleteFirewall { firewall, name } => {
                self.delete_firewall(firewall, name).await
            }
            StepKind::CreateVolume { spec } => self.create_volume(step.id, spec).await,
            StepKind::ResizeVolume { id, region, to } => self.resize_volume(id, region, *to).await,
            StepKind::DeleteVolume { volume, name, sort } => {
                self.delete_volume(volume, name, *sort).await
            }
            StepKind::SnapshotVolume {
                volume,
                volume_name,
                tags,
                found: _,
            } => {
                self.snapshot_volume(step.id, volume, volume_name, tags, reporter)
                    .await
            }
            StepKind::CloneVolume { snapshot, spec, .. } => {
                self.clone_volume(step.id, *snapshot, spec).await
            }
            StepKind::TagVolume {
                volume,
                add,
                remove,
            } => match self.volume(volume) {
                Ok(id) => self.tag_volume(&id, add, remove).await,
                Err(error) => Err(error),
            },
            StepKind::DeleteVolumeSnapshot { id, .. } => self.delete_volume_snapshot(id).await,
            StepKind::Attach {
                volume,
                droplet,
                region,
            } => self.attach(volume, droplet, region, reporter).await,
            StepKind::Mount {
                droplet,
                volume_name,
                filesystem,
                path,
                usage,
            } => {
                let what = (*filesystem, *usage);
                self.mount(droplet, volume_name, what, path, reporter).await
            }
            StepKind::Unmount { droplet, path } if step.cleanup && reporter.is_hurried() => {
                let unmount = self.unmount(step.id, droplet, path, reporter);
                match timeout(TO_UNMOUNT_IN_A_HURRY, unmount).await {
                    Ok(done) => done,
                    Err(_elapsed) => Ok("not waited for: its droplet goes".to_owned()),
                }
            }
            StepKind::Unmount { droplet, path } => {
                self.unmount(step.id, droplet, path, reporter).await
            }
            // The droplet is destroyed next, which detaches its volumes too.
            StepKind::Detach { .. } if step.cleanup && reporter.is_hurried() => {
                Ok("goes with its droplet".to_owned())
            }
            StepKind::Detach {
                volume,
                droplet,
                region,
            } => self.detach(volume, droplet, region).await,
            StepKind::CreateDroplets { spec, droplets } => {
                self.create_droplets(step.id, spec, droplets, reporter)
                    .await?
            }
            StepKind::Connect { droplet, .. } if self.niceties.contains(&step.id) => self
                .session_within(droplet, TO_TAKE_LEAVE)
                .await
                .map(|_| String::new()),
            StepKind::Connect { droplet, .. } => self.connect(droplet, reporter).await,
            StepKind::DestroyDroplet { droplet, tag } => {
                let destroyed = self.destroy_droplet(droplet, tag, reporter).await;
                if destroyed.is_err() {
                    self.droplet_left.store(true, Ordering::Release);
                }
                destroyed
            }
            StepKind::KeepDroplet { droplet, keep, tag } => {
                self.keep_droplet(droplet, *keep, tag).await
            }
            StepKind::Provision { droplet, step, .. } => {
                return self.provision(droplet, step, reporter).await;
            }
            StepKind::PowerOff { droplet } => self.power_off(droplet, reporter).await,
            StepKind::TakeSnapshot { droplet, name } => {
                self.take_snapshot(step.id, droplet, name).await
            }
            StepKind::TagSnapshot { image, tags } => self.tag_snapshot(image, tags).await,
            StepKind::Transfer { image, region } => self.transfer(image, region).await,
            StepKind::Prune { id, name } => self.prune(*id, name).await,
            StepKind::Gather { droplets } => self.gather(step.id, droplets).await,
            StepKind::Prepare {
                droplet,
                inventory,
                background,
            } => {
                self.prepare(droplet, *inventory, background, reporter)
                    .await
            }
            StepKind::StopBackground { droplet } => self.stop_background(droplet, reporter).await,
            StepKind::Sync { droplet, source } => self.sync(droplet, source, reporter).await,
            StepKind::Run { droplet, run } => return self.run(droplet, run, reporter).await,
            StepKind::Collect {
                droplet,
                run,
                cwd,
                patterns,
                background,
            } => {
                let files = match patterns.is_empty() {
                    true => Ok(String::new()),
                    false => {
                        let cwd = cwd.as_deref();
                        self.collect(droplet, cwd, patterns, reporter).await?
                    }
                };
                // The log comes also when the files do not.
                let log = match background {
                    Some(log) => self.collect_log(droplet, run, *log, reporter).await?,
                    None => None,
                };
                files.map(|files| match log {
                    Some(log) if files.is_empty() => log,
                    Some(log) => format!("{files}; {log}"),
                    None => files,
                })
            }
        };
        done.map_err(|error| {
            let mut failure = Failure::from(error);
            failure.allowed = self.niceties.contains(&step.id);
            failure
        })
    }
}

/// Names of droplets that the plan destroys.
fn doomed(plan: &Plan) -> BTreeSet<&str> {
    let steps = plan.steps.iter();
    steps
        .filter_map(|step| match &step.kind {
            StepKind::DestroyDroplet { droplet, .. } => Some(droplet.name()),
            _ => None,
        })
        .collect()
}

/// Steps that only leave tidily what the plan destroys anyway: stopping and unmounting, and logging
/// in for it.
/// Their failure is told, and is no failure of the whole.
fn niceties(plan: &Plan) -> BTreeSet<StepId> {
    let destroyed = doomed(plan);
    // That a volume is filled is noted only if all that was written is there.
    let mut counts: BTreeSet<StepId> = BTreeSet::new();
    for edge in &plan.edges {
        let to = plan.step(edge.to).map(|step| &step.kind);
        if edge.kind == EdgeKind::Needs && matches!(to, Some(StepKind::TagVolume { .. })) {
            counts.insert(edge.from);
        }
    }
    let unmounts: BTreeSet<StepId> = plan
        .steps
        .iter()
        .filter(|step| {
            matches!(&step.kind, StepKind::Unmount { droplet, .. } | StepKind::StopBackground { droplet } if destroyed.contains(droplet.name()))
        })
        .map(|step| step.id)
        .filter(|unmount| !counts.contains(unmount))
        .collect();
    let mut needed = BTreeSet::new();
    let mut needed_for_more = BTreeSet::new();
    for edge in plan
        .edges
        .iter()
        .filter(|edge| edge.kind == EdgeKind::Needs)
    {
        let uses = if unmounts.contains(&edge.to) {
            &mut needed
        } else {
            &mut needed_for_more
        };
        uses.insert(edge.from);
    }
    let connects = plan.steps.iter().filter(|step| {
        matches!(step.kind, StepKind::Connect { .. })
            && needed.contains(&step.id)
            && !needed_for_more.contains(&step.id)
    });
    let connects: Vec<StepId> = connects.map(|step| step.id).collect();
    unmounts.into_iter().chain(connects).collect()
}
