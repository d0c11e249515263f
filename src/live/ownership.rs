//! Whose a resource is: told by tags and exact names, nothing else.

/// The tag every resource of dewpoint bears.
pub const TAG: &str = "dewpoint";

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
