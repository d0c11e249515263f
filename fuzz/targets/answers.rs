//! Any answers of an API, over real HTTP: an account is read or refused; of what is read plans can be
//! made that pass the judge, or are refused.
//!
//! The input: a byte for how the answers are told, then the answers one after the other, split by
//! 0xff, in the order of [`PATHS`].
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use dewpoint::cloud::{self, Budget, Client, Config, Query, Timing};
use dewpoint::desired::{self, Desired, Inputs, SshKey};
use dewpoint::live::ownership::Owner;
use dewpoint::plan::{self, Goal, Options};
use dewpoint::secret::Secret;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// What is asked for, in the order of the answers.
const PATHS: [&str; 10] = [
    "/v2/account",
    "/v2/droplets",
    "/v2/volumes",
    "/v2/images",
    "/v2/firewalls",
    "/v2/account/keys",
    "/v2/tags",
    "/v2/sizes",
    "/v2/regions",
    "/v2/snapshots",
];

const NOW: i64 = 1_790_000_000;

const MANIFEST: &str = "version: 1
project: fleet
region: nyc3
snapshots:
  base: { from: ubuntu-24-04-x64, size: s-1vcpu-1gb, provision: [{ run: echo base }] }
volumes:
  data: { size: 10GiB, scope: project }
  scratch: { size: 10GiB }
droplets:
  web:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    count: 2
  worker:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }, { volume: scratch, mount: /mnt/scratch }]
    run: [{ name: tests, command: 'true' }]
";

type Answers = Arc<Mutex<(u16, Vec<Vec<u8>>)>>;

struct Bench {
    runtime: tokio::runtime::Runtime,
    answers: Answers,
    client: Client,
    desired: Desired,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let answers = Answers::default();
        let (url, client) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port");
            let url = format!("http://{}", listener.local_addr().expect("it is bound"));
            let answers = Arc::clone(&answers);
            let app = axum::Router::new().fallback(move |request: Request| {
                let answers = Arc::clone(&answers);
                async move { answer(&answers, request.uri().path()) }
            });
            tokio::spawn(async move { axum::serve(listener, app).await });
            let client = client(&url);
            (url, client)
        });
        assert!(url.starts_with("http://127.0.0.1:"));
        let manifest =
            dewpoint::manifest::load("dewpoint.yaml", MANIFEST.as_bytes(), &Default::default())
                .expect("a good manifest");
        let inputs = Inputs {
            ssh_key: SshKey {
                public_key: "ssh-ed25519 AAAA fleet-main".to_owned(),
                fingerprint: "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa".to_owned(),
                generated: true,
            },
            copies: BTreeMap::new(),
            commits: BTreeMap::new(),
        };
        let desired = desired::desired(&manifest, &inputs).expect("a desired state");
        Self {
            runtime,
            answers,
            client,
            desired,
        }
    }
}

/// Waits are those of a test: nothing here gets better by waiting.
fn client(url: &str) -> Client {
    let millis = Duration::from_millis;
    let timing = Timing {
        fault_first: millis(0),
        fault_max: millis(0),
        fault_deadline: millis(1),
        reach_deadline: millis(1_000),
        rate_minute: millis(1),
        rate_hour: millis(1),
        ..Timing::default()
    };
    let config = Config {
        endpoint: url.to_owned(),
        token: Secret::new("dop_v1_0123456789abcdef0123456789abcdef".to_owned()),
        parallelism: 16,
        budget: Budget::Whole,
    };
    Client::with_timing(config, timing).expect("a good configuration")
}

fn answer(answers: &Answers, path: &str) -> Response {
    let answers = answers.lock().expect("nobody panics here");
    let at = PATHS.iter().position(|known| *known == path);
    let body = at.and_then(|at| answers.1.get(at)).cloned();
    Response::builder()
        .status(if body.is_some() { answers.0 } else { 404 })
        .header("content-type", "application/json")
        .body(Body::from(body.unwrap_or_default()))
        .expect("an answer")
}

thread_local! {
    static BENCH: RefCell<Option<Rc<Bench>>> = const { RefCell::new(None) };
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dewpoint_fuzz::mutate(data, size, max_size, seed, Some(0xff))
});

fuzz_target!(|bytes: &[u8]| {
    let bench = BENCH
        .with_borrow_mut(|bench| Rc::clone(bench.get_or_insert_with(|| Rc::new(Bench::new()))));
    let Some((how, rest)) = bytes.split_first() else {
        return;
    };
    let status = match how {
        0..=239 => 200,
        240..=243 => 404,
        244..=247 => 422,
        248..=251 => 401,
        _ => 301,
    };
    let parts = rest.split(|byte| *byte == 0xff).map(<[u8]>::to_vec);
    *bench.answers.lock().expect("nobody panics here") = (status, parts.collect());
    bench.runtime.block_on(read_and_plan(&bench));
});

async fn read_and_plan(bench: &Bench) {
    let scope = &bench.desired.scope;
    let query = Query {
        project: scope.project.clone(),
        environment: scope.environment.clone(),
        ssh_key: Some(bench.desired.ssh_key.fingerprint.clone()),
        for_destroy: true,
        volume_snapshots: true,
    };
    if let Ok(mut live) = cloud::observe(&bench.client, &query).await {
        let apply = Options::default();
        let test = Options {
            goal: Goal::Test,
            ..Options::default()
        };
        // As it is read, and with what a refusal makes the program look up: then it must be sound.
        for look_up in [None, Some(false), Some(true)] {
            if let Some(whole) = look_up {
                let owner = Owner::new(&scope.project, &scope.environment);
                let looked = bench.client.look_up_holders(&owner, whole, &mut live);
                if looked.await.is_err() {
                    return;
                }
            }
            let plans = [
                plan::plan(&bench.desired, &live, &apply, NOW),
                plan::plan(&bench.desired, &live, &test, NOW),
                plan::destroy(scope, &live, false, &[]),
            ];
            let whole = plan::destroy(scope, &live, true, &[]);
            let whole = whole.ok().filter(|_| look_up == Some(true));
            for plan in plans.into_iter().flatten().chain(whole) {
                let judged = plan::check::check(&plan, &live);
                assert!(judged.is_ok() || look_up.is_none(), "{judged:?}");
            }
        }
    }
    if let Ok(account) = cloud::observe_account(&bench.client).await {
        let _ = plan::sweep::sweep(&account, None, NOW);
    }
}
