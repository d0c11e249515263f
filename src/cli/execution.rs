//! From an approved plan to its end: listeners, signals, lock, secrets, the folder of the run.

use std::collections::BTreeMap;

use super::args::LogFormat;
use super::context::{Context, Loaded};
use super::error::CliError;
use super::exit::Exit;
use super::planning::{Planned, generated_key};
use crate::execute::{self, Interrupts, Listener, Settings, lock};
use crate::guest;
use crate::manifest::Manifest;
use crate::plan::Goal;
use crate::report::json_lines::JsonLines;
use crate::report::lines::Lines;
use crate::report::outcome;
use crate::report::progress::Progress;
use crate::secret::Secret;
use crate::units::Seconds;

/// How an execution ended.
#[derive(Debug)]
pub struct Ended {
    /// What is said in the end.
    pub text: String,
    /// How the program ends.
    pub exit: Exit,
}

/// The secrets the manifest's droplets ask for, from the caller's environment.
///
/// # Errors
/// When one is not set: said before anything is planned.
pub fn secrets(
    manifest: &Manifest,
    goal: Goal,
) -> Result<BTreeMap<String, Secret<String>>, CliError> {
    let mut secrets = BTreeMap::new();
    let mut missing = Vec::new();
    if matches!(goal, Goal::Destroy | Goal::DestroyProject) {
        return Ok(secrets);
    }
    for (droplet, spec) in &manifest.droplets {
        for name in &spec.secrets {
            match std::env::var(name) {
                Ok(value) if !value.is_empty() => {
                    secrets.insert(name.clone(), Secret::new(value));
                }
                _ => missing.push(format!("{name} (of droplet.{droplet})")),
            }
        }
    }
    if missing.is_empty() {
        Ok(secrets)
    } else {
        missing.dedup();
        Err(CliError::NoSecret {
            missing: missing.join(", "),
        })
    }
}

/// Keeps other dewpoints of this folder from changing the environment meanwhile.
///
/// # Errors
/// When another one holds it for longer than `timeout`.
pub fn lock(loaded: &Loaded, timeout: Option<Seconds>) -> miette::Result<lock::Lock> {
    let folder = loaded.folder("locks")?;
    let Manifest {
        project,
        environment,
        ..
    } = &loaded.manifest;
    let path = folder.join(format!("{project}-{environment}.lock"));
    Ok(lock::acquire(&path, timeout.map(Seconds::to_std))?)
}

/// Executes an approved plan.
///
/// # Errors
/// When it cannot be started. What fails later is part of how it ended.
pub async fn execute(
    context: &Context,
    planned: Planned,
    secrets: BTreeMap<String, Secret<String>>,
) -> miette::Result<Ended> {
    let Planned {
        loaded,
        cloud,
        identity,
        live,
        plan,
    } = planned;
    let run = ulid::Ulid::generate().to_string();
    let run_folder = loaded.folder("runs")?.join(&run);
    let host_key = match &identity {
        Some(identity) => {
            Some(guest::derive_host_key(identity, &plan.project, &plan.environment).await?)
        }
        None => None,
    };
    let settings = Settings {
        client: cloud.client,
        ssh_port: cloud.ssh_port,
        identity,
        host_key,
        base: loaded.base.clone(),
        run,
        run_folder: run_folder.clone(),
        cache: loaded.folder("cache")?,
        generated_key: generated_key(&loaded),
        secrets,
        parallelism: usize::from(context.global.parallelism),
        prices: live
            .catalog
            .sizes
            .iter()
            .map(|size| (size.slug.clone(), size.price_hourly))
            .collect(),
    };
    let interrupts = Interrupts::signals().map_err(|cause| CliError::Start { cause })?;
    let outcome = execute::execute(&plan, settings, listeners(context), interrupts).await?;
    let text = outcome::render(
        &plan,
        &outcome.events,
        run_folder.as_str(),
        context.terminal.out,
    );
    let exit = match outcome.ended {
        execute::Ended::Success => Exit::Success,
        execute::Ended::RunFailed => Exit::RunFailed,
        execute::Ended::Failed => Exit::Error,
        execute::Ended::Interrupted => Exit::Interrupted,
        execute::Ended::Terminated => Exit::Terminated,
    };
    Ok(Ended { text, exit })
}

fn listeners(context: &Context) -> Vec<Box<dyn Listener>> {
    match context.global.log_format {
        LogFormat::Json => vec![Box::new(JsonLines::new(std::io::stderr()))],
        LogFormat::Text if context.global.quiet => Vec::new(),
        LogFormat::Text if context.terminal.moves => {
            vec![Box::new(Progress::new(context.terminal.err))]
        }
        LogFormat::Text => vec![Box::new(Lines::new(
            std::io::stderr(),
            context.terminal.err,
        ))],
    }
}
