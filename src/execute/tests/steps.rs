//! Steps on a droplet, over real SSH to a server that runs commands on this machine.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;

use super::{empty_plan, plain_run, told};
use crate::address::Address;
use crate::cloud::{Budget, Client, Config};
use crate::execute::event::{Event, EventKind};
use crate::execute::interrupt::{Interrupts, Signal};
use crate::execute::listener::Listener;
use crate::execute::outcome::{Ending, Outcome};
use crate::execute::{Settings, execute};
use crate::guest::derive_host_key;
use crate::guest::tests::server::Server;
use crate::live::{DropletStatus, Live, LiveDroplet};
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::step::{DropletRef, ProvisionStep, RunSpec, SourceSpec};
use crate::plan::{Durations, Edge, EdgeKind, Pace, Plan, Step, StepId, StepKind};
use crate::secret::Secret;
use crate::units::Seconds;

/// Steps of one droplet, one after the other.
struct Droplet {
    server: Server,
    plan: Plan,
    policy: HostKeyPolicy,
    secrets: BTreeMap<String, Secret<String>>,
    listeners: Vec<Box<dyn Listener>>,
    folder: tempfile::TempDir,
}

/// What came of them.
struct Played {
    outcome: Outcome,
    output: Vec<String>,
    folder: tempfile::TempDir,
    server: Server,
}

impl Played {
    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("run").join(path)).expect(path)
    }

    fn told(&self) -> String {
        let home = self.server.home.as_str();
        told(&self.outcome.events).replace(home, "HOME")
    }
}

/// Keeps every line of output.
struct Output(Arc<Mutex<Vec<String>>>);

impl Listener for Output {
    fn event(&mut self, event: &Event, _: &Plan) {
        if let EventKind::Output { stream, line, .. } = &event.kind {
            let mut lines = self.0.lock().expect("not poisoned");
            lines.push(format!("{stream:?} {line}"));
        }
    }
}

/// Does something when a droplet says `ready`.
struct WhenReady<F>(F);

impl<F: FnMut() + Send> Listener for WhenReady<F> {
    fn event(&mut self, event: &Event, _: &Plan) {
        if matches!(&event.kind, EventKind::Output { line, .. } if line == "ready") {
            (self.0)();
        }
    }
}

fn runner() -> DropletRef {
    DropletRef::Known {
        id: 1,
        name: "shop-main-runner".into(),
    }
}

impl Droplet {
    async fn new() -> Self {
        let server = Server::start().await;
        Self {
            server,
            plan: empty_plan(),
            policy: HostKeyPolicy::AcceptNew,
            secrets: BTreeMap::new(),
            listeners: vec![],
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
        .step(|_| StepKind::Connect {
            droplet: runner(),
            user: "root".into(),
            host_key: HostKeyPolicy::AcceptNew,
        })
    }

    /// Adds a step that needs the one before it.
    fn step(mut self, kind: impl FnOnce(&Self) -> StepKind) -> Self {
        let kind = kind(&self);
        let number = u32::try_from(self.plan.steps.len()).expect("few");
        self.plan.steps.push(Step {
            id: StepId(number),
            address: Address::droplet("runner"),
            kind,
            cleanup: false,
            expected_seconds: 1,
        });
        if number > 0 {
            self.plan.edges.push(Edge {
                from: StepId(number - 1),
                to: StepId(number),
                kind: EdgeKind::Needs,
                reason: "in order".into(),
            });
        }
        self
    }

    fn run(self, run: RunSpec) -> Self {
        self.step(|_| StepKind::Run {
            droplet: runner(),
            run: run.into(),
        })
    }

    fn secret(mut self, name: &str, value: &str) -> Self {
        let value = Secret::new(value.to_owned());
        self.secrets.insert(name.to_owned(), value);
        self
    }

    fn when_ready(mut self, act: impl FnMut() + Send + 'static) -> Self {
        self.listeners.push(Box::new(WhenReady(act)));
        self
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).expect("UTF-8")
    }

    async fn play(self) -> Played {
        self.play_until(Interrupts::none()).await
    }

    async fn play_until(mut self, interrupts: Interrupts) -> Played {
        let identity = self.server.identity.clone();
        let host_key = derive_host_key(&identity, "shop", "main").await;
        if let StepKind::Connect { host_key, .. } = &mut self.plan.steps[0].kind {
            *host_key = self.policy;
        }
        let client = Client::new(Config {
            endpoint: "http://127.0.0.1:9".to_owned(),
            token: Secret::new("none".to_owned()),
            parallelism: 1,
            budget: Budget::Whole,
        });
        let settings = Settings {
            client: client.expect("a client"),
            ssh_port: self.server.port,
            identity: Some(identity),
            host_key: Some(host_key.expect("derived")),
            generated_key: None,
            base: self.path().to_owned(),
            run_folder: self.path().join("run"),
            cache: self.path().join("cache"),
            secrets: self.secrets,
            lease: None,
            project: None,
            hold_patience: std::time::Duration::ZERO,
            sources: BTreeMap::new(),
            parallelism: 16,
            durations: Durations::usual(Pace::DigitalOcean),
            live: Live {
                droplets: vec![live_runner()],
                ..Live::default()
            },
        };
        let output = Arc::default();
        self.listeners.push(Box::new(Output(Arc::clone(&output))));
        let outcome = execute(&self.plan, settings, self.listeners, interrupts).await;
        let output = std::mem::take(&mut *output.lock().expect("not poisoned"));
        Played {
            outcome: outcome.expect("a journal"),
            output,
            folder: self.folder,
            server: self.server,
        }
    }
}

