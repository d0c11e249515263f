//! `apply`, `plan` and `destroy`: convergence, in guests and on the cloud.

use crate::guests;
use crate::workspace::Workspace;

const KEPT: &str = r#"
version: 1
project: kept
region: nyc3
volumes:
  data: { size: 1GiB }
  scratch: { size: 1GiB, scope: environment }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes:
      - { volume: data, mount: /mnt/data }
      - { volume: scratch, mount: /mnt/scratch }
    source: { path: ./app }
    env: { GREETING: hello }
    run:
      - name: greet
        command: |
          echo "$GREETING from $DEWPOINT_DROPLET in $DEWPOINT_ENV" | tee -a /mnt/data/log
          cat word.txt
      - name: only once
        command: echo one >>/mnt/data/once
        when: once
"#;

#[test]
fn what_was_applied_has_no_changes_and_what_was_destroyed_is_gone() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(KEPT);
    workspace.write("app/word.txt", "first\n");

    // Whoever does not want to pay is told all figures, and nothing is made.
    workspace
        .local(&["apply", "--yes", "--max-cost", "0.001"])
        .expect(1)
        .says("s on the local cloud")
        .says("`--max-cost` is $0.001; nothing was changed")
        .says("expected are $0.01");
    workspace.assert_empty();

    workspace
        .local(&["apply", "--yes", "--max-cost", "100"])
        .expect(0)
        .says("hello from")
        .says("first");
    assert_eq!(workspace.names("droplets"), ["kept-main-box"]);
    assert_eq!(
        workspace.names("volumes"),
        ["kept-data", "kept-main-scratch"]
    );
    let droplet = &workspace.list("droplets")[0];
    for tag in ["dewpoint", "dewpoint:kept", "dewpoint:kept:main"] {
        assert!(
            droplet["tags"]
                .as_array()
                .expect("tags")
                .contains(&tag.into()),
            "{droplet}"
        );
    }

    let plan = workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.")
        .says(", as the last run took");
    assert!(plan.out.contains("greet"), "{}", plan.all());
    let json: serde_json::Value =
        serde_json::from_str(&workspace.local(&["plan", "--format", "json"]).expect(0).out)
            .expect("one JSON document");
    assert_eq!(json["version"], 1);
    // Prices are kept for what is estimated offline.
    let prices = workspace.read("cache/dewpoint/prices/local.json");
    assert!(prices.contains("\"s-1vcpu-1gb\""), "{prices}");

    workspace
        .local(&["plan", "--explain", "volume.dat"])
        .expect(1)
        .says("the nearest there are: volume.data");
    workspace
        .local(&["plan", "--explain", "droplet.*"])
        .expect(0)
        .says("greet")
        .says("  waits for step ");
    workspace.local(&["graph", "--out", "plan.svg"]).expect(0);
    let picture = workspace.read("plan.svg");
    assert!(
        picture.starts_with("<svg ") && picture.contains("run greet"),
        "{picture}"
    );
    workspace
        .local(&["graph", "--destroy", "--format", "dot"])
        .expect(0)
        .says("digraph plan {");

    // The source is synchronised, what runs once does not run again, nothing is made anew.
    workspace.write("app/word.txt", "second\n");
    let id = droplet["id"].clone();
    let again = workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("second");
    assert!(!again.err.contains("first"), "{}", again.all());
    assert_eq!(workspace.list("droplets")[0]["id"], id);

    // A manifest that says otherwise is a change, with the exit code that was asked for.
    workspace.write("dewpoint.yaml", &KEPT.replace("s-1vcpu-1gb", "s-1vcpu-2gb"));
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(2)
        .says("droplet.box must be replaced")
        .says("s-1vcpu-1gb -> s-1vcpu-2gb");
    workspace.write(
        "dewpoint.yaml",
        &KEPT.replace("data: { size: 1GiB }", "data: { size: 2GiB }"),
    );
    workspace.local(&["apply", "--yes"]).expect(0);
    let data = workspace
        .list("volumes")
        .into_iter()
        .find(|volume| volume["name"] == "kept-data")
        .expect("the volume");
    assert_eq!(data["size_gigabytes"], 2);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");

    // Without a terminal nobody can approve: nothing is done, not even asked.
    let calls = workspace.requests().len();
    workspace.local(&["destroy"]).expect(1).says("--yes");
    assert_eq!(workspace.requests().len(), calls);

    workspace.local(&["destroy", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("volumes"), ["kept-data"]);
    assert_eq!(workspace.names("firewalls"), Vec::<String>::new());
    assert_eq!(workspace.names("ssh_keys"), Vec::<String>::new());

    // What lay on the project's volume is still there for the next droplet.
    let next = KEPT.replace("cat word.txt", "cat /mnt/data/once /mnt/data/log");
    workspace.write(
        "dewpoint.yaml",
        &next.replace("data: { size: 1GiB }", "data: { size: 2GiB }"),
    );
    let next = workspace.local(&["apply", "--yes"]).expect(0);
    let greetings = next
        .err
        .lines()
        .filter(|line| line.contains("| hello from"))
        .count();
    assert!(greetings >= 4, "{}", next.all());

    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

const PROTECTED: &str = r#"
version: 1
project: safe
region: nyc3
protect: [volume.data]
volumes:
  data: { size: 1GiB }
"#;

#[test]
fn what_is_protected_is_only_destroyed_on_the_explicit_word() {
    let workspace = Workspace::with(PROTECTED);
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(1)
        .says("volume.data")
        .says("--unprotect");
    assert_eq!(workspace.names("volumes"), ["safe-data"]);
    workspace
        .local(&[
            "destroy",
            "--project",
            "--yes",
            "--unprotect",
            "volume.data",
        ])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn two_environments_live_side_by_side_and_foreign_things_are_left_alone() {
    let manifest = r#"
version: 1
project: twins
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;
    let workspace = Workspace::with(manifest);
    workspace.up(&[]);
    let (status, foreign) = workspace.call(
        "POST",
        "/v2/volumes",
        Some(
            &serde_json::json!({"name": "twins-elsewhere", "region": "nyc3", "size_gigabytes": 1}),
        ),
    );
    assert_eq!(status, 201, "{foreign}");
    workspace
        .local(&["apply", "--yes", "--env", "pr-1"])
        .expect(0);
    workspace
        .local(&["apply", "--yes", "--env", "pr-2"])
        .expect(0);
    assert_eq!(
        workspace.names("droplets"),
        ["twins-pr-1-box", "twins-pr-2-box"]
    );
    workspace
        .local(&["destroy", "--yes", "--env", "pr-1"])
        .expect(0);
    assert_eq!(workspace.names("droplets"), ["twins-pr-2-box"]);
    workspace
        .local(&["plan", "--detailed-exitcode", "--env", "pr-2"])
        .expect(0)
        .says("No changes.");
    workspace
        .local(&["destroy", "--yes", "--env", "pr-2"])
        .expect(0);
    assert_eq!(workspace.names("volumes"), ["twins-elsewhere"]);
    assert_eq!(workspace.names("tags"), Vec::<String>::new());
}

#[test]
fn another_machine_without_the_key_can_destroy() {
    let manifest = r#"
version: 1
project: far
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2 }
"#;
    let workspace = Workspace::with(manifest);
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("ssh_keys"), ["far-main"]);
    std::fs::remove_dir_all(workspace.path(".dewpoint")).expect("history and key are gone");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_droplet_that_goes_on_success_stays_when_its_run_failed() {
    if !guests() {
        return;
    }
    let manifest = |command: &str| {
        format!(
            r#"
version: 1
project: look
region: nyc3
volumes: {{ data: {{ size: 1GiB, scope: environment }} }}
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{{ volume: data, mount: /mnt/data }}]
    run: [{{ name: tests, command: "{command}" }}]
    after_run: destroy_on_success
"#
        )
    };
    let workspace = Workspace::with(&manifest("false"));
    workspace.local(&["apply", "--yes"]).expect(3);
    assert_eq!(workspace.names("droplets"), ["look-main-box"]);
    workspace.write("dewpoint.yaml", &manifest("true"));
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_volume_leaves_a_droplet_that_stays_only_when_it_could_be_unmounted() {
    if !guests() {
        return;
    }
    let manifest = |volumes: &str, command: &str| {
        format!(
            r#"
version: 1
project: leave
region: nyc3
volumes: {{ data: {{ size: 1GiB }} }}
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    {volumes}
    run: [{{ name: work, command: "{command}" }}]
"#
        )
    };
    let mounted = "volumes: [{ volume: data, mount: /mnt/data }]";
    let attached = |workspace: &Workspace| {
        let volume = &workspace.list("volumes")[0];
        !volume["droplet_ids"].as_array().expect("ids").is_empty()
    };
    let hold = "cd /mnt/data && date >written && (setsid sleep 900 </dev/null >/dev/null 2>&1 & echo $! >/root/holder)";
    let workspace = Workspace::with(&manifest(mounted, hold));
    workspace.local(&["apply", "--yes"]).expect(0);
    assert!(attached(&workspace));
    // The manifest no longer knows where it is mounted, and something on the droplet still uses it.
    workspace.write("dewpoint.yaml", &manifest("", "true"));
    workspace
        .local(&["apply", "--yes"])
        .expect(1)
        .says("held by process");
    assert!(attached(&workspace), "torn off while in use");
    workspace.write("dewpoint.yaml", &manifest("", "kill $(cat /root/holder)"));
    workspace.local(&["apply", "--yes"]).expect(0);
    assert!(!attached(&workspace));
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn one_more_and_one_less_of_a_droplet_leaves_the_first_as_it_is() {
    let manifest = |count: u32| {
        format!(
            "version: 1\nproject: scale\nregion: nyc3\ndroplets:\n  box: {{ image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: {count} }}\n"
        )
    };
    let workspace = Workspace::with(&manifest(1));
    workspace.local(&["apply", "--yes"]).expect(0);
    let id = workspace.list("droplets")[0]["id"].clone();
    workspace.write("dewpoint.yaml", &manifest(3));
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(
        workspace.names("droplets"),
        ["scale-main-box", "scale-main-box-2", "scale-main-box-3"]
    );
    workspace.write("dewpoint.yaml", &manifest(1));
    workspace.local(&["apply", "--yes"]).expect(0);
    let left = workspace.list("droplets");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["id"], id);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_destroy_takes_along_the_keys_of_other_machines() {
    let workspace = Workspace::with(
        "version: 1\nproject: keys\nregion: nyc3\ndroplets:\n  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }\n",
    );
    workspace.local(&["apply", "--yes"]).expect(0);
    std::fs::remove_dir_all(workspace.path(".dewpoint")).expect("another machine");
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("ssh_keys"), ["keys-main", "keys-main"]);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}
