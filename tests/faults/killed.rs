//! The real program, killed at every record of its journal: the next apply converges, and a destroy from
//! elsewhere ends empty.

use std::process::{Command, Stdio};

use camino::Utf8PathBuf;
use dewpoint::local::service;
use serde_json::Value;

use crate::killed_at::{Ended, Side, killed_at};
use crate::observed::everything;

const MANIFEST: &str = r#"
version: 1
project: shop
region: nyc3
volumes:
  models: { size: 1GiB }
  scratch: { size: 1GiB, scope: environment }
droplets:
  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2 }
"#;

/// The binary in a folder, against a local cloud that several folders share.
fn dewpoint(folder: &std::path::Path, cloud: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dewpoint"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("DEWPOINT_LOCAL_DIR", cloud)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("XDG_STATE_HOME", folder.join("state"))
        .env_remove("DIGITALOCEAN_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[track_caller]
fn succeeds(mut command: Command, told: &str) -> String {
    let output = command.output().expect("the binary runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{out}\n{err}");
    out
}

/// As in `crash`, with a real `kill -9` of the real thing, lock and journal left behind: before each record
/// is written, and after it is.
#[test]
fn killed_at_every_record_of_the_journal() {
    let all = tempfile::tempdir().expect("a folder");
    let cloud = all.path().join("cloud");
    let up = ["local", "up", "--without-guests", "--latency", "0.002"];
    succeeds(dewpoint(all.path(), &cloud, &up), "up");
    let _gone = Gone(Utf8PathBuf::from_path_buf(cloud.clone()).expect("UTF-8"));
    let mut count = 0;
    let moments = (1..).flat_map(|at| [(at, Side::Before), (at, Side::After)]);
    for (at, side) in moments {
        let here = all.path().join(format!("here-{at}-{side:?}"));
        let there = all.path().join(format!("there-{at}-{side:?}"));
        for folder in [&here, &there] {
            std::fs::create_dir(folder).expect("a folder");
            std::fs::write(folder.join("dewpoint.yaml"), MANIFEST).expect("written");
        }
        let apply = dewpoint(&here, &cloud, &["apply", "--yes", "--local"]);
        let ended = killed_at(apply, &here.join("said"), |record| {
            (record.number == at).then_some(side)
        });
        if let Ended::Exited(code) = ended {
            let said = std::fs::read_to_string(here.join("said"));
            assert_eq!(code, 0, "{}", said.unwrap_or_default());
            break;
        }
        count += 1;
        let told = format!("killed {side:?} record {at}");
        // Each side of each other record.
        if (at + usize::from(side == Side::After)) % 2 == 0 {
            succeeds(
                dewpoint(&here, &cloud, &["apply", "--yes", "--local"]),
                &told,
            );
            let plan = dewpoint(&here, &cloud, &["plan", "--detailed-exitcode", "--local"]);
            let plan = succeeds(plan, &told);
            assert!(plan.contains("No changes."), "{told}: {plan}");
        }
        // From a folder without a journal, a lock or the key.
        let destroy = ["destroy", "--project", "--yes", "--local"];
        succeeds(dewpoint(&there, &cloud, &destroy), &told);
        let state = std::fs::read_to_string(cloud.join("state.json"));
        let state: Value = serde_json::from_str(&state.expect("state")).expect("JSON");
        let left = everything(&state);
        assert!(left.is_empty(), "{told}: {left:?}");
    }
    println!("killed at {count} moments");
    assert!(count >= 24, "{count}");
}

/// A local cloud that is gone with this.
struct Gone(Utf8PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let ended = service::reset(&self.0);
        if !std::thread::panicking() {
            ended.expect("the local cloud goes");
        }
    }
}
