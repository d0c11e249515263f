//! A guest comes up: its file system, its keys, its listener.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use super::super::base;
use super::super::error::GuestError;
use super::super::exec::GuestExec;
use super::super::guest::Guest;
use super::super::image::describe_image;
use super::super::proxy;
use super::super::supervisor::PARTS;
use super::super::volumes;
use super::super::wire::Setup;
use super::layers::{read_chain, write_chain};
use super::{BootSpec, GuestHost, Limits, Running};
use crate::local::seam::GuestImage;

impl GuestHost {
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
