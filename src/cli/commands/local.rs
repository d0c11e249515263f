//! `dewpoint local`: the local cloud as a background service.

use crate::cli::args::LocalCommand;
use crate::cli::context::Context;
use crate::cli::endpoint::local_folder;
use crate::cli::exit::Exit;
use crate::cli::terminal::{print, tell};
use crate::local::service;

/// Starts, stops, shows or empties the local cloud.
///
/// # Errors
/// When it does not start, answer or stop.
pub async fn run(context: &Context, command: &LocalCommand) -> miette::Result<Exit> {
    let folder = local_folder(&context.global)?;
    match command {
        LocalCommand::Up {
            latency,
            idle_timeout,
        } => {
            let mut options = service::UpOptions::default();
            if let Some(latency) = latency {
                options.latency = latency.parse()?;
            }
            if let Some(idle_timeout) = idle_timeout {
                options.idle_timeout = *idle_timeout;
            }
            let endpoint = service::up(&folder, &options).await?;
            print(&format!("the local cloud answers at {}\n", endpoint.url));
            print(&format!("{}", service::status(&folder).await?));
        }
        LocalCommand::Down => {
            if service::down(&folder).await? {
                tell("the local cloud is stopped; its state stays");
            } else {
                tell("the local cloud was not running");
            }
        }
        LocalCommand::Status => print(&format!("{}", service::status(&folder).await?)),
        LocalCommand::Reset { yes } => {
            if !yes {
                context.terminal.approve(&format!(
                    "Delete everything the local cloud in {folder} holds?"
                ))?;
            }
            service::reset(&folder).await?;
            tell("the local cloud is stopped and empty");
        }
    }
    Ok(Exit::Success)
}
