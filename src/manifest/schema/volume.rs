//! `volumes`: block storage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::snapshot::ImageSource;
use crate::units::{Gib, Seconds};

/// A block storage volume. Either `size` (dewpoint's own) or `existing` (used, never changed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its size, up to 16384GiB. It can grow, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["50GiB"]))]
    pub size: Option<Gib>,
    /// The file system made on it while it is blank.
    #[serde(default)]
    #[schemars(extend("examples" = ["ext4", "xfs"]))]
    pub filesystem: Filesystem,
    /// Whether it outlives environments.
    #[serde(default)]
    #[schemars(extend("examples" = ["project", "environment"]))]
    pub scope: Scope,
    /// Fills the volume once, and again when this changes: on a droplet of its own, before anything else has the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{ "image": { "snapshot": "base" }, "size": "s-2vcpu-4gb", "run": [{ "command": "OLLAMA_MODELS=/mnt/volume ollama pull llama3.2:1b" }] }]))]
    pub populate: Option<Populate>,
    /// The name it had in this manifest before: it is renamed, never made anew. Its name on DigitalOcean stays, a tag remembers the new one; once applied, `was` can go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["weights"]))]
    pub was: Option<String>,
    /// Name of a volume on DigitalOcean that is used and never changed: not formatted, grown, tagged or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["my-old-volume"]))]
    pub existing: Option<String>,
}

/// A file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
}

/// Whose a volume is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The project's: outlives every environment.
    #[default]
    Project,
    /// The environment's: goes with it.
    Environment,
}

/// How a volume is filled, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Populate {
    /// What the droplet that fills it is made from.
    #[schemars(extend("examples" = [{ "snapshot": "base" }, "ubuntu-24-04-x64"]))]
    pub image: ImageSource,
    /// Size of that droplet.
    #[schemars(extend("examples" = ["s-2vcpu-4gb"]))]
    pub size: String,
    /// What fills it, in order; the volume is at /mnt/volume, with what it holds already. The volume counts as filled when all of it succeeded.
    #[schemars(extend("examples" = [[{ "name": "pull model", "command": "OLLAMA_MODELS=/mnt/volume ollama pull llama3.2:1b" }]]))]
    pub run: Vec<PopulateStep>,
}

/// One step of filling a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PopulateStep {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["pull model"]))]
    pub name: Option<String>,
    /// A script, run by bash.
    #[schemars(extend("examples" = ["OLLAMA_MODELS=/mnt/volume ollama pull llama3.2:1b"]))]
    pub command: String,
    /// How long it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "1h", "examples" = ["2h"]))]
    pub timeout: Option<Seconds>,
}
