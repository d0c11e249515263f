//! What a plan would say, whether or not it is refused: for reading, never for carrying out.

use super::change::{Activity, Change};
use super::cost::{self, Cost};
use super::error::{Refusal, Refusals};
use super::renames::Renames;
use super::{Options, planner};
use crate::desired::Desired;
use crate::live::Live;

/// What a plan would say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Outlook {
    /// What becomes of each resource, kept ones too, sorted by address.
    pub changes: Vec<Change>,
    /// What every apply does anyway, sorted by address.
    pub activities: Vec<Activity>,
    /// Everything that stands in the way, sorted; then nothing of the above happens.
    pub refusals: Vec<Refusal>,
    /// What it costs by the hour and the month; nothing of the execution itself.
    pub cost: Cost,
}

/// Looks at the way from what exists to what should without drawing steps to be carried out: the
/// planner's own verdicts, of what is refused too.
pub fn outlook(desired: &Desired, live: &Live, options: &Options, now: i64) -> Outlook {
    let renames = Renames::find(&desired.scope, live);
    let named = renames.desired(desired);
    let (mut draft, up, kept) = planner::draw(&named, live, options, now);
    let mut refusals = renames.refusals;
    refusals.append(&mut draft.refusals);
    let refusals = match Refusals::or(refusals, ()) {
        Ok(()) => Vec::new(),
        Err(refused) => refused.refusals,
    };
    let mut changes = draft.changes;
    changes.sort_by(|a, b| {
        (&a.address, a.action, &a.name, &a.id).cmp(&(&b.address, b.action, &b.name, &b.id))
    });
    let mut activities = draft.activities;
    activities.sort_by(|a, b| a.address.cmp(&b.address));
    Outlook {
        changes,
        activities,
        refusals,
        cost: cost::of(&[], &[], &up, &kept, &live.catalog),
    }
}
