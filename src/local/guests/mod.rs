//! Guests: what the local cloud's droplets really are.
//!
//! What comes in: a [`BootSpec`]. What goes out: a running guest, reachable over SSH: its own
//! user, mount, process, host name, IPC, cgroup and network namespaces over an overlay of the
//! host's root. It protects against accidents, not against hostile code: there is one kernel.
//!
//! A guest is three processes: its supervisor outside of it, its agent half inside, its process 1
//! (systemd where that can be) inside. See `supervisor`, `agent`, `init`.
//!
//! **Invariant:** guests, mounts and loop devices never outlive the cloud process: the supervisor
//! ends the guest when the socket closes, the mounts live in the guest's namespace alone, loop
//! devices clear themselves.

mod agent;
mod base;
mod cgroups;
pub(super) mod files;
mod guest;
mod host;
mod image;
mod init;
mod interface;
pub(super) mod living;
mod loop_device;
mod network;
mod probe;
mod proxy;
mod shims;
mod supervisor;
mod sys;
mod systemd;
mod volumes;
mod wire;

pub(super) use base::Release;
pub use host::{GuestHost, Options};
pub(super) use image::describe_as;
pub use image::describe_image;
pub use probe::probe;
pub use supervisor::supervisor_main;

pub use super::seam::{
    BootSpec, Exit, GuestError, GuestExec, GuestImage, GuestProcess, Known, Limits, Probe,
    ProcessRequest, PtyRequest, Tier,
};
use super::seam::{error, exec};
