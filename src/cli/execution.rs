//! From an approved plan to its end: listeners, signals, lock, secrets, the folder of the run.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;

use super::applied::{self, Outcome, Record};
use super::args::LogFormat;
use super::context::Context;
use super::durations;
use super::env_vars;
use super::error::CliError;
use super::exit::Exit;
use super::locks::Locks;
use super::plan_file::{self, FromFile};
use super::planning::{Planned, generated_key, is_generated};
use crate::address::Address;
use crate::desired;
use crate::execute::{self, Ending, Interrupts, Listener, Settings, Signal};
use crate::guest;
use crate::manifest::Manifest;
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::Goal;
use crate::report::json_lines::JsonLines;
use crate::report::junit::{self, JUnit};
use crate::report::lines::Lines;
use crate::report::outcome;
use crate::report::progress::Progress;
use crate::secret::Secret;

/// How an execution ended.
#[derive(Debug)]
pub struct Ended {
    /// What is said in the end.
    pub text: String,
    /// How the program ends.
    pub exit: Exit,
}

/// Shorter values are part of ordinary words and numbers: hiding them would mangle all output.
const SHORTEST_SECRET: usize = 6;

/// Names of the manifest's secrets that the caller's environment does not set, each with whose it
/// is.
#[must_use]
pub fn unset_secrets(manifest: &Manifest) -> Vec<String> {
    let mut unset = Vec::new();
    for (droplet, spec) in &manifest.droplets {
        for name in &spec.secrets {
            if std::env::var_os(name).is_none_or(|value| value.is_empty()) {
                unset.push(format!("{name} (of droplet.{droplet})"));
            }
        }
    }
    unset
}

/// Refuses secrets that cannot be hidden.
fn refuse_short(secrets: &BTreeMap<String, Secret<String>>) -> Result<(), CliError> {
    let names: Vec<&str> = secrets
        .iter()
        // Exposed to be measured.
        .filter(|(_, value)| value.expose().trim().chars().count() < SHORTEST_SECRET)
        .map(|(name, _)| name.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(CliError::ShortSecret {
        names: names.join(", "),
        least: SHORTEST_SECRET,
    })
}

/// The secrets the manifest's droplets ask for, or those of them that are `chosen`, from the
/// caller's environment.
///
/// # Errors
/// When one is not set, or too short to be hidden: said before anything is planned.
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
        refuse_short(&secrets)?;
        Ok(secrets)
    } else {
        missing.dedup();
        Err(CliError::NoSecret {
            missing: missing.join(", "),
        })
    }
}

/// Executes an approved plan. A volume that another environment has got hold of since it was made is
/// waited for as long as `hold_patience`.
///
/// # Errors
/// When it cannot be started. What fails later is part of how it ended.
pub async fn execute(
    context: &Context,
    planned: Planned,
    secrets: BTreeMap<String, Secret<String>>,
    hold_patience: Duration,
    locks: &Locks,
) -> miette::Result<Ended> {
    execute_from(context, planned, secrets, hold_patience, locks, None).await
}

