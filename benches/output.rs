//! What a droplet says, and what is noted of a run: how fast, and in how much memory.
//!
//! `cargo bench --bench output` prints the table and writes `target/bench/output.json`.

mod support;

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use dewpoint::execute::journal::Journal;
use dewpoint::execute::{Event, EventKind};
use dewpoint::plan::{Plan, StepId};
use serde_json::Value;
use support::cloud::Cloud;
use support::{Budget, Report, ms};

/// What a run step says, in lines of 100 characters.
const MIB: usize = 100;
/// The most that dewpoint may hold meanwhile.
const MEMORY_MIB: f64 = 120.0;
/// Records of a journal.
const RECORDS: u64 = 50_000;

const MANIFEST: &str = "version: 1
project: talk
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run:
      - { name: little, command: 'true' }
      - { name: much, command: \"head -c SIZE <(yes $(printf %099d 7))\" }
";

fn main() -> ExitCode {
    let mut report = Report::new("output");
    journal(&mut report);
    let cloud = Cloud::up(&[]);
    if cloud.has_guests() {
        streamed(&cloud, &mut report);
    } else {
        eprintln!("NOT RUN: droplets of the local cloud cannot be logged in to here");
        return ExitCode::FAILURE;
    }
    report.finish()
}

/// Output of a run step, on its way from a droplet into a log and a file.
fn streamed(cloud: &Cloud, report: &mut Report) {
    let size = MIB * 1024 * 1024;
    cloud.write(
        "dewpoint.yaml",
        &MANIFEST.replace("SIZE", &size.to_string()),
    );
    let mut rates = Vec::new();
    let mut peak: f64 = 0.0;
    for _ in 0..3 {
        let out = std::fs::File::create(cloud.path("output")).expect("a file");
        let mut apply = cloud
            .command(&["apply", "--yes", "--local", "--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .expect("the binary runs");
        let status = loop {
            peak = peak.max(peak_mib(apply.id()));
            if let Some(status) = apply.try_wait().expect("it is a child") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success());
        let took = took_ms(&std::fs::read_to_string(cloud.path("output")).expect("events"));
        #[expect(clippy::cast_precision_loss, reason = "small")]
        rates.push(MIB as f64 / (took as f64 / 1_000.0));
    }
    let name = format!("{MIB} MiB of output of a run step");
    report.values(
        &format!("{name}, to a log and as JSON"),
        "MiB/s",
        &rates,
        None,
    );
    report.value(
        &format!("{name}: memory"),
        "MiB",
        peak,
        Budget::AtMost(MEMORY_MIB),
    );
}

/// How long the step that says much took.
fn took_ms(events: &str) -> u64 {
    let told = events
        .lines()
        .filter(|line| !line.contains("\"event\":\"output\""));
    let events: Vec<Value> = told
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let step = events
        .iter()
        .find(|event| event["event"] == "started" && event["title"].to_string().contains("much"))
        .map(|event| event["step"].clone())
        .expect("it began");
    let done = events
        .iter()
        .find(|event| event["event"] == "done" && event["step"] == step);
    done.and_then(|event| event["took_ms"].as_u64())
        .expect("it ended")
}

/// The most memory a process has had so far.
fn peak_mib(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// What it costs to note a step's beginning and end.
fn journal(report: &mut Report) {
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a folder");
    let folder = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
    let plan: Plan = support::empty_plan();
    let mut each = Vec::new();
    for round in 0..5 {
        let mut journal = Journal::create(&folder.join(format!("run-{round}"))).expect("a journal");
        let begun = Instant::now();
        for seq in 0..RECORDS {
            let event = Event {
                seq,
                at: jiff::Timestamp::UNIX_EPOCH,
                elapsed_ms: seq,
                kind: EventKind::Done {
                    step: StepId(u32::try_from(seq).expect("few")),
                    took_ms: 40_000,
                    note: "droplet 3164444 at 203.0.113.7".to_owned(),
                },
            };
            journal.write(&event, &plan).expect("written");
        }
        #[expect(clippy::cast_precision_loss, reason = "small")]
        each.push(ms(begun.elapsed()) * 1_000.0 / RECORDS as f64);
    }
    report.values("a record of the journal", "us", &each, None);
}
