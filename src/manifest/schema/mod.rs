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
    pub version: u32,
    /// Name of the project, `[a-z][a-z0-9-]{0,19}`. Environments of one project share its snapshots and volumes.
    #[schemars(extend("pattern" = r"^([a-z][a-z0-9-]{0,19}|.*\$\{var\..*\}.*)$"))]
    pub project: String,
    /// Name of the environment; `--env` overrides it, so that copies live side by side.
    #[serde(default = "default_environment")]
    pub environment: String,
    /// Slug of the region in which everything is made, such as `nyc3`.
    pub region: String,
    /// After this long the environment counts as expired.
    #[serde(default = "default_ttl")]
    pub ttl: Seconds,
    /// Limits that are checked before anything is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Addresses that are never destroyed or replaced without `--unprotect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<String>,
    /// Variables that strings may name as `${var.NAME}`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub variables: IndexMap<String, Variable>,
    /// How dewpoint logs in.
    #[serde(default)]
    pub ssh: Ssh,
    /// The environment's firewall; `none` opts out.
    #[serde(default)]
    pub firewall: Firewall,
    /// Golden images, each built once per recipe.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub snapshots: IndexMap<String, Snapshot>,
    /// Block storage volumes.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub volumes: IndexMap<String, Volume>,
    /// Single-use droplets and what runs on them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
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
    pub droplets: Option<u32>,
    /// The most the environment may cost in an hour, in US dollars.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rust_decimal::serde::float_option"
    )]
    #[schemars(with = "Option<f64>")]
    pub cost_per_hour: Option<rust_decimal::Decimal>,
    /// Patterns of the sizes that may be used, such as `s-*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    pub default: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
