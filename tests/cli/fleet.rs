//! Many droplets: few calls.

use crate::workspace::Workspace;

const FLEET: &str = r#"
version: 1
project: fleet
region: nyc3
droplets:
  worker:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 100
"#;

#[test]
fn a_hundred_droplets_are_made_shown_and_removed_with_few_calls() {
    let workspace = Workspace::with(FLEET);
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets").len(), 100);
    let creates = |status: u64| {
        workspace
            .requests()
            .iter()
            .filter(|request| {
                request["method"] == "POST"
                    && request["path"] == "/v2/droplets"
                    && request["status"] == status
            })
            .count()
    };
    assert_eq!(creates(202), 10, "ten in a call");
    // The SSH key is new: one create asks whether it is known yet, the others wait for that.
    assert!(creates(422) <= 3, "{} refusals", creates(422));

    let calls = calls_of_a_plan(&workspace);
    assert!(calls <= 9, "a plan with nothing to do took {calls} calls");

    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn what_was_waited_for_is_kept_for_the_next_run() {
    let workspace = Workspace::with(&FLEET.replace("100", "1"));
    workspace.up(&["--without-guests"]);
    workspace.local(&["apply", "--yes"]).expect(0);
    let waited = |what: &str| {
        let runs = std::fs::read_dir(workspace.path(".dewpoint/runs")).expect("runs");
        let files = runs.map(|run| run.expect("a run").path().join("durations.json"));
        let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
        texts
            .map(|text| serde_json::from_str::<serde_json::Value>(&text).expect("JSON"))
            .flat_map(|kept| kept["waits"].as_array().cloned().unwrap_or_default())
            .any(|wait| wait["what"] == what && wait["least_ms"].as_u64() > Some(0))
    };
    assert!(waited("droplet ready") && !waited("droplet gone"));
    workspace.local(&["destroy", "--yes"]).expect(0);
    assert!(waited("droplet gone"));
    workspace.assert_empty();
}

/// Plans, finds nothing to do, and says how many calls that took.
fn calls_of_a_plan(workspace: &Workspace) -> usize {
    let before = workspace.requests().len();
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    workspace.requests().len() - before
}

#[test]
fn scaling_touches_only_the_difference() {
    let workspace = Workspace::with(&FLEET.replace("100", "2"));
    workspace.local(&["apply", "--yes"]).expect(0);
    let ids = |workspace: &Workspace| -> Vec<u64> {
        let mut ids: Vec<u64> = workspace
            .list("droplets")
            .iter()
            .map(|droplet| droplet["id"].as_u64().expect("an id"))
            .collect();
        ids.sort_unstable();
        ids
    };
    let two = ids(&workspace);
    workspace.write("dewpoint.yaml", &FLEET.replace("100", "3"));
    workspace
        .local(&["plan"])
        .expect(0)
        .says("1 to add, 0 to change, 0 to replace, 0 to destroy");
    workspace.local(&["apply", "--yes"]).expect(0);
    let three = ids(&workspace);
    assert_eq!(three.len(), 3);
    assert!(two.iter().all(|id| three.contains(id)), "{two:?} {three:?}");
    workspace.write("dewpoint.yaml", &FLEET.replace("100", "1"));
    workspace.local(&["apply", "--yes"]).expect(0);
    assert_eq!(workspace.names("droplets"), ["fleet-main-worker"]);
    let calls = calls_of_a_plan(&workspace);
    assert!(calls <= 9, "a plan with nothing to do took {calls} calls");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}
