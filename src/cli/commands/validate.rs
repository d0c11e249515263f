//! `dewpoint validate`: is the manifest good? No network, no cloud.

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::local_files;
use crate::cli::terminal::print;
use crate::manifest::Manifest;

/// Checks the manifest.
///
/// # Errors
/// Every problem of the manifest at once.
pub fn run(context: &Context) -> miette::Result<Exit> {
    let loaded = context.load()?;
    local_files::check(&loaded)?;
    let Manifest {
        project,
        environment,
        snapshots,
        volumes,
        droplets,
        ..
    } = &loaded.manifest;
    if !context.global.quiet {
        print(&format!(
            "{} is valid: {project} / {environment}: {}, {}, {}.\n",
            loaded.name,
            count(snapshots.len(), "snapshot"),
            count(volumes.len(), "volume"),
            count(droplets.len(), "droplet"),
        ))?;
    }
    Ok(Exit::Success)
}

/// `1 droplet`, `2 droplets`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
