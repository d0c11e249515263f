//! All guests of one local cloud: their layers, volumes and lives.

mod disks;
mod events;
mod layers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::{Mutex, mpsc};

use super::base;
use super::cgroups::Cgroups;
use super::error::GuestError;
use super::exec::GuestExec;
use super::guest::{Guest, Said};
use super::image::describe_image;
use super::network::Network;
use super::probe::Tier;
use super::proxy;
use super::supervisor::PARTS;
use super::systemd;
use super::volumes::{self, Attached};
use super::wire::Setup;
use disks::forget_disks;
use layers::{read_chain, write_chain};

/// What a guest is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestImage {
    /// A public image; what it stands for here is said by [`super::Probe::base`].
    Base {
        /// Its slug.
        slug: String,
    },
    /// A snapshot taken here.
    Snapshot {
        /// Its image id.
        image: u64,
    },
}

/// A guest to boot.
#[derive(Debug, Clone)]
pub struct BootSpec {
    /// The droplet's id.
    pub droplet: u64,
    /// Its host name.
    pub hostname: String,
    /// What it is made from; of no effect when the droplet has booted before.
    pub image: GuestImage,
    /// Public keys that may log in as root, as lines.
    pub authorized_keys: Vec<String>,
    /// Its user data: a cloud-config whose `ssh_keys.ed25519_private` becomes its host key.
    pub user_data: Option<String>,
    /// Where its SSH server listens: in 127.0.0.0/8.
    pub address: Ipv4Addr,
    /// Its address on the network that the guests have among themselves; none to stay alone.
    pub private: Option<Ipv4Addr>,
}

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

/// What a guest may use at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in MiB, page cache and what lies in /tmp included; `None` for no limit. Where no
    /// memory controller can be written there is none either: see [`GuestHost::limits_memory`].
    pub memory_mib: Option<u32>,
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

    /// Boots a droplet and serves SSH for it. One that has booted before keeps what was written.
    ///
    /// # Errors
    /// When its image is unknown or the guest does not come up.
    pub async fn boot(&self, spec: BootSpec) -> Result<(), GuestError> {
        self.boot_within(spec, Limits::default()).await
    }

    /// Boots a droplet as [`Self::boot`] does, within limits. They hold for a reboot too.
    ///
    /// # Errors
    /// When its image is unknown or the guest does not come up.
    pub async fn boot_within(&self, spec: BootSpec, limits: Limits) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        let droplet = spec.droplet;
        let folder = self.droplet(droplet);
        let failed =
            || GuestError::io(format!("droplet {droplet}: cannot prepare its file system"));
        let chain_file = folder.join("layers.json");
        let building = self.inner.building.lock().await;
        let first_boot = !chain_file.exists();
        let chain = if first_boot {
            let chain = match &spec.image {
                GuestImage::Base { .. } => Vec::new(),
                GuestImage::Snapshot { image } => {
                    let mut chain = vec![*image];
                    chain.extend(read_chain(&self.layer(*image).join("layers.json"))?);
                    chain
                }
            };
            fs::create_dir_all(&folder).map_err(failed())?;
            write_chain(&chain_file, &chain)?;
            chain
        } else {
            read_chain(&chain_file)?
        };
        drop(building);
        fresh_work_folders(&folder).map_err(failed())?;
        let host_key = host_key(droplet, spec.user_data.as_deref(), &folder.join("host_key"))?;
        let shift = shift_of(&self.inner.folder, droplet);
        let setup = Setup {
            stage: self.inner.folder.join("stage").into_string(),
            droplet: folder.into_string(),
            layers: chain
                .iter()
                .map(|image| self.layer(*image).into_string())
                .collect(),
            base: self.inner.folder.join("base").into_string(),
            usr: "/usr".to_owned(),
            shift,
            hostname: spec.hostname.clone(),
            authorized_keys: spec.authorized_keys.clone(),
            first_boot,
            env: proxy::environment(),
            motd: motd(&spec.image, self.inner.has_systemd),
            groups: self
                .inner
                .cgroups
                .plan(droplet, limits.memory_mib, self.inner.has_systemd),
        };
        let tree = setup.groups.delegated.clone().map(Utf8PathBuf::from);
        let guest = Guest::start(droplet, &setup, self.inner.said.clone()).await?;
        match guest.listen(proxy::PORT).await {
            Ok(listener) => {
                let serving = proxy::serve(listener, Arc::clone(&guest), guest.gone());
                drop(tokio::spawn(serving));
            }
            Err(error) => tracing::warn!(droplet, %error, "the guest has no way out"),
        }
        if let Some(private) = spec.private {
            let joined = match guest.join(private).await {
                Ok(interface) => self.inner.network.join(private, interface, guest.gone()),
                Err(error) => Err(error),
            };
            if let Err(error) = joined {
                tracing::warn!(droplet, %error, "the guest has no private network");
            }
        }
        let address = SocketAddr::from((spec.address, self.inner.ssh_port));
        let listener = bind(address)
            .await
            .map_err(GuestError::io(format!("cannot listen on {address}")))?;
        let served: Arc<dyn GuestExec> = Arc::clone(&guest) as Arc<dyn GuestExec>;
        let gone = guest.gone();
        let serving =
            crate::local::ssh::serve(listener, &host_key, &spec.authorized_keys, served, gone)
                .map_err(GuestError::io(format!(
                    "droplet {droplet}: cannot serve SSH"
                )))?;
        tokio::spawn(serving);

        let mut state = self.inner.state.lock().await;
        for (volume, attached) in &mut state.volumes {
            if attached.droplet == droplet {
                let file = self.volume(volume);
                let disk =
                    volumes::show(&guest, file.as_std_path(), &attached.name, shift).map_err(
                        GuestError::io(format!("cannot attach volume {}", attached.name)),
                    )?;
                attached.disk = Some(disk);
            }
        }
        let running = Running {
            guest,
            shift,
            spec,
            limits,
            tree,
        };
        state.guests.insert(droplet, running);
        Ok(())
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

    /// Deletes everything that guests have left in `state_dir`; no cloud may be running there.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub async fn erase(state_dir: &Utf8Path) -> Result<(), GuestError> {
        let folder = state_dir.join("guests");
        let what = format!("cannot delete {folder}");
        remove_folder(folder, what).await
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

