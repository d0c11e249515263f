//! Plans in files: what was shown is what is done, once, or nothing is.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::guests;
use crate::workspace::{Ran, Workspace};

const KEPT: &str = r#"
version: 1
project: saved
region: nyc3
variables:
  size: { default: 1 }
volumes:
  data: { size: "${var.size}GiB", scope: environment }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

fn json(workspace: &Workspace, name: &str) -> Value {
    serde_json::from_str(&workspace.read(name)).expect("JSON")
}

/// Ids of the runs in the history.
fn runs(workspace: &Workspace) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(workspace.path(".dewpoint/runs")) else {
        return Vec::new();
    };
    let mut runs: Vec<String> = folder
        .map(|run| {
            run.expect("a run")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    runs.sort();
    runs
}

/// Steps that a run started, as its journal has them, sorted.
fn started(workspace: &Workspace, run: &str) -> Vec<u64> {
    let journal = workspace.read(&format!(".dewpoint/runs/{run}/journal.jsonl"));
    let mut steps: Vec<u64> = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("an event"))
        .filter(|event| event["event"] == "started")
        .map(|event| event["step"].as_u64().expect("a step"))
        .collect();
    steps.sort_unstable();
    steps
}

fn expect_steps_of(workspace: &Workspace, file: &str) {
    let plan = json(workspace, file);
    let steps = plan["plan"]["steps"].as_array().expect("steps").len();
    let run = runs(workspace).pop().expect("a run");
    let all: Vec<u64> = (0..steps as u64).collect();
    assert_eq!(started(workspace, &run), all, "exactly the saved steps");
}

#[test]
fn a_saved_plan_is_carried_out_as_it_was_shown_and_once() {
    let workspace = Workspace::with(KEPT);
    let shown = workspace
        .local(&[
            "plan",
            "--env",
            "pr-9",
            "--var",
            "size=2",
            "--out",
            "plan.json",
        ])
        .expect(0)
        .says("saved-pr-9-data")
        .says("dewpoint apply plan.json --local");
    assert!(shown.out.contains("2GiB"), "{}", shown.all());
    assert_eq!(workspace.names("volumes"), Vec::<String>::new());
    let mode = std::fs::metadata(workspace.path("plan.json"))
        .expect("the plan")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // What would change it is refused, and what it was made with need not be said again.
    let calls = workspace.requests().len();
    for (options, word) in [
        (&["--unprotect", "volume.data"][..], "--unprotect"),
        (&["--var", "size=3"], "--var"),
        (&["--env", "main"], "pr-9"),
    ] {
        let mut all = vec!["apply", "plan.json"];
        all.extend_from_slice(options);
        workspace.local(&all).expect(1).says(word);
    }
    workspace
        .run(&["apply", "plan.json"])
        .expect(1)
        .says("--local");
    assert_eq!(workspace.requests().len(), calls);

    // Nobody is asked: there is no terminal here.
    workspace.local(&["apply", "plan.json"]).expect(0);
    assert_eq!(workspace.names("volumes"), ["saved-pr-9-data"]);
    assert_eq!(workspace.list("volumes")[0]["size_gigabytes"], 2);
    expect_steps_of(&workspace, "plan.json");

    let calls = workspace.requests().len();
    let run = runs(&workspace).pop().expect("a run");
    workspace
        .local(&["apply", "plan.json"])
        .expect(1)
        .says("applied before")
        .says(&run);
    assert_eq!(workspace.requests().len(), calls);
    // Elsewhere there is no history, but what exists has moved.
    std::fs::remove_dir_all(workspace.path(".dewpoint/runs")).expect("removed");
    workspace
        .local(&["apply", "plan.json"])
        .expect(1)
        .says("has moved since the plan was made")
        .says("volume saved-pr-9-data (")
        .says("was not there");

    // The way back, saved over the first one.
    workspace
        .local(&["plan", "--destroy", "--env", "pr-9", "--out", "plan.json"])
        .expect(0);
    workspace.local(&["apply", "plan.json"]).expect(0);
    expect_steps_of(&workspace, "plan.json");
    workspace.assert_empty();
}

