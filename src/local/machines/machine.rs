//! One running machine, as the cloud process holds it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::arguments::{Plan, VOLUMES, arguments};
use super::keeper::Keeper;
use super::probe::QEMU;
use super::qmp::{self, Qmp};
use crate::local::guests::GuestError;

/// How long QEMU may take to its greeting.
const TO_BEGIN: Duration = Duration::from_secs(60);
/// How long QEMU may take to write out what it holds, and end.
const TO_QUIT: Duration = Duration::from_secs(5);
/// How long a machine may take to let go of a disk. One whose kernel does not listen yet lets go later.
const TO_LET_GO: Duration = Duration::from_secs(30);

/// One running machine.
pub(super) struct Machine {
    qmp: Qmp,
    kill: Arc<Notify>,
    gone: CancellationToken,
}

impl Machine {
    /// Starts a machine, which waits for [`Self::go_on`]. `alive` is held open by it as long as it lives,
    /// and what QEMU says goes to the file `said`.
    ///
    /// # Errors
    /// When QEMU does not start: what it said.
    pub(super) async fn start(
        keeper: &Keeper,
        mut plan: Plan,
        alive: OwnedFd,
        said: &Utf8Path,
    ) -> Result<Self, GuestError> {
        let droplet = plan.droplet;
        let failed = |what: &str| GuestError::io(format!("droplet {droplet}: {what}"));
        let (ours, theirs) =
            std::os::unix::net::UnixStream::pair().map_err(failed("cannot make a socket pair"))?;
        ours.set_nonblocking(true)
            .map_err(failed("cannot make a socket pair"))?;
        let ours =
            tokio::net::UnixStream::from_std(ours).map_err(failed("cannot watch its socket"))?;
        let theirs = OwnedFd::from(theirs);
        plan.control = theirs.as_raw_fd();
        let errors = std::fs::File::create(said).map_err(failed("cannot write its log"))?;
        let mut command = Command::new(QEMU);
        command
            .args(arguments(&plan))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let mut child = keeper
            .spawn(command, vec![theirs, alive])
            .await
            .map_err(failed("cannot start QEMU"))?;
        let begun = match tokio::time::timeout(TO_BEGIN, Qmp::begin(ours)).await {
            Ok(begun) => begun,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        let qmp = match begun {
            Ok(qmp) => qmp,
            Err(error) => {
                let _ = child.kill().await;
                let words = std::fs::read_to_string(said).unwrap_or_default();
                let last = words.lines().rev().find(|line| !line.trim().is_empty());
                return Err(GuestError::Boot {
                    droplet,
                    message: last.map_or_else(|| error.to_string(), str::to_owned),
                });
            }
        };
        let machine = Self {
            qmp,
            kill: Arc::new(Notify::new()),
            gone: CancellationToken::new(),
        };
        let (kill, gone) = (Arc::clone(&machine.kill), machine.gone.clone());
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = child.wait() => ended,
                () = kill.notified() => match child.start_kill() {
                    Ok(()) => child.wait().await,
                    Err(error) => Err(error),
                },
            };
            tracing::debug!(droplet, ?ended, "machine ended");
            gone.cancel();
        });
        Ok(machine)
    }

    /// Lets it run.
    pub(super) async fn go_on(&self) -> std::io::Result<()> {
        self.qmp.ask("cont", json!({})).await.map(drop)
    }

    /// Presses its power button.
    pub(super) async fn shut_down(&self) {
        // One that is going already does not listen any more.
        let _ = self.qmp.ask("system_powerdown", json!({})).await;
    }

    /// Pulls its plug, and waits until it is off.
    pub(super) async fn power_off(&self) {
        let quit = async {
            // QEMU first writes out what it holds of its disks.
            let _ = self.qmp.ask("quit", json!({})).await;
            self.gone.cancelled().await;
        };
        if tokio::time::timeout(TO_QUIT, quit).await.is_err() {
            self.kill.notify_one();
            self.gone.cancelled().await;
        }
    }

    /// Resolves when it is off.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Attaches a volume as the disk that a volume of that name is on a droplet.
    pub(super) async fn attach(
        &self,
        volume: &str,
        file: &Utf8Path,
        name: &str,
    ) -> std::io::Result<()> {
        let names = DiskNames::of(volume);
        let block = json!({
            "driver": "raw",
            "node-name": names.block,
            "discard": "unmap",
            "file": {
                "driver": "file",
                "filename": file,
                "discard": "unmap",
                "cache": { "no-flush": true },
            },
        });
        self.qmp.ask("blockdev-add", block).await?;
        let device = json!({
            "driver": "scsi-hd",
            "id": names.device,
            "bus": VOLUMES,
            "drive": names.block,
            "vendor": "DO",
            "product": "Volume",
            "serial": name,
            "device_id": name,
        });
        let attached = self.qmp.ask("device_add", device).await.map(drop);
        if attached.is_err() {
            self.qmp
                .ask("blockdev-del", json!({ "node-name": names.block }))
                .await?;
        }
        attached
    }

    /// Takes a volume away, whether the machine likes it or not.
    pub(super) async fn detach(&self, volume: &str) -> std::io::Result<()> {
        let names = DiskNames::of(volume);
        let mut events = self.qmp.events();
        self.qmp
            .ask("device_del", json!({ "id": names.device }))
            .await?;
        qmp::wait_for(&mut events, TO_LET_GO, |name, data| {
            name == "DEVICE_DELETED" && data["device"] == names.device.as_str()
        })
        .await?;
        self.qmp
            .ask("blockdev-del", json!({ "node-name": names.block }))
            .await
            .map(drop)
    }

    /// Tells it the new size of a volume.
    pub(super) async fn resize(&self, volume: &str, size_bytes: u64) -> std::io::Result<()> {
        let block = DiskNames::of(volume).block;
        let size = json!({ "node-name": block, "size": size_bytes });
        self.qmp.ask("block_resize", size).await.map(drop)
    }

    /// Copies what its root holds over the file it lies on, as it is at this moment, into a qcow2 that is
    /// there and empty.
    pub(super) async fn back_up(&self, to: &Utf8Path, within: Duration) -> std::io::Result<()> {
        const TARGET: &str = "snapshot";
        let target = json!({
            "driver": "qcow2",
            "node-name": TARGET,
            "backing": Value::Null,
            "file": { "driver": "file", "filename": to },
        });
        self.qmp.ask("blockdev-add", target).await?;
        let mut events = self.qmp.events();
        let job = json!({
            "job-id": TARGET,
            "device": super::arguments::ROOT,
            "target": TARGET,
            "sync": "top",
        });
        let done = match self.qmp.ask("blockdev-backup", job).await {
            Ok(_) => qmp::wait_for(&mut events, within, |name, data| {
                matches!(name, "BLOCK_JOB_COMPLETED" | "BLOCK_JOB_CANCELLED")
                    && data["device"] == TARGET
            })
            .await
            .and_then(|data| match data["error"].as_str() {
                Some(error) => Err(std::io::Error::other(error.to_owned())),
                None => Ok(()),
            }),
            Err(error) => Err(error),
        };
        let let_go = self
            .qmp
            .ask("blockdev-del", json!({ "node-name": TARGET }))
            .await;
        done.and(let_go.map(drop))
    }
}

/// What a volume's parts are called within QEMU, which knows names of up to 31 letters, digits and marks.
struct DiskNames {
    block: String,
    device: String,
}

impl DiskNames {
    fn of(volume: &str) -> Self {
        let digest = crate::digest::Digest::of_bytes(volume.as_bytes());
        let short = &digest.as_str()[..24];
        Self {
            block: format!("b{short}"),
            device: format!("d{short}"),
        }
    }
}
