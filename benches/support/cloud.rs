//! A folder to work in, with a local cloud of its own, for benches that drive the built binary.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api_call;

/// What is left of it when it is dropped: nothing.
pub struct Cloud {
    folder: tempfile::TempDir,
}

impl Cloud {
    /// Starts a local cloud with options of `local up`.
    pub fn up(options: &[&str]) -> Self {
        let cloud = Self::down();
        cloud.run(&[&["local", "up"], options].concat());
        cloud
    }

    /// The folder alone; a local cloud may be started in it.
    pub fn down() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder");
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    /// The binary, with nothing of the caller's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
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

    /// Runs it; how long it took, and what it printed.
    pub fn run(&self, arguments: &[&str]) -> (Duration, String) {
        let begun = Instant::now();
        let output = self.command(arguments).output().expect("the binary runs");
        let took = begun.elapsed();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        (took, String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn endpoint(&self) -> Value {
        let text = std::fs::read_to_string(self.path("cloud/endpoint.json")).expect("it runs");
        serde_json::from_str(&text).expect("JSON")
    }

    pub fn has_guests(&self) -> bool {
        self.endpoint()["tier"] == "namespaces"
    }

    /// How many requests the API has had so far, and what it answered to those after `seq`.
    pub fn requests(&self, seq: u64) -> Requests {
        let path = format!("/_local/requests?after={seq}");
        let body = api_call::done(&self.endpoint(), "GET", &path, None);
        let entries = body["requests"].as_array().expect("requests");
        Requests {
            last: entries
                .last()
                .and_then(|entry| entry["seq"].as_u64())
                .unwrap_or(seq),
            refused: entries
                .iter()
                .filter(|entry| entry["status"] == 429)
                .count() as u64,
        }
    }
}

/// What the API was asked.
pub struct Requests {
    /// The latest request's number, from 1.
    pub last: u64,
    /// How many were refused for the rate limit.
    pub refused: u64,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.command(&["local", "reset", "--yes"]).output();
    }
}
