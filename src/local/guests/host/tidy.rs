//! What a cloud that was killed has left of things that its account does not have.

use super::super::error::GuestError;
use super::super::files;
use super::GuestHost;
use crate::local::seam::Known;

impl GuestHost {
    /// Deletes the files of all else: what was being made when a cloud was killed, such as a snapshot
    /// that therefore failed, is there although nobody knows of it. Call it before anything is made.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub async fn keep_only(&self, known: &Known) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        for name in self.names("droplets")? {
            if let Ok(droplet) = name.parse()
                && !known.droplets.contains(&droplet)
            {
                self.destroy(droplet).await?;
            }
        }
        for name in self.names("layers")? {
            if let Ok(image) = name.parse()
                && !known.images.contains(&image)
            {
                self.delete_image(image).await?;
            }
        }
        for name in self.names("volumes")? {
            if let Some(volume) = name.strip_suffix(".img")
                && !known.volumes.contains(volume)
            {
                self.delete_volume(volume).await?;
            }
        }
        for name in self.names("volume-snapshots")? {
            if let Some(snapshot) = name.strip_suffix(".img")
                && !known.volume_snapshots.contains(snapshot)
            {
                self.delete_volume_snapshot(snapshot).await?;
            }
        }
        Ok(())
    }

    /// Names of what is in a folder of guests.
    fn names(&self, folder: &str) -> Result<Vec<String>, GuestError> {
        files::names(&self.inner.folder.join(folder))
    }
}
