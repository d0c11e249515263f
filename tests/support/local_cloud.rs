//! A local cloud of a test's own: the real process, on any free port, gone with the test.
#![allow(dead_code, reason = "each test binary uses its own part of this file")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use dewpoint::local::service::{self, Endpoint, UpOptions};
use serde_json::Value;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something to be so.
///
/// # Panics
/// When it is not so in time.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An answer.
pub struct Shown {
    pub status: u16,
    pub head: String,
    pub body: Option<Value>,
}

/// A local cloud; stopped and removed when dropped.
pub struct Cloud {
    folder: tempfile::TempDir,
    pub endpoint: Endpoint,
    pub idle_seconds: u64,
    pub without_guests: bool,
}

impl Cloud {
    /// One without guests, running.
    pub fn without_guests() -> Self {
        let mut cloud = Self::stopped();
        cloud.up();
        cloud
    }

    /// One that does not run yet.
    pub fn stopped() -> Self {
        let nowhere = Endpoint {
            url: String::new(),
            token: dewpoint::secret::Secret::new(String::new()),
            ssh_port: 0,
            tier: dewpoint::local::seam::Tier::Api,
            reasons: Vec::new(),
            base: None,
            pid: 0,
            version: String::new(),
            build: String::new(),
            latency: dewpoint::local::latency::Latency::FAST,
            restarted: None,
        };
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            endpoint: nowhere,
            idle_seconds: 300,
            without_guests: true,
        }
    }

    pub fn dir(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.folder.path().join("cloud")).expect("a UTF-8 path")
    }

    pub fn options(&self) -> UpOptions {
        UpOptions {
            idle_seconds: self.idle_seconds,
            without_guests: self.without_guests,
            program: Some(env!("CARGO_BIN_EXE_dewpoint").into()),
            ..UpOptions::default()
        }
    }

    pub fn up(&mut self) {
        self.endpoint = service::up(&self.dir(), &self.options()).expect("a service");
    }

    pub fn down(&self) {
        assert!(service::down(&self.dir()).expect("an end"), "it ran");
    }

    /// Kills the process, as a power cut would.
    pub fn kill(&self) {
        let pid = i32::try_from(self.endpoint.pid).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a kill");
    }

    /// One request; `None` when the connection ends without an answer.
    pub fn try_call(&self, method: &str, target: &str, body: Option<&Value>) -> Option<Shown> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{{port}}\r\nAuthorization: Bearer {{token}}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        self.exchange(&head, &body)
    }

    pub fn call(&self, method: &str, target: &str, body: Option<&Value>) -> Shown {
        self.try_call(method, target, body)
            .unwrap_or_else(|| panic!("{method} {target}: no answer"))
    }

    /// A request as it stands, but for `{port}` and `{token}`; a body of one brace.
    pub fn raw(&self, head: &str) -> Shown {
        let body = if head.contains("Content-Length") {
            "{"
        } else {
            ""
        };
        self.exchange(head, body).expect("an answer")
    }

    fn exchange(&self, head: &str, body: &str) -> Option<Shown> {
        let port = self.endpoint.url.rsplit(':').next().expect("a port");
        let head = head
            .replace("{port}", port)
            .replace("{token}", self.endpoint.token.expose());
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("a connection");
        let request = format!("{head}Connection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Shown {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_owned(),
            body: serde_json::from_str(body).ok(),
        })
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // A panic here would hide what the test has to say.
        let _ = service::reset(&self.dir());
    }
}
