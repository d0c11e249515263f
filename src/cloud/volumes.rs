//! Volumes: unique by name in their region, attached to one droplet at a time.

use serde::Deserialize;

use super::actions::Action;
use super::client::{Client, parse_key};
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::retry::Lag;
use super::waits::Awaited;
use super::wire::{self, Slug};
use crate::live::{LiveVolume, ownership};
use crate::plan::step::VolumeSpec;
use crate::units::Gib;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Volume {
    id: String,
    name: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    region: Slug,
    #[serde(default, deserialize_with = "wire::whole32")]
    size_gigabytes: u32,
    #[serde(default, deserialize_with = "wire::or_default")]
    droplet_ids: Vec<u64>,
    #[serde(default, deserialize_with = "wire::present")]
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "wire::or_default")]
    filesystem_type: String,
    #[serde(default, deserialize_with = "wire::unix")]
    created_at: i64,
}

impl Volume {
    pub fn into_live(mut self) -> Result<LiveVolume, CloudError> {
        self.droplet_ids.sort_unstable();
        Ok(LiveVolume {
            tags: wire::sorted_tags(self.tags, || format!("volume {}", self.name))?,
            id: self.id,
            name: self.name,
            region: self.region.slug,
            size_gib: self.size_gigabytes,
            droplet_ids: self.droplet_ids,
            created_at: self.created_at,
        })
    }
}

impl Client {
    pub(super) async fn volumes(&self) -> Result<Vec<Volume>, CloudError> {
        self.list(&Call::Volumes, "volumes").await
    }

    async fn volume(&self, id: &str) -> Result<Option<Volume>, CloudError> {
        self.find(&Call::Volume { id: id.to_owned() }, "volume")
            .await
    }

    /// A volume as it is now.
    ///
    /// # Errors
    /// When there is none of that id, or the API cannot be read.
    pub async fn look_at_volume(&self, id: &str) -> Result<LiveVolume, CloudError> {
        let call = Call::Volume { id: id.to_owned() };
        self.read::<Volume>(&call, "volume").await?.into_live()
    }

    /// A volume that nothing has. While who has it is gone already, as for some seconds after a
    /// droplet is destroyed, this waits.
    ///
    /// # Errors
    /// [`CloudError::AttachedElsewhere`]; else when the API cannot be read.
    pub async fn free_volume(&self, id: &str) -> Result<LiveVolume, CloudError> {
        let mut patience = Patience::new(self, self.timing().volume_free);
        loop {
            let live = self.look_at_volume(id).await?;
            let Some(&other) = live.droplet_ids.first() else {
                return Ok(live);
            };
            let holder = self.droplet(other).await?;
            let is_there = holder.is_some();
            let error = CloudError::AttachedElsewhere {
                volume: live.name,
                other,
                holder: match holder {
                    Some(droplet) => droplet.into_live()?.name,
                    None => other.to_string(),
                },
            };
            if is_there || !patience.wait().await {
                return Err(error);
            }
        }
    }

    /// The droplets a volume is attached to, sorted: mostly one or none. One that is gone is attached
    /// to none.
    ///
    /// # Errors
    /// When the API cannot be asked.
    pub async fn volume_holders(&self, id: &str) -> Result<Vec<u64>, CloudError> {
        let mut holders = self
            .volume(id)
            .await?
            .map_or_else(Vec::new, |v| v.droplet_ids);
        holders.sort_unstable();
        Ok(holders)
    }

    /// The tags a volume bears.
    pub(super) async fn volume_tags(&self, id: &str) -> Result<Vec<String>, CloudError> {
        Ok(self.look_at_volume(id).await?.tags)
    }

    /// The file system that a volume was made with; none when the API does not tell one, for it was
    /// made raw or somebody made the file system himself.
    ///
    /// # Errors
    /// When the volume cannot be read.
    pub async fn volume_filesystem(&self, id: &str) -> Result<Option<String>, CloudError> {
        let call = Call::Volume { id: id.to_owned() };
        let volume: Volume = self.read(&call, "volume").await?;
        Ok(Some(volume.filesystem_type).filter(|kind| !kind.is_empty()))
    }

