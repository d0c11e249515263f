//! `dewpoint local`: the local cloud as a background service.

use std::fmt::Write as _;

use camino::Utf8Path;

use crate::cli::args::{LocalCommand, Up};
use crate::cli::commands::validate::count;
use crate::cli::context::Context;
use crate::cli::endpoint::{blocking, local_folder};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::terminal::{print, tell};
use crate::cli::waiting::waiting;
use crate::local::seam::Tier;
use crate::local::service::{self, Status, UpOptions};
use crate::local::tiers;

/// Starts, stops, shows or empties the local cloud.
///
/// # Errors
/// When it does not start, answer or stop.
pub async fn run(context: &Context, command: &LocalCommand) -> miette::Result<Exit> {
    let folder = local_folder(&context.global)?;
    match command {
        LocalCommand::Up(up) => {
            let options = options(up);
            let at = folder.clone();
            let running = blocking(move || service::connect(&at)).await?;
            if running.is_some() && *up != Up::default() {
                tell("note: the local cloud runs already; options only count when it starts");
            }
            if running.is_none()
                && up.guests == Some(Tier::Vm)
                && !tiers::are_machines_built(&folder)
                && tiers::machines_lack(&folder).is_empty()
            {
                tell(
                    "note: the base of machines is built first, once: it takes minutes, some 600 MB, and packages from deb.debian.org",
                );
            }
            let at = folder.clone();
            let was_running = running.is_some();
            let starting = blocking(move || service::up(&at, &options));
            let endpoint = waiting(context, "the local cloud to start", starting).await?;
            if let Some(reason) = &endpoint.restarted {
                tell(&format!("note: {reason}"));
            } else if was_running && !context.global.quiet {
                tell("the local cloud was running already");
            }
            show(context, &folder).await?;
        }
        LocalCommand::Down => {
            let stopping = blocking(move || service::down(&folder));
            if waiting(context, "the local cloud to stop", stopping).await? {
                tell("the local cloud is stopped; its state stays");
            } else {
                tell("the local cloud was not running");
            }
        }
        LocalCommand::Status => show(context, &folder).await?,
        LocalCommand::Reset { yes } => {
            if !yes {
                if !context.terminal.can_ask {
                    return Err(CliError::NoTerminalForReset.into());
                }
                context.terminal.approve(&format!(
                    "Delete everything the local cloud in {folder} holds?"
                ))?;
            }
            let resetting = blocking(move || service::reset(&folder));
            let what = "the local cloud to stop and its state to be deleted";
            if waiting(context, what, resetting).await? {
                tell("the local cloud is stopped and empty");
            } else {
                tell("there was no local cloud");
            }
        }
    }
    Ok(Exit::Success)
}

fn options(up: &Up) -> UpOptions {
    let mut options = UpOptions::default();
    if let Some(latency) = up.latency {
        options.latency = latency;
    }
    if let Some(limit) = up.droplet_limit {
        options.droplet_limit = limit;
    }
    if let Some(timeout) = up.idle_timeout {
        options.idle_seconds = timeout.0;
    }
    options.rate_limits = up.rate_limits;
    options.without_guests = up.without_guests;
    options.guests = up.guests;
    options
}

async fn show(context: &Context, folder: &Utf8Path) -> miette::Result<()> {
    let at = folder.to_owned();
    let status = blocking(move || service::status(&at)).await?;
    Ok(print(&context.terminal.fit(render(folder, &status)))?)
}

fn render(folder: &Utf8Path, status: &Status) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    match &status.running {
        None => {
            let _ = writeln!(out, "the local cloud is not running; `--local` starts it");
        }
        Some(endpoint) => {
            let _ = writeln!(
                out,
                "the local cloud runs at {} (process {})",
                endpoint.url, endpoint.pid
            );
            let _ = writeln!(out, "  guests    {}", endpoint.tier);
            for reason in &endpoint.reasons {
                let _ = writeln!(out, "            not better because {reason}");
            }
            if let Some(base) = &endpoint.base {
                let _ = writeln!(out, "  images    every public image is {base}");
            }
        }
    }
    for warning in &status.warnings {
        let _ = writeln!(out, "  warning   {warning}");
    }
    let _ = writeln!(out, "  state     {folder}");
    let _ = writeln!(
        out,
        "  holds     {}, {}, {}",
        count(status.droplets, "droplet"),
        count(status.volumes, "volume"),
        count(status.snapshots, "snapshot"),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Endpoint;
    use crate::local::latency::Latency;
    use crate::report::fold::fold;
    use crate::secret::Secret;

    #[test]
    fn status_fits_a_narrow_and_a_wide_screen() {
        let endpoint = Endpoint {
            url: "http://127.0.0.1:42101".to_owned(),
            token: Secret::new("secret-token".to_owned()),
            ssh_port: 2222,
            tier: Tier::Api,
            reasons: vec![
                "guests are made of namespaces and loop devices, which only root may make, and this is not root"
                    .to_owned(),
            ],
            base: Some("the root of this machine (Debian GNU/Linux 12 (bookworm))".to_owned()),
            pid: 28_491,
            version: "0.1.0".to_owned(),
            build: String::new(),
            latency: Latency::default(),
            restarted: None,
        };
        let status = Status {
            running: Some(endpoint),
            warnings: vec![
                "the snapshot of volume data was taken of another version of the format: it is not used"
                    .to_owned(),
            ],
            droplets: 1,
            volumes: 2,
            snapshots: 0,
        };
        for width in [80, 160] {
            let text = fold(&render(Utf8Path::new("/var/lib/dewpoint"), &status), width);
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
            insta::assert_snapshot!(format!("status_on_{width}_columns"), text);
        }
    }
}
