//! What a plan takes in memory: large ones outgrow the processor's caches.

use super::{desired, plan, world};
use crate::plan::Goal;
use crate::plan::step::StepKind;

/// All steps take as much as the largest kind would.
#[cfg(target_pointer_width = "64")]
#[test]
fn no_kind_of_step_is_large() {
    assert!(size_of::<StepKind>() <= 88, "{}", size_of::<StepKind>());
}

#[test]
fn what_runs_and_its_source_lie_in_memory_once() {
    let desired = desired(
        "version: 1
project: app
region: nyc3
droplets:
  web:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    source: { path: ./app }
    run: [{ name: tests, command: pytest }]
",
    );
    let plan = plan(&desired, &world::nothing(), Goal::Test).expect("a plan");
    let sources: Vec<_> = desired.droplets.iter().flat_map(|it| &it.source).collect();
    let runs: Vec<_> = desired.droplets.iter().flat_map(|it| &it.runs).collect();
    let mut seen = (0, 0);
    for step in &plan.steps {
        match &step.kind {
            StepKind::Sync { source, .. } => {
                seen.0 += 1;
                assert!(
                    sources
                        .iter()
                        .all(|known| std::ptr::eq(&***known, &**source))
                );
            }
            StepKind::Run { run, .. } => {
                seen.1 += 1;
                assert!(runs.iter().any(|known| std::ptr::eq(&*known.spec, &**run)));
            }
            _ => {}
        }
    }
    assert_eq!(seen, (2, 2));
}
