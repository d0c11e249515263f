//! The gate that every request goes through: as many writes at once as the user allows, as many
//! requests as the rate limit does, and the most urgent first.
//!
//! There is no task of its own. Whoever comes, leaves or has waited long enough looks who may go now,
//! and lets them go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::client::locked;
use super::rate_limit::{RateLimit, Told};
use super::request::{Limit, Method, Request};
use super::urgency::{Class, Urgency};

/// Of so many requests one goes to whoever has waited longest: nobody waits for ever.
const TURN_OF_THE_OLDEST: u64 = 10;

/// Deletes of a run that was interrupted that may be under way beyond the writes that are allowed: time
/// is short, and there is no more of them than of what was made.
const LAST_DELETES: isize = 64;

/// Reads that may be under way: fewer than servers let one connection have, and those that wait here
/// can still give way to what is more urgent.
const READS_AT_ONCE: isize = 64;

#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: RateLimit,
    /// Requests that wait, the most urgent first.
    waiting: BTreeMap<Place, Waiting>,
    /// Where each of them is.
    places: HashMap<u64, Place>,
    /// How many further writes may be under way; less than none while last deletes are.
    free_writes: isize,
    /// How many further reads.
    free_reads: isize,
    under_way: usize,
    /// Whether deletes go before all else.
    is_hurried: bool,
    arrived: u64,
    let_go: u64,
}

/// Where a request stands among those that wait.
type Place = (Class, Reverse<u64>, Reverse<bool>, u64);

#[derive(Debug)]
struct Waiting {
    urgency: Urgency,
    method: Method,
    limit: Limit,
    is_first_try: bool,
    go: oneshot::Sender<()>,
}

impl Waiting {
    /// Whether no rate limit holds it back: the first try of what cleans up after an interrupt, and of
    /// what that has to know.
    fn is_unheld(&self, is_hurried: bool) -> bool {
        let cleans_up = match self.method {
            Method::Delete => true,
            Method::Get => self.urgency.class != Class::Poll,
            Method::Post | Method::Put => false,
        };
        is_hurried && self.is_first_try && cleans_up
    }

    fn place(&self, arrived: u64, is_hurried: bool) -> Place {
        let class = match self.method {
            Method::Delete if is_hurried => Class::LastDelete,
            _ => self.urgency.class,
        };
        (
            class,
            Reverse(self.urgency.chain),
            Reverse(self.urgency.makes),
            arrived,
        )
    }
}

/// A request's leave to be sent; counts as under way until it is dropped. Before that, its place
/// among those that wait.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    arrived: u64,
    is_write: bool,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        match state.places.remove(&self.arrived) {
            Some(place) => {
                state.waiting.remove(&place);
            }
            None => {
                state.under_way -= 1;
                *state.room(self.is_write) += 1;
                state.let_go(Instant::now());
            }
        }
    }
}

