//! Steps: the closed set of things a plan can do, each holding all it needs.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
pub use crate::desired::spec::{
    BackgroundSpec, FirewallSpec, ProbeSpec, ProvisionStep, ReadySpec, RunSpec, SourceSpec,
    VolumeSpec, VolumeUse,
};
use crate::manifest::schema::{Filesystem, HostKeyPolicy};
use crate::shared::{Shared, Texts};
use crate::units::{Gib, Seconds};

/// Position of a step in its plan.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its position in the plan.
    pub id: StepId,
    /// The resource it belongs to.
    pub address: Address,
    /// What it does.
    pub kind: StepKind,
    /// Whether it only removes what the plan itself calls ephemeral: such steps run even after an
    /// interrupt.
    pub cleanup: bool,
    /// How long it is expected to take, in seconds.
    pub expected_seconds: u64,
}

/// What must come before what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Edge {
    /// The step that comes first.
    pub from: StepId,
    /// The step that waits.
    pub to: StepId,
    /// How it waits.
    pub kind: EdgeKind,
    /// Why, as in `the volume must be attached before it is mounted`.
    // A plan has several edges a step, and few reasons: those of the planner are borrowed.
    pub reason: Cow<'static, str>,
}

/// How a step waits for another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// The other must have succeeded, else this one is skipped.
    Needs,
    /// The other must only have ended: done, failed or skipped.
    After,
}

/// A droplet, known now or once a step has made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropletRef {
    /// It exists.
    Known {
        /// Its id.
        id: u64,
        /// Its name.
        // All steps of a droplet hold it.
        name: Shared<str>,
    },
    /// A `CreateDroplets` step makes it.
    Created {
        /// Which step.
        step: StepId,
        /// Its name, one of those the step makes.
        name: Shared<str>,
    },
}

impl DropletRef {
    /// The droplet's name on DigitalOcean.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known { name, .. } | Self::Created { name, .. } => name,
        }
    }
}

/// A volume, known now or once a step has made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeRef {
    /// It exists.
    Known {
        /// Its id.
        id: String,
    },
    /// A `CreateVolume` or `CloneVolume` step makes it.
    Created {
        /// Which step.
        step: StepId,
    },
}

/// An image, known now or once a step has made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageRef {
    /// A public image.
    Slug(String),
    /// A private image that exists.
    Id(u64),
    /// A `TakeSnapshot` step makes it.
    Taken(StepId),
}

/// A firewall, known now or once a step has made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirewallRef {
    /// It exists.
    Known(String),
    /// A `CreateFirewall` step makes it.
    Created(StepId),
}

/// What droplets of one shape shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DropletSpec {
    /// Their region.
    pub region: String,
    /// Their size.
    pub size: String,
    /// What they are made from.
    pub image: ImageRef,
    /// Their tags, sorted.
    pub tags: Vec<String>,
    /// Fingerprint (MD5, colons) of the SSH key they are made with.
    pub ssh_key_fingerprint: String,
    /// The user who logs in.
    pub user: String,
    /// How their host key is checked; with `derived` it is put into their user data at execution.
    pub host_key: HostKeyPolicy,
}

/// A droplet that a step makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewDroplet {
    /// Its address.
    pub address: Address,
    /// Its name.
    pub name: Shared<str>,
}

/// Where a droplet stands among those that a step makes, sought from a position on: whoever asks for
/// one mostly asks for the next one next.
pub(super) fn position_of(
    droplets: &[NewDroplet],
    name: &Shared<str>,
    from: usize,
) -> Option<usize> {
    let from = from.min(droplets.len());
    let mut positions = (from..droplets.len()).chain(0..from);
    // The steps of a plan that was just made share names: then none is read.
    let shared = positions
        .clone()
        .find(|at| droplets[*at].name.is_same(name));
    shared.or_else(|| positions.find(|at| droplets[*at].name == *name))
}

/// A droplet as the inventory names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InventoryDroplet {
    /// Its address.
    pub address: Address,
    /// The name other droplets reach it by, such as `server` or `worker-1`.
    pub host: String,
    /// Which one.
    pub droplet: DropletRef,
}

