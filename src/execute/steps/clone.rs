//! Throw-away copies of volumes, and the snapshots they are made from.
//!
//! Whether a volume still holds what a snapshot of it holds is told by a tag that both bear. It is
//! put on the volume before the snapshot is taken, and taken from it after the volume was attached
//! to be written to and before it is mounted. So whoever took the snapshot looks at the volume before
//! and after: as long as nothing had it and it bears the tag, nothing can have been written.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Steps;
use crate::cloud::CloudError;
use crate::desired::names;
use crate::execute::error::StepError;
use crate::execute::feed::Reporter;
use crate::live::LiveVolumeSnapshot;
use crate::live::claims::{Claim, claim};
use crate::live::ownership::{self, Owner};
use crate::plan::StepId;
use crate::plan::step::{TaggedResource, VolumeRef, VolumeSpec};

/// How long a snapshot is waited for: the API takes one of a volume in 10 minutes, and somebody may
/// just have taken one of what the volume no longer holds.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(11 * 60);
/// First and longest pause between two looks for one.
const LOOK_FIRST: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(15);

/// Snapshots that no longer count are kept for so long, in seconds: somebody may be making copies of
/// them.
const OUTDATED_KEPT: i64 = 60 * 60;
/// However young, no more than this many are left: the API keeps 25 of a volume.
const MOST_SNAPSHOTS: usize = 20;

/// What came of taking a snapshot.
enum Taking {
    Taken(LiveVolumeSnapshot),
    /// Another one was taken too short a time ago.
    TooSoon(CloudError),
    /// Somebody had the volume meanwhile, so that it may be half of one thing and half of another.
    Disturbed,
}

impl Steps {
    /// Sees to it that there is a snapshot of what a volume holds.
    pub(super) async fn snapshot_volume(
        &self,
        step: StepId,
        volume: &VolumeRef,
        name: &str,
        tags: &[String],
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let id = self.volume(volume)?;
        let client = &self.settings.client;
        let end = Instant::now() + SNAPSHOT_PATIENCE;
        let mut pause = LOOK_FIRST;
        loop {
            let live = client.free_volume(&id).await?;
            let taken = client.snapshots_of_volume(&id).await?;
            if let Some(current) = live.current_snapshot(&taken) {
                self.outputs.took_volume_snapshot(step, current.id.clone());
                return Ok(format!("{}: nothing has changed since", current.name));
            }
            self.make_room(&taken).await?;
            let error = match self.take(&id, name, tags).await? {
                Taking::Taken(snapshot) => {
                    // Marks that no snapshot bears: of runs that were cut off.
                    let idle: Vec<String> = ownership::snap_tags(&live.tags)
                        .filter(|tag| !taken.iter().any(|taken| taken.tags.contains(tag)))
                        .cloned()
                        .collect();
                    self.unmark(&id, &idle).await?;
                    let note = format!("took {}", snapshot.name);
                    self.outputs.took_volume_snapshot(step, snapshot.id);
                    return Ok(note);
                }
                Taking::TooSoon(error) => {
                    reporter
                        .progress("waiting: the API takes one snapshot of a volume in 10 minutes");
                    Some(error)
                }
                Taking::Disturbed => {
                    reporter.progress("waiting: something had the volume meanwhile");
                    None
                }
            };
            if Instant::now() + pause > end {
                return Err(match error {
                    Some(error) => error.into(),
                    None => StepError::NeverAtRest {
                        volume: name.to_owned(),
                    },
                });
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LOOK_MAX);
        }
    }

    /// Marks a volume and takes a snapshot of it; the mark goes again unless that succeeded.
    async fn take(&self, id: &str, name: &str, tags: &[String]) -> Result<Taking, StepError> {
        let marker = ulid::Ulid::generate().to_string().to_ascii_lowercase();
        // The end of it is what differs.
        let marker = &marker[marker.len() - 12..];
        let mark = ownership::snap_tag(marker);
        let marks = std::slice::from_ref(&mark);
        let client = &self.settings.client;
        client.add_tags(TaggedResource::Volume, id, marks).await?;
        let mut all: Vec<String> = tags.iter().chain(marks).cloned().collect();
        all.sort();
        let taken = self
            .take_marked(id, &names::volume_snapshot(name, marker), &mark, &all)
            .await;
        if !matches!(taken, Ok(Taking::Taken(_))) {
            self.unmark(id, marks).await?;
        }
        taken
    }

    async fn take_marked(
        &self,
        id: &str,
        name: &str,
        mark: &String,
        tags: &[String],
    ) -> Result<Taking, StepError> {
        let client = &self.settings.client;
        if !client.look_at_volume(id).await?.droplet_ids.is_empty() {
            return Ok(Taking::Disturbed);
        }
        let snapshot = match client.snapshot_volume(id, name, tags).await {
            Ok(snapshot) => snapshot,
            Err(error @ CloudError::TooSoon { .. }) => return Ok(Taking::TooSoon(error)),
            Err(error) => return Err(error.into()),
        };
        let live = client.look_at_volume(id).await?;
        Ok(if live.droplet_ids.is_empty() && live.tags.contains(mark) {
            Taking::Taken(snapshot)
        } else {
            Taking::Disturbed
        })
    }

