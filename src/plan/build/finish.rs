//! The end of a draft: what is emptied last, tags that hold nothing any more, cost, the plan.

use std::collections::BTreeSet;

use super::Draft;
use crate::address::Address;
use crate::digest::Digest;
use crate::live::ownership;
use crate::plan::Plan;
use crate::plan::cost;
use crate::plan::error::Refusals;
use crate::plan::seen::Looked;
use crate::plan::step::{FirewallRef, StepId, StepKind};

impl Draft<'_> {
    /// Deletes the firewall; `strict`: only if every droplet was destroyed.
    pub fn draw_firewall_removal(&mut self, firewall: FirewallRef, strict: bool) {
        let step = self.removing(
            &Address::Firewall,
            StepKind::DeleteFirewall {
                firewall,
                name: self.scope.environment_name(),
            },
            !strict,
        );
        if let Some(made) = self.firewall {
            self.graph
                .after(made, step, "it is made or changed before it goes");
        }
        self.once_empty(
            step,
            strict,
            "droplets are covered by their firewall until they are gone",
        );
    }

    /// Takes the key from the account; `strict`: only if every droplet was destroyed.
    pub fn draw_key_removal(&mut self, fingerprint: &str, strict: bool) {
        let step = self.removing(
            &Address::SshKey,
            StepKind::DeleteSshKey {
                name: self.scope.environment_name(),
                fingerprint: fingerprint.to_owned(),
                forget_private_key: self.scope.key_generated,
            },
            !strict,
        );
        if let Some(made) = self.key {
            self.graph
                .after(made, step, "it is registered before it goes");
        }
        self.once_empty(step, strict, "the key opens droplets until they are gone");
    }

    fn once_empty(&mut self, step: StepId, strict: bool, reason: &'static str) {
        for &destroy in &self.destroys {
            if strict {
                self.graph.needs(destroy, step, reason);
            } else {
                self.graph.after(destroy, step, reason);
            }
        }
    }

    /// Removes tags that hold nothing any more: `more` and those that lost their only bearer.
    pub fn draw_tag_removal(&mut self, more: &BTreeSet<String>, ephemeral: bool) {
        let names: Vec<String> = self
            .dropped
            .iter()
            .filter(|tag| !self.borne.contains(*tag))
            .chain(more)
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if names.is_empty() {
            return;
        }
        let before = self.graph.takers_of_tags();
        let step = self.removing(
            &Address::Firewall,
            StepKind::DeleteTags { names },
            ephemeral,
        );
        for taker in before {
            self.graph
                .after(taker, step, "a tag goes once nothing bears it any more");
        }
    }

    /// The plan, when nothing was refused.
    pub fn finish(
        mut self,
        desired_digest: Digest,
        up: &cost::Up<'_>,
        kept: &cost::Kept,
    ) -> Result<Plan, Refusals> {
        self.changes.sort_by(|a, b| {
            (&a.address, a.action, &a.name, &a.id).cmp(&(&b.address, b.action, &b.name, &b.id))
        });
        self.activities.sort_by(|a, b| a.address.cmp(&b.address));
        self.notices.sort();
        self.notices.dedup();
        let refusals = std::mem::take(&mut self.refusals);
        Refusals::or(refusals, ())?;
        let (steps, edges) = self
            .graph
            .finish()
            .map_err(|cycle| Refusals::internal(&cycle.0))?;
        let cost = cost::of(&steps, &edges, up, kept, &self.live.catalog);
        let mut plan = Plan {
            version: 1,
            project: self.scope.project.clone(),
            environment: self.scope.environment.clone(),
            region: self.scope.region.clone(),
            goal: self.goal,
            desired_digest,
            live_digest: streamed(&()),
            changes: self.changes,
            activities: self.activities,
            steps,
            edges,
            cost,
            notices: self.notices,
        };
        // What it rests on is known once it is there.
        let live_digest = streamed(&Looked::of(&plan, self.live));
        plan.live_digest = live_digest;
        Ok(plan)
    }
}

/// The digest of a value whose types have one order of their own: quicker than the canonical one.
pub(in crate::plan) fn streamed<T: serde::Serialize>(value: &T) -> Digest {
    Digest::streamed(value)
}

/// The tag of the environment and those of its project, as far as no one else can bear them: for
/// a destroy. `kept` says whether something of the project stays.
pub(in crate::plan) fn empty_tags(
    live_tags: &[String],
    owner: &ownership::Owner,
    kept: bool,
    whole_project: bool,
) -> BTreeSet<String> {
    let has = |tag: &str| live_tags.iter().any(|live| live == tag);
    let mut names = BTreeSet::new();
    if has(&owner.environment_tag) {
        names.insert(owner.environment_tag.clone());
    }
    let others: Vec<&String> = live_tags
        .iter()
        .filter(|tag| {
            tag.starts_with("dewpoint:")
                && **tag != owner.environment_tag
                && **tag != owner.project_tag
        })
        .collect();
    let prefix = format!("{}:", owner.project_tag);
    let sibling = others.iter().any(|tag| tag.starts_with(&prefix));
    // An environment in the making shows by its tag, which is made first.
    let whole = !sibling && (whole_project || !kept);
    if has(&owner.project_tag) && whole {
        names.insert(owner.project_tag.clone());
    }
    // Tags are made side by side: a run that was killed then may have left this one alone.
    let is_ours_to_end = has(&owner.project_tag) || whole_project;
    if has(ownership::TAG) && whole && is_ours_to_end && others.is_empty() {
        names.insert(ownership::TAG.to_owned());
    }
    if others.is_empty() && !kept {
        names.extend(
            live_tags
                .iter()
                .filter(|tag| ownership::is_tag_of_one(tag))
                .cloned(),
        );
    }
    names
}
