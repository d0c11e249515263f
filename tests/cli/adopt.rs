//! Volumes and snapshots that were there before the manifest.

use crate::guests;
use crate::workspace::Workspace;

const DONOR: &str = r#"
version: 1
project: donor
region: nyc3
volumes:
  data: { size: 1GiB }
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision: [{ run: "echo made long ago > /etc/golden" }]
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: fill, command: "echo precious > /mnt/data/file" }]
    after_run: destroy
"#;

const TAKER: &str = r#"
version: 1
project: taker
region: nyc3
volumes:
  models: { size: 1GiB }
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision: [{ run: "echo this recipe is never run; false" }]
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: models, mount: /mnt/models }]
    run: [{ name: look, command: "cat /mnt/models/file /etc/golden" }]
    after_run: destroy
"#;

#[test]
fn what_was_there_before_is_adopted_and_used() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(DONOR);
    workspace.local(&["test"]).expect(0);
    workspace.write("dewpoint.yaml", TAKER);

    // While they are another project's, they stay so.
    let golden = workspace.names("images")[0].clone();
    let refused = |arguments: &[&str], whose: &str| {
        workspace
            .local(arguments)
            .expect(1)
            .says("dewpoint::plan::owned")
            .says(whose);
    };
    refused(
        &["adopt", "volume.models", "donor-data", "--yes"],
        "belongs to project donor",
    );
    refused(
        &["adopt", "snapshot.base", &golden, "--yes"],
        "belongs to project donor",
    );
    workspace
        .local(&["adopt", "volume.models", "donor-data"])
        .expect(1)
        .says("dewpoint::cli::no_terminal");
    for tag in workspace.names("tags") {
        let (status, _) = workspace.call("DELETE", &format!("/v2/tags/{tag}"), None);
        assert_eq!(status, 204, "{tag}");
    }

    workspace
        .local(&["adopt", "volume.models", "donor-data", "--yes"])
        .expect(0)
        .says("tag dewpoint-name:taker-models")
        .says("The next apply uses it as it is.");
    workspace
        .local(&["adopt", "snapshot.base", &golden, "--yes"])
        .expect(0)
        .says("The next apply uses it as it is.");
    workspace
        .local(&["adopt", "snapshot.base", &golden, "--yes"])
        .expect(0)
        .says("already");
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(2)
        .says(&format!("snapshot.base stays ({golden})"))
        .says("volume.models stays (donor-data)");
    let calls = workspace.requests().len();
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("| precious")
        .says("| made long ago");
    for request in &workspace.requests()[calls..] {
        assert_ne!(request["request"]["type"], "snapshot", "it was built");
    }
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");

    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn what_environments_share_is_adopted_while_nobody_else_makes_it() {
    let workspace = Workspace::with(
        r#"
version: 1
project: taker
region: nyc3
volumes:
  models: { size: 1GiB }
  scratch: { size: 1GiB, scope: environment }
"#,
    );
    workspace.up(&[]);
    for name in ["old", "older"] {
        let new = serde_json::json!({"name": name, "region": "nyc3", "size_gigabytes": 1});
        let (status, made) = workspace.call("POST", "/v2/volumes", Some(&new));
        assert_eq!(status, 201, "{made}");
    }
    // Another environment is making something just now.
    let folder = workspace.path(".dewpoint/locks");
    std::fs::create_dir_all(&folder).expect("made");
    let mut lock = std::fs::File::create(folder.join("taker-.making.lock")).expect("made");
    lock.lock().expect("nobody has it");
    let holder = serde_json::json!({
        "pid": std::process::id(),
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "command": "apply --env pr-1",
        "since": "2026-08-01T00:00:00Z",
    });
    std::io::Write::write_all(&mut lock, holder.to_string().as_bytes()).expect("written");
    let adopt = ["adopt", "volume.models", "old", "--yes"];
    workspace
        .local(&adopt)
        .expect(1)
        .says("dewpoint::execute::project_locked")
        .says("`dewpoint apply --env pr-1`");
    // What is the environment's alone is nobody else's to make.
    workspace
        .local(&["adopt", "volume.scratch", "older", "--yes"])
        .expect(0);
    drop(lock);
    workspace.local(&adopt).expect(0);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}
