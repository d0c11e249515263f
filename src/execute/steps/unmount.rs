//! A volume leaves a droplet: unmounted, or, where that cannot be and the droplet goes anyway, once
//! the droplet is off.
//!
//! Nothing but the droplet knows whether something is mounted there: the API takes a disk away at any
//! moment. What was written and is still in the droplet's memory would be lost with it.

use super::Steps;
use crate::execute::error::StepError;
use crate::execute::feed::Reporter;
use crate::guest;
use crate::plan::StepId;
use crate::plan::step::{DropletRef, VolumeRef};

/// How an unmounting went.
enum Unmounted {
    /// Nothing is mounted there any more.
    Yes(&'static str),
    /// Something may be: nobody could log in.
    Unknown,
}

impl Steps {
    /// Unmounts what is mounted at a path. Where that fails on a droplet that the plan destroys, the
    /// droplet is shut down, which does it, too; where it stays, what is in use stays mounted.
    ///
    /// # Errors
    /// When it is still mounted on a droplet that stays, when the droplet had to be cut off from
    /// power, or is still on; and always where others count on it that all that was written is there.
    pub(super) async fn unmount(
        &self,
        step: StepId,
        droplet: &DropletRef,
        path: &str,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let name = droplet.name();
        if self.off().contains(name) {
            return Ok("its droplet is off".to_owned());
        }
        let why = match self.try_unmount(droplet, path, reporter).await {
            Ok(Unmounted::Yes(how)) => return Ok(how.to_owned()),
            // Its droplet goes next, and its volumes with it: there is no time for more.
            Ok(Unmounted::Unknown) if reporter.is_hurried() => {
                return Ok("not waited for: its droplet goes".to_owned());
            }
            Ok(Unmounted::Unknown) => None,
            Err(error) if self.doomed.contains(name) && !reporter.is_hurried() => Some(error),
            Err(error) => return Err(error),
        };
        let told = match &why {
            Some(error) => error.to_string().lines().collect::<Vec<_>>().join("; "),
            None => format!("nobody could log in to droplet {name} to unmount {path}"),
        };
        reporter.notice(&format!(
            "{told}: the droplet is shut down, which writes out what it holds, before the volume leaves it"
        ));
        let orderly = self.shut_down(droplet, reporter).await?;
        match why {
            // Whether all that was written is there counts for more than that the droplet is off.
            Some(error) if !orderly || !self.niceties.contains(&step) => Err(error),
            _ => Ok("its droplet was shut down instead".to_owned()),
        }
    }

    /// Unmounts from within. Where no step got through to a droplet that this run has made, none has
    /// mounted anything, and trying to get through once more would only keep clean-up waiting.
    async fn try_unmount(
        &self,
        droplet: &DropletRef,
        path: &str,
        reporter: &Reporter,
    ) -> Result<Unmounted, StepError> {
        if !self.sessions.was_made(droplet.name()).await {
            match droplet {
                DropletRef::Created { .. } => return Ok(Unmounted::Yes("was never connected")),
                DropletRef::Known { .. } if self.doomed.contains(droplet.name()) => {
                    return Ok(Unmounted::Unknown);
                }
                DropletRef::Known { .. } => {}
            }
        }
        self.on_droplet(droplet, reporter, |session| {
            Box::pin(async move { guest::unmount(&session, path).await })
        })
        .await?;
        Ok(Unmounted::Yes(""))
    }

    /// Has the API shut a droplet down, and cut its power where that does not help: whether the first
    /// was enough. One that is gone is off.
    ///
    /// # Errors
    /// When the API refuses, or the droplet is still on after both: then nothing is detached from it.
    async fn shut_down(
        &self,
        droplet: &DropletRef,
        reporter: &Reporter,
    ) -> Result<bool, StepError> {
        let id = self.droplet(droplet)?.id;
        let name = droplet.name().to_owned();
        self.sessions.close(&name).await;
        match self.off_by_the_api(id, reporter).await {
            Ok(Some(orderly)) => {
                self.off().insert(name);
                Ok(orderly)
            }
            Err(StepError::Cloud(error)) if error.is_not_found() => {
                self.off().insert(name);
                Ok(true)
            }
            Ok(None) => {
                self.stuck().insert(name.clone());
                Err(StepError::StillOn { name })
            }
            Err(error) => {
                self.stuck().insert(name);
                Err(error)
            }
        }
    }

    /// Detaches a volume. One that was never made, or whose droplet was not, is detached.
    ///
    /// # Errors
    /// When the API refuses, or it may still be mounted on a droplet that could not be shut down.
    pub(super) async fn detach(
        &self,
        volume: &VolumeRef,
        droplet: &DropletRef,
        region: &str,
    ) -> Result<String, StepError> {
        let (Ok(volume), Ok(made)) = (self.volume(volume), self.droplet(droplet)) else {
            return Ok("was never attached".to_owned());
        };
        if self.stuck().contains(droplet.name()) {
            return Err(StepError::StillOn {
                name: droplet.name().to_owned(),
            });
        }
        self.settings
            .client
            .detach(&volume, made.id, region)
            .await?;
        Ok(String::new())
    }
}
