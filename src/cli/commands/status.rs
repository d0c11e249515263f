//! `dewpoint status`: what there is, what it costs, how it differs, what ran last.

use std::fmt::Write as _;

use crate::cli::applied::Record;
use crate::cli::args::{ListFormat, Status as Options};
use crate::cli::context::{Context, Loaded};
use crate::cli::exit::Exit;
use crate::cli::planning;
use crate::cli::team;
use crate::cli::terminal::{print, tell};
use crate::desired;
use crate::execute::history::PastRun;
use crate::plan;
use crate::report::status::{self, Status};
use crate::report::{fold, history};

/// The last runs of the environment: here, or of the team. A store that cannot be read is no reason not
/// to show the rest.
async fn latest(options: &Options, loaded: &Loaded) -> miette::Result<Vec<PastRun>> {
    let Some(team) = team::open(&options.storing, loaded)? else {
        return super::history::latest(loaded, RUNS);
    };
    let environment = &loaded.manifest.environment;
    let listed = team.list(Some(environment), RUNS, jiff::Timestamp::now());
    match listed.await {
        Ok(runs) => Ok(runs),
        Err(error) => {
            tell(&format!("note: the last runs are not known: {error}"));
            Ok(Vec::new())
        }
    }
}

/// How many past runs are listed.
const RUNS: usize = 3;

/// Shows what there is of the environment.
///
/// # Errors
/// When the account cannot be read.
pub async fn run(context: &Context, options: &Options) -> miette::Result<Exit> {
    let loaded = context.load()?;
    let now = jiff::Timestamp::now().as_second();
    let runs = latest(options, &loaded).await?;
    let seen = planning::look(context, &loaded).await?;
    let scope = desired::scope(&loaded.manifest);
    let plan = match (&seen.desired, &seen.identity) {
        (Err(error), _) => Err(format!(
            "how it differs from the manifest is not known: {error}"
        )),
        // Without the key every droplet would look as if it had been made with another.
        (Ok(_), None) if !seen.live.droplets.is_empty() => Err(
            "how it differs from the manifest is not known: the environment's SSH key is not on this machine"
                .to_owned(),
        ),
        (Ok(desired), _) => plan::plan(desired, &seen.live, &plan::Options::default(), now)
            .map_err(|refused| {
                let reasons: Vec<String> =
                    refused.refusals.iter().map(ToString::to_string).collect();
                format!("the next plan is refused: {}", reasons.join("; "))
            }),
    };
    let mut found = Status::of(&scope, &seen.live, plan.as_ref().map_err(Clone::clone), now);
    if let Some(applied) = Record::of(&loaded, &seen.cloud).realised(&seen.live.account.id) {
        // It tells a change by hand from an edit of the manifest.
        found.drift = status::drift(&plan::drift::drift(&applied, &seen.live, now));
    }
    if options.format == ListFormat::Json {
        let mut value = serde_json::to_value(&found).expect("a status is plain data");
        value["runs"] = runs.iter().map(history::value).collect();
        let mut text = serde_json::to_string_pretty(&value).expect("plain data");
        text.push('\n');
        print(&text)?;
        return Ok(Exit::Success);
    }
    let palette = context.terminal.out;
    let mut text = status::render(
        &found,
        status::View {
            palette,
            place: &seen.cloud.endpoint,
            width: if context.terminal.out_folds {
                context.terminal.width()
            } else {
                usize::MAX
            },
            flags: &context.flags(),
        },
    );
    if !runs.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\nLast runs:");
        for line in history::list(&runs, palette).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    print(&if context.terminal.out_folds {
        fold::fold(&text, context.terminal.width())
    } else {
        text
    })?;
    Ok(Exit::Success)
}
