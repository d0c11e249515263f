//! Killed at every moment: the next apply converges, and a destroy from elsewhere ends empty.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dewpoint::execute::{Event, Listener};
use dewpoint::plan::{Goal, Plan};
use serde_json::Value;

use crate::lab::Lab;
use crate::matrix::{begin, settles, succeed};
use crate::observed::everything;
use crate::worlds::{WORLDS, World};

/// Stops a run for good at its `at`th record: when the record was written, before what it announces
/// is done; or, told late, some calls later.
struct Stop {
    at: usize,
    seen: usize,
    stopped: Arc<tokio::sync::Notify>,
    was_reached: Arc<AtomicBool>,
}

impl Listener for Stop {
    fn event(&mut self, _: &Event, _: &Plan) {
        self.seen += 1;
        if self.seen == self.at {
            self.was_reached.store(true, Ordering::SeqCst);
            self.stopped.notify_one();
        }
    }
}

/// Gives a run up at a record, some milliseconds after it; says whether it came to that record.
async fn given_up(lab: &Lab, world: &World, at: usize, later: Duration) -> bool {
    let stopped = Arc::new(tokio::sync::Notify::new());
    let was_reached = Arc::new(AtomicBool::new(false));
    let stop = Stop {
        at,
        seen: 0,
        stopped: Arc::clone(&stopped),
        was_reached: Arc::clone(&was_reached),
    };
    let run = lab.go(world.manifest, world.goal, world.fails, |_| {
        vec![Box::new(stop)]
    });
    tokio::select! {
        biased;
        // Dropped with all its tasks and connections, as a kill would end them.
        () = async {
            stopped.notified().await;
            tokio::time::sleep(later).await;
        } => {}
        ran = run => drop(ran.expect("can be planned")),
    }
    // What was sent arrives before anybody else asks.
    lab.heard().await;
    was_reached.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn given_up_at_every_record_of_the_journal() {
    let first = Lab::start(None).await;
    let empty = first.account();
    let work = WORLDS.iter().map(|world| {
        let (first, empty) = (&first, &empty);
        async move {
            let lab = Lab::start(Some(first)).await;
            let base = begin(&lab, world, empty).await;
            let mut count = 0;
            // Every record, at once and while what it announces is under way; a destroy follows on
            // every other, for it knows nothing of a journal.
            for later in [0, 3] {
                for at in 1.. {
                    lab.restore(&base);
                    let later = Duration::from_millis(later);
                    if !given_up(&lab, world, at, later).await {
                        break;
                    }
                    count += 1;
                    let told = format!("{} at record {at}, {later:?} later", world.name);
                    if at % 2 == 0 {
                        let settled = settles(&lab, world, None).await;
                        settled.unwrap_or_else(|error| panic!("{told}: {error}"));
                        continue;
                    }
                    let goal = Goal::DestroyProject;
                    let destroyed = succeed(&lab, "destroy", world.manifest, goal, false).await;
                    destroyed.unwrap_or_else(|error| panic!("{told}: {error}"));
                    let mut left = everything(&lab.at_rest().await);
                    // A snapshot that was still being taken shows once its builder can be destroyed,
                    // after the account was looked at: another destroy sees it.
                    if left.iter().all(|left| left.starts_with("1 snapshot ")) && !left.is_empty() {
                        let again = succeed(&lab, "again", world.manifest, goal, false).await;
                        again.unwrap_or_else(|error| panic!("{told}: {error}"));
                        left = everything(&lab.at_rest().await);
                    }
                    assert!(left.is_empty(), "{told}: {left:?}");
                }
            }
            count
        }
    });
    let counts = futures_util::future::join_all(work).await;
    let count: usize = counts.iter().sum();
    println!("given up at {count} moments");
    assert!(count > 150, "{counts:?}");
}

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

/// Records in the journals of a folder.
fn records(folder: &std::path::Path) -> usize {
    let runs = std::fs::read_dir(folder.join(".dewpoint/runs"));
    runs.into_iter()
        .flatten()
        .filter_map(|run| std::fs::read_to_string(run.ok()?.path().join("journal.jsonl")).ok())
        .map(|text| text.lines().count())
        .sum()
}

/// Kills an apply once its journal has so many records; says whether it lived until then.
fn killed(folder: &std::path::Path, cloud: &std::path::Path, at: usize) -> bool {
    let mut apply = dewpoint(folder, cloud, &["apply", "--yes", "--local"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    loop {
        if records(folder) >= at {
            apply.kill().expect("killed");
            return !apply.wait().expect("ended").success();
        }
        if let Some(status) = apply.try_wait().expect("looked at") {
            assert!(status.success(), "{status}");
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The same with a real `kill -9` of the real thing, lock and journal left behind.
#[test]
fn killed_at_every_record_of_the_journal() {
    let all = tempfile::tempdir().expect("a folder");
    let cloud = all.path().join("cloud");
    let up = ["local", "up", "--without-guests", "--latency", "0.002"];
    succeeds(dewpoint(all.path(), &cloud, &up), "up");
    let mut count = 0;
    for at in 1.. {
        let here = all.path().join(format!("here-{at}"));
        let there = all.path().join(format!("there-{at}"));
        for folder in [&here, &there] {
            std::fs::create_dir(folder).expect("a folder");
            std::fs::write(folder.join("dewpoint.yaml"), MANIFEST).expect("written");
        }
        if !killed(&here, &cloud, at) {
            break;
        }
        count += 1;
        let told = format!("killed at record {at}");
        if at % 2 == 0 {
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
    succeeds(
        dewpoint(all.path(), &cloud, &["local", "reset", "--yes"]),
        "reset",
    );
    println!("killed at {count} records");
    assert!(count >= 12, "{count}");
}
