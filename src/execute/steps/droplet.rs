//! Droplets: made, logged in to, destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Steps, TO_BE_FOUND_AT_LAST, TO_BE_FOUND_IN_A_HURRY, TO_BE_GONE_AT_LAST, TO_BE_GONE_IN_A_HURRY,
    TO_BOOT,
};
use crate::cloud::{CloudError, Destroyed, DropletImage, NewDroplets, Sighting, Witness};
use crate::desired::user_data;
use crate::execute::error::StepError;
use crate::execute::event::Failure;
use crate::execute::feed::Reporter;
use crate::execute::outputs::MadeDroplet;
use crate::guest::{FirstBoot, wait_first_boot};
use crate::live::LiveDroplet;
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::StepId;
use crate::plan::step::{DropletRef, DropletSpec, ImageRef, NewDroplet};
use crate::secret::Secret;

/// After a look for droplets that failed, whose create an interrupt met on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How often a connection that breaks during the first boot is made again: cloud-init may restart
/// the SSH server, or the network.
const FIRST_BOOT_TRIES: u32 = 5;
/// How long a droplet whose create was never answered is looked for before it counts as not made.
const LOOK_FOR: Duration = Duration::from_secs(15);

/// What is made of what is seen of droplets while they are being made.
struct Watch<'a> {
    steps: &'a Steps,
    /// By name and id, once a create was answered.
    accepted: watch::Sender<BTreeMap<String, u64>>,
}

impl Witness for Watch<'_> {
    fn accepted(&self, droplets: &BTreeMap<String, u64>) {
        self.accepted.send_replace(droplets.clone());
    }

    /// The first boot begins before the API calls a droplet active, and a batch is only as fast as its
    /// last.
    fn seen(&self, seen: Sighting<'_>) {
        let steps = self.steps;
        steps.sessions.begin(&steps.settings, seen, TO_BOOT);
    }
}

