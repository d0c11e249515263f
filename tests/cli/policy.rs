//! The policy in `examples/policy`, held against plans.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::workspace::Workspace;

const MANIFEST: &str = r#"
version: 1
project: rules
region: nyc3
volumes:
  data: { size: 1GiB, scope: environment }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, after_run: keep }
"#;

/// What jq says of a plan: whether it is allowed, and in which words. `None` without jq.
fn judged(plan: &str, most: &str) -> Option<(bool, String)> {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policy/plan.jq");
    let jq = Command::new("jq")
        .args(["-r", "--arg", "most", most, "-f"])
        .arg(policy)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut jq = match jq {
        Ok(jq) => jq,
        Err(error) => {
            eprintln!("NOT RUN: there is no jq: {error}");
            assert!(std::env::var_os("CI").is_none(), "CI must run this");
            return None;
        }
    };
    let mut stdin = jq.stdin.take().expect("piped");
    stdin.write_all(plan.as_bytes()).expect("written");
    drop(stdin);
    let ended = jq.wait_with_output().expect("jq ends");
    let said = [ended.stdout, ended.stderr].concat();
    Some((
        ended.status.success(),
        String::from_utf8(said).expect("UTF-8"),
    ))
}

#[test]
fn the_policy_refuses_what_it_says() {
    let workspace = Workspace::with(MANIFEST);
    let plan = workspace.local(&["plan", "--format", "json"]).expect(0).out;
    let Some(allowed) = judged(&plan, "0.50") else {
        return;
    };
    assert_eq!(allowed, (true, "allowed\n".to_owned()));
    let (is_allowed, said) = judged(&plan, "0.001").expect("jq");
    assert!(
        !is_allowed && said.contains("an hour, and $0.001 is the most"),
        "{said}"
    );

    // A saved plan is read the same way.
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace
        .local(&["plan", "--destroy", "--out", "plan.json"])
        .expect(0);
    let (is_allowed, said) = judged(&workspace.read("plan.json"), "0.50").expect("jq");
    assert!(
        !is_allowed && said.contains("volume.data (rules-main-data) would be destroyed"),
        "{said}"
    );
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}
