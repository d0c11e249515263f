//! Whose a resource is: told by tags and exact names, nothing else.

use super::LiveDroplet;

/// The tag every resource of dewpoint bears.
pub const TAG: &str = "dewpoint";

/// What tags begin with that remember another name.
const NAME: &str = "dewpoint-name:";
/// What tags begin with that say what a throw-away copy of a volume is a copy of.
const CLONE: &str = "dewpoint-clone:";
/// What tags begin with that say by which `populate` a volume was filled.
const POPULATED: &str = "dewpoint-populated:";
/// What tags begin with that say that a volume is being filled anew.
const POPULATING: &str = "dewpoint-populating:";
/// What tags begin with that a volume shares with the snapshot of what it holds.
const SNAP: &str = "dewpoint-snap:";

/// Tag of everything that belongs to a project.
#[must_use]
pub fn project_tag(project: &str) -> String {
    format!("dewpoint:{project}")
}

/// Tag of everything that belongs to an environment.
#[must_use]
pub fn environment_tag(project: &str, environment: &str) -> String {
    format!("dewpoint:{project}:{environment}")
}

/// Tag that keeps the digest of the part of a spec which cannot be read back.
#[must_use]
pub fn spec_tag(digest12: &str) -> String {
    format!("dewpoint-spec:{digest12}")
}

/// Tag that says when a resource counts as expired.
#[must_use]
pub fn expires_tag(unix_seconds: i64) -> String {
    format!("dewpoint-expires:{unix_seconds}")
}

/// Tag that remembers what a volume or snapshot is called whose own name is another.
#[must_use]
pub fn name_tag(name: &str) -> String {
    format!("{NAME}{name}")
}

/// What something is called: its name, or the one that a tag remembers.
#[must_use]
pub fn called<'a>(name: &'a str, tags: &'a [String]) -> &'a str {
    tags.iter()
        .find_map(|tag| tag.strip_prefix(NAME))
        .unwrap_or(name)
}

/// Whether a tag remembers another name.
#[must_use]
pub fn is_name_tag(tag: &str) -> bool {
    tag.starts_with(NAME)
}

/// The digest a resource bears in its spec tag.
#[must_use]
pub fn spec_of(tags: &[String]) -> Option<&str> {
    tags.iter()
        .find_map(|tag| tag.strip_prefix("dewpoint-spec:"))
}

/// When a resource says it expires.
#[must_use]
pub fn expires_of(tags: &[String]) -> Option<i64> {
    tags.iter()
        .find_map(|tag| tag.strip_prefix("dewpoint-expires:"))?
        .parse()
        .ok()
}

/// Whether a tag says when a resource expires.
#[must_use]
pub fn is_expires_tag(tag: &str) -> bool {
    tag.starts_with("dewpoint-expires:")
}

/// Tag of a throw-away copy of a volume: whose it is, and of which volume of the manifest.
#[must_use]
pub fn clone_tag(project: &str, environment: &str, volume: &str) -> String {
    format!("{CLONE}{project}:{environment}:{volume}")
}

/// Whether tags are those of a throw-away copy of a volume.
#[must_use]
pub fn is_clone(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag.starts_with(CLONE))
}

/// Tag of a volume that was filled; the digest is that of what filled it.
#[must_use]
pub fn populated_tag(digest12: &str) -> String {
    format!("{POPULATED}{digest12}")
}

/// Tag of a volume that was filled before and is being filled anew: until that is done nobody knows
/// what it holds.
#[must_use]
pub fn populating_tag(digest12: &str) -> String {
    format!("{POPULATING}{digest12}")
}

/// Whether a tag says that a volume was filled.
#[must_use]
pub fn is_populated_tag(tag: &str) -> bool {
    tag.starts_with(POPULATED)
}

/// Whether a tag says that a volume is being filled anew.
#[must_use]
pub fn is_populating_tag(tag: &str) -> bool {
    tag.starts_with(POPULATING)
}

/// Tag of a snapshot of a volume. The volume bears it too, until it is attached to be written to: as
/// long as both bear it, the snapshot holds what the volume holds.
#[must_use]
pub fn snap_tag(marker: &str) -> String {
    format!("{SNAP}{marker}")
}

/// Whether volumes share a tag with their snapshots.
#[must_use]
pub fn is_snap_tag(tag: &str) -> bool {
    tag.starts_with(SNAP)
}

/// What stands in such a tag, and at the end of the snapshot's name.
#[must_use]
pub fn marker_of(tag: &str) -> Option<&str> {
    tag.strip_prefix(SNAP)
}

/// Of some tags those that volumes share with their snapshots.
pub fn snap_tags(tags: &[String]) -> impl Iterator<Item = &String> {
    tags.iter().filter(|tag| is_snap_tag(tag))
}

/// Whose resources are asked about: a project and one of its environments.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The tag of the project.
    pub project_tag: String,
    /// The tag of the environment.
    pub environment_tag: String,
}

