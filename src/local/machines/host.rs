//! All machines of one local cloud: their disks, volumes and lives.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::process::Stdio;
use std::sync::{Arc, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};

use super::arguments::{Accelerator, Plan};
use super::base::Base;
use super::keeper::Keeper;
use super::machine::Machine;
use super::metadata::{METADATA, document};
use super::probe::accelerator;
use crate::local::guests::{BootSpec, GuestError, GuestHost, Known, Limits, files, living};

/// Extension of what is being made.
pub(super) const UNFINISHED: &str = "new";
/// Extension of what is being deleted.
pub(super) const GONE: &str = "gone";

/// What a droplet has without a size.
const MEMORY_MIB: u32 = 1024;

/// All machines of one local cloud.
#[derive(Clone)]
pub struct MachineHost {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    /// Where volumes lie: the tiers share them.
    pub(super) guests: Utf8PathBuf,
    /// Where machines lie.
    pub(super) folder: Utf8PathBuf,
    ssh_port: u16,
    keeper: Keeper,
    pub(super) base: Base,
    accelerator: Accelerator,
    /// This program: it answers what machines ask about themselves.
    program: Utf8PathBuf,
    pub(super) state: Mutex<State>,
    off: mpsc::UnboundedSender<u64>,
    powered_off: std::sync::Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) machines: BTreeMap<u64, Arc<Machine>>,
    pub(super) volumes: BTreeMap<String, Attached>,
}

/// A volume that is attached to a droplet.
pub(super) struct Attached {
    pub(super) droplet: u64,
    pub(super) name: String,
}

