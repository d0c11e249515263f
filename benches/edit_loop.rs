//! The loop that users feel most: one line of a large working tree is edited, `apply` runs again on a
//! droplet that is up, and the first line of its run's output comes.
//!
//! `cargo bench --bench edit_loop` measures it with the release binary against a local cloud of its
//! own, prints a table, writes `target/bench/edit_loop.json`, and fails when the median is over the
//! budget. SSH goes through a relay that counts bytes, and how often the direction changes to the
//! droplet: that is a round trip. What is counted ends with the first line.

mod support;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::cloud::Cloud;
use support::{Budget, Report, ms};

/// From the start of `apply` to the first line of its run's output.
const BUDGET: Duration = Duration::from_secs(1);
/// In the working tree, beside the one that is edited.
const FILES: usize = 2_000;
const FOLDERS: usize = 50;
/// Odd, so that there is a median.
const ROUNDS: usize = 9;

const MANIFEST: &str = r#"
version: 1
project: loop
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    source: { path: ./app, into: /opt/app }
    run: [{ name: read, command: "cat edited.py" }]
"#;

fn main() -> ExitCode {
    let bench = Bench::new();
    if !bench.cloud.has_guests() {
        eprintln!("NOT RUN: droplets of the local cloud cannot be logged in to here");
        return ExitCode::FAILURE;
    }
    // The droplet is made, and has all files; nothing of that is measured.
    bench.apply("round 0");
    bench.relay();
    let rounds: Vec<Round> = (1..=ROUNDS)
        .map(|round| bench.apply(&format!("round {round}")))
        .collect();
    report(&rounds)
}

/// What one apply took until the first line of output.
struct Round {
    /// Until the plan was made and approved, and the first step began.
    planned: Duration,
    /// Until the source was on the droplet.
    synced: Duration,
    first_line: Duration,
    sent: u64,
    received: u64,
    ssh_round_trips: u64,
    api_calls: u64,
}

/// What is measured, and where it stands in a round.
type Measured<'a> = (&'static str, &'static str, &'a dyn Fn(&Round) -> f64);

fn report(rounds: &[Round]) -> ExitCode {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rows: [Measured<'_>; 7] = [
        ("until planned", "ms", &|round| ms(round.planned)),
        ("until the source is there", "ms", &|round| ms(round.synced)),
        ("until the first line", "ms", &|round| ms(round.first_line)),
        ("sent over SSH", "bytes", &|round| round.sent as f64),
        ("received over SSH", "bytes", &|round| round.received as f64),
        ("round trips over SSH", "", &|round| {
            round.ssh_round_trips as f64
        }),
        ("API calls", "calls", &|round| round.api_calls as f64),
    ];
    let mut report = Report::new("edit_loop");
    for (name, unit, value) in rows {
        let values: Vec<f64> = rounds.iter().map(value).collect();
        let budget = (name == "until the first line").then_some(Budget::AtMost(ms(BUDGET)));
        let name = format!("one of {FILES} files edited: {name}");
        report.values(&name, unit, &values, budget);
    }
    report.finish()
}

/// A working tree, and a local cloud of its own whose SSH goes through a relay.
struct Bench {
    cloud: Cloud,
    relay: Mutex<Option<Arc<Relay>>>,
}

impl Bench {
    fn new() -> Self {
        let cloud = Cloud::up(&[]);
        for number in 0..FILES {
            let path = format!("app/part_{}/file_{number}.py", number % FOLDERS);
            let mut text = String::new();
            for line in 0..60 {
                let _ = writeln!(
                    text,
                    "def function_{number}_{line}(): return {}",
                    number * line
                );
            }
            cloud.write(&path, &text);
        }
        cloud.write("dewpoint.yaml", MANIFEST);
        Self {
            cloud,
            relay: Mutex::default(),
        }
    }

    /// What the API has been asked so far.
    fn api_calls(&self) -> u64 {
        self.cloud.requests(0).last
    }