impl Steps {
    /// Makes droplets and waits until each can be reached. An interrupt ends the waiting as soon as
    /// it is known what was made.
    pub(super) async fn create_droplets(
        &self,
        step: StepId,
        spec: &DropletSpec,
        droplets: &[NewDroplet],
        reporter: &Reporter,
    ) -> Result<Result<String, StepError>, Failure> {
        let new = match self.request(spec, droplets) {
            Ok(new) => new,
            Err(error) => return Ok(Err(error)),
        };
        self.outputs.ask(step);
        reporter.progress("waiting until it can be reached");
        let watch = Watch {
            steps: self,
            accepted: watch::Sender::new(BTreeMap::new()),
        };
        let mut accepted = watch.accepted.subscribe();
        let client = &self.settings.client;
        let create = client.create_droplets_seeing(&new, &watch);
        let mut create = std::pin::pin!(create);
        let made = tokio::select! {
            made = &mut create => made,
            () = reporter.cancelled() => {
                tokio::select! {
                    biased;
                    // Never an error: the watch is there until the end.
                    Ok(known) = accepted.wait_for(|known| !known.is_empty()) => {
                        for (name, id) in known.iter() {
                            let (address, private) = (None, None);
                            let made = MadeDroplet { id: *id, address, private };
                            self.outputs.made_droplet(step, name, made);
                        }
                    }
                    () = self.look_until_found(step, &new) => {}
                    // Whoever destroys what it was to make looks once more.
                    () = self.until_nothing_is_looked_for(Duration::ZERO) => {}
                    made = &mut create => match made {
                        Ok(made) => self.note_made(step, &made),
                        Err(error) => self.settle(step, &error),
                    },
                }
                return Err(Failure::interrupted());
            }
        };
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                self.settle(step, &error);
                if error.is_not_sent() {
                    return Err(Failure::interrupted());
                }
                return Ok(Err(error.into()));
            }
        };
        self.note_made(step, &made);
        Ok(Ok(match made.as_slice() {
            [only] => match only.public_ipv4 {
                Some(address) => format!("droplet {} at {address}", only.id),
                None => format!("droplet {}", only.id),
            },
            many => format!("{} droplets", many.len()),
        }))
    }

    /// What the client is asked for.
    fn request(
        &self,
        spec: &DropletSpec,
        droplets: &[NewDroplet],
    ) -> Result<NewDroplets, StepError> {
        let image = match &spec.image {
            ImageRef::Slug(slug) => DropletImage::Slug(slug.clone()),
            ImageRef::Id(id) => DropletImage::Id(*id),
            ImageRef::Taken(step) => {
                let taken = self.outputs.image(*step);
                DropletImage::Id(taken.ok_or_else(|| StepError::NotMade {
                    what: "the snapshot".to_owned(),
                })?)
            }
        };
        let user_data = match spec.host_key {
            HostKeyPolicy::AcceptNew => None,
            HostKeyPolicy::Derived => {
                let key = self.settings.host_key.as_ref();
                let key = key.ok_or(StepError::NoIdentity)?;
                // Exposed to become the one secret in user data: the droplet's own host key.
                let text = user_data(key.private_openssh().expose(), &key.public_line());
                Some(Secret::new(text))
            }
        };
        Ok(NewDroplets {
            region: spec.region.clone(),
            size: spec.size.clone(),
            image,
            tags: spec.tags.clone(),
            ssh_key: spec.ssh_key_fingerprint.clone(),
            user_data,
            names: droplets
                .iter()
                .map(|droplet| droplet.name.as_str().to_owned())
                .collect(),
            env_tag: self.environment_tag.clone(),
        })
    }

    /// Takes note that a create has failed: only when something may still come of it is it looked
    /// for with patience.
    pub(super) fn settle(&self, step: StepId, error: &CloudError) {
        if error.is_not_sent() {
            self.outputs.forget(step);
        } else if error.is_final() {
            self.outputs.settle(step);
        }
    }

    fn note_made(&self, step: StepId, made: &[LiveDroplet]) {
        for droplet in made {
            let known = MadeDroplet {
                id: droplet.id,
                address: droplet.public_ipv4,
                private: droplet.private_ipv4,
            };
            self.outputs.made_droplet(step, &droplet.name, known);
        }
    }

    /// Looks for what a create that is still out has made, until all of it is found.
    async fn look_until_found(&self, step: StepId, new: &NewDroplets) {
        let names: Vec<&str> = new.names.iter().map(String::as_str).collect();
        let mut missing: BTreeSet<&str> = names.iter().copied().collect();
        let mut note = |found: Vec<LiveDroplet>| {
            // The oldest of a name comes first.
            for droplet in found {
                if missing.remove(droplet.name.as_str()) {
                    self.note_made(step, std::slice::from_ref(&droplet));
                }
            }
            missing.is_empty().then_some(())
        };
        let client = &self.settings.client;
        loop {
            let looked = client.look_for_droplets(&new.env_tag, &names, LOOK_FOR, &mut note);
            match looked.await {
                Ok(Some(())) => return,
                Ok(None) => {}
                // A look that fails is made again: the create itself will tell what is wrong.
                Err(_) => sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Logs in and waits until the first boot is over.
    pub(super) async fn connect(
        &self,
        droplet: &DropletRef,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let mut tries = 1;
        loop {
            reporter.progress("waiting for SSH");
            let session = self.session(droplet).await?;
            reporter.progress("waiting for the first boot to be over");
            match wait_first_boot(&session).await {
                Ok(FirstBoot::Done | FirstBoot::NoCloudInit) => return Ok(String::new()),
                Ok(FirstBoot::Degraded(words)) => {
                    let words: Vec<&str> = words.lines().map(str::trim).collect();
                    reporter.notice(&format!(
                        "cloud-init of {} reports recoverable errors: {}",
                        session.label(),
                        words.join("; ")
                    ));
                    return Ok("cloud-init reports recoverable errors".to_owned());
                }
                Err(error) if error.is_connection_lost() && tries < FIRST_BOOT_TRIES => {
                    tries += 1;
                    reporter.retried(tries, Duration::ZERO, &error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Destroys a droplet, also one whose create was never answered.
    pub(super) async fn destroy_droplet(
        &self,
        droplet: &DropletRef,
        tag: &str,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        self.sessions.close(droplet.name()).await;
        let ids = match droplet {
            DropletRef::Known { id, .. } => vec![*id],
            DropletRef::Created { step, name } => match self.outputs.droplet(*step, name) {
                Some(made) => vec![made.id],
                None => match self.outputs.asked(*step) {
                    None => Vec::new(),
                    Some(is_open) => {
                        reporter.progress("looking for what its create has made");
                        self.look_for_made(tag, name, is_open).await?
                    }
                },
            },
        };
        if ids.is_empty() {
            return Ok("was never made".to_owned());
        }
        let client = &self.settings.client;
        // All of them, whatever becomes of one.
        let destroyed = join_all(ids.iter().map(|id| client.destroy_droplet(*id))).await;
        let destroyed = destroyed.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.outputs.destroyed_droplet(droplet.name());
        let going = ids.iter().zip(destroyed);
        let going = going.filter(|(_, destroyed)| *destroyed == Destroyed::Accepted);
        let going: Vec<_> = going
            .map(|(id, _)| (*id, droplet.name().to_owned()))
            .collect();
        if going.is_empty() {
            return Ok(String::new());
        }
        self.going().extend(going);
        Ok("its delete was accepted".to_owned())
    }

    fn going(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        // Nothing that can panic happens under the lock.
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a moment for droplets whose deletes were accepted; gives the names of those that are not
    /// gone then.
    pub(super) async fn wait_for_the_last(&self) -> Vec<String> {
        let going = self.going().clone();
        let Some(since) = self.hurried.get().filter(|_| !going.is_empty()) else {
            return Vec::new();
        };
        let ids = going.keys().copied().collect();
        let client = &self.settings.client;
        let last = Instant::now() + TO_BE_GONE_AT_LAST;
        let deadline = last.max(*since + TO_BE_GONE_IN_A_HURRY);
        let left = client.wait_droplets_gone(ids, deadline).await;
        left.iter()
            .filter_map(|id| going.get(id).cloned())
            .collect()
    }

    /// Looks for what a create has made; patiently, if something may still come of it, unless the run is
    /// interrupted.
    async fn look_for_made(
        &self,
        tag: &str,
        name: &str,
        is_open: bool,
    ) -> Result<Vec<u64>, StepError> {
        if !is_open {
            return self.look_for(tag, name, Duration::ZERO).await;
        }
        let found = tokio::select! {
            biased;
            found = self.look_for(tag, name, LOOK_FOR) => found?,
            () = self.until_nothing_is_looked_for(TO_BE_FOUND_AT_LAST) => Vec::new(),
        };
        if found.is_empty() && self.interrupted.is_cancelled() {
            return Err(StepError::Unanswered {
                name: name.to_owned(),
            });
        }
        Ok(found)
    }

    /// Ends a moment after the run was interrupted, but not sooner than in so long from now.
    async fn until_nothing_is_looked_for(&self, least: Duration) {
        let earliest = Instant::now() + least;
        self.interrupted.cancelled().await;
        let since = *self.hurried.get_or_init(Instant::now);
        sleep_until(earliest.max(since + TO_BE_FOUND_IN_A_HURRY)).await;
    }

    /// Looks for droplets of that tag and name, at least once.
    async fn look_for(
        &self,
        tag: &str,
        name: &str,
        patience: Duration,
    ) -> Result<Vec<u64>, StepError> {
        let ids = |found: Vec<LiveDroplet>| {
            let ids: Vec<u64> = found.into_iter().map(|droplet| droplet.id).collect();
            (!ids.is_empty()).then_some(ids)
        };
        let client = &self.settings.client;
        let found = client
            .look_for_droplets(tag, &[name], patience, ids)
            .await?;
        Ok(found.unwrap_or_default())
    }
}
