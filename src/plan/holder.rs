//! Who holds a volume that is not free: by name, as far as that is known.

use super::build::Draft;
use crate::live::ownership::{self, Owner};
use crate::live::{LiveDroplet, LiveVolume};

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
        let reason = held_by(droplet, &self.owner);
        let help = match environment_of(droplet, &self.owner) {
            Some(environment) => format!(
                "wait until that one is done with it (`apply` and `test` do, unless told `--no-wait`), or run `dewpoint destroy --env {environment}`; with `scope: environment` each environment has a volume of its own"
            ),
            None if ownership::may_be_leaving(&self.scope.project, droplet) => {
                "if that droplet was just destroyed, try again in half a minute (`apply`, `test` and `destroy` wait so long by themselves); if it is someone else's, detach the volume there first"
                    .to_owned()
            }
            None => "detach it there first".to_owned(),
        };
        (reason, help)
    }

    /// Whether a volume that this droplet holds comes free by itself: another environment of the
    /// project has it, or the droplet is gone already. Someone else's may keep theirs for ever.
    pub(super) fn comes_free(&self, volume: &LiveVolume, holder: u64) -> bool {
        match self.holder(holder) {
            Some(droplet) => environment_of(droplet, &self.owner).is_some(),
            None => self.owner.in_project(&volume.tags),
        }
    }
}

/// The other environment of the project that a droplet is of.
#[must_use]
pub fn environment_of<'a>(droplet: &'a LiveDroplet, owner: &Owner) -> Option<&'a str> {
    owner
        .other_environment(&droplet.tags)
        .and_then(|tag| tag.rsplit(':').next())
}

/// Says which droplet has a volume: of which environment, since when and until when.
#[must_use]
pub fn held_by(droplet: &LiveDroplet, owner: &Owner) -> String {
    let name = &droplet.name;
    let Some(environment) = environment_of(droplet, owner) else {
        let project = owner.project_tag.strip_prefix("dewpoint:");
        let may_be_leaving =
            project.is_some_and(|project| ownership::may_be_leaving(project, droplet));
        let whose = match may_be_leaving {
            true => "which bears no tags, so that nothing tells that it is of this environment",
            false => "which is not of this environment",
        };
        return format!("it is attached to droplet {name}, {whose}");
    };
    let mut since = String::new();
    if let Ok(made) = jiff::Timestamp::from_second(droplet.created_at) {
        since.push_str(&format!(", which was made at {made}"));
        let expires = ownership::expires_of(&droplet.tags);
        if let Some(expires) = expires.and_then(|at| jiff::Timestamp::from_second(at).ok()) {
            since.push_str(&format!(" and expires at {expires}"));
        }
    }
    format!("it is attached to droplet {name} of environment {environment}{since}")
}
