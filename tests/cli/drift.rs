//! `plan --refresh-only`: what somebody else did is told from an edit of the manifest.

use serde_json::{Value, json};

use crate::workspace::Workspace;

const MANIFEST: &str = r#"
version: 1
project: drift
region: nyc3
volumes:
  data: { size: 1GiB, scope: environment }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
  web: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

const REFRESH: [&str; 3] = ["plan", "--refresh-only", "--detailed-exitcode"];

fn drift(workspace: &Workspace) -> Value {
    let printed = workspace.local(&["plan", "--refresh-only", "--format", "json"]);
    let found: Value = serde_json::from_str(&printed.expect(0).out).expect("JSON");
    let schema = workspace.run(&["schema", "drift"]).expect(0).out;
    let schema: Value = serde_json::from_str(&schema).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    assert!(validator.is_valid(&found), "{found:#}");
    found
}

#[test]
fn what_somebody_else_did_is_shown_and_nothing_is_proposed() {
    let workspace = Workspace::with(MANIFEST);
    // Before anything was applied nothing can be told.
    workspace
        .local(&REFRESH)
        .expect(0)
        .says("nothing was applied from this folder")
        .says("No drift.");

    workspace.local(&["apply", "--yes"]).expect(0);
    workspace
        .local(&REFRESH)
        .expect(0)
        .says("what was last applied from here")
        .says("No drift. All of it is as it was applied.");
    // An edit of the manifest is no drift, and what a plan says of it stays.
    let edited = MANIFEST.replace("1GiB", "2GiB");
    workspace.write("dewpoint.yaml", &edited);
    workspace.local(&REFRESH).expect(0).says("No drift.");
    let plan = workspace.local(&["plan", "--format", "json"]).expect(0).out;
    assert!(
        plan.contains("\"cause\": \"manifest\"") && !plan.contains("\"cause\": \"drift\""),
        "{plan}"
    );

    // Behind its back: a droplet is deleted, one made, and the firewall opened.
    let id_of = |name: &str| {
        let all = workspace.list("droplets");
        let found = all.iter().find(|droplet| droplet["name"] == name);
        found.expect("a droplet")["id"].as_u64().expect("an id")
    };
    let (status, _) = workspace.call(
        "DELETE",
        &format!("/v2/droplets/{}", id_of("drift-main-box")),
        None,
    );
    assert_eq!(status, 204);
    let stranger = json!({
        "name": "drift-main-other", "region": "nyc3", "size": "s-1vcpu-1gb",
        "image": "ubuntu-24-04-x64", "tags": ["dewpoint", "dewpoint:drift", "dewpoint:drift:main"],
    });
    let (status, _) = workspace.call("POST", "/v2/droplets", Some(&stranger));
    assert_eq!(status, 202);
    let wall = workspace.list("firewalls").remove(0);
    let mut inbound = wall["inbound_rules"].as_array().expect("rules").clone();
    inbound.push(
        json!({ "protocol": "tcp", "ports": "8080", "sources": { "addresses": ["0.0.0.0/0"] } }),
    );
    let opened = json!({
        "name": wall["name"], "inbound_rules": inbound,
        "outbound_rules": wall["outbound_rules"], "tags": wall["tags"],
    });
    let path = format!("/v2/firewalls/{}", wall["id"].as_str().expect("an id"));
    assert_eq!(workspace.call("PUT", &path, Some(&opened)).0, 200);

    let before = workspace.requests().len();
    let shown = workspace.local(&REFRESH).expect(2);
    for line in [
        "- droplet.box is gone (drift-main-box)",
        "+ droplet.other is there, and was not applied (drift-main-other, ",
        "~ firewall was changed (drift-main, ",
        "inbound tcp 8080  (none) -> 0.0.0.0/0",
        "Drift: 1 changed, 1 gone, 1 not applied.",
    ] {
        assert!(shown.out.contains(line), "no `{line}` in\n{}", shown.all());
    }
    let requests = workspace.requests();
    let changing = requests[before..]
        .iter()
        .filter(|request| request["method"] != "GET");
    assert_eq!(changing.count(), 0);
    let found = drift(&workspace);
    let kinds: Vec<&str> = found["drift"]
        .as_array()
        .expect("drift")
        .iter()
        .map(|drift| drift["kind"].as_str().expect("a word"))
        .collect();
    assert_eq!(kinds, ["changed", "gone", "unasked"], "{found:#}");
    workspace
        .local(&["plan", "--refresh-only", "--format", "markdown"])
        .expect(0)
        .says("<!-- dewpoint:drift:drift:main -->")
        .says("**Drift:** 1 changed, 1 gone, 1 not applied.");

    // `status` and the next plan know too; the edit is still the manifest's.
    workspace
        .local(&["status"])
        .expect(0)
        .says("drifted: droplet.box")
        .says("inbound tcp 8080 (none) -> 0.0.0.0/0");
    let plan = workspace
        .local(&["plan"])
        .expect(0)
        .says("it was applied before, and was deleted since, by hand or by a sweep")
        .says("it is not in the manifest, and was not applied from here")
        .says("its rules are not those of the manifest: changed outside of dewpoint");
    assert!(
        plan.out.contains("the manifest asks for more"),
        "{}",
        plan.all()
    );

    workspace.local(&["apply", "--yes"]).expect(0);
    workspace.local(&REFRESH).expect(0).says("No drift.");
    // A part of a plan leaves no state that could be compared with.
    workspace.write(
        "dewpoint.yaml",
        &edited.replace("s-1vcpu-1gb", "s-2vcpu-2gb"),
    );
    workspace
        .local(&["apply", "--yes", "--target", "droplet.box"])
        .expect(0);
    workspace.local(&REFRESH).expect(0).says("did a part only");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace
        .local(&REFRESH)
        .expect(0)
        .says("this environment was emptied from here");
}

