//! What people read, on a narrow screen and on a wide one.

mod explain;
pub(crate) mod markdown;
mod plans;
pub(crate) mod runs;
pub(crate) mod seemly;
mod widths;

use crate::address::{Address, Instance};
use crate::digest::Digest;
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::change::ActivityRun;
use crate::plan::step::{
    DropletRef, DropletSpec, ImageRef, NewDroplet, RunSpec, SourceSpec, VolumeSpec,
};
use crate::plan::{
    Action, Activity, Basis, Cause, Change, Cost, Edge, EdgeKind, FieldChange, Goal, Plan, Reason,
    Step, StepId, StepKind,
};
use crate::units::{Gib, Money, Seconds};

fn money(text: &str) -> Money {
    Money(text.parse().expect("a decimal"))
}

fn field(field: &str, old: Option<&str>, new: Option<&str>) -> FieldChange {
    FieldChange {
        field: field.to_owned(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
        forces_replace: false,
        known_after_apply: false,
    }
}

fn change(address: &str, name: &str, action: Action, reason: (Cause, &str)) -> Change {
    Change {
        address: address.parse().expect("an address"),
        name: name.to_owned(),
        id: (action != Action::Create).then(|| "1".to_owned()),
        action,
        reasons: vec![Reason {
            cause: reason.0,
            text: reason.1.to_owned(),
        }],
        fields: vec![],
    }
}

fn runner(index: u32) -> Address {
    Address::Droplet {
        name: "runner".into(),
        instance: Some(Instance::Index(index)),
    }
}

/// A plan with a bit of everything: `count` single-use droplets that run tests.
pub(crate) fn plan(count: u32) -> Plan {
    let mut firewall = change(
        "firewall",
        "shop-main",
        Action::Update,
        (Cause::Manifest, "inbound[1] is new"),
    );
    firewall.fields = vec![field(
        "inbound[1]",
        None,
        Some("tcp 8000 from 203.0.113.0/24, 198.51.100.0/24, 192.0.2.0/24, 2001:db8::/32"),
    )];
    let mut snapshot = change(
        "snapshot.base",
        "shop-base-0123456789ab",
        Action::CreateThenDestroy,
        (Cause::Manifest, "the recipe changed: provision[0].run"),
    );
    snapshot.fields = vec![
        field(
            "provision[0].run",
            Some("apt-get update\napt-get install -y git\n"),
            Some("apt-get update\napt-get install -y git python3-venv\n"),
        ),
        FieldChange {
            known_after_apply: true,
            ..field("id", None, None)
        },
    ];
    let mut database = change(
        "droplet.db",
        "shop-main-db",
        Action::DestroyThenCreate,
        (Cause::Drift, "size s-1vcpu-1gb -> s-2vcpu-2gb"),
    );
    database.fields = vec![FieldChange {
        forces_replace: true,
        ..field("size", Some("s-1vcpu-1gb"), Some("s-2vcpu-2gb"))
    }];
    let mut models = change(
        "volume.models",
        "shop-models",
        Action::Keep,
        (Cause::Manifest, "50GiB ext4"),
    );
    models.id = Some("v-1".to_owned());
    let activity = |index: u32| {
        Activity {
        address: runner(index),
        name: format!("shop-main-runner-{index}").into(),
        single_use: true,
        source: Some("https://github.com/acme/app.git @ main (4f2a91c0)".into()),
        runs: vec![ActivityRun {
            name: "tests".into(),
            command: "/opt/venv/bin/python -m pytest --junitxml=report.xml tests/ --timeout 60 -q --maxfail 5\necho done\n".into(),
            timeout: Seconds(1_800),
            once: false,
            background: None,
        }].into(),
        after_run: "is destroyed".into(),
        fields: vec![
            field("size", None, Some("s-1vcpu-1gb")),
            field("image", None, Some("snapshot.base")),
        ].into(),
    }
    };
    Plan {
        version: 1,
        project: "shop".to_owned(),
        environment: "main".to_owned(),
        region: "nyc3".to_owned(),
        goal: Goal::Apply,
        desired_digest: Digest::of_bytes(b""),
        live_digest: Digest::of_bytes(b""),
        changes: vec![
            database,
            firewall,
            snapshot,
            change(
                "volume.old",
                "shop-old",
                Action::Delete,
                (Cause::Manifest, "it is no longer in the manifest"),
            ),
            models,
        ],
        activities: (1..=count).map(activity).collect(),
        steps: steps(count),
        edges: edges(count),
        cost: Cost {
            hourly_while_up: money("0.0714"),
            monthly_kept: money("5.00"),
            monthly_droplets: money("0"),
            expected_once: money("0.0123"),
            expected_seconds: 240,
            most_once: money("0.3571"),
            most_seconds: 7_200,
            basis: Basis::Usual,
            unpriced: vec![],
        },
        notices: vec!["the local cloud's ubuntu-24-04-x64 stands for this machine".to_owned()],
    }
}

fn droplet(index: u32) -> DropletRef {
    DropletRef::Created {
        step: StepId(0),
        name: format!("shop-main-runner-{index}").into(),
    }
}

/// A create for all, then sync, run and destroy of each, and a volume.
fn steps(count: u32) -> Vec<Step> {
    let create = StepKind::CreateDroplets {
        spec: Box::new(DropletSpec {
            region: "nyc3".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image: ImageRef::Id(1),
            tags: vec![],
            ssh_key_fingerprint: String::new(),
            user: "root".to_owned(),
            host_key: HostKeyPolicy::Derived,
        }),
        droplets: (1..=count)
            .map(|index| NewDroplet {
                address: runner(index),
                name: format!("shop-main-runner-{index}").into(),
            })
            .collect(),
    };
    let volume = StepKind::CreateVolume {
        spec: VolumeSpec {
            name: "shop-scratch".into(),
            region: "nyc3".into(),
            size: Gib(1),
            tags: vec![].into(),
        },
    };
    let mut kinds = vec![
        (runner(1), create, false),
        (Address::Volume("scratch".into()), volume, false),
    ];
    for index in 1..=count {
        let sync = StepKind::Sync {
            droplet: droplet(index),
            source: SourceSpec::Path {
                path: ".".to_owned(),
                into: "/opt/app".to_owned(),
            }
            .into(),
        };
        let run = StepKind::Run {
            droplet: droplet(index),
            run: RunSpec {
                name: "tests".into(),
                command: "pytest".into(),
                env: vec![],
                secrets: vec![].into(),
                cwd: None,
                timeout: Seconds(1_800),
                retries: 0,
                allow_failure: false,
                once: None,
                background: None,
            }
            .into(),
        };
        let destroy = StepKind::DestroyDroplet {
            droplet: droplet(index),
            tag: "dewpoint:shop:main".into(),
        };
        kinds.push((runner(index), sync, false));
        kinds.push((runner(index), run, false));
        kinds.push((runner(index), destroy, true));
    }
    (0..)
        .zip(kinds)
        .map(|(id, (address, kind, cleanup))| Step {
            id: StepId(id),
            address,
            kind,
            cleanup,
            expected_seconds: 1,
        })
        .collect()
}

fn edges(count: u32) -> Vec<Edge> {
    let edge = |from: u32, to: u32, kind: EdgeKind| Edge {
        from: StepId(from),
        to: StepId(to),
        kind,
        reason: "in order".into(),
    };
    (0..count)
        .flat_map(|index| {
            let sync = 2 + index * 3;
            [
                edge(0, sync, EdgeKind::Needs),
                edge(sync, sync + 1, EdgeKind::Needs),
                edge(sync + 1, sync + 2, EdgeKind::After),
            ]
        })
        .collect()
}
