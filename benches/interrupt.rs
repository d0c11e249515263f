//! Ctrl-C while 20 droplets are half made: how long until the API has accepted the delete of each, and
//! until the program has ended.
//!
//! `cargo bench --bench interrupt` drives the release binary against a local cloud of its own that is
//! as slow as DigitalOcean (a create is answered after 1.9 s, a delete after 0.5 s, and a droplet is
//! gone 9 s later), sends SIGINT at several moments, prints a table, writes
//! `target/bench/interrupt.json`, and fails when a budget is missed or anything is left.
//!
//! A create that was sent just before the signal makes its droplets only when it is answered: nothing
//! can be deleted before. How long that took is not counted.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use camino::Utf8Path;
use dewpoint::guest::{UserKey, generate_key_file, open_key};
use serde_json::{Value, json};
use support::{Budget, Report};

/// Until the last delete of a droplet is accepted.
const ACCEPTED_MS: f64 = 2_000.0;
/// Until the program has ended. CI systems kill after 7.5 s.
const ENDED_MS: f64 = 7_000.0;
/// Of each moment; odd, so that there is a median.
const ROUNDS: usize = 3;
/// How long anything may take at most, so that a bench that goes wrong ends.
const PATIENCE: Duration = Duration::from_secs(120);

const MANIFEST: &str = "version: 1
project: twenty
region: nyc3
ssh: { key: ./key }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 20 }
";

/// When the signal comes.
struct Moment {
    name: &'static str,
    /// Whether the account knows the key already. It does not, as a rule, the first time: then one
    /// create finds out when it does, and the other follows.
    knows_key: bool,
    faults: fn() -> Vec<Value>,
    /// Creates that were sent, answers of creates.
    is_there: fn(sent: u64, answered: usize) -> bool,
    /// How long after that.
    later: Duration,
}

const MOMENTS: [Moment; 6] = [
    Moment {
        name: "both creates just sent",
        knows_key: true,
        faults: Vec::new,
        is_there: |sent, _| sent == 2,
        later: Duration::from_millis(50),
    },
    Moment {
        name: "both creates half way",
        knows_key: true,
        faults: Vec::new,
        is_there: |sent, _| sent == 2,
        later: Duration::from_millis(1_000),
    },
    Moment {
        name: "half accepted, one create half way",
        knows_key: true,
        faults: || vec![on_last(&json!({ "delay": { "ms": 1_500 } }))],
        is_there: |_, answered| answered == 1,
        later: Duration::from_millis(500),
    },
    Moment {
        name: "half accepted, the rest told to wait 20 s",
        knows_key: true,
        faults: || {
            vec![on_last(
                &json!({ "status": { "code": 429, "retry_after": 20 } }),
            )]
        },
        is_there: |_, answered| answered == 2,
        later: Duration::from_millis(500),
    },
    Moment {
        name: "the key is not known yet",
        knows_key: false,
        faults: Vec::new,
        is_there: |_, answered| answered == 2,
        later: Duration::from_millis(300),
    },
    Moment {
        name: "all accepted, none is up",
        knows_key: true,
        faults: Vec::new,
        is_there: |_, answered| answered == 2,
        later: Duration::from_millis(1_000),
    },
];

/// What the create of the last ten droplets meets.
fn on_last(fault: &Value) -> Value {
    json!({
        "method": "POST", "path": "/v2/droplets", "contains": "\"twenty-main-box-20\"", "fault": fault
    })
}

fn main() -> ExitCode {
    let bench = Bench::new();
    let mut report = Report::new("interrupt");
    let mut good = 0;
    for moment in &MOMENTS {
        let rounds: Vec<Round> = (0..ROUNDS).map(|_| bench.interrupt(moment)).collect();
        let row = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
        let name = |what: &str| format!("{}: {what}", moment.name);
        report.values(
            &name("last delete accepted"),
            "ms",
            &row(|round| round.accepted_ms),
            Budget::AtMost(ACCEPTED_MS),
        );
        report.values(
            &name("the same from the signal"),
            "ms",
            &row(|round| round.since_signal_ms),
            None,
        );
        report.values(
            &name("ended"),
            "ms",
            &row(|round| round.ended_ms),
            Budget::AtMost(ENDED_MS),
        );
        report.values(
            &name("account empty"),
            "ms",
            &row(|round| round.empty_ms),
            None,
        );
        let counts = row(|round| round.deletes as f64);
        report.values(&name("deletes accepted"), "", &counts, None);
        let sent = row(|round| round.sent_later as f64);
        report.values(&name("creates sent after the signal"), "", &sent, None);
        for round in rounds {
            good += usize::from(round.left.is_empty() && round.sent_later == 0);
            for thing in &round.left {
                report.note(&format!("{}: left at the end: {thing}", moment.name));
            }
        }
    }
    report.value(
        "rounds that left nothing and sent no create after the signal",
        "",
        good as f64,
        Budget::AtLeast((MOMENTS.len() * ROUNDS) as f64),
    );
    report.note(
        "Deletes count from the signal, or from the answer of the last create that was out then.",
    );
    report.finish()
}

/// What an interrupt came to.
struct Round {
    accepted_ms: f64,
    since_signal_ms: f64,
    ended_ms: f64,
    empty_ms: f64,
    deletes: usize,
    sent_later: u64,
    /// What no delete was accepted of when the program had ended.
    left: Vec<String>,
}

