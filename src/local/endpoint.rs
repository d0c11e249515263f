//! Where a running local cloud is, and what it is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use super::seam::{Probe, Tier};
use crate::secret::Secret;

/// A running local cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// What `DIGITALOCEAN_API_URL` would be.
    pub url: String,
    /// What requests must bring.
    pub token: Secret<String>,
    /// Where the SSH servers of all droplets listen, each on its droplet's address.
    pub ssh_port: u16,
    /// What droplets are.
    pub tier: Tier,
    /// Why they are no more than that.
    pub reasons: Vec<String>,
    /// What public images stand for.
    pub base: Option<String>,
    /// The process.
    pub pid: u32,
    /// The version of dewpoint that serves.
    pub version: String,
    /// Which build of it: size and time of the program's file.
    pub build: String,
    /// How slow it is.
    pub latency: Latency,
    /// Why another service was stopped for this one just now, if one was.
    pub restarted: Option<String>,
}

/// The same as it is written to `endpoint.json`, which only its owner may read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) url: String,
    pub(super) port: u16,
    pub(super) token: String,
    pub(super) ssh_port: u16,
    pub(super) tier: Tier,
    pub(super) reasons: Vec<String>,
    pub(super) base: Option<String>,
    pub(super) pid: u32,
    pub(super) version: String,
    /// Versions before this was written are another build in any case.
    #[serde(default)]
    pub(super) build: String,
    #[serde(default)]
    pub(super) latency: Latency,
}

impl Written {
    pub(super) fn new(
        port: u16,
        ssh_port: u16,
        token: &str,
        probe: &Probe,
        latency: Latency,
    ) -> Self {
        Self {
            url: format!("http://127.0.0.1:{port}"),
            port,
            token: token.to_owned(),
            ssh_port,
            tier: probe.tier,
            reasons: probe.reasons.clone(),
            base: probe.base.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: build_of(&own_program()),
            latency,
        }
    }

    pub(super) fn into_endpoint(self) -> Endpoint {
        Endpoint {
            url: self.url,
            token: Secret::new(self.token),
            ssh_port: self.ssh_port,
            tier: self.tier,
            reasons: self.reasons,
            base: self.base,
            pid: self.pid,
            version: self.version,
            build: self.build,
            latency: self.latency,
            restarted: None,
        }
    }
}

/// The file this process runs, also where it has been replaced or removed meanwhile: on Linux alone, where
/// that can be.
fn own_program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_default()
}

/// Tells one build of a program from another; empty where that cannot be found out.
pub(super) fn build_of(program: &Path) -> String {
    let Ok(data) = std::fs::metadata(program) else {
        return String::new();
    };
    let changed = data
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |time| time.as_nanos());
    format!("{:x}-{changed:x}", data.len())
}
