//! Runs in a store: what one machine ran, another reads.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::guests;
use crate::s3::{SECRET, Server};
use crate::workspace::{Ran, Running, Workspace};

const STORE: &str = "s3://locks/team";
const API_KEY: &str = "s3cr3t-4d1f-value-that-must-not-be-seen";

const ONE: &str = r#"
version: 1
project: one
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

/// Two machines with one account: the workspace's folder, and one below it.
struct Machines {
    workspace: Workspace,
    port: u16,
}

impl Machines {
    fn new(manifest: &str, port: u16) -> Self {
        let workspace = Workspace::with(manifest);
        workspace.write("elsewhere/dewpoint.yaml", manifest);
        Self { workspace, port }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.command(arguments);
        command
            .args(["--local", "--store", STORE])
            .env("GITHUB_ACTOR", "ann")
            .env("API_KEY", API_KEY);
        Server::used_by(self.port, &mut command);
        command
    }

    fn here(&self, arguments: &[&str]) -> Ran {
        self.workspace.finish(self.command(arguments))
    }

    fn elsewhere(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.current_dir(self.workspace.path("elsewhere"));
        self.workspace.finish(command)
    }

    /// What the store lists.
    fn runs(&self, options: &[&str]) -> Vec<Value> {
        let listed = self.elsewhere(&[&["history", "--format", "json"], options].concat());
        let listed = listed.expect(0);
        let listed: Value = serde_json::from_str(&listed.out).expect("JSON");
        listed["runs"].as_array().expect("runs").clone()
    }
}

/// Every file below a folder, which must be its owner's alone, with its text.
fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let seen = std::fs::symlink_metadata(&path).expect("seen");
        let mode = seen.permissions().mode() & 0o777;
        if seen.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            files(&path, found);
        } else {
            assert!(seen.is_file(), "{}", path.display());
            assert_eq!(mode, 0o600, "{}", path.display());
            let bytes = std::fs::read(&path).expect("read");
            let name = path.file_name().expect("a name").to_string_lossy();
            found.push((
                name.into_owned(),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
}

#[test]
fn what_one_machine_ran_another_reads_without_its_secrets() {
    if !guests() {
        return;
    }
    let Some(server) = Server::start() else {
        return;
    };
    let manifest = r#"
version: 1
project: shared
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    secrets: [API_KEY]
    run:
      - name: say it
        command: echo "it is [$API_KEY], said here"; env >env.txt; head -c 9000000 /dev/urandom >large.bin
        artifacts: [env.txt, large.bin]
      - name: fail
        command: exit 4
"#;
    let machines = Machines::new(manifest, server.port);
    let ran = machines.here(&["test"]).expect(3);
    assert!(!ran.err.contains(SECRET), "{}", ran.all());
    // The one file with the secret in it stays where it is.
    assert!(ran.err.contains("note: 1 files of run"), "{}", ran.all());

    let listed = machines.elsewhere(&["history"]).expect(0);
    assert!(
        listed.out.contains(" test main: a run step failed after ")
            && listed.out.contains(", exit 3, $")
            && listed.out.contains(", by ann on "),
        "{}",
        listed.all()
    );
    let runs = machines.runs(&[]);
    assert_eq!(runs.len(), 1);
    let (id, run) = (runs[0]["id"].as_str().expect("an id"), &runs[0]);
    assert_eq!(
        json!([
            run["project"],
            run["environment"],
            run["command"],
            run["result"],
            run["exit"],
            run["who"]
        ]),
        json!(["shared", "main", "test", "run_failed", 3, "ann"])
    );
    machines
        .elsewhere(&["logs", &id[20..], "--step", "say it"])
        .expect(0)
        .says("it is [")
        .says(", said here");
    machines
        .elsewhere(&["status"])
        .expect(0)
        .says("Last runs:")
        .says("a run step failed");
    machines
        .elsewhere(&["report"])
        .expect(0)
        .says("report.html");
    let fetched = machines.workspace.path("elsewhere/.dewpoint/fetched");
    let mut found = Vec::new();
    files(&fetched, &mut found);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "journal.jsonl",
        "plan.json",
        "say-it.log",
        "large.bin",
        "report.html",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(!names.contains(&"env.txt"), "{names:?}");
    let (_, token) = machines.workspace.endpoint();
    for (name, text) in &found {
        for secret in [API_KEY, SECRET, token.as_str(), "PRIVATE KEY"] {
            assert!(!text.contains(secret), "{name}");
        }
    }
    machines
        .elsewhere(&["logs", "01ZZZ"])
        .expect(1)
        .says("names no run");
    machines.workspace.assert_empty();
}

#[test]
fn a_store_that_is_not_there_changes_nothing_and_is_caught_up_with() {
    let Some(server) = Server::start() else {
        return;
    };
    let machines = Machines::new(ONE, server.port);
    machines.workspace.up(&["--without-guests"]);
    // Nothing listens there.
    let mut command = machines.command(&["apply", "--yes"]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let ran = machines.workspace.finish(command).expect(0);
    let said = ran.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("is not stored in s3://locks/team: cannot"),
        "{said}"
    );
    assert!(said.contains("--store s3://locks/team --push"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    assert_eq!(machines.runs(&[]).len(), 0);

    // The next run with the store brings it along; one that was not to be stored stays here.
    machines.workspace.local(&["destroy", "--yes"]).expect(0);
    machines.here(&["apply", "--yes"]).expect(0);
    let results = || -> Vec<Value> {
        let runs = machines.runs(&[]);
        let of = |run: &Value| json!([run["command"], run["result"]]);
        runs.iter().map(of).collect()
    };
    assert_eq!(
        results(),
        [json!(["apply", "succeeded"]), json!(["apply", "succeeded"])]
    );
    machines
        .here(&["history", "--push"])
        .expect(0)
        .says("1 runs were sent to s3://locks/team, 2 were there already");
    assert_eq!(results()[1], json!(["destroy", "succeeded"]));
    assert_eq!(machines.runs(&["--env", "other"]).len(), 0);
    assert_eq!(machines.runs(&["--env", "other", "--all"]).len(), 3);
    assert_eq!(machines.runs(&["-n", "1"]).len(), 1);
    machines.here(&["destroy", "--yes"]).expect(0);

    // What cannot be: a bucket that is not there, and no store at all.
    let mut command = machines
        .workspace
        .command(&["history", "--store", "s3://nowhere/team"]);
    Server::used_by(server.port, &mut command);
    machines
        .workspace
        .finish(command)
        .expect(1)
        .says("does the bucket exist");
    let command = machines
        .workspace
        .command(&["history", "--store", "no/such/folder"]);
    machines
        .workspace
        .finish(command)
        .expect(1)
        .says("dewpoint::store::address");
}

#[test]
fn a_run_is_listed_while_it_goes_on_and_after_a_signal() {
    let Some(server) = Server::start() else {
        return;
    };
    let machines = Machines::new(ONE, server.port);
    let workspace = &machines.workspace;
    workspace.up(&["--without-guests"]);
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/account/keys", "fault": { "delay": { "ms": 600_000 } }
    }));
    let apply = Running::of(machines.command(&["apply", "--yes"]));
    // Wait for the level, not for a time.
    while machines
        .runs(&[])
        .first()
        .is_none_or(|run| run["result"] != "running")
    {
        std::thread::yield_now();
    }
    machines
        .elsewhere(&["history"])
        .expect(0)
        .says("apply main: running, by ann on ");
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(apply.pid(), libc::SIGTERM) }, 0);
    assert_eq!(unsafe { libc::kill(apply.pid(), libc::SIGTERM) }, 0);
    let (code, err) = apply.end();
    assert_eq!(code, Some(143), "{err}");
    let runs = machines.runs(&[]);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(runs[0]["result"], "interrupted", "{runs:?}");
    assert_eq!(runs[0]["exit"], 143, "{runs:?}");
    // Whoever comes next on another machine sees it, and goes on.
    machines.elsewhere(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
    assert_eq!(machines.runs(&[]).len(), 2);

    // Killed: nothing is sent any more, until somebody sends it from where it lies.
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/account/keys", "fault": { "delay": { "ms": 600_000 } }
    }));
    let apply = Running::of(machines.command(&["apply", "--yes"]));
    while machines
        .runs(&[])
        .first()
        .is_none_or(|run| run["result"] != "running")
    {
        std::thread::yield_now();
    }
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(apply.pid(), libc::SIGKILL) }, 0);
    apply.end();
    machines
        .here(&["history", "--push"])
        .expect(0)
        .says("1 runs were sent");
    let runs = machines.runs(&[]);
    assert_eq!(
        (runs.len(), &runs[0]["result"]),
        (3, &json!("cut_off")),
        "{runs:?}"
    );
    machines.elsewhere(&["destroy", "--yes"]).expect(0);
}

