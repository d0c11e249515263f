//! Steps about volumes, against an API that says what a test makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use camino::Utf8PathBuf;
use serde_json::{Value, json};

use super::empty_plan;
use crate::address::Address;
use crate::cloud::tests::server::{
    Reply, Server, action, droplet, not_found, ok, page_of, refuse, volume,
};
use crate::execute::interrupt::Interrupts;
use crate::execute::outcome::{Ending, Outcome};
use crate::execute::project_lock::{ProjectPlace, ProjectRight};
use crate::execute::shared_lock::Terms;
use crate::execute::{EventKind, Settings, execute};
use crate::live::{Live, LiveVolume};
use crate::plan::step::{DeletedVolume, DropletRef, VolumeRef};
use crate::plan::{Durations, Goal, Pace, Plan, Step, StepId, StepKind};

/// A plan of one step.
fn plan_of(kind: StepKind) -> Plan {
    let mut plan = empty_plan();
    plan.steps.push(Step {
        id: StepId(0),
        address: Address::Volume("data".into()),
        kind,
        cleanup: false,
        expected_seconds: 1,
    });
    plan
}

async fn carry_out(
    plan: &Plan,
    server: &Server,
    live: Live,
    (awaited, hold_patience): (BTreeSet<StepId>, Duration),
) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
    let place = ProjectPlace {
        state: path.clone(),
        store: None,
        terms: Terms {
            lease: Duration::from_secs(60),
        },
        project: "shop".to_owned(),
        environment: "main".to_owned(),
        command: "apply".to_owned(),
    };
    let settings = Settings {
        client: server.client(),
        ssh_port: 9,
        identity: None,
        host_key: None,
        generated_key: None,
        base: path.clone(),
        run_folder: path.join("run"),
        cache: path.join("cache"),
        secrets: BTreeMap::new(),
        lease: None,
        project: Some(ProjectRight {
            place,
            lease: None,
            volumes: ["data".to_owned()].into(),
            awaited,
        }),
        hold_patience,
        sources: BTreeMap::new(),
        parallelism: 16,
        durations: Durations::usual(Pace::DigitalOcean),
        live,
    };
    let outcome = execute(plan, settings, vec![], Interrupts::none()).await;
    outcome.expect("a journal")
}

fn tagged(mut thing: Value, tags: &[&str]) -> Value {
    thing["tags"] = json!(tags);
    thing
}

/// Attaches a volume that the droplet of another environment has until it was looked at so often.
async fn attach(looks: usize, awaited: BTreeSet<StepId>, patience: Duration) -> Outcome {
    let plan = plan_of(StepKind::Attach {
        volume: VolumeRef::Known {
            id: "v1".to_owned(),
        },
        droplet: DropletRef::Known {
            id: 8,
            name: "shop-main-builder.volume.data".into(),
        },
        region: "nyc3".into(),
    });
    let seen = AtomicUsize::new(0);
    let is_ours = Arc::new(AtomicBool::new(false));
    let server = Server::start(move |asked| match asked.line().as_str() {
        "POST /v2/volumes/v1/actions" => {
            if seen.load(Ordering::SeqCst) < looks {
                let why = "This volume is already attached";
                return refuse(422, "unprocessable_entity", why);
            }
            is_ours.store(true, Ordering::SeqCst);
            Reply::Json(202, action(5, "completed"))
        }
        "GET /v2/volumes/v1" => {
            let holder: &[u64] = if is_ours.load(Ordering::SeqCst) {
                &[8]
            } else if seen.fetch_add(1, Ordering::SeqCst) < looks {
                &[7]
            } else {
                &[]
            };
            ok(json!({ "volume": volume("v1", "shop-data", holder) }))
        }
        "GET /v2/droplets/7" => {
            let tags = ["dewpoint", "dewpoint:shop", "dewpoint:shop:pr-1"];
            ok(json!({ "droplet": tagged(droplet(7, "shop-pr-1-box", true), &tags) }))
        }
        _ => not_found(),
    })
    .await;
    carry_out(&plan, &server, Live::default(), (awaited, patience)).await
}

