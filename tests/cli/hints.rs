//! Commands that dewpoint proposes mean what the command meant that proposes them; and commands that make
//! nothing of the manifest need no values that they do not use.

use std::process::Command;

use crate::guests;
use crate::workspace::{Ran, Workspace};

const SEVERAL: &str = r#"
version: 1
project: hint
region: nyc3
variables:
  n: { default: 1 }
  cmd: { description: what is run }
droplets:
  a:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: ${var.n}
    run:
      - { name: tests, command: "${var.cmd}" }
    after_run: keep
"#;

/// The arguments of the first command that is proposed with that verb.
#[track_caller]
fn proposed(ran: &Ran, verb: &str) -> Vec<String> {
    let text = format!("{}{}", ran.out, ran.err);
    let opening = format!("`dewpoint {verb}");
    let at = text
        .find(&opening)
        .unwrap_or_else(|| panic!("no {opening}: {}", ran.all()));
    let command = text[at + 1..].split('`').next().expect("its end");
    let words = shlex::split(command).expect("a shell reads it");
    words[1..].to_vec()
}

fn arguments(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn what_is_proposed_destroys_nothing_and_a_destroy_needs_no_values() {
    if !guests() {
        return;
    }
    let workspace = Workspace::new();
    workspace.write("n.yaml", SEVERAL);
    workspace.write("vars.yaml", "n: \"2\"\n");
    let cmd = "cmd=[ \"$DEWPOINT_DROPLET\" != hint-main-a-2 ] && echo well";
    let failed = workspace
        .local(&[
            "apply",
            "-f",
            "n.yaml",
            "--var-file",
            "vars.yaml",
            "--var",
            "n=7",
            "--var",
            "n=3",
            "--var",
            cmd,
            "--yes",
        ])
        .expect(3)
        .says("`dewpoint apply --local -f n.yaml --var-file vars.yaml --var n=3 --var cmd='")
        .says("runs all run steps again")
        .says("removes what is up");
    assert_eq!(workspace.names("droplets").len(), 3);
    assert!(!failed.all().contains("n=7"), "{}", failed.all());
    let apply = proposed(&failed, "apply");
    assert!(apply.contains(&cmd.to_owned()), "{apply:?}");

    // As it is proposed, it leaves what is there.
    let mut plan = apply.clone();
    plan[0] = "plan".to_owned();
    workspace
        .run(&arguments(&plan))
        .expect(0)
        .says("No changes.");

    // Who only looks needs no value of what only runs.
    let f = ["-f", "n.yaml", "--local"];
    let look = |words: &[&str]| workspace.run(&[words, &f[..]].concat());
    look(&["status"])
        .expect(0)
        .says("droplet.a-3")
        .says("how it differs from the manifest is not known: the variable `cmd` has no value");
    look(&["history"]).expect(0).says("apply");
    look(&["logs", "--step", "tests"]).expect(0).says("well");
    look(&["report"]).expect(0).says("report.html");
    look(&["plan"])
        .expect(1)
        .says("the variable `cmd` has no value");
    if Command::new("ssh").arg("-V").output().is_ok() {
        look(&["ssh-config"]).expect(0).says("Host hint-main-a-3");
        for address in ["droplet.a[3]", "hint-main-a-3", "droplet.a-3"] {
            workspace
                .run(&["ssh", "-f", "n.yaml", "--local", address, "--", "hostname"])
                .expect(0)
                .says("hint-main-a-3");
        }
        for address in ["droplet.a", "droplet.a[1]"] {
            let first = workspace
                .run(&["ssh", "-f", "n.yaml", "--local", address, "--", "hostname"])
                .expect(0);
            assert_eq!(first.out.trim(), "hint-main-a", "{}", first.all());
        }
    }
    look(&["ssh", "droplet.a[4]"])
        .expect(1)
        .says("`droplet.a[4]` names no droplet of this environment")
        .says("droplets that are up: droplet.a, droplet.a[2], droplet.a[3]");
    look(&["cp", "n.yaml", "droplet.a[2]:/tmp/n.yaml"]).expect(0);

    // Nothing stands between somebody and a destroy, not even a count that nobody knows.
    workspace.write("n.yaml", &SEVERAL.replace("n: { default: 1 }", "n: {}"));
    look(&["destroy"])
        .expect(1)
        .says("read the plan with `dewpoint plan --destroy --local -f n.yaml`, then add `--yes`");
    look(&["plan", "--destroy", "--out", "gone.json"])
        .expect(0)
        .says("to destroy");
    look(&["graph", "--destroy"]).expect(0);
    look(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_part_of_a_test_is_proposed_as_that_part() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(&SEVERAL.replace("default: 1", "default: 4"));
    let failed = workspace
        .local(&["test", "--target", "droplet.a[3]", "--var", "cmd=false"])
        .expect(3)
        .says("does this part of the test again");
    assert_eq!(
        proposed(&failed, "test"),
        [
            "test",
            "--target",
            "droplet.a[3]",
            "--local",
            "--var",
            "cmd=false"
        ]
    );
    workspace.assert_empty();

    // The step that was run, and no other.
    workspace
        .local(&["apply", "--yes", "--var", "n=1", "--var", "cmd=true"])
        .expect(0);
    let failed = workspace
        .local(&[
            "run",
            "droplet.a",
            "tests",
            "--var",
            "n=1",
            "--var",
            "cmd=false",
        ])
        .expect(3);
    assert_eq!(
        proposed(&failed, "run"),
        [
            "run",
            "droplet.a",
            "tests",
            "--local",
            "--var",
            "n=1",
            "--var",
            "cmd=false"
        ]
    );
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_secret_that_is_also_a_value_is_not_proposed() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        &SEVERAL.replace("    after_run", "    secrets: [HINT_TOKEN]\n    after_run"),
    );
    let arguments = [
        "apply",
        "--local",
        "--yes",
        "--var",
        "cmd=echo hush-hush-hush; false",
    ];
    let mut command = workspace.command(&arguments);
    command.env("HINT_TOKEN", "hush-hush-hush");
    let failed = workspace.finish(command).expect(3);
    let help = failed.out.lines().find(|line| line.starts_with("help: "));
    let help = help.unwrap_or_else(|| panic!("{}", failed.all()));
    assert!(
        help.contains("--var cmd='echo [redacted]; false'"),
        "{help}"
    );
    assert!(!help.contains("hush-hush-hush"), "{help}");
    workspace.local(&["destroy", "--yes"]).expect(0);
}

#[test]
fn refusals_propose_commands_with_what_was_given() {
    let workspace = Workspace::new();
    workspace.write("n.yaml", SEVERAL);
    let run = |words: &[&str]| workspace.run(&[words, &["-f", "n.yaml", "--local"]].concat());
    workspace.up(&["--without-guests"]);
    run(&["destroy", "--project", "--env", "b", "--unprotect", "volume.x"])
        .expect(1)
        .says("read the plan with `dewpoint plan --destroy --project --unprotect volume.x --local -f n.yaml --env b`, then add `--yes`");
    run(&["apply", "--target", "droplet.a", "--replace", "droplet.a", "--var", "n=2"])
        .expect(1)
        .says("read the plan with `dewpoint plan --target droplet.a --replace droplet.a --local -f n.yaml --var n=2`");
    run(&["adopt", "volume.x", "y"])
        .expect(1)
        .says("or add `--yes`: only tags are given");
    run(&["logs"])
        .expect(1)
        .says("`dewpoint apply --local -f n.yaml` and `dewpoint test --local -f n.yaml` make some; `dewpoint history --all -f n.yaml`");
    run(&["plan", "--var", "cmd=true", "--target", "droplet.x"])
        .expect(1)
        .says("`dewpoint plan --local -f n.yaml --var cmd=true` shows all");

    // What is needed is asked for, and nothing else.
    workspace.write(
        "n.yaml",
        &SEVERAL
            .replace("region: nyc3", "region: nyc3\nprotect: [\"${var.kept}\"]")
            .replace("variables:", "variables:\n  kept: {}"),
    );
    let refused = run(&["destroy", "--yes"])
        .expect(1)
        .says("the variable `kept` has no value");
    assert!(!refused.err.contains("`cmd`"), "{}", refused.all());
    run(&["destroy", "--yes", "--var", "kept=droplet.a"]).expect(0);
}
