//! What an interrupt leaves: nothing that the plan calls ephemeral, also when a create's answer is
//! still out.

use std::time::{Duration, Instant};

use dewpoint::execute::{EventKind, Interrupts, Signal};
use dewpoint::plan::step::ImageRef;
use dewpoint::plan::{Goal, Plan, StepKind};

use crate::rig::{Making, Rig, When, create, destroy, made};

const RUNNER: &str = "shop-main-runner";

/// A key, a droplet, and its end.
fn plan(rig: &Rig) -> Plan {
    let mut plan = Making::new(Goal::Test);
    let key = plan.step(
        "ssh_key",
        StepKind::CreateSshKey {
            name: "shop-main".to_owned(),
            public_key: rig.public_key.clone(),
            fingerprint: rig.fingerprint.clone(),
        },
        &[],
    );
    let image = ImageRef::Slug("ubuntu-24-04-x64".to_owned());
    let runner = plan.step(
        "droplet.runner",
        create(rig, "droplet.runner", RUNNER, image),
        &[key],
    );
    plan.cleanup("droplet.runner", destroy(&made(runner, RUNNER)), &[runner]);
    plan.done()
}

/// Interrupts when the create has started and, so that its request is out, a moment has passed.
async fn interrupted(rig: &Rig, wait: Duration) -> (crate::rig::Executed, Duration) {
    let (sender, interrupts) = Interrupts::channel();
    let (started, mut creating) = tokio::sync::mpsc::unbounded_channel();
    let is_create = |kind: &EventKind| matches!(kind, EventKind::Started { title, .. } if title == "create droplet");
    let tell = move || started.send(()).expect("someone waits");
    tokio::spawn(async move {
        creating.recv().await;
        tokio::time::sleep(wait).await;
        sender.send(Signal::Int).expect("the run listens");
    });
    let plan = plan(rig);
    let began = Instant::now();
    let executed = rig
        .execute(&plan, interrupts, vec![Box::new(When(is_create, tell))])
        .await;
    (executed, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_late_is_found_and_destroyed() {
    let rig = Rig::start(false).await.expect("needs no guests");
    rig.fault(r#"{"method":"POST","path":"/v2/droplets","fault":{"delay":{"ms":2000}}}"#);
    let (executed, took) = interrupted(&rig, Duration::from_millis(300)).await;
    assert_eq!(
        executed.outcome.ending.exit_code(),
        130,
        "{}",
        executed.screen
    );
    assert_eq!(rig.live().await.droplets, vec![], "{}", executed.screen);
    assert_eq!(
        executed.outcome.standing.hourly(),
        dewpoint::units::Money::default()
    );
    assert!(
        took < Duration::from_secs(40),
        "{took:?}\n{}",
        executed.screen
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_lost_is_found_and_destroyed() {
    let rig = Rig::start(false).await.expect("needs no guests");
    rig.fault(r#"{"method":"POST","path":"/v2/droplets","fault":"reset_after"}"#);
    let (executed, _) = interrupted(&rig, Duration::from_millis(20)).await;
    assert_eq!(
        executed.outcome.ending.exit_code(),
        130,
        "{}",
        executed.screen
    );
    assert_eq!(rig.live().await.droplets, vec![], "{}", executed.screen);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_droplet_comes_of_a_create_whose_answer_is_lost() {
    let rig = Rig::start(false).await.expect("needs no guests");
    rig.fault(r#"{"method":"POST","path":"/v2/droplets","fault":"reset_after"}"#);
    let executed = rig.execute(&plan(&rig), Interrupts::none(), vec![]).await;
    assert_eq!(
        executed.outcome.ending.exit_code(),
        0,
        "{}",
        executed.screen
    );
    assert_eq!(rig.live().await.droplets, vec![]);
}