/// Executes an approved plan that may come out of a file: then the history says so.
///
/// # Errors
/// When it cannot be started. What fails later is part of how it ended.
pub async fn execute_from(
    context: &Context,
    planned: Planned,
    secrets: BTreeMap<String, Secret<String>>,
    hold_patience: Duration,
    locks: &Locks,
    from: Option<FromFile>,
) -> miette::Result<Ended> {
    let lease = locks.lease();
    if let Some(lease) = &lease {
        // It may have been a long time until the plan was approved.
        lease.check()?;
    }
    let Planned {
        loaded,
        cloud,
        identity,
        live,
        desired,
        plan,
    } = planned;
    let record = Record::of(&loaded, &cloud);
    let account = live.account.id.clone();
    let now = Timestamp::now();
    // Only an apply leaves what is declared: for all else there is nothing to compare.
    let realised = desired
        .filter(|_| plan.goal == Goal::Apply)
        .and_then(|desired| applied::whole(&plan, desired, &live, now.as_second()));
    let run_folder = loaded
        .folder("runs")?
        .join(ulid::Ulid::generate().to_string());
    let host_key = match &identity {
        Some(identity) => {
            match guest::derive_host_key(identity, &plan.project, &plan.environment).await {
                Ok(key) => Some(key),
                // Needed only to log in to droplets that are checked by it, and to make such; a
                // destroy does without, only less gently.
                Err(error) if !needs_host_key(&loaded.manifest, plan.goal) => {
                    tracing::info!(%error, "going on without the environment's host key");
                    None
                }
                Err(error) => return Err(error.into()),
            }
        }
        None => None,
    };
    let sources = match from {
        Some(FromFile { digest, sources }) => {
            plan_file::note_applied(&run_folder, &digest)?;
            sources
        }
        None => BTreeMap::new(),
    };
    durations::teach(&loaded, &cloud, &plan.region);
    let interrupts = Interrupts::listen().map_err(|cause| CliError::Start { cause })?;
    let cache = loaded.folder("cache")?;
    let (right, until) = locks.making().for_steps(&loaded, &plan).await;
    let client = cloud.client.clone();
    let settings = Settings {
        sources,
        durations: durations::known(&loaded, &cloud, &plan.region),
        client: cloud.client,
        ssh_port: cloud.ssh_port,
        identity,
        host_key,
        generated_key: is_generated(&loaded.manifest).then(|| generated_key(&loaded)),
        base: loaded.base.clone(),
        run_folder: run_folder.clone(),
        cache,
        secrets,
        lease,
        project: Some(right),
        hold_patience,
        parallelism: usize::from(context.global.parallelism),
        live,
    };
    let mut listeners = listeners(context);
    listeners.push(until.listener());
    let junit = JUnit::new(run_folder.clone());
    let no_junit = junit.unwritten();
    listeners.push(Box::new(junit));
    let mut unwritten = Vec::new();
    let after = applied::after(plan.goal, realised);
    if after.is_some() {
        // From here on what there is lies between two states.
        let kept = record.write(Outcome::Unfinished, &account, now);
        unwritten.extend(kept.err().map(|cause| (record.path().to_owned(), cause)));
    }
    if let Some(recorder) = locks.recorder() {
        recorder.begin(&plan, &run_folder);
    }
    let outcome = execute::execute(&plan, settings, listeners, interrupts).await;
    until.end().await;
    let outcome = outcome?;
    if let (Some(after), Ending::Succeeded | Ending::RunFailed) = (after, outcome.ending) {
        let kept = record.write(after, &account, Timestamp::now());
        unwritten.extend(kept.err().map(|cause| (record.path().to_owned(), cause)));
    }
    let waited = client.waited();
    let kept = durations::keep(&run_folder, &cloud.history, &plan, &outcome.events, waited);
    let place = |name: &str| run_folder.join(name);
    unwritten.extend(kept.err().map(|cause| (place(durations::FILE), cause)));
    let no_junit = no_junit
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    unwritten.extend(no_junit.map(|cause| (place(junit::FILE), cause)));
    let mut text = outcome::render(
        &plan,
        &outcome.events,
        outcome::View {
            palette: context.terminal.out,
            run_folder: loaded.relative(&run_folder),
            flags: &context.flags(),
            width: context
                .terminal
                .out_folds
                .then_some(context.terminal.width()),
        },
    );
    // They are about the run: without them it is what it is.
    for (path, cause) in unwritten {
        text.push_str(&format!(
            "Cannot write {}: {cause}\n",
            loaded.relative(&path)
        ));
    }
    let exit = exit_of(outcome.ending);
    Ok(Ended { text, exit })
}

/// How the program ends after a run that ended so.
#[must_use]
pub(super) const fn exit_of(ending: Ending) -> Exit {
    match ending {
        Ending::Succeeded => Exit::Success,
        Ending::RunFailed => Exit::RunFailed,
        Ending::Failed => Exit::Error,
        Ending::Interrupted(Signal::Int) => Exit::Interrupted,
        Ending::Interrupted(Signal::Term) => Exit::Terminated,
        Ending::Interrupted(Signal::Hup) => Exit::HungUp,
    }
}

/// Whether a plan cannot be carried out without the environment's host key.
fn needs_host_key(manifest: &Manifest, goal: Goal) -> bool {
    matches!(goal, Goal::Apply | Goal::Test) && manifest.ssh.host_key == HostKeyPolicy::Derived
}

/// Who hears of a run's events.
pub(super) fn listeners(context: &Context) -> Vec<Box<dyn Listener>> {
    match context.global.log_format {
        LogFormat::Json => vec![Box::new(JsonLines::new(std::io::stderr()))],
        LogFormat::Text if context.global.quiet => Vec::new(),
        LogFormat::Text if context.terminal.moves => {
            vec![Box::new(Progress::new(context.terminal.err))]
        }
        LogFormat::Text => {
            let is_actions = std::env::var_os(env_vars::GITHUB_ACTIONS)
                .is_some_and(|value| value == "true")
                && !context.global.plain;
            let lines = if is_actions {
                Lines::for_actions
            } else {
                Lines::new
            };
            vec![Box::new(lines(
                Box::new(std::io::stderr()),
                context.terminal.err,
            ))]
        }
    }
}
