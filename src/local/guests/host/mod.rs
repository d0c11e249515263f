//! All guests of one local cloud: their layers, volumes and lives.

mod boot;
mod disks;
mod events;
mod layers;
mod tidy;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::{Mutex, mpsc};

use super::base;
use super::cgroups::Cgroups;
use super::error::GuestError;
use super::guest::{Guest, Said};
use super::living;
use super::network::Network;
use super::systemd;
use super::volumes::Attached;
use crate::local::seam::{BootSpec, Limits, Tier};
use disks::forget_disks;

/// How guests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether systemd is process 1 of the guests where that can be. It takes some 25 MB a guest.
    pub systemd: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { systemd: true }
    }
}

/// All guests of one local cloud.
#[derive(Clone)]
pub struct GuestHost {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Utf8PathBuf,
    tier: Tier,
    ssh_port: u16,
    cgroups: Cgroups,
    network: Network,
    has_systemd: bool,
    /// Held while something is built on a layer, or layers are looked through for unused ones.
    building: Mutex<()>,
    state: Mutex<State>,
    said: mpsc::UnboundedSender<(u64, Said)>,
    powered_off: std::sync::Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

#[derive(Default)]
struct State {
    guests: BTreeMap<u64, Running>,
    volumes: BTreeMap<String, Attached>,
    /// Droplets on their way up again after they asked for it.
    restarting: BTreeSet<u64>,
}

struct Running {
    guest: Arc<Guest>,
    shift: u32,
    spec: BootSpec,
    limits: Limits,
    /// Its control group of version 2, when it has one.
    tree: Option<Utf8PathBuf>,
}

impl GuestHost {
    /// Opens the guests whose state lies in `state_dir`; with tier `api` it only keeps quiet.
    ///
    /// # Errors
    /// When the folders or the base cannot be made.
    pub async fn open(state_dir: &Utf8Path, tier: Tier, ssh_port: u16) -> Result<Self, GuestError> {
        Self::open_with(state_dir, tier, ssh_port, Options::default()).await
    }