/// What a step does. Closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepKind {
    /// Registers the environment's public key. A key that is already there is used.
    CreateSshKey {
        /// Its name.
        name: String,
        /// The public key, as a line.
        public_key: String,
        /// Its MD5 fingerprint, colon-separated.
        fingerprint: String,
    },
    /// Removes the environment's key from the account.
    DeleteSshKey {
        /// Its name: a key of another name is not ours.
        name: String,
        /// Its MD5 fingerprint.
        fingerprint: String,
        /// Whether the generated pair on this side goes too.
        forget_private_key: bool,
    },
    /// Makes tags that other creates name.
    CreateTags {
        /// Their names, sorted.
        names: Vec<String>,
    },
    /// Removes tags that hold nothing any more.
    DeleteTags {
        /// Their names, sorted. One that still holds a resource is left.
        names: Vec<String>,
    },
    /// Makes the firewall.
    CreateFirewall {
        /// What it shall be.
        spec: Box<FirewallSpec>,
    },
    /// Replaces the firewall's rules and tags.
    UpdateFirewall {
        /// Its id.
        id: String,
        /// What it shall be.
        spec: Box<FirewallSpec>,
    },
    /// Deletes the firewall.
    DeleteFirewall {
        /// Which one.
        firewall: FirewallRef,
        /// Its name.
        name: String,
    },
    /// Makes a volume.
    CreateVolume {
        /// What it shall be.
        spec: VolumeSpec,
    },
    /// Grows a volume. The file system grows when it is next mounted.
    ResizeVolume {
        /// Its id.
        id: String,
        /// Its region.
        region: String,
        /// Its size after.
        to: Gib,
    },
    /// Deletes a volume with all it holds.
    DeleteVolume {
        /// Which one. One that its create never made is no error.
        volume: VolumeRef,
        /// Its name.
        name: Shared<str>,
        /// What goes beside what it holds.
        #[serde(default)]
        sort: DeletedVolume,
    },
    /// Sees to it that there is a snapshot of what a volume holds: the one there is while nothing has
    /// changed since, else one that is taken.
    SnapshotVolume {
        /// Which volume. Nothing may have it.
        volume: VolumeRef,
        /// Its name on DigitalOcean: that of the snapshot begins with it.
        volume_name: Shared<str>,
        /// Tags of the snapshot, sorted; one that tells it from others is added.
        tags: Texts,
        /// The one there was when the plan was made, by its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<Shared<str>>,
    },
    /// Makes a throw-away copy of a volume.
    CloneVolume {
        /// The `SnapshotVolume` step that knows what it is made from.
        snapshot: StepId,
        /// The volume's name in the manifest.
        of: Shared<str>,
        /// What the copy shall be.
        spec: VolumeSpec,
    },
    /// Takes note, in its tags, of what a volume holds. It makes the tags that it gives.
    TagVolume {
        /// Which volume.
        volume: VolumeRef,
        /// Tags to give, sorted.
        add: Vec<String>,
        /// Tags to take, sorted.
        remove: Vec<String>,
    },
    /// Deletes a snapshot of a volume.
    DeleteVolumeSnapshot {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Gives or takes tags of a resource.
    UpdateTags {
        /// `droplet`, `volume` or `image`.
        resource: TaggedResource,
        /// Its id as text.
        id: String,
        /// Tags to give, sorted.
        add: Vec<String>,
        /// Tags to take, sorted.
        remove: Vec<String>,
    },
    /// Makes up to ten droplets of one shape in one call, and waits until they are active.
    CreateDroplets {
        /// Their shape.
        // In a box, as the other large ones: a plan has many steps, most of them small.
        spec: Box<DropletSpec>,
        /// Which ones.
        droplets: Vec<NewDroplet>,
    },
    /// Logs in, with the pinned host key, and waits until the first boot is over.
    Connect {
        /// Which droplet.
        droplet: DropletRef,
        /// The user who logs in.
        user: Shared<str>,
        /// How the host key is checked.
        host_key: HostKeyPolicy,
    },
    /// Does one step of a recipe on the builder.
    Provision {
        /// The builder.
        droplet: DropletRef,
        /// Which step of the recipe, from 1.
        number: u32,
        /// Of how many.
        of: u32,
        /// What it does.
        step: Box<ProvisionStep>,
    },
    /// Cleans the builder for its snapshot and powers it off.
    PowerOff {
        /// The builder.
        droplet: DropletRef,
    },
    /// Takes a snapshot of the builder and waits until it is available.
    TakeSnapshot {
        /// The builder.
        droplet: DropletRef,
        /// The snapshot's name.
        name: String,
    },
    /// Tags the snapshot: from here on it counts.
    TagSnapshot {
        /// The snapshot.
        image: ImageRef,
        /// Its tags, sorted.
        tags: Vec<String>,
    },
    /// Copies a snapshot to a further region and waits until it is there.
    Transfer {
        /// The snapshot.
        image: ImageRef,
        /// Slug of the region.
        region: String,
    },
    /// Deletes an old snapshot.
    Prune {
        /// Its id.
        id: u64,
        /// Its name.
        name: String,
    },
    /// Attaches a volume to a droplet. Unless it is a throw-away copy, or someone's own, snapshots of
    /// it no longer count as what it holds from then on.
    Attach {
        /// The volume.
        volume: VolumeRef,
        /// The droplet.
        droplet: DropletRef,
        /// Their region.
        region: Shared<str>,
    },
    /// Makes the file system while the volume is blank, grows it when it is short, and mounts it.
    Mount {
        /// The droplet.
        droplet: DropletRef,
        /// The volume's name on DigitalOcean: it names the device in the guest.
        volume_name: Shared<str>,
        /// The file system it has or gets.
        filesystem: Filesystem,
        /// Where it is mounted.
        path: Shared<str>,
        /// What may be done to it first.
        #[serde(default)]
        usage: VolumeUse,
    },
    /// Gathers the names and addresses of the environment's droplets, once they are made.
    Gather {
        /// The droplets, sorted by address.
        droplets: Vec<InventoryDroplet>,
    },
    /// Makes a droplet ready for its runs: the inventory and the names of the others are written,
    /// and background steps that the manifest no longer has are stopped.
    Prepare {
        /// The droplet.
        droplet: DropletRef,
        /// The `Gather` step.
        inventory: StepId,
        /// Names of its background steps.
        background: Vec<Shared<str>>,
    },
    /// Brings the source onto the droplet.
    Sync {
        /// The droplet.
        droplet: DropletRef,
        /// What.
        source: Shared<SourceSpec>,
    },
    /// Runs a run step to its end; one in the background until it is ready.
    Run {
        /// The droplet.
        droplet: DropletRef,
        /// What.
        run: Shared<RunSpec>,
    },
    /// Brings artifacts back, and the log of a background step, and tells if that failed meanwhile.
    Collect {
        /// The droplet.
        droplet: DropletRef,
        /// The run step they belong to.
        run: Shared<str>,
        /// The folder the patterns are relative to; the user's home when there is no source.
        cwd: Option<Shared<str>>,
        /// The patterns.
        patterns: Texts,
        /// For a background step: its log comes too, and that it failed meanwhile is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        background: Option<CollectLog>,
    },
    /// Stops every background step on a droplet with all it started.
    StopBackground {
        /// The droplet.
        droplet: DropletRef,
    },
    /// Unmounts a volume and flushes it.
    Unmount {
        /// The droplet.
        droplet: DropletRef,
        /// Where it is mounted.
        path: Shared<str>,
    },
    /// Detaches a volume.
    Detach {
        /// The volume.
        volume: VolumeRef,
        /// The droplet.
        droplet: DropletRef,
        /// Their region.
        region: Shared<str>,
    },
    /// Destroys a droplet and waits until it is gone.
    DestroyDroplet {
        /// Which one. One that its create never made is no error.
        droplet: DropletRef,
        /// The environment's tag or the builder's: with the name it finds a droplet whose create answer was lost.
        tag: Shared<str>,
    },
    /// Sees to a droplet that a failure kept from being destroyed: gives it a deadline, says how it
    /// is reached. Does nothing for one that is gone.
    KeepDroplet {
        /// Which one. One that its create never made is no error.
        droplet: DropletRef,
        /// How long it is kept from then on; its lease stays as it was when absent.
        keep: Option<Seconds>,
        /// The environment's tag: with the name it finds the droplet's other tags.
        tag: Shared<str>,
    },
}

