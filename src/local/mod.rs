//! The local cloud: a DigitalOcean API on loopback whose droplets are real guests.

pub mod guests;
pub mod ssh;
mod watch;

/// First argument that makes this program a guest's supervisor.
pub const SUPERVISOR: &str = "__guest-supervisor";
