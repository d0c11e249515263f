//! The end of a test: nothing of the environment is left.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::desired::Desired;
use crate::live::Live;
use crate::plan::build::{Draft, empty_tags};
use crate::plan::compare::{firewall, ssh_key};
use crate::plan::cost::Kept;
use crate::plan::step::FirewallRef;

/// `test`: everything the environment owns goes at the end.
pub(super) fn empty<'a>(
    desired: &'a Desired,
    key: &ssh_key::Verdict<'a>,
    wall: &firewall::Verdict<'a>,
    draft: &mut Draft<'a>,
) {
    let mut passing: Vec<String> = Vec::new();
    if draft.key.is_some() {
        passing.push(Address::SshKey.to_string());
    }
    let firewall = match wall {
        firewall::Verdict::Create(_) => {
            passing.push(Address::Firewall.to_string());
            draft.firewall.map(FirewallRef::Created)
        }
        firewall::Verdict::Update(_, live, _) | firewall::Verdict::Keep(_, live) => {
            Some(FirewallRef::Known(live.id.clone()))
        }
        _ => None,
    };
    draft.draw_ephemeral_volumes(desired, &mut passing);
    draft.draw_left_behind();
    // A builder that is kept is kept to log in to.
    let strict = draft.keep_builder;
    if let Some(firewall) = firewall {
        draft.draw_firewall_removal(firewall, strict);
    }
    if draft.key.is_some() || key.ours {
        draft.draw_key_removal(&desired.ssh_key.fingerprint, strict);
    }
    if !passing.is_empty() {
        draft.notices.push(format!(
            "made for this test and removed at its end: {}",
            passing.join(", ")
        ));
    }
}

/// The tags that hold nothing any more once everything the environment owns is gone, those that
/// this very plan makes among them.
pub(super) fn emptied_tags(
    live: &Live,
    named: &BTreeSet<String>,
    kept: &Kept,
    draft: &Draft<'_>,
) -> BTreeSet<String> {
    if !draft.empties() {
        return BTreeSet::new();
    }
    let mut tags: BTreeSet<String> = live.tags.iter().cloned().collect();
    tags.extend(named.iter().cloned());
    let tags: Vec<String> = tags.into_iter().collect();
    let something_stays =
        !(kept.volumes.is_empty() && kept.images_mb.is_empty() && kept.unknown.is_empty());
    empty_tags(&tags, &draft.owner, something_stays, false)
}
