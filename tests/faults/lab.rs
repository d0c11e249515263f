//! A local cloud without guests, a client in a hurry, and plans that are made and executed there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use dewpoint::cloud::{Budget, Client, Config, Query, Timing, observe, observe_account};
use dewpoint::desired::{self, Desired};
use dewpoint::execute::journal::make_run_folder;
use dewpoint::execute::{Interrupts, Listener, Outcome, Settings, execute};
use dewpoint::guest::{HostKey, Identity, UserKey, derive_host_key, generate_key_file, open_key};
use dewpoint::live::Live;
use dewpoint::live::ownership::Owner;
use dewpoint::local::latency::Latency;
use dewpoint::local::service::{self, Endpoint, UpOptions};
use dewpoint::manifest::{self, Manifest};
use dewpoint::plan::{self, Durations, EdgeKind, Goal, Options, Pace, Plan, StepId, StepKind};
use dewpoint::report::status::Status;
use serde_json::{Value, json};

use crate::observed::Census;

/// Things take 500 times less than on DigitalOcean.
const LATENCY: Latency = Latency { factor: 0.002 };

/// The client's patience in about the same proportion.
fn hurried() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        connect_timeout: ms(2_000),
        request_timeout: ms(900),
        fault_first: ms(5),
        fault_max: ms(40),
        fault_deadline: ms(400),
        reach_deadline: ms(400),
        throttle_first: ms(5),
        throttle_deadline: ms(5_000),
        rate_minute: ms(60),
        rate_hour: ms(3_600),
        poll_first: ms(2),
        poll_max: ms(20),
        poll_slow: ms(20),
        lookup_window: ms(300),
        key_lag: ms(1_000),
        pending_event: ms(800),
        volume_free: ms(800),
        droplet_ready: ms(1_200),
        droplet_lag: ms(400),
        droplet_gone: ms(1_000),
        delete_again: ms(300),
        action: ms(1_000),
        snapshot: ms(1_200),
        transfer: ms(1_500),
        snapshot_listed: ms(500),
        read_back: ms(400),
    }
}

/// A local cloud, and a folder with a key.
pub struct Lab {
    endpoint: Endpoint,
    identity: Identity,
    host_key: HostKey,
    seen: AtomicU64,
    folder: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = service::reset(&self.path().join("cloud")) {
            eprintln!("the local cloud was not removed: {error}");
        }
    }
}

/// What executing a plan came to.
pub struct Executed {
    pub outcome: Outcome,
    pub plan: Plan,
}

impl Lab {
    /// Starts one. It has the key of another, so that their accounts fit both.
    pub async fn start(other: Option<&Self>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = Utf8Path::from_path(folder.path())
            .expect("UTF-8")
            .to_owned();
        let options = UpOptions {
            idle_seconds: 600,
            without_guests: true,
            latency: LATENCY,
            program: Some(env!("CARGO_BIN_EXE_dewpoint").into()),
            ..UpOptions::default()
        };
        let dir = path.join("cloud");
        let up = tokio::task::spawn_blocking(move || service::up(&dir, &options)).await;
        let identity = match other {
            Some(other) => other.identity.clone(),
            None => {
                let pair = generate_key_file(&path.join("keys/main"), "shop-main").expect("a key");
                open_key(&UserKey::File(pair.private)).await.expect("opens")
            }
        };
        let host_key = derive_host_key(&identity, "shop", "main").await;
        Self {
            endpoint: up.expect("no panic").expect("the local cloud comes up"),
            identity,
            host_key: host_key.expect("derived"),
            seen: AtomicU64::new(0),
            folder,
        }
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("UTF-8")
    }

