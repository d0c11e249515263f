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
