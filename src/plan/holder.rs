//! Who holds a volume that is not free: by name, as far as that is known.

use super::build::Draft;
use crate::live::{LiveDroplet, ownership};

impl Draft<'_> {
    /// The droplet of that id, whoever's it is.
    pub(super) fn holder(&self, id: u64) -> Option<&LiveDroplet> {
        let all = self.live.droplets.iter().chain(&self.live.holders);
        all.into_iter().find(|droplet| droplet.id == id)
    }

    /// Says of a volume that someone else's droplet has it, and what to do about that.
    pub(super) fn held_by(&self, id: u64) -> (String, String) {
        let Some(droplet) = self.holder(id) else {
            return (
                format!("it is attached to droplet {id}, which is not of this environment"),
                "detach it there first; if that droplet was just destroyed, try again in half a minute"
                    .to_owned(),
            );
        };
        let name = &droplet.name;
        let other = self
            .owner
            .other_environment(&droplet.tags)
            .and_then(|tag| tag.rsplit(':').next());
        let mut since = String::new();
        if let Ok(made) = jiff::Timestamp::from_second(droplet.created_at) {
            since.push_str(&format!(", which was made at {made}"));
            let expires = ownership::expires_of(&droplet.tags);
            if let Some(expires) = expires.and_then(|at| jiff::Timestamp::from_second(at).ok()) {
                since.push_str(&format!(" and expires at {expires}"));
            }
        }
        match other {
            Some(environment) => (
                format!("it is attached to droplet {name} of environment {environment}{since}"),
                format!(
                    "wait until that one is done with it, or run `dewpoint destroy --env {environment}`; with `scope: environment` each environment has a volume of its own"
                ),
            ),
            None => (
                format!("it is attached to droplet {name}, which is not of this environment"),
                "detach it there first".to_owned(),
            ),
        }
    }
}
