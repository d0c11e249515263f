//! One volume of a project, two environments.

use serde_json::json;

use crate::guests;
use crate::workspace::{Running, Workspace};

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
        .says("`dewpoint destroy --env a --local`")
        .says("with `scope:");
    workspace
        .local(&["test", "--env", "b", "--no-wait"])
        .expect(1)
        .says("dewpoint::plan::held")
        .says("it is attached to droplet vol-a-box of environment a");
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

    // Without waiting it fails there, and takes along what it has made.
    let attach = |test: &mut Running| {
        test.until("| building");
        let (status, answer) = workspace.call(
            "POST",
            &format!("/v2/volumes/{volume}/actions"),
            Some(&json!({"type": "attach", "droplet_id": holder, "region": "nyc3"})),
        );
        assert_eq!(status, 202, "{answer}");
    };
    let detach = || {
        let (status, answer) = workspace.call(
            "POST",
            &format!("/v2/volumes/{volume}/actions"),
            Some(&json!({"type": "detach", "droplet_id": holder, "region": "nyc3"})),
        );
        assert_eq!(status, 202, "{answer}");
    };
    // The recipe differs, so that a snapshot is built first: time enough to be quicker.
    let recipe = |what: &str| SHARED.replace("\"true\"", what);
    workspace.write("dewpoint.yaml", &recipe("echo building"));
    let mut test = Running::start(&workspace, &["test", "--env", "b", "--no-wait"]);
    attach(&mut test);
    let (code, rest) = test.end();
    assert_eq!(code, Some(1), "{rest}");
    assert!(
        rest.contains("volume vol-data is attached to droplet vol-c-box already"),
        "{rest}"
    );
    assert_eq!(workspace.names("droplets"), ["vol-c-box"]);
    assert_eq!(workspace.names("volumes"), ["vol-data"]);

    // Nor does it wait for longer than it is told to, once it has begun.
    detach();
    workspace.write("dewpoint.yaml", &recipe("echo building it again"));
    let mut test = Running::start(&workspace, &["test", "--env", "b", "--wait", "2s"]);
    attach(&mut test);
    test.until("droplet.box waits for a volume: ");
    test.until("FAILED droplet.box");
    let (code, rest) = test.end();
    assert_eq!(code, Some(1), "{rest}");
    assert_eq!(workspace.names("droplets"), ["vol-c-box"]);

    // Else it waits for its turn.
    detach();
    workspace.write("dewpoint.yaml", &recipe("echo building once more"));
    let mut test = Running::start(&workspace, &["test", "--env", "b"]);
    attach(&mut test);
    let note = test.until(
        "droplet.box waits for a volume: it is attached to droplet vol-c-box of environment c",
    );
    assert!(
        note.contains("for 2h at most (`--wait`), while its droplet costs money")
            && note.contains("`dewpoint destroy --env c` ends it sooner"),
        "{note}"
    );
    assert_eq!(workspace.names("droplets"), ["vol-b-box", "vol-c-box"]);
    detach();
    let (code, rest) = test.end();
    assert_eq!(code, Some(0), "{rest}");
    assert_eq!(workspace.names("droplets"), ["vol-c-box"]);
}

#[test]
fn two_environments_use_one_volume_one_after_the_other() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: turn
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run:
      - name: sign
        command: |
          test ! -e /mnt/data/busy
          touch /mnt/data/busy
          echo "$DEWPOINT_ENV" >>/mnt/data/signed
          sleep 1
          rm /mnt/data/busy
          echo "signed by $(tr '\n' ' ' </mnt/data/signed)"
"#,
    );
    // Both at once: whichever way they meet, each has it alone.
    let both = ["a", "b"].map(|name| Running::start(&workspace, &["test", "--env", name]));
    let mut all = String::new();
    for test in both {
        let (code, text) = test.end();
        assert_eq!(code, Some(0), "{text}");
        all.push_str(&text);
    }
    assert!(
        all.contains("signed by a b") || all.contains("signed by b a"),
        "{all}"
    );
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());

    // While it is known that somebody has it, nothing is made and nothing is paid for.
    workspace.local(&["apply", "--yes", "--env", "a"]).expect(0);
    let before = (workspace.names("ssh_keys"), workspace.names("tags"));
    let waits = "waiting for volume.data: it is attached to droplet turn-a-box of environment a, which was made at 20";
    let mut test = Running::start(&workspace, &["test", "--env", "b"]);
    let told = test.until(waits);
    assert!(
        told.contains(" and expires at 20") && told.contains("; for 2h at most (`--wait`)"),
        "{told}"
    );
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(test.pid(), libc::SIGINT) }, 0);
    let (code, text) = test.end();
    // Nothing was to be cleaned up: the signal itself is the end.
    assert_eq!(code, None, "{text}");
    assert_eq!(workspace.names("droplets"), ["turn-a-box"]);
    assert_eq!(
        (workspace.names("ssh_keys"), workspace.names("tags")),
        before
    );
    workspace
        .local(&["test", "--env", "b", "--wait", "1s"])
        .expect(1)
        .says("dewpoint::plan::held");

    let mut test = Running::start(&workspace, &["test", "--env", "b"]);
    test.until(waits);
    workspace
        .local(&["destroy", "--yes", "--env", "a"])
        .expect(0);
    let (code, text) = test.end();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn whoever_is_called_like_ours_and_bears_no_tags_keeps_its_volume() {
    let manifest = r#"
version: 1
project: vol
region: nyc3
volumes:
  scratch: { size: 1GiB, scope: environment }
"#;
    let workspace = Workspace::with(manifest);
    workspace.up(&["--without-guests"]);
    workspace.local(&["apply", "--yes"]).expect(0);
    let new = json!({
        "name": "vol-main-old", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64",
    });
    let (status, made) = workspace.call("POST", "/v2/droplets", Some(&new));
    assert_eq!(status, 202, "{made}");
    let holder = made["droplet"]["id"].as_u64().expect("an id");
    while workspace.list("droplets")[0]["status"] != "active" {
        std::thread::yield_now();
    }
    let id = workspace.list("volumes")[0]["id"].clone();
    let (status, answer) = workspace.call(
        "POST",
        &format!("/v2/volumes/{}/actions", id.as_str().expect("an id")),
        Some(&json!({"type": "attach", "droplet_id": holder, "region": "nyc3"})),
    );
    assert_eq!(status, 202, "{answer}");
    while workspace.list("volumes")[0]["droplet_ids"] != json!([holder]) {
        std::thread::yield_now();
    }
    // It may be someone else's: nothing is planned with what it has.
    workspace.write("dewpoint.yaml", "version: 1\nproject: vol\nregion: nyc3\n");
    workspace
        .local(&["plan"])
        .expect(1)
        .says("dewpoint::plan::attached_elsewhere")
        .says("droplet vol-main-old, which bears no tags");
    // Or one that is being destroyed: whoever is about to do something waits as long as that takes.
    let mut destroy = Running::start(&workspace, &["destroy", "--yes"]);
    destroy.until("waiting for a droplet without tags that has a volume");
    assert_eq!(workspace.names("volumes"), ["vol-main-scratch"]);
    let (status, _) = workspace.call("DELETE", &format!("/v2/droplets/{holder}"), None);
    assert_eq!(status, 204);
    let (code, text) = destroy.end();
    assert_eq!(code, Some(0), "{text}");
    workspace.assert_empty();
}
