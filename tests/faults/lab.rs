//! A local cloud without guests, a client in a hurry, and plans that are made and executed there.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use dewpoint::cloud::{Budget, Client, Config, Query, Timing, observe, observe_account};
use dewpoint::desired::{self, Desired};
use dewpoint::digest::Digest;
use dewpoint::execute::journal::make_run_folder;
use dewpoint::execute::{Interrupts, Listener, Outcome, Settings, execute};
use dewpoint::guest::{HostKey, Identity, UserKey, derive_host_key, generate_key_file, open_key};
use dewpoint::live::Live;
use dewpoint::live::ownership::Owner;
use dewpoint::local::latency::Latency;
use dewpoint::local::seam::Tier;
use dewpoint::local::service::{self, Endpoint, UpOptions};
use dewpoint::manifest::{self, Manifest};
use dewpoint::plan::{self, Durations, Goal, Options, Pace, Plan};
use dewpoint::report::status::Status;
use serde_json::{Value, json};

use crate::api_call;
use crate::observed::Census;
use crate::plans::{one_by_one, without_guests};

/// Things take 500 times less than on DigitalOcean.
const LATENCY: Latency = Latency { factor: 0.002 };

/// Looks as often as the cloud is quick; but nothing is given up because the machine has much else to
/// do: what is waited for does come.
pub fn patient() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        connect_timeout: ms(20_000),
        request_timeout: ms(30_000),
        fault_first: ms(5),
        fault_max: ms(40),
        fault_deadline: ms(30_000),
        reach_deadline: ms(30_000),
        throttle_first: ms(5),
        throttle_deadline: ms(60_000),
        rate_minute: ms(60),
        rate_hour: ms(3_600),
        poll_first: ms(2),
        poll_max: ms(20),
        poll_slow: ms(20),
        lookup_window: ms(600),
        key_lag: ms(30_000),
        key_usual: ms(200),
        pending_event: ms(30_000),
        volume_free: ms(30_000),
        droplet_ready: ms(60_000),
        droplet_lag: ms(30_000),
        droplet_gone: ms(30_000),
        leaving: ms(30_000),
        delete_again: ms(300),
        action: ms(30_000),
        snapshot: ms(60_000),
        transfer: ms(60_000),
        snapshot_listed: ms(30_000),
        read_back: ms(30_000),
    }
}

fn options(guests: bool) -> UpOptions {
    UpOptions {
        idle_seconds: 600,
        without_guests: !guests,
        latency: LATENCY,
        program: Some(env!("CARGO_BIN_EXE_dewpoint").into()),
        ..UpOptions::default()
    }
}

