//! One connection a droplet, shared by its steps.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::StepError;
use super::settings::Settings;
use crate::guest::{HostKeyPin, Session, Target};
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::{Plan, StepKind};

/// How long a droplet that was up a moment ago may be away.
const RECONNECT: Duration = Duration::from_secs(90);

/// How one logs in to a droplet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) policy: HostKeyPolicy,
    /// What it is called in messages.
    label: String,
}

/// The connections of a run, by the droplet's name.
pub(super) struct Sessions {
    logins: BTreeMap<String, Login>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// Held while a connection is made, so that steps that start together make one.
type Slot = tokio::sync::Mutex<Option<Session>>;

impl Sessions {
    /// For the droplets that the plan logs in to.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut logins = BTreeMap::new();
        for step in &plan.steps {
            if let StepKind::Connect {
                droplet,
                user,
                host_key,
            } = &step.kind
            {
                let label = match &step.address {
                    crate::address::Address::Snapshot(_) => {
                        format!("the builder of {}", step.address)
                    }
                    address => address.to_string(),
                };
                let login = Login {
                    user: user.clone(),
                    policy: *host_key,
                    label,
                };
                logins.insert(droplet.name().to_owned(), login);
            }
        }
        Self {
            logins,
            slots: Mutex::default(),
        }
    }

    /// The user who logs in to a droplet.
    pub(super) fn login(&self, droplet: &str) -> Result<&Login, StepError> {
        self.logins.get(droplet).ok_or_else(|| StepError::NotMade {
            what: format!("a connection to {droplet}"),
        })
    }

    fn slot(&self, droplet: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(droplet.to_owned()).or_default())
    }

    /// Whether a connection to a droplet was ever made, and not ended by [`Self::close`].
    pub(super) async fn was_made(&self, droplet: &str) -> bool {
        self.slot(droplet).lock().await.is_some()
    }

    /// Whether there was a connection to a droplet, and it broke.
    pub(super) async fn is_lost(&self, droplet: &str) -> bool {
        let slot = self.slot(droplet);
        let held = slot.lock().await;
        held.as_ref().is_some_and(Session::is_closed)
    }

    /// The connection to a droplet: the one that is there, or a new one when there is none or it
    /// was lost. The first one may take as long as `patience`.
    pub(super) async fn get(
        &self,
        settings: &Settings,
        droplet: &str,
        address: Ipv4Addr,
        patience: Duration,
    ) -> Result<Session, StepError> {
        let login = self.login(droplet)?;
        let identity = settings.identity.as_ref().ok_or(StepError::NoIdentity)?;
        let pin = match login.policy {
            HostKeyPolicy::AcceptNew => HostKeyPin::AcceptNew,
            HostKeyPolicy::Derived => settings
                .host_key
                .as_ref()
                .ok_or(StepError::NoIdentity)?
                .pin(),
        };
        let slot = self.slot(droplet);
        let mut held = slot.lock().await;
        let patience = if held.is_some() {
            patience.min(RECONNECT)
        } else {
            patience
        };
        if let Some(session) = held.as_ref().filter(|session| !session.is_closed()) {
            return Ok(session.clone());
        }
        let target = Target {
            address: IpAddr::V4(address),
            port: settings.ssh_port,
            user: login.user.clone(),
            label: login.label.clone(),
        };
        let session = Session::connect(&target, identity, &pin, patience).await?;
        *held = Some(session.clone());
        Ok(session)
    }

    /// Ends the connection to a droplet, if there is one.
    pub(super) async fn close(&self, droplet: &str) {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.remove(droplet)
        };
        if let Some(slot) = slot {
            // Whoever is connecting just now is let be: the droplet goes away beneath it.
            if let Ok(mut held) = slot.try_lock()
                && let Some(session) = held.take()
            {
                session.close().await;
            }
        }
    }

    /// Ends every connection.
    pub(super) async fn close_all(&self) {
        let names: Vec<String> = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.keys().cloned().collect()
        };
        futures_util::future::join_all(names.iter().map(|name| self.close(name))).await;
    }
}