    /// Opens the guests as [`Self::open`] does, made as `options` say.
    ///
    /// # Errors
    /// When the folders or the base cannot be made.
    pub async fn open_with(
        state_dir: &Utf8Path,
        tier: Tier,
        ssh_port: u16,
        options: Options,
    ) -> Result<Self, GuestError> {
        let folder = state_dir.join("guests");
        if tier == Tier::Namespaces {
            for name in ["layers", "droplets", "stage", "volumes", "volume-snapshots"] {
                let path = folder.join(name);
                fs::create_dir_all(&path).map_err(GuestError::io(format!("cannot make {path}")))?;
            }
            let stage = folder.join("stage");
            blocking(move || wait_for_former_guests(&stage)).await?;
            let base = folder.join("base");
            blocking(move || base::prepare(&base)).await?;
            layers::recover(&folder)?;
            allow_many_descriptors();
        }
        let cgroups = if tier == Tier::Namespaces {
            Cgroups::find()
        } else {
            Cgroups::default()
        };
        let (said, saying) = mpsc::unbounded_channel();
        let (off, powered_off) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            folder,
            tier,
            ssh_port,
            has_systemd: options.systemd && cgroups.delegate() && systemd::is_there(),
            cgroups,
            network: Network::default(),
            building: Mutex::default(),
            state: Mutex::default(),
            said,
            powered_off: std::sync::Mutex::new(Some(powered_off)),
        });
        tokio::spawn(events::listen(Arc::downgrade(&inner), saying, off));
        Ok(Self { inner })
    }

    /// Droplets that powered themselves off. Can be taken once.
    #[must_use]
    pub fn take_powered_off(&self) -> Option<mpsc::UnboundedReceiver<u64>> {
        self.inner
            .powered_off
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }

    /// Whether process 1 of the guests is systemd; without it `systemctl` says why it cannot work.
    #[must_use]
    pub fn has_systemd(&self) -> bool {
        self.inner.has_systemd
    }

    /// Whether a limit on a guest's memory is kept here.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.inner.cgroups.limit_memory()
    }

    fn is_api(&self) -> bool {
        self.inner.tier == Tier::Api
    }

    fn droplet(&self, droplet: u64) -> Utf8PathBuf {
        self.inner.folder.join("droplets").join(droplet.to_string())
    }

    fn layer(&self, image: u64) -> Utf8PathBuf {
        self.inner.folder.join("layers").join(image.to_string())
    }

    fn volume(&self, volume: &str) -> Utf8PathBuf {
        self.inner
            .folder
            .join("volumes")
            .join(format!("{volume}.img"))
    }

    fn volume_snapshot(&self, snapshot: &str) -> Utf8PathBuf {
        self.inner
            .folder
            .join("volume-snapshots")
            .join(format!("{snapshot}.img"))
    }

    /// Asks a droplet's guest to shut down in good order and returns at once; that it is off is
    /// told by [`Self::take_powered_off`]. One that is off is fine.
    pub async fn shut_down(&self, droplet: u64) {
        let guest = {
            let state = self.inner.state.lock().await;
            state
                .guests
                .get(&droplet)
                .map(|running| Arc::clone(&running.guest))
        };
        if let Some(guest) = guest {
            guest.shut_down().await;
        }
    }

    /// Ends a droplet's guest, as a pulled plug would where systemd is its process 1. One that is
    /// off is fine.
    pub async fn power_off(&self, droplet: u64) {
        let running = {
            let mut state = self.inner.state.lock().await;
            forget_disks(&mut state, droplet);
            state.restarting.remove(&droplet);
            state.guests.remove(&droplet)
        };
        if let Some(running) = running {
            running.guest.power_off().await;
        }
    }

    /// Whether a droplet's guest is up.
    pub async fn is_running(&self, droplet: u64) -> bool {
        let state = self.inner.state.lock().await;
        state.guests.contains_key(&droplet) || state.restarting.contains(&droplet)
    }

    /// Ends a droplet's guest and deletes what it wrote.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub async fn destroy(&self, droplet: u64) -> Result<(), GuestError> {
        self.power_off(droplet).await;
        self.inner
            .state
            .lock()
            .await
            .volumes
            .retain(|_, attached| attached.droplet != droplet);
        let folder = self.droplet(droplet);
        let aside = folder.with_extension(layers::GONE);
        let what = format!("cannot delete the file system of droplet {droplet}");
        // At once, so that half a file system is never taken for one.
        match fs::rename(&folder, &aside) {
            Ok(()) => remove_folder(aside, what).await?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(GuestError::io(what)(error)),
        }
        self.collect_layers().await
    }

    /// Deletes everything that guests have left in `state_dir`, once none is alive any more; no
    /// cloud may be running there.
    ///
    /// # Errors
    /// When a guest does not end, or a file cannot be deleted.
    pub fn erase(state_dir: &Utf8Path) -> Result<(), GuestError> {
        Self::wait_until_gone(state_dir)?;
        let folder = state_dir.join("guests");
        base::remove(folder.as_std_path())
            .map_err(GuestError::io(format!("cannot delete {folder}")))
    }

    /// Waits until no guest in `state_dir` is alive: those of a cloud that was killed end within
    /// moments.
    ///
    /// # Errors
    /// When one does not end.
    pub fn wait_until_gone(state_dir: &Utf8Path) -> Result<(), GuestError> {
        wait_for_former_guests(&state_dir.join("guests").join("stage"))
    }

    /// Powers every guest off.
    pub async fn close(&self) {
        let droplets: Vec<u64> = self
            .inner
            .state
            .lock()
            .await
            .guests
            .keys()
            .copied()
            .collect();
        futures_util::future::join_all(droplets.iter().map(|droplet| self.power_off(*droplet)))
            .await;
    }
}

/// How long guests of a cloud that was killed may take to end.
const TO_END: std::time::Duration = std::time::Duration::from_secs(15);

fn wait_for_former_guests(stage: &Utf8Path) -> Result<(), GuestError> {
    let failed = || GuestError::io("cannot wait for the guests of a local cloud that was killed");
    if living::wait_until_gone(stage.as_std_path(), TO_END).map_err(failed())? {
        return Ok(());
    }
    Err(failed()(std::io::ErrorKind::TimedOut.into()))
}

/// A guest takes five descriptors, an SSH connection four and more: the usual limit of 1024 would
/// be reached by some hundred droplets. Where it cannot be raised that many must do.
fn allow_many_descriptors() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on descriptors stays as it is");
    }
}

async fn remove_folder(folder: Utf8PathBuf, what: String) -> Result<(), GuestError> {
    blocking(move || base::remove(folder.as_std_path()).map_err(GuestError::io(what))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GuestError> + Send + 'static,
) -> Result<T, GuestError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(GuestError::Io {
            what: "a task ended early".to_owned(),
            cause: std::io::Error::other(error),
        }),
    }
}
