//! One connection a droplet, shared by its steps.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::StepError;
use super::settings::Settings;
use crate::guest::{self, HostKeyPin, Session, Target};
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
type Slot = tokio::sync::Mutex<Option<Held>>;

/// A connection, and what is known of the droplet at its end.
struct Held {
    session: Session,
    /// Since when the droplet has been up at the least.
    up_since: Instant,
    restarts: u32,
    /// Whether it is of no use any more, though it looks open.
    is_given_up: bool,
    /// Whether a volume was mounted over this connection or one before.
    has_mounted: bool,
    /// Whether a restart took that away.
    has_lost_mounts: bool,
}

impl Held {
    fn is_lost(&self) -> bool {
        self.is_given_up || self.session.is_closed()
    }
}

/// What became of a droplet between connections to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Restarts {
    /// How often it was found to have been restarted.
    pub(super) count: u32,
    /// Whether volumes were mounted before, and now are not.
    pub(super) has_lost_mounts: bool,
}

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
        held.as_ref().is_some_and(Held::is_lost)
    }

    /// What has become of a droplet so far, as far as its connections tell.
    pub(super) async fn restarts(&self, droplet: &str) -> Restarts {
        let slot = self.slot(droplet);
        let held = slot.lock().await;
        held.as_ref()
            .map_or_else(Restarts::default, |held| Restarts {
                count: held.restarts,
                has_lost_mounts: held.has_lost_mounts,
            })
    }

    /// Ends a connection over which nothing can be done any more: the next one who asks gets a new
    /// one. If it was replaced meanwhile, that one stays.
    pub(super) async fn give_up(&self, droplet: &str, session: &Session) {
        if let Some(held) = self.slot(droplet).lock().await.as_mut()
            && held.session.is(session)
        {
            held.is_given_up = true;
        }
        session.close().await;
    }

    /// Notes that a volume is mounted on a droplet: a restart takes it away.
    pub(super) async fn note_mounted(&self, droplet: &str) {
        if let Some(held) = self.slot(droplet).lock().await.as_mut() {
            held.has_mounted = true;
        }
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
        // Whoever was there first is whoever must answer again, also where any key would do at first.
        let (pin, patience) = match &*held {
            Some(held) => (
                HostKeyPin::Pinned(held.session.host_key().to_owned()),
                patience.min(RECONNECT),
            ),
            None => (pin, patience),
        };
        if let Some(held) = held.as_ref().filter(|held| !held.is_lost()) {
            return Ok(held.session.clone());
        }
        let target = Target {
            address: IpAddr::V4(address),
            port: settings.ssh_port,
            user: login.user.clone(),
            label: login.label.clone(),
        };
        let session = Session::connect(&target, identity, &pin, patience).await?;
        match held.as_mut() {
            None => {
                *held = Some(Held {
                    session: session.clone(),
                    up_since: Instant::now(),
                    restarts: 0,
                    is_given_up: false,
                    has_mounted: false,
                    has_lost_mounts: false,
                });
            }
            Some(held) => {
                // Measured before asking: a droplet that was not restarted is older than that.
                let known = held.up_since.elapsed();
                let age = guest::time_since_boot(&session).await?;
                if age.is_some_and(|age| age < known) {
                    held.restarts += 1;
                    held.up_since = Instant::now();
                    held.has_lost_mounts |= held.has_mounted;
                }
                held.session = session.clone();
                held.is_given_up = false;
            }
        }
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
                && let Some(held) = held.take()
            {
                held.session.close().await;
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