#[test]
fn a_plan_neither_takes_the_place_of_other_files_nor_is_one_of_them() {
    let workspace = Workspace::with(KEPT);
    workspace
        .local(&["plan", "--out", "dewpoint.yaml"])
        .expect(1)
        .says("it was left as it is");
    assert_eq!(workspace.read("dewpoint.yaml"), KEPT);
    workspace.write("target", "precious\n");
    symlink(workspace.path("target"), workspace.path("link.json")).expect("a link");
    workspace.local(&["plan", "--out", "link.json"]).expect(0);
    assert_eq!(workspace.read("target"), "precious\n");
    let link = std::fs::symlink_metadata(workspace.path("link.json")).expect("a file");
    assert!(link.is_file(), "the link was replaced");
    workspace
        .local(&["plan", "--out", "no/such/folder.json"])
        .expect(1)
        .says("cannot write");

    workspace
        .local(&["apply", "dewpoint.yaml"])
        .expect(1)
        .says("dewpoint::saved::not_a_plan");
    let text = workspace.read("link.json");
    workspace.write("half.json", &text[..text.len() / 2]);
    workspace
        .local(&["apply", "half.json"])
        .expect(1)
        .says("dewpoint::saved::cut_off");
    workspace.write("edited.json", &text.replace("s-1vcpu-1gb", "s-8vcpu-16gb"));
    workspace
        .local(&["apply", "edited.json"])
        .expect(1)
        .says("dewpoint::saved::edited");
    // Another manifest than the one it was made from: what is different is told.
    workspace.write("dewpoint.yaml", &KEPT.replace("s-1vcpu-1gb", "s-2vcpu-2gb"));
    workspace
        .local(&["apply", "link.json"])
        .expect(1)
        .says("dewpoint.yaml has changed since the plan was made")
        .says("droplets.box.size s-1vcpu-1gb -> s-2vcpu-2gb");
    assert_eq!(runs(&workspace), Vec::<String>::new());
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
}

const COPIES: &str = r#"
version: 1
project: copies
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision: [{ copy: { from: ./motd, to: /etc/motd } }]
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    source: { path: . }
    run: [{ name: read, command: cat motd }]
"#;

#[test]
fn files_that_changed_after_the_plan_are_named() {
    let workspace = Workspace::with(COPIES);
    workspace.write("motd", "hello\n");
    workspace.write("notes/a.txt", "a\n");
    workspace.write(".gitignore", "cloud/\n");
    // The plan lies among the files of the source, and does not count.
    workspace.local(&["plan", "--out", "plan.json"]).expect(0);
    workspace.write("motd", "hallo\n");
    workspace.write("notes/b.txt", "b\n");
    std::fs::remove_file(workspace.path("notes/a.txt")).expect("removed");
    let refused = workspace.local(&["apply", "plan.json"]).expect(1);
    for line in [
        "./motd, which a recipe copies, is not what it was",
        "motd has changed",
        "notes/a.txt is gone",
        "notes/b.txt was not there",
    ] {
        assert!(refused.err.contains(line), "{line}: {}", refused.all());
    }
    assert!(!refused.err.contains("plan.json"), "{}", refused.all());
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
}

const MOVED: &str = r#"
version: 1
project: moved
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb }
volumes:
  data: { size: 1GiB }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

