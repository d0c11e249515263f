//! Key, firewall, snapshot, volume, droplet, run, and all of it away again.

use dewpoint::execute::{Ending, Interrupts};
use dewpoint::live::FirewallRule;
use dewpoint::manifest::schema::Filesystem;
use dewpoint::plan::step::{
    FirewallRef, FirewallSpec, ImageRef, ProvisionStep, SourceSpec, VolumeRef, VolumeSpec,
};
use dewpoint::plan::{Goal, Plan, StepKind};
use dewpoint::units::{Gib, Seconds};

use crate::rig::{Making, Rig, TAG, connect, create, destroy, made, run};

const BUILDER: &str = "shop-main-base";
const RUNNER: &str = "shop-main-runner";

fn tags() -> Vec<String> {
    ["dewpoint", "dewpoint:shop", TAG]
        .map(str::to_owned)
        .to_vec()
}

/// All of it, ending with the clean-up of `test`.
fn plan(rig: &Rig, command: &str) -> Plan {
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
    let tags_made = plan.step("firewall", StepKind::CreateTags { names: tags() }, &[]);
    let anywhere = || FirewallRule {
        protocol: "tcp".to_owned(),
        ports: "22".to_owned(),
        addresses: vec!["0.0.0.0/0".to_owned()],
        tags: vec![],
    };
    let firewall = plan.step(
        "firewall",
        StepKind::CreateFirewall {
            spec: FirewallSpec {
                name: "shop-main".to_owned(),
                inbound: vec![anywhere()],
                outbound: vec![FirewallRule {
                    ports: "0".to_owned(),
                    ..anywhere()
                }],
                tags: vec![TAG.to_owned()],
            }
            .into(),
        },
        &[tags_made],
    );
    // The snapshot.
    let image = ImageRef::Slug("ubuntu-24-04-x64".to_owned());
    let builder = plan.step(
        "snapshot.base",
        create(rig, "snapshot.base", BUILDER, image),
        &[key, tags_made],
    );
    let droplet = made(builder, BUILDER);
    let connected = plan.step("snapshot.base", connect(&droplet), &[builder]);
    let provisioned = plan.step(
        "snapshot.base",
        StepKind::Provision {
            droplet: droplet.clone(),
            number: 1,
            of: 1,
            step: ProvisionStep::Run {
                name: "marker".to_owned(),
                script: "echo provisioned >/opt/marker; echo marker made".to_owned(),
                env: vec![],
                timeout: Seconds(60),
            }
            .into(),
        },
        &[connected],
    );
    let off = plan.step(
        "snapshot.base",
        StepKind::PowerOff {
            droplet: droplet.clone(),
        },
        &[provisioned],
    );
    let taken = plan.step(
        "snapshot.base",
        StepKind::TakeSnapshot {
            droplet: droplet.clone(),
            name: "shop-base-0123456789ab".to_owned(),
        },
        &[off],
    );
    let tagged = plan.step(
        "snapshot.base",
        StepKind::TagSnapshot {
            image: ImageRef::Taken(taken),
            tags: ["dewpoint", "dewpoint:shop"].map(str::to_owned).to_vec(),
        },
        &[taken],
    );
    plan.cleanup(
        "snapshot.base",
        destroy(&droplet),
        &[builder, taken, tagged],
    );
    // The volume.
    let volume = plan.step(
        "volume.models",
        StepKind::CreateVolume {
            spec: VolumeSpec {
                name: "shop-models".into(),
                region: "nyc3".into(),
                size: Gib(1),
                tags: ["dewpoint", "dewpoint:shop"]
                    .map(str::to_owned)
                    .to_vec()
                    .into(),
            },
        },
        &[tags_made],
    );
    let volume = (VolumeRef::Created { step: volume }, volume);
    // The droplet.
    let runner = plan.step(
        "droplet.runner",
        create(rig, "droplet.runner", RUNNER, ImageRef::Taken(taken)),
        &[tagged],
    );
    let droplet = made(runner, RUNNER);
    let connected = plan.step("droplet.runner", connect(&droplet), &[runner]);
    let attached = plan.step(
        "droplet.runner",
        StepKind::Attach {
            volume: volume.0.clone(),
            droplet: droplet.clone(),
            region: "nyc3".into(),
        },
        &[runner, volume.1],
    );
    let mounted = plan.step(
        "droplet.runner",
        StepKind::Mount {
            droplet: droplet.clone(),
            volume_name: "shop-models".into(),
            filesystem: Filesystem::Ext4,
            path: "/mnt/models".into(),
            usage: Default::default(),
        },
        &[attached, connected],
    );
    let synced = plan.step(
        "droplet.runner",
        StepKind::Sync {
            droplet: droplet.clone(),
            source: SourceSpec::Path {
                path: "code".to_owned(),
                into: "/opt/app".to_owned(),
            }
            .into(),
        },
        &[connected],
    );
    let ran = plan.step(
        "droplet.runner",
        run(&droplet, "tests", command, Some("/opt/app")),
        &[synced, mounted],
    );
    let collected = plan.step(
        "droplet.runner",
        StepKind::Collect {
            droplet: droplet.clone(),
            run: "tests".into(),
            cwd: Some("/opt/app".into()),
            patterns: vec!["report.xml".to_owned()].into(),
            background: None,
        },
        &[ran],
    );
    // Away again.
    let unmounted = plan.cleanup(
        "droplet.runner",
        StepKind::Unmount {
            droplet: droplet.clone(),
            path: "/mnt/models".into(),
        },
        &[mounted, ran, collected],
    );
    let detached = plan.cleanup(
        "droplet.runner",
        StepKind::Detach {
            volume: volume.0,
            droplet: droplet.clone(),
            region: "nyc3".into(),
        },
        &[unmounted],
    );
    let gone = plan.cleanup("droplet.runner", destroy(&droplet), &[detached]);
    let open = plan.cleanup(
        "firewall",
        StepKind::DeleteFirewall {
            firewall: FirewallRef::Created(firewall),
            name: "shop-main".to_owned(),
        },
        &[gone],
    );
    let forgotten = plan.cleanup(
        "ssh_key",
        StepKind::DeleteSshKey {
            name: "shop-main".to_owned(),
            fingerprint: rig.fingerprint.clone(),
            forget_private_key: true,
        },
        &[gone],
    );
    plan.cleanup(
        "firewall",
        StepKind::DeleteTags {
            names: vec![TAG.to_owned()],
        },
        &[open, forgotten],
    );
    plan.done()
}

