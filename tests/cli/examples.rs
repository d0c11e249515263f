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

/// What stands for Docker in a local guest: podman, and in place of an image from a registry one that
/// is made of the guest's own Python. All else of the example is as it stands there.
const PODMAN: &str = r#"      - name: podman
        run: |
          export DEBIAN_FRONTEND=noninteractive
          { apt-get update && apt-get install -y --no-install-recommends podman crun; } >/root/apt.log 2>&1 ||
            { tail -n 3 /root/apt.log; echo 'podman cannot be installed here'; exit 75; }
          ln -sf "$(command -v podman)" /usr/local/bin/docker
          printf '[containers]\ncgroups = "disabled"\nnetns = "host"\n' >/etc/containers/containers.conf
          printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
      - name: base image
        run: |
          mkdir -p root/bin root/tmp root/usr/bin root/usr/lib; cd root
          for program in bash cat ls python3; do cp -L "$(PATH=/usr/bin:/bin command -v $program)" usr/bin/; done
          rmdir bin; ln -s usr/bin bin; ln -s bash usr/bin/sh; ln -s python3 usr/bin/python
          cp -a /usr/lib/python3.* usr/lib/
          for library in $(ldd usr/bin/* usr/lib/python3.*/lib-dynload/*.so | awk '$2 == "=>" { print $3 } $1 ~ "^/" && NF == 2 { print $1 }' | sort -u); do
            mkdir -p ".${library%/*}"; cp -L "$library" ".$library"
          done
          tar -c . | docker import - "${var.base}"
"#;

#[test]
fn the_container_example_builds_an_image_and_runs_it() {
    let workspace = Workspace::example("container");
    workspace.run(&["validate"]).expect(0);
    if !guests() {
        return;
    }
    let manifest = workspace.read("dewpoint.yaml");
    let (before, rest) = manifest
        .split_once("      - name: docker\n")
        .expect("the step");
    let (_, after) = rest.split_once("    refresh:").expect("what comes after");
    workspace.write(
        "dewpoint.yaml",
        &format!("{before}{PODMAN}    refresh:{after}"),
    );
    let tested = workspace.local(&["test"]);
    if tested.code == Some(1) && tested.err.contains("podman cannot be installed here") {
        eprintln!("NOT RUN: guests reach no packages here:\n{}", tested.all());
        workspace.assert_empty();
        return;
    }
    tested
        .expect(0)
        .says("Successfully tagged localhost/app:latest");
    // The tests ran in a container of the image that the droplet had built, and what they wrote into
    // the folder that it shares came back.
    let report = last_run(&workspace).join("artifacts/container-main-runner/reports/report.txt");
    let report = std::fs::read_to_string(report).expect("a report");
    assert!(
        report.contains("Ran 1 test") && report.contains("\nOK\n"),
        "{report}"
    );
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("images").len(), 1, "the snapshot is kept");
    // A test that fails in the container fails the run, told by its own exit code.
    let sums = workspace.read("app/test_sums.py");
    workspace.write(
        "app/test_sums.py",
        &format!("{sums}\nraise SystemExit('broken')\n"),
    );
    workspace
        .local(&["test"])
        .expect(3)
        .says("dewpoint::run::exit")
        .says("broken");
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
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