/// First id of a droplet's range: its own, so that one guest's limits never touch another's.
fn shift_of(folder: &Utf8Path, droplet: u64) -> u32 {
    const FIRST: u32 = 0x4000_0000;
    const RANGES: u64 = 32_768;
    let salt = crate::digest::Digest::of_bytes(folder.as_str().as_bytes());
    let salt = u64::from_str_radix(&salt.as_str()[..8], 16).unwrap_or(0);
    let range = u32::try_from((salt + droplet) % RANGES).unwrap_or(0);
    FIRST + range * 65_536
}

/// The host key of a guest: the one its user data brings, else one that is made at first boot and
/// kept beside its files.
fn host_key(droplet: u64, user_data: Option<&str>, kept: &Utf8Path) -> Result<String, GuestError> {
    let config: serde_yaml::Value = match user_data {
        // Scripts and other kinds of user data bring no host key.
        Some(text) if text.starts_with("#cloud-config") => {
            serde_yaml::from_str(text).map_err(|error| GuestError::HostKey {
                droplet,
                cause: error.into(),
            })?
        }
        _ => serde_yaml::Value::Null,
    };
    let brought = config
        .get("ssh_keys")
        .and_then(|keys| keys.get("ed25519_private"))
        .and_then(|key| key.as_str());
    if let Some(key) = brought {
        return Ok(key.to_owned());
    }
    if let Ok(key) = fs::read_to_string(kept) {
        return Ok(key);
    }
    let failed = |error: std::io::Error| GuestError::HostKey {
        droplet,
        cause: error.into(),
    };
    let key = crate::local::ssh::fresh_host_key().map_err(failed)?;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(kept)
        .map_err(failed)?;
    file.write_all(key.as_bytes()).map_err(failed)?;
    Ok(key)
}

/// Listens on a droplet's address. After a reboot its former listener is let go a moment later.
async fn bind(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
    loop {
        match tokio::net::TcpListener::bind(address).await {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            result => return result,
        }
    }
}

/// What who logs in is told.
fn motd(image: &GuestImage, has_systemd: bool) -> String {
    let image = match image {
        GuestImage::Base { slug } => describe_image(slug),
        GuestImage::Snapshot { image } => {
            format!(
                "snapshot {image} over the host's root ({})",
                base::distribution()
            )
        }
    };
    let systemd = if has_systemd { "" } else { "; no systemd" };
    format!("A guest of dewpoint's local cloud: {image}{systemd}.\n")
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

/// An overlay refuses a work folder that another mount has used.
fn fresh_work_folders(droplet: &Utf8Path) -> std::io::Result<()> {
    for part in PARTS {
        let folder = droplet.join("rw").join(part);
        fs::create_dir_all(folder.join("upper"))?;
        base::remove(folder.join("work").as_std_path())?;
        fs::create_dir(folder.join("work"))?;
    }
    Ok(())
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
