//! Why a manifest cannot be made a desired state.

use miette::Diagnostic;

use crate::address::Address;

/// Why a manifest cannot be made a desired state. Most of these are found earlier, with the place
/// in the manifest, by its checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum DesiredError {
    /// A snapshot that is named is not there.
    #[error("{by} is made from snapshot `{name}`, which the manifest does not have")]
    #[diagnostic(
        code(dewpoint::desired::unknown_snapshot),
        help("add it under `snapshots`, or name an image's slug")
    )]
    UnknownSnapshot {
        /// Who names it.
        by: Address,
        /// Its name.
        name: String,
    },
    /// Snapshots are made from one another in a circle.
    #[error("{0} is made from itself, by way of others")]
    #[diagnostic(
        code(dewpoint::desired::snapshot_cycle),
        help("let one of them start `from` an image's slug")
    )]
    SnapshotCycle(Address),
    /// A volume that is mounted is not there.
    #[error("{by} mounts volume `{name}`, which the manifest does not have")]
    #[diagnostic(
        code(dewpoint::desired::unknown_volume),
        help("add it under `volumes`")
    )]
    UnknownVolume {
        /// Who mounts it.
        by: Address,
        /// Its name.
        name: String,
    },
    /// A volume has no size.
    #[error("{0} has no size")]
    #[diagnostic(
        code(dewpoint::desired::volume_without_size),
        help("give it a `size`, such as `10GiB`")
    )]
    VolumeWithoutSize(Address),
    /// A step of a recipe has neither or both of `run` and `copy`.
    #[error("step {number} of {address} must have exactly one of `run` and `copy`")]
    #[diagnostic(
        code(dewpoint::desired::provision_shape),
        help("write one step for each thing to do")
    )]
    ProvisionShape {
        /// The snapshot.
        address: Address,
        /// Which step, from 1.
        number: usize,
    },
    /// A source has neither or both of `git` and `path`.
    #[error("the source of droplet.{0} must have exactly one of `git` and `path`")]
    #[diagnostic(
        code(dewpoint::desired::source_shape),
        help("keep the one that is meant")
    )]
    SourceShape(String),
    /// What `reads` asked for was not read.
    #[error("`{0}` was not read")]
    #[diagnostic(
        code(dewpoint::desired::not_read),
        help("this is a fault of dewpoint: report it")
    )]
    NotRead(String),
    /// Two resources would have one name.
    #[error("{first} and {second} would both be called `{name}`")]
    #[diagnostic(
        code(dewpoint::desired::same_name),
        help("rename one of them in the manifest")
    )]
    SameName {
        /// One of them.
        first: Address,
        /// The other.
        second: Address,
        /// The name.
        name: String,
    },
    /// A name is longer than DigitalOcean takes.
    #[error("{address} would be called `{name}`, longer than {max} characters")]
    #[diagnostic(
        code(dewpoint::desired::name_too_long),
        help("shorten the project's, the environment's or its own name")
    )]
    NameTooLong {
        /// Whose name.
        address: Address,
        /// The name.
        name: String,
        /// The longest there may be.
        max: usize,
    },
}
