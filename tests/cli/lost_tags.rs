//! Droplets that somebody took a tag from.

use serde_json::{Value, json};

use crate::guests;
use crate::workspace::{Running, Workspace};

const TWO: &str = r#"
version: 1
project: lost
region: nyc3
volumes:
  data: { size: 1GiB }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
  other:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
"#;

fn make(workspace: &Workspace, path: &str, kind: &str, what: &Value) -> Value {
    let (status, made) = workspace.call("POST", path, Some(what));
    assert!((200..300).contains(&status), "{status}: {made:#}");
    made[kind]["id"].clone()
}

#[test]
fn one_that_lost_its_environment_is_not_doubled_after_a_refusal_was_looked_into() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(TWO);
    workspace.up(&[]);
    let project = ["dewpoint", "dewpoint:lost"];
    let droplet = |name: &str, tags: &[&str]| {
        let body = json!({
            "name": name, "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64",
            "tags": tags,
        });
        make(&workspace, "/v2/droplets", "droplet", &body)
    };
    // A delete strips tags at once: what bears none may hold its volume for a moment only, and the plan
    // is refused until then.
    let going = droplet("lost-main-other", &[]);
    let lost = droplet("lost-main-box", &project);
    let volume = json!({
        "name": "lost-data", "region": "nyc3", "size_gigabytes": 1, "tags": project,
    });
    let volume = make(&workspace, "/v2/volumes", "volume", &volume);
    let volume = volume.as_str().expect("an id");
    let attach = json!({ "type": "attach", "droplet_id": going, "region": "nyc3" });
    loop {
        let path = format!("/v2/volumes/{volume}/actions");
        // Not before the droplet is active.
        if workspace.call("POST", &path, Some(&attach)).0 == 202 {
            break;
        }
        std::thread::yield_now();
    }
    while workspace.list("volumes")[0]["droplet_ids"] != json!([going]) {
        std::thread::yield_now();
    }
    let mut apply = Running::start(&workspace, &["apply", "--yes"]);
    apply.until("waiting for a droplet without tags that has a volume");
    let (status, _) = workspace.call("DELETE", &format!("/v2/droplets/{going}"), None);
    assert_eq!(status, 204);
    let (code, text) = apply.end();
    assert_eq!(code, Some(0), "{text}");
    let droplets = workspace.list("droplets");
    let of = |name: &str| {
        let droplets = droplets.iter().filter(|droplet| droplet["name"] == name);
        droplets
            .map(|droplet| droplet["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("lost-main-box"), [lost], "{text}");
    assert_eq!(of("lost-main-other").len(), 1, "{text}");
}
