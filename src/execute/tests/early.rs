//! Droplets are logged in to as soon as they have an address, over one connection each.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use serde_json::json;

use super::{empty_plan, plain_run};
use crate::address::Address;
use crate::cloud::tests::server::{self as api, Reply, Seen};
use crate::execute::interrupt::Interrupts;
use crate::execute::outcome::Ending;
use crate::execute::{Settings, execute};
use crate::guest::derive_host_key;
use crate::guest::tests::server::Server;
use crate::live::Live;
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::step::{DropletRef, DropletSpec, ImageRef, NewDroplet};
use crate::plan::{Durations, Edge, EdgeKind, Pace, Plan, Step, StepId, StepKind};

const NAME: &str = "shop-main-runner";

/// A droplet that is made, logged in to, and runs three commands at once.
fn plan(policy: HostKeyPolicy) -> Plan {
    let droplet = || DropletRef::Created {
        step: StepId(0),
        name: NAME.into(),
    };
    let spec = DropletSpec {
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-24-04-x64".to_owned()),
        tags: vec![],
        ssh_key_fingerprint: "aa".to_owned(),
        user: "root".to_owned(),
        host_key: policy,
    };
    let droplets = vec![NewDroplet {
        address: Address::droplet("runner"),
        name: NAME.to_owned().into(),
    }];
    let mut kinds = vec![
        StepKind::CreateDroplets {
            spec: Box::new(spec),
            droplets,
        },
        StepKind::Connect {
            droplet: droplet(),
            user: "root".into(),
            host_key: policy,
        },
    ];
    kinds.extend(["one", "two", "three"].map(|name| StepKind::Run {
        droplet: droplet(),
        run: plain_run(name, "true").into(),
    }));
    let mut plan = empty_plan();
    for (id, kind) in (0..).zip(kinds) {
        plan.steps.push(Step {
            id: StepId(id),
            address: Address::droplet("runner"),
            kind,
            cleanup: false,
            expected_seconds: 1,
        });
        if id > 0 {
            plan.edges.push(Edge {
                from: StepId(u32::from(id > 1)),
                to: StepId(id),
                kind: EdgeKind::Needs,
                reason: "in order".into(),
            });
        }
    }
    plan.edges.sort();
    plan
}

/// Carries it out while the API answers looks at the droplet as `is_active` says; how it ended, and
/// how often the droplet was logged in to.
async fn play(
    policy: HostKeyPolicy,
    server: Server,
    is_active: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> (Ending, usize) {
    let logins = Arc::clone(&server.logins);
    let seen = Arc::clone(&logins);
    let api = api::Server::start(move |asked: &Seen| {
        let logins = seen.load(Ordering::SeqCst);
        let mut droplet = api::droplet(1, NAME, true);
        droplet["networks"] = json!({ "v4": [
            { "ip_address": Ipv4Addr::LOCALHOST, "type": "public" },
        ]});
        droplet["status"] = json!(if is_active(logins) { "active" } else { "new" });
        match asked.line().as_str() {
            "POST /v2/droplets" => {
                droplet["status"] = json!("new");
                droplet["networks"] = json!({});
                Reply::Json(202, json!({ "droplet": droplet }))
            }
            "GET /v2/droplets" => api::page_of(asked, "droplets", &[droplet]),
            "GET /v2/droplets/1" => api::ok(json!({ "droplet": droplet })),
            _ => api::not_found(),
        }
    })
    .await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
    let host_key = derive_host_key(&server.identity, "shop", "main").await;
    let settings = Settings {
        client: api.client(),
        ssh_port: server.port,
        identity: Some(server.identity.clone()),
        host_key: Some(host_key.expect("derived")),
        generated_key: None,
        base: path.clone(),
        run_folder: path.join("run"),
        cache: path.join("cache"),
        secrets: BTreeMap::new(),
        lease: None,
        project: None,
        hold_patience: std::time::Duration::ZERO,
        sources: BTreeMap::new(),
        parallelism: 16,
        durations: Durations::usual(Pace::DigitalOcean),
        live: Live::default(),
    };
    let outcome = execute(&plan(policy), settings, vec![], Interrupts::none()).await;
    let ending = outcome.expect("a journal").ending;
    (ending, logins.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_droplet_is_logged_in_to_while_it_is_new_and_over_one_connection() {
    let server = Server::start_pinned().await;
    // Active only once somebody has logged in: whoever waits for that first waits in vain.
    let (ending, logins) = play(HostKeyPolicy::Derived, server, |logins| logins > 0).await;
    assert_eq!(ending, Ending::Succeeded);
    assert_eq!(logins, 1, "the steps share one connection");
}

#[tokio::test]
async fn whoever_believes_the_first_answer_waits_until_the_droplet_is_active() {
    let server = Server::start().await;
    let looks = AtomicUsize::new(0);
    let early = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&early);
    let (ending, logins) = play(HostKeyPolicy::AcceptNew, server, move |logins| {
        let is_active = looks.fetch_add(1, Ordering::SeqCst) > 20;
        if !is_active {
            noted.lock().expect("no panic").push(logins);
        }
        is_active
    })
    .await;
    assert_eq!((ending, logins), (Ending::Succeeded, 1));
    assert!(
        early
            .lock()
            .expect("no panic")
            .iter()
            .all(|logins| *logins == 0)
    );
}