    /// Makes a volume, raw. One of that name that bears our tags is taken for it.
    ///
    /// # Errors
    /// [`CloudError::NameTaken`] when the name is another's; else when the API refuses.
    pub async fn create_volume(&self, spec: &VolumeSpec) -> Result<LiveVolume, CloudError> {
        self.new_volume(&Call::CreateVolume(spec.clone()), spec)
            .await
    }

    /// Makes a volume that holds what a snapshot of a volume holds. One of that name that bears our
    /// tags is taken for it. Its size is the snapshot's.
    ///
    /// # Errors
    /// [`CloudError::NameTaken`] when the name is another's; else when the API refuses.
    pub async fn copy_volume(
        &self,
        spec: &VolumeSpec,
        snapshot: &str,
    ) -> Result<LiveVolume, CloudError> {
        let call = Call::CopyVolume {
            spec: spec.clone(),
            snapshot: snapshot.to_owned(),
        };
        self.new_volume(&call, spec).await
    }

    async fn new_volume(&self, call: &Call, spec: &VolumeSpec) -> Result<LiveVolume, CloudError> {
        const CREATE: &str = "POST /v2/volumes";
        let mut patience = Patience::new(self, self.timing().fault_deadline);
        // Once an answer was lost, no later error says that nothing was made.
        let mut lost = false;
        let told = |error: CloudError, lost: bool| {
            if lost {
                error.after_lost_answer(CREATE)
            } else {
                error
            }
        };
        loop {
            let error = match self.read::<Volume>(call, "volume").await {
                Ok(mut volume) => {
                    // The answer to a create may leave out what was just said.
                    volume.tags.get_or_insert_with(|| (*spec.tags).clone());
                    return volume.into_live();
                }
                Err(error) => error,
            };
            let taken = error.is_conflict();
            if !taken && !is_in_doubt(&error) {
                return Err(told(error, lost));
            }
            lost |= !taken;
            let named = Call::VolumesNamed {
                name: spec.name.as_str().to_owned(),
                region: spec.region.as_str().to_owned(),
            };
            let found = self.list::<Volume>(&named, "volumes").await;
            let found = found.map_err(|error| told(error, lost))?;
            if let Some(volume) = found
                .into_iter()
                .find(|volume| volume.name == spec.name && volume.region.slug == spec.region)
            {
                let volume = volume.into_live()?;
                // The others change over time.
                if ownership::owner_tags(&spec.tags).all(|tag| volume.tags.contains(tag)) {
                    return Ok(volume);
                }
                return Err(CloudError::NameTaken {
                    kind: "volume",
                    name: spec.name.as_str().to_owned(),
                });
            }
            // Names are unique, so asking again cannot make two.
            if !patience.pause(CREATE, &error.to_string()).await {
                return Err(told(error, lost));
            }
        }
    }

    /// Grows a volume and waits until it has grown. One that has that size already is a success.
    ///
    /// # Errors
    /// When the API refuses (volumes never shrink) or its action fails.
    pub async fn resize_volume(&self, id: &str, region: &str, size: Gib) -> Result<(), CloudError> {
        let call = Call::ResizeVolume {
            id: id.to_owned(),
            region: region.to_owned(),
            size,
        };
        self.act_on_volume(&call, id, ("resize volume", Awaited::Grown), |volume| {
            Ok(volume.size_gigabytes == size.0)
        })
        .await
    }