/// What is brought back of a background step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CollectLog {
    /// Whether it is no failure of the whole when the step failed meanwhile.
    pub allow_failure: bool,
}

/// What goes with a volume that is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletedVolume {
    /// Only what it holds: the plan knows of all snapshots of it.
    #[default]
    Alone,
    /// Snapshots of it too, as far as they are the project's.
    WithSnapshots,
    /// It is a throw-away copy of another.
    Clone,
}

/// The kinds of resource that bear tags.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaggedResource {
    /// A droplet.
    Droplet,
    /// A volume.
    Volume,
    /// A snapshot of a droplet.
    Image,
}

impl StepKind {
    /// The one droplet it works on, if it works on one that is there by then.
    #[must_use]
    pub const fn droplet(&self) -> Option<&DropletRef> {
        match self {
            Self::Connect { droplet, .. }
            | Self::Provision { droplet, .. }
            | Self::PowerOff { droplet }
            | Self::TakeSnapshot { droplet, .. }
            | Self::Attach { droplet, .. }
            | Self::Mount { droplet, .. }
            | Self::Prepare { droplet, .. }
            | Self::Sync { droplet, .. }
            | Self::Run { droplet, .. }
            | Self::Collect { droplet, .. }
            | Self::StopBackground { droplet }
            | Self::Unmount { droplet, .. }
            | Self::Detach { droplet, .. }
            | Self::DestroyDroplet { droplet, .. }
            | Self::KeepDroplet { droplet, .. } => Some(droplet),
            Self::CreateSshKey { .. }
            | Self::DeleteSshKey { .. }
            | Self::CreateTags { .. }
            | Self::DeleteTags { .. }
            | Self::CreateFirewall { .. }
            | Self::UpdateFirewall { .. }
            | Self::DeleteFirewall { .. }
            | Self::CreateVolume { .. }
            | Self::ResizeVolume { .. }
            | Self::DeleteVolume { .. }
            | Self::SnapshotVolume { .. }
            | Self::CloneVolume { .. }
            | Self::DeleteVolumeSnapshot { .. }
            | Self::UpdateTags { .. }
            | Self::CreateDroplets { .. }
            | Self::TagSnapshot { .. }
            | Self::TagVolume { .. }
            | Self::Transfer { .. }
            | Self::Prune { .. }
            | Self::Gather { .. } => None,
        }
    }