    /// Takes marks from a volume, and deletes those that nothing bears any more.
    async fn unmark(&self, id: &str, marks: &[String]) -> Result<(), StepError> {
        let client = &self.settings.client;
        client
            .remove_tags(TaggedResource::Volume, id, marks)
            .await?;
        for mark in marks {
            client.delete_tag_if_empty(mark).await?;
        }
        Ok(())
    }

    /// Whether snapshots are taken of a volume: not of someone's own, nor of a copy.
    pub(super) fn keeps_snapshots(&self, volume: &VolumeRef) -> bool {
        match volume {
            VolumeRef::Created { step } => !self.clones.contains(step),
            VolumeRef::Known { id } => {
                let mut volumes = self.settings.live.volumes.iter();
                volumes
                    .find(|volume| volume.id == *id)
                    .is_some_and(|volume| {
                        volume.tags.contains(&self.project_tag)
                            && !ownership::is_clone(&volume.tags)
                    })
            }
        }
    }

    /// From now on a volume may be written to: no snapshot of it counts as what it holds. Called
    /// once it is attached, lest somebody who sees it free marks it in between.
    pub(super) async fn outdate_snapshots(&self, id: &str) -> Result<(), StepError> {
        let client = &self.settings.client;
        let live = client.look_at_volume(id).await?;
        let marks: Vec<String> = ownership::snap_tags(&live.tags).cloned().collect();
        client
            .remove_tags(TaggedResource::Volume, id, &marks)
            .await?;
        Ok(())
    }

    /// Deletes snapshots that no longer count.
    async fn make_room(&self, taken: &[LiveVolumeSnapshot]) -> Result<(), StepError> {
        let now = jiff::Timestamp::now().as_second();
        let owner = Owner::new(&self.project, &self.environment);
        let mut ours: Vec<&LiveVolumeSnapshot> =
            taken.iter().filter(|taken| is_of(&owner, taken)).collect();
        ours.sort_by_key(|taken| std::cmp::Reverse((taken.created_at, &taken.id)));
        let room = MOST_SNAPSHOTS.saturating_sub(taken.len() - ours.len());
        let old: Vec<LiveVolumeSnapshot> = ours
            .into_iter()
            .enumerate()
            .filter(|(place, taken)| {
                *place + 1 >= room || now.saturating_sub(taken.created_at) > OUTDATED_KEPT
            })
            .map(|(_, taken)| taken.clone())
            .collect();
        self.prune_volume_snapshots(&old).await
    }

    /// Whose the snapshots are that go with a volume: this environment's and its project's; for a
    /// sweep, which is no single one's, those of whom the volume's own tags say.
    fn owner_of(&self, id: &str) -> Owner {
        let mut volumes = self.settings.live.volumes.iter();
        let volume = volumes.find(|volume| volume.id == id);
        match volume.map(|volume| claim(&volume.tags)) {
            Some(Claim::Owned {
                project,
                environment,
            }) if self.project.is_empty() => Owner::new(project, environment.unwrap_or_default()),
            _ => Owner::new(&self.project, &self.environment),
        }
    }

    /// Snapshots of a volume that are of those who own it; none of one that is gone.
    pub(super) async fn our_snapshots(
        &self,
        id: &str,
    ) -> Result<Vec<LiveVolumeSnapshot>, StepError> {
        match self.settings.client.snapshots_of_volume(id).await {
            Ok(mut taken) => {
                let owner = self.owner_of(id);
                taken.retain(|taken| is_of(&owner, taken));
                Ok(taken)
            }
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes snapshots of volumes, and their marks.
    pub(super) async fn prune_volume_snapshots(
        &self,
        snapshots: &[LiveVolumeSnapshot],
    ) -> Result<(), StepError> {
        let client = &self.settings.client;
        for snapshot in snapshots {
            client.delete_volume_snapshot(&snapshot.id).await?;
            for mark in ownership::snap_tags(&snapshot.tags) {
                client.delete_tag_if_empty(mark).await?;
            }
        }
        Ok(())
    }

    /// Deletes a snapshot of a volume.
    pub(super) async fn delete_volume_snapshot(&self, id: &str) -> Result<String, StepError> {
        self.settings.client.delete_volume_snapshot(id).await?;
        Ok(String::new())
    }

    /// Makes a throw-away copy of a volume.
    pub(super) async fn clone_volume(
        &self,
        step: StepId,
        snapshot: StepId,
        spec: &VolumeSpec,
    ) -> Result<String, StepError> {
        let snapshot = self.outputs.volume_snapshot(snapshot);
        let snapshot = snapshot.ok_or_else(|| StepError::NotMade {
            what: "the snapshot of the volume".to_owned(),
        })?;
        self.outputs.ask(step);
        let client = &self.settings.client;
        let made = match client.copy_volume(spec, &snapshot).await {
            Ok(made) => made,
            Err(error) => {
                self.settle(step, &error);
                return Err(error.into());
            }
        };
        self.outputs.made_volume(step, made.id.clone());
        // The volume may have grown since.
        if made.size_gib < spec.size.0 {
            client
                .resize_volume(&made.id, &spec.region, spec.size)
                .await?;
        }
        Ok(format!("volume {}", made.id))
    }
}

/// Whether a snapshot of a volume is one that a run of theirs took.
fn is_of(owner: &Owner, snapshot: &LiveVolumeSnapshot) -> bool {
    let is_theirs = owner.in_environment(&snapshot.tags) || owner.in_project_only(&snapshot.tags);
    is_theirs && ownership::snap_tags(&snapshot.tags).next().is_some()
}