    /// Deletes a volume with all it holds. One that is gone already is a success. While it is still
    /// attached, as it is for some seconds after its droplet is gone, this waits.
    ///
    /// # Errors
    /// When it stays attached, or the API refuses.
    pub async fn delete_volume(&self, id: &str) -> Result<(), CloudError> {
        let call = Call::DeleteVolume { id: id.to_owned() };
        match self.call_through(&call, Lag::VolumeAttached).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Attaches a volume and waits until it is attached. Attached to that droplet already is a
    /// success.
    ///
    /// # Errors
    /// [`CloudError::AttachedElsewhere`]; else when the API refuses or its action fails.
    pub async fn attach(&self, volume: &str, droplet: u64, region: &str) -> Result<(), CloudError> {
        let call = Call::AttachVolume {
            id: volume.to_owned(),
            droplet,
            region: region.to_owned(),
        };
        let mut patience = Patience::new(self, self.timing().volume_free);
        loop {
            let done = self
                .act_on_volume(
                    &call,
                    volume,
                    ("attach volume", Awaited::Attached),
                    |seen| match seen.droplet_ids.iter().find(|id| **id != droplet) {
                        Some(other) => Err(CloudError::AttachedElsewhere {
                            volume: seen.name.clone(),
                            other: *other,
                            holder: other.to_string(),
                        }),
                        None => Ok(seen.droplet_ids.contains(&droplet)),
                    },
                )
                .await;
            let Err(CloudError::AttachedElsewhere {
                volume,
                other,
                mut holder,
            }) = done
            else {
                return done;
            };
            let named = self.droplet(other).await?;
            let is_there = named.is_some();
            if let Some(droplet) = named {
                holder = droplet.into_live()?.name;
            }
            let error = CloudError::AttachedElsewhere {
                volume,
                other,
                holder,
            };
            // A volume outlives its droplet's attachment by some seconds: that one passes.
            if is_there
                || !patience
                    .pause(&call.request().label(), &error.to_string())
                    .await
            {
                return Err(error);
            }
        }
    }

    /// Detaches a volume and waits until it is detached. Not attached to that droplet is a success,
    /// as is that the volume is gone.
    ///
    /// # Errors
    /// When the API refuses or its action fails.
    pub async fn detach(&self, volume: &str, droplet: u64, region: &str) -> Result<(), CloudError> {
        let call = Call::DetachVolume {
            id: volume.to_owned(),
            droplet,
            region: region.to_owned(),
        };
        let done = self
            .act_on_volume(
                &call,
                volume,
                ("detach volume", Awaited::Detached),
                |seen| Ok(!seen.droplet_ids.contains(&droplet)),
            )
            .await;
        match done {
            // Of a volume that is gone nothing is attached.
            Err(error) if error.is_not_found() && self.volume(volume).await?.is_none() => Ok(()),
            other => other,
        }
    }

    /// Asks for an action and waits for it. A refusal, a lost answer and a failed action are
    /// followed by a look: the goal may be reached. A refusal that comes after a lost answer is most
    /// likely due to what was asked first: reads may show that a while later.
    async fn act_on_volume(
        &self,
        call: &Call,
        id: &str,
        (what, awaited): (&str, Awaited),
        is_reached: impl Fn(&Volume) -> Result<bool, CloudError>,
    ) -> Result<(), CloudError> {
        let timing = self.timing();
        let awaited = (awaited, "");
        let mut patience = Patience::new(self, timing.fault_deadline);
        let mut lost = false;
        loop {
            let request = call.request();
            let asked = match self.call_through(call, Lag::PendingEvent).await {
                Ok(answer) => parse_key::<Action>(&request, &answer, "action"),
                Err(error) => Err(error),
            };
            let error = match asked {
                Ok(action) => {
                    let waited = self
                        .wait_action(&action, what, awaited, timing.action, timing.poll_max)
                        .await;
                    match waited {
                        Ok(()) => return Ok(()),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let may_be_reached = is_in_doubt(&error)
                || error.is_unprocessable()
                || error.is_not_found()
                || matches!(error, CloudError::ActionFailed { .. });
            if !may_be_reached {
                return Err(error);
            }
            let may_lag = lost && error.is_unprocessable();
            let mut lag = Patience::new(self, timing.read_back);
            loop {
                if let Some(volume) = self.volume(id).await?
                    && is_reached(&volume)?
                {
                    return Ok(());
                }
                if !may_lag || !lag.wait().await {
                    break;
                }
            }
            lost |= is_in_doubt(&error);
            // While the first action runs, a second one is refused: asking again cannot do harm.
            if !is_in_doubt(&error) || !patience.pause(&request.label(), &error.to_string()).await {
                return Err(error);
            }
        }
    }
}

/// Whether the request may have been carried out although no answer says so.
pub(super) fn is_in_doubt(error: &CloudError) -> bool {
    error.is_outcome_unknown() || matches!(error, CloudError::Unreadable { .. })
}
