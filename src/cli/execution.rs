//! From an approved plan to its end: listeners, signals, lock, secrets, the folder of the run.

use std::collections::BTreeMap;

use super::args::LogFormat;
use super::context::{Context, Loaded};
use super::error::CliError;
use super::exit::Exit;
use super::planning::{Planned, generated_key, is_generated};
use crate::address::Address;
use crate::desired;
use crate::execute::lock::Lock;
use crate::execute::{self, Ending, Interrupts, Listener, Settings, Signal};
use crate::guest;
use crate::manifest::Manifest;
use crate::plan::Goal;
use crate::report::json_lines::JsonLines;
use crate::report::junit::JUnit;
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

/// The secrets the manifest's droplets ask for, or those of them that are `chosen`, from the
/// caller's environment.
///
/// # Errors
/// When one is not set: said before anything is planned.
pub fn secrets(
    manifest: &Manifest,
    chosen: Option<&dyn Fn(&Address) -> bool>,
) -> Result<BTreeMap<String, Secret<String>>, CliError> {
    let mut secrets = BTreeMap::new();
    let mut missing = Vec::new();
    for (droplet, spec) in &manifest.droplets {
        if chosen.is_some_and(|chosen| !desired::instances(droplet, spec).iter().any(chosen)) {
            continue;
        }
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
/// When another one holds it for longer than `patience`.
pub async fn lock(loaded: &Loaded, goal: Goal, patience: Option<Seconds>) -> miette::Result<Lock> {
    let state = loaded.state()?;
    let Manifest {
        project,
        environment,
        ..
    } = &loaded.manifest;
    let command = match goal {
        Goal::Apply => "apply",
        Goal::Test => "test",
        Goal::Run => "run",
        Goal::Destroy => "destroy",
        Goal::DestroyProject => "destroy --project",
    };
    let patience = patience.map_or(std::time::Duration::ZERO, Seconds::to_std);
    Ok(Lock::acquire(&state, project, environment, command, patience).await?)
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
    let run_folder = loaded
        .folder("runs")?
        .join(ulid::Ulid::generate().to_string());
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
        generated_key: is_generated(&loaded.manifest).then(|| generated_key(&loaded)),
        base: loaded.base.clone(),
        run_folder: run_folder.clone(),
        cache: loaded.folder("cache")?,
        secrets,
        parallelism: usize::from(context.global.parallelism),
        live,
    };
    let interrupts = Interrupts::listen().map_err(|cause| CliError::Start { cause })?;
    let mut listeners = listeners(context);
    listeners.push(Box::new(JUnit::new(run_folder.clone())));
    let outcome = execute::execute(&plan, settings, listeners, interrupts).await?;
    let text = outcome::render(
        &plan,
        &outcome.events,
        outcome::View {
            palette: context.terminal.out,
            run_folder: loaded.relative(&run_folder),
            flags: &context.flags(),
        },
    );
    let exit = match outcome.ending {
        Ending::Succeeded => Exit::Success,
        Ending::RunFailed => Exit::RunFailed,
        Ending::Failed => Exit::Error,
        Ending::Interrupted(Signal::Int) => Exit::Interrupted,
        Ending::Interrupted(Signal::Term) => Exit::Terminated,
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
            Box::new(std::io::stderr()),
            context.terminal.err,
        ))],
    }
}
