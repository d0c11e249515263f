//! What has to be done for a job outside of the account.

use super::Account;
use super::jobs::JobKind;
use crate::local::catalog::{self, Image};
use crate::local::seam::{BootSpec, GuestImage, Known, Limits};

/// How a guest starts.
#[derive(Debug, Clone)]
pub struct Start {
    /// What it is.
    pub spec: BootSpec,
    /// What its size allows it.
    pub limits: Limits,
    /// Id and name of the volumes attached to it.
    pub volumes: Vec<(String, String)>,
}

/// What has to be done for a job outside of the account.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Nothing: time passes.
    Nothing,
    /// Boot a guest.
    Boot(Start),
    /// Ask a guest to shut down, and wait until it is off.
    ShutDown(u64),
    /// End a guest.
    PowerOff(u64),
    /// Ask a guest to shut down, end it if it does not, and boot it again.
    Reboot(Start),
    /// End a guest and boot it again.
    PowerCycle(Start),
    /// End a guest, delete what it wrote, boot it from another image.
    Rebuild(Start),
    /// End a guest and delete what it wrote.
    Destroy(u64),
    /// Take a snapshot of a guest (droplet, image).
    Snapshot(u64, u64),
    /// Delete a snapshot.
    DeleteImage(u64),
    /// Make a volume.
    CreateVolume {
        /// Its id.
        volume: String,
        /// Its size.
        size_gib: u32,
        /// The snapshot it is a copy of.
        from: Option<String>,
        /// The file system it is made with.
        filesystem: Option<(String, String)>,
    },
    /// Delete a volume.
    DeleteVolume(String),
    /// Grow a volume.
    ResizeVolume(String, u32),
    /// Attach a volume (id, name) to a droplet.
    Attach(String, String, u64),
    /// Detach a volume.
    Detach(String),
    /// Take a snapshot of a volume (volume, snapshot).
    SnapshotVolume(String, String),
    /// Delete a volume snapshot.
    DeleteVolumeSnapshot(String),
}

impl Effect {
    /// The droplet whose other work must not run at the same time.
    #[must_use]
    pub const fn droplet(&self) -> Option<u64> {
        match self {
            Self::Boot(start)
            | Self::Reboot(start)
            | Self::PowerCycle(start)
            | Self::Rebuild(start) => Some(start.spec.droplet),
            Self::ShutDown(droplet)
            | Self::PowerOff(droplet)
            | Self::Destroy(droplet)
            | Self::Snapshot(droplet, _)
            | Self::Attach(_, _, droplet) => Some(*droplet),
            _ => None,
        }
    }
}

impl Account {
    /// All that may have files.
    #[must_use]
    pub fn known(&self) -> Known {
        Known {
            droplets: self.droplets.keys().copied().collect(),
            images: self.images.keys().copied().collect(),
            volumes: self.volumes.keys().cloned().collect(),
            volume_snapshots: self.volume_snapshots.keys().cloned().collect(),
        }
    }

    /// What has to be done for a job.
    #[must_use]
    pub fn effect(&self, id: u64) -> Effect {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.doomed) else {
            return Effect::Nothing;
        };
        let start = |droplet: u64, image: Option<&Image>, effect: fn(Start) -> Effect| {
            self.start(droplet, image).map_or(Effect::Nothing, effect)
        };
        match &job.kind {
            JobKind::Create { droplet }
            | JobKind::Revive { droplet }
            | JobKind::PowerOn { droplet } => start(*droplet, None, Effect::Boot),
            JobKind::Reboot { droplet } => start(*droplet, None, Effect::Reboot),
            JobKind::Restart { droplet } => start(*droplet, None, Effect::PowerCycle),
            JobKind::Rebuild { droplet, image } => {
                start(*droplet, self.any_image(*image), Effect::Rebuild)
            }
            JobKind::Destroy { droplet } => Effect::Destroy(*droplet),
            JobKind::ShutDown { droplet } => Effect::ShutDown(*droplet),
            JobKind::PowerOff { droplet } => Effect::PowerOff(*droplet),
            JobKind::Snapshot { droplet, image, .. } => Effect::Snapshot(*droplet, *image),
            JobKind::DeleteImage { image } => Effect::DeleteImage(*image),
            JobKind::CreateVolume { volume } => {
                self.volumes
                    .get(volume)
                    .map_or(Effect::Nothing, |found| Effect::CreateVolume {
                        volume: volume.clone(),
                        size_gib: found.size_gib,
                        from: found.from.clone(),
                        filesystem: found.filesystem.clone(),
                    })
            }
            JobKind::DeleteVolume { volume } => Effect::DeleteVolume(volume.clone()),
            JobKind::ResizeVolume { volume, size_gib } => {
                Effect::ResizeVolume(volume.clone(), *size_gib)
            }
            JobKind::Attach { volume, droplet } => {
                self.volumes.get(volume).map_or(Effect::Nothing, |found| {
                    Effect::Attach(volume.clone(), found.name.clone(), *droplet)
                })
            }
            JobKind::Detach { volume } => Effect::Detach(volume.clone()),
            JobKind::SnapshotVolume { volume, snapshot } => {
                Effect::SnapshotVolume(volume.clone(), snapshot.clone())
            }
            JobKind::DeleteVolumeSnapshot { snapshot } => {
                Effect::DeleteVolumeSnapshot(snapshot.clone())
            }
            JobKind::Rename { .. }
            | JobKind::Feature { .. }
            | JobKind::Idle
            | JobKind::Transfer { .. } => Effect::Nothing,
        }
    }

    /// Whether a volume is just being detached. A droplet that boots meanwhile, as after this process was
    /// killed, would else take its disk behind the back of that, and keep it.
    fn is_let_go(&self, id: &str) -> bool {
        self.jobs.values().any(|job| {
            !job.doomed && matches!(&job.kind, JobKind::Detach { volume } if volume == id)
        })
    }

    /// How a droplet starts, from its own image or another; `None` when it is on its way out.
    fn start(&self, droplet: u64, image: Option<&Image>) -> Option<Start> {
        let found = self.droplets.get(&droplet).filter(|found| !found.going)?;
        let image = image.unwrap_or(&found.image);
        let spec = BootSpec {
            droplet,
            hostname: found.name.clone(),
            image: match &image.slug {
                Some(slug) => GuestImage::Base { slug: slug.clone() },
                None => GuestImage::Snapshot { image: image.id },
            },
            authorized_keys: found.keys.clone(),
            user_data: found.user_data.clone(),
            address: found.address,
            private: Some(found.private_address),
        };
        let size = catalog::find_size(&found.size);
        let limits = Limits {
            memory_mib: size.map(|size| size.memory_mib),
            vcpus: size.map(|size| size.vcpus),
            disk_gib: Some(found.disk_gib),
        };
        let volumes = self
            .volumes
            .values()
            .filter(|volume| volume.droplet == Some(droplet) && !self.is_let_go(&volume.id))
            .map(|volume| (volume.id.clone(), volume.name.clone()))
            .collect();
        Some(Start {
            spec,
            limits,
            volumes,
        })
    }
}
