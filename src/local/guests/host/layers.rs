//! Snapshots of droplets: layers that later guests lie on.

use std::collections::BTreeSet;
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use super::super::base;
use super::super::error::GuestError;
use super::super::supervisor::PARTS;
use super::{GuestHost, blocking, remove_folder};

impl GuestHost {
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
        let frozen = if running {
            self.freeze(droplet).await
        } else {
            None
        };
        let layer = self.layer(image);
        let what = format!("cannot take a snapshot of droplet {droplet}");
        blocking(move || {
            let failed = || GuestError::io(what.clone());
            let fresh = layer.with_extension(UNFINISHED);
            base::remove(fresh.as_std_path()).map_err(failed())?;
            fs::create_dir_all(&fresh).map_err(failed())?;
            write_chain(&fresh.join("layers.json"), &chain)?;
            fs::write(fresh.join("host"), base::host_fingerprint()).map_err(failed())?;
            if running {
                for part in PARTS {
                    copy_part(&upper(&folder, part), &fresh.join(part)).map_err(failed())?;
                }
                drop(frozen);
            } else {
                // From here on the droplet's files are in two places: `recover` puts them together
                // should this process be killed.
                fs::write(fresh.join("moved-from"), droplet.to_string()).map_err(failed())?;
                for part in PARTS {
                    let upper = upper(&folder, part);
                    fs::rename(&upper, fresh.join(part)).map_err(failed())?;
                    fs::create_dir(&upper).map_err(failed())?;
                }
                let mut below = vec![image];
                below.extend(chain);
                write_chain(&chain_file, &below)?;
            }
            fs::rename(&fresh, &layer).map_err(failed())?;
            Ok(size_of_folder(layer.as_std_path()))
        })
        .await
    }

    /// Stops every process of a running guest until the result is dropped.
    async fn freeze(&self, droplet: u64) -> Option<Frozen> {
        let folder = {
            let state = self.inner.state.lock().await;
            state.guests.get(&droplet)?.tree.clone()?
        };
        let frozen = Frozen { folder };
        if let Err(error) = frozen.set("1") {
            tracing::debug!(droplet, %error, "a snapshot is taken of a guest that goes on");
            return None;
        }
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
        while !frozen.is_frozen() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        Some(frozen)
    }

    /// What a snapshot's user should know: that the host, whose root it lies on, was upgraded
    /// since it was taken. `None` when it was not, or the snapshot is unknown.
    #[must_use]
    pub fn image_warning(&self, image: u64) -> Option<String> {
        let then = fs::read_to_string(self.layer(image).join("host")).ok()?;
        let now = base::host_fingerprint();
        let name = |fingerprint: &str| {
            fingerprint
                .rsplit_once(' ')
                .map_or_else(String::new, |(name, _)| name.to_owned())
        };
        (then != now).then(|| {
            let (then, now) = (name(&then), name(&now));
            let change = if then == now {
                format!("packages of {now} changed")
            } else {
                format!("it was {then}, now it is {now}")
            };
            format!(
                "snapshot {image} lies on the host's root, which was upgraded since it was taken ({change}): take it again"
            )
        })
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
    pub(super) async fn collect_layers(&self) -> Result<(), GuestError> {
        if self.is_api() {
            return Ok(());
        }
        let unused = {
            // Nobody may build on a layer, or set another aside, meanwhile.
            let _building = self.inner.building.lock().await;
            set_unused_aside(&self.inner.folder)?
        };
        for folder in unused {
            let what = format!("cannot delete {folder}");
            remove_folder(folder, what).await?;
        }
        Ok(())
    }
}

/// Extension of a layer that is being made.
const UNFINISHED: &str = "new";
/// Extension of a folder that is being deleted.
pub(super) const GONE: &str = "gone";

/// A guest whose processes are stopped.
struct Frozen {
    folder: Utf8PathBuf,
}

impl Frozen {
    fn set(&self, to: &str) -> std::io::Result<()> {
        fs::write(self.folder.join("cgroup.freeze"), to)
    }

    fn is_frozen(&self) -> bool {
        fs::read_to_string(self.folder.join("cgroup.events"))
            .is_ok_and(|text| text.contains("frozen 1"))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A guest that was powered off meanwhile has no such file.
        let _ = self.set("0");
    }
}

