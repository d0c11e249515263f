//! What resources and steps shall be, as plain values that travel in plans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::live::FirewallRule;
use crate::shared::{Shared, Texts};
use crate::units::{Gib, Seconds};

/// What a firewall shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallSpec {
    /// Its name.
    pub name: String,
    /// What may come in, normalised and sorted.
    pub inbound: Vec<FirewallRule>,
    /// What may go out, normalised and sorted.
    pub outbound: Vec<FirewallRule>,
    /// Tags of the droplets it covers, sorted. They must exist before the firewall.
    pub tags: Vec<String>,
}

/// What mounting may do to a volume first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeUse {
    /// One of dewpoint's own: it gets its file system while it is blank, which grows with it.
    #[default]
    Own,
    /// Someone's own: it is mounted as it is, or not at all.
    Existing,
    /// A throw-away copy: as one of dewpoint's own, beside the one it is a copy of.
    Clone,
}

/// What a volume shall be. Always made raw: dewpoint makes the file system itself, behind a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeSpec {
    /// Its name, unique in its region.
    pub name: Shared<str>,
    /// Its region.
    pub region: Shared<str>,
    /// Its size.
    pub size: Gib,
    /// Its tags, sorted.
    // Throw-away copies of one volume bear the same.
    pub tags: Texts,
}

/// One step of a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProvisionStep {
    /// A script.
    Run {
        /// What it is called.
        name: String,
        /// The script.
        script: String,
        /// Its environment.
        env: Vec<(String, String)>,
        /// How long it may take.
        timeout: Seconds,
    },
    /// A file or folder from this side.
    Copy {
        /// What it is called.
        name: String,
        /// Path relative to the manifest's folder.
        from: String,
        /// Where it goes: an absolute path.
        to: String,
        /// Digest of its contents and modes when the plan was made: execution refuses others.
        #[schemars(with = "String")]
        digest: Digest,
    },
}

impl ProvisionStep {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Run { name, .. } | Self::Copy { name, .. } => name,
        }
    }
}

/// Code to put on a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceSpec {
    /// A commit of a git repository.
    Git {
        /// Its address, without credentials.
        url: String,
        /// What the manifest names: branch, tag, commit.
        reference: String,
        /// The commit that was found there when the plan was made.
        commit: String,
        /// Where it goes: an absolute path.
        into: String,
    },
    /// A folder on this side.
    Path {
        /// Path relative to the manifest's folder.
        path: String,
        /// Where it goes: an absolute path.
        into: String,
    },
}

impl SourceSpec {
    /// Where it goes: an absolute path on the droplet.
    #[must_use]
    pub fn into_path(&self) -> &str {
        match self {
            Self::Git { into, .. } | Self::Path { into, .. } => into,
        }
    }
}

/// A run step, ready to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
// Droplets of one kind have the same but for some of their variables.
pub struct RunSpec {
    /// What it is called.
    pub name: Shared<str>,
    /// The script.
    pub command: Shared<str>,
    /// Its environment, in order; what dewpoint sets (`DEWPOINT_ENV`, `DEWPOINT_DROPLET`,
    /// `DEWPOINT_INDEX`, `DEWPOINT_COUNT`, `DEWPOINT_MATRIX_<KEY>`) comes first.
    pub env: Vec<(Shared<str>, Shared<str>)>,
    /// Names of the secrets it is handed, sorted. Their values are never in a plan.
    #[serde(default)]
    pub secrets: Texts,
    /// The folder it runs in; the user's home when there is no source.
    pub cwd: Option<Shared<str>>,
    /// How long one try may take.
    pub timeout: Seconds,
    /// How many times it is tried again after a failure.
    pub retries: u32,
    /// Whether a failure of it is no failure of the whole.
    pub allow_failure: bool,
    /// Digest under which its success is remembered on the droplet, when it runs only once.
    pub once: Option<String>,
    /// How it runs on while others run; none for a step that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<BackgroundSpec>,
}

/// How a run step runs on while others run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackgroundSpec {
    /// Digest of all that makes it what it is, the commit of a git source among it: one that runs
    /// already is left alone as long as this and the files of its source are the same.
    #[schemars(with = "String")]
    pub definition: Digest,
    /// When it counts as ready; without it, as soon as it runs.
    pub ready: Option<ReadySpec>,
}

/// When a background step counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadySpec {
    /// What is asked.
    pub probe: ProbeSpec,
    /// How long it may take.
    pub timeout: Seconds,
}

/// What tells that a background step is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeSpec {
    /// The step's own processes listen on this port.
    Tcp {
        /// Which port.
        port: u16,
    },
    /// An address answers with a success.
    Http {
        /// The address.
        url: String,
        /// The port on which the step's own processes must listen for that, when the address is on
        /// the droplet itself.
        own_port: Option<u16>,
    },
    /// A command succeeds.
    Command {
        /// A script, run as the step's own is.
        script: String,
    },
}

impl std::fmt::Display for ProbeSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { port } => write!(f, "it listens on port {port}"),
            Self::Http { url, .. } => write!(f, "{url} answers"),
            Self::Command { script } => {
                let first = script.lines().next().unwrap_or_default();
                write!(f, "`{first}` succeeds")
            }
        }
    }
}
