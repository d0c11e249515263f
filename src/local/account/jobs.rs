//! Work that takes time: what it is, what has to be done for it, and what follows.

use serde::{Deserialize, Serialize};

use super::Account;
use super::droplets::DropletStatus;
use crate::local::catalog::Image;
use crate::local::exchange::Millis;
use crate::local::guests::{BootSpec, GuestImage};
use crate::local::latency::Wait;

/// A job: begun when a request is answered, ended when its work is done and its time has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: u64,
    /// What it is.
    pub kind: JobKind,
    /// The action that shows it, if the API shows it at all.
    pub action: Option<u64>,
    /// When it may end at the earliest.
    pub due: Millis,
    /// Whether a fault makes it fail.
    pub doomed: bool,
}

/// What a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A new droplet boots.
    Create {
        /// Which.
        droplet: u64,
    },
    /// A droplet that was active boots again after the service was down.
    Revive {
        /// Which.
        droplet: u64,
    },
    /// A droplet is destroyed.
    Destroy {
        /// Which.
        droplet: u64,
    },
    /// A droplet is powered off.
    PowerOff {
        /// Which.
        droplet: u64,
    },
    /// A droplet is powered on.
    PowerOn {
        /// Which.
        droplet: u64,
    },
    /// A droplet is powered off and on.
    Restart {
        /// Which.
        droplet: u64,
    },
    /// A droplet is made anew from an image.
    Rebuild {
        /// Which.
        droplet: u64,
        /// From what.
        image: u64,
    },
    /// A snapshot of a droplet is taken.
    Snapshot {
        /// Of which.
        droplet: u64,
        /// The id of the image it becomes.
        image: u64,
        /// The name of the image it becomes.
        name: String,
    },
    /// A droplet's name changes.
    Rename {
        /// Which.
        droplet: u64,
        /// Its new name.
        name: String,
    },
    /// A feature of a droplet is switched.
    Feature {
        /// Which droplet.
        droplet: u64,
        /// Which feature.
        feature: String,
        /// On or off.
        on: bool,
    },
    /// Something that changes nothing here.
    Idle,
    /// An image is copied to another region.
    Transfer {
        /// Which.
        image: u64,
        /// Where to.
        region: String,
    },
    /// An image's files are deleted.
    DeleteImage {
        /// Which.
        image: u64,
    },
    /// A volume is made.
    CreateVolume {
        /// Which.
        volume: String,
    },
    /// A volume is deleted.
    DeleteVolume {
        /// Which.
        volume: String,
    },
    /// A volume grows.
    ResizeVolume {
        /// Which.
        volume: String,
        /// To what.
        size_gib: u32,
    },
    /// A volume is attached.
    Attach {
        /// Which.
        volume: String,
        /// To what.
        droplet: u64,
    },
    /// A volume is detached.
    Detach {
        /// Which.
        volume: String,
    },
    /// A snapshot of a volume is taken.
    SnapshotVolume {
        /// Of which.
        volume: String,
        /// Its id.
        snapshot: String,
    },
    /// A volume snapshot's files are deleted.
    DeleteVolumeSnapshot {
        /// Which.
        snapshot: String,
    },
}

/// What has to be done for a job outside of the account.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Nothing: time passes.
    Nothing,
    /// Boot a guest, with its volumes (id and name) attached.
    Boot(BootSpec, Vec<(String, String)>),
    /// End a guest.
    PowerOff(u64),
    /// End a guest and boot it again.
    Restart(BootSpec),
    /// End a guest, delete what it wrote, boot it from another image.
    Rebuild(BootSpec, Vec<(String, String)>),
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

/// What became of a job's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// How many bytes a snapshot holds.
    pub bytes: u64,
}

impl Effect {
    /// The droplet whose other work must not run at the same time.
    #[must_use]
    pub const fn droplet(&self) -> Option<u64> {
        match self {
            Self::Boot(spec, _) | Self::Restart(spec) | Self::Rebuild(spec, _) => {
                Some(spec.droplet)
            }
            Self::PowerOff(droplet)
            | Self::Destroy(droplet)
            | Self::Snapshot(droplet, _)
            | Self::Attach(_, _, droplet) => Some(*droplet),
            _ => None,
        }
    }
}

