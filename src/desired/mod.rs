//! What should exist: every name, tag, default and digest decided.
//!
//! What comes in: the manifest and what was read for it ([`reads`] says what that is). What goes
//! out: [`Desired`], which the planner compares with what exists; or, for a `destroy`, only a
//! [`Scope`], which needs no key, no files and no git.
//!
//! **Invariant:** no I/O, no clock; the same manifest and inputs give the same value on any
//! machine, and the order in which a manifest lists its resources does not matter.

mod error;
mod expand;
mod firewall;
mod kind;
mod meant;
pub mod names;
pub mod recipe;
mod snapshots;
pub mod spec;
mod user_data;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use error::DesiredError;
pub(crate) use firewall::merged;
pub use meant::meant;
pub use user_data::user_data;
pub(crate) use volumes::volume_spec_tag;

use crate::address::Address;
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::manifest::schema::{self, AfterRun, Filesystem, HostKeyPolicy, Limits};
use crate::shared::{Shared, Texts};
use crate::units::{Gib, Seconds};
use spec::{FirewallSpec, ProvisionStep, RunSpec, SourceSpec};

/// What must be read before a desired state can be built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// Files and folders that recipes copy, relative to the manifest's folder; sorted, unique.
    pub copies: Vec<String>,
    /// References of git repositories that sources name; sorted, unique.
    pub git: Vec<GitRead>,
}

/// A reference of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GitRead {
    /// Address of the repository, or a path relative to the manifest's folder.
    pub url: String,
    /// Branch, tag or commit; the repository's HEAD when absent.
    pub reference: Option<String>,
}

/// What a reference of a git repository stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitCommit {
    /// The reference that was found, such as `main`, also when none was named.
    pub reference: String,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
}

/// The key that droplets are made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// The public key, as a line.
    pub public_key: String,
    /// Its MD5 fingerprint, colon-separated.
    pub fingerprint: String,
    /// Whether dewpoint made the pair.
    pub generated: bool,
}

/// What was read for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The key that droplets are made with.
    pub ssh_key: SshKey,
    /// Digests of contents and modes of what recipes copy, by path as in [`Reads::copies`].
    pub copies: BTreeMap<String, Digest>,
    /// What the references of git repositories stand for.
    pub commits: BTreeMap<GitRead, GitCommit>,
}

/// Whose resources these are, and what the manifest calls them: all that a `destroy` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Name of the project.
    pub project: String,
    /// Name of the environment.
    pub environment: String,
    /// Slug of the region.
    pub region: String,
    /// Patterns of addresses that are never destroyed or replaced without `--unprotect`.
    pub protect: Vec<String>,
    /// The user who logs in.
    pub user: String,
    /// How host keys are checked.
    pub host_key: HostKeyPolicy,
    /// Whether dewpoint made the environment's key pair.
    pub key_generated: bool,
    /// The manifest's droplets by their names on DigitalOcean.
    pub droplets: BTreeMap<String, ScopeDroplet>,
    /// The manifest's volumes by their names on DigitalOcean.
    pub volumes: BTreeMap<String, Address>,
    /// Of those, names of volumes that are someone's own.
    pub existing: BTreeSet<String>,
    /// What volumes were called before they were renamed, by what they would be called now.
    pub was: BTreeMap<String, String>,
    /// Names of the manifest's snapshots.
    pub snapshots: BTreeSet<String>,
}

/// What a `destroy` needs to know of a droplet of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeDroplet {
    /// Its address.
    pub address: Address,
    /// Where its volumes are mounted: paths by the names on DigitalOcean of the volumes, or of its
    /// throw-away copies of them.
    pub mounts: BTreeMap<String, String>,
    /// Whether it has background steps, which are stopped before its volumes leave it.
    pub has_background: bool,
}

impl Scope {
    /// The name of the environment's firewall and SSH key.
    #[must_use]
    pub fn environment_name(&self) -> String {
        names::environment(&self.project, &self.environment)
    }
}

/// What should exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Whose it is.
    pub scope: Scope,
    /// After this long a droplet counts as expired.
    pub ttl: Seconds,
    /// Limits that are checked before anything is created.
    pub limits: Option<Limits>,
    /// The environment's key.
    pub ssh_key: SshKey,
    /// The environment's firewall; none when the manifest opts out.
    pub firewall: Option<FirewallSpec>,
    /// Volumes, sorted by address.
    pub volumes: Vec<Volume>,
    /// Snapshots, each after the one it is made from, else sorted by address.
    pub snapshots: Vec<Snapshot>,
    /// Droplets, one for each instance, sorted by address.
    pub droplets: Vec<Droplet>,
}

/// A volume that should exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its address.
    pub address: Address,
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its size; none when it is someone's own, which is used and never changed.
    pub size: Option<Gib>,
    /// The file system it has or gets.
    pub filesystem: Filesystem,
    /// Whose it is.
    pub scope: schema::Scope,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// What fills it.
    pub populate: Option<Populate>,
}

/// What fills a volume, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Populate {
    /// The tag of a volume that was filled by it.
    pub tag: String,
    /// The tag of a volume that is being filled anew by it.
    pub marks: String,
    /// What the droplet that fills it is made from.
    pub image: Image,
    /// Size of that droplet.
    pub size: String,
    /// What is done there, in order, with the volume at [`POPULATE_AT`].
    pub steps: Vec<ProvisionStep>,
    /// Name of that droplet.
    pub droplet: String,
    /// Its tags but for its expiry, sorted.
    pub droplet_tags: Vec<String>,
}

/// Where a volume is mounted while it is filled.
pub const POPULATE_AT: &str = "/mnt/volume";

