//! The planner: what it says of worked examples, and laws that hold for all.

mod account_laws;
mod accounts;
mod adopt;
mod cases;
mod clones;
mod golden;
mod holders;
mod laws;
mod narrow;
mod needs;
mod populate;
mod refusals;
mod renames;
mod saved;
mod size;
mod sweep;
mod turns;
pub(crate) mod world;

use std::collections::BTreeMap;

use super::{Goal, Options, Plan, Refusals, check};
use crate::desired::{Desired, GitCommit, Inputs, Scope, SshKey};
use crate::digest::Digest;
use crate::live::Live;
use crate::manifest::Manifest;
use crate::report::plan_text;
use crate::report::style::Palette;

/// When tests plan.
const NOW: i64 = 1_790_000_000;

fn manifest(yaml: &str) -> Manifest {
    serde_yaml::from_str(yaml).expect("a manifest")
}

fn scope(yaml: &str) -> Scope {
    crate::desired::scope(&manifest(yaml))
}

/// The desired state of a manifest; whatever it reads is there.
fn desired_of(manifest: &Manifest) -> Desired {
    let reads = crate::desired::reads(manifest);
    let copies = reads
        .copies
        .into_iter()
        .map(|path| {
            let digest = Digest::of_bytes(path.as_bytes());
            (path, digest)
        })
        .collect();
    let commits: BTreeMap<_, _> = reads
        .git
        .into_iter()
        .map(|read| {
            let reference = read.reference.clone().unwrap_or_else(|| "main".to_owned());
            let commit = "4f2a91c0".repeat(5);
            (read, GitCommit { reference, commit })
        })
        .collect();
    let inputs = Inputs {
        ssh_key: SshKey {
            public_key: "ssh-ed25519 AAAA app-main".to_owned(),
            fingerprint: "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa".to_owned(),
            generated: true,
        },
        copies,
        commits,
    };
    crate::desired::desired(manifest, &inputs).expect("a desired state")
}

fn desired(yaml: &str) -> Desired {
    desired_of(&manifest(yaml))
}

fn options(goal: Goal) -> Options {
    Options {
        goal,
        unprotect: Vec::new(),
        ..Options::default()
    }
}

/// Plans, and holds the plan against the checker.
fn plan(desired: &Desired, live: &Live, goal: Goal) -> Result<Plan, Refusals> {
    let plan = super::plan(desired, live, &options(goal), NOW)?;
    assert_checked(&plan, live);
    Ok(plan)
}

fn assert_checked(plan: &Plan, live: &Live) {
    if let Err(violations) = check::check(plan, live) {
        let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("{}\n{}", violations.join("\n"), text(plan));
    }
}

/// The plan as people read it.
fn text(plan: &Plan) -> String {
    let view = plan_text::View {
        palette: Palette::PLAIN,
        place: "DigitalOcean",
        all_steps: true,
        width: 100,
        folds: true,
    };
    plan_text::render(plan, view)
}

/// The test of a manifest in an account with nothing in it.
pub(crate) fn planned(yaml: &str) -> Plan {
    plan(&desired(yaml), &world::nothing(), Goal::Test).expect("a plan")
}

/// The destroy of a manifest in an account with nothing in it.
pub(crate) fn nothing_to_do(yaml: &str) -> Plan {
    super::destroy(&scope(yaml), &world::nothing(), false, &[]).expect("a plan")
}

/// Applies a manifest to what exists.
fn applied(yaml: &str, live: &Live) -> Live {
    let plan = plan(&desired(yaml), live, Goal::Apply).expect("a plan");
    world::World::execute(&plan, live)
}

fn refused(result: Result<Plan, Refusals>) -> String {
    let refusals = result.expect_err("a refusal");
    let lines: Vec<String> = refusals
        .refusals
        .iter()
        .map(|refusal| {
            format!(
                "{refusal} [{}]\n  help: {}",
                refusal.kind.code(),
                refusal.help
            )
        })
        .collect();
    lines.join("\n")
}
