//! One run for an environment at a time, on all machines that share a store.
//!
//! [`protocol`] has the rules, and says why two never hold a lock at once; here they are carried out.
//!
//! A holder that has lost its lock (it was paused, or cut off from the store, for longer than its
//! lease is good for) sends nothing any more that changes the account, clean-up included: by then
//! someone else may have taken the lock, and what it would clean up may be theirs. What it was making
//! bears its tags from the create call on, so whoever holds the lock then finds it. One gap remains that no
//! client can close, as the API knows of no locks: a request that left this machine while the lease
//! was good, and that the network delivers after it has run out. The part of a lease that a holder
//! does not count on ([`Terms::slack`], 10 s of 60) is there for it as well.

mod lease;
mod protocol;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use lease::{Clock, Lease, LeaseLost};
pub use protocol::Terms;
use protocol::{Ask, Claim, Lost, Seen, Told, Turn};

use super::lock::{Holder, LockError};
use crate::store::{Store, StoreError};

/// How often a lock that is held is looked at: a store tells nobody when it is let go, and each look is
/// paid for.
const PAUSE: Duration = Duration::from_secs(2);
/// After a renewal that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How long letting go may take: nobody waits for it, and the lease runs out by itself.
const LET_GO: Duration = Duration::from_secs(3);
/// Objects by which the store's clock was read, and that were left behind, go after this long.
const STALE: i64 = 60 * 60 * 1_000;

/// No lease is good for longer without being renewed, in milliseconds; and a little.
const LONGEST_LEASE: i64 = 3_610 * 1_000;

/// What a numbered object says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    version: u32,
    /// The one tenure that wrote it, a ULID.
    id: String,
    #[serde(flatten)]
    holder: Holder,
    /// How long the lease is, from the last write on.
    lease_ms: u64,
    /// When it runs out unless it is renewed, by the holder's clock: for people to read.
    until: jiff::Timestamp,
    /// When its holder let go of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    released: Option<jiff::Timestamp>,
}

/// Where the objects of a lock lie, and who asks.
#[derive(Debug, Clone)]
struct Place {
    store: Store,
    project: String,
    environment: String,
    id: String,
    holder: Holder,
    terms: Terms,
}

/// A lock that is held, and renewed until it is let go or lost.
#[derive(Debug)]
pub struct SharedLock {
    place: Place,
    lease: Lease,
    keeper: JoinHandle<()>,
}

impl SharedLock {
    /// Takes the lock of an environment, `locks/<project>/<environment>/<number>` in the store; waits
    /// for it as long as `patience`.
    ///
    /// # Errors
    /// [`LockError::HeldInStore`] when another run keeps it, [`LockError::Store`] when the store
    /// cannot be used.
    pub async fn acquire(
        store: &Store,
        project: &str,
        environment: &str,
        command: &str,
        terms: Terms,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let place = Place {
            store: store.clone(),
            project: project.to_owned(),
            environment: environment.to_owned(),
            id: ulid::Ulid::generate().to_string(),
            holder: Holder::this(command),
            terms,
        };
        let end = Instant::now() + patience;
        let clock = Clock::system();
        let mut claim = Claim::new(terms);
        let tenure = loop {
            let ask = claim.ask();
            let sent = clock.now();
            let told = place.ask(ask).await?;
            match claim.told(told, sent, clock.now()) {
                Turn::Go => {}
                Turn::Won(tenure) => break tenure,
                Turn::Late(number) => place.write(number, true).await?,
                Turn::Held(number) if Instant::now() >= end => {
                    return Err(place.held(number).await);
                }
                Turn::Held(_) => {
                    let left = end.saturating_duration_since(Instant::now());
                    sleep(PAUSE.min(left)).await;
                }
            }
        };
        let lease = Lease::new(format!("{project} / {environment}"), clock, tenure);
        let keeper = tokio::spawn(keep(place.clone(), lease.clone()));
        Ok(Self {
            place,
            lease,
            keeper,
        })
    }

