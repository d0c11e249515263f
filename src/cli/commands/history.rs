//! `history` and `logs`: past runs, and what they said.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::sleep;

use crate::address::Address;
use crate::cli::args::{History, Logs, OutputFormat};
use crate::cli::context::{Context, Loaded};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::few::few;
use crate::cli::team::{self, FAR_PAUSE, Source};
use crate::cli::terminal::{print, tell};
use crate::cli::waiting::waiting;
use crate::desired::meant;
use crate::execute::history::{self, How, PastRun, PastStep};
use crate::execute::lock;
use crate::guest::quote;
use crate::manifest::nearest;
use crate::report::history as report;
use crate::seemly;

/// How often a run that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// Lists past runs of the manifest's folder, or of the team's store, newest first.
///
/// # Errors
/// When the folder or the store cannot be read.
pub async fn list(context: &Context, options: &History) -> miette::Result<Exit> {
    let loaded = context.load_to_look()?;
    let runs = match team::open(&options.storing, &loaded)? {
        Some(team) if options.push => return team::push(context, &loaded, &team).await,
        Some(team) => {
            let environment = (!options.all).then_some(loaded.manifest.environment.as_str());
            let now = jiff::Timestamp::now();
            let listing = team.list(environment, options.limit, now);
            waiting(context, team.address(), listing).await?
        }
        None if options.push => return Err(CliError::NoStore.into()),
        None => runs_here(&loaded, options)?,
    };
    print(&match options.format {
        OutputFormat::Json => report::json(&runs),
        OutputFormat::Text => context.terminal.fit(report::list(
            &runs,
            &loaded.manifest.project,
            context.terminal.out,
        )),
    })?;
    Ok(Exit::Success)
}

