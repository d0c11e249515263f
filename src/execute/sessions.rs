//! One connection a droplet, shared by its steps.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::error::StepError;
use super::settings::Settings;
use crate::cloud::Sighting;
use crate::guest::{self, HostKeyPin, Identity, Session, Target};
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::{Plan, StepKind};

/// How long a droplet that was up a moment ago may be away.
const RECONNECT: Duration = Duration::from_secs(90);
/// However long a connection was waited for that was begun early: one try of one's own.
const ONE_TRY: Duration = Duration::from_secs(5);

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
    /// What connects to droplets that are still being made.
    early: Mutex<HashMap<String, AbortHandle>>,
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
    /// A first connection.
    fn new(session: Session) -> Self {
        Self {
            session,
            up_since: Instant::now(),
            restarts: 0,
            is_given_up: false,
            has_mounted: false,
            has_lost_mounts: false,
        }
    }

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
                    user: user.as_str().to_owned(),
                    policy: *host_key,
                    label,
                };
                logins.insert(droplet.name().to_owned(), login);
            }
        }
        Self {
            logins,
            slots: Mutex::default(),
            early: Mutex::default(),
        }
    }

    /// Begins to connect to a droplet that is still being made: whoever asks for the connection
    /// next waits for this one. A failure is for them to meet again.
    pub(super) fn begin(&self, settings: &Settings, seen: Sighting<'_>, patience: Duration) {
        let Ok((target, identity, pin)) = self.way_in(settings, seen.name, seen.address) else {
            return;
        };
        // Without a pin whoever answers first is believed: it had better be the droplet.
        if pin == HostKeyPin::AcceptNew && !seen.is_active {
            return;
        }
        let Ok(mut held) = self.slot(seen.name).try_lock_owned() else {
            return;
        };
        let mut early = self.early();
        if held.is_some() || early.contains_key(seen.name) {
            return;
        }
        let identity = identity.clone();
        let task = tokio::spawn(async move {
            match Session::connect(&target, &identity, &pin, patience).await {
                Ok(session) => *held = Some(Held::new(session)),
                Err(error) => {
                    tracing::debug!(%error, label = target.label, "not connected early");
                }
            }
        });
        early.insert(seen.name.to_owned(), task.abort_handle());
    }

    fn early(&self) -> MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a droplet is being connected to that no step has asked for yet.
    fn is_early(&self, droplet: &str) -> bool {
        let early = self.early();
        early.get(droplet).is_some_and(|task| !task.is_finished())
    }

    fn end_early(&self, droplet: &str) {
        if let Some(task) = self.early().get(droplet) {
            task.abort();
        }
    }

    /// Where a droplet is, who logs in, and what it must show.
    fn way_in<'a>(
        &self,
        settings: &'a Settings,
        droplet: &str,
        address: Ipv4Addr,
    ) -> Result<(Target, &'a Identity, HostKeyPin), StepError> {
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
        let target = Target {
            address: IpAddr::V4(address),
            port: settings.ssh_port,
            user: login.user.clone(),
            label: login.label.clone(),
        };
        Ok((target, identity, pin))
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
        !self.is_early(droplet) && self.slot(droplet).lock().await.is_some()
    }

    /// Whether there was a connection to a droplet, and it broke.
    pub(super) async fn is_lost(&self, droplet: &str) -> bool {
        if self.is_early(droplet) {
            return false;
        }
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
        let (target, identity, pin) = self.way_in(settings, droplet, address)?;
        let slot = self.slot(droplet);
        let begun = Instant::now();
        let mut held = match timeout(patience, slot.lock()).await {
            Ok(held) => held,
            Err(_elapsed) => {
                self.end_early(droplet);
                slot.lock().await
            }
        };
        // What was waited for a connection that was begun early is waited for no second time.
        let patience = patience
            .saturating_sub(begun.elapsed())
            .max(patience.min(ONE_TRY));
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
        let session = Session::connect(&target, identity, &pin, patience).await?;
        match held.as_mut() {
            None => *held = Some(Held::new(session.clone())),
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
        self.end_early(droplet);
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
