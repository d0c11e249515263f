//! How long the steps of past runs took: a file beside the journal of each, for the next plan's
//! expectations. History, not state: without it a plan goes by what is usual.

use std::io::Read as _;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use super::context::Loaded;
use super::endpoint::Cloud;
use crate::cloud::Wait;
use crate::execute::event::DONE_BEFORE;
use crate::execute::{Event, EventKind};
use crate::live::Catalog;
use crate::plan::{Durations, Observation, Plan, StepId, durations};

/// The file's name in the folder of its run.
pub const FILE: &str = "durations.json";
/// Version of the file's format: one of another is as good as none.
const VERSION: u32 = 1;
/// So many runs are gone by: what was long ago was another program's tests.
const RUNS: usize = 10;
/// So many are looked at to find them, however many there are.
const LOOKED_AT: usize = 200;
/// A thousand droplets take a megabyte.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    /// Where it was: one cloud's steps tell nothing of another's.
    cloud: String,
    region: String,
    steps: Vec<Observation>,
    /// How long the API took over what it does in its own time.
    #[serde(default)]
    waits: Vec<Wait>,
}

/// Tells a plan's times and costs by past runs of the same folder, cloud and region.
pub fn expect(plan: &mut Plan, loaded: &Loaded, cloud: &Cloud, catalog: &Catalog) {
    plan.expect(&known(loaded, cloud, &plan.region), catalog);
}

/// What past runs of the same folder, cloud and region tell of how long steps take.
#[must_use]
pub fn known(loaded: &Loaded, cloud: &Cloud, region: &str) -> Durations {
    let runs = read(&loaded.looked_at("runs"), &cloud.history, region);
    let runs: Vec<Vec<Observation>> = runs.into_iter().map(|run| run.steps).collect();
    Durations::new(cloud.pace, &runs)
}

/// Teaches the client of a cloud what past runs of the same folder, cloud and region have waited for.
pub fn teach(loaded: &Loaded, cloud: &Cloud, region: &str) {
    let runs = read(&loaded.looked_at("runs"), &cloud.history, region);
    cloud
        .client
        .teach(runs.into_iter().flat_map(|run| run.waits));
}

/// Keeps what a run tells. That it cannot is no failure of the run.
///
/// # Errors
/// When it cannot be written.
pub fn keep(
    run_folder: &Utf8Path,
    cloud: &str,
    plan: &Plan,
    events: &[Event],
    waits: Vec<Wait>,
) -> std::io::Result<()> {
    let written = Written {
        version: VERSION,
        cloud: cloud.to_owned(),
        region: plan.region.clone(),
        steps: durations::observed(plan, done(events)),
        waits,
    };
    if written.steps.is_empty() && written.waits.is_empty() {
        return Ok(());
    }
    write(run_folder, &written)
}

/// Steps that did what they are there for, and how long it took.
fn done(events: &[Event]) -> impl Iterator<Item = (StepId, u64)> {
    events.iter().filter_map(|event| match &event.kind {
        EventKind::Done {
            step,
            took_ms,
            note,
        } if note != DONE_BEFORE => Some((*step, *took_ms)),
        _ => None,
    })
}

fn write(run_folder: &Utf8Path, written: &Written) -> std::io::Result<()> {
    // For its owner alone from the start, and never seen half written.
    let mut new = tempfile::NamedTempFile::new_in(run_folder)?;
    serde_json::to_writer(&mut new, written)?;
    new.persist(run_folder.join(FILE))?;
    Ok(())
}

/// The latest runs of that cloud and region. Those without a file, or with one that cannot be
/// read, count for nothing.
fn read(runs: &Utf8Path, cloud: &str, region: &str) -> Vec<Written> {
    let Ok(entries) = runs.read_dir_utf8() else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
        .collect();
    // They are named by when they began.
    names.sort_unstable_by(|a, b| b.cmp(a));
    names
        .into_iter()
        .take(LOOKED_AT)
        .filter_map(|name| read_one(&runs.join(name).join(FILE)))
        .filter(|run| run.cloud == cloud && run.region == region)
        .take(RUNS)
        .collect()
}

fn read_one(path: &Utf8Path) -> Option<Written> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    let written: Written = serde_json::from_slice(&bytes).ok()?;
    (written.version == VERSION).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cloud: &str, region: &str, took_ms: u64) -> Written {
        Written {
            version: VERSION,
            cloud: cloud.to_owned(),
            region: region.to_owned(),
            steps: vec![Observation {
                what: "connect".to_owned(),
                subject: "droplet.web".to_owned(),
                size: None,
                took_ms,
            }],
            waits: vec![Wait {
                what: "droplet ready".to_owned(),
                on: "s-1vcpu-1gb from a snapshot".to_owned(),
                least_ms: took_ms,
                usual_ms: took_ms,
            }],
        }
    }

    #[test]
    fn only_the_latest_runs_of_the_same_cloud_and_region_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let runs = Utf8Path::from_path(folder.path()).expect("UTF-8");
        assert!(read(&runs.join("none"), "local", "nyc3").is_empty());
        for number in 0..15 {
            let folder = runs.join(format!("{number:02}"));
            std::fs::create_dir(&folder).expect("made");
            write(&folder, &run("local", "nyc3", number)).expect("written");
        }
        for (name, other) in [
            ("20", run("digitalocean", "nyc3", 99)),
            ("21", run("local", "sfo3", 99)),
            (
                "22",
                Written {
                    version: 2,
                    ..run("local", "nyc3", 99)
                },
            ),
        ] {
            std::fs::create_dir(runs.join(name)).expect("made");
            write(&runs.join(name), &other).expect("written");
        }
        std::fs::create_dir(runs.join("23")).expect("made");
        std::fs::write(runs.join("23").join(FILE), "{\"version\":1,").expect("written");
        std::fs::create_dir(runs.join("24")).expect("made");
        let took: Vec<u64> = read(runs, "local", "nyc3")
            .iter()
            .map(|run| run.steps[0].took_ms)
            .collect();
        assert_eq!(took, [14, 13, 12, 11, 10, 9, 8, 7, 6, 5]);
        assert_eq!(read(runs, "local", "nyc3")[0].waits[0].least_ms, 14);
    }

    #[test]
    fn a_file_of_before_there_were_waits_is_read() {
        let text = r#"{"version":1,"cloud":"x","region":"nyc3","steps":[]}"#;
        let written: Written = serde_json::from_str(text).expect("read");
        assert!(written.waits.is_empty());
    }
}