impl MachineHost {
    /// Opens the machines whose state lies in `state_dir`. Their base must have been built.
    ///
    /// # Errors
    /// When there is no base, or a folder cannot be made.
    pub async fn open(state_dir: &Utf8Path, ssh_port: u16) -> Result<Self, GuestError> {
        let base = Base::open(state_dir)?;
        let guests = state_dir.join("guests");
        let folder = guests.join("vm");
        for path in [
            guests.join("stage"),
            guests.join("volumes"),
            guests.join("volume-snapshots"),
            folder.join("droplets"),
            folder.join("layers"),
        ] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(GuestError::io(format!("cannot make {path}")))?;
        }
        let at = state_dir.to_owned();
        tokio::task::spawn_blocking(move || GuestHost::wait_until_gone(&at))
            .await
            .map_err(|error| GuestError::io("a task ended early")(error.into()))??;
        tidy_up(&folder)?;
        let program = std::env::current_exe()
            .and_then(|path| {
                Utf8PathBuf::from_path_buf(path)
                    .map_err(|_| std::io::ErrorKind::InvalidFilename.into())
            })
            .map_err(GuestError::io("cannot find this program"))?;
        let keeper = Keeper::start().map_err(GuestError::io("cannot start a thread"))?;
        let (accelerator, _) = accelerator(&keeper, &base).await;
        let (off, powered_off) = mpsc::unbounded_channel();
        Ok(Self {
            inner: Arc::new(Inner {
                guests,
                folder,
                ssh_port,
                keeper,
                base,
                accelerator,
                program,
                state: Mutex::default(),
                off,
                powered_off: std::sync::Mutex::new(Some(powered_off)),
            }),
        })
    }

    /// Droplets that powered themselves off. Can be taken once.
    #[must_use]
    pub fn take_powered_off(&self) -> Option<mpsc::UnboundedReceiver<u64>> {
        self.inner
            .powered_off
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn droplet(&self, droplet: u64) -> Utf8PathBuf {
        self.inner.folder.join("droplets").join(droplet.to_string())
    }

    pub(super) fn layer(&self, image: u64) -> Utf8PathBuf {
        self.inner.folder.join("layers").join(image.to_string())
    }

    /// Boots a droplet within limits: its machine runs when this returns, and answers SSH when it has
    /// come up. One that has booted before keeps what was written.
    ///
    /// # Errors
    /// When its image is unknown, or QEMU does not start.
    pub async fn boot_within(&self, spec: BootSpec, limits: Limits) -> Result<(), GuestError> {
        let droplet = spec.droplet;
        let folder = self.droplet(droplet);
        let failed = || GuestError::io(format!("droplet {droplet}: cannot prepare its machine"));
        if !folder.exists() {
            self.make_disk(&spec, limits).await?;
        }
        let metadata = folder.join("metadata.json");
        let told = document(&spec).to_string();
        fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&metadata)
            .and_then(|mut file| std::io::Write::write_all(&mut file, told.as_bytes()))
            .map_err(failed())?;
        let alive = living::hold(self.inner.guests.join("stage").as_std_path()).map_err(failed())?;
        let words = [self.inner.program.as_str(), METADATA, metadata.as_str()];
        let answers =
            shlex::try_join(words).map_err(|error| failed()(std::io::Error::other(error)))?;
        let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
        let plan = Plan {
            accelerator: self.inner.accelerator,
            droplet,
            memory_mib: limits.memory_mib.unwrap_or(MEMORY_MIB),
            vcpus: limits
                .vcpus
                .unwrap_or(1)
                .clamp(1, u32::try_from(cpus).unwrap_or(1)),
            kernel: self.inner.base.kernel.clone(),
            initrd: self.inner.base.initrd.clone(),
            disk: folder.join("disk.qcow2"),
            console: folder.join("console.log"),
            ssh: SocketAddr::from((spec.address, self.inner.ssh_port)),
            metadata: answers,
            control: 0,
        };
        let said = folder.join("qemu.log");
        let machine = Machine::start(&self.inner.keeper, plan, OwnedFd::from(alive), &said).await?;
        let machine = Arc::new(machine);
        let mut state = self.inner.state.lock().await;
        for (volume, attached) in &state.volumes {
            if attached.droplet == droplet {
                let shown = machine
                    .attach(volume, &self.volume(volume), &attached.name)
                    .await;
                if let Err(error) = shown {
                    machine.power_off().await;
                    let what = format!("cannot attach volume {}", attached.name);
                    return Err(GuestError::io(what)(error));
                }
            }
        }
        if let Err(error) = machine.go_on().await {
            machine.power_off().await;
            return Err(failed()(error));
        }
        state.machines.insert(droplet, Arc::clone(&machine));
        drop(state);
        let host = self.clone();
        tokio::spawn(async move {
            machine.gone().cancelled().await;
            host.ended(droplet, &machine).await;
        });
        Ok(())
    }

    /// Notes the end of a machine; whoever powered it off has taken it out already.
    async fn ended(&self, droplet: u64, machine: &Arc<Machine>) {
        let mut state = self.inner.state.lock().await;
        let is_it = |found: &Arc<Machine>| Arc::ptr_eq(found, machine);
        if state.machines.get(&droplet).is_some_and(is_it) {
            state.machines.remove(&droplet);
            // Nobody listens only while the whole cloud closes.
            let _ = self.inner.off.send(droplet);
        }
    }

    async fn machine(&self, droplet: u64) -> Option<Arc<Machine>> {
        self.inner
            .state
            .lock()
            .await
            .machines
            .get(&droplet)
            .cloned()
    }

    /// Presses the power button of a droplet and returns at once; that it is off is told by
    /// [`Self::take_powered_off`]. One that is off is fine.
    pub async fn shut_down(&self, droplet: u64) {
        if let Some(machine) = self.machine(droplet).await {
            machine.shut_down().await;
        }
    }

    /// Pulls a droplet's plug. One that is off is fine.
    pub async fn power_off(&self, droplet: u64) {
        let machine = self.inner.state.lock().await.machines.remove(&droplet);
        if let Some(machine) = machine {
            machine.power_off().await;
        }
    }

    /// Whether a droplet's machine is up.
    pub async fn is_running(&self, droplet: u64) -> bool {
        self.machine(droplet).await.is_some()
    }

    /// Ends a droplet's machine and deletes what it wrote.
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
        remove_folder(&self.droplet(droplet))
    }

    /// Deletes the files of all that the account does not have. Call it before anything is made.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub async fn keep_only(&self, known: &Known) -> Result<(), GuestError> {
        let vm = &self.inner.folder;
        for droplet in numbers(&vm.join("droplets"))? {
            if !known.droplets.contains(&droplet) {
                self.destroy(droplet).await?;
            }
        }
        for image in numbers(&vm.join("layers"))? {
            if !known.images.contains(&image) {
                self.delete_image(image).await?;
            }
        }
        for volume in images(&self.inner.guests.join("volumes"))? {
            if !known.volumes.contains(&volume) {
                self.delete_volume(&volume).await?;
            }
        }
        for snapshot in images(&self.inner.guests.join("volume-snapshots"))? {
            if !known.volume_snapshots.contains(&snapshot) {
                self.delete_volume_snapshot(&snapshot).await?;
            }
        }
        Ok(())
    }

    /// Powers every machine off.
    pub async fn close(&self) {
        let machines = std::mem::take(&mut self.inner.state.lock().await.machines);
        let ends = machines.values().map(|machine| machine.power_off());
        futures_util::future::join_all(ends).await;
    }

    /// Runs a program to its end, which comes with this process's at the latest.
    pub(super) async fn tool(&self, program: &str, arguments: &[&str]) -> std::io::Result<()> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = self.inner.keeper.spawn(command, Vec::new()).await?;
        let output = child.wait_with_output().await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(std::io::Error::other(said))
    }
}

/// Deletes a folder: at once aside, so that half of one is never taken for a whole.
pub(super) fn remove_folder(folder: &Utf8Path) -> Result<(), GuestError> {
    let failed = || GuestError::io(format!("cannot delete {folder}"));
    let aside = folder.with_extension(GONE);
    match fs::rename(folder, &aside) {
        Ok(()) => fs::remove_dir_all(&aside).map_err(failed()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed()(error)),
    }
}

/// Removes what a cloud that was killed was making or deleting.
fn tidy_up(folder: &Utf8Path) -> Result<(), GuestError> {
    for kind in ["droplets", "layers"] {
        for name in files::names(&folder.join(kind))? {
            let path = folder.join(kind).join(&name);
            if matches!(path.extension(), Some(UNFINISHED | GONE)) {
                fs::remove_dir_all(&path)
                    .map_err(GuestError::io(format!("cannot delete {path}")))?;
            }
        }
    }
    Ok(())
}

fn numbers(folder: &Utf8Path) -> Result<Vec<u64>, GuestError> {
    let names = files::names(folder)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

fn images(folder: &Utf8Path) -> Result<Vec<String>, GuestError> {
    let names = files::names(folder)?;
    Ok(names
        .iter()
        .filter_map(|name| Some(name.strip_suffix(".img")?.to_owned()))
        .collect())
}
