//! Tags that nothing bears any more.

use std::collections::{BTreeMap, BTreeSet};

use super::{FoundKind, Judge, LeftAlone, is_builder};
use crate::live::claims::{Claim, claim, environment_of, expiry_of, project_of};
use crate::live::ownership;

impl<'a> Judge<'a> {
    /// Tags that hold nothing, or will once the rest is gone.
    pub(super) fn tags(&mut self) {
        let mut going: BTreeMap<&str, u64> = BTreeMap::new();
        // What is listed is believed more than a count that says that nothing bears a tag.
        let mut borne: BTreeSet<&str> = BTreeSet::new();
        for (tags, goes) in self.bearers() {
            for tag in tags {
                if goes {
                    *going.entry(tag).or_default() += 1;
                } else {
                    borne.insert(tag);
                }
            }
        }
        let gone_walls: BTreeSet<&str> = self
            .out
            .firewalls
            .iter()
            .map(|wall| wall.what.id.as_str())
            .collect();
        let walls = &self.account.live.firewalls;
        // Deleting a tag takes it out of firewalls too.
        let referred: BTreeSet<&str> = walls
            .iter()
            .filter(|wall| !gone_walls.contains(wall.id.as_str()))
            .flat_map(|wall| {
                let rules = wall.inbound.iter().chain(&wall.outbound);
                rules.flat_map(|rule| &rule.tags).chain(&wall.tags)
            })
            .map(String::as_str)
            .collect();
        let mut free: BTreeSet<&'a str> = BTreeSet::new();
        let mut waiting = false;
        for (tag, &count) in &self.account.borne {
            let going = going.get(tag.as_str()).copied().unwrap_or_default();
            let stays = borne.contains(tag.as_str()) || referred.contains(tag.as_str());
            if count > going || stays {
                continue;
            }
            if count == 0 && self.begins && expiry_of(tag).is_none() {
                waiting |= environment_of(tag).is_some() || is_spent(tag, self.now);
                continue;
            }
            free.insert(tag);
        }
        for &tag in &free {
            if let Some(of) = environment_of(tag) {
                let state = self.states.get(&of);
                if state.is_some_and(|state| self.is_finished(of, state)) {
                    self.out.environments.push((tag, of));
                }
            } else if is_spent(tag, self.now) {
                self.out.tags.push(tag);
            }
        }
        let is_gone = |tag: &str| self.out.environments.iter().any(|(gone, _)| *gone == tag);
        // A project's tag goes with the last of its environments.
        let stays = |project: &str| {
            let prefix = format!("dewpoint:{project}:");
            let mut tags = self.account.borne.keys();
            tags.any(|tag| tag.starts_with(&prefix) && !is_gone(tag))
        };
        let projects: Vec<&str> = free
            .iter()
            .copied()
            .filter(|tag| project_of(tag).is_some_and(|project| !stays(project)))
            .collect();
        let all_go = self
            .account
            .borne
            .keys()
            .filter(|tag| tag.starts_with("dewpoint:"))
            .all(|tag| is_gone(tag) || projects.contains(&tag.as_str()));
        self.out.tags.extend(projects);
        if all_go && free.contains(ownership::TAG) {
            self.out.tags.push(ownership::TAG);
        }
        self.out.tags.sort_unstable();
        if waiting {
            self.out.left.push(LeftAlone {
                kind: FoundKind::Tag,
                name: "tags that nothing bears".to_owned(),
                id: None,
                why: self.why_tags_wait(),
            });
        }
    }

    /// Why tags that nothing bears may still be meant for something. Where a builder stands, the run that
    /// made them has come so far, and has failed or still goes on.
    fn why_tags_wait(&self) -> String {
        let builders = self.account.live.droplets.iter().filter(|droplet| {
            let Claim::Owned {
                project,
                environment: Some(environment),
            } = claim(&droplet.tags)
            else {
                return false;
            };
            !self.goes(droplet.id) && is_builder(&droplet.name, project, environment)
        });
        let Some(builder) = builders.min_by_key(|builder| (builder.created_at, builder.id)) else {
            return "an apply seems to be beginning, which makes its tags first".to_owned();
        };
        let since = jiff::Timestamp::from_second(builder.created_at);
        let since = since.map_or_else(|_| "an unknown time".to_owned(), |at| at.to_string());
        format!(
            "the builder {} stands since {since}: what made them may go on from it",
            builder.name
        )
    }
}

/// Whether a tag of single resources is worth nothing once nothing bears it.
fn is_spent(tag: &str, now: i64) -> bool {
    if ownership::is_expires_tag(tag) {
        return expiry_of(tag).is_some_and(|at| at <= now);
    }
    if let Some(digest) = tag.strip_prefix("dewpoint-spec:") {
        let is_hex = digest
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        return digest.len() == 12 && is_hex;
    }
    ownership::is_tag_of_one(tag)
}