fn upper(droplet: &Utf8Path, part: &str) -> Utf8PathBuf {
    droplet.join("rw").join(part).join("upper")
}

fn copy_part(from: &Utf8Path, to: &Utf8Path) -> std::io::Result<()> {
    let copied = std::process::Command::new("cp")
        .args(["-a", "--reflink=auto", "--sparse=auto"])
        .args([from, to])
        .output()?;
    if copied.status.success() {
        return Ok(());
    }
    Err(std::io::Error::other(
        String::from_utf8_lossy(&copied.stderr).trim().to_owned(),
    ))
}

/// Finishes, or takes back, what a cloud that was killed was doing.
pub(super) fn recover(folder: &Utf8Path) -> Result<(), GuestError> {
    let failed = || GuestError::io(format!("cannot tidy up {folder}"));
    for kind in ["layers", "droplets"] {
        for entry in folder.join(kind).read_dir_utf8().map_err(failed())? {
            let path = entry.map_err(failed())?.into_path();
            match path.extension() {
                Some(GONE) => base::remove(path.as_std_path()).map_err(failed())?,
                Some(UNFINISHED) => recover_layer(folder, &path)?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn recover_layer(folder: &Utf8Path, unfinished: &Utf8Path) -> Result<(), GuestError> {
    let failed = || GuestError::io(format!("cannot tidy up {unfinished}"));
    let layer = unfinished.with_extension("");
    let image = layer.file_name().and_then(|name| name.parse::<u64>().ok());
    let moved_from = fs::read_to_string(unfinished.join("moved-from")).unwrap_or_default();
    let droplet = folder.join("droplets").join(&moved_from);
    if !moved_from.is_empty() && droplet.exists() {
        let chain = read_chain(&droplet.join("layers.json"))?;
        if chain.first().copied() == image {
            return fs::rename(unfinished, &layer).map_err(failed());
        }
        for part in PARTS {
            let (moved, home) = (unfinished.join(part), upper(&droplet, part));
            if moved.exists() {
                base::remove(home.as_std_path()).map_err(failed())?;
                fs::rename(&moved, &home).map_err(failed())?;
            }
        }
    }
    base::remove(unfinished.as_std_path()).map_err(failed())
}

/// Renames deleted layers that nothing is built on, so that nothing can be, and returns them.
fn set_unused_aside(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, GuestError> {
    let failed = || GuestError::io("cannot look through the layers of guests");
    let numbered = |kind: &str| -> Result<Vec<(u64, Utf8PathBuf)>, GuestError> {
        let mut found = Vec::new();
        for entry in folder.join(kind).read_dir_utf8().map_err(failed())? {
            let path = entry.map_err(failed())?.into_path();
            if let Some(id) = path.file_name().and_then(|name| name.parse::<u64>().ok()) {
                found.push((id, path));
            }
        }
        Ok(found)
    };
    let mut used = BTreeSet::new();
    let mut deleted = Vec::new();
    for (image, path) in numbered("layers")? {
        if path.join("deleted").exists() {
            deleted.push((image, path));
        } else {
            used.extend(read_chain(&path.join("layers.json"))?);
        }
    }
    for (_, path) in numbered("droplets")? {
        let chain = path.join("layers.json");
        if chain.exists() {
            used.extend(read_chain(&chain)?);
        }
    }
    let mut unused = Vec::new();
    for (image, path) in deleted {
        if !used.contains(&image) {
            let aside = path.with_extension(GONE);
            fs::rename(&path, &aside).map_err(failed())?;
            unused.push(aside);
        }
    }
    Ok(unused)
}

pub(super) fn read_chain(file: &Utf8Path) -> Result<Vec<u64>, GuestError> {
    let failed = || GuestError::io(format!("cannot read {file}"));
    let text = fs::read_to_string(file).map_err(failed())?;
    serde_json::from_str(&text).map_err(|error| failed()(error.into()))
}

/// Writes a chain whole or not at all.
pub(super) fn write_chain(file: &Utf8Path, chain: &[u64]) -> Result<(), GuestError> {
    let text = serde_json::to_string(chain).expect("a list of numbers");
    let fresh = file.with_extension("fresh");
    fs::write(&fresh, text)
        .and_then(|()| fs::rename(&fresh, file))
        .map_err(GuestError::io(format!("cannot write {file}")))
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