impl JobKind {
    /// Whether the job decides if a droplet's guest is up.
    const fn decides_power(&self) -> Option<u64> {
        match self {
            Self::Create { droplet }
            | Self::Revive { droplet }
            | Self::Destroy { droplet }
            | Self::PowerOff { droplet }
            | Self::PowerOn { droplet }
            | Self::Restart { droplet }
            | Self::Rebuild { droplet, .. } => Some(*droplet),
            _ => None,
        }
    }
}

impl Account {
    /// Begins a job.
    pub(super) fn begin_job(&mut self, kind: JobKind, action: Option<u64>, due: Millis) -> u64 {
        self.counters.job += 1;
        let id = self.counters.job;
        self.jobs.insert(
            id,
            Job {
                id,
                kind,
                action,
                due,
                doomed: false,
            },
        );
        self.fresh.push(id);
        id
    }

    /// Jobs begun since this was last asked.
    pub fn take_fresh(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.fresh)
    }

    /// Makes the jobs fail that were begun since [`Account::take_fresh`], and delays their end.
    pub fn doom_fresh(&mut self, fail: bool, delay: Millis) {
        for id in &self.fresh {
            if let Some(job) = self.jobs.get_mut(id) {
                job.doomed |= fail;
                job.due += delay;
            }
        }
    }

    /// A job that has not ended.
    #[must_use]
    pub fn job(&self, id: u64) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// Jobs that have not ended, and when they are due.
    pub fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// What has to be done for a job.
    #[must_use]
    pub fn effect(&self, id: u64) -> Effect {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.doomed) else {
            return Effect::Nothing;
        };
        let boot = |droplet: u64, image: Option<&Image>| {
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
            let volumes: Vec<(String, String)> = self
                .volumes
                .values()
                .filter(|volume| volume.droplet == Some(droplet))
                .map(|volume| (volume.id.clone(), volume.name.clone()))
                .collect();
            Some((spec, volumes))
        };
        match &job.kind {
            JobKind::Create { droplet }
            | JobKind::Revive { droplet }
            | JobKind::PowerOn { droplet } => boot(*droplet, None)
                .map_or(Effect::Nothing, |(spec, volumes)| {
                    Effect::Boot(spec, volumes)
                }),
            JobKind::Restart { droplet } => {
                boot(*droplet, None).map_or(Effect::Nothing, |(spec, _)| Effect::Restart(spec))
            }
            JobKind::Rebuild { droplet, image } => boot(*droplet, self.any_image(*image))
                .map_or(Effect::Nothing, |(spec, volumes)| {
                    Effect::Rebuild(spec, volumes)
                }),
            JobKind::Destroy { droplet } => Effect::Destroy(*droplet),
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

    /// Takes the outcome of a job's work once its time has come (`None`: it failed), and tells
    /// whether the job has succeeded.
    pub fn finish(&mut self, id: u64, outcome: Option<Done>, now: Millis) -> bool {
        let Some(job) = self.jobs.remove(&id) else {
            return false;
        };
        let outcome = outcome.filter(|_| !job.doomed);
        let mut succeeded = outcome.is_some();
        match job.kind {
            JobKind::Create { droplet } => {
                let network_at = now + self.wait(Wait::Network);
                match self.droplets.get_mut(&droplet) {
                    // Its destruction was asked for while it was being made.
                    Some(found) if found.going => {}
                    Some(found) if succeeded => {
                        found.status = DropletStatus::Active;
                        found.network_at = Some(network_at);
                    }
                    _ => self.forget_droplet(droplet, now),
                }
            }
            JobKind::Revive { droplet }
            | JobKind::PowerOn { droplet }
            | JobKind::Restart { droplet } => self.set_power(droplet, succeeded),
            JobKind::PowerOff { droplet } if succeeded => self.set_power(droplet, false),
            JobKind::Destroy { droplet } => {
                // A destroy that a fault fails leaves a droplet that has lost its tags.
                if job.doomed {
                    if let Some(found) = self.droplets.get_mut(&droplet) {
                        found.going = false;
                    }
                } else {
                    self.forget_droplet(droplet, now);
                }
            }
            JobKind::Rebuild { droplet, image } => {
                let image = self.any_image(image).cloned();
                if let (Some(found), Some(image), true) =
                    (self.droplets.get_mut(&droplet), image, succeeded)
                {
                    found.image = image;
                }
                if !job.doomed {
                    self.set_power(droplet, succeeded);
                }
            }
            JobKind::Snapshot {
                droplet,
                image,
                name,
            } => {
                succeeded &= self.droplets.contains_key(&droplet);
                if let Some(done) = outcome.filter(|_| succeeded) {
                    let started = job
                        .action
                        .and_then(|action| self.actions.get(&action))
                        .map_or(now, |action| action.started_at);
                    self.add_snapshot(droplet, image, name, done, (started, now));
                }
            }
            JobKind::Rename { droplet, name } if succeeded => {
                if let Some(found) = self.droplets.get_mut(&droplet) {
                    found.name = name;
                }
            }
            JobKind::Feature {
                droplet,
                feature,
                on,
            } if succeeded => {
                if let Some(found) = self.droplets.get_mut(&droplet) {
                    found.features.retain(|name| *name != feature);
                    if on {
                        found.features.push(feature);
                    }
                }
            }
            JobKind::Transfer { image, region } if succeeded => {
                if let Some(found) = self.images.get_mut(&image)
                    && !found.regions.contains(&region)
                {
                    found.regions.push(region);
                }
            }
            JobKind::CreateVolume { volume } if !succeeded => {
                self.volumes.remove(&volume);
            }
            JobKind::DeleteVolume { volume } => {
                if succeeded {
                    self.volumes.remove(&volume);
                } else if let Some(found) = self.volumes.get_mut(&volume) {
                    found.going = false;
                }
            }
            JobKind::ResizeVolume { volume, size_gib } if succeeded => {
                if let Some(found) = self.volumes.get_mut(&volume) {
                    found.size_gib = size_gib;
                }
            }
            JobKind::Attach { volume, droplet } if succeeded => {
                if let Some(found) = self.volumes.get_mut(&volume) {
                    found.droplet = Some(droplet);
                    found.free_at = None;
                }
            }
            JobKind::Detach { volume } if succeeded => {
                if let Some(found) = self.volumes.get_mut(&volume) {
                    found.droplet = None;
                    found.free_at = None;
                }
            }
            JobKind::SnapshotVolume { snapshot, .. } => {
                if let Some(done) = outcome {
                    if let Some(found) = self.volume_snapshots.get_mut(&snapshot) {
                        found.size_gb = gigabytes(done.bytes);
                    }
                } else {
                    self.volume_snapshots.remove(&snapshot);
                }
            }
            _ => {}
        }
        if let Some(action) = job.action {
            self.end_action(action, succeeded, now);
        }
        succeeded
    }

    fn set_power(&mut self, droplet: u64, on: bool) {
        if let Some(found) = self.droplets.get_mut(&droplet) {
            found.status = if on {
                DropletStatus::Active
            } else {
                DropletStatus::Off
            };
        }
    }

    /// Notes that a guest powered itself off.
    pub fn powered_itself_off(&mut self, droplet: u64) {
        let deciding = self
            .jobs
            .values()
            .any(|job| job.kind.decides_power() == Some(droplet));
        // A restart in between ends the guest as well, and says so.
        if !deciding
            && let Some(found) = self.droplets.get_mut(&droplet)
            && found.status == DropletStatus::Active
        {
            found.status = DropletStatus::Off;
        }
    }

    /// Goes on after the service was down: droplets that were active boot again, open jobs are
    /// done again, but for snapshots, which may have been cut in half: these fail.
    pub fn resume(&mut self, now: Millis) {
        self.settle(now);
        let open: Vec<(u64, bool)> = self
            .jobs
            .values()
            .map(|job| (job.id, matches!(job.kind, JobKind::Snapshot { .. })))
            .collect();
        for (id, is_snapshot) in open {
            if is_snapshot {
                self.finish(id, None, now);
            } else {
                self.fresh.push(id);
            }
        }
        let active: Vec<u64> = self
            .droplets
            .values()
            .filter(|droplet| droplet.status == DropletStatus::Active && !droplet.going)
            .map(|droplet| droplet.id)
            .filter(|droplet| {
                !self
                    .jobs
                    .values()
                    .any(|job| job.kind.decides_power() == Some(*droplet))
            })
            .collect();
        for droplet in active {
            self.begin_job(JobKind::Revive { droplet }, None, now);
        }
    }
}

/// Bytes as the API counts them: in GB, two digits, never nothing.
pub(super) fn gigabytes(bytes: u64) -> f64 {
    // Far below 2^53 bytes.
    ((bytes as f64 / 1e7).round() / 100.0).max(0.01)
}
