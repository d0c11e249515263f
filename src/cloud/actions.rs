//! Actions: what the API is still doing. No reason accompanies a failure.

use std::time::Duration;

use serde::Deserialize;

use super::client::Client;
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::urgency::as_poll;
use super::waits::Awaited;
use super::wire;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Action {
    pub id: u64,
    #[serde(default, deserialize_with = "wire::or_default")]
    pub status: String,
    #[serde(default, rename = "type", deserialize_with = "wire::or_default")]
    pub kind: String,
    /// The droplet's id; null or 0 for actions of volumes.
    #[serde(default)]
    pub resource_id: Option<u64>,
    /// The region it is about: of a transfer the one the image goes to.
    #[serde(default, deserialize_with = "wire::or_default")]
    pub region_slug: String,
}

/// Where an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    Completed,
    Errored,
}

impl Action {
    /// Statuses are an open set: what is neither success nor failure is under way.
    pub fn progress(&self) -> Progress {
        match self.status.as_str() {
            "completed" | "done" => Progress::Completed,
            "errored" => Progress::Errored,
            _ => Progress::Running,
        }
    }
}

/// More than this many that wait for actions look at the account's latest actions together.
const ALONE: usize = 2;

impl Client {
    pub(super) async fn action(&self, id: u64) -> Result<Option<Action>, CloudError> {
        self.find(&Call::Action { id }, "action").await
    }

    /// Waits until an action has ended.
    pub(super) async fn wait_action(
        &self,
        action: &Action,
        what: &str,
        (awaited, on): (Awaited, &str),
        deadline: Duration,
        longest: Duration,
    ) -> Result<(), CloudError> {
        let failed = || CloudError::ActionFailed {
            what: what.to_owned(),
            action: action.id,
        };
        let mut progress = action.progress();
        let expected = self.expect_wait(awaited, on);
        let mut patience = Patience::new(self, deadline)
            .at_most(longest)
            .expecting(expected);
        let mut waiter = self.inner.actions.join(self, expected, longest);
        let mut looked = false;
        let mut together = true;
        loop {
            match progress {
                Progress::Completed => {
                    if looked {
                        self.note_wait(awaited, on, patience.elapsed());
                    }
                    return Ok(());
                }
                Progress::Errored => return Err(failed()),
                Progress::Running if patience.is_over() => {
                    return Err(patience.in_vain(format!("action {} ({what})", action.id)));
                }
                Progress::Running => {}
            }
            looked = true;
            if together && self.inner.actions.waiting() > ALONE {
                let latest = waiter
                    .next(self, || {
                        self.first_page::<Action>(&Call::Actions, "actions")
                    })
                    .await;
                match latest {
                    Ok(latest) => {
                        if let Some(seen) = latest.iter().find(|seen| seen.id == action.id) {
                            progress = seen.progress();
                            continue;
                        }
                    }
                    // A token may read one action and not the list of all.
                    Err(error) if error.refusal().is_some() => together = false,
                    Err(error) => return Err(error),
                }
            } else {
                patience.wait().await;
            }
            // An action that is not to be found (yet) is under way: only `errored` is failure.
            if let Some(seen) = as_poll(self.action(action.id)).await? {
                progress = seen.progress();
            }
        }
    }
}
