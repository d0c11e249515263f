//! Leases: until when the things of an environment are meant to be there. They say it in a tag, which
//! `apply` renews.

use crate::live::ownership;
use crate::units::Seconds;

/// When a lease is renewed: what remains of it is less than this part of it.
const RENEWED_BELOW: i64 = 2;

/// What becomes of a lease.
#[derive(Debug, Default)]
pub(in crate::plan) struct Lease {
    /// The tag it gets.
    pub add: Option<String>,
    /// Tags it loses.
    pub remove: Vec<String>,
    /// When it ends now, seconds since 1970.
    pub current: Option<i64>,
    /// Whether it is renewed because little of it remains.
    pub ends_soon: bool,
    /// Whether it is cut because it lasts longer than any may.
    pub too_long: bool,
}

impl Lease {
    /// That of something new.
    pub fn new(ttl: Seconds, now: i64) -> Self {
        Self {
            add: Some(ownership::expires_tag(latest(ttl, now))),
            ..Self::default()
        }
    }

    /// That of something that bears these tags.
    pub fn of(tags: &[String], ttl: Seconds, now: i64) -> Self {
        let is_expiry = |tag: &&String| ownership::is_expires_tag(tag);
        let moment = |tag: &String| ownership::expires_of(std::slice::from_ref(tag));
        let current = tags.iter().filter_map(moment).max();
        let latest = latest(ttl, now);
        let lease = latest - now;
        let ends_soon = current.is_some_and(|at| at.saturating_sub(now) < lease / RENEWED_BELOW);
        let too_long = current.is_some_and(|at| at > latest);
        let mut renewed = Self {
            current,
            ends_soon,
            too_long,
            ..Self::default()
        };
        if current.is_none() || ends_soon || too_long {
            let new = ownership::expires_tag(latest);
            let old = tags.iter().filter(is_expiry);
            renewed.remove = old.filter(|tag| **tag != new).cloned().collect();
            renewed.add = (!tags.contains(&new)).then_some(new);
        }
        renewed
    }
}

fn latest(ttl: Seconds, now: i64) -> i64 {
    now.saturating_add(i64::try_from(ttl.0).unwrap_or(i64::MAX))
}