    /// Edits a line and applies.
    fn apply(&self, word: &str) -> Round {
        self.cloud
            .write("app/edited.py", &format!("print('{word}')\n"));
        let calls = self.api_calls();
        let counted = self.relay.lock().expect("one thread").clone();
        let before = counted
            .as_ref()
            .map(|relay| relay.counts())
            .unwrap_or_default();
        let begun = Instant::now();
        let mut apply = self
            .cloud
            .command(&["apply", "--yes", "--local", "--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut round = None;
        let (mut planned, mut synced) = (Duration::ZERO, Duration::ZERO);
        let mut syncs = None;
        for line in BufReader::new(apply.stderr.take().expect("piped")).lines() {
            let line = line.expect("read");
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                panic!("{line}");
            };
            match event["event"].as_str().expect("an event") {
                "run_started" => planned = begun.elapsed(),
                "started"
                    if event["title"]
                        .as_str()
                        .is_some_and(|title| title.contains("sync")) =>
                {
                    syncs = Some(event["step"].clone());
                }
                "done" if syncs.as_ref() == Some(&event["step"]) => synced = begun.elapsed(),
                "output" if round.is_none() => {
                    assert_eq!(event["line"], format!("print('{word}')"), "what was edited");
                    let after = counted
                        .as_ref()
                        .map(|relay| relay.counts())
                        .unwrap_or_default();
                    round = Some(Round {
                        planned,
                        synced,
                        first_line: begun.elapsed(),
                        sent: after[0] - before[0],
                        received: after[1] - before[1],
                        ssh_round_trips: after[2] - before[2],
                        api_calls: self.api_calls() - calls,
                    });
                }
                _ => {}
            }
        }
        assert!(apply.wait().expect("ended").success());
        round.expect("the run says something")
    }

    /// From here on SSH goes through a relay: the client is told another port.
    fn relay(&self) {
        let mut endpoint = self.cloud.endpoint();
        let port = endpoint["ssh_port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        let address = self.droplet();
        let relay = Relay::start(SocketAddr::new(address, port.expect("a port")));
        endpoint["ssh_port"] = json!(relay.port);
        std::fs::write(self.cloud.path("cloud/endpoint.json"), endpoint.to_string())
            .expect("written");
        *self.relay.lock().expect("one thread") = Some(relay);
    }

    /// The droplet's address, as the journal of the run that made it tells it.
    fn droplet(&self) -> IpAddr {
        let runs = std::fs::read_dir(self.cloud.path(".dewpoint/runs")).expect("runs");
        let run = runs
            .map(|run| run.expect("an entry").path())
            .max()
            .expect("a run");
        let journal = std::fs::read_to_string(run.join("journal.jsonl")).expect("a journal");
        let (_, rest) = journal.split_once(" at 127.").expect("its address");
        let end = rest
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .expect("an end");
        format!("127.{}", &rest[..end]).parse().expect("an address")
    }
}

/// Hands SSH on to a droplet, and counts.
struct Relay {
    port: u16,
    sent: AtomicU64,
    received: AtomicU64,
    turns: AtomicU64,
    /// Who spoke last: 1 is the client.
    last: AtomicU64,
}

impl Relay {
    fn start(droplet: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind((droplet.ip(), 0)).expect("a port");
        let relay = Arc::new(Self {
            port: listener.local_addr().expect("bound").port(),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            turns: AtomicU64::default(),
            last: AtomicU64::default(),
        });
        let serving = Arc::clone(&relay);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(droplet) else {
                    continue;
                };
                for (from, to, is_client) in [(&client, &server, true), (&server, &client, false)] {
                    let _ = from.set_nodelay(true);
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        continue;
                    };
                    let relay = Arc::clone(&serving);
                    std::thread::spawn(move || relay.carry(from, to, is_client));
                }
            }
        });
        relay
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_client: bool) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let all = if is_client {
                &self.sent
            } else {
                &self.received
            };
            all.fetch_add(count as u64, Ordering::Relaxed);
            let before = self.last.swap(u64::from(is_client), Ordering::Relaxed);
            if is_client && before == 0 {
                self.turns.fetch_add(1, Ordering::Relaxed);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The other side learns of the end; one that is gone knows.
        let _ = to.shutdown(Shutdown::Write);
    }

    fn counts(&self) -> [u64; 3] {
        [&self.sent, &self.received, &self.turns].map(|count| count.load(Ordering::Relaxed))
    }
}
