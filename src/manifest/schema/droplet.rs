//! `droplets`: single-use machines and what runs on them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::snapshot::ImageSource;
use crate::units::Seconds;

/// A single-use droplet, or several of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Droplet {
    /// What it is made from.
    #[schemars(extend("examples" = [{ "snapshot": "base" }, "ubuntu-24-04-x64"]))]
    pub image: ImageSource,
    /// Its size, such as `s-1vcpu-1gb`.
    #[schemars(extend("examples" = ["s-4vcpu-8gb"]))]
    pub size: String,
    /// How many of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    #[schemars(extend("default" = 1, "examples" = [3]))]
    pub count: Option<u32>,
    /// One droplet per combination of these values.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "python": ["3.11", "3.12"] }]))]
    pub matrix: IndexMap<String, Vec<String>>,
    /// Volumes to mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [[{ "volume": "models", "mount": "/mnt/models" }]]))]
    pub volumes: Vec<VolumeMount>,
    /// Code to fetch at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{ "git": "https://github.com/acme/app.git", "ref": "main" }, { "path": "." }]))]
    pub source: Option<Source>,
    /// Environment of every run step.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("default" = {}, "examples" = [{ "MODEL": "llama3.2:1b" }]))]
    pub env: IndexMap<String, String>,
    /// Names of variables of the caller's environment that are handed to the run steps and redacted everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["HF_TOKEN"]]))]
    pub secrets: Vec<String>,
    /// What runs on it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [[{ "name": "tests", "command": "python -m pytest", "timeout": "30m" }]]))]
    pub run: Vec<RunStep>,
    /// Droplets whose runs must be done, or whose background steps must be ready, before the runs of this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["server"]]))]
    pub needs: Vec<String>,
    /// Further tags: letters, digits, `_`, `-` and `:`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["team:ml"]]))]
    pub tags: Vec<String>,
    /// What becomes of the droplet after its runs.
    #[serde(default)]
    #[schemars(extend("examples" = ["destroy", "destroy_on_success", { "keep": "30m" }]))]
    pub after_run: AfterRun,
}

/// A volume mounted on a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Name of the volume.
    #[schemars(extend("examples" = ["models"]))]
    pub volume: String,
    /// Where it is mounted: an absolute path.
    #[schemars(extend("examples" = ["/mnt/models"]))]
    pub mount: String,
    /// Whether the droplet gets the volume itself or a throw-away copy.
    #[serde(default)]
    #[schemars(extend("examples" = ["exclusive", "clone"]))]
    pub access: Access,
}

/// How a droplet uses a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// The volume itself; droplets that share it have it in turn.
    #[default]
    Exclusive,
    /// A throw-away copy of what the volume holds: each droplet its own, all at the same time. It goes
    /// with its droplet, and nothing written to it reaches the volume.
    Clone,
}

/// Code to fetch at run time: exactly one of `git` and `path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Address of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["https://github.com/acme/app.git"]))]
    pub git: Option<String>,
    /// Branch, tag or commit; resolved to a commit when the plan is made. Default: the repository's HEAD.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["main", "v1.2.0"]))]
    pub reference: Option<String>,
    /// A folder on this side, uncommitted changes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["."]))]
    pub path: Option<String>,
    /// Where it goes on the droplet; default `/opt/` and the repository's or folder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["/opt/app"]))]
    pub into: Option<String>,
}

/// One command run on a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStep {
    /// What it is called in plans, output and reports; unique in its droplet.
    #[schemars(extend("examples" = ["tests"]))]
    pub name: String,
    /// A script, run by bash in the source's folder.
    #[schemars(extend("examples" = ["/opt/venv/bin/python -m pytest --junitxml=report.xml"]))]
    pub command: String,
    /// Whether it stays running while later steps run, and after them. A later apply leaves it alone
    /// unless its definition or the source changed.
    #[serde(default)]
    #[schemars(extend("examples" = [true]))]
    pub background: bool,
    /// When a background step counts as ready; without it, as soon as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{ "tcp": 11434, "timeout": "60s" }]))]
    pub ready: Option<Ready>,
    /// How long it may take. A background step has none: `ready` has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "1h", "examples" = ["30m"]))]
    pub timeout: Option<Seconds>,
    /// How many times it is tried again after a failure.
    #[serde(default)]
    #[schemars(extend("examples" = [1]))]
    pub retries: u32,
    /// Whether later steps go on when it failed.
    #[serde(default)]
    #[schemars(extend("examples" = [true]))]
    pub allow_failure: bool,
    /// Whether each apply runs it.
    #[serde(default)]
    #[schemars(extend("examples" = ["always", "once"]))]
    pub when: When,
    /// Patterns of files to bring back, relative to the source's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = [], "examples" = [["report.xml", "logs/**"]]))]
    pub artifacts: Vec<String>,
}

/// When a background step counts as ready: exactly one of `tcp`, `http` and `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// A port on which the step's own processes listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [11434]))]
    pub tcp: Option<u16>,
    /// An address that answers with a success. On the droplet itself, the step's own processes must listen there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["http://localhost:8000/health"]))]
    pub http: Option<String>,
    /// A command that succeeds while the step runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["redis-cli ping"]))]
    pub command: Option<String>,
    /// How long to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "60s", "examples" = ["2m"]))]
    pub timeout: Option<Seconds>,
}

/// When a run step runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// At each apply.
    #[default]
    Always,
    /// Only until it has succeeded on this droplet.
    Once,
}

/// What becomes of a droplet after its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AfterRun {
    /// `keep`, `destroy` or `destroy_on_success`.
    Word(AfterRunWord),
    /// Destroyed after a success; after a failure kept for a while, with its deadline in its expiry tag.
    KeepOnFailure(KeepOnFailure),
}

impl Default for AfterRun {
    fn default() -> Self {
        Self::Word(AfterRunWord::Keep)
    }
}

/// What becomes of a droplet after its runs, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterRunWord {
    /// It stays.
    Keep,
    /// It is destroyed, whatever happened.
    Destroy,
    /// It is destroyed if every run succeeded.
    DestroyOnSuccess,
}

/// Destroyed after a success; after a failure kept for this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepOnFailure {
    /// How long it is kept after a failure.
    #[schemars(extend("examples" = ["30m"]))]
    pub keep: Seconds,
}
