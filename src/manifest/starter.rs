//! The manifest that `init` writes.

/// A commented manifest for a project of this name, which validates as it is.
#[must_use]
pub fn starter(project: &str) -> String {
    include_str!("starter.yaml").replace("PROJECT", project)
}
