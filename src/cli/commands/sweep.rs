//! `dewpoint sweep`: what has expired or was left behind in the whole account.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::apply::refuse_unsafe;
use crate::cli::args::{Global, ListFormat, Sweep as Options};
use crate::cli::context::{Context, private_folder, unmade};
use crate::cli::endpoint::{self, Cloud};
use crate::cli::error::CliError;
use crate::cli::execution::{exit_of, listeners};
use crate::cli::exit::Exit;
use crate::cli::terminal::print;
use crate::cli::waiting::waiting;
use crate::cloud;
use crate::execute::{self, Ending, Interrupts, Settings};
use crate::live::Live;
use crate::local::service;
use crate::manifest::schema::ImageSource;
use crate::plan::Durations;
use crate::plan::sweep::{self, Declared, Found, LeftAlone, Sweep};
use crate::report::{outcome, sweep_text};

/// What is printed with `--format json`.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    place: &'a str,
    at: i64,
    /// Whether what was found has been deleted: all of it or not; absent when nothing was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    found: &'a [Found],
    left: &'a [LeftAlone],
}

/// Looks at the whole account, shows what has expired or was left behind, and with `--yes` deletes
/// that.
///
/// # Errors
/// When the account cannot be read, or deleting cannot be started. What fails later is reported and
/// becomes the exit code.
pub async fn run(context: &Context, options: &Options) -> miette::Result<Exit> {
    let declared = declared(context, options)?;
    let opening = endpoint::open(&context.global);
    let cloud = waiting(context, "the local cloud to start", opening).await?;
    let observing = cloud::observe_account(&cloud.client);
    let what = format!("an answer from {}", cloud.endpoint);
    let account = waiting(context, &what, observing).await?;
    let now = jiff::Timestamp::now().as_second();
    let swept = sweep::sweep(&account, declared.as_ref(), now)?;
    refuse_unsafe(&swept.plan, &account.live)?;
    tracing::info!("{} calls to the API", cloud.client.calls());

    let json = options.format == ListFormat::Json;
    let is_told = !(json || options.yes && context.global.quiet);
    if is_told {
        print(&text(context, options, &swept, &cloud, now))?;
    }
    let document = |deleted| Document {
        version: 1,
        place: &cloud.endpoint,
        at: now,
        deleted,
        found: &swept.found,
        left: &swept.left,
    };
    if !options.yes || swept.found.is_empty() {
        if json {
            print_document(&document(None))?;
        }
        return Ok(if swept.found.is_empty() {
            Exit::Success
        } else {
            Exit::Changes
        });
    }
    let (ending, told) = delete(context, &cloud, &swept, account.live).await?;
    if json {
        print_document(&document(Some(ending == Ending::Succeeded)))?;
    } else {
        print(&told)?;
    }
    Ok(exit_of(ending))
}

fn print_document(document: &Document<'_>) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(document).expect("what was found is plain data");
    text.push('\n');
    print(&text)
}

fn text(context: &Context, options: &Options, swept: &Sweep, cloud: &Cloud, now: i64) -> String {
    let mut next = "dewpoint sweep --yes".to_owned();
    if options.snapshots {
        next.push_str(" --snapshots");
        for manifest in manifests(&context.global, options) {
            next.push_str(" --manifest ");
            next.push_str(&crate::guest::quote(manifest.as_str()));
        }
    }
    if context.global.local {
        next.push_str(" --local");
    }
    let view = sweep_text::View {
        palette: context.terminal.out,
        place: &cloud.endpoint,
        now,
        next: (!options.yes).then_some(next.as_str()),
        width: context
            .terminal
            .out_folds
            .then_some(context.terminal.width()),
    };
    sweep_text::render(swept, view)
}

/// Manifests whose snapshots are to stay.
fn manifests(global: &Global, options: &Options) -> Vec<Utf8PathBuf> {
    let mut manifests = options.manifests.clone();
    if global.file != "dewpoint.yaml" {
        manifests.insert(0, global.file.clone());
    }
    manifests
}

/// What manifests say of snapshots, when those that none speaks of are asked for.
fn declared(context: &Context, options: &Options) -> miette::Result<Option<Declared>> {
    if !options.snapshots {
        return Ok(None);
    }
    let manifests = manifests(&context.global, options);
    if manifests.is_empty() {
        return Err(CliError::NoManifestForSnapshots.into());
    }
    let mut declared = Declared::default();
    for file in manifests {
        let context = Context {
            global: Global {
                file,
                // Whichever environment: snapshots are the project's.
                environment: None,
                ..context.global.clone()
            },
            terminal: context.terminal,
        };
        let manifest = context.load()?.manifest;
        let scope = crate::desired::scope(&manifest);
        let snapshots = declared.snapshots.entry(scope.project).or_default();
        snapshots.extend(scope.snapshots);
        let images = manifest.snapshots.values().map(|snapshot| &snapshot.from);
        let images = images.chain(manifest.droplets.values().map(|droplet| &droplet.image));
        declared
            .images
            .extend(images.filter_map(|image| match image {
                ImageSource::Id(id) => Some(*id),
                ImageSource::Slug(_) | ImageSource::Snapshot(_) => None,
            }));
    }
    Ok(Some(declared))
}

/// Deletes what was found. The journal lies in the user's state folder: a sweep belongs to no
/// manifest.
async fn delete(
    context: &Context,
    cloud: &Cloud,
    swept: &Sweep,
    live: Live,
) -> miette::Result<(Ending, String)> {
    let state = service::default_folder()?;
    let sweeps = state.parent().unwrap_or(&state).join("sweeps");
    private_folder(sweeps.as_std_path()).map_err(unmade(&sweeps))?;
    let run_folder = sweeps.join(ulid::Ulid::generate().to_string());
    let settings = Settings {
        client: cloud.client.clone(),
        ssh_port: cloud.ssh_port,
        identity: None,
        host_key: None,
        generated_key: None,
        base: sweeps.clone(),
        run_folder: run_folder.clone(),
        cache: sweeps.join("cache"),
        secrets: BTreeMap::new(),
        lease: None,
        project: None,
        hold_patience: std::time::Duration::ZERO,
        sources: BTreeMap::new(),
        parallelism: usize::from(context.global.parallelism),
        durations: Durations::usual(cloud.pace),
        live,
    };
    let interrupts = Interrupts::listen().map_err(|cause| CliError::Start { cause })?;
    let outcome = execute::execute(&swept.plan, settings, listeners(context), interrupts).await?;
    let flags = if context.global.local { " --local" } else { "" };
    let told = outcome::render(
        &swept.plan,
        &outcome.events,
        outcome::View {
            palette: context.terminal.out,
            run_folder: Utf8Path::as_str(&run_folder),
            flags,
            width: context
                .terminal
                .out_folds
                .then_some(context.terminal.width()),
        },
    );
    Ok((outcome.ending, told))
}
