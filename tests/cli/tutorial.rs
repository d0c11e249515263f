//! The tutorial is true: each of its commands is executed and its output compared.
//!
//! `TRYCMD=overwrite cargo test --test cli tutorial` writes all output anew; what differs from run to
//! run has to be left out by hand again.

use std::path::Path;

use crate::guests;
use crate::workspace::Workspace;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");

#[test]
fn the_tutorial_does_what_it_says() {
    if !guests() {
        return;
    }
    // Its local cloud is stopped and emptied when it goes.
    let workspace = Workspace::new();
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
        .case(format!("{DOCS}/tutorial.md"))
        .run();
}
