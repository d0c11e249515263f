//! Droplets that go while their volume cannot be unmounted: it is not torn from under what writes to it.

use serde_json::json;

use crate::guests;
use crate::workspace::Workspace;

/// A droplet that writes to its volume, and goes on holding it.
const WRITES: &str = r#"run: [{ name: write, command: "cd /mnt/data && echo precious >written && (setsid sleep 900 </dev/null >/dev/null 2>&1 &)" }]"#;
/// One that reads what was written, and goes.
const READS: &str = r#"run: [{ name: read, command: "grep precious /mnt/data/written" }]
    after_run: destroy"#;

fn manifest(what: &str) -> String {
    format!(
        "version: 1
project: busy
region: nyc3
volumes: {{ data: {{ size: 1GiB }} }}
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{{ volume: data, mount: /mnt/data }}]
    {what}
"
    )
}

/// An environment whose droplet holds its volume.
fn busy() -> Workspace {
    let workspace = Workspace::with(&manifest(WRITES));
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace
}

/// What was done with droplets and volumes by action, in order.
fn actions(workspace: &Workspace) -> Vec<String> {
    let is_action = |path: &str| path.ends_with("/actions");
    workspace
        .requests()
        .iter()
        .filter(|entry| {
            entry["method"] == "POST" && is_action(entry["path"].as_str().unwrap_or(""))
        })
        .filter_map(|entry| entry["request"]["type"].as_str().map(str::to_owned))
        .collect()
}

fn is_shut_down_first(workspace: &Workspace) {
    workspace
        .local(&["destroy", "--yes"])
        .expect(0)
        .says("the droplet is shut down, which writes out what it holds");
    assert_eq!(
        actions(workspace),
        ["attach", "shutdown", "detach"],
        "off before its disk is taken away"
    );
    workspace.write("dewpoint.yaml", &manifest(READS));
    workspace.local(&["test"]).expect(0);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn a_droplet_that_goes_is_shut_down_when_its_volume_is_in_use() {
    if !guests() {
        return;
    }
    let workspace = busy();
    is_shut_down_first(&workspace);
}

#[test]
fn a_droplet_that_nobody_can_log_in_to_is_shut_down_before_its_volume_leaves_it() {
    if !guests() {
        return;
    }
    let workspace = busy();
    // As `git clean -fdx` does.
    std::fs::remove_dir_all(workspace.path(".dewpoint")).expect("it is there");
    is_shut_down_first(&workspace);
}

#[test]
fn a_volume_is_not_torn_from_a_droplet_that_cannot_be_shut_down() {
    if !guests() {
        return;
    }
    let workspace = busy();
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets/*/actions", "times": 0, "fault": { "status": { "code": 403 } }
    }));
    workspace
        .local(&["destroy", "--yes"])
        .expect(1)
        .says("dewpoint::execute::still_on");
    assert_eq!(actions(&workspace), ["attach", "shutdown"]);
    // It goes all the same, and takes nothing with it.
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}