#[test]
fn a_folder_that_machines_share_holds_a_history_too() {
    let workspace = Workspace::with(ONE);
    workspace.up(&["--without-guests"]);
    let shared = workspace.path("shared");
    std::fs::create_dir(&shared).expect("a folder");
    workspace
        .local(&["apply", "--yes", "--store", "shared"])
        .expect(0);
    workspace
        .run(&["history", "--store", "shared"])
        .expect(0)
        .says("apply main: succeeded after ");
    let ids = std::fs::read_dir(workspace.path(".dewpoint/runs")).expect("runs");
    let id = ids
        .map(|id| id.expect("an entry").file_name())
        .max()
        .expect("a run");
    let id = id.to_string_lossy().into_owned();
    // Somebody else has put something there: a run of a later version, a link, no bundle at all.
    let history = shared.join("history/one");
    let later = ulid_after(&id);
    std::fs::write(history.join("index").join(format!("{later}_2_news")), "").expect("written");
    workspace
        .run(&["history", "--store", "shared"])
        .expect(0)
        .says("in format 2; this one knows format 1");
    let bundle = history.join("runs").join(format!("{id}.tar.gz"));
    std::fs::write(&bundle, "no archive").expect("written");
    workspace
        .run(&["logs", &id, "--store", "shared"])
        .expect(1)
        .says("dewpoint::store::unreadable");
    std::fs::remove_file(&bundle).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &bundle).expect("linked");
    workspace
        .run(&["logs", &id, "--store", "shared"])
        .expect(1)
        .says("is a link");
    std::fs::remove_file(&bundle).expect("removed");
    workspace
        .run(&["report", &id, "--store", "shared"])
        .expect(1)
        .says("dewpoint::execute::run_not_stored");
    workspace.local(&["destroy", "--yes"]).expect(0);
}

/// An id that comes right after.
fn ulid_after(id: &str) -> String {
    let (head, _) = id.split_at(10);
    format!("{head}ZZZZZZZZZZZZZZZZ")
}
