//! The rules by which a lock in a store changes hands. No I/O and no clock: times come in.
//!
//! A lock is a row of numbered objects, each created at most once; **the highest number is the
//! lock**. Whoever created it holds it while its lease is good, and renews the lease by writing the
//! object again. The next number may be created only
//!
//! - when the holder has marked the highest as released, or
//! - when the highest has not been written for a whole lease, as the *store's* clock tells: the
//!   moment of its last write against that of an object that was written just now, before the
//!   highest was read once more.
//!
//! A holder counts on its lease for less than it is: until [`Terms::good_for`] after it *sent* its
//! last write that was answered, and confirmed by a list without a higher number, before the time
//! ran out. So what it counts on is over before anybody may take the lock, provided its clock runs no
//! more than the difference ([`Terms::slack`]) apart from the store's in the time of one lease. What
//! the clocks of two machines show, and how far they are apart, does not matter.
//!
//! The highest object is never deleted, so that a number never comes again while it could be the
//! highest: a taker that was paused before its create finds a higher number afterwards, and gives up.

use std::time::Duration;

/// A moment, by a clock that never goes back and does not stop while the machine sleeps.
pub type Moment = Duration;

/// The terms of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long after its last write a lock may be taken.
    pub lease: Duration,
}

impl Terms {
    /// What is kept back of a lease: stores cut the moment of a write to whole seconds, and clocks
    /// do not run quite alike.
    #[must_use]
    pub fn slack(self) -> Duration {
        self.lease / 6
    }

    /// How long a holder counts on a lease.
    #[must_use]
    pub fn good_for(self) -> Duration {
        self.lease - self.slack()
    }

    /// How long after a write it is written again.
    #[must_use]
    pub fn renew_after(self) -> Duration {
        self.lease / 4
    }
}

/// What is read of a numbered object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whether its holder has let go of it.
    pub released: bool,
    /// When it was written, in milliseconds by the store's clock.
    pub written: i64,
    /// The lease its holder has.
    pub lease: Duration,
}

/// What is to be asked of the store next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The highest number.
    Highest,
    /// What the object of a number says.
    Read(u64),
    /// What its clock shows: something is written, and when that was is read.
    Clock,
    /// An object of that number, where none is.
    Create(u64),
}

/// What the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The highest number, if there is one.
    Highest(Option<u64>),
    /// What the object says; nothing when it is not there.
    Read(Option<Seen>),
    /// Milliseconds.
    Clock(i64),
    /// Whether it was created.
    Created(bool),
}

/// What came of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// On to the next question.
    Go,
    /// Someone holds the lock: that number. Asking again begins anew.
    Held(u64),
    /// It is ours.
    Won(Tenure),
    /// It would be ours, but the answers took too long to count on it: the number is to be marked as
    /// released. Asking again begins anew.
    Late(u64),
}

/// The way to a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    terms: Terms,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Look,
    Read {
        number: u64,
    },
    Clock {
        number: u64,
    },
    /// Reading again after the clock: what was written in between counts.
    Judge {
        number: u64,
        now: i64,
    },
    Create {
        number: u64,
    },
    Confirm {
        number: u64,
        sent: Moment,
    },
}

impl Claim {
    /// A claim that has not asked anything yet.
    #[must_use]
    pub const fn new(terms: Terms) -> Self {
        Self {
            terms,
            at: At::Look,
        }
    }

    /// What is to be asked next.
    #[must_use]
    pub const fn ask(&self) -> Ask {
        match self.at {
            At::Look | At::Confirm { .. } => Ask::Highest,
            At::Read { number } | At::Judge { number, .. } => Ask::Read(number),
            At::Clock { .. } => Ask::Clock,
            At::Create { number } => Ask::Create(number),
        }
    }

    /// Takes the answer to a question that was sent and answered at these moments.
    pub fn told(&mut self, told: Told, sent: Moment, answered: Moment) -> Turn {
        let (at, turn) = match (self.at, told) {
            (At::Look, Told::Highest(None)) => (At::Create { number: 1 }, Turn::Go),
            (At::Look, Told::Highest(Some(number))) => (At::Read { number }, Turn::Go),
            (At::Read { number }, Told::Read(Some(seen))) if seen.released => {
                let number = number + 1;
                (At::Create { number }, Turn::Go)
            }
            (At::Read { number }, Told::Read(Some(_))) => (At::Clock { number }, Turn::Go),
            (At::Clock { number }, Told::Clock(now)) => (At::Judge { number, now }, Turn::Go),
            (At::Judge { number, now }, Told::Read(Some(seen))) => {
                let lease = i64::try_from(seen.lease.as_millis()).unwrap_or(i64::MAX);
                if seen.released || now.saturating_sub(seen.written) >= lease {
                    let number = number + 1;
                    (At::Create { number }, Turn::Go)
                } else {
                    (At::Look, Turn::Held(number))
                }
            }
            (At::Create { number }, Told::Created(true)) => {
                (At::Confirm { number, sent }, Turn::Go)
            }
            (At::Confirm { number, sent }, Told::Highest(Some(highest))) if highest == number => {
                let tenure = Tenure::new(self.terms, number, sent);
                let turn = match tenure.is_good(answered) {
                    true => Turn::Won(tenure),
                    false => Turn::Late(number),
                };
                (At::Look, turn)
            }
            // Someone else was quicker, or the object has gone meanwhile.
            _ => (At::Look, Turn::Go),
        };
        self.at = at;
        turn
    }
}

/// Why a lock was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The lease ran out before it was renewed.
    RanOut,
    /// Someone else has taken the lock: this number is theirs.
    Taken(u64),
    /// The object is gone: somebody has tidied up in the store.
    Removed,
}

/// A lock that is held, for as long as its lease is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    terms: Terms,
    number: u64,
    until: Moment,
    is_over: bool,
}

impl Tenure {
    fn new(terms: Terms, number: u64, sent: Moment) -> Self {
        Self {
            terms,
            number,
            until: sent + terms.good_for(),
            is_over: false,
        }
    }

    /// One of the first number, good until then.
    #[cfg(test)]
    pub(super) fn good_for(until: Duration) -> Self {
        Self {
            terms: Terms { lease: until },
            number: 1,
            until,
            is_over: false,
        }
    }

    /// The number of the object.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Until when the lease is good if it is not renewed.
    #[must_use]
    pub const fn until(&self) -> Moment {
        self.until
    }

    /// Whether the holder may count on it.
    #[must_use]
    pub fn is_good(&self, now: Moment) -> bool {
        !self.is_over && now < self.until
    }

    /// The object was written again, and the highest number listed after that; sent and answered,
    /// both of it, at these moments.
    ///
    /// # Errors
    /// When that does not renew the lease: it was lost. Once lost, it stays so.
    pub fn renewed(
        &mut self,
        highest: Option<u64>,
        sent: Moment,
        answered: Moment,
    ) -> Result<(), Lost> {
        let lost = match highest {
            Some(highest) if highest > self.number => Some(Lost::Taken(highest)),
            Some(highest) if highest == self.number => None,
            _ => Some(Lost::Removed),
        };
        // An answer that comes too late may be to a write that came too late.
        let late = (!self.is_good(answered)).then_some(Lost::RanOut);
        if let Some(lost) = lost.or(late) {
            self.is_over = true;
            return Err(lost);
        }
        self.until = self.until.max(sent + self.terms.good_for());
        Ok(())
    }

    /// Gives it up: before anybody is told.
    pub fn end(&mut self) {
        self.is_over = true;
    }
}
