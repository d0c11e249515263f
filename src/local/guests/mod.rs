//! Guests: what the local cloud's droplets really are.
//!
//! What comes in: a [`BootSpec`]. What goes out: a running guest, reachable over SSH.
//!
//! **Invariant:** guests, mounts and loop devices never outlive the cloud process.

mod exec;

pub use exec::{Exit, GuestExec, GuestProcess, ProcessRequest, PtyRequest};
