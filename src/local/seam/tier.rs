//! What the droplets of a local cloud can be, on this machine.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What the local cloud's droplets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Own namespaces over overlay file systems: real guests.
    Namespaces,
    /// Machines of QEMU, each with a kernel of its own: only when they are asked for.
    Vm,
    /// Only the API is there: droplets are active, but nothing can log in.
    Api,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Vm => "vm",
            Self::Api => "api",
        })
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The best tier that works here.
    pub tier: Tier,
    /// Why it is not a better one, or what its guests lack; empty when nothing is to be wished for.
    pub reasons: Vec<String>,
    /// What image slugs stand for, such as `the root of this machine (Debian GNU/Linux 12)`.
    pub base: Option<String>,
}

/// Something machines need that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is, and for what.
    pub what: String,
    /// The Debian package it comes in; `None` when it is no package.
    pub package: Option<&'static str>,
}

/// What to do about what is missing, in one line.
#[must_use]
pub fn ways_out(missing: &[Missing]) -> String {
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|missing| missing.package)
        .collect();
    let without = "without `--guests vm` droplets are guests of this kernel";
    if packages.is_empty() {
        format!("there is no way around it; {without}")
    } else {
        format!(
            "on Debian and Ubuntu: `apt-get install {}`; {without}",
            packages.join(" ")
        )
    }
}