    /// What it is called in output: `create droplet`, `provision 2/5 python packages`.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::CreateSshKey { .. } => "create ssh_key".to_owned(),
            Self::DeleteSshKey { .. } => "delete ssh_key".to_owned(),
            Self::CreateTags { .. } => "create tags".to_owned(),
            Self::DeleteTags { .. } => "delete tags".to_owned(),
            Self::CreateFirewall { .. } => "create firewall".to_owned(),
            Self::UpdateFirewall { .. } => "update firewall".to_owned(),
            Self::DeleteFirewall { .. } => "delete firewall".to_owned(),
            Self::CreateVolume { .. } => "create volume".to_owned(),
            Self::ResizeVolume { .. } => "resize volume".to_owned(),
            Self::DeleteVolume {
                sort: DeletedVolume::Clone,
                ..
            } => "delete clone".to_owned(),
            Self::DeleteVolume { .. } => "delete volume".to_owned(),
            Self::SnapshotVolume { found: Some(_), .. } => "reuse snapshot".to_owned(),
            Self::SnapshotVolume { .. } => "take snapshot".to_owned(),
            Self::TagVolume { .. } => "tag volume".to_owned(),
            Self::CloneVolume { of, .. } => format!("clone {of}"),
            Self::DeleteVolumeSnapshot { .. } => "delete snapshot".to_owned(),
            Self::UpdateTags { .. } => "update tags".to_owned(),
            Self::CreateDroplets { droplets, .. } if droplets.len() == 1 => {
                "create droplet".to_owned()
            }
            Self::CreateDroplets { droplets, .. } => format!("create {} droplets", droplets.len()),
            Self::Connect { .. } => "connect".to_owned(),
            Self::Provision {
                number, of, step, ..
            } => format!("provision {number}/{of} {}", step.name()),
            Self::PowerOff { .. } => "power off".to_owned(),
            Self::TakeSnapshot { .. } => "take snapshot".to_owned(),
            Self::TagSnapshot { .. } => "tag snapshot".to_owned(),
            Self::Transfer { region, .. } => format!("transfer to {region}"),
            Self::Prune { name, .. } => format!("prune {name}"),
            Self::Attach { .. } => "attach".to_owned(),
            Self::Mount { path, .. } => format!("mount {path}"),
            Self::Sync { .. } => "sync".to_owned(),
            Self::Gather { .. } => "gather inventory".to_owned(),
            Self::Prepare { .. } => "prepare".to_owned(),
            Self::Run { run, .. } if run.background.is_some() => format!("start {}", run.name),
            Self::Run { run, .. } => format!("run {}", run.name),
            Self::Collect { run, patterns, .. } if patterns.is_empty() => {
                format!("collect log of {run}")
            }
            Self::Collect { run, .. } => format!("collect artifacts of {run}"),
            Self::StopBackground { .. } => "stop background steps".to_owned(),
            Self::Unmount { path, .. } => format!("unmount {path}"),
            Self::Detach { .. } => "detach".to_owned(),
            Self::DestroyDroplet { .. } => "destroy droplet".to_owned(),
            Self::KeepDroplet { .. } => "keep after a failure".to_owned(),
        }
    }
}