/// Whose a droplet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The environment's: it bears its tag; or our exact name and the project's tag, and that of no
    /// environment, for someone has taken it away.
    Ours,
    /// It bears our name and no tags: a DELETE strips them before the droplet is gone, so it is
    /// being destroyed, or its destruction failed.
    Ghost,
    /// Someone else's.
    Foreign,
}

impl Owner {
    /// The owner of that project's environment.
    #[must_use]
    pub fn new(project: &str, environment: &str) -> Self {
        Self {
            project_tag: project_tag(project),
            environment_tag: environment_tag(project, environment),
        }
    }

    /// Whose a droplet is; `is_our_name` says whether its name is exactly one of ours.
    #[must_use]
    pub fn droplet(&self, tags: &[String], is_our_name: bool) -> Whose {
        if tags.contains(&self.environment_tag) || (is_our_name && self.in_project_only(tags)) {
            Whose::Ours
        } else if is_our_name && tags.is_empty() {
            Whose::Ghost
        } else {
            Whose::Foreign
        }
    }

    /// Whether something is the project's, whichever environment's.
    #[must_use]
    pub fn in_project(&self, tags: &[String]) -> bool {
        tags.contains(&self.project_tag)
    }

    /// Whether something is the environment's.
    #[must_use]
    pub fn in_environment(&self, tags: &[String]) -> bool {
        tags.contains(&self.environment_tag)
    }

    /// Whether something is the project's but of no environment: what outlives them.
    #[must_use]
    pub fn in_project_only(&self, tags: &[String]) -> bool {
        self.in_project(tags)
            && self.other_environment(tags).is_none()
            && !self.in_environment(tags)
    }

    /// The tag of another environment of the project that something bears.
    #[must_use]
    pub fn other_environment<'a>(&self, tags: &'a [String]) -> Option<&'a str> {
        let is_in_project = |tag: &str| {
            let rest = tag.strip_prefix(self.project_tag.as_str());
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        tags.iter()
            .map(String::as_str)
            .find(|tag| is_in_project(tag) && *tag != self.environment_tag)
    }
}

/// Whether a droplet may be one of the project's that is being destroyed: it bears a name as the
/// project's do and no tags, which a DELETE strips before it is gone. It may as well be someone else's
/// that is called so: what it has is not free before it is gone.
#[must_use]
pub fn may_be_leaving(project: &str, droplet: &LiveDroplet) -> bool {
    let rest = droplet.name.strip_prefix(project);
    droplet.tags.is_empty() && rest.is_some_and(|rest| rest.starts_with('-'))
}

/// Of the tags of a resource those that say whose it is.
pub fn owner_tags(tags: &[String]) -> impl Iterator<Item = &String> {
    tags.iter()
        .filter(|tag| *tag == TAG || tag.starts_with("dewpoint:"))
}

/// Whether tags say of nothing whose it is: there are none, or a run that was giving them was cut off
/// before the one that says so, which comes last.
#[must_use]
pub fn is_unclaimed(tags: &[String]) -> bool {
    tags.iter()
        .all(|tag| tag.starts_with(TAG) && !tag.starts_with("dewpoint:"))
}

/// Whether a tag names an environment of some project: `dewpoint:<project>:<env>`.
#[must_use]
pub fn is_environment_tag(tag: &str) -> bool {
    tag.strip_prefix("dewpoint:")
        .is_some_and(|rest| rest.contains(':'))
}

/// Whether a tag belongs to single resources (their spec, their expiry, their name, what they are a
/// copy of) and is worth nothing without them.
#[must_use]
pub fn is_tag_of_one(tag: &str) -> bool {
    let prefixes = [
        "dewpoint-spec:",
        "dewpoint-expires:",
        NAME,
        CLONE,
        SNAP,
        POPULATED,
        POPULATING,
    ];
    prefixes.iter().any(|prefix| tag.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownership_is_told_by_tags_and_exact_names() {
        let owner = Owner::new("app", "main");
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let ours = tags(&["dewpoint", "dewpoint:app", "dewpoint:app:main"]);
        assert_eq!(owner.droplet(&ours, false), Whose::Ours);
        assert_eq!(owner.droplet(&[], true), Whose::Ghost);
        assert_eq!(owner.droplet(&[], false), Whose::Foreign);
        assert_eq!(owner.droplet(&tags(&["web"]), true), Whose::Foreign);
        let robbed = tags(&["dewpoint", "dewpoint:app"]);
        assert_eq!(owner.droplet(&robbed, true), Whose::Ours);
        assert_eq!(owner.droplet(&robbed, false), Whose::Foreign);
        let other = tags(&["dewpoint:app", "dewpoint:app:pr-1"]);
        assert_eq!(owner.droplet(&other, true), Whose::Foreign);
        assert!(owner.in_project_only(&tags(&["dewpoint:app"])));
        assert!(!owner.in_project_only(&ours));
        let other = tags(&["dewpoint:app", "dewpoint:app:pr-1"]);
        assert_eq!(owner.other_environment(&other), Some("dewpoint:app:pr-1"));
        assert_eq!(owner.other_environment(&ours), None);
        assert!(!owner.in_project(&tags(&["dewpoint:apps"])));
    }
}