    /// One call past the client.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let address = self.endpoint.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let body = body.map(Value::to_string).unwrap_or_default();
        // Exposed to prove to the local cloud that we may.
        let token = self.endpoint.token.expose();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = serde_json::from_str(body).unwrap_or_default();
        (status.expect("a status"), body)
    }

    #[track_caller]
    fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// Makes calls meet faults.
    pub fn strike(&self, rules: &[Value]) {
        for rule in rules {
            self.done("POST", "/_local/faults", Some(rule));
        }
    }

    /// Takes all faults away; how many calls have met the first of them.
    pub fn heal(&self) -> u64 {
        let faults = self.done("GET", "/_local/faults", None);
        self.done("DELETE", "/_local/faults", None);
        faults["faults"][0]["seen"].as_u64().unwrap_or(0)
    }

    /// Methods and paths of calls since this was last asked.
    pub fn calls(&self) -> Vec<Value> {
        let after = self.seen.load(Ordering::SeqCst);
        let mut found = self.done("GET", &format!("/_local/requests?after={after}"), None);
        let found = found["requests"].take();
        let found = found.as_array().expect("a list").clone();
        if let Some(last) = found.last() {
            let seq = last["seq"].as_u64().expect("a number");
            self.seen.store(seq, Ordering::SeqCst);
        }
        found
    }

    /// Waits until the cloud has dealt with all that was sent by whoever is gone.
    pub async fn heard(&self) {
        for _ in 0..5_000 {
            let open = self.done("GET", &format!("/_local/requests?after={}", u64::MAX), None);
            if open["under_way"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("requests that do not end");
    }

    /// The account as it is.
    pub fn account(&self) -> Value {
        self.done("GET", "/_local/account", None)
    }

    pub fn census(&self) -> Census {
        Census::of(&self.account())
    }

    /// Waits until nothing is under way any more: the account.
    pub async fn at_rest(&self) -> Value {
        for _ in 0..2_000 {
            let account = self.account();
            if account["jobs"]
                .as_object()
                .is_some_and(serde_json::Map::is_empty)
            {
                return account;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("jobs that do not end: {}", self.account()["jobs"]);
    }

    /// Puts an account in the place of what there is.
    pub fn restore(&self, account: &Value) {
        self.done("PUT", "/_local/account", Some(account));
    }

    /// A client that knows nothing of what others did.
    pub fn client(&self) -> Client {
        let config = Config {
            endpoint: self.endpoint.url.clone(),
            token: self.endpoint.token.clone(),
            parallelism: 16,
            budget: Budget::Whole,
        };
        Client::with_timing(config, hurried()).expect("a client")
    }

    fn query(&self, goal: Goal) -> Query {
        let destroys = matches!(goal, Goal::Destroy | Goal::DestroyProject);
        Query {
            project: "shop".to_owned(),
            environment: "main".to_owned(),
            ssh_key: (!destroys).then(|| self.identity.md5_fingerprint()),
            for_destroy: destroys || goal == Goal::Test,
            volume_snapshots: true,
        }
    }

    fn desired(&self, manifest: &Manifest) -> Desired {
        let inputs = desired::Inputs {
            ssh_key: desired::SshKey {
                public_key: self.identity.public_key_line(),
                fingerprint: self.identity.md5_fingerprint(),
                generated: true,
            },
            copies: BTreeMap::new(),
            commits: BTreeMap::new(),
        };
        desired::desired(manifest, &inputs).expect("can be had")
    }

    /// Plans as the commands do; why not, when it is refused.
    pub async fn plan(&self, text: &str, goal: Goal) -> Result<(Plan, Live), String> {
        let manifest = loaded(text);
        let client = self.client();
        let now = jiff::Timestamp::now().as_second();
        if goal == Goal::Sweep {
            let account = observe_account(&client).await.map_err(|e| e.to_string())?;
            let later = now + 30 * 86_400;
            let swept = plan::sweep::sweep(&account, None, later).map_err(|e| e.to_string())?;
            return Ok((swept.plan, account.live));
        }
        let mut live = observe(&client, &self.query(goal))
            .await
            .map_err(|error| error.to_string())?;
        let refused = |refusals: plan::Refusals| {
            let all: Vec<String> = refusals.refusals.iter().map(ToString::to_string).collect();
            all.join("; ")
        };
        let plan = if matches!(goal, Goal::Destroy | Goal::DestroyProject) {
            let scope = desired::scope(&manifest);
            let whole = goal == Goal::DestroyProject;
            let mut plan = plan::destroy(&scope, &live, whole, &[]);
            let is_sound = |plan: &Plan| plan::check::check(plan, &live).is_ok();
            if !plan.as_ref().is_ok_and(is_sound) {
                let owner = Owner::new("shop", "main");
                let looked = client.look_up_holders(&owner, whole, &mut live).await;
                looked.map_err(|error| error.to_string())?;
                plan = plan::destroy(&scope, &live, whole, &[]);
            }
            plan.map_err(refused)?
        } else {
            let desired = self.desired(&manifest);
            let builders = desired.snapshots.iter();
            let builders = builders.map(|s| s.builder_name.as_str()).collect();
            let waited = client.await_snapshots(&builders, &live).await;
            if waited.map_err(|error| error.to_string())? {
                live = observe(&client, &self.query(goal))
                    .await
                    .map_err(|error| error.to_string())?;
            }
            let options = Options {
                goal,
                ..Options::default()
            };
            let owner = Owner::new("shop", "main");
            let mut plan = plan::plan(&desired, &live, &options, now);
            if plan.is_err() {
                let looked = client.look_up_holders(&owner, false, &mut live).await;
                looked.map_err(|error| error.to_string())?;
                plan = plan::plan(&desired, &live, &options, now);
            }
            let mut plan = plan.map_err(refused)?;
            let names: BTreeSet<&str> = plan.new_droplets();
            let lost = client.look_up_lost(&owner, &names, &mut live).await;
            if lost.map_err(|error| error.to_string())? {
                plan = plan::plan(&desired, &live, &options, now).map_err(refused)?;
            }
            plan
        };
        if let Err(error) = plan::check::check(&plan, &live) {
            return Err(format!("the plan does not hold: {error:?}"));
        }
        Ok((plan, live))
    }

    /// What `status` shows, as text.
    pub async fn status(&self, text: &str) -> String {
        let manifest = loaded(text);
        let query = Query {
            volume_snapshots: false,
            ..self.query(Goal::Apply)
        };
        let live = observe(&self.client(), &query).await.expect("can be read");
        let now = jiff::Timestamp::now().as_second();
        let plan = plan::plan(&self.desired(&manifest), &live, &Options::default(), now);
        let plan = plan.as_ref().map_err(|_| "refused".to_owned());
        let status = Status::of(&desired::scope(&manifest), &live, plan, now);
        serde_json::to_string(&status).expect("JSON")
    }

    /// Executes a plan; what needs a guest is left out.
    pub async fn execute(
        &self,
        plan: &Plan,
        live: Live,
        listeners: Vec<Box<dyn Listener>>,
    ) -> Outcome {
        let run_folder = make_run_folder(&self.path().join(".dewpoint")).expect("a folder");
        let settings = Settings {
            client: self.client(),
            ssh_port: 9,
            identity: Some(self.identity.clone()),
            host_key: Some(self.host_key.clone()),
            generated_key: None,
            base: self.path().to_owned(),
            run_folder: run_folder.clone(),
            cache: Utf8PathBuf::from("/nonexistent"),
            secrets: BTreeMap::new(),
            lease: None,
            hold_patience: Duration::ZERO,
            sources: BTreeMap::new(),
            parallelism: 16,
            durations: Durations::usual(Pace::Local(0.01)),
            live,
        };
        let outcome = execute(plan, settings, listeners, Interrupts::none()).await;
        let _ = std::fs::remove_dir_all(&run_folder);
        outcome.expect("a journal")
    }

    /// Plans and executes.
    pub async fn go(
        &self,
        text: &str,
        goal: Goal,
        fails: bool,
        listen: impl FnOnce(&Plan) -> Vec<Box<dyn Listener>>,
    ) -> Result<Executed, String> {
        let (plan, live) = self.plan(text, goal).await?;
        let plan = one_by_one(without_guests(plan, fails));
        let listeners = listen(&plan);
        let outcome = self.execute(&plan, live, listeners).await;
        Ok(Executed { outcome, plan })
    }
}

fn loaded(text: &str) -> Manifest {
    manifest::load(
        "dewpoint.yaml",
        text.as_bytes(),
        &manifest::Inputs::default(),
    )
    .expect("a good manifest")
}

/// Whether a step works over SSH.
pub fn needs_guest(kind: &StepKind) -> bool {
    match kind {
        StepKind::Connect { .. }
        | StepKind::Provision { .. }
        | StepKind::PowerOff { .. }
        | StepKind::Mount { .. }
        | StepKind::Prepare { .. }
        | StepKind::Sync { .. }
        | StepKind::Run { .. }
        | StepKind::Collect { .. }
        | StepKind::StopBackground { .. }
        | StepKind::Unmount { .. } => true,
        StepKind::CreateSshKey { .. }
        | StepKind::DeleteSshKey { .. }
        | StepKind::CreateTags { .. }
        | StepKind::DeleteTags { .. }
        | StepKind::CreateFirewall { .. }
        | StepKind::UpdateFirewall { .. }
        | StepKind::DeleteFirewall { .. }
        | StepKind::CreateVolume { .. }
        | StepKind::ResizeVolume { .. }
        | StepKind::DeleteVolume { .. }
        | StepKind::SnapshotVolume { .. }
        | StepKind::CloneVolume { .. }
        | StepKind::TagVolume { .. }
        | StepKind::DeleteVolumeSnapshot { .. }
        | StepKind::UpdateTags { .. }
        | StepKind::CreateDroplets { .. }
        | StepKind::TakeSnapshot { .. }
        | StepKind::TagSnapshot { .. }
        | StepKind::Transfer { .. }
        | StepKind::Prune { .. }
        | StepKind::Attach { .. }
        | StepKind::Gather { .. }
        | StepKind::Detach { .. }
        | StepKind::DestroyDroplet { .. }
        | StepKind::KeepDroplet { .. } => false,
    }
}

/// The plan with every step that needs a guest replaced by one that does nothing, in its place; when
/// `fails`, run steps by one that fails.
pub fn without_guests(mut plan: Plan, fails: bool) -> Plan {
    for step in &mut plan.steps {
        if !needs_guest(&step.kind) {
            continue;
        }
        step.kind = match (&step.kind, fails) {
            // It builds on a step that is not there, so it fails before anything is asked for.
            (StepKind::Run { .. }, true) => StepKind::Transfer {
                image: plan::step::ImageRef::Taken(StepId(u32::MAX)),
                region: "nyc3".to_owned(),
            },
            _ => StepKind::Gather { droplets: vec![] },
        };
    }
    plan
}

/// The plan with its steps one after the other: what is asked meanwhile is asked by one of them.
pub fn one_by_one(mut plan: Plan) -> Plan {
    let mut waiting: BTreeMap<StepId, BTreeSet<StepId>> = plan
        .steps
        .iter()
        .map(|step| (step.id, BTreeSet::new()))
        .collect();
    for edge in &plan.edges {
        waiting.entry(edge.to).or_default().insert(edge.from);
    }
    let mut order = Vec::new();
    while let Some(next) = waiting
        .iter()
        .find(|(_, before)| before.is_empty())
        .map(|(step, _)| *step)
    {
        waiting.remove(&next);
        for before in waiting.values_mut() {
            before.remove(&next);
        }
        order.push(next);
    }
    assert!(waiting.is_empty(), "a cycle");
    for pair in order.windows(2) {
        let [from, to] = *pair else { unreachable!() };
        if !plan
            .edges
            .iter()
            .any(|edge| edge.from == from && edge.to == to)
        {
            plan.edges.push(plan::Edge {
                from,
                to,
                kind: EdgeKind::After,
                reason: "one by one".to_owned(),
            });
        }
    }
    plan
}

/// The kind of a step, as plans write it.
pub fn kind_of(kind: &StepKind) -> String {
    let value = serde_json::to_value(kind).expect("JSON");
    value["kind"].as_str().expect("a kind").to_owned()
}

/// Every kind of step there is.
pub fn all_kinds() -> BTreeSet<String> {
    let schema: Value = serde_json::to_value(plan::json_schema()).expect("JSON");
    let kinds = schema["$defs"]["StepKind"]["oneOf"].as_array().cloned();
    kinds
        .unwrap_or_default()
        .iter()
        .filter_map(|kind| kind["properties"]["kind"]["const"].as_str())
        .map(str::to_owned)
        .collect()
}

/// A rule for calls of a method and path.
pub fn rule(method: &str, path: &str, fault: &Value) -> Value {
    json!({ "method": method, "path": path, "fault": fault })
}
