//! The main job: the quickstart example from nothing to a test result and back to nothing.

use crate::guests;
use crate::workspace::Workspace;

#[test]
fn the_main_job_builds_once_keeps_data_and_tells_a_broken_test() {
    if !guests() {
        return;
    }
    let workspace = Workspace::example("quickstart");

    let first = workspace.local(&["test"]).expect(0);
    let first = first
        .says("this is run number 1 on this volume")
        .says("Ran 6 tests")
        .says("OK");
    assert!(first.out.contains("tests"), "{}", first.all());
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("volumes"), ["quickstart-state"]);
    assert_eq!(workspace.names("firewalls"), Vec::<String>::new());
    assert_eq!(workspace.names("ssh_keys"), Vec::<String>::new());
    let images = workspace.names("images");
    assert_eq!(images.len(), 1, "{images:?}");
    assert!(images[0].starts_with("quickstart-base-"), "{images:?}");
    let report = artifact(&workspace, "report.txt");
    assert!(report.contains("Ran 6 tests"), "{report}");
    let junit = in_last_run(&workspace, "junit.xml");
    assert!(junit.contains("<testsuite"), "{junit}");

    // Nothing is built again, and the volume's data goes on.
    let before = snapshots_taken(&workspace);
    workspace
        .local(&["test"])
        .expect(0)
        .says("this is run number 2 on this volume")
        .says("Ran 6 tests");
    assert_eq!(
        snapshots_taken(&workspace),
        before,
        "a snapshot was taken again"
    );
    assert_eq!(workspace.names("images"), images);

    // A broken test is the tests' fault, not the tool's.
    let tests = workspace.read("app/tests/test_wordcount.py");
    workspace.write(
        "app/tests/test_wordcount.py",
        &tests.replace("{\"it's\": 2}", "{\"it's\": 3}"),
    );
    let broken = workspace.local(&["test"]).expect(3);
    assert!(broken.err.contains("AssertionError"), "{}", broken.all());
    assert!(broken.out.contains("FAILED"), "{}", broken.all());
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    let report = artifact(&workspace, "report.txt");
    assert!(report.contains("FAILED"), "{report}");

    // One byte of a copied file is another recipe.
    workspace.write("settings.ini", "[words]\nignore = the a of and an\n");
    workspace
        .local(&["plan"])
        .expect(0)
        .says("snapshot.base must be replaced");

    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0)
        .says("No changes.");
}

/// How many snapshots of droplets were asked for.
fn snapshots_taken(workspace: &Workspace) -> usize {
    workspace
        .requests()
        .iter()
        .filter(|request| {
            request["method"] == "POST"
                && request["path"]
                    .as_str()
                    .is_some_and(|path| path.starts_with("/v2/droplets/"))
                && request.to_string().contains("snapshot")
        })
        .count()
}

fn last_run(workspace: &Workspace) -> std::path::PathBuf {
    // Names of runs sort by time.
    std::fs::read_dir(workspace.path(".dewpoint/runs"))
        .expect("runs")
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a run")
}

fn in_last_run(workspace: &Workspace, name: &str) -> String {
    let path = last_run(workspace).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An artifact of the last run.
fn artifact(workspace: &Workspace, name: &str) -> String {
    let folder = last_run(workspace).join("artifacts");
    for droplet in std::fs::read_dir(&folder).expect("artifacts") {
        let path = droplet.expect("an entry").path().join(name);
        if path.exists() {
            return std::fs::read_to_string(path).expect("an artifact");
        }
    }
    panic!("no {name} below {}", folder.display());
}
