//! Volumes of a local cloud: made, grown, copied, attached.

use camino::Utf8Path;

use super::super::error::GuestError;
use super::super::files;
use super::super::volumes::{self, Attached};
use super::{GuestHost, State};

impl GuestHost {
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
        files::grow(&file, size_gib).map_err(GuestError::io(format!("cannot make volume {volume}")))
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
        files::grow(&self.volume(volume), size_gib).map_err(failed())?;
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
        files::remove(&self.volume(volume))
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
        Ok(files::allocated(&to))
    }

    /// Deletes a volume snapshot.
    ///
    /// # Errors
    /// When its file cannot be deleted.
    pub async fn delete_volume_snapshot(&self, snapshot: &str) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        files::remove(&self.volume_snapshot(snapshot)).map_err(GuestError::io(format!(
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
}

/// Forgets the disks of a droplet that is off; its volumes stay attached.
pub(super) fn forget_disks(state: &mut State, droplet: u64) {
    for attached in state
        .volumes
        .values_mut()
        .filter(|attached| attached.droplet == droplet)
    {
        attached.disk = None;
    }
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
