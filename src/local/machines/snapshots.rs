//! Snapshots of machines: qcow2 files that lie on the base alone.
//!
//! A droplet's disk lies on the base, or on the snapshot it was made from. What is kept of it is
//! moved onto the base again, so that no snapshot ever depends on another.

use std::fs;
use std::time::Duration;

use super::disks::{BELOW, make_empty};
use super::host::{MachineHost, UNFINISHED, remove_folder};
use super::probe::QEMU_IMG;
use crate::local::guests::{GuestError, files};

/// How long the copy of a running machine's disk may take.
const TO_COPY: Duration = Duration::from_secs(15 * 60);

impl MachineHost {
    /// Takes a snapshot of a droplet and tells how many bytes it holds. Of one that runs it is as
    /// consistent as a pulled plug leaves a disk.
    ///
    /// # Errors
    /// When the droplet never booted, or its disk cannot be copied.
    pub async fn snapshot(&self, droplet: u64, image: u64) -> Result<u64, GuestError> {
        let folder = self.droplet(droplet);
        let failed = || GuestError::io(format!("cannot take a snapshot of droplet {droplet}"));
        if !folder.exists() {
            return Err(GuestError::Missing {
                what: format!("the disk of droplet {droplet}"),
            });
        }
        let layer = self.layer(image);
        let fresh = layer.with_extension(UNFINISHED);
        make_empty(&fresh).map_err(failed())?;
        let (from, to) = (folder.join("disk.qcow2"), fresh.join("disk.qcow2"));
        let (below, beside) = (folder.join(BELOW), fresh.join(BELOW));
        let has_below = below.exists();
        if has_below {
            fs::hard_link(&below, &beside).map_err(failed())?;
        }
        let base = self.inner.base.disk.as_str();
        let machine = self
            .inner
            .state
            .lock()
            .await
            .machines
            .get(&droplet)
            .cloned();
        match machine {
            Some(machine) => {
                let named = if has_below { BELOW } else { base };
                let size = super::disks::size_of(&from).map_err(failed())?.to_string();
                let words = [
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-F",
                    "qcow2",
                    "-b",
                    named,
                    to.as_str(),
                    &size,
                ];
                self.tool(QEMU_IMG, &words).await.map_err(failed())?;
                machine.back_up(&to, TO_COPY).await.map_err(failed())?;
            }
            None => self.copy(&from, &to).await.map_err(failed())?,
        }
        if has_below {
            // Takes over what the snapshot below holds and the base does not.
            let words = [
                "rebase",
                "-q",
                "-f",
                "qcow2",
                "-F",
                "qcow2",
                "-b",
                base,
                to.as_str(),
            ];
            self.tool(QEMU_IMG, &words).await.map_err(failed())?;
            fs::remove_file(&beside).map_err(failed())?;
        }
        let bytes = files::allocated(&to);
        fs::rename(&fresh, &layer).map_err(failed())?;
        Ok(bytes)
    }

    /// Deletes a snapshot. Droplets that were made from it keep what they are made of.
    ///
    /// # Errors
    /// When a file cannot be deleted.
    pub async fn delete_image(&self, image: u64) -> Result<(), GuestError> {
        remove_folder(&self.layer(image))
    }
}
