//! `report`: a page of a run; and `doctor`, which looks whether runs can be.

use std::process::Command;

use serde_json::Value;

use crate::guests;
use crate::python::python;
use crate::workspace::Workspace;

const FAILING: &str = r#"
version: 1
project: page
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run:
      - name: tests
        command: |
          echo '<b>collected</b> 2 items'
          echo '<testsuite><testcase name="good"/><testcase name="bad"><failure message="1 != 2"/></testcase></testsuite>' >report.xml
          exit 1
        artifacts: [report.xml]
"#;

const MANY: &str = r#"
version: 1
project: page
region: nyc3
droplets:
  box:
    count: 31
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run:
      - name: tests
        command: echo "said by $(hostname)"; [ "$(hostname)" != page-main-box-7 ]
"#;

#[test]
fn a_run_becomes_a_page() {
    let workspace = Workspace::with(FAILING);
    workspace
        .run(&["report"])
        .expect(1)
        .says("dewpoint::cli::no_runs");
    if !guests() {
        return;
    }
    workspace.local(&["test"]).expect(3);
    let path = workspace.run(&["report"]).expect(0).out;
    let path = path.trim_end();
    assert!(path.ends_with("/report.html"), "{path}");
    let page = workspace.read(path);
    for text in [
        "<h1>test page / main: ",
        "a run step failed",
        "1 passed, 1 failed, 0 skipped",
        "&lt;b&gt;collected&lt;/b&gt; 2 items",
        "href=\"./artifacts/",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    // Elsewhere, its links would lead nowhere: there are none to files.
    let printed = workspace.run(&["report", "-o", "-"]).expect(0).out;
    assert!(printed.contains("<h1>test page / main: "));
    assert!(!printed.contains("href=\"./"));
    workspace.run(&["report", "-o", "page.html"]).expect(0);
    assert_eq!(workspace.read("page.html"), printed);
    workspace
        .run(&["report", "-o", "no/such/folder.html"])
        .expect(1)
        .says("cannot write no/such/folder.html");
    workspace
        .run(&["report", "zzz"])
        .expect(1)
        .says("`zzz` names no run");
    workspace.local(&["destroy", "--yes"]).expect(0);
}

/// The browser and its driver; says so when this machine has none.
fn browser() -> Option<(String, String)> {
    let found = |names: &[&str]| {
        let path = std::env::var_os("PATH")?;
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        let all = names
            .iter()
            .flat_map(|name| folders.iter().map(move |f| f.join(name)));
        let found = all.into_iter().find(|path| path.is_file())?;
        found.to_str().map(str::to_owned)
    };
    let browser = found(&["chromium", "chromium-browser", "google-chrome"]);
    let both = browser.zip(found(&["chromedriver"]));
    if both.is_none() {
        eprintln!("NOT RUN: there is no Chromium with its chromedriver on this machine");
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must open the page in a browser"
        );
    }
    both
}

#[test]
fn a_browser_shows_the_page() {
    let Some((browser, driver)) = browser() else {
        return;
    };
    if !guests() {
        return;
    }
    let python = match python("browser") {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("NOT RUN: the browser cannot be driven: {reason}");
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must drive it: {reason}"
            );
            return;
        }
    };
    let workspace = Workspace::with(FAILING);
    workspace.local(&["test"]).expect(3);
    workspace.run(&["report", "-o", "page.html"]).expect(0);
    // Of many droplets, the page folds what went well, and steps within it.
    let many = Workspace::with(MANY);
    many.up(&["--droplet-limit", "40"]);
    many.local(&["test"]).expect(3);
    many.run(&["report", "-o", "page.html"]).expect(0);
    let pictures = match std::env::var("DEWPOINT_PICTURES") {
        Ok(folder) => std::path::PathBuf::from(folder),
        Err(_) => workspace.path("."),
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/drive.py");
    let output = Command::new(python)
        .arg(script)
        .arg(workspace.path("page.html"))
        .arg(many.path("page.html"))
        .args([browser, driver])
        .arg(pictures)
        .output()
        .expect("a run");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("all seen"), "{said}");
    workspace.local(&["destroy", "--yes"]).expect(0);
}

fn findings(workspace: &Workspace, arguments: &[&str], code: i32) -> Vec<(String, String, String)> {
    let mut all = vec!["doctor", "--format", "json"];
    all.extend(arguments);
    let ran = workspace.run(&all).expect(code);
    let document: Value = serde_json::from_str(&ran.out).expect("JSON");
    let of = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
    let findings = document["findings"].as_array().expect("a list").iter();
    findings
        .map(|f| (of(f, "subject"), of(f, "health"), of(f, "found")))
        .collect()
}

fn health<'a>(findings: &'a [(String, String, String)], subject: &str) -> &'a str {
    let found = findings.iter().find(|(name, ..)| name == subject);
    &found.unwrap_or_else(|| panic!("{subject}: {findings:?}")).1
}

#[test]
fn doctor_says_what_is_broken_and_what_is_only_not_there() {
    let workspace = Workspace::new();
    let found = findings(&workspace, &[], 0);
    for subject in ["manifest", "token"] {
        assert_eq!(health(&found, subject), "lacking", "{found:?}");
    }
    workspace
        .run(&["doctor"])
        .expect(0)
        .says("Nothing is broken.")
        .says("export DIGITALOCEAN_TOKEN=");

    workspace.write("dewpoint.yaml", FAILING);
    let found = findings(&workspace, &["--local"], 0);
    assert_eq!(health(&found, "manifest"), "good");
    assert_eq!(health(&found, "token"), "good");
    // Looking started no local cloud.
    assert!(!workspace.path("cloud").exists());

    workspace.write("dewpoint.yaml", &FAILING.replace("region", "regoin"));
    assert_eq!(health(&findings(&workspace, &[], 1), "manifest"), "bad");

    let manifest = format!("{FAILING}\nssh: {{ key: agent }}\n");
    workspace.write("dewpoint.yaml", &manifest);
    let mut command = workspace.command(&["doctor"]);
    command.env_remove("SSH_AUTH_SOCK");
    workspace
        .finish(command)
        .expect(1)
        .says("FAIL  SSH agent")
        .says("1 thing is broken");
}

#[test]
fn doctor_tells_what_a_token_may_not_see() {
    let workspace = Workspace::with(FAILING);
    workspace.up(&["--without-guests"]);
    let (url, token) = workspace.endpoint();
    let doctor = |token: &str| {
        let mut command = workspace.command(&["doctor"]);
        command
            .env("DIGITALOCEAN_API_URL", &url)
            .env("DIGITALOCEAN_TOKEN", token);
        workspace.finish(command)
    };
    doctor(&token)
        .expect(0)
        .says("the account is active")
        .says("it may read all: 0 droplets")
        .says("ok    limit        0 of ");
    let refused = doctor("wrong").expect(1).says("FAIL  token");
    assert!(!refused.all().contains("wrong"), "{}", refused.all());
    workspace.fault(&serde_json::json!({
        "method": "GET", "path": "/v2/volumes", "fault": { "status": { "code": 403 } }
    }));
    let found = doctor(&token).expect(1).says("FAIL  scopes");
    assert!(found.all().contains("volumes ("), "{}", found.all());
    workspace.local(&["destroy", "--yes"]).expect(0);
}
