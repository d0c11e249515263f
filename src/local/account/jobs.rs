//! Work that takes time: what it is, and when it may end.

use serde::{Deserialize, Serialize};

use super::Account;
use crate::local::exchange::Millis;

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
    /// Whether a fault keeps it from ending.
    #[serde(default)]
    pub stuck: bool,
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
    /// A droplet is asked to shut down.
    ShutDown {
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
    /// A droplet is asked to shut down, and boots again.
    Reboot {
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

impl JobKind {
    /// Whether the job decides if a droplet's guest is up.
    pub(super) const fn decides_power(&self) -> Option<u64> {
        match self {
            Self::Create { droplet }
            | Self::Revive { droplet }
            | Self::Destroy { droplet }
            | Self::ShutDown { droplet }
            | Self::PowerOff { droplet }
            | Self::PowerOn { droplet }
            | Self::Reboot { droplet }
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
                stuck: false,
            },
        );
        self.fresh.push(id);
        id
    }

    /// Jobs begun since this was last asked.
    pub fn take_fresh(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.fresh)
    }

    /// Makes the jobs fail that were begun since [`Account::take_fresh`], delays their end, or puts
    /// it off until [`Account::free_stuck`].
    pub fn doom_fresh(&mut self, fail: bool, delay: Millis, never: bool) {
        for id in &self.fresh {
            if let Some(job) = self.jobs.get_mut(id) {
                job.doomed |= fail;
                job.due += delay;
                job.stuck |= never;
            }
        }
    }

    /// Lets jobs end that were kept from it.
    pub fn free_stuck(&mut self) {
        for job in self.jobs.values_mut() {
            job.stuck = false;
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
}
