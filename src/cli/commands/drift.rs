//! `plan --refresh-only`: what is no longer as it was applied, and nothing else.

use std::collections::BTreeSet;

use crate::cli::applied::{Applied, Outcome, Record};
use crate::cli::args::{Plan as Options, PlanFormat};
use crate::cli::context::{Context, Loaded};
use crate::cli::endpoint;
use crate::cli::exit::Exit;
use crate::cli::planning;
use crate::cli::terminal::print;
use crate::cli::waiting::waiting;
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
    let opening = endpoint::open(&context.global);
    let cloud = waiting(context, "the local cloud to start", opening).await?;
    let record = Record::of(&loaded, &cloud).read();
    let mut told = None;
    if let Some(Applied {
        outcome: Outcome::Realised(applied),
        account,
        at,
        ..
    }) = &record
    {
        let mut live = planning::look_at_applied(context, &loaded, &cloud, applied).await?;
        // Another token's account is another one, of which nothing is known.
        if live.account.id == *account {
            let drift = find(&cloud.client, &loaded, applied, &mut live, now).await?;
            told = Some((ComparedWith::Applied { at: *at }, drift));
        }
    }
    let (compared_with, drift) = match told {
        Some(told) => told,
        None => {
            let wishes = planning::Wishes::default();
            let goal = plan::Goal::Apply;
            let planned = planning::make(context, loaded.clone(), goal, wishes).await?;
            let ours = record.filter(|applied| applied.account == planned.live.account.id);
            let why = match ours.map(|applied| applied.outcome) {
                None => Unknown::Never,
                Some(Outcome::Realised(_) | Outcome::Unfinished) => Unknown::Unfinished,
                Some(Outcome::Emptied) => Unknown::Emptied,
            };
            let drift = plan::drift::certain(&planned.plan);
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
    let place = &cloud.place;
    let flags = context.flags();
    print(&match options.format {
        PlanFormat::Json => report::json(&found),
        PlanFormat::Markdown => report::markdown(&found, place, MOST_BYTES),
        PlanFormat::Text => {
            let text = report::render(&found, context.terminal.out, place, &flags);
            if context.terminal.out_folds {
                fold::fold(&text, context.terminal.width())
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
