//! What follows from a job's work, from guests that end by themselves, and from a restart.

use super::Account;
use super::droplets::DropletStatus;
use super::jobs::JobKind;
use crate::local::exchange::Millis;
use crate::local::latency::Wait;

/// What became of a job's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// How many bytes a snapshot holds.
    pub bytes: u64,
}

impl Account {
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
            | JobKind::Reboot { droplet }
            | JobKind::Restart { droplet } => self.set_power(droplet, succeeded),
            JobKind::ShutDown { droplet } | JobKind::PowerOff { droplet } if succeeded => {
                self.set_power(droplet, false)
            }
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
        // What kept jobs from ending is gone with the service.
        self.free_stuck();
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
