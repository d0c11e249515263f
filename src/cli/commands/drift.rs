//! `plan --refresh-only`: what is no longer as it was applied, and nothing else.

use std::collections::BTreeSet;

use crate::cli::applied::{Outcome, Record};
use crate::cli::args::{Plan as Options, PlanFormat};
use crate::cli::context::{Context, Loaded};
use crate::cli::exit::Exit;
use crate::cli::planning;
use crate::cli::terminal::print;
use crate::cloud::Client;
use crate::desired::Desired;
use crate::live::Live;
use crate::live::ownership::Owner;
use crate::plan::{self, Drift, DriftKind};
use crate::report::drift::{self as report, ComparedWith, Document, Unknown};
use crate::report::fold;
use crate::report::markdown::MOST_BYTES;

/// Shows drift.
///
/// # Errors
/// When the account cannot be read, or, where nothing tells what was applied, no plan can be made.
pub async fn run(context: &Context, options: &Options) -> miette::Result<Exit> {
    let loaded = context.load()?;
    let now = jiff::Timestamp::now().as_second();
    let mut seen = planning::look_for_drift(context, &loaded).await?;
    let (compared_with, drift) = match seen.applied.take() {
        Some((applied, at)) => {
            let client = &seen.cloud.client;
            let drift = find(client, &loaded, &applied, &mut seen.live, now).await?;
            (ComparedWith::Applied { at }, drift)
        }
        None => {
            let why = match Record::of(&loaded, &seen.cloud).read() {
                Some(applied) if applied.account == seen.live.account.id => match applied.outcome {
                    Outcome::Realised(_) | Outcome::Unfinished => Unknown::Unfinished,
                    Outcome::Emptied => Unknown::Emptied,
                },
                _ => Unknown::Never,
            };
            let plan = planning::make(
                context,
                loaded.clone(),
                plan::Goal::Apply,
                planning::Wishes::default(),
            );
            let drift = plan::drift::certain(&plan.await?.plan);
            (ComparedWith::Manifest { why }, drift)
        }
    };
    let found = Document {
        version: 1,
        project: loaded.manifest.project.clone(),
        environment: loaded.manifest.environment.clone(),
        region: loaded.manifest.region.clone(),
        compared_with,
        drift,
    };
    let place = &seen.cloud.place;
    let flags = context.flags();
    print(&match options.format {
        PlanFormat::Json => report::json(&found),
        PlanFormat::Markdown => report::markdown(&found, place, MOST_BYTES),
        PlanFormat::Text => {
            let text = report::render(&found, context.terminal.out, place, &flags);
            if context.terminal.out_folds {
                fold::fold(&text, context.terminal.width)
            } else {
                text
            }
        }
    })?;
    Ok(if options.detailed_exitcode && !found.drift.is_empty() {
        Exit::Changes
    } else {
        Exit::Success
    })
}

/// What differs from what was applied. A droplet that is not found by its tag is looked for by its
/// name: it may only have lost the tag.
async fn find(
    client: &Client,
    loaded: &Loaded,
    applied: &Desired,
    live: &mut Live,
    now: i64,
) -> miette::Result<Vec<Drift>> {
    let found = plan::drift::drift(applied, live, now);
    let gone = found.iter().filter(|drift| {
        drift.kind == DriftKind::Gone
            && matches!(drift.address, crate::address::Address::Droplet { .. })
    });
    let names: BTreeSet<&str> = gone.map(|drift| drift.name.as_str()).collect();
    let owner = Owner::new(&loaded.manifest.project, &loaded.manifest.environment);
    if !names.is_empty() && client.look_up_lost(&owner, &names, live).await? {
        return Ok(plan::drift::drift(applied, live, now));
    }
    Ok(found)
}
