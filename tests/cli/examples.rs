//! The examples `matrix`, `layers` and `container`, and what happens inside their guests.

use std::collections::BTreeMap;

use crate::guests;
use crate::workspace::Workspace;

#[test]
fn a_matrix_is_a_droplet_for_each_combination() {
    if !guests() {
        return;
    }
    let workspace = Workspace::example("matrix");
    workspace
        .local(&["test"])
        .expect(0)
        .says("droplet.tests[seed=0,utf8=on]")
        .says("droplet.tests[seed=1,utf8=off]");
    // Each has seen its own values, on a host of its own.
    let mut seen = Vec::new();
    for folder in std::fs::read_dir(last_run(&workspace).join("artifacts")).expect("artifacts") {
        let folder = folder.expect("an entry");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("read");
        assert_eq!(read("report.txt"), "3 rope\n2 lamp\n1 map\n1 tent\n");
        let host = folder.file_name().to_string_lossy().into_owned();
        let line = read("combination.txt");
        let (combination, on) = line.trim().split_once(", on ").expect("three parts");
        assert_eq!(on, host);
        seen.push(combination.to_owned());
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "seed 0, utf8 off",
            "seed 0, utf8 on",
            "seed 1, utf8 off",
            "seed 1, utf8 on"
        ]
    );
    // One call made all four, and nothing of them is left.
    let creates = workspace
        .requests()
        .iter()
        .filter(|request| {
            request["method"] == "POST"
                && request["path"] == "/v2/droplets"
                && request["status"] == 202
        })
        .count();
    assert_eq!(creates, 1);
    let junit = std::fs::read_to_string(last_run(&workspace).join("junit.xml")).expect("a report");
    assert_eq!(junit.matches("<testsuite ").count(), 4, "{junit}");
    workspace.assert_empty();
}

#[test]
fn editing_one_byte_builds_its_layer_and_those_above_and_no_other() {
    if !guests() {
        return;
    }
    let workspace = Workspace::example("layers");
    let first = built(&workspace, "counted 3 words");
    assert_eq!(first.len(), 3);
    let images = workspace.names("images");
    assert_eq!(images.len(), 3, "{images:?}");

    // Nothing changed, also when every file is touched: nothing is built.
    let touched = std::fs::File::options()
        .append(true)
        .open(workspace.path("limits.conf"))
        .expect("opened");
    touched
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("touched");
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");

    // One byte in the middle: that layer and the one above it.
    let count = workspace.read("tools/count");
    workspace.write("tools/count", &count.replace("counted", "Counted"));
    let middle = built(&workspace, "Counted 3 words");
    assert_eq!(middle["system"], first["system"]);
    assert_ne!(middle["tools"], first["tools"]);
    assert_ne!(middle["words"], first["words"]);
    assert_eq!(workspace.names("images").len(), 3, "old ones are pruned");

    // One byte at the top: that layer alone.
    workspace.write("words/words.txt", "rope\nlamp\ntent\nmap\n");
    let top = built(&workspace, "Counted 4 words");
    assert_eq!(top["system"], first["system"]);
    assert_eq!(top["tools"], middle["tools"]);
    assert_ne!(top["words"], middle["words"]);

    // At the bottom: all of them.
    workspace.write("limits.conf", "most=99\n");
    let bottom = built(&workspace, "Counted 4 words");
    assert!(bottom.iter().all(|(layer, mark)| top[layer] != *mark));

    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn the_container_example_is_a_manifest() {
    let workspace = Workspace::example("container");
    workspace.run(&["validate"]).expect(0);
}

const COPIES: &str = r#"
version: 1
project: copies
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision: [{ run: echo here >/etc/mark }]
    regions: [nyc3, sfo3]
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    run: [{ name: look, command: cat /etc/mark }]
    after_run: destroy
"#;

#[test]
fn a_snapshot_is_copied_to_its_regions_and_used_in_each() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(COPIES);
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("transfer to sfo3")
        .says("| here");
    let regions = |workspace: &Workspace| {
        let mut regions: Vec<String> = workspace.list("images")[0]["regions"]
            .as_array()
            .expect("regions")
            .iter()
            .map(|region| region.as_str().expect("a slug").to_owned())
            .collect();
        regions.sort();
        regions
    };
    assert_eq!(regions(&workspace), ["nyc3", "sfo3"]);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");

    // One more region is a change in place: nothing is built.
    workspace.write("dewpoint.yaml", &COPIES.replace("sfo3]", "sfo3, ams3]"));
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("it is to be in ams3 too");
    assert_eq!(regions(&workspace), ["ams3", "nyc3", "sfo3"]);

    // A manifest of that region finds it there.
    workspace.write(
        "dewpoint.yaml",
        &COPIES.replace("region: nyc3", "region: sfo3"),
    );
    let there = workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("| here");
    assert!(!there.all().contains("take snapshot"), "{}", there.all());

    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

/// Applies, and gives the marks that the builds left in the image the droplet was made from.
fn built(workspace: &Workspace, says: &str) -> BTreeMap<String, String> {
    let applied = workspace.local(&["apply", "--yes"]).expect(0).says(says);
    applied
        .err
        .lines()
        .filter_map(|line| line.split_once("droplet.reader | "))
        .filter_map(|(_, line)| line.split_once(' '))
        .filter(|(layer, _)| ["system", "tools", "words"].contains(layer))
        .map(|(layer, mark)| (layer.to_owned(), mark.to_owned()))
        .collect()
}

fn last_run(workspace: &Workspace) -> std::path::PathBuf {
    std::fs::read_dir(workspace.path(".dewpoint/runs"))
        .expect("runs")
        .map(|run| run.expect("an entry").path())
        .max()
        .expect("a run")
}
