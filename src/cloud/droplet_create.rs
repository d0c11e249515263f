//! Making droplets: the create that must never make two of one name, and the wait until they can
//! be reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::actions::Progress;
use super::client::{Client, locked, parse};
use super::droplets::{Droplet, DropletImage, NewDroplets, Sighting};
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::retry::Lag;
use super::transport::Answer;
use super::wait::SharedPoll;
use super::waits::Awaited;
use super::wire;
use crate::live::LiveDroplet;

/// The call that makes droplets, as errors name it.
const CREATE: &str = "POST /v2/droplets";

/// The most names the API takes in one create.
pub(super) const BATCH: usize = 10;

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    droplet: Option<Droplet>,
    #[serde(default, deserialize_with = "wire::or_default")]
    droplets: Vec<Droplet>,
    #[serde(default, deserialize_with = "wire::or_default")]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    #[serde(default, deserialize_with = "wire::or_default")]
    actions: Vec<ActionLink>,
}

#[derive(Deserialize)]
struct ActionLink {
    id: u64,
}

/// A droplet that was accepted.
struct Accepted {
    id: u64,
    name: String,
    /// Looks that did not show it.
    missed: u32,
    /// Whether it was made just now: how long it takes tells of others.
    is_new: bool,
}

/// Looks that may miss a droplet before it is asked for by id: lists lag.
const LOOKS: u32 = 2;

impl Client {
    /// Makes droplets and waits until each is active and has a public IPv4 address. A name that this
    /// client has asked for before is looked up first, and found ones are not made again.
    ///
    /// # Errors
    /// [`CloudError::Vanished`] when one was accepted and given up; the others of the call exist
    /// then. Else when the API refuses, or they are not ready in time.
    pub async fn create_droplets(&self, new: &NewDroplets) -> Result<Vec<LiveDroplet>, CloudError> {
        self.create_droplets_seeing(new, &|_| {}).await
    }