#[tokio::test]
async fn nobody_waits_for_a_volume_while_others_wait_for_what_it_is_to_hold() {
    let long = Duration::from_secs(3_600);
    let outcome = attach(usize::MAX, [StepId(0)].into(), long).await;
    assert_eq!(outcome.ending, Ending::Failed);
    let (_, failure) = &outcome.failures[0];
    assert_eq!(failure.code, "dewpoint::execute::held_meanwhile");
    assert!(
        failure
            .message
            .starts_with("it is attached to droplet shop-pr-1-box of environment pr-1"),
        "{}",
        failure.message
    );
    // Whom nobody waits for waits.
    let outcome = attach(2, BTreeSet::new(), long).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{:?}", outcome.failures);
    // For as long as it may, and no longer; that is told beforehand.
    let begun = std::time::Instant::now();
    let outcome = attach(usize::MAX, BTreeSet::new(), Duration::from_secs(1)).await;
    assert_eq!(outcome.ending, Ending::Failed);
    let took = begun.elapsed().as_secs_f64();
    assert!((0.9..5.0).contains(&took), "{took} s");
    let told = outcome.events.iter().any(|event| {
        matches!(&event.kind, EventKind::Notice { text } if text.contains(
            "; for 1s at most (`--wait`), while its droplet costs money; `dewpoint destroy --env pr-1` ends it sooner"
        ))
    });
    assert!(told, "{:?}", outcome.events);
}

/// Deletes a volume, and says which snapshots went with it.
async fn deleted_with(plan: &Plan, live: Live) -> Vec<String> {
    let snapshot = |id: &str, tags: &[&str]| {
        json!({
            "id": id, "name": id, "resource_id": "v1", "resource_type": "volume", "regions": ["nyc3"],
            "min_disk_size": 10, "size_gigabytes": 0.5, "tags": tags,
            "created_at": "2026-11-01T10:00:00Z",
        })
    };
    let all = [
        snapshot("project", &["dewpoint:shop", "dewpoint-snap:a"]),
        snapshot(
            "main",
            &["dewpoint:shop", "dewpoint:shop:main", "dewpoint-snap:b"],
        ),
        snapshot(
            "pr",
            &["dewpoint:shop", "dewpoint:shop:pr-1", "dewpoint-snap:c"],
        ),
        snapshot("other", &["dewpoint:other", "dewpoint-snap:d"]),
        // Somebody took it by hand.
        snapshot("by-hand", &["dewpoint:shop"]),
    ];
    let server = Server::start(move |asked| match asked.line().as_str() {
        "GET /v2/volumes/v1/snapshots" => page_of(asked, "snapshots", &all),
        line if line.starts_with("DELETE /v2/") => Reply::Json(204, json!({})),
        _ => not_found(),
    })
    .await;
    let outcome = carry_out(plan, &server, live, (BTreeSet::new(), Duration::ZERO)).await;
    assert_eq!(outcome.ending, Ending::Succeeded, "{:?}", outcome.failures);
    let asked = server.seen().into_iter();
    let mut gone: Vec<String> = asked
        .filter_map(|asked| {
            let line = asked.line();
            Some(line.strip_prefix("DELETE /v2/snapshots/")?.to_owned())
        })
        .collect();
    gone.sort();
    gone
}

#[tokio::test]
async fn with_a_volume_go_the_snapshots_of_those_who_own_it() {
    let mut plan = plan_of(StepKind::DeleteVolume {
        volume: VolumeRef::Known {
            id: "v1".to_owned(),
        },
        name: "shop-data".into(),
        sort: DeletedVolume::WithSnapshots,
    });
    plan.goal = Goal::DestroyProject;
    // Those of another environment are that one's to delete.
    assert_eq!(
        deleted_with(&plan, Live::default()).await,
        ["main", "project"]
    );

    // A sweep is no single project's: whose they are the volume's own tags say.
    plan.goal = Goal::Sweep;
    plan.project.clear();
    plan.environment.clear();
    let of = |tags: &[&str]| Live {
        volumes: vec![LiveVolume {
            id: "v1".to_owned(),
            name: "shop-data".to_owned(),
            region: "nyc3".to_owned(),
            size_gib: 10,
            droplet_ids: Vec::new(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            created_at: 0,
        }],
        ..Live::default()
    };
    let project = of(&["dewpoint", "dewpoint:shop"]);
    assert_eq!(deleted_with(&plan, project).await, ["project"]);
    let environment = of(&["dewpoint", "dewpoint:shop", "dewpoint:shop:pr-1"]);
    assert_eq!(deleted_with(&plan, environment).await, ["pr", "project"]);
    let nobodys = of(&["theirs"]);
    assert_eq!(deleted_with(&plan, nobodys).await, Vec::<String>::new());
}