impl Gate {
    pub fn new(rate: RateLimit, parallelism: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                rate,
                waiting: BTreeMap::new(),
                places: HashMap::new(),
                free_writes: isize::try_from(parallelism).unwrap_or(isize::MAX).max(1),
                free_reads: READS_AT_ONCE,
                under_way: 0,
                is_hurried: false,
                arrived: 0,
                let_go: 0,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Waits until a request may be sent. `held` is told once, and until when, if it is the rate
    /// limit that holds it back. After an interrupt it holds back no first try of a
    /// delete or of a read that one waits for: at worst the API refuses it.
    ///
    /// # Errors
    /// When the rate limit lets nothing go until after `deadline`: until when.
    pub async fn pass(
        self: &Arc<Self>,
        request: &Request,
        is_first_try: bool,
        deadline: Instant,
        held: impl FnOnce(Instant),
    ) -> Result<Pass, Instant> {
        let (go, mut gone) = oneshot::channel();
        let waiting = Waiting {
            urgency: Urgency::of(request),
            method: request.method,
            limit: request.limit,
            is_first_try,
            go,
        };
        let pass = {
            let mut state = self.state();
            state.arrived += 1;
            let arrived = state.arrived;
            let place = waiting.place(arrived, state.is_hurried);
            state.waiting.insert(place, waiting);
            state.places.insert(arrived, place);
            Pass {
                gate: Arc::clone(self),
                arrived,
                is_write: request.method != Method::Get,
            }
        };
        let mut held = Some(held);
        loop {
            let closed = self.state().let_go(Instant::now());
            if gone.try_recv().is_ok() {
                return Ok(pass);
            }
            if let Some(until) = closed.filter(|until| *until > deadline) {
                return Err(until);
            }
            if let (Some(until), Some(held)) = (closed, held.take()) {
                held(until);
            }
            tokio::select! {
                // Never an error: who lets it go keeps nothing back.
                _ = &mut gone => return Ok(pass),
                () = sleep_until(closed.unwrap_or_else(Instant::now)), if closed.is_some() => {}
            }
        }
    }

    /// Takes what an answer's headers say.
    pub fn learn(&self, told: Told) {
        let mut state = self.state();
        let now = Instant::now();
        // The one that was answered is still under way itself.
        let others = state.under_way.saturating_sub(1);
        state.rate.learn(told, others, now);
        state.let_go(now);
    }

    /// Nothing that counts against that limit is sent for a while.
    pub fn close(&self, limit: Limit, until: Instant) {
        self.state().rate.close(limit, until);
    }

    /// The shortest time between two looks of a poll, which is `slow` when the rate limit is near.
    pub fn poll_pause(&self, slow: Duration) -> Duration {
        self.state().rate.poll_pause(slow, Instant::now())
    }

    /// From here on deletes go before all else.
    pub fn hurry(&self) {
        let mut state = self.state();
        state.is_hurried = true;
        for (place, waiting) in std::mem::take(&mut state.waiting) {
            let arrived = place.3;
            let place = waiting.place(arrived, true);
            state.places.insert(arrived, place);
            state.waiting.insert(place, waiting);
        }
        state.let_go(Instant::now());
    }
}

impl State {
    /// How many further requests of that sort may be under way.
    const fn room(&mut self, is_write: bool) -> &mut isize {
        if is_write {
            &mut self.free_writes
        } else {
            &mut self.free_reads
        }
    }

    /// Lets go whoever may, the most urgent first; says until when the rate limit keeps the rest.
    fn let_go(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let mut opens = None;
            let next = self.next(now, &mut opens);
            let Some(place) = next else { return opens };
            let is_unheld = self
                .waiting
                .get(&place)
                .is_some_and(|w| w.is_unheld(self.is_hurried));
            if is_unheld {
                self.rate.count(now);
            } else if let Err(until) = self.rate.admit(now) {
                return Some(until);
            }
            let Some(waiting) = self.waiting.remove(&place) else {
                return opens;
            };
            self.places.remove(&place.3);
            self.let_go += 1;
            self.under_way += 1;
            *self.room(waiting.method != Method::Get) -= 1;
            // Whoever does not listen any more gives it back when it is dropped, which is now.
            let _ = waiting.go.send(());
        }
    }

    /// The next that may go but for the rate limit; notes when others of a limit of their own may.
    fn next(&self, now: Instant, opens: &mut Option<Instant>) -> Option<Place> {
        let may_go = |(place, waiting): (&Place, &Waiting)| {
            let room = match waiting.method {
                Method::Get => self.free_reads,
                Method::Post | Method::Put | Method::Delete => self.free_writes,
            };
            let least = if place.0 == Class::LastDelete {
                -LAST_DELETES
            } else {
                0
            };
            if room <= least {
                return None;
            }
            if waiting.is_unheld(self.is_hurried) {
                return Some(*place);
            }
            match self.rate.rests(waiting.limit, now) {
                None => Some(*place),
                Some(until) => {
                    *opens = Some(opens.map_or(until, |known: Instant| known.min(until)));
                    None
                }
            }
        };
        let mut places = self.waiting.iter().filter_map(may_go);
        let first = places.next()?;
        let is_turn_of_the_oldest = (self.let_go + 1).is_multiple_of(TURN_OF_THE_OLDEST);
        if first.0 == Class::LastDelete || !is_turn_of_the_oldest {
            return Some(first);
        }
        places.chain([first]).min_by_key(|place| place.3)
    }
}