    /// The right that comes with it.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Lets go of it. Where that fails the lease runs out by itself.
    pub async fn release(self) {
        // Not on its way to be renewed while it is marked.
        self.keeper.abort();
        let _ = self.keeper.await;
        if self.lease.check().is_err() {
            // It is someone else's.
            return;
        }
        let number = self.lease.number();
        self.lease.lose_for("it was let go".to_owned());
        match timeout(LET_GO, self.place.write(number, true)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the lock is left to run out"),
            Err(_) => tracing::info!("the lock is left to run out: no answer from the store"),
        }
    }
}

/// An environment of a project whose lock is held in a store, of those that are asked for, and by whom.
///
/// The newest object there tells the store's time: whoever asks has just taken a lock of the project.
///
/// # Errors
/// When the store does not answer, or holds what is no lock.
pub async fn held(
    store: &Store,
    project: &str,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Option<String>, StoreError> {
    let listed = store.list_below(&["locks", project]).await?;
    let now = listed.iter().map(|it| it.written).max().unwrap_or_default();
    let mut highest: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    for it in &listed {
        let Some((environment, object)) = it.name.split_once('/') else {
            continue;
        };
        if let Some(number) = number(object).filter(|_| is_meant(environment)) {
            let known = highest.entry(environment).or_default();
            *known = (*known).max((number, it.written));
        }
    }
    for (environment, (number, written)) in highest {
        if now - written > LONGEST_LEASE {
            continue;
        }
        let place = Place {
            store: store.clone(),
            project: project.to_owned(),
            environment: environment.to_owned(),
            id: String::new(),
            holder: Holder::this(""),
            terms: Terms {
                lease: Duration::ZERO,
            },
        };
        let Some((record, written)) = place.read(number).await? else {
            continue;
        };
        let lease = i64::try_from(record.lease_ms).unwrap_or(i64::MAX);
        // Times are cut to whole seconds.
        if record.released.is_none() && now - written <= lease.saturating_add(2_000) {
            return Ok(Some(format!(
                "environment {environment}: {}, in {}",
                record.holder,
                store.address()
            )));
        }
    }
    Ok(None)
}

/// Renews a lease until it is lost.
async fn keep(place: Place, lease: Lease) {
    let mut wait = place.terms.renew_after();
    // Whoever comes next does what is not done in time.
    let _ = timeout(wait, place.tidy_up(lease.number())).await;
    loop {
        sleep(wait.min(lease.left())).await;
        if lease.check().is_err() {
            return;
        }
        let number = lease.number();
        let sent = lease.clock().now();
        let highest = async {
            place.write(number, false).await?;
            place.highest().await
        };
        // Nothing is worth waiting for when the time has run out meanwhile.
        let highest = match timeout(lease.left(), highest).await {
            Ok(Ok(highest)) => highest,
            Ok(Err(error)) => {
                tracing::info!(%error, "the lock was not renewed; trying again");
                wait = AGAIN;
                continue;
            }
            Err(_) => continue,
        };
        wait = place.terms.renew_after();
        match lease.renewed(highest, sent) {
            Ok(()) => tracing::debug!("the lock is renewed"),
            Err(lost) => {
                lease.lose_for(match lost {
                    Lost::Taken(by) => {
                        let holder = match place.read(by).await {
                            Ok(Some((record, _))) => record.holder.to_string(),
                            _ => "another run".to_owned(),
                        };
                        format!("its lease ran out, and {holder} has taken it")
                    }
                    Lost::Removed => {
                        format!("somebody has removed it from {}", place.store.address())
                    }
                    Lost::RanOut => {
                        let address = place.store.address();
                        format!("it was renewed too late: {address} took too long to answer")
                    }
                });
                return;
            }
        }
    }
}

impl Place {
    /// The name of an object, in the lock's folder.
    fn name<'a>(&'a self, object: &'a str) -> [&'a str; 4] {
        ["locks", &self.project, &self.environment, object]
    }

    fn folder(&self) -> [&str; 3] {
        ["locks", &self.project, &self.environment]
    }

    async fn ask(&self, ask: Ask) -> Result<Told, StoreError> {
        Ok(match ask {
            Ask::Highest => Told::Highest(self.highest().await?),
            Ask::Read(number) => {
                Told::Read(self.read(number).await?.map(|(record, written)| Seen {
                    released: record.released.is_some(),
                    written,
                    lease: Duration::from_millis(record.lease_ms),
                }))
            }
            Ask::Clock => Told::Clock(self.clock().await?),
            Ask::Create(number) => Told::Created(self.create(number).await?),
        })
    }

    async fn highest(&self) -> Result<Option<u64>, StoreError> {
        let listed = self.store.list(&self.folder()).await?;
        Ok(listed.iter().filter_map(|it| number(&it.name)).max())
    }

    /// What an object says, and when it was written.
    async fn read(&self, number: u64) -> Result<Option<(Record, i64)>, StoreError> {
        let object = object(number);
        let name = self.name(&object);
        let Some((bytes, written)) = self.store.read(&name).await? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.version == 1 => Ok(Some((record, written))),
            Ok(record) => Err(StoreError::Unreadable {
                address: self.store.address().to_owned(),
                name: name.join("/"),
                why: format!("it is of version {}", record.version),
            }),
            Err(error) => Err(StoreError::Unreadable {
                address: self.store.address().to_owned(),
                name: name.join("/"),
                why: error.to_string(),
            }),
        }
    }

    /// What the store's clock shows: something is written, and when that was is read.
    async fn clock(&self) -> Result<i64, StoreError> {
        let object = format!("clock-{}", self.id);
        let name = self.name(&object);
        loop {
            self.store.write(&name, Bytes::from_static(b"{}")).await?;
            // Somebody may find that it was left behind.
            if let Some((_, written)) = self.store.read(&name).await? {
                self.store.remove(&name).await?;
                return Ok(written);
            }
        }
    }

    /// Creates an object, and makes sure that the store creates it only once.
    async fn create(&self, number: u64) -> Result<bool, StoreError> {
        let object = object(number);
        let name = self.name(&object);
        if !self.store.create(&name, self.record(false)).await? {
            // It may be ours: of a request whose answer was lost, and that was sent again.
            let there = self.read(number).await?;
            return Ok(there.is_some_and(|(record, _)| record.id == self.id));
        }
        if self.store.create(&name, self.record(false)).await? {
            self.store.remove(&name).await?;
            return Err(StoreError::NotExclusive {
                address: self.store.address().to_owned(),
            });
        }
        Ok(true)
    }

    async fn write(&self, number: u64, released: bool) -> Result<(), StoreError> {
        let object = object(number);
        self.store
            .write(&self.name(&object), self.record(released))
            .await
    }

    fn record(&self, released: bool) -> Bytes {
        let now = jiff::Timestamp::now();
        let lease = self.terms.lease;
        let record = Record {
            version: 1,
            id: self.id.clone(),
            holder: self.holder.clone(),
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            until: now.checked_add(lease).unwrap_or(now),
            released: released.then_some(now),
        };
        Bytes::from(serde_json::to_vec(&record).expect("a record is plain data"))
    }

    /// Removes what earlier holders left. Never the highest number.
    async fn tidy_up(&self, ours: u64) {
        let Ok(listed) = self.store.list(&self.folder()).await else {
            return;
        };
        let newest = listed.iter().map(|it| it.written).max().unwrap_or_default();
        for it in &listed {
            let is_over = match number(&it.name) {
                Some(number) => number < ours,
                None => it.name.starts_with("clock-") && newest - it.written > STALE,
            };
            if is_over && let Err(error) = self.store.remove(&self.name(&it.name)).await {
                tracing::debug!(%error, "an old lock is left");
            }
        }
    }

    async fn held(&self, number: u64) -> LockError {
        let holder = match self.read(number).await {
            Ok(Some((record, _))) => record.holder.to_string(),
            Ok(None) => "another run".to_owned(),
            Err(error) => return error.into(),
        };
        LockError::HeldInStore {
            environment: format!("{} / {}", self.project, self.environment),
            holder,
            address: self.store.address().to_owned(),
        }
    }
}

/// The name of a numbered object: names sort as their numbers do.
fn object(number: u64) -> String {
    format!("{number:010}")
}

fn number(name: &str) -> Option<u64> {
    let is_number = name.len() >= 10 && name.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| name.parse().ok())?
}