#[test]
fn saved_plans_and_plans_with_nothing_to_do_are_known_to_be_applied() {
    let workspace = Workspace::with(MANIFEST);
    workspace.local(&["plan", "--out", "plan.json"]).expect(0);
    workspace.local(&["apply", "plan.json"]).expect(0);
    assert!(drift(&workspace)["compared_with"]["applied"].is_object());
    // On another machine nothing is known until an apply finds all of it there.
    std::fs::remove_dir_all(workspace.path(".dewpoint/applied")).expect("removed");
    assert_eq!(
        drift(&workspace)["compared_with"]["manifest"]["why"],
        "never"
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("No changes.");
    assert!(drift(&workspace)["compared_with"]["applied"].is_object());
    // Another account is another one, whatever was applied.
    workspace.run(&["local", "reset", "--yes"]).expect(0);
    assert_eq!(
        drift(&workspace)["compared_with"]["manifest"]["why"],
        "never"
    );
    // What would propose something is refused.
    for option in [
        &["--target", "droplet.box"][..],
        &["--out", "x"],
        &["--destroy"],
    ] {
        let mut all = vec!["plan", "--refresh-only"];
        all.extend_from_slice(option);
        workspace.local(&all).expect(1).says("cannot be used with");
    }
}

#[test]
fn what_was_powered_off_or_grown_by_hand_is_drift_in_its_own_words() {
    let workspace = Workspace::with(MANIFEST);
    workspace.local(&["apply", "--yes"]).expect(0);
    let droplets = workspace.list("droplets");
    let boxed = droplets.iter().find(|d| d["name"] == "drift-main-box");
    let path = format!("/v2/droplets/{}", boxed.expect("a droplet")["id"]);
    let off = json!({ "type": "power_off" });
    assert_eq!(
        workspace
            .call("POST", &format!("{path}/actions"), Some(&off))
            .0,
        201
    );
    while workspace.call("GET", &path, None).1["droplet"]["status"] != "off" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let volume = workspace.list("volumes").remove(0);
    let path = format!("/v2/volumes/{}/actions", volume["id"].as_str().expect("id"));
    let grow = json!({ "type": "resize", "size_gigabytes": 3, "region": "nyc3" });
    assert_eq!(workspace.call("POST", &path, Some(&grow)).0, 202);
    while workspace.list("volumes")[0]["size_gigabytes"] != 3 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    let shown = workspace.local(&REFRESH).expect(2);
    for line in [
        "~ droplet.box was changed (drift-main-box, ",
        "power  on -> off",
        "~ volume.data was changed (drift-main-data, ",
        "size  1GiB -> 3GiB",
        "Drift: 2 changed, 0 gone, 0 not applied.",
    ] {
        assert!(shown.out.contains(line), "no `{line}` in\n{}", shown.all());
    }
    assert!(!shown.out.contains("shrink"), "{}", shown.all());
    let found = drift(&workspace);
    assert_eq!(
        found["drift"][0]["fields"][0],
        json!({ "field": "size", "applied": "1GiB", "found": "3GiB" }),
        "{found:#}"
    );
    workspace
        .local(&["status"])
        .expect(0)
        .says("drifted: droplet.box: power on -> off")
        .says("drifted: volume.data: size 1GiB -> 3GiB");

    // A droplet that is off, on which something is to run: the command that is named makes it anew.
    let runs = MANIFEST.replace("size: 1GiB", "size: 3GiB").replace(
        "box: { image",
        "box: { run: [{ name: go, command: \"true\" }], image",
    );
    workspace.write("dewpoint.yaml", &runs);
    workspace
        .local(&["plan"])
        .expect(1)
        .says("so nothing can run on it")
        .says("`dewpoint apply --replace droplet.box --local`");
    workspace
        .local(&["plan", "--replace", "droplet.box"])
        .expect(0)
        .says("droplet.box must be replaced");
    workspace.local(&["destroy", "--yes"]).expect(0);
}