/// A folder with a manifest and a key, and a local cloud of its own.
struct Bench {
    folder: tempfile::TempDir,
    /// The account without the key, and with it.
    accounts: [Value; 2],
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder");
        let mut bench = Self {
            folder,
            accounts: [Value::Null, Value::Null],
        };
        std::fs::write(bench.path("dewpoint.yaml"), MANIFEST).expect("written");
        let key = bench.path("key");
        let key = Utf8Path::from_path(&key).expect("UTF-8");
        generate_key_file(key, "twenty-main").expect("a key");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let identity = runtime
            .expect("a runtime")
            .block_on(open_key(&UserKey::File(key.to_owned())));
        let line = identity.expect("opens").public_key_line();
        bench.run(&[
            "local",
            "up",
            "--without-guests",
            "--latency",
            "realistic",
            "--idle-timeout",
            "5m",
        ]);
        bench.accounts[0] = bench.call("GET", "/_local/account", None);
        let new = json!({ "name": "twenty-main", "public_key": line });
        bench.call("POST", "/v2/account/keys", Some(&new));
        bench.accounts[1] = bench.call("GET", "/_local/account", None);
        // It was made long ago.
        let keys = bench.accounts[1]["keys"].as_object_mut().expect("keys");
        for key in keys.values_mut() {
            key["usable_at"] = json!(0);
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dewpoint"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DEWPOINT_") || text.starts_with("DIGITALOCEAN_") {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("DEWPOINT_LOCAL_DIR", self.path("cloud"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().expect("the binary runs");
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// One call past the client.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let text = std::fs::read_to_string(self.path("cloud/endpoint.json")).expect("it runs");
        let endpoint: Value = serde_json::from_str(&text).expect("JSON");
        support::api_call::done(&endpoint, method, path, body)
    }

    /// What was asked since a request, oldest first.
    fn asked(&self, after: u64) -> Vec<Value> {
        let mut asked = self.call("GET", &format!("/_local/requests?after={after}"), None);
        serde_json::from_value(asked["requests"].take()).expect("requests")
    }

    /// Makes 20 droplets and interrupts that.
    fn interrupt(&self, moment: &Moment) -> Round {
        self.call("DELETE", "/_local/faults", None);
        let account = &self.accounts[usize::from(moment.knows_key)];
        self.call("PUT", "/_local/account", Some(account));
        for fault in (moment.faults)() {
            self.call("POST", "/_local/faults", Some(&fault));
        }
        // Does nothing: it counts what was sent.
        let count = json!({
            "method": "POST", "path": "/v2/droplets", "times": 0, "fault": { "delay": { "ms": 0 } }
        });
        self.call("POST", "/_local/faults", Some(&count));
        let last = self.asked(0);
        let before = last.last().map_or(0, |entry| number(&entry["seq"]));

        let mut test = Running(
            self.command(&["test", "--local"])
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(self.path("said")).expect("a file"))
                .spawn()
                .expect("the binary runs"),
        );
        let sent = || {
            let faults = self.call("GET", "/_local/faults", None);
            let seen = faults["faults"].as_array().and_then(|faults| faults.last());
            number(&seen.expect("the counting one")["seen"])
        };
        self.wait("the moment", || {
            let answered = self.asked(before);
            let answered = answered.iter().filter(|entry| is_create(entry)).count();
            (moment.is_there)(sent(), answered)
        });
        std::thread::sleep(moment.later);
        let pid = i32::try_from(test.0.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        let sent_before = sent();
        let signalled = (Instant::now(), millis_of_day());
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        let status = test.0.wait().expect("ended");
        let ended = signalled.0.elapsed();
        let said = std::fs::read_to_string(self.path("said")).expect("it says something");
        assert_eq!(status.code(), Some(130), "{said}");

        let account = self.call("GET", "/_local/account", None);
        let left = left(&account);
        self.wait("an empty account", || {
            let account = self.call("GET", "/_local/account", None);
            let has_droplets = account["droplets"]
                .as_object()
                .is_some_and(|d| !d.is_empty());
            !has_droplets
        });
        let empty = signalled.0.elapsed();
        let asked = self.asked(before);
        let at = |entry: &Value| entry["at"].as_i64().expect("a time") as f64;
        let deletes: Vec<f64> = asked
            .iter()
            .filter(|entry| is_delete(entry))
            .map(at)
            .collect();
        let created = asked.iter().filter(|entry| is_create(entry)).map(at);
        let from = created.fold(signalled.1, f64::max);
        let last = deletes.iter().copied().fold(from, f64::max);
        Round {
            accepted_ms: last - from,
            since_signal_ms: last - signalled.1,
            ended_ms: support::ms(ended),
            empty_ms: support::ms(empty),
            deletes: deletes.len(),
            sent_later: sent() - sent_before,
            left,
        }
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            let said = || std::fs::read_to_string(self.path("said")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "no {what}:\n{}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.command(&["local", "reset", "--yes"]).output();
    }
}

/// Ends with the bench, also when that goes wrong.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn millis_of_day() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    support::ms(now.expect("after 1970"))
}

/// Whether a request made droplets, or was told to come back later.
fn is_create(entry: &Value) -> bool {
    entry["method"] == "POST" && entry["path"] == "/v2/droplets" && entry["status"] != 422
}

fn is_delete(entry: &Value) -> bool {
    let path = entry["path"].as_str().unwrap_or_default();
    entry["method"] == "DELETE" && path.starts_with("/v2/droplets") && entry["status"] == 204
}

/// What there is that nobody has asked to be removed.
fn left(account: &Value) -> Vec<String> {
    let of = |list: &str| account[list].as_object().expect("a list").clone();
    let mut left: Vec<String> = of("tags").keys().map(|tag| format!("tag {tag}")).collect();
    for list in ["droplets", "keys", "firewalls", "volumes", "images"] {
        let things = of(list).into_iter();
        let things = things.filter(|(_, thing)| thing["going"] != true);
        left.extend(things.map(|(_, thing)| format!("{list} {}", thing["name"])));
    }
    left
}
