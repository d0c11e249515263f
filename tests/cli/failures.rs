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
        .says("ssh -i")
        .says("dewpoint destroy");
    let left = workspace.list("droplets");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["status"], "active");
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
        .says("Left by the failure: droplet.box (keep-main-box) is kept for 30m, until 20");
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
