//! The tutorials are true: each of their commands is executed and its output compared.
//!
//! `TRYCMD=overwrite cargo test --test cli tutorial` writes all output anew; what differs from run to
//! run has to be left out by hand again.

use std::path::Path;

use serde_json::json;

use crate::guests;
use crate::workspace::Workspace;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");

#[test]
fn the_tutorial_does_what_it_says() {
    // Its local cloud is stopped and emptied when it goes.
    let workspace = Workspace::new();
    if guests() {
        page("tutorial", &workspace);
    }
}

#[test]
fn what_terraform_made_is_taken_over_as_the_page_says() {
    let manifest = std::fs::read_to_string(format!("{DOCS}/from-terraform.in/dewpoint.yaml"));
    let text = std::fs::read_to_string(format!("{DOCS}/from-terraform.md"));
    let shown = format!("```yaml\n{}```\n", manifest.expect("the page's manifest"));
    assert!(
        text.expect("the page").contains(&shown),
        "docs/from-terraform.in/dewpoint.yaml is what the page shows"
    );

    let workspace = Workspace::new();
    workspace.up(&["--without-guests"]);
    let made = json!({
        "name": "models", "region": "nyc3", "size_gigabytes": 50, "filesystem_type": "ext4",
    });
    let (status, answer) = workspace.call("POST", "/v2/volumes", Some(&made));
    assert_eq!(status, 201, "{answer}");
    page("from-terraform", &workspace);
    let volume = &workspace.list("volumes")[0];
    assert_eq!(volume["id"], answer["volume"]["id"], "the very same one");
    assert_ne!(volume["tags"], json!([]), "and it is the project's now");
}

/// Executes the commands of a page of `docs`, on the workspace's local cloud, and compares what they say.
fn page(name: &str, workspace: &Workspace) {
    let cases = trycmd::TestCases::new();
    for (name, _) in std::env::vars() {
        if name.starts_with("DEWPOINT_") || name.starts_with("DIGITALOCEAN_") {
            cases.env(name, "");
        }
    }
    let path = |name: &str| workspace.path(name).to_str().expect("UTF-8").to_owned();
    cases
        .register_bin("dewpoint", Path::new(env!("CARGO_BIN_EXE_dewpoint")))
        .register_bin("cp", Path::new("/bin/cp"))
        .register_bin("sed", Path::new("/bin/sed"))
        .env("DEWPOINT_LOCAL_DIR", path("cloud"))
        .env("XDG_CACHE_HOME", path("cache"))
        .env("NO_COLOR", "1")
        .env("CI", "")
        .env("LC_ALL", "C")
        .case(format!("{DOCS}/{name}.md"))
        .run();
}
