//! Snapshots of volumes: what throw-away copies are made from.
//!
//! The API takes one of each volume in 10 minutes and keeps 25. Names are unique, so a snapshot
//! whose answer was lost is found by its own.

use serde::Deserialize;

use super::client::Client;
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::volumes::is_in_doubt;
use super::wire;
use crate::live::LiveVolumeSnapshot;

#[derive(Debug, Clone, Deserialize)]
struct Snapshot {
    id: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    name: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    resource_id: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    regions: Vec<String>,
    #[serde(default, deserialize_with = "wire::whole32")]
    min_disk_size: u32,
    #[serde(default, deserialize_with = "wire::thousandths")]
    size_gigabytes: u64,
    #[serde(default, deserialize_with = "wire::present")]
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "wire::unix")]
    created_at: i64,
}

impl Snapshot {
    fn into_live(mut self) -> Result<LiveVolumeSnapshot, CloudError> {
        self.regions.sort();
        Ok(LiveVolumeSnapshot {
            tags: wire::sorted_tags(self.tags, || format!("volume snapshot {}", self.name))?,
            id: self.id,
            name: self.name,
            volume_id: self.resource_id,
            regions: self.regions,
            min_disk_gib: self.min_disk_size,
            size_mb: self.size_gigabytes,
            created_at: self.created_at,
        })
    }
}

impl Client {
    /// Every snapshot of a volume of the account, sorted by id.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn volume_snapshots(&self) -> Result<Vec<LiveVolumeSnapshot>, CloudError> {
        self.listed(&Call::VolumeSnapshots).await
    }

    /// The snapshots of a volume, sorted by id.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn snapshots_of_volume(
        &self,
        volume: &str,
    ) -> Result<Vec<LiveVolumeSnapshot>, CloudError> {
        let of = Call::SnapshotsOfVolume {
            id: volume.to_owned(),
        };
        self.listed(&of).await
    }

    async fn listed(&self, call: &Call) -> Result<Vec<LiveVolumeSnapshot>, CloudError> {
        let found: Vec<Snapshot> = self.list(call, "snapshots").await?;
        let mut found = found
            .into_iter()
            .map(Snapshot::into_live)
            .collect::<Result<Vec<_>, _>>()?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Takes a snapshot of a volume. One of it of that very name is taken for it.
    ///
    /// # Errors
    /// [`CloudError::TooSoon`] when another was taken within 10 minutes, [`CloudError::NameTaken`]
    /// when one of another volume has the name; else when the API refuses.
    pub async fn snapshot_volume(
        &self,
        volume: &str,
        name: &str,
        tags: &[String],
    ) -> Result<LiveVolumeSnapshot, CloudError> {
        let call = Call::SnapshotVolume {
            id: volume.to_owned(),
            name: name.to_owned(),
            tags: tags.to_vec(),
        };
        let mut patience = Patience::new(self, self.timing().fault_deadline);
        let mut lost = false;
        loop {
            let error = match self.read::<Snapshot>(&call, "snapshot").await {
                Ok(mut taken) => {
                    // The answer may leave out what was just said.
                    taken.tags.get_or_insert_with(|| tags.to_vec());
                    return taken.into_live();
                }
                Err(error) => error,
            };
            // A second try meets the first: by its name, or by the limit that it used up.
            let may_be_taken = is_in_doubt(&error) || error.is_conflict() || error.is_too_soon();
            if !may_be_taken {
                return Err(error);
            }
            // What a lost answer told of is met by the next try before lists show it.
            let is_met = lost && !is_in_doubt(&error);
            lost |= is_in_doubt(&error);
            let mut lag = Patience::new(self, self.timing().lookup_window);
            loop {
                let found = self.snapshots_of_volume(volume).await?;
                if let Some(taken) = found.into_iter().find(|taken| taken.name == name) {
                    return Ok(taken);
                }
                if !is_met || !lag.wait().await {
                    break;
                }
            }
            if error.is_too_soon() {
                return Err(CloudError::TooSoon {
                    volume: volume.to_owned(),
                    cause: Box::new(error),
                });
            }
            if error.is_conflict() {
                return Err(CloudError::NameTaken {
                    kind: "volume snapshot",
                    name: name.to_owned(),
                });
            }
            let what = call.request().label();
            if !patience.pause(&what, &error.to_string()).await {
                return Err(error);
            }
        }
    }

    /// Deletes a snapshot of a volume; copies made from it stay. One that is gone is a success.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn delete_volume_snapshot(&self, id: &str) -> Result<(), CloudError> {
        let call = Call::DeleteVolumeSnapshot { id: id.to_owned() };
        match self.call(&call).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
