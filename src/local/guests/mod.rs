//! Guests: what the local cloud's droplets really are.
//!
//! What comes in: a [`BootSpec`]. What goes out: a running guest, reachable over SSH: its own
//! user, mount, process, host name, IPC, cgroup and network namespaces over an overlay of the
//! host's root. It protects against accidents, not against hostile code: there is one kernel.
//!
//! **Invariant:** guests, mounts and loop devices never outlive the cloud process: init ends when
//! its socket closes, the mounts live in its namespace alone, loop devices clear themselves.

mod base;
mod error;
mod exec;
mod guest;
mod host;
mod init;
mod probe;
mod proxy;
mod shims;
mod supervisor;
mod sys;
mod volumes;
mod wire;

pub use error::GuestError;
pub use exec::{Exit, GuestExec, GuestProcess, ProcessRequest, PtyRequest};
pub use host::{BootSpec, GuestHost, GuestImage};
pub use probe::{Probe, Tier, probe};
pub use supervisor::supervisor_main;
