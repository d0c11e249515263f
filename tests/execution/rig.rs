//! A local cloud of its own, a plan that is put together step by step, and what executing it told.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use dewpoint::address::Address;
use dewpoint::cloud::{Budget, Client, Config, Query, observe};
use dewpoint::digest::Digest;
use dewpoint::execute::journal::make_run_folder;
use dewpoint::execute::{Event, EventKind, Interrupts, Listener, Outcome, Settings, execute};
use dewpoint::guest::{HostKey, Identity, UserKey, derive_host_key, generate_key_file, open_key};
use dewpoint::live::Live;
use dewpoint::local::seam::Tier;
use dewpoint::local::service::{self, Endpoint, UpOptions};
use dewpoint::manifest::schema::HostKeyPolicy;
use dewpoint::plan::step::{DropletRef, DropletSpec, ImageRef, NewDroplet, RunSpec};
use dewpoint::plan::{Cost, Durations, Edge, EdgeKind, Goal, Pace, Plan, Step, StepId, StepKind};
use dewpoint::report::style::Palette;
use dewpoint::report::{JUnit, Lines};
use dewpoint::units::Seconds;

pub const TAG: &str = "dewpoint:shop:main";

/// A local cloud, and a folder with a key.
pub struct Rig {
    pub endpoint: Endpoint,
    pub client: Client,
    pub identity: Identity,
    pub host_key: HostKey,
    pub fingerprint: String,
    pub public_key: String,
    folder: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What the local cloud said explains most failures.
            let log = std::fs::read_to_string(self.path().join("cloud/cloud.log"));
            eprintln!("{}", log.unwrap_or_default());
        }
        if let Err(error) = service::reset(&self.path().join("cloud")) {
            eprintln!("the local cloud was not removed: {error}");
        }
    }
}

impl Rig {
    /// Starts one; with guests, unless this machine has none. `None` then.
    pub async fn start(with_guests: bool) -> Option<Self> {
        // Guests have users of their own, who must be able to reach their files.
        let folder = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a folder");
        let path = Utf8Path::from_path(folder.path())
            .expect("UTF-8")
            .to_owned();
        let options = UpOptions {
            idle_seconds: 600,
            without_guests: !with_guests,
            program: Some(env!("CARGO_BIN_EXE_dewpoint").into()),
            ..UpOptions::default()
        };
        let dir = path.join("cloud");
        let up = tokio::task::spawn_blocking(move || service::up(&dir, &options)).await;
        let endpoint = up.expect("no panic").expect("the local cloud comes up");
        let pair = generate_key_file(&path.join("keys/main"), "shop-main").expect("a key");
        let identity = open_key(&UserKey::File(pair.private)).await.expect("opens");
        let host_key = derive_host_key(&identity, "shop", "main")
            .await
            .expect("derived");
        let client = Client::new(Config {
            endpoint: endpoint.url.clone(),
            token: endpoint.token.clone(),
            parallelism: 16,
            budget: Budget::Whole,
        });
        let rig = Self {
            client: client.expect("a client"),
            fingerprint: identity.md5_fingerprint(),
            public_key: identity.public_key_line(),
            identity,
            host_key,
            endpoint,
            folder,
        };
        if with_guests && rig.endpoint.tier == Tier::Api {
            let reasons = rig.endpoint.reasons.join("; ");
            println!("NOT RUN: this machine cannot do guests: {reasons}");
            assert!(std::env::var_os("CI").is_none(), "CI must run these tests");
            return None;
        }
        Some(rig)
    }

