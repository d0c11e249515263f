//! What has expired or was left behind in an account, and what only looks like it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::workspace::{Ran, Workspace};

const ONE: &str = r#"
version: 1
project: one
region: nyc3
volumes:
  scratch: { size: 1GiB, scope: environment }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;
const PAST: &str = "dewpoint-expires:1700000000";

fn sweep(workspace: &Workspace, arguments: &[&str]) -> Ran {
    let mut all = vec!["sweep", "--local"];
    all.extend_from_slice(arguments);
    let mut command = workspace.command(&all);
    command.env("XDG_STATE_HOME", workspace.path("state"));
    workspace.finish(command)
}

/// A thing made past the client; its id.
fn make(workspace: &Workspace, kind: &str, body: &Value) -> Value {
    let (path, key) = match kind {
        "droplet" => ("/v2/droplets", "droplet"),
        "volume" => ("/v2/volumes", "volume"),
        "firewall" => ("/v2/firewalls", "firewall"),
        "key" => ("/v2/account/keys", "ssh_key"),
        _ => ("/v2/tags", "tag"),
    };
    let (status, made) = workspace.call("POST", path, Some(body));
    assert!((200..300).contains(&status), "{status}: {made}");
    made[key]["id"].clone()
}

fn droplet(workspace: &Workspace, name: &str, tags: &[&str], volumes: &[&Value]) -> Value {
    let body = json!({
        "name": name, "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64",
        "tags": tags, "volumes": volumes,
    });
    make(workspace, "droplet", &body)
}

fn volume(workspace: &Workspace, name: &str, tags: &[&str]) -> Value {
    let body = json!({ "name": name, "region": "nyc3", "size_gigabytes": 1, "tags": tags });
    make(workspace, "volume", &body)
}

/// Everything of the account by kind and id; a tag by its name.
fn things(workspace: &Workspace) -> BTreeMap<(String, String), Value> {
    let mut things = BTreeMap::new();
    for (list, kind) in [
        ("droplets", "droplet"),
        ("volumes", "volume"),
        ("images", "snapshot"),
        ("firewalls", "firewall"),
        ("ssh_keys", "ssh_key"),
        ("tags", "tag"),
    ] {
        for thing in workspace.list(list) {
            let id = match &thing["id"] {
                Value::Number(number) => number.to_string(),
                Value::String(text) => text.clone(),
                _ => thing["name"].as_str().expect("a name").to_owned(),
            };
            things.insert((kind.to_owned(), id), thing["tags"].clone());
        }
    }
    things
}

fn listed(document: &Value) -> BTreeSet<(String, String)> {
    let found = document["found"].as_array().expect("a list");
    found
        .iter()
        .map(|found| {
            let text = |key: &str| found[key].as_str().map(str::to_owned);
            let id = text("id").or_else(|| text("name"));
            (text("kind").expect("a kind"), id.expect("a name"))
        })
        .collect()
}

