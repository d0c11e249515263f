//! Waiting, before anything is made, for volumes that other environments hold.

use std::time::Duration;

use tokio::time::Instant;

use super::context::Context;
use super::terminal::tell;
use crate::cloud::{Client, CloudError, HoldPolls};
use crate::desired::Desired;
use crate::live::Live;
use crate::plan::{Refusal, Refusals};
use crate::units::Seconds;

/// How often it is said what is waited for.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What a plan waits for, and for how long it still may.
#[derive(Debug)]
pub(super) struct Hold {
    /// For how long it waits in all.
    patience: Duration,
    polls: HoldPolls,
    waited_for: Option<Held>,
}

/// Volumes that other environments hold.
#[derive(Debug)]
struct Held {
    client: Client,
    /// Ids of volumes, with the droplets that have them.
    volumes: Vec<(String, Vec<u64>)>,
    /// What is told of them.
    refusals: Vec<Refusal>,
}

impl Hold {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            polls: HoldPolls::new(Instant::now() + patience),
            waited_for: None,
        }
    }

    /// Takes note of why there is no plan. Only where volumes that are held are all of it is there
    /// anything to wait for.
    pub(super) fn begin(
        &mut self,
        client: &Client,
        desired: &Desired,
        live: &Live,
        refusals: &Refusals,
    ) {
        let Some(held) = refusals.held() else { return };
        let names: Vec<&str> = desired
            .volumes
            .iter()
            .filter(|volume| held.contains(&&volume.address))
            .map(|volume| volume.name.as_str())
            .collect();
        let volumes: Vec<(String, Vec<u64>)> = live
            .volumes
            .iter()
            .filter(|volume| {
                volume.region == desired.scope.region && names.contains(&volume.name.as_str())
            })
            .map(|volume| (volume.id.clone(), volume.droplet_ids.clone()))
            .collect();
        if volumes.is_empty() {
            return;
        }
        self.waited_for = Some(Held {
            client: client.clone(),
            volumes,
            refusals: refusals.refusals.clone(),
        });
    }

    /// Waits until those who held the volumes have let go of them; false when there is nothing to
    /// wait for, or it is not so in time.
    ///
    /// # Errors
    /// When the API cannot be asked.
    pub(super) async fn is_over(&mut self, context: &Context) -> Result<bool, CloudError> {
        let Some(held) = self.waited_for.take() else {
            return Ok(false);
        };
        if self.polls.is_over() {
            return Ok(false);
        }
        let most = Seconds(self.patience.as_secs());
        let mut told: Option<Instant> = None;
        for (id, holders) in &held.volumes {
            while held.client.volume_holders(id).await? == *holders {
                if !context.global.quiet && told.is_none_or(|told| told.elapsed() >= HEARTBEAT) {
                    told = Some(Instant::now());
                    for refusal in &held.refusals {
                        tell(&format!(
                            "waiting for {refusal}; for {most} at most (`--wait`), and nothing is made before it is free"
                        ));
                    }
                }
                if !self.polls.pause().await {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