fn live_runner() -> LiveDroplet {
    LiveDroplet {
        id: 1,
        name: "shop-main-runner".to_owned(),
        status: DropletStatus::Active,
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image_id: 1,
        image_slug: None,
        public_ipv4: Some(Ipv4Addr::LOCALHOST),
        private_ipv4: None,
        volume_ids: vec![],
        tags: vec![],
        vpc: None,
        created_at: 0,
    }
}

#[tokio::test]
async fn code_goes_there_runs_and_its_results_come_back() {
    let droplet = Droplet::new().await.secret("TOKEN", "hunter22");
    let code = droplet.path().join("code");
    std::fs::create_dir(&code).expect("made");
    std::fs::write(code.join("greeting"), "hello\n").expect("written");
    let into = droplet.server.home.join("app").into_string();
    let tests = RunSpec {
        env: vec![("NAME".into(), "world".to_owned().into())],
        secrets: vec!["TOKEN".to_owned()].into(),
        cwd: Some(into.clone().into()),
        ..plain_run(
            "tests",
            "echo \"$(cat greeting) $NAME\"\necho \"with $TOKEN\" >&2\nmkdir out\necho 1 >out/report.xml",
        )
    };
    let played = droplet
        .step(|_| StepKind::Sync {
            droplet: runner(),
            source: SourceSpec::Path {
                path: "code".to_owned(),
                into: into.clone(),
            }
            .into(),
        })
        .run(tests)
        .step(|_| StepKind::Collect {
            droplet: runner(),
            run: "tests".into(),
            cwd: Some(into.clone().into()),
            patterns: vec!["out/*.xml".to_owned(), "logs/**".to_owned()].into(),
            background: None,
        })
        .play()
        .await;
    insta::assert_snapshot!(played.told(), @r"
    run started, 4 steps
    0 started: connect
    0 done
    1 started: sync
    1 done: 1 file, 1 sent
    2 started: run tests
    2 done
    3 started: collect artifacts of tests
    notice: the artifact `logs/**` matched nothing on shop-main-runner
    3 done: 1 file, 2 B
    run finished: 4 done, 0 failed (0 runs), 0 skipped, interrupted: false, $0.00, $0.00/h
    ");
    let mut output = played.output.clone();
    output.sort();
    assert_eq!(output, ["Err with [redacted]", "Out hello world"]);
    assert_eq!(
        played.read("artifacts/shop-main-runner/out/report.xml"),
        "1\n"
    );
    let log = played.read("shop-main-runner/tests.log");
    assert!(
        log.contains("hello world\n") && log.contains("with [redacted]\n"),
        "{log}"
    );
    assert_eq!(
        played.server.logins.load(Ordering::SeqCst),
        1,
        "one connection"
    );
}

#[tokio::test]
async fn the_ways_a_command_ends_are_told_apart() {
    let check = async |spec: RunSpec| {
        let played = Droplet::new().await.run(spec).play().await;
        let (_, failure) = played.outcome.failures.first().expect("it fails");
        let tail = failure.tail.join("|");
        format!(
            "{:?} {} {:?} [{}] {tail}",
            played.outcome.ending, failure.message, failure.exit_status, failure.code
        )
    };
    insta::assert_snapshot!(check(plain_run("a", "echo no; exit 3")).await, @r"RunFailed exit status 3 Some(3) [dewpoint::run::exit] no");
    insta::assert_snapshot!(check(plain_run("b", "kill -KILL $$")).await, @r"RunFailed ended by SIGKILL None [dewpoint::run::signal]");
    let short = RunSpec {
        timeout: Seconds(1),
        ..plain_run("c", "echo before; sleep 600")
    };
    insta::assert_snapshot!(check(short).await, @r"RunFailed it did not end within 1s None [dewpoint::run::timeout] before");
    let many = plain_run("d", "for i in $(seq 50); do echo $i; done; false");
    insta::assert_snapshot!(check(many).await, @r"RunFailed exit status 1 Some(1) [dewpoint::run::exit] 31|32|33|34|35|36|37|38|39|40|41|42|43|44|45|46|47|48|49|50");
    let secret = RunSpec {
        secrets: vec!["TOKEN".to_owned()].into(),
        ..plain_run("e", "true")
    };
    insta::assert_snapshot!(check(secret).await, @r"Failed the secret `TOKEN` has no value None [dewpoint::execute::no_secret]");
}

#[tokio::test]
async fn a_lost_connection_is_not_the_commands_fault() {
    let droplet = Droplet::new().await;
    let cut: CancellationToken = droplet.server.cut.clone();
    let played = droplet
        .when_ready(move || cut.cancel())
        .run(plain_run("tests", "echo ready; sleep 600"))
        .play()
        .await;
    assert_eq!(played.outcome.ending, Ending::Failed);
    let (_, failure) = &played.outcome.failures[0];
    assert_eq!(failure.code, "dewpoint::guest::connection_lost");
    assert_eq!(failure.tail, ["ready"]);
}

#[tokio::test]
async fn a_run_is_tried_again_as_often_as_it_says() {
    let flaky = RunSpec {
        retries: 2,
        ..plain_run("flaky", "echo x >>tries; [ \"$(wc -l <tries)\" -ge 3 ]")
    };
    let hopeless = RunSpec {
        retries: 1,
        allow_failure: true,
        ..plain_run("hopeless", "false")
    };
    let played = Droplet::new().await.run(flaky).run(hopeless).play().await;
    insta::assert_snapshot!(played.told(), @r"
    run started, 3 steps
    0 started: connect
    0 done
    1 started: run flaky
    try 2: exit status 1
    try 3: exit status 1
    1 done: at try 3
    2 started: run hopeless
    try 2: exit status 1
    2 failed: exit status 1 [dewpoint::run::exit]
    run finished: 3 done, 0 failed (0 runs), 0 skipped, interrupted: false, $0.00, $0.00/h
    ");
    assert_eq!(played.outcome.ending, Ending::Succeeded);
}

#[tokio::test]
async fn a_run_that_is_to_succeed_once_does_not_run_again() {
    let once = |name: &str, command: &str| RunSpec {
        once: Some("0123".to_owned()),
        ..plain_run(name, command)
    };
    let played = Droplet::new()
        .await
        .run(once("first", "echo ran"))
        .run(once("second", "echo ran"))
        .play()
        .await;
    assert_eq!(played.output, ["Out ran"]);
    assert_eq!(played.outcome.ending, Ending::Succeeded);
}

#[tokio::test]
async fn whoever_shows_another_host_key_gets_nothing() {
    let mut droplet = Droplet::new().await;
    droplet.policy = HostKeyPolicy::Derived;
    let played = droplet.run(plain_run("tests", "echo ran")).play().await;
    let (_, failure) = &played.outcome.failures[0];
    assert_eq!(failure.code, "dewpoint::guest::wrong_host_key");
    assert_eq!(played.output, Vec::<String>::new());
    assert_eq!(played.server.logins.load(Ordering::SeqCst), 0);
    assert_eq!(played.outcome.ending, Ending::Failed);
}

#[tokio::test]
async fn an_interrupt_ends_the_command_on_the_droplet() {
    let (sender, interrupts) = Interrupts::channel();
    let droplet = Droplet::new().await;
    let played = droplet
        .when_ready(move || sender.send(Signal::Int).expect("the run listens"))
        .run(plain_run("tests", "echo ready; sleep 600"))
        .play_until(interrupts)
        .await;
    insta::assert_snapshot!(played.told(), @r"
    run started, 2 steps
    0 started: connect
    0 done
    1 started: run tests
    SIGINT 1
    1 failed: interrupted [dewpoint::execute::interrupted]
    run finished: 1 done, 1 failed (0 runs), 0 skipped, interrupted: true, $0.00, $0.00/h
    ");
    assert_eq!(played.outcome.ending.exit_code(), 130);
}

#[tokio::test]
async fn a_recipe_copies_what_it_was_made_from_and_nothing_else() {
    let droplet = Droplet::new().await;
    let from = droplet.path().join("requirements.txt");
    std::fs::write(&from, "a\n").expect("written");
    let digest = crate::guest::copy_digest(&from).expect("readable");
    let to = droplet.server.home.join("requirements.txt");
    let copy = |to: &Utf8PathBuf| ProvisionStep::Copy {
        name: "copy".to_owned(),
        from: "requirements.txt".to_owned(),
        to: to.to_string(),
        digest: digest.clone(),
    };
    let broken = ProvisionStep::Run {
        name: "packages".to_owned(),
        script: format!("cat {to}; exit 7"),
        env: vec![],
        timeout: Seconds(60),
    };
    let provision = |step: ProvisionStep, number: u32| {
        move |_: &Droplet| StepKind::Provision {
            droplet: runner(),
            number,
            of: 2,
            step: Box::new(step),
        }
    };
    let played = droplet
        .step(provision(copy(&to), 1))
        .step(provision(broken, 2))
        .play()
        .await;
    assert_eq!(played.output, ["Out a"]);
    assert_eq!(
        played.outcome.ending,
        Ending::Failed,
        "not the tests' fault"
    );
    assert_eq!(played.read("shop-main-runner/02-packages.log"), "a\n");

    let droplet = Droplet::new().await;
    std::fs::write(droplet.path().join("requirements.txt"), "b\n").expect("written");
    let played = droplet.step(provision(copy(&to), 1)).play().await;
    let (_, failure) = &played.outcome.failures[0];
    assert_eq!(failure.code, "dewpoint::guest::copy_changed");
}