#[test]
fn what_the_dry_run_lists_is_what_goes_and_look_alikes_stay() {
    let workspace = Workspace::with(ONE);
    workspace.up(&["--without-guests"]);
    sweep(&workspace, &[]).expect(0).says("Nothing to sweep.");

    // An environment that lives, and one that has expired.
    workspace.local(&["apply", "--yes"]).expect(0);
    let whole = ["dewpoint", "dewpoint:shop", "dewpoint:shop:pr-7"];
    let expired = [&whole[..], &[PAST, "dewpoint-spec:0123456789ab"]].concat();
    let models = volume(&workspace, "shop-models", &whole[..2]);
    let scratch = volume(&workspace, "shop-pr-7-scratch", &whole);
    droplet(&workspace, "shop-pr-7-web", &expired, &[&models, &scratch]);
    droplet(
        &workspace,
        "shop-pr-7-builder.base",
        &[&whole[..], &[PAST]].concat(),
        &[],
    );
    volume(
        &workspace,
        "shop-pr-7-clone",
        &[&whole[..], &[PAST]].concat(),
    );
    let rules =
        json!([{ "protocol": "tcp", "ports": "22", "sources": { "addresses": ["0.0.0.0/0"] } }]);
    make(
        &workspace,
        "firewall",
        &json!({ "name": "shop-pr-7", "inbound_rules": rules, "tags": ["dewpoint:shop:pr-7"] }),
    );
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0hQLkLbD5rp8VB6BOQv7FQbdJtNZTgfr9DLuW9BYqx";
    make(
        &workspace,
        "key",
        &json!({ "name": "shop-pr-7", "public_key": key }),
    );
    make(
        &workspace,
        "tag",
        &json!({ "name": "dewpoint-spec:ffffffffffff" }),
    );

    // What others have, called and tagged as if it were ours.
    droplet(&workspace, "dewpoint-foo", &[], &[]);
    droplet(&workspace, "shop-pr-7-api", &[], &[]);
    let holder = droplet(&workspace, "theirs", &["dewpoints", "dewpoint:", PAST], &[]);
    let held = volume(
        &workspace,
        "shop-pr-8-clone",
        &["dewpoint", "dewpoint:shop", "dewpoint:shop:pr-8", PAST],
    );
    let attach = json!({ "type": "attach", "droplet_id": holder, "region": "nyc3" });
    let path = format!("/v2/volumes/{}/actions", held.as_str().expect("an id"));
    while workspace.call("POST", &path, Some(&attach)).0 != 202 {
        // The droplet is being made.
        std::thread::yield_now();
    }
    droplet(&workspace, "shop-pr-9-web", &["dewpoint", PAST], &[]);
    droplet(
        &workspace,
        "shop-pr-9-api",
        &[
            "dewpoint",
            "dewpoint:shop",
            "dewpoint:shop:pr-9",
            "dewpoint-expires:9999999999",
        ],
        &[],
    );
    volume(&workspace, "shop-pr-9-scratch", &[PAST]);
    make(&workspace, "tag", &json!({ "name": "dewpoint:a:b:c" }));
    make(&workspace, "tag", &json!({ "name": "dewpoint-else" }));
    let names = workspace.names("droplets");

    let sent = |workspace: &Workspace| {
        let requests = workspace.requests();
        let ours = requests
            .iter()
            .filter(|r| r["method"] == "DELETE" || r["method"] == "POST");
        ours.count()
    };
    let before = things(&workspace);
    let sent_before = sent(&workspace);
    let dry = sweep(&workspace, &[])
        .expect(2)
        .says("shop / pr-7")
        .says("volume shop-pr-8-clone")
        .says("it is attached to droplet theirs, which stays")
        .says("`dewpoint sweep --yes --local` deletes exactly this");
    let (goes, stands) = dry
        .out
        .split_once("Standing, and left as it is:")
        .expect("what stands");
    for stays in ["dewpoint-foo", "shop-pr-7-api", "shop-models", "one-main"] {
        assert!(!goes.contains(stays), "{stays}\n{}", dry.all());
    }
    // What is over, or nobody's, does not stand.
    for other in ["shop / pr-7", "shop-pr-7", "dewpoint-foo", "theirs"] {
        assert!(!stands.contains(other), "{other}\n{}", dry.all());
    }
    dry.says("one / main in nyc3: 1 droplet, volume one-main-scratch 1GiB; expires in ")
        .says("shop in nyc3: volume shop-models 1GiB; $0.10/month\n      ends with `dewpoint destroy --project --local`");
    let json = sweep(&workspace, &["--format", "json"]).expect(2);
    let document: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(sent(&workspace), sent_before, "a dry run changes nothing");
    assert!(!workspace.path("state").exists());

    let swept = sweep(&workspace, &["--yes"]).expect(0).says("Done:");
    let after = things(&workspace);
    let gone: BTreeSet<_> = before
        .keys()
        .filter(|thing| !after.contains_key(*thing))
        .cloned()
        .collect();
    assert_eq!(gone, listed(&document), "{}", swept.all());
    // Two droplets, two volumes, firewall, key, four tags: what stays bears what it bore.
    assert_eq!(gone.len(), 9, "{gone:?}");
    for (thing, tags) in &after {
        assert_eq!(before.get(thing), Some(tags), "{thing:?}");
    }
    let left: Vec<String> = names
        .into_iter()
        .filter(|name| !["shop-pr-7-web", "shop-pr-7-builder.base"].contains(&name.as_str()))
        .collect();
    assert_eq!(workspace.names("droplets"), left);
    sweep(&workspace, &["-q"]).expect(0);
    // What was swept from beside it still stands as it was.
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
}

