//! Does the work of jobs: boots guests, copies volumes, waits until it is time.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::{Mutex as Turn, Notify, Semaphore, oneshot};

use super::account::{Account, Done, Effect, Start};
use super::exchange::Millis;
use super::guests::GuestError;
use super::host::Host;
use super::store::Store;

/// How many guests are worked on at once: booting is bound by the kernel's mount locks, and more
/// at once only makes each slower.
const AT_ONCE: usize = 8;

/// Does the work of jobs.
pub(super) struct Worker {
    pub(super) account: Arc<Mutex<Account>>,
    pub(super) store: Arc<Store>,
    host: Host,
    /// Where the files of volumes lie, when there are any.
    volumes: Option<Utf8PathBuf>,
    slots: Semaphore,
    /// Told whenever a guest has ended by itself.
    went_off: Notify,
    /// Told whenever jobs may end that were kept from it.
    freed: Notify,
    turns: Mutex<HashMap<u64, Arc<Turn<()>>>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<bool>>>,
}

/// The time, as the account counts it.
pub(super) fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

/// Locks what no panic can leave half-done: the account checks before it changes.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    pub(super) fn new(
        account: Arc<Mutex<Account>>,
        store: Arc<Store>,
        host: Host,
        volumes: Option<Utf8PathBuf>,
    ) -> Self {
        Self {
            account,
            store,
            host,
            volumes,
            slots: Semaphore::new(AT_ONCE),
            went_off: Notify::new(),
            freed: Notify::new(),
            turns: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Waits for a job that has not been started yet; the answer is whether it succeeded.
    pub(super) fn watch(&self, job: u64) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(job, sender);
        receiver
    }

    /// Starts jobs.
    pub(super) fn start(self: &Arc<Self>, jobs: Vec<u64>) {
        for job in jobs {
            let worker = Arc::clone(self);
            tokio::spawn(async move { worker.work(job).await });
        }
    }

    async fn work(&self, job: u64) {
        let droplet = lock(&self.account).effect(job).droplet();
        let outcome = match droplet {
            None => self.perform_job(job).await,
            Some(droplet) => {
                // Events of one droplet come one after the other, also where the API allows to
                // delete what is still being made.
                let turn = Arc::clone(lock(&self.turns).entry(droplet).or_default());
                let _mine = turn.lock().await;
                self.perform_job(job).await
            }
        };
        self.until_due(job).await;
        let succeeded = lock(&self.account).finish(job, outcome, now());
        self.store.ask();
        if let Some(waiting) = lock(&self.waiting).remove(&job) {
            let _ = waiting.send(succeeded);
        }
    }

    /// Waits until a job may end.
    async fn until_due(&self, job: u64) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on no word of it is missed.
            freed.as_mut().enable();
            let (due, stuck) = lock(&self.account)
                .job(job)
                .map_or((0, false), |job| (job.due, job.stuck));
            if stuck {
                freed.await;
                continue;
            }
            let left = u64::try_from(due - now()).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(left)).await;
            return;
        }
    }

    /// Lets jobs end that a fault has kept from it.
    pub(super) fn free_stuck(&self) {
        lock(&self.account).free_stuck();
        self.freed.notify_waiters();
    }

    /// Whether droplets are guests.
    pub(super) const fn has_guests(&self) -> bool {
        self.volumes.is_some()
    }

    async fn perform_job(&self, job: u64) -> Option<Done> {
        // Asked again now that it is this job's turn: what it was about may be gone.
        let effect = lock(&self.account).effect(job);
        if matches!(effect, Effect::Nothing) {
            return Some(Done::default());
        }
        // What only waits for a guest keeps none of the others from work.
        let _slot = match &effect {
            Effect::ShutDown(_) => None,
            _ => self.slots.acquire().await.ok(),
        };
        match self.perform(effect).await {
            Ok(done) => Some(done),
            Err(error) => {
                let kind = lock(&self.account).job(job).map(|job| job.kind.clone());
                let mut causes = error.to_string();
                let mut next = std::error::Error::source(&error);
                while let Some(cause) = next {
                    causes = format!("{causes}: {cause}");
                    next = cause.source();
                }
                tracing::error!(?kind, "{causes}");
                None
            }
        }
    }

    async fn perform(&self, effect: Effect) -> Result<Done, GuestError> {
        let host = &self.host;
        let mut bytes = 0;
        match effect {
            Effect::Nothing => {}
            Effect::Boot(start) => self.boot(start).await?,
            Effect::ShutDown(droplet) => {
                if !self.shut_down(droplet).await {
                    return Err(GuestError::Io {
                        what: format!("droplet {droplet} does not shut down"),
                        cause: std::io::ErrorKind::TimedOut.into(),
                    });
                }
            }
            Effect::PowerOff(droplet) => host.power_off(droplet).await,
            Effect::Reboot(start) => {
                self.shut_down(start.spec.droplet).await;
                host.power_off(start.spec.droplet).await;
                self.boot(start).await?;
            }
            Effect::PowerCycle(start) => {
                host.power_off(start.spec.droplet).await;
                self.boot(start).await?;
            }
            Effect::Rebuild(start) => {
                host.destroy(start.spec.droplet).await?;
                self.boot(start).await?;
            }
            Effect::Destroy(droplet) => host.destroy(droplet).await?,
            Effect::Snapshot(droplet, image) => bytes = host.snapshot(droplet, image).await?,
            Effect::DeleteImage(image) => host.delete_image(image).await?,
            Effect::CreateVolume {
                volume,
                size_gib,
                from,
                filesystem,
            } => {
                host.create_volume(&volume, size_gib, from.as_deref())
                    .await?;
                // A copy brings the file system of what it is a copy of.
                if let (Some((kind, label)), Some(folder), None) =
                    (filesystem, &self.volumes, &from)
                {
                    format(&folder.join(format!("{volume}.img")), &kind, &label).await?;
                }
            }
            Effect::DeleteVolume(volume) => host.delete_volume(&volume).await?,
            Effect::ResizeVolume(volume, size_gib) => host.resize_volume(&volume, size_gib).await?,
            Effect::Attach(volume, name, droplet) => host.attach(&volume, &name, droplet).await?,
            Effect::Detach(volume) => host.detach(&volume).await,
            Effect::SnapshotVolume(volume, snapshot) => {
                bytes = host.snapshot_volume(&volume, &snapshot).await?;
            }
            Effect::DeleteVolumeSnapshot(snapshot) => {
                host.delete_volume_snapshot(&snapshot).await?
            }
        }
        Ok(Done { bytes })
    }

    async fn boot(&self, start: Start) -> Result<(), GuestError> {
        let droplet = start.spec.droplet;
        for (volume, name) in start.volumes {
            self.host.attach(&volume, &name, droplet).await?;
        }
        let booted = self.host.boot_within(start.spec, start.limits).await;
        if booted.is_err() {
            self.host.power_off(droplet).await;
        }
        booted
    }

    /// Asks a guest to shut down and waits for it; whether it is off.
    async fn shut_down(&self, droplet: u64) -> bool {
        self.host.shut_down(droplet).await;
        let off = async {
            loop {
                let mut next = std::pin::pin!(self.went_off.notified());
                // From here on no end is missed.
                next.as_mut().enable();
                if !self.host.is_running(droplet).await {
                    return;
                }
                next.await;
            }
        };
        tokio::time::timeout(self.host.to_shut_down(), off)
            .await
            .is_ok()
    }

    /// What users of snapshots should know; image descriptions say it from now on.
    pub(super) fn look_at_images(&self) -> Vec<String> {
        let images: Vec<u64> = lock(&self.account).snapshot_images().collect();
        let warnings: BTreeMap<u64, String> = images
            .into_iter()
            .filter_map(|image| Some((image, self.host.image_warning(image)?)))
            .collect();
        let said = warnings.values().cloned().collect();
        lock(&self.account).set_image_warnings(warnings);
        said
    }

    /// Notes guests that power themselves off, until the host is gone.
    pub(super) async fn listen(self: Arc<Self>) {
        let Some(mut off) = self.host.take_powered_off() else {
            return;
        };
        while let Some(droplet) = off.recv().await {
            // One that was powered on again meanwhile is not off.
            if !self.host.is_running(droplet).await {
                lock(&self.account).powered_itself_off(droplet);
            }
            self.went_off.notify_waiters();
            self.store.ask();
        }
    }

    /// Ends all guests.
    pub(super) async fn close(&self) {
        self.host.close().await;
    }
}

/// Makes a file system in a volume's file, as DigitalOcean does when a create asks for one.
async fn format(file: &Utf8Path, kind: &str, label: &str) -> Result<(), GuestError> {
    let failed = |cause| GuestError::Io {
        what: format!("cannot make {kind} in {file}"),
        cause,
    };
    let mut command = tokio::process::Command::new(format!("mkfs.{kind}"));
    command.args(["-q", if kind == "ext4" { "-F" } else { "-f" }]);
    if !label.is_empty() {
        command.args(["-L", label]);
    }
    let output = command.arg(file.as_str()).output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(std::io::Error::other(said)))
}
