//! Failures: what they say, what they leave, and for how long.

use crate::guests;
use crate::workspace::Workspace;

const RECIPE: &str = r#"
version: 1
project: broken
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - name: good
        run: echo fine
      - name: bad
        run: |
          echo one
          if false; then echo never; fi
          f() { ls /does/not/exist; }
          f
          echo unreachable
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    run: [{ name: nothing, command: "true" }]
"#;

#[test]
fn a_recipe_that_fails_shows_where_and_leaves_nothing() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(RECIPE);
    let failed = workspace
        .local(&["apply", "--yes"])
        .expect(1)
        .says("snapshot.base provision 2/2 bad")
        .says("in line 3 of its script")
        .says("> 3 | f() { ls /does/not/exist; }")
        .says("with `--keep-builder` the builder stays after such a failure")
        .says("  4 | f")
        .says("No such file");
    assert!(!failed.all().contains("dewpoint 0"), "{}", failed.all());
    assert!(
        !failed.err.contains("base | unreachable"),
        "{}",
        failed.all()
    );
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("images"), Vec::<String>::new());

    // Kept when asked for: up, reachable, told, and found by a destroy.
    workspace
        .local(&["test", "--keep-builder"])
        .expect(1)
        .says("Left by the failure: the builder of snapshot.base")
        .says("it costs money until it is destroyed")
        .says("log in with `dewpoint ssh snapshot.base --local`")
        .says("dewpoint destroy");
    let left = workspace.list("droplets");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["status"], "active");
    workspace
        .local(&["sweep"])
        .expect(0)
        .says("builder broken-main-builder.base, there for ")
        .says("ends with `dewpoint destroy --env main --local`");
    assert_eq!(workspace.names("images"), Vec::<String>::new());
    assert_eq!(
        workspace.names("ssh_keys").len(),
        1,
        "it can be logged in to"
    );
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();

    // With a recipe that works the wish costs nothing.
    workspace.write(
        "dewpoint.yaml",
        &RECIPE.replace("ls /does/not/exist", "ls /"),
    );
    workspace.local(&["test", "--keep-builder"]).expect(0);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

const KEPT: &str = r#"
version: 1
project: keep
region: nyc3
ttl: 12h
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    source: { path: ./app }
    run: [{ name: judge, command: "test ! -e fail" }]
    after_run: { keep: 30m }
"#;

#[test]
fn a_droplet_stays_for_a_while_after_a_failure_and_goes_after_a_success() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(KEPT);
    workspace.write("app/word", "");
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());

    workspace.write("app/fail", "");
    let before = jiff::Timestamp::now().as_second();
    workspace
        .local(&["apply", "--yes"])
        .expect(3)
        .says("Left by the failure: droplet.box (keep-main-box) is kept for 30m, until 20")
        .says("`dewpoint sweep --local --yes` does after that and nothing does by itself")
        .says("log in with `dewpoint ssh droplet.box --local`");
    let after = jiff::Timestamp::now().as_second();
    let droplets = workspace.list("droplets");
    let expiries: Vec<i64> = droplets[0]["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .filter_map(|tag| tag.as_str()?.strip_prefix("dewpoint-expires:"))
        .map(|at| at.parse().expect("seconds"))
        .collect();
    let [expiry] = expiries[..] else {
        panic!("{}", droplets[0]);
    };
    assert!(
        (before + 1_800..=after + 1_800).contains(&expiry),
        "{expiry}"
    );

    // Mended, it runs on the very same droplet, which then goes.
    std::fs::remove_file(workspace.path("app/fail")).expect("removed");
    workspace.local(&["run", "droplet.box"]).expect(0);
    assert_eq!(workspace.list("droplets")[0]["id"], droplets[0]["id"]);
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn destroy_on_success_leaves_what_failed() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(&KEPT.replace("{ keep: 30m }", "destroy_on_success"));
    workspace.write("app/fail", "");
    workspace.local(&["apply", "--yes"]).expect(3);
    assert_eq!(workspace.names("droplets"), ["keep-main-box"]);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

const ONLY_A_SNAPSHOT: &str = r#"
version: 1
project: half
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: "true" }] }
"#;

/// What a run leaves that is killed while a snapshot is being taken: nothing lists that before it
/// has ended.
fn killed_while_a_snapshot_is_taken() -> Workspace {
    let workspace = Workspace::with(ONLY_A_SNAPSHOT);
    // Slow enough for the snapshot to be under way when the account is looked at.
    workspace.up(&["--without-guests", "--latency", "0.05"]);
    let plan = workspace.local(&["plan", "--format", "json"]).expect(0).out;
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    let kind = |word: &str| {
        let step = steps.iter().find(|step| step["kind"]["kind"] == word);
        step.unwrap_or_else(|| panic!("no {word} in {plan:#}"))["kind"].clone()
    };
    let (create, take) = (kind("create_droplets"), kind("take_snapshot"));
    let builder = serde_json::json!({
        "name": create["droplets"][0]["name"], "region": "nyc3", "size": "s-1vcpu-1gb",
        "image": "ubuntu-24-04-x64", "tags": create["spec"]["tags"],
    });
    let (status, made) = workspace.call("POST", "/v2/droplets", Some(&builder));
    assert_eq!(status, 202, "{made:#}");
    let path = format!("/v2/droplets/{}", made["droplet"]["id"]);
    while workspace.call("GET", &path, None).1["droplet"]["status"] != "active" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for action in [
        serde_json::json!({ "type": "power_off" }),
        serde_json::json!({ "type": "snapshot", "name": take["name"] }),
    ] {
        // One event at a time.
        loop {
            let (status, answer) =
                workspace.call("POST", &format!("{path}/actions"), Some(&action));
            match status {
                201 => break,
                422 => std::thread::sleep(std::time::Duration::from_millis(20)),
                other => panic!("{other}: {answer:#}"),
            }
        }
    }
    workspace
}

#[test]
fn one_destroy_of_a_project_also_removes_a_snapshot_that_was_still_being_taken() {
    let workspace = killed_while_a_snapshot_is_taken();
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0)
        .says("a snapshot of a builder was still being taken");
    assert_eq!(workspace.names("images"), Vec::<String>::new());
    workspace.assert_empty();
}

#[test]
fn a_snapshot_that_was_still_being_taken_is_waited_for_and_not_built_again() {
    let workspace = killed_while_a_snapshot_is_taken();
    // There is nothing to log in to here: a build would be refused.
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("images").len(), 1);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace.local(&["plan"]).expect(0).says("No changes.");
}
