//! One volume, several droplets, one after the other.

use crate::guests;
use crate::workspace::Workspace;

#[test]
fn three_droplets_in_turn_see_what_the_one_before_wrote() {
    if !guests() {
        return;
    }
    let workspace = Workspace::example("shared-volume");
    let first = workspace.local(&["apply", "--yes"]).expect(0);
    let first = first.says("volume.data is handed on in turn");
    for line in ["1 page by a", "2 pages by a b", "3 pages by a b c"] {
        assert!(
            first.err.contains(line),
            "`{line}` is missing:\n{}",
            first.all()
        );
    }
    // One attachment at a time, each ended before the next: the cloud would have refused the rest.
    let moves = actions(&workspace);
    assert_eq!(
        moves,
        ["attach", "detach", "attach", "detach", "attach"],
        "{}",
        first.all()
    );
    let volume = &workspace.list("volumes")[0];
    assert_eq!(volume["droplet_ids"].as_array().map(Vec::len), Some(1));

    // Whoever has it begins the next time.
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.")
        .says("handed on in turn: droplet.");
    let second = workspace.local(&["apply", "--yes"]).expect(0);
    assert!(second.err.contains("6 pages by"), "{}", second.all());

    // Another environment is told who has it, and nothing is made for it.
    let before = workspace.names("droplets");
    workspace
        .local(&["apply", "--yes", "--env", "pr-1", "--no-wait"])
        .expect(1)
        .says("of environment main")
        .says("expires at")
        .says("destroy --env main");
    assert_eq!(workspace.names("droplets"), before);

    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

/// What was done to volumes, in order.
fn actions(workspace: &Workspace) -> Vec<String> {
    workspace
        .requests()
        .iter()
        .filter(|request| {
            request["method"] == "POST"
                && request["path"].as_str().is_some_and(|path| {
                    path.starts_with("/v2/volumes/") && path.ends_with("/actions")
                })
        })
        .map(|request| {
            let text = request.to_string();
            if text.contains("detach") {
                "detach"
            } else {
                "attach"
            }
            .to_owned()
        })
        .collect()
}

#[test]
fn someone_s_own_volume_is_used_and_left_as_it_was() {
    if !guests() {
        return;
    }
    let manifest = r#"
version: 1
project: guest
region: nyc3
volumes:
  data: { existing: old-data }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: look, command: "cat /mnt/data/word" }]
"#;
    let workspace = Workspace::with(manifest);
    workspace.up(&[]);
    workspace
        .local(&["plan"])
        .expect(1)
        .says("no volume `old-data`");
    let new = serde_json::json!({"name": "old-data", "region": "nyc3", "size_gigabytes": 1, "tags": ["theirs"]});
    let (status, made) = workspace.call("POST", "/v2/volumes", Some(&new));
    assert_eq!(status, 201, "{made}");

    // A blank one is not formatted.
    workspace
        .local(&["apply", "--yes"])
        .expect(1)
        .says("nothing (it is blank)");
    workspace.local(&["destroy", "--yes"]).expect(0);

    // One that its owner has formatted and filled.
    let filled = manifest
        .replace("project: guest", "project: old")
        .replace("{ existing: old-data }", "{ size: 1GiB }")
        .replace(
            "cat /mnt/data/word",
            "echo hello from the owner >/mnt/data/word",
        )
        .replace("    run:", "    after_run: destroy\n    run:");
    let (status, _) = workspace.call("DELETE", "/v2/volumes?name=old-data&region=nyc3", None);
    assert_eq!(status, 204);
    workspace.write("owner.yaml", &filled);
    workspace
        .local(&["apply", "--yes", "-f", "owner.yaml"])
        .expect(0);
    let before = workspace.list("volumes");
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("hello from the owner");
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    assert_eq!(workspace.list("volumes"), before);
}

#[test]
fn a_renamed_volume_keeps_what_it_holds() {
    if !guests() {
        return;
    }
    let manifest = r#"
version: 1
project: rename
region: nyc3
volumes:
  old: { size: 1GiB }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: old, mount: /mnt/data }]
    run: [{ name: use, command: "echo more >>/mnt/data/log; wc -l </mnt/data/log" }]
    after_run: destroy
"#;
    let workspace = Workspace::with(manifest);
    workspace.local(&["apply", "--yes"]).expect(0);
    let new = manifest.replace("volume: old", "volume: new");
    workspace.write(
        "dewpoint.yaml",
        &new.replace("old: { size: 1GiB }", "new: { size: 1GiB, was: old }"),
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("it is renamed")
        .says("| 2");
    workspace.write(
        "dewpoint.yaml",
        &new.replace("old: { size: 1GiB }", "new: { size: 1GiB }"),
    );
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    workspace.local(&["apply", "--yes"]).expect(0).says("| 3");
    assert_eq!(workspace.names("volumes"), ["rename-old"]);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}
