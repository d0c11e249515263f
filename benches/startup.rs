//! What the program takes before it does anything: its size, and the time of whole processes.
//!
//! `cargo bench --bench startup` prints the table and writes `target/bench/startup.json`.

mod support;

use std::process::{Command, ExitCode, Stdio};

use support::cloud::Cloud;
use support::{Budget, Report, times_ms};

/// Processes of each kind.
const ROUNDS: usize = 41;
/// Of `validate` of a typical manifest, the whole process.
const VALIDATE_MS: f64 = 15.0;

fn main() -> ExitCode {
    let mut report = Report::new("startup");
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_dewpoint")).expect("the binary");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    let mib = binary.len() as f64 / (1024.0 * 1024.0);
    report.value("the binary", "MiB", mib, None);

    // What any process takes here: the least there is to compare with.
    let other = times_ms(ROUNDS, || {
        Command::new("true").status().expect("a program that runs")
    });
    report.values("`true`, to compare", "ms", &other, None);

    let folder = Cloud::down();
    let quickstart = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/quickstart/dewpoint.yaml"
    );
    let ollama = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/ollama-eval/dewpoint.yaml"
    );
    let kinds: [(&str, &[&str], Option<f64>); 4] = [
        ("`--version`", &["--version"], None),
        ("`--help`", &["--help"], None),
        (
            "`validate` of the quickstart",
            &["validate", "-f", quickstart],
            Some(VALIDATE_MS),
        ),
        (
            "`validate` of the largest example",
            &["validate", "-f", ollama],
            Some(VALIDATE_MS),
        ),
    ];
    for (name, arguments, most) in kinds {
        let times = times_ms(ROUNDS, || {
            let mut command = folder.command(arguments);
            let status = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("the binary runs");
            assert!(status.success(), "{name}");
        });
        report.values(name, "ms", &times, most.map(Budget::AtMost));
    }
    report.finish()
}