impl Desired {
    /// Slugs of all public images that snapshots and droplets are made from.
    #[must_use]
    pub fn public_images(&self) -> BTreeSet<String> {
        let snapshots = self.snapshots.iter().map(|snapshot| &snapshot.from);
        let droplets = self.droplets.iter().map(|droplet| &droplet.image);
        let populates = self.volumes.iter().filter_map(|v| v.populate.as_ref());
        let droplets = droplets.chain(populates.map(|populate| &populate.image));
        let slug = |image: &Image| match image {
            Image::Slug(slug) => Some(slug.as_str().to_owned()),
            Image::Id(_) | Image::Snapshot(_) => None,
        };
        snapshots.chain(droplets).filter_map(slug).collect()
    }
}

/// What a droplet or builder is made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// A public image.
    Slug(Shared<str>),
    /// A private image.
    Id(u64),
    /// One of the manifest's snapshots, by its name there.
    Snapshot(Shared<str>),
}

/// A snapshot that should exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its address.
    pub address: Address,
    /// Its name in the manifest.
    pub name: String,
    /// What all snapshots of this name begin with.
    pub lineage: String,
    /// The name of the one of this recipe.
    pub image_name: String,
    /// Digest of the recipe.
    pub digest: Digest,
    /// What the builder is made from.
    pub from: Image,
    /// Size of the builder.
    pub size: String,
    /// What is done on the builder, in order.
    pub provision: Vec<ProvisionStep>,
    /// How many of the newest are kept, at least 1.
    pub keep: u32,
    /// After this long it is built anew.
    pub refresh: Option<Seconds>,
    /// Regions that shall hold a copy beside the builder's, sorted; absent when the manifest does not say.
    pub regions: Option<Vec<String>>,
    /// Tags of the snapshot, sorted.
    pub tags: Vec<String>,
    /// The builder's name.
    pub builder_name: String,
    /// Tags of the builder but for its expiry, sorted.
    pub builder_tags: Vec<String>,
}

/// A volume mounted on a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The volume's name in the manifest.
    pub volume: Shared<str>,
    /// Where it is mounted.
    pub path: Shared<str>,
    /// The throw-away copy that is mounted in its place.
    pub copy: Option<VolumeCopy>,
}

/// A throw-away copy of a volume: one droplet's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeCopy {
    /// Its name on DigitalOcean.
    pub name: Shared<str>,
    /// Its tags but for its expiry, sorted.
    pub tags: Texts,
}

/// A run step and what it brings back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What runs.
    pub spec: Shared<RunSpec>,
    /// Patterns of files to bring back.
    pub artifacts: Texts,
}

/// A droplet that should exist, or live for its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Droplet {
    /// Its address.
    pub address: Address,
    /// Its name on DigitalOcean.
    pub name: Shared<str>,
    /// What it is made from.
    pub image: Image,
    /// Its size.
    pub size: Shared<str>,
    /// Its tags but for its expiry, sorted; the spec tag is among them.
    pub tags: Texts,
    /// Its volumes, in declared order.
    pub mounts: Vec<Mount>,
    /// Code to fetch.
    pub source: Option<Shared<SourceSpec>>,
    /// What runs on it, in order.
    pub runs: Vec<Run>,
    /// Droplets of the manifest, by their names there, whose runs must be done or whose background
    /// steps must be ready before its own runs: those it `needs`, and those that have a volume
    /// itself of which this one gets a copy; sorted.
    pub needs: Texts,
    /// What becomes of it after its runs.
    pub after_run: AfterRun,
}

impl Desired {
    /// The snapshot of that name in the manifest.
    #[must_use]
    pub fn snapshot(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.name == name)
    }
}

/// What must be read before the desired state of a manifest can be built.
#[must_use]
pub fn reads(manifest: &Manifest) -> Reads {
    let copies: BTreeSet<String> = manifest
        .snapshots
        .values()
        .flat_map(|snapshot| &snapshot.provision)
        .filter_map(|step| step.copy.as_ref())
        .map(|copy| copy.from.clone())
        .collect();
    let git: BTreeSet<GitRead> = manifest
        .droplets
        .values()
        .filter_map(|droplet| droplet.source.as_ref())
        .filter_map(git_read)
        .collect();
    Reads {
        copies: copies.into_iter().collect(),
        git: git.into_iter().collect(),
    }
}

fn git_read(source: &schema::Source) -> Option<GitRead> {
    source.git.as_ref().map(|url| GitRead {
        url: url.clone(),
        reference: source.reference.clone(),
    })
}

/// Decides every name, tag, default and digest.
///
/// # Errors
/// When the manifest contradicts itself in a way its own checks let pass, or something that
/// [`reads`] names is missing in `inputs`.
pub fn desired(manifest: &Manifest, inputs: &Inputs) -> Result<Desired, DesiredError> {
    expand::desired(manifest, inputs)
}

/// Whether some droplet of a manifest mounts a throw-away copy of a volume.
#[must_use]
pub fn has_clones(manifest: &Manifest) -> bool {
    let mut droplets = manifest.droplets.values();
    droplets.any(|droplet| {
        let mut mounts = droplet.volumes.iter();
        mounts.any(|mount| mount.access == schema::Access::Clone)
    })
}

/// The addresses of a droplet of the manifest: one for each instance.
#[must_use]
pub fn instances(name: &str, droplet: &schema::Droplet) -> Vec<Address> {
    expand::addresses(name, droplet)
}

/// Whose resources a manifest speaks of, without what only a plan to create needs.
#[must_use]
pub fn scope(manifest: &Manifest) -> Scope {
    expand::scope(manifest)
}
