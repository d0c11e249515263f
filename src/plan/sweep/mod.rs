//! `sweep`: what has expired or was left behind in a whole account, and the plan that removes it.
//!
//! No manifest says here which names to expect, so only what tags prove is touched: a resource must
//! claim a project and an environment with all of dewpoint's tags, without contradiction, and its
//! expiry must be one that dewpoint could have written. Firewalls and keys bear no tags; theirs is
//! the exact name of an environment whose tag is in the account, of which nothing else is left.
//! What a project owns (volumes, snapshots) stays, but for snapshots that were asked for, and those of
//! volumes that dewpoint took to make copies from and that no copy can come from any more.

mod draw;
mod money;
mod standing;
mod verdicts;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::change::Reason;
use super::{Plan, Refusals};
use crate::live::AccountWide;
use crate::units::Money;

pub use standing::{Piece, Standing};

/// What bears no expiry counts as left behind when it is older than this: no apply takes so long
/// from the first thing it makes to the next.
pub const LEFT_AFTER: i64 = 24 * 3_600;

/// What a manifest says of snapshots, for those that none speaks of to be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Names of snapshots, by the project that declares them.
    pub snapshots: BTreeMap<String, BTreeSet<String>>,
    /// Ids of images that a manifest names as such.
    pub images: BTreeSet<u64>,
}

/// What is found in an account, and how it goes.
#[derive(Debug, Clone, Serialize)]
pub struct Sweep {
    /// What has expired or was left behind; environment by environment.
    pub found: Vec<Found>,
    /// What looks like it and is left alone.
    pub left: Vec<LeftAlone>,
    /// What stands beside it, by project and environment: nothing of it is touched.
    pub standing: Vec<Standing>,
    /// The plan that removes what was found.
    #[serde(skip)]
    pub plan: Plan,
}

/// What a thing is that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundKind {
    /// A droplet.
    Droplet,
    /// A volume.
    Volume,
    /// A firewall.
    Firewall,
    /// An SSH key.
    SshKey,
    /// A snapshot of a project.
    Snapshot,
    /// A snapshot of a volume.
    VolumeSnapshot,
    /// A tag.
    Tag,
}

/// A thing that has expired or was left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The project it belongs to; none for tags that say none.
    pub project: Option<String>,
    /// The environment it belongs to.
    pub environment: Option<String>,
    /// What it is.
    pub kind: FoundKind,
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its id on DigitalOcean; a tag has none.
    pub id: Option<String>,
    /// Its size and region, in words; may be empty.
    pub what: String,
    /// Why it goes.
    pub reason: Reason,
    /// When it was made, seconds since 1970, when the API says so.
    pub created_at: Option<i64>,
    /// When it expired, seconds since 1970.
    pub expired_at: Option<i64>,
    /// What an hour of it costs, of what is billed by the hour.
    pub hourly: Option<Money>,
    /// What a month of it costs.
    pub monthly: Option<Money>,
    /// What it has cost so far, by today's prices.
    pub spent: Option<Money>,
}

/// A thing that looks as if it could go, and stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftAlone {
    /// What it is.
    pub kind: FoundKind,
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its id on DigitalOcean; a tag has none.
    pub id: Option<String>,
    /// Why it stays.
    pub why: String,
}

/// Looks for what has expired or was left behind; `now` is seconds since 1970. Snapshots are looked
/// at only with what manifests declare.
///
/// # Errors
/// Only when the planner contradicts itself.
pub fn sweep(
    account: &AccountWide,
    declared: Option<&Declared>,
    now: i64,
) -> Result<Sweep, Refusals> {
    let verdicts = verdicts::Verdicts::of(account, declared, now);
    let standing = standing::of(account, &verdicts);
    draw::draw(account, verdicts, standing, now)
}
