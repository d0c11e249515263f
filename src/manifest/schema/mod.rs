//! The manifest, version 1, as types: what a key is called, what it may hold, what it means.
//!
//! `schemas/manifest.schema.json` is generated from these types; their doc comments are what an
//! editor shows on hover.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shapes;
use crate::units::Seconds;

mod access;
mod droplet;
mod snapshot;
mod volume;

pub use access::{
    Firewall, FirewallRules, FirewallWord, HostKeyPolicy, InboundRule, Protocol, Ssh,
};
pub use droplet::{
    Access, AfterRun, AfterRunWord, Droplet, KeepOnFailure, Ready, RunStep, Source, VolumeMount,
    When,
};
pub use snapshot::{Copy, ImageSource, Provision, Snapshot, SnapshotRef};
pub use volume::{Filesystem, Populate, PopulateStep, Scope, Volume};

/// A dewpoint manifest: the snapshots, volumes and single-use droplets of one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "dewpoint manifest, version 1")]
pub struct Manifest {
    /// Version of the manifest's format: 1.
    #[schemars(range(min = 1, max = 1))]
    #[schemars(extend("examples" = [1]))]
    pub version: u32,
    /// Name of the project, `[a-z][a-z0-9-]{0,19}`. Environments of one project share its snapshots and volumes.
    #[schemars(extend("pattern" = r"^([a-z][a-z0-9-]{0,19}|.*\$\{var\..*\}.*)$"))]
    #[schemars(extend("examples" = ["ollama-eval"]))]
    pub project: String,
    /// Name of the environment; `--env` overrides it, so that copies live side by side.
    #[serde(default = "default_environment")]
    #[schemars(extend("examples" = ["main", "pr-123"]))]
    pub environment: String,
    /// Slug of the region in which everything is made, such as `nyc3`.
    #[schemars(extend("examples" = ["nyc3"]))]
    pub region: String,
    /// After this long the environment counts as expired.
    #[serde(default = "default_ttl")]
    #[schemars(extend("examples" = ["4h"]))]
    pub ttl: Seconds,
    /// Limits that are checked before anything is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{ "droplets": 10, "cost_per_hour": 2.0, "sizes": ["s-*", "c-*"] }]))]
    pub limits: Option<Limits>,
    /// Addresses that are never destroyed or replaced without `--unprotect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["volume.models"]]))]
    pub protect: Vec<String>,
    /// Variables that strings may name as `${var.NAME}`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "ref": { "default": "main", "description": "commit, branch or tag to test" } }]))]
    pub variables: IndexMap<String, Variable>,
    /// How dewpoint logs in.
    #[serde(default)]
    #[schemars(extend("examples" = [{ "user": "root", "key": "agent" }]))]
    pub ssh: Ssh,
    /// The environment's firewall; `none` opts out.
    #[serde(default)]
    #[schemars(extend("examples" = ["none", { "inbound": [{ "protocol": "tcp", "ports": "8000", "from": ["203.0.113.0/24"] }] }]))]
    pub firewall: Firewall,
    /// Golden images, each built once per recipe.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "base": { "from": "ubuntu-24-04-x64", "size": "s-2vcpu-4gb", "provision": [{ "run": "apt-get update && apt-get install -y python3-venv" }] } }]))]
    pub snapshots: IndexMap<String, Snapshot>,
    /// Block storage volumes.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "models": { "size": "50GiB" } }]))]
    pub volumes: IndexMap<String, Volume>,
    /// Single-use droplets and what runs on them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "runner": { "image": { "snapshot": "base" }, "size": "s-4vcpu-8gb", "source": { "path": "." }, "run": [{ "name": "tests", "command": "make test" }] } }]))]
    pub droplets: IndexMap<String, Droplet>,
}

fn default_environment() -> String {
    "main".to_owned()
}

fn default_ttl() -> Seconds {
    Seconds(12 * 3_600)
}

/// Limits that are checked before anything is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most droplets the environment may have at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [10]))]
    pub droplets: Option<u32>,
    /// The most the environment may cost in an hour, in US dollars.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rust_decimal::serde::float_option"
    )]
    #[schemars(with = "Option<f64>")]
    #[schemars(extend("examples" = [2.0]))]
    pub cost_per_hour: Option<rust_decimal::Decimal>,
    /// Patterns of the sizes that may be used, such as `s-*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [["s-*", "c-*"]]))]
    pub sizes: Option<Vec<String>>,
}

/// A variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its value when none is given; without a default a value must be given. Numbers and truth values
    /// may stand without quotes where YAML keeps them as they are written (`3`, not `3.10`). A default is
    /// taken as it stands: it cannot refer to another variable.
    #[serde(
        default,
        deserialize_with = "shapes::variable_default",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "shapes::variable_default_schema")]
    #[schemars(extend("examples" = ["main", 3, true]))]
    pub default: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["commit, branch or tag to test"]))]
    pub description: Option<String>,
}