fn runs_here(loaded: &Loaded, options: &History) -> miette::Result<Vec<PastRun>> {
    let project = &loaded.manifest.project;
    let mut runs = Vec::new();
    for id in history::ids(&loaded.looked_at("runs"))? {
        if runs.len() == options.limit {
            break;
        }
        let run = read(loaded, &id);
        let is_other = run.goal.is_some()
            && !options.all
            && (run.project != *project || run.environment != loaded.manifest.environment);
        if !is_other {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Past runs of the environment, newest first: at most so many.
pub(super) fn latest(loaded: &Loaded, most: usize) -> miette::Result<Vec<PastRun>> {
    let runs = history::ids(&loaded.looked_at("runs"))?;
    let runs = runs.iter().map(|id| read(loaded, id));
    let ours = runs.filter(|run| {
        run.project == loaded.manifest.project && run.environment == loaded.manifest.environment
    });
    Ok(ours.take(most).collect())
}

/// A run, and whether it goes on.
pub(crate) fn read(loaded: &Loaded, id: &str) -> PastRun {
    let state = loaded.looked_at("");
    let run = history::read(&loaded.looked_at("runs"), id, |project, environment| {
        lock::held(&state, project, environment).is_some()
    });
    if run.how == How::Running && !is_newest(loaded, &run) {
        // The lock is a later one's: an environment has one run at a time.
        return history::read(&loaded.looked_at("runs"), id, |_, _| false);
    }
    until_now(run, Timestamp::now())
}

/// Of a run that goes on, how long it has done so: its last event may be long ago.
fn until_now(mut run: PastRun, now: Timestamp) -> PastRun {
    if let (How::Running, Some(began)) = (run.how, run.began) {
        let since = now.as_millisecond() - began.as_millisecond();
        run.took_ms = run.took_ms.max(u64::try_from(since).unwrap_or(0));
    }
    run
}

/// Whether no later run of the same environment was begun.
fn is_newest(loaded: &Loaded, run: &PastRun) -> bool {
    let runs = loaded.looked_at("runs");
    let later = history::ids(&runs).unwrap_or_default();
    let mut later = later.iter().take_while(|id| **id > run.id);
    !later.any(|id| {
        let other = history::read(&runs, id, |_, _| false);
        (&other.project, &other.environment) == (&run.project, &run.environment)
    })
}

/// Shows what a run said; of one that goes on, until it ends.
///
/// # Errors
/// When there is no such run, nothing was said by what is asked for, or a log cannot be read.
pub async fn logs(context: &Context, options: &Logs) -> miette::Result<Exit> {
    let loaded = context.load_to_look()?;
    let source = Source::of(&options.storing, &loaded)?;
    let run = source.find(&loaded, options.run.as_ref()).await?;
    if let Some(problem) = &run.problem {
        tell(&format!("note: {problem}"));
    }
    if options.follow {
        follow(&loaded, &source, options, run).await?;
        return Ok(Exit::Success);
    }
    let chosen: Vec<&PastStep> = chosen(&run, options).collect();
    if chosen.is_empty() {
        return Err(CliError::NoSteps {
            run: run.id.clone(),
            hint: hint(&run, options),
        }
        .into());
    }
    let said: Vec<(&PastStep, String)> = chosen
        .into_iter()
        .filter_map(|step| Some((step, step.log.as_ref().filter(|log| log.exists())?)))
        .map(|(step, log)| {
            let bytes = std::fs::read(log).map_err(|cause| CliError::Read {
                path: log.to_string(),
                cause,
            })?;
            Ok((step, String::from_utf8_lossy(&bytes).into_owned()))
        })
        .collect::<Result<_, CliError>>()?;
    if options.format == OutputFormat::Json {
        let logs: Vec<_> = said
            .iter()
            .map(|(step, text)| {
                let mut value = report::step_value(step);
                value["lines"] = json!(text.lines().collect::<Vec<_>>());
                value
            })
            .collect();
        let document = json!({ "run": report::value(&run), "logs": logs });
        let mut text = serde_json::to_string_pretty(&document).expect("plain data");
        text.push('\n');
        print(&text)?;
        return Ok(Exit::Success);
    }
    let palette = context.terminal.out;
    if !context.global.quiet {
        tell(&report::line(&run, context.terminal.err));
    }
    if said.is_empty() {
        tell("it said nothing");
    }
    let is_one = said.len() == 1;
    for (position, (step, text)) in said.iter().enumerate() {
        let mut out = String::new();
        if !is_one {
            if position > 0 {
                out.push('\n');
            }
            out.push_str(&report::heading(step, palette));
            out.push('\n');
        }
        for line in text.lines() {
            out.push_str(&seemly::line(line));
            out.push('\n');
        }
        print(&out)?;
    }
    Ok(Exit::Success)
}

/// Steps that the options ask for.
fn chosen<'a>(run: &'a PastRun, options: &'a Logs) -> impl Iterator<Item = &'a PastStep> {
    run.steps.iter().filter(|step| {
        let droplet = options.droplet.as_deref();
        let name = options.step.as_deref();
        droplet.is_none_or(|pattern| step.address.matches(pattern))
            && name.is_none_or(|name| step.name.as_deref() == Some(name) || step.title == name)
    })
}

/// What could have been asked for: droplets where none of the run has that address, else steps.
fn hint(run: &PastRun, options: &Logs) -> String {
    let mut addresses: Vec<Address> = Vec::new();
    for step in &run.steps {
        if !addresses.contains(&step.address) {
            addresses.push(step.address.clone());
        }
    }
    if addresses.is_empty() {
        return "it began no step".to_owned();
    }
    let droplet = options.droplet.as_deref();
    let is_there = |pattern| addresses.iter().any(|address| address.matches(pattern));
    if let Some(given) = droplet.filter(|pattern| !is_there(pattern)) {
        let is_droplet = |address: &Address| matches!(address, Address::Droplet { .. });
        if addresses.iter().any(is_droplet) {
            addresses.retain(is_droplet);
        }
        return match meant(given, &addresses) {
            Some(meant) => format!("did you mean `--droplet {}`?", quote(&meant.to_string())),
            None => format!("it has: {}", few(&addresses)),
        };
    }
    let mut names: Vec<&str> = Vec::new();
    for step in &run.steps {
        let name = step.name.as_deref().unwrap_or(&step.title);
        if droplet.is_none_or(|pattern| step.address.matches(pattern)) && !names.contains(&name) {
            names.push(name);
        }
    }
    let near = options.step.as_deref();
    match near.and_then(|given| nearest(given, names.iter().copied())) {
        Some(meant) => format!("did you mean `--step {}`?", quote(meant)),
        None => format!("its steps: {}", few(&names)),
    }
}

/// The run that is meant: the newest, or the one whose id is, begins or ends like that.
pub(crate) fn find(loaded: &Loaded, given: Option<&String>) -> miette::Result<String> {
    let Some(given) = given else {
        let newest = latest(loaded, 1)?.into_iter().next();
        return match newest {
            Some(run) => Ok(run.id),
            None => Err(CliError::NoRuns.into()),
        };
    };
    let wanted = given.to_ascii_uppercase();
    let found: Vec<String> = history::ids(&loaded.looked_at("runs"))?
        .into_iter()
        .filter(|id| id.starts_with(&wanted) || id.ends_with(&wanted))
        .collect();
    match <[String; 1]>::try_from(found) {
        Ok([id]) => Ok(id),
        Err(several) => Err(CliError::NoRun {
            given: given.clone(),
            found: several.len(),
        }
        .into()),
    }
}

/// Shows lines as they come, until the run ends.
async fn follow(
    loaded: &Loaded,
    source: &Source,
    options: &Logs,
    mut run: PastRun,
) -> miette::Result<()> {
    let mut read_to: BTreeMap<Utf8PathBuf, u64> = BTreeMap::new();
    loop {
        let goes_on = run.how == How::Running;
        for step in chosen(&run, options) {
            let Some(log) = &step.log else { continue };
            let name = step.name.as_ref().unwrap_or(&step.title);
            let offset = read_to.entry(log.clone()).or_default();
            let text = new_lines(log, offset, !goes_on).map_err(|cause| CliError::Read {
                path: log.to_string(),
                cause,
            })?;
            let lines = text
                .iter()
                .map(|line| format!("{} {name} | {}\n", step.address, seemly::line(line)));
            print(&lines.collect::<String>())?;
        }
        if !goes_on {
            break;
        }
        sleep(match source {
            Source::Here => PAUSE,
            Source::There(_) => FAR_PAUSE,
        })
        .await;
        run = source.find(loaded, Some(&run.id)).await?;
    }
    tell(&report::line(&run, crate::report::style::Palette::PLAIN));
    Ok(())
}

/// Lines that were written since; the last one also without its end when no more can come.
fn new_lines(path: &Utf8PathBuf, offset: &mut u64, all: bool) -> std::io::Result<Vec<String>> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(cause),
    };
    file.seek(SeekFrom::Start(*offset))?;
    let mut reader = BufReader::new(file.take(1 << 20));
    let mut lines = Vec::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let count = reader.read_until(b'\n', &mut bytes)?;
        let is_whole = bytes.last() == Some(&b'\n');
        if count == 0 || !(is_whole || all) {
            return Ok(lines);
        }
        *offset += count as u64;
        lines.push(
            String::from_utf8_lossy(&bytes)
                .trim_end_matches('\n')
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_run(how: How) -> PastRun {
        PastRun {
            id: "01K4AZ5TQ8Z0V8XJ5M2W3N4P5Q".to_owned(),
            folder: "/w".into(),
            began: Some("2026-08-01T12:00:00Z".parse().expect("a time")),
            project: "app".to_owned(),
            environment: "main".to_owned(),
            goal: None,
            how,
            exit: None,
            took_ms: 1_400,
            cost: None,
            steps: Vec::new(),
            problem: None,
            stored: None,
        }
    }

    #[test]
    fn a_run_that_goes_on_has_done_so_until_now() {
        let now = |text: &str| text.parse().expect("a time");
        let took = |how, at| until_now(a_run(how), now(at)).took_ms;
        assert_eq!(took(How::Running, "2026-08-01T12:00:03Z"), 3_000);
        assert_eq!(took(How::Running, "2026-08-01T11:00:00Z"), 1_400);
        assert_eq!(took(How::Succeeded, "2026-08-01T12:00:03Z"), 1_400);
    }

    #[test]
    fn what_could_have_been_asked_for_is_told_in_a_line() {
        let mut run = a_run(How::Succeeded);
        for index in 1..=20 {
            for name in ["tests", "lint"] {
                run.steps.push(PastStep {
                    id: crate::plan::StepId(index),
                    address: Address::Droplet {
                        name: "w".into(),
                        instance: Some(crate::address::Instance::Index(index)),
                    },
                    title: format!("run {name}"),
                    name: Some(name.to_owned()),
                    state: crate::execute::StepState::Done,
                    failure: None,
                    log: None,
                });
            }
        }
        let hint = |arguments: &[&str]| {
            use clap::Parser as _;
            #[derive(clap::Parser)]
            struct Program {
                #[command(flatten)]
                logs: Logs,
            }
            let words = std::iter::once("logs").chain(arguments.iter().copied());
            super::hint(&run, &Program::parse_from(words).logs)
        };
        assert_eq!(
            hint(&["--droplet", "w-13"]),
            "did you mean `--droplet 'droplet.w[13]'`?"
        );
        let listed = hint(&["--droplet", "something-else"]);
        assert!(
            listed.starts_with("it has: droplet.w[1], ") && listed.ends_with(" and 10 more"),
            "{listed}"
        );
        assert_eq!(hint(&["--step", "test"]), "did you mean `--step tests`?");
        assert_eq!(hint(&["--step", "deploy"]), "its steps: tests, lint");
    }

    #[test]
    fn only_whole_lines_are_shown_until_the_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Utf8PathBuf::from_path_buf(folder.path().join("x.log")).expect("UTF-8");
        let mut offset = 0;
        assert!(
            new_lines(&path, &mut offset, false)
                .expect("read")
                .is_empty()
        );
        std::fs::write(&path, "one\ntw").expect("written");
        assert_eq!(new_lines(&path, &mut offset, false).expect("read"), ["one"]);
        assert!(
            new_lines(&path, &mut offset, false)
                .expect("read")
                .is_empty()
        );
        std::fs::write(&path, "one\ntwo\nthr").expect("written");
        assert_eq!(
            new_lines(&path, &mut offset, true).expect("read"),
            ["two", "thr"]
        );
    }
}
