//! One volume of a project, two environments.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use serde_json::json;

use crate::guests;
use crate::workspace::Workspace;

const SHARED: &str = r#"
version: 1
project: vol
region: nyc3
volumes:
  data: { size: 1GiB }
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: "true" }] }
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
"#;

#[test]
fn the_holder_is_told_by_name_and_what_was_made_in_vain_is_removed() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(SHARED);
    workspace.local(&["apply", "--yes", "--env", "a"]).expect(0);
    workspace
        .local(&["plan", "--env", "b"])
        .expect(1)
        .says("it is attached to droplet vol-a-box of environment a")
        .says("dewpoint destroy --env a")
        .says("with `scope:");
    workspace
        .local(&["destroy", "--yes", "--env", "a"])
        .expect(0);

    // Someone takes the volume after the plan was made and before it is attached.
    let holder = json!({
        "name": "vol-c-box", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64",
        "tags": ["dewpoint", "dewpoint:vol", "dewpoint:vol:c"],
    });
    let (status, made) = workspace.call("POST", "/v2/droplets", Some(&holder));
    assert_eq!(status, 202, "{made}");
    let holder = made["droplet"]["id"].as_u64().expect("an id");
    let volume = workspace.list("volumes")[0]["id"].clone();
    let volume = volume.as_str().expect("an id").to_owned();

    // The recipe differs, so that a snapshot is built first: time enough to be quicker.
    workspace.write(
        "dewpoint.yaml",
        &SHARED.replace("\"true\"", "echo building"),
    );
    let mut test = workspace
        .command(&["test", "--local", "--env", "b"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut err = BufReader::new(test.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("| building") {
        line.clear();
        assert!(
            err.read_line(&mut line).expect("read") > 0,
            "it ended early"
        );
    }
    let (status, answer) = workspace.call(
        "POST",
        &format!("/v2/volumes/{volume}/actions"),
        Some(&json!({"type": "attach", "droplet_id": holder, "region": "nyc3"})),
    );
    assert_eq!(status, 202, "{answer}");
    let mut rest = String::new();
    err.read_to_string(&mut rest).expect("read");
    assert_eq!(test.wait().expect("ended").code(), Some(1), "{rest}");
    assert!(
        rest.contains("volume vol-data is attached to droplet vol-c-box already"),
        "{rest}"
    );
    assert_eq!(workspace.names("droplets"), ["vol-c-box"]);
    assert_eq!(workspace.names("volumes"), ["vol-data"]);
}
