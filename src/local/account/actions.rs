//! Actions: what was asked for and how far it is.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Account;
use crate::local::catalog;
use crate::local::exchange::{Answer, Millis, Refusal, Request, timestamp};

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionStatus {
    /// Not done yet.
    InProgress,
    /// Done.
    Completed,
    /// Failed; the API never says why.
    Errored,
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its id.
    pub id: u64,
    /// How far it is.
    pub status: ActionStatus,
    /// Such as `create` or `attach_volume`.
    pub kind: String,
    /// When it was asked for.
    pub started_at: Millis,
    /// When it ended.
    pub completed_at: Option<Millis>,
    /// The droplet whose event it is.
    pub droplet: Option<u64>,
    /// The volume it is about.
    pub volume: Option<String>,
    /// The image it is about.
    pub image: Option<u64>,
    /// The region's slug.
    pub region: String,
}

/// How many actions are remembered.
const REMEMBERED: usize = 2_000;

impl Action {
    pub(super) fn json(&self) -> Value {
        let (resource, kind) = match (&self.volume, self.image, self.droplet) {
            // A volume's id is no number, so the API says nothing.
            (Some(_), ..) => (None, "volume"),
            (None, Some(image), _) => (Some(image), "image"),
            (None, None, droplet) => (droplet, "droplet"),
        };
        json!({
            "id": self.id,
            "status": self.status,
            "type": self.kind,
            "started_at": timestamp(self.started_at),
            "completed_at": self.completed_at.map(timestamp),
            "resource_id": resource,
            "resource_type": kind,
            "region": catalog::find_region(&self.region).map(catalog::Region::json),
            "region_slug": self.region,
        })
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.status, ActionStatus::InProgress)
    }
}

impl Account {
    pub(super) fn list_actions(
        &self,
        request: &Request,
        of: impl Fn(&Action) -> bool,
    ) -> Result<Answer, Refusal> {
        // Newest first, as the panel shows them; the API promises no order.
        let all = self
            .actions
            .values()
            .rev()
            .filter(|action| of(action))
            .map(Action::json)
            .collect();
        Self::page(request, "actions", all)
    }

    pub(super) fn show_action(
        &self,
        id: &str,
        of: impl Fn(&Action) -> bool,
    ) -> Result<Answer, Refusal> {
        let action = id
            .parse()
            .ok()
            .and_then(|id: u64| self.actions.get(&id))
            .filter(|action| of(action))
            .ok_or_else(Refusal::not_found)?;
        Ok(Answer::ok(json!({ "action": action.json() })))
    }

    /// Notes a new action and forgets the oldest that have ended.
    pub(super) fn begin_action(
        &mut self,
        kind: &str,
        region: &str,
        now: Millis,
        of: (Option<u64>, Option<String>, Option<u64>),
    ) -> u64 {
        self.counters.action += 1;
        let id = self.counters.action;
        let (droplet, volume, image) = of;
        self.actions.insert(
            id,
            Action {
                id,
                status: ActionStatus::InProgress,
                kind: kind.to_owned(),
                started_at: now,
                completed_at: None,
                droplet,
                volume,
                image,
                region: region.to_owned(),
            },
        );
        if self.actions.len() > REMEMBERED {
            let oldest = self
                .actions
                .values()
                .find(|action| !action.is_running())
                .map(|action| action.id);
            if let Some(oldest) = oldest {
                self.actions.remove(&oldest);
            }
        }
        id
    }

    /// Marks an action as ended.
    pub(super) fn end_action(&mut self, id: u64, succeeded: bool, now: Millis) {
        if let Some(action) = self.actions.get_mut(&id)
            && action.is_running()
        {
            action.completed_at = Some(now);
            action.status = if succeeded {
                ActionStatus::Completed
            } else {
                ActionStatus::Errored
            };
        }
    }

    /// Refuses when a droplet has an event that has not ended.
    pub(super) fn check_idle(&self, droplet: u64) -> Result<(), Refusal> {
        let going = self.droplets.get(&droplet).is_some_and(|d| d.going);
        let busy = self
            .actions
            .values()
            .any(|action| action.droplet == Some(droplet) && action.is_running());
        if going || busy {
            return Err(Refusal::unprocessable(
                "Droplet already has a pending event.",
            ));
        }
        Ok(())
    }
}
