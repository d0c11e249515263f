//! A local cloud, the binary that is driven against it, and what both leave.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api_call;

/// How long anything may take that ends: a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(240);

/// What is counted.
#[derive(Debug, Default)]
pub struct Figures {
    pub killed: [u32; 5],
    pub clouds_killed: u32,
    pub faults_met: u64,
    pub calls: u64,
    pub commands: u32,
    pub destroys: u32,
}

/// A local cloud in a folder of its own; gone when dropped.
pub struct Cloud {
    folder: tempfile::TempDir,
    pub has_guests: bool,
    pub figures: Figures,
}

/// What a command came to.
pub struct Ran {
    pub code: Option<i32>,
    pub text: String,
}

impl Cloud {
    pub fn new(has_guests: bool) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("soak-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder");
        let cloud = Self {
            folder,
            has_guests,
            figures: Figures::default(),
        };
        cloud.up();
        cloud
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn up(&self) {
        let options: &[&str] = match self.has_guests {
            true => &["--idle-timeout", "10m"],
            false => &[
                "--idle-timeout",
                "10m",
                "--without-guests",
                "--latency",
                "0.002",
            ],
        };
        let output = self
            .command(&[&["local", "up"], options].concat(), self.folder.path())
            .output()
            .expect("the binary runs");
        assert!(
            output.status.success(),
            "local up: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub fn command(&self, arguments: &[&str], folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dewpoint"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DEWPOINT_") || text.starts_with("DIGITALOCEAN_") {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .current_dir(folder)
            .env("DEWPOINT_LOCAL_DIR", self.path("cloud"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null());
        command
    }

    /// Starts a command; what it says goes to a file.
    pub fn start(&mut self, arguments: &[&str], folder: &Path) -> Running {
        self.figures.commands += 1;
        let said = folder.join("said");
        let file = std::fs::File::create(&said).expect("a file");
        let arguments = [arguments, &["--local"]].concat();
        let process = self
            .command(&arguments, folder)
            .stdout(file.try_clone().expect("another"))
            .stderr(file)
            .spawn()
            .expect("the binary runs");
        Running {
            process,
            said,
            what: arguments.join(" "),
        }
    }

    pub fn run(&mut self, arguments: &[&str], folder: &Path) -> Ran {
        self.start(arguments, folder).end()
    }

    fn endpoint(&self) -> Value {
        let text = std::fs::read_to_string(self.path("cloud/endpoint.json"));
        serde_json::from_str(&text.expect("the local cloud runs")).expect("JSON")
    }

    /// The process that serves it.
    pub fn pid(&self) -> i32 {
        let pid = self.endpoint()["pid"].as_i64().expect("a process id");
        i32::try_from(pid).expect("a process id")
    }

    /// One call past the client.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        api_call::done(&self.endpoint(), method, path, body)
    }

    /// Takes all faults away, and counts how many calls have met one.
    pub fn heal(&mut self) {
        let faults = self.call("GET", "/_local/faults", None);
        for fault in faults["faults"].as_array().expect("a list") {
            let seen = fault["seen"].as_u64().expect("a number");
            let number = |name: &str| fault["rule"][name].as_u64().unwrap_or(1);
            let met = (seen + 1).saturating_sub(number("nth"));
            self.figures.faults_met += met.min(number("times"));
        }
        self.call("DELETE", "/_local/faults", None);
    }

    /// Counts what was asked since the process began.
    pub fn count_calls(&mut self) {
        let asked = self.call("GET", "/_local/requests", None);
        let last = asked["requests"].as_array().and_then(|all| all.last());
        self.figures.calls += last.map_or(0, |last| last["seq"].as_u64().unwrap_or(0));
    }

    /// Kills the process, as a power cut would, and starts it anew.
    pub fn kill(&mut self) {
        self.count_calls();
        self.figures.clouds_killed += 1;
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it ran");
        // One `up` would find it while it dies.
        while std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.up();
    }

    /// Waits until nothing is under way: what there is then, tags included.
    pub fn holds(&self) -> Vec<String> {
        let begun = Instant::now();
        let account = loop {
            let account = self.call("GET", "/_local/account", None);
            if account["jobs"]
                .as_object()
                .is_some_and(|jobs| jobs.is_empty())
            {
                break account;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "jobs that do not end: {}",
                account["jobs"]
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut holds = Vec::new();
        for list in [
            "droplets",
            "volumes",
            "images",
            "volume_snapshots",
            "firewalls",
            "keys",
            "tags",
        ] {
            for (id, thing) in account[list].as_object().expect(list) {
                holds.push(format!("{list} {id} {}", thing["name"]));
            }
        }
        holds
    }

    /// Mounts in its folder, as the kernel lists them.
    pub fn mounts(&self) -> Vec<String> {
        let here = self.folder.path().to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("a list");
        let mounts = mounts.lines().filter(|line| line.contains(&here));
        mounts.map(str::to_owned).collect()
    }

    /// Processes that were started for it: their commands, but for the service itself.
    pub fn processes(&self) -> Vec<String> {
        let here = self.folder.path().to_string_lossy().into_owned();
        let entries = std::fs::read_dir("/proc").expect("a list").flatten();
        let mut found = Vec::new();
        for entry in entries {
            let text = |name: &str| {
                let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            if !text("cmdline").contains(&here) && !text("environ").contains(&here) {
                continue;
            }
            let command = text("cmdline");
            if !command.contains("__local-serve") {
                found.push(format!("{} {command}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }

    /// Descriptors that the service has open, and its memory in MiB.
    pub fn weight(&self) -> (usize, f64) {
        let begun = Instant::now();
        // Connections of commands that have ended are let go of.
        while self.call("GET", "/_local/requests?after=999999999", None)["under_way"] != 0 {
            assert!(begun.elapsed() < PATIENCE, "requests that do not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = self.pid();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = memory.and_then(|text| text.trim().split(' ').next()?.parse::<f64>().ok());
        (open.count(), memory.unwrap_or_default() / 1024.0)
    }

    /// Ends it, as its owner does.
    pub fn reset(&self) {
        let output = self
            .command(&["local", "reset", "--yes"], self.folder.path())
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "local reset: {said}");
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // Twice does no harm.
        let _ = self
            .command(&["local", "reset", "--yes"], self.folder.path())
            .output();
    }
}

/// A command at work; killed when dropped.
pub struct Running {
    process: Child,
    said: PathBuf,
    what: String,
}

impl Running {
    /// Sends it a signal; whether it still ran.
    pub fn signal(&mut self, signal: rustix::process::Signal) -> bool {
        if self.process.try_wait().expect("looked at").is_some() {
            return false;
        }
        let pid = i32::try_from(self.process.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, signal).is_ok()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("looked at") {
                break status;
            }
            let said = || std::fs::read_to_string(&self.said).unwrap_or_default();
            assert!(
                begun.elapsed() < PATIENCE,
                "{} hangs:\n{}",
                self.what,
                said()
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = std::fs::read(&self.said).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let text = format!("$ dewpoint {} -> {status}\n{text}", self.what);
        assert!(!text.contains("panicked at"), "{text}");
        Ran {
            code: status.code(),
            text,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
