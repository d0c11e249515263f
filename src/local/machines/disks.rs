//! Disks of machines: roots over what they are made from, volumes that come and go.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::host::{Attached, MachineHost, UNFINISHED};
use super::probe::QEMU_IMG;
use crate::local::guests::{BootSpec, GuestError, GuestImage, Limits, files};

/// The snapshot that a droplet was made from, beside its own disk: a second name of the file, so that
/// the snapshot can be deleted while the droplet lives.
pub(super) const BELOW: &str = "below.qcow2";

impl MachineHost {
    pub(super) fn volume(&self, volume: &str) -> Utf8PathBuf {
        self.inner
            .guests
            .join("volumes")
            .join(format!("{volume}.img"))
    }

    fn volume_snapshot(&self, snapshot: &str) -> Utf8PathBuf {
        self.inner
            .guests
            .join("volume-snapshots")
            .join(format!("{snapshot}.img"))
    }

    /// Makes the folder of a droplet with its disk: whole, or not at all.
    pub(super) async fn make_disk(
        &self,
        spec: &BootSpec,
        limits: Limits,
    ) -> Result<(), GuestError> {
        let folder = self.droplet(spec.droplet);
        let what = format!("droplet {}: cannot make its disk", spec.droplet);
        let failed = || GuestError::io(what.clone());
        let fresh = folder.with_extension(UNFINISHED);
        make_empty(&fresh).map_err(failed())?;
        let (below, named) = match &spec.image {
            GuestImage::Base { .. } => {
                let base = self.inner.base.disk.clone();
                (base.clone(), base.into_string())
            }
            GuestImage::Snapshot { image } => {
                let layer = self.layer(*image).join("disk.qcow2");
                if !layer.exists() {
                    return Err(GuestError::Missing {
                        what: format!("image {image}"),
                    });
                }
                fs::hard_link(&layer, fresh.join(BELOW)).map_err(failed())?;
                (layer, BELOW.to_owned())
            }
        };
        let wanted = u64::from(limits.disk_gib.unwrap_or(0)) << 30;
        let size = wanted.max(size_of(&below).map_err(failed())?).to_string();
        let disk = fresh.join("disk.qcow2");
        self.tool(
            QEMU_IMG,
            &[
                "create",
                "-q",
                "-f",
                "qcow2",
                "-F",
                "qcow2",
                "-b",
                &named,
                disk.as_str(),
                &size,
            ],
        )
        .await
        .map_err(failed())?;
        fs::rename(&fresh, &folder).map_err(failed())
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
        let file = self.volume(volume);
        let what = format!("cannot make volume {volume}");
        if let Some(snapshot) = from {
            self.copy(&self.volume_snapshot(snapshot), &file)
                .await
                .map_err(GuestError::io(what.clone()))?;
        }
        files::grow(&file, size_gib).map_err(GuestError::io(what))
    }

    /// Grows a volume; a machine it is attached to sees the new size at once.
    ///
    /// # Errors
    /// When its file cannot be grown.
    pub async fn resize_volume(&self, volume: &str, size_gib: u32) -> Result<(), GuestError> {
        let failed = || GuestError::io(format!("cannot resize volume {volume}"));
        let file = self.volume(volume);
        files::grow(&file, size_gib).map_err(failed())?;
        let size = file.metadata().map_err(failed())?.len();
        let state = self.inner.state.lock().await;
        let machine = state
            .volumes
            .get(volume)
            .and_then(|attached| state.machines.get(&attached.droplet));
        match machine {
            Some(machine) => machine.resize(volume, size).await.map_err(failed()),
            None => Ok(()),
        }
    }

    /// Deletes a volume with all it holds.
    ///
    /// # Errors
    /// When its file cannot be deleted.
    pub async fn delete_volume(&self, volume: &str) -> Result<(), GuestError> {
        self.inner.state.lock().await.volumes.remove(volume);
        files::remove(&self.volume(volume))
            .map_err(GuestError::io(format!("cannot delete volume {volume}")))
    }

    /// Copies a volume as it is, and tells how many bytes the copy takes.
    ///
    /// # Errors
    /// When its file cannot be copied.
    pub async fn snapshot_volume(&self, volume: &str, snapshot: &str) -> Result<u64, GuestError> {
        let to = self.volume_snapshot(snapshot);
        self.copy(&self.volume(volume), &to)
            .await
            .map_err(GuestError::io(format!("cannot copy volume {volume}")))?;
        Ok(files::allocated(&to))
    }

    /// Deletes a volume snapshot.
    ///
    /// # Errors
    /// When its file cannot be deleted.
    pub async fn delete_volume_snapshot(&self, snapshot: &str) -> Result<(), GuestError> {
        let what = format!("cannot delete volume snapshot {snapshot}");
        files::remove(&self.volume_snapshot(snapshot)).map_err(GuestError::io(what))
    }

    /// Attaches a volume; a running machine sees its disk at once, another when it boots.
    ///
    /// # Errors
    /// When QEMU does not take it.
    pub async fn attach(
        &self,
        volume: &str,
        volume_name: &str,
        droplet: u64,
    ) -> Result<(), GuestError> {
        let mut state = self.inner.state.lock().await;
        if let Some(machine) = state.machines.get(&droplet) {
            machine
                .attach(volume, &self.volume(volume), volume_name)
                .await
                .map_err(GuestError::io(format!(
                    "cannot attach volume {volume_name} to droplet {droplet}"
                )))?;
        }
        let attached = Attached {
            droplet,
            name: volume_name.to_owned(),
        };
        state.volumes.insert(volume.to_owned(), attached);
        Ok(())
    }

    /// Detaches a volume. Whatever uses it on the machine is not asked, as on DigitalOcean.
    pub async fn detach(&self, volume: &str) {
        let (machine, name) = {
            let mut state = self.inner.state.lock().await;
            let Some(attached) = state.volumes.remove(volume) else {
                return;
            };
            (
                state.machines.get(&attached.droplet).cloned(),
                attached.name,
            )
        };
        if let Some(machine) = machine
            && let Err(error) = machine.detach(volume).await
        {
            tracing::warn!(volume = name, %error, "a machine does not let go of a volume");
        }
    }

    /// Copies a file without filling its holes.
    pub(super) async fn copy(&self, from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
        let words = [
            "--sparse=always",
            "--reflink=auto",
            from.as_str(),
            to.as_str(),
        ];
        self.tool("cp", &words).await
    }
}

/// Makes a folder, in place of one that was left half-made.
pub(super) fn make_empty(folder: &Utf8Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(folder)
}

/// The size of what is in a qcow2, in bytes: the big-endian number at byte 24 of its header.
pub(super) fn size_of(file: &Utf8Path) -> io::Result<u64> {
    let mut header = [0; 32];
    fs::File::open(file)?.read_exact(&mut header)?;
    let [.., a, b, c, d, e, f, g, h] = header;
    if !header.starts_with(b"QFI\xfb") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no qcow2"));
    }
    Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_disk_is_read_from_its_header() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Utf8PathBuf::from_path_buf(folder.path().join("disk")).expect("UTF-8");
        let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
        header.extend([0; 16]);
        header.extend((25_u64 << 30).to_be_bytes());
        header.extend([0; 72]);
        fs::write(&file, &header).expect("written");
        assert_eq!(size_of(&file).expect("a size"), 25 << 30);
        header[0] = b'X';
        fs::write(&file, &header).expect("written");
        assert!(size_of(&file).is_err());
    }
}
