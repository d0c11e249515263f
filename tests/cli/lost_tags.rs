//! Droplets that somebody took a tag from.

use serde_json::{Value, json};

use crate::workspace::Workspace;

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
    let workspace = Workspace::with(TWO);
    workspace.up(&["--without-guests"]);
    let project = ["dewpoint", "dewpoint:lost"];
    let droplet = |name: &str, tags: &[&str]| {
        let body = json!({
            "name": name, "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64",
            "tags": tags,
        });
        make(&workspace, "/v2/droplets", "droplet", &body)
    };
    // A delete strips tags at once: what bears none holds its volume for a moment only. Who that is
    // shows once it is looked up, for the plan is refused until then.
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
    let plan = workspace.local(&["plan", "--format", "json"]).expect(0).out;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let change = |address: &str| {
        let changes = plan["changes"].as_array().expect("changes");
        let mut found = changes.iter().filter(|change| change["address"] == address);
        let change = found
            .next()
            .unwrap_or_else(|| panic!("{address} in {plan:#}"));
        assert!(found.next().is_none(), "{plan:#}");
        change.clone()
    };
    let kept = change("droplet.box");
    assert_eq!(kept["action"], "update", "{kept:#}");
    assert_eq!(kept["id"], lost.to_string(), "{kept:#}");
    assert_eq!(change("droplet.other")["action"], "create");
}
