//! Many droplets on a cloud as slow as DigitalOcean: how long an apply takes against what the cloud
//! itself takes, and how many calls a plan of an account with nothing to do.
//!
//! `cargo bench --bench fleet` drives the binary against local clouds without guests, prints a table
//! and writes `target/bench/fleet.json`. It takes minutes, for the cloud is slow on purpose.

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use dewpoint::local::latency::{Latency, Wait};
use serde_json::Value;
use support::cloud::Cloud;
use support::{Budget, Report, ms};

/// Of what the cloud takes, and what is added: the most an apply may take.
const SHARE: f64 = 1.05;
const MORE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let mut report = Report::new("fleet");
    plans(&mut report);
    applies(&mut report);
    limited(&mut report);
    report.finish()
}

fn manifest(droplets: usize) -> String {
    format!(
        "version: 1\nproject: fleet\nregion: nyc3\nttl: 1d\ndroplets:\n  worker: \
         {{ image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: {droplets} }}\n"
    )
}

/// Plans of what is there already.
fn plans(report: &mut Report) {
    for droplets in [1_usize, 10, 100, 1_000] {
        let cloud = Cloud::up(&[
            "--without-guests",
            "--latency",
            "fast",
            "--droplet-limit",
            "1100",
        ]);
        cloud.write("dewpoint.yaml", &manifest(droplets));
        cloud.run(&["apply", "--yes", "--local", "--quiet"]);
        let before = cloud.requests(0).last;
        let mut times = Vec::new();
        for _ in 0..5 {
            let (took, text) = cloud.run(&["plan", "--local", "--format", "json"]);
            let plan: Value = serde_json::from_str(&text).expect("a plan");
            assert_eq!(
                plan["steps"].as_array().map(Vec::len),
                Some(0),
                "nothing to do"
            );
            times.push(ms(took));
        }
        #[expect(clippy::cast_precision_loss, reason = "few calls")]
        let calls = (cloud.requests(before).last - before) as f64 / 5.0;
        let name = format!("no-op plan, {droplets} droplets");
        let most = 8 + droplets.div_ceil(200);
        #[expect(clippy::cast_precision_loss, reason = "few calls")]
        report.value(
            &format!("{name}: API calls"),
            "calls",
            calls,
            Budget::AtMost(most as f64),
        );
        report.values(&name, "ms", &times, None);
    }
}

/// What the cloud itself takes for droplets and, where it is new, the key they are made with.
fn critical_path(key_is_new: bool) -> Duration {
    let key: &[Wait] = if key_is_new {
        &[Wait::Write, Wait::KeyUsable]
    } else {
        &[]
    };
    let droplets = [Wait::DropletActive, Wait::Network, Wait::Read];
    let chain = key.iter().chain(&droplets);
    let total: i64 = chain.map(|wait| Latency::REALISTIC.of(*wait)).sum();
    Duration::from_millis(u64::try_from(total).expect("no way back"))
}

/// Applies from nothing: the first of a machine, and one that knows from the first how long all takes.
fn applies(report: &mut Report) {
    for droplets in [1_usize, 10, 100] {
        let cloud = Cloud::up(&["--without-guests", "--latency", "realistic"]);
        cloud.write("dewpoint.yaml", &manifest(droplets));
        for which in ["first", "second"] {
            let before = cloud.requests(0).last;
            let steps = steps_of(
                &cloud,
                &["apply", "--yes", "--local", "--log-format", "json"],
            );
            let after = cloud.requests(before);
            let limit = critical_path(true).mul_f64(SHARE) + MORE;
            let name = format!("{which} apply of {droplets} droplets");
            let most = Budget::AtMost(limit.as_secs_f64());
            report.value(&format!("{name}: steps"), "s", steps.as_secs_f64(), most);
            #[expect(clippy::cast_precision_loss, reason = "few calls")]
            report.value(
                &format!("{name}: API calls"),
                "calls",
                (after.last - before) as f64,
                None,
            );
            let begun = Instant::now();
            cloud.run(&["destroy", "--yes", "--local", "--quiet"]);
            report.value(
                &format!("destroy of {droplets} droplets"),
                "s",
                begun.elapsed().as_secs_f64(),
                None,
            );
        }
    }
    report.note(&format!(
        "the cloud itself takes {:.2} s for droplets with a new SSH key: it is made, and known 9 s later; a droplet is active 40 s after its create, and has an address 2 s later, which is read",
        critical_path(true).as_secs_f64()
    ));
}

/// How long the steps of a run took, from the approved plan to its end.
fn steps_of(cloud: &Cloud, arguments: &[&str]) -> Duration {
    let output = cloud.command(arguments).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let last = text.lines().last().expect("events");
    let event: Value = serde_json::from_str(last).expect("an event");
    assert_eq!(event["event"], "run_finished", "{event}");
    Duration::from_millis(event["elapsed_ms"].as_u64().expect("a time"))
}

/// 500 droplets on an account that lets through 250 requests a minute and 5,000 an hour.
fn limited(report: &mut Report) {
    let cloud = Cloud::up(&[
        "--without-guests",
        "--latency",
        "realistic",
        "--rate-limits",
        "--droplet-limit",
        "600",
    ]);
    cloud.write("dewpoint.yaml", &manifest(500));
    let took = steps_of(
        &cloud,
        &["apply", "--yes", "--local", "--log-format", "json"],
    );
    let requests = cloud.requests(0);
    let name = "500 droplets under 250 requests/min and 5,000/h";
    report.value(name, "s", took.as_secs_f64(), None);
    #[expect(clippy::cast_precision_loss, reason = "few calls")]
    report.value(
        &format!("{name}: API calls"),
        "calls",
        requests.last as f64,
        None,
    );
    #[expect(clippy::cast_precision_loss, reason = "few calls")]
    report.value(
        &format!("{name}: refused with 429"),
        "calls",
        requests.refused as f64,
        Budget::AtMost(0.0),
    );
}