#[test]
fn whatever_moves_between_plan_and_apply_is_refused_and_told() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(MOVED);
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace.write(
        "dewpoint.yaml",
        &MOVED.replace(
            "data: { size: 1GiB }",
            "data: { size: 1GiB }\n  more: { size: 1GiB }",
        ),
    );
    workspace.local(&["plan", "--out", "plan.json"]).expect(0);
    let id = |kind: &str| {
        let item = workspace.list(kind).into_iter().next().expect(kind);
        item["id"].to_string().trim_matches('"').to_owned()
    };
    let (droplet, volume, image) = (id("droplets"), id("volumes"), id("images"));
    let call = |method: &str, path: &str, body: Option<&Value>| {
        let (status, answer) = workspace.call(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
    };
    // An action goes on after its answer: until it shows, nothing has moved.
    let until = |moved: &dyn Fn() -> bool| {
        for _ in 0..400 {
            if moved() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("the cloud does not do it");
    };
    let refused = |line: &str| {
        let ran = workspace
            .local(&["apply", "plan.json"])
            .expect(1)
            .says("what exists has moved since the plan was made")
            .says(line);
        assert!(!ran.err.contains("Internal"), "{}", ran.all());
    };

    let body = json!({ "type": "resize", "size_gigabytes": 2, "region": "nyc3" });
    call(
        "POST",
        &format!("/v2/volumes/{volume}/actions"),
        Some(&body),
    );
    until(&|| workspace.list("volumes")[0]["size_gigabytes"] == 2);
    refused(&format!("volume moved-data ({volume}): size 1GiB -> 2GiB"));

    let tagged = json!({ "resources": [{ "resource_id": droplet, "resource_type": "droplet" }] });
    call("DELETE", "/v2/tags/dewpoint:moved/resources", Some(&tagged));
    refused(&format!(
        "droplet moved-main-box ({droplet}): tag dewpoint:moved -> (none)"
    ));

    call("DELETE", &format!("/v2/images/{image}"), None);
    until(&|| workspace.list("images").is_empty());
    refused(&format!("({image}) is gone"));

    call("DELETE", &format!("/v2/droplets/{droplet}"), None);
    until(&|| workspace.list("droplets").is_empty());
    refused(&format!("droplet moved-main-box ({droplet}) is gone"));

    assert_eq!(workspace.names("volumes"), ["moved-data"]);
    // It was refused, not carried out: the history does not know it.
    assert_eq!(runs(&workspace).len(), 1);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

const SEEN: &str = r#"
version: 1
project: seen
region: nyc3
droplets:
  git:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    source: { git: ./repository, ref: main, into: /opt/app }
    secrets: [API_KEY]
    run:
      - name: read
        command: cat word.txt; echo "the key is $API_KEY"
  path:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    source: { path: . }
    run:
      - name: read
        command: |
          cat app/word.txt
          test ! -e plan.json
"#;

const SECRET: &str = "s3cr3t-77aa-value-of-the-saved-plan";

fn git(folder: &Path, arguments: &[&str]) {
    let ran = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git runs");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

fn with_key(workspace: &Workspace, arguments: &[&str]) -> Ran {
    let mut command = workspace.command(arguments);
    command
        .arg("--local")
        .env("API_KEY", SECRET)
        .env("DEWPOINT_LOG", "trace");
    workspace.finish(command)
}

#[test]
fn what_runs_is_what_the_plan_saw_and_no_secret_is_anywhere() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(SEEN);
    workspace.write(".gitignore", "cache/\ncloud/\nrepository/\n");
    workspace.write("app/word.txt", "from the path\n");
    workspace.write("repository/word.txt", "first word\n");
    let repository = workspace.path("repository");
    git(&repository, &["init", "--quiet", "-b", "main"]);
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "--quiet", "-m", "first"]);

    let mut outputs = Vec::new();
    for arguments in [
        &["plan", "--out", "plan.json"][..],
        &["plan", "--format", "json"],
        &["plan", "--format", "markdown"],
    ] {
        outputs.push(with_key(&workspace, arguments).expect(0));
    }
    // The branch moves on; what was saved does not.
    workspace.write("repository/word.txt", "second word\n");
    git(&repository, &["commit", "--quiet", "-a", "-m", "second"]);
    workspace
        .local(&["apply", "plan.json"])
        .expect(1)
        .says("API_KEY");
    let applied = with_key(&workspace, &["apply", "plan.json"]).expect(0);
    assert!(applied.err.contains("first word"), "{}", applied.all());
    assert!(!applied.err.contains("second word"), "{}", applied.all());
    assert!(applied.err.contains("from the path"), "{}", applied.all());
    expect_steps_of(&workspace, "plan.json");
    outputs.push(applied);

    let (_, token) = workspace.endpoint();
    let secrets = [SECRET, token.as_str(), "PRIVATE KEY"];
    for ran in &outputs {
        for secret in secrets {
            assert!(
                !ran.out.contains(secret) && !ran.err.contains(secret),
                "{}",
                ran.all()
            );
        }
    }
    let mut files = vec![workspace.path("plan.json")];
    let mut folders = vec![workspace.path(".dewpoint/runs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    assert!(files.len() > 4, "there are files to look through");
    for path in files {
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
        for secret in secrets {
            assert!(!text.contains(secret), "{}", path.display());
        }
    }
    assert!(
        workspace.read("plan.json").contains("API_KEY"),
        "its name is there"
    );

    std::fs::remove_file(workspace.path("plan.json")).expect("removed");
    // Nothing but runs: what exists is the same after it, and the history tells.
    with_key(&workspace, &["plan", "--out", "again.json"]).expect(0);
    with_key(&workspace, &["apply", "again.json"])
        .expect(0)
        .says("second word");
    with_key(&workspace, &["apply", "again.json"])
        .expect(1)
        .says("applied before");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}