    pub fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("UTF-8")
    }

    pub async fn live(&self) -> Live {
        let query = Query {
            project: "shop".to_owned(),
            environment: "main".to_owned(),
            ssh_key: Some(self.fingerprint.clone()),
            for_destroy: true,
            volume_snapshots: false,
        };
        observe(&self.client, &query)
            .await
            .expect("the account can be read")
    }

    /// Makes calls meet a fault.
    pub fn fault(&self, rule: &str) {
        let address = self.endpoint.url.trim_start_matches("http://");
        let address = address.split('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).expect("it listens");
        // Exposed to prove to the local cloud that we may.
        let token = self.endpoint.token.expose();
        let request = format!(
            "POST /_local/faults HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{rule}",
            rule.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    }

    /// Executes a plan.
    pub async fn execute(
        &self,
        plan: &Plan,
        interrupts: Interrupts,
        mut listeners: Vec<Box<dyn Listener>>,
    ) -> Executed {
        let run_folder = make_run_folder(&self.path().join(".dewpoint")).expect("a folder");
        let settings = Settings {
            client: self.client.clone(),
            ssh_port: self.endpoint.ssh_port,
            identity: Some(self.identity.clone()),
            host_key: Some(self.host_key.clone()),
            generated_key: Some(self.path().join("keys/main")),
            base: self.path().to_owned(),
            run_folder: run_folder.clone(),
            cache: self.path().join("cache"),
            secrets: BTreeMap::new(),
            lease: None,
            project: None,
            hold_patience: std::time::Duration::ZERO,
            sources: BTreeMap::new(),
            parallelism: 16,
            durations: Durations::usual(Pace::Local(0.01)),
            live: self.live().await,
        };
        let screen = Screen::default();
        listeners.push(Box::new(Lines::new(
            Box::new(screen.clone()),
            Palette::PLAIN,
        )));
        listeners.push(Box::new(JUnit::new(run_folder.clone())));
        let outcome = execute(plan, settings, listeners, interrupts).await;
        let text = screen.0.lock().expect("not poisoned").clone();
        Executed {
            outcome: outcome.expect("a journal"),
            screen: String::from_utf8(text).expect("UTF-8"),
            run_folder,
        }
    }
}

/// What executing a plan told.
pub struct Executed {
    pub outcome: Outcome,
    pub screen: String,
    pub run_folder: Utf8PathBuf,
}

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Does something when an event comes that fits.
pub struct When<T, A>(pub T, pub A);

impl<T, A> Listener for When<T, A>
where
    T: FnMut(&EventKind) -> bool + Send,
    A: FnMut() + Send,
{
    fn event(&mut self, event: &Event, _: &Plan) {
        if (self.0)(&event.kind) {
            (self.1)();
        }
    }
}

/// A plan in the making.
pub struct Making(Plan);

impl Making {
    pub fn new(goal: Goal) -> Self {
        Self(Plan {
            version: 1,
            project: "shop".to_owned(),
            environment: "main".to_owned(),
            region: "nyc3".to_owned(),
            goal,
            desired_digest: Digest::of_bytes(b""),
            live_digest: Digest::of_bytes(b""),
            changes: vec![],
            activities: vec![],
            steps: vec![],
            edges: vec![],
            cost: Cost::default(),
            notices: vec![],
        })
    }

    /// Adds a step that needs others.
    pub fn step(&mut self, address: &str, kind: StepKind, needs: &[StepId]) -> StepId {
        self.add(address, kind, needs, EdgeKind::Needs)
    }

    /// Adds a step of clean-up that comes after others.
    pub fn cleanup(&mut self, address: &str, kind: StepKind, after: &[StepId]) -> StepId {
        self.add(address, kind, after, EdgeKind::After)
    }

    fn add(&mut self, address: &str, kind: StepKind, others: &[StepId], edge: EdgeKind) -> StepId {
        let id = StepId(u32::try_from(self.0.steps.len()).expect("few"));
        let address: Address = address.parse().expect("an address");
        self.0.steps.push(Step {
            id,
            address,
            kind,
            cleanup: edge == EdgeKind::After,
            expected_seconds: 1,
        });
        for other in others {
            self.0.edges.push(Edge {
                from: *other,
                to: id,
                kind: edge,
                reason: "in order".into(),
            });
        }
        id
    }

    pub fn done(self) -> Plan {
        self.0
    }
}

/// One droplet of the environment.
pub fn create(rig: &Rig, address: &str, name: &str, image: ImageRef) -> StepKind {
    StepKind::CreateDroplets {
        spec: Box::new(DropletSpec {
            region: "nyc3".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image,
            tags: ["dewpoint", "dewpoint:shop", TAG]
                .map(str::to_owned)
                .to_vec(),
            ssh_key_fingerprint: rig.fingerprint.clone(),
            user: "root".to_owned(),
            host_key: HostKeyPolicy::Derived,
        }),
        droplets: vec![NewDroplet {
            address: address.parse().expect("an address"),
            name: name.into(),
        }],
    }
}

pub fn made(step: StepId, name: &str) -> DropletRef {
    DropletRef::Created {
        step,
        name: name.into(),
    }
}

pub fn connect(droplet: &DropletRef) -> StepKind {
    StepKind::Connect {
        droplet: droplet.clone(),
        user: "root".into(),
        host_key: HostKeyPolicy::Derived,
    }
}

pub fn destroy(droplet: &DropletRef) -> StepKind {
    StepKind::DestroyDroplet {
        droplet: droplet.clone(),
        tag: TAG.to_owned().into(),
    }
}

pub fn run(droplet: &DropletRef, name: &str, command: &str, cwd: Option<&str>) -> StepKind {
    StepKind::Run {
        droplet: droplet.clone(),
        run: RunSpec {
            name: name.into(),
            command: command.into(),
            env: vec![],
            secrets: vec![].into(),
            cwd: cwd.map(Into::into),
            timeout: Seconds(60),
            retries: 0,
            allow_failure: false,
            once: None,
            background: None,
        }
        .into(),
    }
}
