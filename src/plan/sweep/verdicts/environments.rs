//! What an environment has once: its firewall and its key, which go when nothing else is left of it.

use super::{Doomed, Environment, FoundKind, Judge, State, because};
use crate::desired::names;
use crate::live::claims::environment_of;
use crate::live::ownership;
use crate::plan::change::Cause;

impl<'a> Judge<'a> {
    pub(super) fn firewalls(&mut self) {
        for wall in &self.account.live.firewalls {
            let named = wall
                .tags
                .iter()
                .filter_map(|tag| environment_of(tag))
                .find(|(project, env)| wall.name == names::environment(project, env));
            let Some((project, environment)) = named else {
                continue;
            };
            let of = (project, environment);
            let Some(State {
                goes, stays: false, ..
            }) = self.states.get(&of)
            else {
                continue;
            };
            let goes = *goes;
            let droplets = &self.account.live.droplets;
            let covers_more = wall.tags.len() > 1
                || droplets
                    .iter()
                    .any(|d| wall.droplet_ids.contains(&d.id) && !self.goes(d.id));
            let made = self.account.firewalls_made.get(&wall.id).copied();
            let reason = if covers_more {
                Err("it covers more than its environment")
            } else if goes {
                Ok(because(Cause::Expiry, "its environment has expired"))
            } else if self.begins {
                Err("nothing is left of its environment, but an apply seems to be beginning")
            } else if self.is_old(made.unwrap_or_default()) {
                Ok(because(
                    Cause::Leftover,
                    "nothing is left of its environment",
                ))
            } else {
                Err("nothing is left of its environment, but it is younger than a day")
            };
            let state = self.states.entry(of).or_default();
            match reason {
                Ok(reason) => {
                    state.wall_goes = true;
                    self.out.firewalls.push(Doomed {
                        what: wall,
                        project,
                        environment: Some(environment),
                        expired_at: None,
                        reason,
                    });
                }
                Err(why) => {
                    state.stays = true;
                    self.leave(FoundKind::Firewall, &wall.name, &wall.id, why);
                }
            }
        }
        self.out
            .firewalls
            .sort_by(|a, b| a.what.name.cmp(&b.what.name));
    }

    /// Whether the last of an environment may go: its key and its tag. Without a firewall that was
    /// there for long, only a tag that nothing bears says that it was an environment.
    pub(super) fn is_finished(&self, of: Environment<'_>, state: &State) -> bool {
        let tag = ownership::environment_tag(of.0, of.1);
        !state.stays
            && (state.goes || state.wall_goes || !self.begins)
            && (state.goes || state.wall_goes || self.account.borne.get(&tag) == Some(&0))
    }

    pub(super) fn keys(&mut self) {
        for key in &self.account.live.ssh_keys {
            // `a-b` of `c` and `a` of `b-c` have keys of one name.
            let mut same: Vec<(Environment<'a>, &State)> = Vec::new();
            for (of, state) in &self.states {
                if names::environment(of.0, of.1) == key.name {
                    same.push((*of, state));
                }
            }
            let Some(&((project, environment), state)) = same.first() else {
                continue;
            };
            if !same.iter().all(|(of, state)| self.is_finished(*of, state)) {
                continue;
            }
            let reason = if state.goes {
                because(Cause::Expiry, "its environment has expired")
            } else {
                because(Cause::Leftover, "nothing is left of its environment")
            };
            self.out.keys.push(Doomed {
                what: key,
                project,
                environment: Some(environment),
                expired_at: None,
                reason,
            });
        }
        self.out
            .keys
            .sort_by(|a, b| (&a.what.name, a.what.id).cmp(&(&b.what.name, b.what.id)));
    }
}