#[test]
fn an_interrupted_or_failed_sweep_is_told_and_finished_by_the_next() {
    let workspace = Workspace::new();
    workspace.up(&["--without-guests"]);
    let whole = ["dewpoint", "dewpoint:shop", "dewpoint:shop:pr-7"];
    let scratch = volume(&workspace, "shop-pr-7-scratch", &whole);
    droplet(
        &workspace,
        "shop-pr-7-web",
        &[&whole[..], &[PAST]].concat(),
        &[&scratch],
    );
    workspace.fault(&json!({
        "method": "DELETE", "path": "/v2/volumes/*", "fault": { "status": { "code": 403 } }
    }));
    let failed = sweep(&workspace, &["--yes"])
        .expect(1)
        .says("May be left: volume.shop-pr-7-scratch")
        .says("`dewpoint sweep --yes --local` goes on from here");
    assert!(!failed.out.contains("dewpoint destroy"), "{}", failed.all());
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("volumes"), ["shop-pr-7-scratch"]);
    let json = sweep(&workspace, &["--yes", "--format", "json"]).expect(0);
    let document: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(document["deleted"], true, "{document}");
    workspace.assert_empty();
}

#[test]
fn snapshots_are_looked_at_only_with_manifests() {
    let workspace = Workspace::with(ONE);
    workspace.up(&["--without-guests"]);
    sweep(&workspace, &["--snapshots"])
        .expect(1)
        .says("`--snapshots` needs the manifests whose snapshots are to stay")
        .says("--manifest FILE");
    sweep(&workspace, &["--snapshots", "--manifest", "none.yaml"])
        .expect(1)
        .says("there is no manifest at none.yaml");
    sweep(&workspace, &["--snapshots", "--manifest", "dewpoint.yaml"])
        .expect(0)
        .says("Nothing to sweep.");
    sweep(&workspace, &["--manifest", "dewpoint.yaml"]).expect(1);
}