/// What is synced.
fn code(rig: &Rig) {
    let code = rig.path().join("code");
    std::fs::create_dir(&code).expect("made");
    std::fs::write(code.join("greeting"), "hello from this side\n").expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_executed_from_key_to_clean_up() {
    let Some(rig) = Rig::start(true).await else {
        return;
    };
    code(&rig);
    let command = "cat greeting /opt/marker; date >/mnt/models/seen; mountpoint /mnt/models; echo ok >report.xml";
    let executed = rig
        .execute(&plan(&rig, command), Interrupts::none(), vec![])
        .await;
    let screen = &executed.screen;
    assert_eq!(executed.outcome.ending, Ending::Succeeded, "{screen}");
    for line in ["hello from this side", "provisioned", "is a mountpoint"] {
        assert!(screen.contains(line), "{line}: {screen}");
    }
    let artifact = executed
        .run_folder
        .join("artifacts/shop-main-runner/report.xml");
    assert_eq!(
        std::fs::read_to_string(artifact).expect("collected"),
        "ok\n"
    );
    let junit = std::fs::read_to_string(executed.run_folder.join("junit.xml")).expect("written");
    assert!(junit.contains("<testcase name=\"tests\""), "{junit}");
    let log = executed.run_folder.join("shop-main-base/01-marker.log");
    assert_eq!(
        std::fs::read_to_string(log).expect("written"),
        "marker made\n"
    );

    let live = rig.live().await;
    assert_eq!(live.droplets, vec![]);
    assert_eq!(live.firewalls, vec![]);
    assert_eq!(live.ssh_keys, vec![]);
    assert_eq!(live.tags, ["dewpoint", "dewpoint:shop"]);
    assert_eq!(live.images.len(), 1);
    assert_eq!(live.images[0].tags, ["dewpoint", "dewpoint:shop"]);
    assert_eq!(live.volumes.len(), 1);
    assert_eq!(live.volumes[0].droplet_ids, Vec::<u64>::new());
    assert!(
        !rig.path().join("keys/main").exists(),
        "the key is forgotten"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_is_told_and_the_droplet_destroyed_all_the_same() {
    let Some(rig) = Rig::start(true).await else {
        return;
    };
    code(&rig);
    let command = "echo 'AssertionError: 1 != 2'; exit 1";
    let executed = rig
        .execute(&plan(&rig, command), Interrupts::none(), vec![])
        .await;
    let screen = &executed.screen;
    assert_eq!(executed.outcome.ending.exit_code(), 3, "{screen}");
    let (_, failure) = &executed.outcome.failures[0];
    assert_eq!(failure.tail, ["AssertionError: 1 != 2"]);
    assert_eq!(rig.live().await.droplets, vec![]);
}
