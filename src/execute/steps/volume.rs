//! Volumes: made, attached, mounted, and back.

use tokio::time::Instant;

use super::Steps;
use crate::cloud::{CloudError, HoldPolls, Query, observe};
use crate::execute::error::StepError;
use crate::execute::feed::Reporter;
use crate::guest;
use crate::live::LiveVolume;
use crate::live::ownership::Owner;
use crate::manifest::schema::Filesystem;
use crate::plan::step::{DeletedVolume, DropletRef, VolumeRef, VolumeSpec, VolumeUse};
use crate::plan::{StepId, environment_of, held_by};
use crate::units::{Gib, Seconds};

impl Steps {
    /// Makes a volume.
    pub(super) async fn create_volume(
        &self,
        step: StepId,
        spec: &VolumeSpec,
    ) -> Result<String, StepError> {
        self.outputs.ask(step);
        let volume = match self.settings.client.create_volume(spec).await {
            Ok(volume) => volume,
            Err(error) => {
                self.settle(step, &error);
                return Err(error.into());
            }
        };
        let note = format!("volume {}", volume.id);
        self.outputs.made_volume(step, volume.id);
        Ok(note)
    }

    /// Grows a volume.
    pub(super) async fn resize_volume(
        &self,
        id: &str,
        region: &str,
        to: Gib,
    ) -> Result<String, StepError> {
        self.settings.client.resize_volume(id, region, to).await?;
        Ok(to.to_string())
    }

    /// Deletes a volume with all it holds, also one whose create was never answered.
    pub(super) async fn delete_volume(
        &self,
        volume: &VolumeRef,
        name: &str,
        sort: DeletedVolume,
    ) -> Result<String, StepError> {
        let id = match volume {
            VolumeRef::Known { id } => Some(id.clone()),
            VolumeRef::Created { step } => match self.outputs.volume(*step) {
                None if self.outputs.asked(*step) == Some(true) => self.find_volume(name).await?,
                known => known,
            },
        };
        let Some(id) = id else {
            return Ok("was never made".to_owned());
        };
        // Once the volume is gone nobody lists the snapshots of it.
        let snapshots = match sort {
            DeletedVolume::WithSnapshots => self.our_snapshots(&id).await?,
            DeletedVolume::Alone | DeletedVolume::Clone => Vec::new(),
        };
        self.settings.client.delete_volume(&id).await?;
        self.prune_volume_snapshots(&snapshots).await?;
        Ok(match snapshots.len() {
            0 => String::new(),
            1 => "and a snapshot of it".to_owned(),
            many => format!("and {many} snapshots of it"),
        })
    }

    /// The volume of that name that bears the environment's tag.
    async fn find_volume(&self, name: &str) -> Result<Option<String>, StepError> {
        let query = Query {
            project: self.project.clone(),
            environment: self.environment.clone(),
            ssh_key: None,
            for_destroy: false,
            volume_snapshots: false,
        };
        let live = observe(&self.settings.client, &query).await?;
        let is_ours = |volume: &LiveVolume| {
            volume.name == name && volume.tags.contains(&self.environment_tag)
        };
        let found = live.volumes.into_iter().find(is_ours);
        Ok(found.map(|volume| volume.id))
    }

    /// Attaches a volume. One that another environment was quicker to attach is waited for, unless what
    /// environments share waits for this step: that one may need it to let go of the volume.
    pub(super) async fn attach(
        &self,
        volume: &VolumeRef,
        droplet: &DropletRef,
        region: &str,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let id = self.volume(volume)?;
        let droplet = self.droplet(droplet)?.id;
        let client = &self.settings.client;
        let owner = Owner::new(&self.project, &self.environment);
        let since = Instant::now();
        let mut polls = HoldPolls::new(since + self.settings.hold_patience);
        loop {
            let error = match client.attach(&id, droplet, region).await {
                Ok(()) => break,
                Err(error) => error,
            };
            let CloudError::AttachedElsewhere { other, .. } = &error else {
                return Err(error.into());
            };
            let (other, holder) = (*other, client.find_droplet(*other).await?);
            if let Some(holder) = &holder {
                // Someone else's droplet may keep it for ever.
                if environment_of(holder, &owner).is_none() || polls.is_over() {
                    return Err(error.into());
                }
                let held = held_by(holder, &owner);
                if self.is_awaited_by_makers(reporter.step()) {
                    return Err(StepError::HeldMeanwhile { held });
                }
                reporter.notice(&format!(
                    "{} waits for a volume: {held}",
                    reporter.address()
                ));
                reporter.progress(&held);
            }
            while client.volume_holders(&id).await?.contains(&other) {
                if !polls.pause().await {
                    return Err(error.into());
                }
            }
        }
        if self.keeps_snapshots(volume) {
            self.outdate_snapshots(&id).await?;
        }
        if polls.is_untouched() {
            Ok(String::new())
        } else {
            Ok(format!(
                "waited {} for it",
                Seconds(since.elapsed().as_secs())
            ))
        }
    }

    /// Whether others wait for this run to be done with what environments share, and that waits for this
    /// step.
    fn is_awaited_by_makers(&self, step: StepId) -> bool {
        let right = self.settings.project.as_ref();
        right.is_some_and(|right| right.awaited.contains(&step))
    }

    /// Detaches a volume. One that was never made, or whose droplet was not, is detached.
    pub(super) async fn detach(
        &self,
        volume: &VolumeRef,
        droplet: &DropletRef,
        region: &str,
    ) -> Result<String, StepError> {
        let (Ok(volume), Ok(droplet)) = (self.volume(volume), self.droplet(droplet)) else {
            return Ok("was never attached".to_owned());
        };
        self.settings
            .client
            .detach(&volume, droplet.id, region)
            .await?;
        Ok(String::new())
    }

    pub(super) fn volume(&self, volume: &VolumeRef) -> Result<String, StepError> {
        match volume {
            VolumeRef::Known { id } => Ok(id.clone()),
            VolumeRef::Created { step } => {
                self.outputs
                    .volume(*step)
                    .ok_or_else(|| StepError::NotMade {
                        what: "the volume".to_owned(),
                    })
            }
        }
    }

    /// Mounts an attached volume.
    pub(super) async fn mount(
        &self,
        droplet: &DropletRef,
        volume: &str,
        (filesystem, usage): (Filesystem, VolumeUse),
        path: &str,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let mounted = self
            .on_droplet(droplet, reporter, |session| {
                Box::pin(async move {
                    guest::mount_volume(&session, volume, filesystem, usage, path).await
                })
            })
            .await?;
        self.sessions.note_mounted(droplet.name()).await;
        let mut did = Vec::new();
        if mounted.formatted {
            did.push("formatted");
        }
        if mounted.grown {
            did.push("grown");
        }
        if mounted.already {
            did.push("was mounted");
        }
        Ok(did.join(", "))
    }

    /// Unmounts what is mounted at a path. Where no step got through to the droplet, none has
    /// mounted anything, and trying to get through once more would only keep clean-up waiting.
    pub(super) async fn unmount(
        &self,
        droplet: &DropletRef,
        path: &str,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        if !self.sessions.was_made(droplet.name()).await {
            return Ok("was never connected".to_owned());
        }
        self.on_droplet(droplet, reporter, |session| {
            Box::pin(async move { guest::unmount(&session, path).await })
        })
        .await?;
        Ok(String::new())
    }
}
