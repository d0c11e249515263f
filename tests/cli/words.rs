//! What is said, and where: quiet and verbose, refusals of slips, and what does not go unnoticed.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::json;

use crate::workspace::{Running, Workspace};

const BOX: &str = r#"
version: 1
project: words
region: nyc3
volumes:
  data: { size: 1GiB }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

fn without_guests(manifest: &str) -> Workspace {
    let workspace = Workspace::with(manifest);
    workspace.up(&["--without-guests"]);
    workspace
}

#[test]
fn quiet_leaves_the_plan_out_and_verbose_lists_the_calls() {
    let workspace = without_guests(BOX.split("droplets:").next().expect("a head"));
    let quiet = workspace.local(&["apply", "--yes", "-q"]).expect(0);
    assert!(
        quiet.out.contains("Done:") && !quiet.out.contains("Plan:") && quiet.err.is_empty(),
        "{}",
        quiet.all()
    );
    let silent = workspace.local(&["plan"]).expect(0);
    assert!(silent.err.is_empty(), "{}", silent.all());
    let calls = workspace.local(&["plan", "-v"]).expect(0);
    assert!(
        calls
            .err
            .lines()
            .any(|line| line.contains("GET /v2/volumes 200 ") && line.ends_with("ms")),
        "{}",
        calls.all()
    );
    assert!(!calls.err.contains("tag_name="), "{}", calls.all());
    let (_, token) = workspace.endpoint();
    let more = workspace
        .local(&["plan", "-vv"])
        .expect(0)
        .says("tag_name=");
    assert!(!more.err.contains(&token), "{}", more.all());
    // CI scripts give it everywhere; one command more that takes it.
    workspace.local(&["test", "--yes", "-q"]).expect(0);
}

#[test]
fn a_budget_for_the_api_is_kept_and_nonsense_is_refused() {
    let workspace = without_guests(BOX);
    for nonsense in ["0%", "101%", "50", "1000", "0/h", "half"] {
        workspace
            .local(&["plan", "--api-budget", nonsense])
            .expect(1)
            .says("--api-budget")
            .says("write a percentage of what the API grants, 1% to 100%, or requests an hour");
    }
    let before = workspace.requests().len();
    let mut plan = Running::start(&workspace, &["plan", "-vv", "--api-budget", "3/h"]);
    // Of the eight calls three are answered; the others are due in an hour.
    let (held, answered): (Vec<String>, Vec<String>) = (0..8)
        .map(|_| plan.until("GET /v2/"))
        .partition(|line| line.contains("held back by the rate limit"));
    assert_eq!((held.len(), answered.len()), (5, 3), "{held:?}");
    drop(plan);
    assert_eq!(workspace.requests().len() - before, 3);
    let mut command = workspace.command(&["plan", "--local"]);
    command.env("DEWPOINT_API_BUDGET", "half");
    workspace
        .finish(command)
        .expect(1)
        .says("write a percentage");
}

#[test]
fn slips_that_would_cost_something_are_errors() {
    let workspace = without_guests(BOX);
    for command in ["apply", "destroy"] {
        workspace
            .local(&[command, "--yes", "--unprotect", "volume.dat"])
            .expect(1)
            .says("`--unprotect volume.dat`")
            .says("`volume.data`");
    }
    assert_eq!(workspace.names("volumes"), Vec::<String>::new());
    workspace.write(
        "dewpoint.yaml",
        &BOX.replace("s-1vcpu-1gb }", "s-1vcpu-1gb, secrets: [PIN] }"),
    );
    workspace
        .local(&["plan"])
        .expect(0)
        .says("secrets not set in the environment: PIN (of droplet.box)");
    let output = workspace
        .command(&["apply", "--yes", "--local"])
        .env("PIN", "12345")
        .output()
        .expect("the binary runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err.contains("shorter than 6 characters: PIN") && !err.contains("12345"),
        "{err}"
    );
    workspace.write("dewpoint.yaml", &BOX.replace("s-1vcpu-1gb", "s-none"));
    let refused = workspace.local(&["plan"]).expect(1);
    assert!(
        refused
            .err
            .starts_with("error: the plan is refused [dewpoint::plan::refused]\n  droplet.box: "),
        "{}",
        refused.all()
    );
    workspace
        .run(&["local", "reset"])
        .expect(1)
        .says("deleting the local cloud needs approval")
        .says("--yes");
    workspace
        .run(&["plan", "--project"])
        .expect(1)
        .says("--destroy");
}

#[test]
fn what_a_test_or_a_destroy_takes_with_it_is_said_before() {
    let workspace = without_guests(BOX);
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace
        .run(&["local", "status"])
        .expect(0)
        .says("1 droplet, 1 volume, 0 snapshots");
    workspace
        .local(&["plan", "--destroy", "--project"])
        .expect(0)
        .says("volume.data will be destroyed")
        .says("droplet.box will be destroyed");
    workspace
        .local(&["test"])
        .expect(0)
        .says("words-main-box): it is destroyed by this test, too");
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_not() {
    let workspace = Workspace::with(BOX);
    for (out, code) in [("/dev/full", 1), ("/dev/null", 0)] {
        let file = std::fs::File::options().write(true).open(out).expect(out);
        let output = workspace
            .command(&["validate"])
            .stdout(file)
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(code), "{out}");
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = workspace
        .command(&["schema"])
        .stdout(writer)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_cloud_that_does_not_answer_is_told_of_while_it_is_waited_for() {
    let workspace = without_guests(BOX);
    workspace.fault(&json!({
        "path": "/v2/account", "fault": { "status": { "code": 503 } }, "times": 1000
    }));
    let mut child = workspace
        .command(&["plan", "--local"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut first = String::new();
    let read = BufReader::new(child.stderr.take().expect("piped")).read_line(&mut first);
    // It would go on for minutes.
    child.kill().expect("it still waits");
    child.wait().expect("ended");
    assert!(read.is_ok());
    assert_eq!(first, "waiting for an answer from the local cloud\n");
}

#[test]
fn every_command_has_a_man_page() {
    let workspace = Workspace::new();
    for (command, title) in [
        ("apply", "dewpoint\\-apply"),
        ("local up", "dewpoint\\-local\\-up"),
    ] {
        let mut arguments = vec!["man"];
        arguments.extend(command.split(' '));
        workspace.run(&arguments).expect(0).says(title);
    }
    workspace
        .run(&["man", "nothing"])
        .expect(1)
        .says("`nothing` is no command");
}
