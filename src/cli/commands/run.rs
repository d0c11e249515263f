//! `dewpoint run`: source and run steps on droplets that are up, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::args::{Locking, LogFormat, Run, Storing, shared_flags};
use crate::cli::context::{Context, Loaded};
use crate::cli::error::CliError;
use crate::cli::execution;
use crate::cli::exit::Exit;
use crate::cli::locks::{self, Locks};
use crate::cli::planning;
use crate::cli::terminal::{Terminal, print, tell};
use crate::cli::watch::Watch;
use crate::desired;
use crate::guest::quote;
use crate::plan::{Goal, Selection};
use crate::report::hints::{Flags, Given, Next};
use crate::secret::Secret;

/// Brings the source to the chosen droplets and runs their steps; once, or on every save.
///
/// # Errors
/// When nothing is chosen, a droplet is not up, or it cannot be started. What fails later is
/// reported and becomes the exit code.
pub async fn run(context: &Context, options: &Run) -> miette::Result<Exit> {
    if options.watch {
        again_and_again(context, options).await
    } else {
        once(context, options).await
    }
}

/// The same on all droplets, on every save.
///
/// # Errors
/// As [`run`].
pub async fn watch_all(
    context: &Context,
    locking: &Locking,
    storing: &Storing,
) -> miette::Result<Exit> {
    let options = Run {
        address: "droplet.*".to_owned(),
        step: None,
        watch: true,
        locking: locking.clone(),
        storing: storing.clone(),
    };
    run(context, &options).await
}

async fn again_and_again(given: &Context, options: &Run) -> miette::Result<Exit> {
    let tells = !given.global.quiet && given.global.log_format == LogFormat::Text;
    let context = &Context {
        global: given.global.clone(),
        terminal: Terminal {
            retells: !tells,
            ..given.terminal
        },
    };
    let loaded = context.load()?;
    let folders = sources(&loaded, options);
    let manifest = context.global.file.clone();
    if manifest == "-" {
        return Err(CliError::NothingToWatch.into());
    }
    let mut watch = Watch::new(manifest, folders)?;
    // The first time, whatever is wrong is wrong with the command; later, with what was saved.
    let mut last = once(context, options).await?;
    let mut signals = Signals::listen()?;
    loop {
        if last.is_interrupt() {
            return Ok(last);
        }
        tell("\nwaiting for a save; Ctrl-C ends");
        tokio::select! {
            changed = watch.changed() => changed?,
            () = signals.any() => return Ok(last),
        }
        last = match once(context, options).await {
            Ok(exit) => exit,
            Err(report) => {
                tell(&format!("{report:?}"));
                Exit::Error
            }
        };
    }
}

/// Folders that the chosen droplets have their source from.
fn sources(loaded: &Loaded, options: &Run) -> Vec<Utf8PathBuf> {
    let droplets = loaded.manifest.droplets.iter();
    let chosen = droplets.filter(|(name, droplet)| {
        let instances = desired::instances(name, droplet);
        instances
            .iter()
            .any(|address| address.matches(&options.address))
    });
    let folders: BTreeSet<Utf8PathBuf> = chosen
        .filter_map(|(_, droplet)| Some(loaded.base.join(droplet.source.as_ref()?.path.as_ref()?)))
        .collect();
    folders.into_iter().collect()
}

/// Signals that ask for an end. One that comes during a run, which has handlers of its own, is not
/// lost: it ends what follows the run.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let of = |kind| signal(kind).map_err(|cause| CliError::Start { cause });
        Ok(Self([
            of(SignalKind::interrupt())?,
            of(SignalKind::terminate())?,
            of(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn once(context: &Context, options: &Run) -> miette::Result<Exit> {
    let loaded = context.load()?;
    let chosen = |address: &crate::address::Address| address.matches(&options.address);
    let secrets = execution::secrets(&loaded.manifest, Some(&chosen))?;
    let locks = locks::take(
        context,
        &loaded,
        locks::name_of(Goal::Run),
        &options.locking,
        Some(&options.storing),
    )
    .await?;
    let done = run_locked(context, options, loaded.clone(), secrets, &locks).await;
    locks.release(context, &loaded, &done).await;
    done
}

async fn run_locked(
    context: &Context,
    options: &Run,
    loaded: Loaded,
    secrets: BTreeMap<String, Secret<String>>,
    locks: &Locks,
) -> miette::Result<Exit> {
    let selection = Selection {
        address: options.address.clone(),
        step: options.step.clone(),
    };
    let planned = planning::make_run(context, loaded, &selection).await?;
    super::apply::refuse_without_guests(&planned)?;
    if !planned.plan.has_steps() {
        tell("nothing to run: the droplet has no source and no run steps");
        return Ok(Exit::Success);
    }
    let mut again = format!("run {}", quote(&options.address));
    if let Some(step) = &options.step {
        again.push_str(&format!(" {}", quote(step)));
    }
    let next = Next {
        flags: context.flags(),
        shared: shared_flags(&options.locking, &options.storing),
        given: Given::Command {
            text: again,
            until_made: Flags::default(),
            is_part: false,
        },
    };
    let ended = execution::execute(context, planned, secrets, Duration::ZERO, locks, &next).await?;
    print(&ended.text)?;
    Ok(ended.exit)
}
