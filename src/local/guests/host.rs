//! All guests of one local cloud: their layers, volumes and lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::{Mutex, mpsc};

use super::base;
use super::error::GuestError;
use super::exec::GuestExec;
use super::guest::{Guest, Said};
use super::probe::Tier;
use super::proxy;
use super::supervisor::PARTS;
use super::volumes::{self, Attached};
use super::wire::Setup;

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
    state: Mutex<State>,
    said: mpsc::UnboundedSender<(u64, Said)>,
    powered_off: std::sync::Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

#[derive(Default)]
struct State {
    guests: BTreeMap<u64, Running>,
    volumes: BTreeMap<String, Attached>,
}

struct Running {
    guest: Arc<Guest>,
    shift: u32,
}

impl GuestHost {
    /// Opens the guests whose state lies in `state_dir`; with tier `api` it only keeps quiet.
    ///
    /// # Errors
    /// When the folders or the base cannot be made.
    pub async fn open(state_dir: &Utf8Path, tier: Tier, ssh_port: u16) -> Result<Self, GuestError> {
        let folder = state_dir.join("guests");
        if tier == Tier::Namespaces {
            for name in ["layers", "droplets", "stage", "volumes", "volume-snapshots"] {
                let path = folder.join(name);
                fs::create_dir_all(&path).map_err(GuestError::io(format!("cannot make {path}")))?;
            }
            let base = folder.join("base");
            blocking(move || base::prepare(&base)).await?;
        }
        let (said, saying) = mpsc::unbounded_channel();
        let (off, powered_off) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            folder,
            tier,
            ssh_port,
            state: Mutex::default(),
            said,
            powered_off: std::sync::Mutex::new(Some(powered_off)),
        });
        tokio::spawn(listen(Arc::downgrade(&inner), saying, off));
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
        if self.is_api() {
            return Ok(());
        }
        let droplet = spec.droplet;
        let host_key = host_key(droplet, spec.user_data.as_deref())?;
        let folder = self.droplet(droplet);
        let failed =
            || GuestError::io(format!("droplet {droplet}: cannot prepare its file system"));
        let chain_file = folder.join("layers.json");
        let first_boot = !chain_file.exists();
        let chain = if first_boot {
            let chain = match spec.image {
                GuestImage::Base { .. } => Vec::new(),
                GuestImage::Snapshot { image } => {
                    let mut chain = vec![image];
                    chain.extend(read_chain(&self.layer(image).join("layers.json"))?);
                    chain
                }
            };
            fs::create_dir_all(&folder).map_err(failed())?;
            write_chain(&chain_file, &chain)?;
            chain
        } else {
            read_chain(&chain_file)?
        };
        fresh_work_folders(&folder).map_err(failed())?;
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
            motd: format!(
                "A guest of dewpoint's local cloud over the host's root ({}).\n",
                base::distribution()
            ),
        };
        let guest = Guest::start(droplet, &setup, self.inner.said.clone()).await?;
        match guest.listen(proxy::PORT).await {
            Ok(listener) => drop(tokio::spawn(proxy::serve(listener, guest.gone()))),
            Err(error) => tracing::warn!(droplet, %error, "the guest has no way out"),
        }
        let address = SocketAddr::from((spec.address, self.inner.ssh_port));
        let listener = tokio::net::TcpListener::bind(address)
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
        state.guests.insert(droplet, Running { guest, shift });
        Ok(())
    }

    /// Ends a droplet's guest. One that is off is fine.
    pub async fn power_off(&self, droplet: u64) {
        let running = {
            let mut state = self.inner.state.lock().await;
            forget_disks(&mut state, droplet);
            state.guests.remove(&droplet)
        };
        if let Some(running) = running {
            running.guest.power_off().await;
        }
    }

    /// Whether a droplet's guest is up.
    pub async fn is_running(&self, droplet: u64) -> bool {
        self.inner.state.lock().await.guests.contains_key(&droplet)
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
        remove_folder(
            folder,
            format!("cannot delete the file system of droplet {droplet}"),
        )
        .await?;
        self.collect_layers().await
    }

    /// Takes a snapshot of a droplet and tells how many bytes it holds. Of a droplet that is off
    /// this is a rename; of one that runs, a copy that is as consistent as a pulled plug.
    ///
    /// # Errors
    /// When the droplet never booted, or its files cannot be moved or copied.
    pub async fn snapshot(&self, droplet: u64, image: u64) -> Result<u64, GuestError> {
        if self.is_api() {
            return Ok(0);
        }
        let folder = self.droplet(droplet);
        let chain_file = folder.join("layers.json");
        if !chain_file.exists() {
            return Err(GuestError::Missing {
                what: format!("the file system of droplet {droplet}"),
            });
        }
        let chain = read_chain(&chain_file)?;
        let running = self.is_running(droplet).await;
        let layer = self.layer(image);
        let what = format!("cannot take a snapshot of droplet {droplet}");
        let taken = layer.clone();
        let size = blocking(move || {
            let failed = || GuestError::io(what.clone());
            fs::create_dir_all(&taken).map_err(failed())?;
            for part in PARTS {
                let upper = folder.join("rw").join(part).join("upper");
                let target = taken.join(part);
                if running {
                    let copied = std::process::Command::new("cp")
                        .args([
                            "-a",
                            "--reflink=auto",
                            "--sparse=auto",
                            upper.as_str(),
                            target.as_str(),
                        ])
                        .output()
                        .map_err(failed())?;
                    if !copied.status.success() {
                        let message = String::from_utf8_lossy(&copied.stderr).trim().to_owned();
                        return Err(failed()(std::io::Error::other(message)));
                    }
                } else {
                    fs::rename(&upper, &target).map_err(failed())?;
                    fs::create_dir(&upper).map_err(failed())?;
                }
            }
            Ok(size_of_folder(taken.as_std_path()))
        })
        .await?;
        write_chain(&layer.join("layers.json"), &chain)?;
        if !running {
            let mut below = vec![image];
            below.extend(chain);
            write_chain(&chain_file, &below)?;
        }
        Ok(size)
    }

    /// Deletes a snapshot. What droplets or other snapshots are built on stays until they are gone.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub async fn delete_image(&self, image: u64) -> Result<(), GuestError> {
        let layer = self.layer(image);
        if layer.exists() {
            let mark = layer.join("deleted");
            fs::write(&mark, "").map_err(GuestError::io(format!("cannot delete image {image}")))?;
        }
        self.collect_layers().await
    }

    /// Removes deleted layers that nothing is built on.
    async fn collect_layers(&self) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        let layers = self.inner.folder.join("layers");
        let mut used = BTreeSet::new();
        let mut deleted = Vec::new();
        let failed = || GuestError::io("cannot look through the layers of guests");
        for entry in layers.read_dir_utf8().map_err(failed())? {
            let path = entry.map_err(failed())?.into_path();
            let Some(image) = path.file_name().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            if path.join("deleted").exists() {
                deleted.push((image, path));
            } else {
                used.extend(read_chain(&path.join("layers.json"))?);
            }
        }
        for entry in self
            .inner
            .folder
            .join("droplets")
            .read_dir_utf8()
            .map_err(failed())?
        {
            let chain = entry.map_err(failed())?.into_path().join("layers.json");
            if chain.exists() {
                used.extend(read_chain(&chain)?);
            }
        }
        for (image, path) in deleted {
            if !used.contains(&image) {
                remove_folder(path, format!("cannot delete the layer of image {image}")).await?;
            }
        }
        Ok(())
    }

    /// Makes a volume: blank, or a copy of a volume snapshot.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub async fn create_volume(
        &self,
        volume: &str,
        size_gib: u32,
        from: Option<&str>,
    ) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        let file = self.volume(volume);
        if let Some(snapshot) = from {
            copy_sparse(&self.volume_snapshot(snapshot), &file).await?;
        }
        grow(&file, size_gib).map_err(GuestError::io(format!("cannot make volume {volume}")))
    }

    /// Grows a volume; a guest it is attached to sees the new size at once.
    ///
    /// # Errors
    /// When its file cannot be grown.
    pub async fn resize_volume(&self, volume: &str, size_gib: u32) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        let failed = || GuestError::io(format!("cannot resize volume {volume}"));
        grow(&self.volume(volume), size_gib).map_err(failed())?;
        let state = self.inner.state.lock().await;
        match state
            .volumes
            .get(volume)
            .and_then(|attached| attached.disk.as_ref())
        {
            Some(disk) => disk.device.refresh().map_err(failed()),
            None => Ok(()),
        }
    }

    /// Deletes a volume with all it holds.
    ///
    /// # Errors
    /// When its file cannot be deleted.
    pub async fn delete_volume(&self, volume: &str) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        self.inner.state.lock().await.volumes.remove(volume);
        remove_file(&self.volume(volume))
            .map_err(GuestError::io(format!("cannot delete volume {volume}")))
    }

    /// Copies a volume as it is, and tells how many bytes the copy takes.
    ///
    /// # Errors
    /// When its file cannot be copied.
    pub async fn snapshot_volume(&self, volume: &str, snapshot: &str) -> Result<u64, GuestError> {
        if self.is_api() {
            return Ok(0);
        }
        let to = self.volume_snapshot(snapshot);
        copy_sparse(&self.volume(volume), &to).await?;
        Ok(fs::metadata(&to)
            .map(|data| std::os::unix::fs::MetadataExt::blocks(&data) * 512)
            .unwrap_or(0))
    }

    /// Deletes a volume snapshot.
    ///
    /// # Errors
    /// When its file cannot be deleted.
    pub async fn delete_volume_snapshot(&self, snapshot: &str) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        remove_file(&self.volume_snapshot(snapshot)).map_err(GuestError::io(format!(
            "cannot delete volume snapshot {snapshot}"
        )))
    }

    /// Attaches a volume; a running guest sees its disk at once, another when it boots.
    ///
    /// # Errors
    /// When the volume is still in use elsewhere, or its disk cannot be made.
    pub async fn attach(
        &self,
        volume: &str,
        volume_name: &str,
        droplet: u64,
    ) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        let mut state = self.inner.state.lock().await;
        let disk = match state.guests.get(&droplet) {
            None => None,
            Some(running) => {
                let file = self.volume(volume);
                let disk = volumes::show(
                    &running.guest,
                    file.as_std_path(),
                    volume_name,
                    running.shift,
                )
                .map_err(GuestError::io(format!(
                    "cannot attach volume {volume_name} to droplet {droplet}"
                )))?;
                Some(disk)
            }
        };
        state.volumes.insert(
            volume.to_owned(),
            Attached {
                droplet,
                name: volume_name.to_owned(),
                disk,
            },
        );
        Ok(())
    }

    /// Detaches a volume. The guest is not asked, as on DigitalOcean.
    pub async fn detach(&self, volume: &str) {
        let mut state = self.inner.state.lock().await;
        let Some(attached) = state.volumes.remove(volume) else {
            return;
        };
        if let (Some(disk), Some(running)) = (&attached.disk, state.guests.get(&attached.droplet)) {
            volumes::hide(&running.guest, &attached.name, disk);
        }
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

fn forget_disks(state: &mut State, droplet: u64) {
    for attached in state
        .volumes
        .values_mut()
        .filter(|attached| attached.droplet == droplet)
    {
        attached.disk = None;
    }
}

/// Handles what guests say of themselves.
async fn listen(
    inner: std::sync::Weak<Inner>,
    mut saying: mpsc::UnboundedReceiver<(u64, Said)>,
    off: mpsc::UnboundedSender<u64>,
) {
    while let Some((droplet, said)) = saying.recv().await {
        let Some(inner) = inner.upgrade() else { return };
        match said {
            Said::Ended { by_itself } => {
                let mut state = inner.state.lock().await;
                forget_disks(&mut state, droplet);
                // Whoever powered it off has taken it out already, unless it did so itself.
                if state.guests.remove(&droplet).is_some() || by_itself {
                    let _ = off.send(droplet);
                }
            }
            Said::Mount {
                reply,
                device,
                path,
                options,
            } => {
                let state = inner.state.lock().await;
                let Some(running) = state.guests.get(&droplet) else {
                    continue;
                };
                let node = device.trim_start_matches("/dev/");
                let disk = state
                    .volumes
                    .values()
                    .filter(|attached| attached.droplet == droplet)
                    .filter_map(|attached| attached.disk.as_ref())
                    .find(|disk| disk.node == node);
                let mount = match disk {
                    Some(disk) => volumes::mount(disk, &running.guest, &options),
                    None => Err(format!(
                        "{device}: only volumes can be mounted in a guest of the local cloud"
                    )),
                };
                let guest = Arc::clone(&running.guest);
                drop(state);
                guest.answer_mount(reply, path, mount).await;
            }
        }
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

/// The host key of a guest: the one its user data brings, else a fresh one.
fn host_key(droplet: u64, user_data: Option<&str>) -> Result<String, GuestError> {
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
    match config
        .get("ssh_keys")
        .and_then(|keys| keys.get("ed25519_private"))
        .and_then(|key| key.as_str())
    {
        Some(key) => Ok(key.to_owned()),
        None => crate::local::ssh::fresh_host_key().map_err(|error| GuestError::HostKey {
            droplet,
            cause: error.into(),
        }),
    }
}

fn read_chain(file: &Utf8Path) -> Result<Vec<u64>, GuestError> {
    let failed = || GuestError::io(format!("cannot read {file}"));
    let text = fs::read_to_string(file).map_err(failed())?;
    serde_json::from_str(&text).map_err(|error| failed()(error.into()))
}

fn write_chain(file: &Utf8Path, chain: &[u64]) -> Result<(), GuestError> {
    let text = serde_json::to_string(chain).expect("a list of numbers");
    fs::write(file, text).map_err(GuestError::io(format!("cannot write {file}")))
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

fn grow(file: &Utf8Path, size_gib: u32) -> std::io::Result<()> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(file)?;
    let wanted = u64::from(size_gib) << 30;
    if file.metadata()?.len() < wanted {
        file.set_len(wanted)?;
    }
    Ok(())
}

fn remove_file(file: &Utf8Path) -> std::io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

async fn remove_folder(folder: Utf8PathBuf, what: String) -> Result<(), GuestError> {
    blocking(move || base::remove(folder.as_std_path()).map_err(GuestError::io(what))).await
}

/// Copies a file without filling its holes.
async fn copy_sparse(from: &Utf8Path, to: &Utf8Path) -> Result<(), GuestError> {
    let failed = || GuestError::io(format!("cannot copy {from}"));
    let copied = tokio::process::Command::new("cp")
        .args([
            "--sparse=always",
            "--reflink=auto",
            from.as_str(),
            to.as_str(),
        ])
        .output()
        .await
        .map_err(failed())?;
    if copied.status.success() {
        return Ok(());
    }
    Err(failed()(std::io::Error::other(
        String::from_utf8_lossy(&copied.stderr).trim().to_owned(),
    )))
}

fn size_of_folder(folder: &std::path::Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of_folder(&entry.path()),
            Ok(data) => std::os::unix::fs::MetadataExt::blocks(&data) * 512,
            Err(_) => 0,
        })
        .sum()
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