#[test]
fn an_expired_environment_says_so_and_apply_renews_it() {
    let manifest = ONE.replace("project: one", "project: one\nttl: 1h");
    let workspace = Workspace::with(&manifest);
    workspace.up(&["--without-guests"]);
    workspace.local(&["apply", "--yes"]).expect(0);
    let droplet = workspace.list("droplets").remove(0);
    let id = droplet["id"].to_string();
    let tags = droplet["tags"].as_array().expect("tags").clone();
    let lease = tags
        .iter()
        .filter_map(Value::as_str)
        .find(|tag| tag.starts_with("dewpoint-expires:"))
        .expect("a lease")
        .to_owned();
    let droplet = json!({ "resource_id": id, "resource_type": "droplet" });
    let volume = workspace.list("volumes")[0]["id"].clone();
    let volume = json!({ "resource_id": volume, "resource_type": "volume" });
    make(&workspace, "tag", &json!({ "name": PAST }));
    let tag = |method: &str, tag: &str, resources: &[&Value]| {
        let path = format!("/v2/tags/{tag}/resources");
        let body = json!({ "resources": resources });
        assert_eq!(workspace.call(method, &path, Some(&body)).0, 204);
    };
    tag("POST", PAST, &[&droplet, &volume]);
    tag("DELETE", &lease, &[&droplet, &volume]);
    workspace
        .local(&["plan"])
        .expect(0)
        .says("the environment expired at 2023-11-14T22:13:20Z: `dewpoint sweep --yes` would delete it; apply gives it all of `ttl: 1h` again");
    sweep(&workspace, &[])
        .expect(2)
        .says("one-main-box")
        .says("one-main-scratch");
    workspace.local(&["apply", "--yes"]).expect(0);
    sweep(&workspace, &["--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), ["one-main-box"]);
    assert_eq!(workspace.names("volumes"), ["one-main-scratch"]);

    // One that lost the tag of its environment is not made a second time.
    tag("DELETE", "dewpoint:one:main", &[&droplet]);
    workspace
        .local(&["plan"])
        .expect(0)
        .says("someone took tags of dewpoint from it");
    workspace.local(&["apply", "--yes"]).expect(0);
    let again = workspace.list("droplets");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["id"].to_string(), id);
    workspace.local(&["plan", "--detailed-exitcode"]).expect(0);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

/// A project that a manifest had another name for until now, or has none any more, is found.
#[test]
fn what_stands_is_told_also_of_a_project_without_a_manifest_and_how_it_ends() {
    let manifest = ONE.replace("volumes:", "volumes:\n  data: { size: 2GiB }");
    let workspace = Workspace::with(&manifest);
    workspace.up(&["--without-guests"]);
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace.write(
        "dewpoint.yaml",
        &manifest.replace("project: one", "project: wordle"),
    );
    // The next plan tells of it too, without a call for it; and the history, on demand.
    let other = "one / main was applied from this folder too; what it left is not part of this plan: `dewpoint sweep --local` shows it";
    workspace.local(&["plan"]).expect(0).says(other);
    workspace.local(&["status"]).expect(0).says(other);
    workspace
        .run(&["history", "--all"])
        .expect(0)
        .says("apply one / main: succeeded");
    workspace.run(&["history"]).expect(0).says("No runs yet.");
    sweep(&workspace, &[])
        .expect(0)
        .says("one / main in nyc3: 1 droplet, volume one-main-scratch 1GiB; expires in 11h")
        .says("$0.0089/h and $0.10/month\n      ends with `dewpoint destroy --env main --local`")
        .says("one in nyc3: volume one-data 2GiB; $0.20/month\n      ends with `dewpoint destroy --project --local`")
        .says("Standing, and left as it is: $0.0089/h and $0.30/month")
        .says("Nothing to sweep.")
        .says("such as `{version: 1, project: one, region: nyc3}`");
    let json = sweep(&workspace, &["--format", "json"]).expect(0);
    let document: Value = serde_json::from_str(&json.out).expect("JSON");
    let standing = &document["standing"];
    assert_eq!(standing[0]["project"], "one");
    assert_eq!(standing[0]["environment"], Value::Null);
    assert_eq!(standing[0]["volumes"][0]["name"], "one-data");
    assert_eq!(standing[0]["ends_with"], "dewpoint destroy --project");
    assert_eq!(standing[1]["environment"], "main");
    assert_eq!(standing[1]["droplets"][0]["name"], "one-main-box");
    assert!(standing[1]["expires_at"].is_i64(), "{document:#}");
    // A sweep that deletes tells it too, and leaves it.
    sweep(&workspace, &["--yes"])
        .expect(0)
        .says("one in nyc3: volume one-data 2GiB");
    assert_eq!(workspace.names("droplets"), ["one-main-box"]);

    // The lines that are named are enough of a manifest.
    workspace.write(
        "dewpoint.yaml",
        "{version: 1, project: one, region: nyc3}\n",
    );
    workspace
        .local(&["destroy", "--env", "main", "--yes"])
        .expect(0);
    // An environment that was emptied leaves what is the project's.
    let wordle = manifest.replace("project: one", "project: wordle");
    workspace.write("dewpoint.yaml", &wordle);
    workspace.local(&["plan"]).expect(0).says(other);
    workspace.write(
        "dewpoint.yaml",
        "{version: 1, project: one, region: nyc3}\n",
    );
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
    workspace.write("dewpoint.yaml", &wordle);
    let plan = workspace.local(&["plan"]).expect(0);
    assert!(
        !plan.all().contains("from this folder too"),
        "{}",
        plan.all()
    );
    let none = sweep(&workspace, &[]).expect(0).says("Nothing to sweep.");
    assert!(!none.out.contains("Standing"), "{}", none.all());
}