    /// Like [`Client::create_droplets`], and shows each droplet that has a public address, active or
    /// not, as often as it is looked at; no call is made for that.
    ///
    /// # Errors
    /// As there.
    pub async fn create_droplets_seeing(
        &self,
        new: &NewDroplets,
        see: &(dyn Fn(Sighting<'_>) + Send + Sync),
    ) -> Result<Vec<LiveDroplet>, CloudError> {
        if new.names.is_empty() || new.names.len() > BATCH {
            return Err(CloudError::BatchSize(new.names.len()));
        }
        let mut there: BTreeMap<String, u64> = BTreeMap::new();
        let mut in_doubt = !self.remember_asked(new);
        if in_doubt {
            there = self.look_up(new).await?;
        }
        let mut actions = Vec::new();
        let mut patience = Patience::new(self, self.timing().fault_deadline);
        // Once an answer was lost, no later error says that nothing was made.
        let mut lost = false;
        loop {
            let missing: Vec<String> = new
                .names
                .iter()
                .filter(|name| !there.contains_key(*name))
                .cloned()
                .collect();
            if missing.is_empty() {
                break;
            }
            match self.ask(new, missing).await {
                Ok(created) => {
                    actions.extend(created.links.actions.into_iter().map(|link| link.id));
                    for droplet in created.droplet.into_iter().chain(created.droplets) {
                        there.insert(droplet.name, droplet.id);
                    }
                    break;
                }
                Err(
                    error @ (CloudError::OutcomeUnknown { .. } | CloudError::Unreadable { .. }),
                ) => {
                    (in_doubt, lost) = (true, true);
                    let looked = self.look_for(new, &mut there).await;
                    looked.map_err(|error| error.after_lost_answer(CREATE))?;
                    let all = there.len() == new.names.len();
                    if !all && !patience.pause(CREATE, &error.to_string()).await {
                        return Err(error.after_lost_answer(CREATE));
                    }
                }
                Err(error) if lost => return Err(error.after_lost_answer(CREATE)),
                Err(error) => return Err(error),
            }
        }
        let accepted: Vec<Accepted> = there
            .into_iter()
            .map(|(name, id)| Accepted {
                id,
                name,
                missed: 0,
                is_new: !in_doubt,
            })
            .collect();
        let on = match &new.image {
            DropletImage::Slug(slug) => format!("{} from {slug}", new.size),
            // Ids change with each build of a snapshot.
            DropletImage::Id(_) => format!("{} from a snapshot", new.size),
        };
        let ready = self
            .wait_until_ready(&new.env_tag, &on, accepted, &actions, see)
            .await
            .map_err(CloudError::of_a_look)?;
        let kept = if in_doubt {
            self.drop_duplicates(new, ready)
                .await
                .map_err(CloudError::of_a_look)?
        } else {
            ready
        };
        kept.into_iter().map(Droplet::into_live).collect()
    }

    /// Notes the names as asked for; false when one of them was before.
    fn remember_asked(&self, new: &NewDroplets) -> bool {
        let mut asked = locked(&self.inner.asked);
        let mut fresh = true;
        for name in &new.names {
            fresh &= asked.insert((new.env_tag.clone(), name.clone()));
        }
        fresh
    }

    /// One create call, repeated while the API does not know the new SSH key yet. Of many creates
    /// with a new key only one asks: an unknown key costs a call a try, not a call a try and create.
    /// The others go when it was heard, or when a key of that age is usually known.
    async fn ask(&self, new: &NewDroplets, names: Vec<String>) -> Result<Created, CloudError> {
        let call = Call::CreateDroplets {
            new: Box::new(new.clone()),
            names,
        };
        let key = &new.ssh_key;
        let made = locked(&self.inner.new_keys).get(key).copied();
        let expected = self.expect_wait(Awaited::KeyKnown, "");
        // The same words are final for a wrong key: how long to bear them goes by the key's age.
        let age = made.map_or(Duration::ZERO, |made: Instant| made.elapsed());
        let lag = self.timing().key_lag;
        let is_proven = || locked(&self.inner.proven_keys).contains(key);
        let mut turn = None;
        if let (Some(made), false) = (made, is_proven()) {
            let usually = expected.map_or(self.timing().key_usual, |expected| expected.usual);
            turn = tokio::select! {
                turn = self.inner.key_turn.lock() => Some(turn).filter(|_| !is_proven()),
                () = sleep_until(made + usually) => None,
            };
        }
        let mut patience = Patience::new(self, lag.saturating_sub(age).max(lag / 4))
            .expecting(expected)
            .since(made.unwrap_or_else(Instant::now));
        let answer: Answer = loop {
            let asked = patience.elapsed();
            match self.call(&call).await {
                Err(CloudError::Refused(refusal)) if Lag::KeyUnknown.is_told_by(&refusal) => {
                    if turn.is_none() && made.is_some() {
                        // It takes longer than usual.
                        turn = Some(self.inner.key_turn.lock().await);
                        if is_proven() {
                            turn = None;
                            continue;
                        }
                    }
                    if !patience.pause(&refusal.call, &refusal.message).await {
                        return Err(CloudError::Refused(refusal));
                    }
                }
                other => {
                    if other.is_ok() && turn.is_some() && patience.has_waited() {
                        self.note_wait(Awaited::KeyKnown, "", asked);
                    }
                    break other?;
                }
            }
        };
        locked(&self.inner.proven_keys).insert(key.clone());
        drop(turn);
        parse(&call.request(), &answer)
    }

    /// Ours by tag and exact name; of several the oldest.
    async fn look_up(&self, new: &NewDroplets) -> Result<BTreeMap<String, u64>, CloudError> {
        let mut found = self.droplets_tagged(&new.env_tag).await?;
        found.retain(|droplet| new.names.contains(&droplet.name));
        found.sort_by_key(|droplet| std::cmp::Reverse((droplet.created_at, droplet.id)));
        Ok(found
            .into_iter()
            .map(|droplet| (droplet.name, droplet.id))
            .collect())
    }

    /// Looks again and again until all are there or it is safe to say that some are not.
    async fn look_for(
        &self,
        new: &NewDroplets,
        there: &mut BTreeMap<String, u64>,
    ) -> Result<(), CloudError> {
        let mut patience = Patience::new(self, self.timing().lookup_window);
        loop {
            there.append(&mut self.look_up(new).await?);
            if there.len() == new.names.len() || !patience.wait().await {
                return Ok(());
            }
        }
    }

    /// A create that was asked for twice may have made two: the oldest is kept.
    async fn drop_duplicates(
        &self,
        new: &NewDroplets,
        ready: Vec<Droplet>,
    ) -> Result<Vec<Droplet>, CloudError> {
        let mut all = self.droplets_tagged(&new.env_tag).await?;
        all.retain(|droplet| new.names.contains(&droplet.name));
        all.sort_by_key(|droplet| (droplet.created_at, droplet.id));
        let mut keep: BTreeMap<String, u64> = BTreeMap::new();
        let mut surplus = Vec::new();
        for droplet in &all {
            if *keep.entry(droplet.name.clone()).or_insert(droplet.id) != droplet.id {
                surplus.push(droplet.id);
            }
        }
        if surplus.is_empty() {
            return Ok(ready);
        }
        futures_util::future::try_join_all(surplus.into_iter().map(|id| self.destroy_droplet(id)))
            .await?;
        let kept = keep
            .into_iter()
            .map(|(name, id)| Accepted {
                id,
                name,
                missed: 0,
                is_new: false,
            })
            .collect();
        self.wait_until_ready(&new.env_tag, "", kept, &[], &|_| {})
            .await
    }

    pub(super) fn poll_of(&self, tag: &str) -> Arc<SharedPoll<Vec<Droplet>>> {
        Arc::clone(
            locked(&self.inner.by_tag)
                .entry(tag.to_owned())
                .or_default(),
        )
    }

    /// Waits on the list of the tag, which serves all who wait for droplets of that tag.
    async fn wait_until_ready(
        &self,
        tag: &str,
        on: &str,
        mut pending: Vec<Accepted>,
        actions: &[u64],
        see: &(dyn Fn(Sighting<'_>) + Send + Sync),
    ) -> Result<Vec<Droplet>, CloudError> {
        let poll = self.poll_of(tag);
        let expected = self.expect_wait(Awaited::DropletReady, on);
        let mut waiter = poll.join(self, expected, self.timing().poll_max);
        let patience = Patience::new(self, self.timing().droplet_ready);
        let mut ready = Vec::new();
        let mut vanished = None;
        while !pending.is_empty() {
            let listed = waiter.next(self, || self.droplets_tagged(tag)).await?;
            let mut still = Vec::new();
            for mut wanted in pending {
                let mut seen = listed
                    .iter()
                    .find(|droplet| droplet.id == wanted.id)
                    .cloned();
                if seen.is_some() {
                    wanted.missed = 0;
                } else {
                    wanted.missed += 1;
                    if wanted.missed >= LOOKS {
                        seen = self.droplet(wanted.id).await?;
                        if seen.is_none()
                            && (patience.elapsed() > self.timing().droplet_lag
                                || self.has_failed(actions, wanted.id).await?)
                        {
                            vanished = vanished.or(Some(CloudError::Vanished {
                                name: wanted.name,
                                id: wanted.id,
                            }));
                            continue;
                        }
                    }
                }
                if let Some(sighting) = seen.as_ref().and_then(Droplet::sighting) {
                    see(sighting);
                }
                match seen {
                    Some(droplet) if droplet.is_ready() => {
                        if wanted.is_new {
                            self.note_wait(Awaited::DropletReady, on, patience.elapsed());
                        }
                        ready.push(droplet);
                    }
                    _ => still.push(wanted),
                }
            }
            pending = still;
            if let (Some(first), true) = (pending.first(), patience.is_over()) {
                return Err(patience.in_vain(format!(
                    "droplet {} ({}) to become active with a public address",
                    first.name, first.id
                )));
            }
        }
        ready.sort_by(|a, b| a.name.cmp(&b.name));
        vanished.map_or(Ok(ready), Err)
    }

    /// Whether the create action of a droplet that answers 404 has failed. A 404 alone can be lag.
    async fn has_failed(&self, actions: &[u64], droplet: u64) -> Result<bool, CloudError> {
        for id in actions {
            let Some(action) = self.action(*id).await? else {
                continue;
            };
            // One action a droplet, in no promised order.
            if action
                .resource_id
                .is_none_or(|resource| resource == droplet)
                && action.progress() == Progress::Errored
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
