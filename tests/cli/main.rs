//! The built binary, driven as a user drives it, against a local cloud of each test's own.
//!
//! Where this machine cannot do guests, the tests that log in say `NOT RUN`; CI must run them.

mod adopt;
mod after_run;
#[path = "../support/api_call.rs"]
mod api_call;
mod apply;
mod busy_volume;
mod client_server;
mod clone;
mod cp;
mod diff;
mod docs;
mod drift;
mod editor;
mod examples;
mod failures;
mod faults;
mod first_steps;
mod fleet;
#[cfg(target_os = "linux")] // It mounts a small disk for one thread alone.
mod full_disk;
mod held_volume;
mod hints;
mod interrupt;
mod keys;
#[cfg(target_os = "linux")] // As `killed_at`.
mod killed;
#[cfg(target_os = "linux")] // It looks into a program by ptrace.
#[path = "../support/killed_at.rs"]
mod killed_at;
mod live;
mod local_cloud;
mod lost_tags;
mod machines;
mod narrow;
mod policy;
mod populate;
mod power_cut;
#[path = "../support/python.rs"]
mod python;
mod quickstart;
mod report;
mod run;
mod s3;
mod saved_plans;
mod secrets;
mod security;
mod services;
mod shared_lock;
mod shared_snapshot;
mod shared_volume;
mod spec;
mod ssh_faults;
mod sweep;
mod team_history;
mod tutorial;
mod words;
mod workspace;
mod wrong_uses;

/// Whether droplets can be logged in to here; says why not.
pub fn guests() -> bool {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let folder = camino::Utf8Path::from_path(folder.path()).expect("a UTF-8 path");
    let probe = dewpoint::local::tiers::probe(folder);
    if probe.tier == dewpoint::local::seam::Tier::Namespaces {
        return true;
    }
    eprintln!(
        "NOT RUN: this machine cannot do guests: {}",
        probe.reasons.join("; ")
    );
    assert!(
        std::env::var_os("CI").is_none() || cfg!(not(all(target_os = "linux", feature = "guests"))),
        "CI must run the tests of guests"
    );
    false
}

/// Fails when a file of this folder is not a module of it: its tests would never run.
#[test]
fn every_file_here_is_run() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let main = std::fs::read_to_string(folder.join("main.rs")).expect("this file");
    for entry in std::fs::read_dir(folder).expect("this folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let Some(module) = name.strip_suffix(".rs") else {
            continue;
        };
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "tests/cli/{name} is not run"
        );
    }
}
