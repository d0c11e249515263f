//! An S3 server of a test's own, on loopback.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::python::python;

/// The key that the tests use.
pub const KEY: &str = "AKIDEXAMPLE";
/// Its other half.
pub const SECRET: &str = "correct-horse-battery";

/// An S3 server. It ends with the test, however that ends. Its buckets: see tests/s3/serve.py.
pub struct Server {
    process: Child,
    /// Where it listens.
    pub port: u16,
}

impl Server {
    /// One that answers; none where this machine cannot have one.
    pub fn start() -> Option<Self> {
        let python = match python("s3") {
            Ok(python) => python,
            Err(reason) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "CI must run the S3 server: {reason}"
                );
                println!("NOT RUN: the S3 server cannot be had: {reason}");
                return None;
            }
        };
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/serve.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server runs");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("read");
        let port = line.trim().parse();
        Some(Self {
            process,
            port: port.expect("the server's port"),
        })
    }

    /// Has a command use it.
    pub fn used_by(port: u16, command: &mut Command) {
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
