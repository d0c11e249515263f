//! Throw-away copies of a volume.

use std::process::{Child, Stdio};

use serde_json::json;

use crate::guests;
use crate::workspace::Workspace;

const USE: &str = r#"
version: 1
project: copies
region: nyc3
volumes:
  data: { size: 1GiB }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
    run:
      - name: use
        command: |
          echo "found $(cat /mnt/data/word) in $DEWPOINT_ENV, alone: $(ls /mnt/data | grep -c by-)"
          echo scratched >/mnt/data/word
          touch /mnt/data/by-$DEWPOINT_ENV
"#;

/// The volume itself, in another environment.
const FILL: &str = r#"
version: 1
project: copies
environment: fill
region: nyc3
volumes:
  data: { size: 1GiB }
droplets:
  fill:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: fill, command: "ls /mnt/data; echo WORD >/mnt/data/word" }]
    after_run: destroy
"#;

const ENVIRONMENTS: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn four_environments_clone_a_volume_at_once_and_none_of_them_writes_to_it() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(USE);
    let fill = |word: &str| {
        workspace.write("fill.yaml", &FILL.replace("WORD", word));
        workspace
            .local(&["apply", "--yes", "-f", "fill.yaml"])
            .expect(0)
    };
    fill("first");

    let children: Vec<Child> = ENVIRONMENTS
        .iter()
        .map(|environment| {
            workspace
                .command(&["apply", "--yes", "--local", "--env", environment])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the binary runs")
        })
        .collect();
    for (child, environment) in children.into_iter().zip(ENVIRONMENTS) {
        let output = child.wait_with_output().expect("ended");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{environment}: {err}");
        let line = format!("found first in {environment}, alone: 0");
        assert!(err.contains(&line), "`{line}` is missing:\n{err}");
    }
    // One snapshot for all of them; a clone each.
    assert_eq!(workspace.list("snapshots").len(), 1);
    let volumes = workspace.list("volumes");
    assert_eq!(volumes.len(), 5);
    for environment in ENVIRONMENTS {
        let tag = format!("dewpoint:copies:{environment}");
        let clone = volumes
            .iter()
            .find(|volume| {
                let tags = volume["tags"].as_array().expect("tags");
                tags.contains(&json!(tag))
            })
            .expect("a clone");
        let tags = clone["tags"].to_string();
        for part in [
            "dewpoint-expires:",
            &format!("dewpoint-clone:copies:{environment}:data"),
        ] {
            assert!(tags.contains(part), "{part} is missing: {tags}");
        }
        assert_eq!(clone["droplet_ids"].as_array().map(Vec::len), Some(1));
    }
    let before = workspace.requests().len();
    workspace
        .local(&["plan", "--detailed-exitcode", "--env", "a"])
        .expect(0)
        .says("No changes.");
    let calls = workspace.requests().len() - before;
    assert!(calls <= 9, "a plan with nothing to do took {calls} calls");

    // Nothing was written to the volume: no other snapshot is needed. A test leaves no clone.
    workspace
        .local(&["test", "--env", "e"])
        .expect(0)
        .says("found first in e, alone: 0")
        .says("nothing has changed since");
    assert_eq!(workspace.list("snapshots").len(), 1);
    assert_eq!(workspace.list("volumes").len(), 5);

    // Whoever has the volume itself sees nothing of theirs; what it writes is in the next clone.
    let filled = fill("second");
    assert!(!filled.err.contains("| by-"), "{}", filled.all());
    workspace
        .local(&["test", "--env", "e"])
        .expect(0)
        .says("found second in e, alone: 0")
        .says("took copies-data-snap-");
    assert_eq!(workspace.list("snapshots").len(), 2);

    // A clone whose droplet is gone goes, and the droplet gets a new one.
    let droplets = workspace.list("droplets");
    let lost = droplets
        .iter()
        .find(|droplet| droplet["name"] == "copies-a-box")
        .expect("a droplet");
    let path = format!("/v2/droplets/{}", lost["id"]);
    assert_eq!(workspace.call("DELETE", &path, None).0, 204);
    workspace
        .local(&["apply", "--yes", "--env", "a"])
        .expect(0)
        .says("# volume.clone-box-data-")
        .says("found second in a, alone: 0");
    assert_eq!(workspace.list("volumes").len(), 5);

    for environment in ENVIRONMENTS.into_iter().chain(["fill"]) {
        workspace
            .local(&["destroy", "--yes", "--env", environment])
            .expect(0);
    }
    assert_eq!(workspace.names("volumes"), ["copies-data"]);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0)
        .says("a snapshot of a volume: `destroy --project` empties the project");
    workspace.assert_empty();
}

#[test]
fn what_one_droplet_leaves_on_a_volume_others_get_copies_of() {
    if !guests() {
        return;
    }
    let manifest = r#"
version: 1
project: fan
region: nyc3
volumes:
  data: { size: 1GiB, scope: environment }
droplets:
  fill:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: fill, command: "COMMAND" }]
    after_run: destroy
  use:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    volumes: [{ volume: data, mount: /mnt/data, access: clone }]
    run: [{ name: use, command: "cat /mnt/data/word; false" }]
"#;
    let workspace =
        Workspace::with(&manifest.replace("COMMAND", "echo half >/mnt/data/word; false"));
    // What a run that failed leaves is not what was asked for.
    workspace.local(&["test"]).expect(3);
    assert!(!workspace.requests().iter().any(|request| {
        let path = request["path"].as_str().unwrap_or_default();
        path.starts_with("/v2/volumes/")
            && path.ends_with("/snapshots")
            && request["method"] == "POST"
    }));
    workspace.assert_empty();
    workspace.write(
        "dewpoint.yaml",
        &manifest.replace("COMMAND", "echo whole >/mnt/data/word"),
    );
    // Failing runs keep no clone, no snapshot and no mark of it.
    let ran = workspace.local(&["test"]).expect(3);
    assert_eq!(ran.err.matches("| whole").count(), 2, "{}", ran.all());
    workspace.assert_empty();
}
