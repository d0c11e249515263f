//! The manifest, version 1, as types: what a key is called, what it may hold, what it means.
//!
//! `schemas/manifest.schema.json` is generated from these types; their doc comments are what an
//! editor shows on hover.

use indexmap::IndexMap;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Gib, Seconds};

/// A dewpoint manifest: the snapshots, volumes and single-use droplets of one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest's format: 1.
    pub version: u32,
    /// Name of the project, `[a-z][a-z0-9-]{0,19}`. Environments of one project share its snapshots and volumes.
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
    /// Its value when none is given; without a default a value must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// How dewpoint logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// The user to log in as.
    #[serde(default = "default_user")]
    pub user: String,
    /// `generated` (one ed25519 pair per environment), `agent`, or a private key's path.
    #[serde(default = "default_key")]
    pub key: String,
    /// Networks that may reach port 22.
    #[serde(default = "everywhere")]
    #[schemars(with = "Vec<String>")]
    pub allow_from: Vec<IpNet>,
    /// How host keys are checked: `derived` (pinned before the droplet exists), or `accept-new` for images that ignore cloud-init.
    #[serde(default)]
    pub host_key: HostKeyPolicy,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            user: default_user(),
            key: default_key(),
            allow_from: everywhere(),
            host_key: HostKeyPolicy::Derived,
        }
    }
}

fn default_user() -> String {
    "root".to_owned()
}

fn default_key() -> String {
    "generated".to_owned()
}

fn everywhere() -> Vec<IpNet> {
    ["0.0.0.0/0", "::/0"]
        .map(|net| net.parse().expect("a network literal"))
        .to_vec()
}

/// How host keys are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyPolicy {
    /// Derived from the SSH key, given to the droplet, pinned.
    #[default]
    Derived,
    /// Whatever the droplet shows first.
    AcceptNew,
}

/// The environment's firewall: `none`, or rules added to the default ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Firewall {
    /// `none`: no firewall at all.
    Word(FirewallWord),
    /// Rules on top of SSH and what the environment does among itself.
    Rules(FirewallRules),
}

impl Default for Firewall {
    fn default() -> Self {
        Self::Rules(FirewallRules::default())
    }
}

/// The word that opts out of the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirewallWord {
    /// No firewall.
    None,
}

/// Rules on top of the default ones (SSH as `ssh.allow_from` says, everything inside the environment, all outbound).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallRules {
    /// What may come in beside SSH.
    #[serde(default)]
    pub inbound: Vec<InboundRule>,
}

/// One rule for what may come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InboundRule {
    /// The protocol.
    pub protocol: Protocol,
    /// `"8000"`, `"8000-9000"` or `"all"`; not for icmp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<String>,
    /// Networks that may come in.
    #[schemars(with = "Vec<String>")]
    pub from: Vec<IpNet>,
}

/// A protocol of a firewall rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
}

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
    pub snapshot: String,
}

/// A golden image: built once by a builder droplet, used by many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// What the builder is made from.
    pub from: ImageSource,
    /// Size of the builder droplet. Its disk is the least that later droplets must have.
    pub size: String,
    /// What is done on the builder, in order. With `from` it is the recipe: an unchanged recipe is never built twice.
    #[serde(default)]
    pub provision: Vec<Provision>,
    /// How many of the newest snapshots of this name are kept.
    #[serde(default = "one")]
    pub keep: u32,
    /// Rebuild when older than this, even if the recipe is unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Seconds>,
    /// Regions that shall hold a copy; default the manifest's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    pub name: Option<String>,
    /// A script, run by bash as root; it stops at the first command that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// A file or folder to put on the builder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Copy>,
    /// Environment of the script.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// How long the script may take; default 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// A file or folder to put on the builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// Where it is, relative to the manifest's folder.
    pub from: String,
    /// Where it goes: an absolute path.
    pub to: String,
}

/// A block storage volume. Either `size` (dewpoint's own) or `existing` (used, never changed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its size. It can grow, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Gib>,
    /// The file system made on it while it is blank.
    #[serde(default)]
    pub filesystem: Filesystem,
    /// Whether it outlives environments.
    #[serde(default)]
    pub scope: Scope,
    /// Fills the volume once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub populate: Option<Populate>,
    /// The name it had before: it is renamed, never made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Name of a volume on DigitalOcean that is used and never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    pub image: ImageSource,
    /// Size of that droplet.
    pub size: String,
    /// What fills it; the volume is at /mnt/volume.
    pub run: Vec<PopulateStep>,
}

/// One step of filling a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PopulateStep {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A script, run by bash.
    pub command: String,
    /// How long it may take; default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// A single-use droplet, or several of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Droplet {
    /// What it is made from.
    pub image: ImageSource,
    /// Its size, such as `s-1vcpu-1gb`.
    pub size: String,
    /// How many of them; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// One droplet per combination of these values.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub matrix: IndexMap<String, Vec<String>>,
    /// Volumes to mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Code to fetch at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Environment of every run step.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// Names of variables of the caller's environment that are handed to the run steps and redacted everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// What runs on it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<RunStep>,
    /// Droplets whose runs must be done first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Further tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What becomes of the droplet after its runs.
    #[serde(default)]
    pub after_run: AfterRun,
}

/// A volume mounted on a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Name of the volume.
    pub volume: String,
    /// Where it is mounted: an absolute path.
    pub mount: String,
    /// Whether the droplet gets the volume itself or a throw-away copy.
    #[serde(default)]
    pub access: Access,
}

/// How a droplet uses a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// The volume itself; one droplet at a time.
    #[default]
    Exclusive,
    /// A throw-away copy.
    Clone,
}

/// Code to fetch at run time: exactly one of `git` and `path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Address of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// Branch, tag or commit; resolved to a commit when the plan is made. Default: the repository's HEAD.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// A folder on this side, uncommitted changes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where it goes on the droplet; default `/opt/` and the repository's or folder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
}

/// One command run on a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStep {
    /// What it is called in plans, output and reports; unique in its droplet.
    pub name: String,
    /// A script, run by bash in the source's folder.
    pub command: String,
    /// Whether it stays running while later steps run.
    #[serde(default)]
    pub background: bool,
    /// When a background step counts as ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// How long it may take; default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// How many times it is tried again after a failure.
    #[serde(default)]
    pub retries: u32,
    /// Whether later steps go on when it failed.
    #[serde(default)]
    pub allow_failure: bool,
    /// Whether each apply runs it.
    #[serde(default)]
    pub when: When,
    /// Patterns of files to bring back, relative to the source's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
}

/// When a background step counts as ready: exactly one of `tcp`, `http` and `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// A port on which the step's own processes listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// An address that answers with a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// A command that succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// How long to wait; default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum AfterRun {
    /// `keep`, `destroy` or `destroy_on_success`.
    Word(AfterRunWord),
    /// Destroyed after a success; after a failure kept for a while.
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
    pub keep: Seconds,
}
