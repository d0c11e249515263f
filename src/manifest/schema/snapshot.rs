//! `snapshots`: golden images and their recipes.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Seconds;

/// What a droplet is made from: an image's slug or id, or one of the manifest's snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ImageSource {
    /// A public image's slug, such as `ubuntu-24-04-x64`.
    Slug(String),
    /// A private image's id.
    Id(u64),
    /// One of the manifest's snapshots.
    Snapshot(SnapshotRef),
}

/// Names one of the manifest's snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRef {
    /// Name of the snapshot.
    #[schemars(extend("examples" = ["base"]))]
    pub snapshot: String,
}

/// A golden image: built once by a builder droplet, used by many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// What the builder is made from.
    #[schemars(extend("examples" = ["ubuntu-24-04-x64", { "snapshot": "base" }]))]
    pub from: ImageSource,
    /// Size of the builder droplet. Its disk is the least that later droplets must have.
    #[schemars(extend("examples" = ["s-2vcpu-4gb"]))]
    pub size: String,
    /// What is done on the builder, in order. With `from` it is the recipe: an unchanged recipe is never built twice.
    #[serde(default)]
    #[schemars(extend("examples" = [[{ "name": "system packages", "run": "apt-get update\napt-get install -y git python3-venv\n" }]]))]
    pub provision: Vec<Provision>,
    /// How many of the newest snapshots of this name are kept.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    #[schemars(extend("examples" = [2]))]
    pub keep: u32,
    /// Rebuild when older than this, even if the recipe is unchanged: at the next apply, with what is made from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["30d"]))]
    pub refresh: Option<Seconds>,
    /// Regions that shall hold a copy, the manifest's among them; default that one alone. A copy that is there stays when
    /// its region leaves the list: the API cannot remove one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [["nyc3", "sfo3"]]))]
    pub regions: Option<Vec<String>>,
}

const fn one() -> u32 {
    1
}

/// One step of a recipe: exactly one of `run` and `copy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// What it is called in plans and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["system packages"]))]
    pub name: Option<String>,
    /// A script, run by bash as root; it stops at the first command that fails. `${HOME}` and the like are
    /// bash's; only `${var.NAME}` is dewpoint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["apt-get update\napt-get install -y git python3-venv\n"]))]
    pub run: Option<String>,
    /// A file or folder to put on the builder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{ "from": "./requirements.txt", "to": "/opt/app/requirements.txt" }]))]
    pub copy: Option<Copy>,
    /// Environment of the script.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "DEBIAN_FRONTEND": "noninteractive" }]))]
    pub env: IndexMap<String, String>,
    /// How long the script may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "30m", "examples" = ["20m"]))]
    pub timeout: Option<Seconds>,
}

/// A file or folder to put on the builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// Where it is, relative to the manifest's folder (`..` may lead out of it, an absolute path is refused).
    #[schemars(extend("examples" = ["./requirements.txt"]))]
    pub from: String,
    /// Where it goes: an absolute path.
    #[schemars(extend("examples" = ["/opt/app/requirements.txt"]))]
    pub to: String,
}
