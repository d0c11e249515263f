//! `kill -9` of the local cloud in the middle of an apply, with guests, and a start on the same
//! folder: its state is whole, nothing is left over, the next apply converges.
//!
//! At every call without guests: `tests/faults`.

use serde_json::{Value, json};

use crate::guests;
use crate::local_cloud::{family, kill, mounts_and_loops, pid, wait_until, wait_until_ended};
use crate::workspace::{Running, Workspace};

/// Longer than any test takes.
const HELD: u64 = 3_600_000;

/// What is held up while the power is cut: the nth call of a method to a path, before it is carried
/// out, or afterwards, its answer under way.
struct Cut {
    method: &'static str,
    path: &'static str,
    nth: u64,
    is_done: bool,
}

const fn cut(method: &'static str, path: &'static str, nth: u64, is_done: bool) -> Cut {
    Cut {
        method,
        path,
        nth,
        is_done,
    }
}

/// Applies, cuts the power at a call, starts the cloud again and sees the apply come to an end.
fn power_cut(workspace: &Workspace, cut: &Cut) -> String {
    workspace.up(&[]);
    let fault = match cut.is_done {
        true => json!({ "slow": { "ms": HELD } }),
        false => json!({ "delay": { "ms": HELD } }),
    };
    workspace.fault(&json!({
        "method": cut.method, "path": cut.path, "nth": cut.nth, "fault": fault,
    }));
    let requests = workspace.requests().len();
    let apply = Running::start(workspace, &["apply", "--yes"]);
    let is_it = |request: &&Value| {
        let path = request["path"].as_str().unwrap_or_default();
        let fits = match cut.path.strip_suffix("**") {
            Some(begin) => path.starts_with(begin),
            None => path == cut.path,
        };
        request["method"] == cut.method && fits
    };
    wait_until("the call is made", || {
        if cut.is_done {
            let all = workspace.requests();
            let made = all[requests..].iter().filter(is_it).count();
            return u64::try_from(made).is_ok_and(|made| made >= cut.nth);
        }
        let (_, faults) = workspace.call("GET", "/_local/faults", None);
        faults["faults"][0]["seen"].as_u64() >= Some(cut.nth)
    });
    let service = pid(workspace);
    let before = family(service);
    kill(service);
    workspace.run(&["local", "up"]).expect(0);
    wait_until_ended(&before);
    let (_, said) = apply.end();
    said
}

/// Files of guests that belong to nothing there is.
fn files(workspace: &Workspace) -> Vec<String> {
    let folders = ["droplets", "volumes", "volume-snapshots", "layers", "stage"];
    let mut all = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(workspace.path(&format!("cloud/guests/{folder}")))
            .expect("a folder of guests")
        {
            let path = entry.expect("an entry").path();
            all.push(path.display().to_string());
        }
    }
    all
}

fn cut_at(name: &str, cuts: &[Cut]) {
    if !guests() {
        return;
    }
    let workspace = Workspace::example(name);
    for (number, cut) in cuts.iter().enumerate() {
        let said = power_cut(&workspace, cut);
        let told = format!(
            "{name}: power cut at {} {} {} ({})\n{said}",
            cut.method,
            cut.path,
            cut.nth,
            if cut.is_done { "done" } else { "not done" }
        );
        let does = |arguments: &[&str], says: &str| {
            let ran = workspace.local(arguments);
            assert_eq!(ran.code, Some(0), "{told}\n{}", ran.all());
            assert!(ran.out.contains(says), "{told}\n{}", ran.all());
        };
        if number % 2 == 0 {
            does(&["apply", "--yes"], "");
            does(&["plan", "--detailed-exitcode"], "No changes.");
        }
        does(&["destroy", "--project", "--yes"], "");
        workspace.assert_empty();
        wait_until(&format!("no file is left: {told}"), || {
            files(&workspace).is_empty()
        });
        assert_eq!(mounts_and_loops(&workspace), Vec::<String>::new(), "{told}");
        let service = family(pid(&workspace));
        assert_eq!(service.len(), 1, "{told}\n{service:?}");
    }
    // One more, and nothing but a reset after it.
    power_cut(&workspace, &cuts[0]);
    let service = pid(&workspace);
    let before = family(service);
    kill(service);
    workspace.run(&["local", "reset", "--yes"]).expect(0);
    wait_until_ended(&before);
    assert_eq!(mounts_and_loops(&workspace), Vec::<String>::new());
    assert!(!workspace.path("cloud").exists());
}

#[test]
fn the_local_cloud_is_killed_while_the_quickstart_is_applied() {
    cut_at(
        "quickstart",
        &[
            // The builder is made, and being booted.
            cut("POST", "/v2/droplets", 1, true),
            cut("GET", "/v2/droplets", 3, false),
            // Its snapshot is being taken, then it is destroyed.
            cut("POST", "/v2/droplets/**", 1, true),
            cut("POST", "/v2/droplets/**", 1, false),
            cut("DELETE", "/v2/droplets/**", 1, false),
            // The volume is made, attached, detached.
            cut("POST", "/v2/volumes", 1, true),
            cut("POST", "/v2/volumes/**", 1, true),
            cut("POST", "/v2/volumes/**", 2, true),
            cut("POST", "/v2/droplets", 2, true),
            cut("DELETE", "/v2/droplets/**", 2, false),
        ],
    );
}

#[test]
fn the_local_cloud_is_killed_while_a_volume_is_handed_on() {
    cut_at(
        "shared-volume",
        &[
            cut("POST", "/v2/droplets", 1, true),
            cut("POST", "/v2/volumes/**", 1, true),
            cut("POST", "/v2/volumes/**", 2, false),
            cut("POST", "/v2/volumes/**", 3, true),
            cut("POST", "/v2/volumes/**", 4, true),
            cut("POST", "/v2/volumes/**", 5, false),
        ],
    );
}
