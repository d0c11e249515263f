//! The cloud misbehaves: nothing is doubled, nothing is left unseen.

use serde_json::json;

use crate::workspace::Workspace;

const ONE: &str = r#"
version: 1
project: one
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

#[test]
fn a_droplet_whose_create_answer_was_lost_is_found_not_doubled() {
    let workspace = Workspace::with(ONE);
    workspace.up(&[]);
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "fault": "reset_after"
    }));
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), ["one-main-box"]);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_refusal_in_the_middle_is_reported_and_the_next_apply_goes_on() {
    let workspace = Workspace::with(ONE);
    workspace.up(&[]);
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "fault": { "status": { "code": 422 } }
    }));
    let failed = workspace.local(&["apply", "--yes"]).expect(1);
    assert!(failed.out.contains("droplet.box"), "{}", failed.all());
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn server_errors_and_rate_limits_are_waited_out() {
    let workspace = Workspace::with(ONE);
    workspace.up(&[]);
    for (method, path, status) in [
        ("GET", "/v2/volumes", 503),
        ("GET", "/v2/droplets", 500),
        ("POST", "/v2/firewalls", 502),
        ("POST", "/v2/account/keys", 429),
    ] {
        workspace.fault(&json!({
            "method": method, "path": path, "fault": { "status": { "code": status, "retry_after": 1 } }
        }));
    }
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), ["one-main-box"]);
    assert_eq!(workspace.names("firewalls"), ["one-main"]);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_killed_apply_is_finished_by_the_next_one() {
    let workspace = Workspace::with(&ONE.replace("s-1vcpu-1gb }", "s-1vcpu-1gb, count: 3 }"));
    workspace.up(&[]);
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "fault": { "delay": { "ms": 20_000 } }
    }));
    let mut apply = workspace
        .command(&["apply", "--yes", "--local"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    // Wait for the level, not for a time: the droplets exist, their answer is still out.
    while workspace.names("droplets").len() < 3 {
        std::thread::yield_now();
    }
    apply.kill().expect("killed");
    apply.wait().expect("ended");
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets").len(), 3);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_create_that_was_refused_is_not_waited_for() {
    let workspace = Workspace::with(ONE);
    workspace.up(&[]);
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "fault": { "status": { "code": 422 } }
    }));
    let failed = workspace.local(&["test"]).expect(1).says("was never made");
    // One look is all that is due.
    let looks = workspace
        .requests()
        .iter()
        .filter(|request| {
            request["method"] == "GET"
                && request["path"] == "/v2/droplets"
                && request.to_string().contains("tag_name")
        })
        .count();
    assert!(looks <= 2, "{looks} looks\n{}", failed.all());
    workspace.assert_empty();
}

#[test]
fn the_key_is_kept_while_a_droplet_that_it_opens_may_be_left() {
    let workspace = Workspace::with(ONE);
    workspace.up(&[]);
    let key = workspace.path(".dewpoint/keys/one-main");
    workspace.fault(&json!({
        "method": "DELETE", "path": "/v2/droplets/*", "fault": { "status": { "code": 403 } }
    }));
    workspace
        .local(&["test"])
        .expect(1)
        .says("May be left: droplet.box")
        .says("a droplet that it opens may be left");
    assert_eq!(workspace.names("droplets"), ["one-main-box"]);
    assert!(key.exists());
    // Nor does a destroy that cannot destroy take anything that the droplet needs.
    workspace.fault(&json!({
        "method": "DELETE", "path": "/v2/droplets/*", "fault": { "status": { "code": 403 } }
    }));
    workspace
        .local(&["destroy", "--yes"])
        .expect(1)
        .says("May be left: droplet.box");
    assert!(key.exists());
    workspace.local(&["destroy", "--yes"]).expect(0);
    assert!(!key.exists());
    workspace.assert_empty();
}

#[test]
fn what_was_made_before_everything_broke_is_told_and_destroyed() {
    let manifest = "version: 1\nproject: one\nregion: nyc3\nvolumes: { data: { size: 1GiB, scope: environment } }\n";
    let workspace = Workspace::with(manifest);
    workspace.up(&[]);
    // The answer is lost, and so is every look for what it made; then the API is back.
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/volumes", "fault": "reset_after"
    }));
    workspace.fault(&json!({
        "method": "GET", "path": "/v2/volumes", "nth": 2, "fault": { "status": { "code": 403 } }
    }));
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/firewalls", "fault": "reset_after"
    }));
    workspace.fault(&json!({
        "method": "GET", "path": "/v2/firewalls", "nth": 2, "fault": { "status": { "code": 403 } }
    }));
    workspace.local(&["test"]).expect(1);
    workspace.assert_empty();
}

#[test]
fn an_image_that_is_not_there_is_refused_before_anything_is_made() {
    let manifest = r#"
version: 1
project: mars
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  a: { image: mars-os, size: s-1vcpu-1gb }
  b: { image: ubuntu-24-04, size: s-1vcpu-1gb, count: 2 }
"#;
    let workspace = Workspace::with(manifest);
    let requests = |method: &str, path: &str| {
        let of = |request: &serde_json::Value| {
            let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
            text("method") == method && text("path").starts_with(path)
        };
        workspace.requests().iter().filter(|r| of(r)).count()
    };
    workspace.up(&[]);
    for arguments in [&["plan"][..], &["apply", "--yes"], &["test"]] {
        workspace
            .local(arguments)
            .expect(1)
            .says("there is no image `mars-os`")
            .says("there is no image `ubuntu-24-04`")
            .says("such as ubuntu-24-04-x64");
    }
    assert_eq!(requests("POST", "/v2/"), 0);

    // One look for each slug that something is made of, and none once it is made.
    workspace.write(
        "dewpoint.yaml",
        &manifest
            .replace("mars-os", "debian-12-x64")
            .replace("ubuntu-24-04,", "debian-12-x64,"),
    );
    let before = requests("GET", "/v2/images/");
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(requests("GET", "/v2/images/") - before, 1);
    workspace.local(&["plan"]).expect(0).says("No changes.");
    assert_eq!(requests("GET", "/v2/images/") - before, 1);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}
