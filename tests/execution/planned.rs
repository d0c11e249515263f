//! Plans as the planner makes them: applied, found to be nothing more to do, and undone.

use std::collections::BTreeMap;

use dewpoint::desired::{self, Desired};
use dewpoint::execute::{Ending, EventKind, Interrupts, Signal};
use dewpoint::manifest::{self, Manifest};
use dewpoint::plan::{self, Goal, Options, Plan};

use crate::rig::{Executed, Rig, When};

const MANIFEST: &str = r#"
version: 1
project: shop
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - { name: marker, run: "echo baked >/opt/marker" }
volumes:
  models: { size: 1GiB }
  scratch: { size: 1GiB, scope: environment }
droplets:
  keeper:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: models, mount: /mnt/models }]
    run:
      - { name: look, command: "cat /opt/marker; echo x >>/mnt/models/count; wc -l </mnt/models/count" }
  runner:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    count: 2
    source: { path: code, into: /opt/app }
    run:
      - { name: tests, command: "cat greeting; echo ok >report.xml", artifacts: [report.xml] }
    after_run: destroy
"#;

struct Project<'a> {
    rig: &'a Rig,
    manifest: Manifest,
    desired: Desired,
}

impl<'a> Project<'a> {
    fn new(rig: &'a Rig) -> Self {
        let code = rig.path().join("code");
        std::fs::create_dir(&code).expect("made");
        std::fs::write(code.join("greeting"), "hello from this side\n").expect("written");
        let inputs = manifest::Inputs {
            variables: vec![],
            environment: None,
            ..manifest::Inputs::default()
        };
        let manifest = manifest::load("dewpoint.yaml", MANIFEST.as_bytes(), &inputs);
        let manifest = manifest.expect("a good manifest");
        let inputs = desired::Inputs {
            ssh_key: desired::SshKey {
                public_key: rig.public_key.clone(),
                fingerprint: rig.fingerprint.clone(),
                generated: true,
            },
            copies: BTreeMap::new(),
            commits: BTreeMap::new(),
        };
        let desired = desired::desired(&manifest, &inputs).expect("can be had");
        Self {
            rig,
            manifest,
            desired,
        }
    }

    async fn plan(&self, goal: Goal) -> Plan {
        let live = self.rig.live().await;
        let options = Options {
            goal,
            ..Options::default()
        };
        let now = jiff::Timestamp::now().as_second();
        let plan = plan::plan(&self.desired, &live, &options, now).expect("can be planned");
        plan::check::check(&plan, &live).expect("holds");
        plan
    }

    async fn destruction(&self, whole_project: bool) -> Plan {
        let live = self.rig.live().await;
        let scope = desired::scope(&self.manifest);
        let plan = plan::destroy(&scope, &live, whole_project, &[]).expect("can be planned");
        plan::check::check(&plan, &live).expect("holds");
        plan
    }

    async fn execute(&self, plan: &Plan) -> Executed {
        let executed = self.rig.execute(plan, Interrupts::none(), vec![]).await;
        let screen = &executed.screen;
        assert_eq!(executed.outcome.ending, Ending::Succeeded, "{screen}");
        executed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_converges_and_destroy_ends_empty() {
    let Some(rig) = Rig::start(true).await else {
        return;
    };
    let project = Project::new(&rig);
    let first = project.execute(&project.plan(Goal::Apply).await).await;
    for line in ["baked", "hello from this side", "droplet.keeper | 1"] {
        assert!(first.screen.contains(line), "{line}: {}", first.screen);
    }
    let up: Vec<String> = first
        .outcome
        .standing
        .present()
        .map(|(sort, name, _)| format!("{sort:?} {name}"))
        .collect();
    assert_eq!(
        up,
        [
            "Droplet shop-main-keeper".to_owned(),
            "Volume shop-main-scratch".to_owned(),
            "Volume shop-models".to_owned(),
            up[3].clone(),
            "Firewall shop-main".to_owned(),
            "SshKey shop-main".to_owned(),
        ]
    );

    let again = project.plan(Goal::Apply).await;
    assert!(!again.has_changes(), "{:#?}", again.changes);
    let second = project.execute(&again).await;
    assert!(
        second.screen.contains("droplet.keeper | 2"),
        "{}",
        second.screen
    );
    assert!(!second.screen.contains("provision"), "{}", second.screen);

    project.execute(&project.destruction(false).await).await;
    let live = rig.live().await;
    assert_eq!(
        (live.droplets, live.firewalls, live.ssh_keys),
        (vec![], vec![], vec![])
    );
    assert_eq!(live.volumes.len(), 1, "the project's volume stays");
    project.execute(&project.destruction(true).await).await;
    let live = rig.live().await;
    assert_eq!(
        (live.volumes, live.images, live.tags),
        (vec![], vec![], vec![])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_is_interrupted_leaves_nothing_single_use() {
    let Some(rig) = Rig::start(true).await else {
        return;
    };
    let project = Project::new(&rig);
    let plan = project.plan(Goal::Test).await;
    let (sender, interrupts) = Interrupts::channel();
    // Two droplets say it: a second signal would end the run at once.
    let mut said = false;
    let has_run = move |kind: &EventKind| {
        let says = matches!(kind, EventKind::Output { line, .. } if line.contains("hello"));
        says && !std::mem::replace(&mut said, true)
    };
    let interrupt = move || sender.send(Signal::Term).expect("the run listens");
    let listener = Box::new(When(has_run, interrupt));
    let executed = rig.execute(&plan, interrupts, vec![listener]).await;
    assert_eq!(
        executed.outcome.ending.exit_code(),
        143,
        "{}",
        executed.screen
    );
    let live = rig.live().await;
    assert_eq!(live.droplets, vec![], "{}", executed.screen);
    let volumes: Vec<&str> = live
        .volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    assert_eq!(volumes, ["shop-models"], "{}", executed.screen);
}