/// A local cloud, and a folder with a key.
pub struct Lab {
    endpoint: Endpoint,
    identity: Identity,
    host_key: HostKey,
    seen: AtomicU64,
    timing: Mutex<Timing>,
    guests: bool,
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
        Self::begin(other, false).await
    }

    /// Starts one whose droplets are guests; `None` where this machine cannot do them.
    pub async fn with_guests(other: &Self) -> Option<Self> {
        let lab = Self::begin(Some(other), true).await;
        if lab.endpoint.tier == Tier::Namespaces {
            return Some(lab);
        }
        let reasons = lab.endpoint.reasons.join("; ");
        println!("NOT RUN: this machine cannot do guests: {reasons}");
        assert!(std::env::var_os("CI").is_none(), "CI must run these tests");
        None
    }

    async fn begin(other: Option<&Self>, guests: bool) -> Self {
        // Guests have users of their own, who must be able to reach their files.
        let folder = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a folder");
        let path = Utf8Path::from_path(folder.path())
            .expect("UTF-8")
            .to_owned();
        std::fs::create_dir(path.join("app")).expect("a folder");
        std::fs::write(path.join("app/hello"), "hello\n").expect("written");
        let dir = path.join("cloud");
        let up = tokio::task::spawn_blocking(move || service::up(&dir, &options(guests))).await;
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
            timing: Mutex::new(patient()),
            guests,
            folder,
        }
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("UTF-8")
    }

    /// One call past the client.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        // Exposed to prove to the local cloud that we may.
        let token = self.endpoint.token.expose();
        api_call::call((&self.endpoint.url, token), method, path, body)
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

    /// How many calls have come to where the first fault is.
    pub fn met(&self) -> u64 {
        let faults = self.done("GET", "/_local/faults", None);
        faults["faults"][0]["seen"].as_u64().unwrap_or(0)
    }

    /// Kills the local cloud, as a power cut would, and starts it again.
    pub async fn cut_power(&self) {
        let dir = self.path().join("cloud");
        let up = tokio::task::spawn_blocking(move || {
            let endpoint = service::connect(&dir).expect("a folder").expect("it runs");
            let pid = i32::try_from(endpoint.pid).ok();
            let pid = pid.and_then(rustix::process::Pid::from_raw);
            let kill = rustix::process::Signal::KILL;
            rustix::process::kill_process(pid.expect("a process id"), kill).expect("killed");
            service::up(&dir, &options(false))
        });
        let up = up.await.expect("no panic").expect("it comes up again");
        assert_eq!(up.url, self.endpoint.url, "whoever waits finds it again");
        self.seen.store(0, Ordering::SeqCst);
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

    /// The same for whoever may not be suspended.
    pub fn rest(&self) {
        for _ in 0..2_000 {
            if self.account()["jobs"] == json!({}) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("jobs that do not end: {}", self.account()["jobs"]);
    }

    /// Puts an account in the place of what there is.
    pub fn restore(&self, account: &Value) {
        if self.guests {
            // Their files would not fit another account; each case ends with an empty one.
            return;
        }
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
        let timing = self.timing.lock().expect("not poisoned").clone();
        Client::with_timing(config, timing).expect("a client")
    }

    /// How long clients wait from here on.
    pub fn wait_as(&self, timing: Timing) {
        *self.timing.lock().expect("not poisoned") = timing;
    }

    fn query(&self, manifest: &Manifest, goal: Goal) -> Query {
        let destroys = matches!(goal, Goal::Destroy | Goal::DestroyProject);
        Query {
            project: desired::scope(manifest).project,
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
            // What is copied makes no difference here.
            copies: desired::reads(manifest)
                .copies
                .into_iter()
                .map(|path| (path, Digest::of_bytes(b"as it is")))
                .collect(),
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
        let mut live = observe(&client, &self.query(&manifest, goal))
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
                let owner = Owner::new(&desired::scope(&manifest).project, "main");
                let looked = client.look_up_holders(&owner, whole, &mut live).await;
                looked.map_err(|error| error.to_string())?;
                plan = plan::destroy(&scope, &live, whole, &[]);
                let project = &desired::scope(&manifest).project;
                if plan.is_err() && client.await_leaving(&owner, project, &mut live).await {
                    plan = plan::destroy(&scope, &live, whole, &[]);
                }
            }
            plan.map_err(refused)?
        } else {
            let desired = self.desired(&manifest);
            let builders = desired.snapshots.iter();
            let builders = builders.map(|s| s.builder_name.as_str()).collect();
            let waited = client.await_snapshots(&builders, &live).await;
            if waited.map_err(|error| error.to_string())? {
                live = observe(&client, &self.query(&manifest, goal))
                    .await
                    .map_err(|error| error.to_string())?;
            }
            let options = Options {
                goal,
                ..Options::default()
            };
            let owner = Owner::new(&desired::scope(&manifest).project, "main");
            let mut plan = plan::plan(&desired, &live, &options, now);
            if plan.is_err() {
                let looked = client.look_up_holders(&owner, false, &mut live).await;
                looked.map_err(|error| error.to_string())?;
                plan = plan::plan(&desired, &live, &options, now);
                let project = &desired::scope(&manifest).project;
                if plan.is_err() && client.await_leaving(&owner, project, &mut live).await {
                    plan = plan::plan(&desired, &live, &options, now);
                }
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
            ..self.query(&manifest, Goal::Apply)
        };
        let live = observe(&self.client(), &query).await.expect("can be read");
        let now = jiff::Timestamp::now().as_second();
        let plan = plan::plan(&self.desired(&manifest), &live, &Options::default(), now);
        let plan = plan.as_ref().map_err(|_| "refused".to_owned());
        let status = Status::of(&desired::scope(&manifest), &live, plan, now);
        serde_json::to_string(&status).expect("JSON")
    }

    /// Executes a plan.
    pub async fn execute(
        &self,
        plan: &Plan,
        live: Live,
        listeners: Vec<Box<dyn Listener>>,
    ) -> Outcome {
        let run_folder = make_run_folder(&self.path().join(".dewpoint")).expect("a folder");
        let settings = Settings {
            client: self.client(),
            ssh_port: self.endpoint.ssh_port,
            identity: Some(self.identity.clone()),
            host_key: Some(self.host_key.clone()),
            generated_key: None,
            base: self.path().to_owned(),
            run_folder: run_folder.clone(),
            cache: Utf8PathBuf::from("/nonexistent"),
            secrets: BTreeMap::new(),
            project: None,
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

    /// Plans and executes, one step after the other.
    pub async fn go(
        &self,
        text: &str,
        goal: Goal,
        fails: bool,
        listen: impl FnOnce(&Plan) -> Vec<Box<dyn Listener>>,
    ) -> Result<Executed, String> {
        let (plan, live) = self.plan(text, goal).await?;
        let plan = match self.guests {
            true => one_by_one(plan),
            false => one_by_one(without_guests(plan, fails)),
        };
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

/// A rule for calls of a method and path.
pub fn rule(method: &str, path: &str, fault: &Value) -> Value {
    json!({ "method": method, "path": path, "fault": fault })
}
