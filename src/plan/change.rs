//! What becomes of a resource, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::shared::Shared;
use crate::units::Seconds;

/// What becomes of a resource. Closed: it is acted on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// It is destroyed, then made anew.
    DestroyThenCreate,
    /// It is made anew, then the old one is destroyed.
    CreateThenDestroy,
    /// It is destroyed.
    Delete,
    /// It stays as it is.
    Keep,
}

impl Action {
    /// The sign that stands before it in a plan.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Update => "~",
            Self::DestroyThenCreate => "-/+",
            Self::CreateThenDestroy => "+/-",
            Self::Delete => "-",
            Self::Keep => "=",
        }
    }

    /// Whether something that exists goes away.
    #[must_use]
    pub const fn destroys(self) -> bool {
        matches!(
            self,
            Self::DestroyThenCreate | Self::CreateThenDestroy | Self::Delete
        )
    }
}

/// Where a change comes from. Only shown, never decided on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The manifest says so.
    Manifest,
    /// Someone changed it outside of dewpoint.
    Drift,
    /// Something it is made from is made anew.
    Upstream,
    /// It is older than the manifest allows.
    Age,
    /// Its time is over.
    Expiry,
    /// An earlier run left it.
    Leftover,
    /// The command asks for it (`destroy`, `test`, `--replace`).
    Command,
}

/// Why a resource changes: one sentence without a full stop, such as `size s-1vcpu-1gb -> s-2vcpu-2gb`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// Where it comes from.
    pub cause: Cause,
    /// In words.
    pub text: String,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Its name, as in the manifest: `size`, `inbound[1].ports`, `provision[0].run`.
    pub field: String,
    /// What it is; absent when it is new or cannot be read back.
    pub old: Option<String>,
    /// What it will be; absent when it goes away.
    pub new: Option<String>,
    /// Whether this difference alone forces a replace.
    pub forces_replace: bool,
    /// Whether the value is only known once the plan is executed.
    pub known_after_apply: bool,
}

/// What becomes of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Which one.
    pub address: Address,
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its id on DigitalOcean, when it exists.
    pub id: Option<String>,
    /// What becomes of it.
    pub action: Action,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What differs, in declared order. For a create: what it will be.
    pub fields: Vec<FieldChange>,
}

/// What every apply does anyway with one droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// Which droplet.
    pub address: Address,
    /// Its name on DigitalOcean.
    pub name: Shared<str>,
    /// Whether it is created for this and destroyed after it.
    pub single_use: bool,
    /// What is fetched, such as `https://… @ main (4f2a91c0)`.
    // Droplets of one kind share this and what follows.
    pub source: Option<Shared<str>>,
    /// What runs, in order.
    pub runs: Shared<Vec<ActivityRun>>,
    /// What becomes of the droplet then, in words.
    pub after_run: Shared<str>,
    /// Facts worth showing of a droplet that is created: `size`, `image`, `volume models at /mnt/models`.
    pub fields: Shared<Vec<FieldChange>>,
}

/// One run step that will run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivityRun {
    /// Its name.
    pub name: Shared<str>,
    /// Its script.
    pub command: Shared<str>,
    /// How long it may take.
    pub timeout: Seconds,
    /// Whether it runs only until it has succeeded on this droplet.
    pub once: bool,
    /// For a background step: when it counts as ready, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
}
