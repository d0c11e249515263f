//! What happens to droplets after they are made: power, and the end.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::droplets::Droplet;
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::retry::Lag;
use super::urgency::as_poll;
use super::waits::Awaited;

/// More than this many that wait for droplets to be gone look at the list of all together.
const ALONE: usize = 2;

/// What came of destroying a droplet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destroyed {
    /// It is gone.
    Gone,
    /// Its delete was accepted; the run was interrupted, and nothing more was waited for.
    Accepted,
}

impl Client {
    /// Destroys a droplet and waits until it is gone, or the run is interrupted. One that is gone already
    /// is a success.
    ///
    /// # Errors
    /// When the API refuses, or the droplet is still there at the deadline.
    pub async fn destroy_droplet(&self, id: u64) -> Result<Destroyed, CloudError> {
        if !self.delete_droplet(id).await? {
            return Ok(Destroyed::Gone);
        }
        tokio::select! {
            gone = self.wait_droplet_gone(id) => gone.map(|()| Destroyed::Gone),
            () = self.hurried() => Ok(Destroyed::Accepted),
        }
    }

    /// Waits until none of these droplets is left, whose deletes were accepted; gives those that still
    /// are at the deadline, or may be.
    pub async fn wait_droplets_gone(
        &self,
        mut ids: BTreeSet<u64>,
        deadline: Instant,
    ) -> BTreeSet<u64> {
        let looks = async {
            let mut patience = Patience::new(self, self.timing().droplet_gone);
            while !ids.is_empty() && patience.wait().await {
                let Ok(listed) = as_poll(self.all_droplets()).await else {
                    continue;
                };
                let listed: BTreeSet<u64> = listed.iter().map(|droplet| droplet.id).collect();
                let unlisted: Vec<u64> = ids.difference(&listed).copied().collect();
                // Only its own 404 tells.
                let found = join_all(unlisted.iter().map(|id| as_poll(self.droplet(*id)))).await;
                for (id, found) in unlisted.iter().zip(found) {
                    if let Ok(None) = found {
                        ids.remove(id);
                    }
                }
            }
        };
        // Those that are known to be gone by then are gone.
        let _ = timeout_at(deadline, looks).await;
        ids
    }

    async fn wait_droplet_gone(&self, id: u64) -> Result<(), CloudError> {
        let timing = self.timing();
        let expected = self.expect_wait(Awaited::DropletGone, "");
        let mut patience = Patience::new(self, timing.droplet_gone).expecting(expected);
        let all = &self.inner.all_droplets;
        let mut waiter = all.join(self, expected, timing.poll_max);
        let mut deletes = 1;
        loop {
            let may_be_gone = if self.inner.all_droplets.waiting() > ALONE {
                let all = waiter.next(self, || self.all_droplets()).await?;
                !all.iter().any(|droplet| droplet.id == id)
            } else {
                patience.wait().await;
                true
            };
            // Only its own 404 tells: lists leave out what still exists, GPU droplets for one.
            if may_be_gone && as_poll(self.droplet(id)).await?.is_none() {
                self.note_wait(Awaited::DropletGone, "", patience.elapsed());
                return Ok(());
            }
            if patience.is_over() {
                return Err(patience.in_vain(format!("droplet {id} to be gone")));
            }
            // A delete that failed leaves a droplet without tags, and no other trace.
            if patience.elapsed() > timing.delete_again * deletes {
                deletes += 1;
                if !self.delete_droplet(id).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Asks for the end of a droplet; false when there is none.
    async fn delete_droplet(&self, id: u64) -> Result<bool, CloudError> {
        match self
            .call_through(&Call::DeleteDroplet { id }, Lag::PendingEvent)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the guest to shut down. Whether it does is another question: see
    /// [`Client::wait_droplet_off`].
    ///
    /// # Errors
    /// When the API refuses. One that is off already is a success.
    pub async fn shutdown_droplet(&self, id: u64) -> Result<(), CloudError> {
        self.power(&Call::ShutDownDroplet { id }, id).await
    }

    /// Cuts the power. The API may take five minutes over it.
    ///
    /// # Errors
    /// When the API refuses. One that is off already is a success.
    pub async fn power_off_droplet(&self, id: u64) -> Result<(), CloudError> {
        self.power(&Call::PowerOffDroplet { id }, id).await
    }

    async fn power(&self, call: &Call, id: u64) -> Result<(), CloudError> {
        let mut patience = Patience::new(self, self.timing().fault_deadline);
        loop {
            let error = match self.call_through(call, Lag::PendingEvent).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_unprocessable() || error.is_outcome_unknown() => error,
                Err(error) => return Err(error),
            };
            // The goal may be reached: "already powered off", or an answer that was lost.
            if self
                .droplet(id)
                .await?
                .is_some_and(|droplet| droplet.is_off())
            {
                return Ok(());
            }
            // Asking twice for the same state does no harm.
            let label = call.request().label();
            if !error.is_outcome_unknown() || !patience.pause(&label, &error.to_string()).await {
                return Err(error);
            }
        }
    }

    /// Waits until a droplet is off; false when it is not at the deadline.
    ///
    /// # Errors
    /// When the API cannot be asked, or there is no such droplet.
    pub async fn wait_droplet_off(&self, id: u64, deadline: Duration) -> Result<bool, CloudError> {
        let expected = self.expect_wait(Awaited::DropletOff, "");
        let mut patience = Patience::new(self, deadline).expecting(expected);
        let all = &self.inner.all_droplets;
        let mut waiter = all.join(self, expected, self.timing().poll_max);
        let call = Call::Droplet { id };
        let alone = || self.read::<Droplet>(&call, "droplet");
        if alone().await?.is_off() {
            return Ok(true);
        }
        loop {
            let listed = if all.waiting() > ALONE {
                let all = waiter.next(self, || self.all_droplets()).await?;
                all.iter().find(|droplet| droplet.id == id).cloned()
            } else if patience.wait().await {
                None
            } else {
                return Ok(false);
            };
            let droplet = match listed {
                Some(droplet) => droplet,
                // Only its own answer tells that it is not there at all: lists leave out some.
                None => as_poll(alone()).await?,
            };
            if droplet.is_off() {
                self.note_wait(Awaited::DropletOff, "", patience.elapsed());
                return Ok(true);
            }
            if patience.is_over() {
                return Ok(false);
            }
        }
    }
}
