//! The local cloud: a DigitalOcean API on loopback whose droplets are real guests.
//!
//! What comes in: HTTP requests of any client of that API. What goes out: its answers, guests one
//! can log in to, and a state folder from which all of it comes back after a restart.
//! [`service`] starts, finds and stops it; [`account`] is what it is.
//!
//! **Invariants:** it listens on loopback only, for whoever has its token; it shares no wire types
//! with the client, lest one mistake fit both sides; nothing that runs outlives its process; a
//! state folder is only ever removed if it bears our mark.

pub mod account;
pub mod catalog;
mod connection;
mod endpoint;
mod error;
pub mod exchange;
pub mod faults;
mod folder;
#[cfg(all(target_os = "linux", feature = "guests"))]
pub mod guests;
pub mod latency;
#[cfg(all(target_os = "linux", feature = "guests"))]
pub mod machines;
pub mod request_log;
pub mod seam;
mod serve;
mod server;
pub mod service;
pub mod ssh;
pub mod store;
#[cfg(all(target_os = "linux", feature = "guests"))]
pub mod tiers;
#[cfg(not(all(target_os = "linux", feature = "guests")))]
#[path = "no_tiers.rs"]
pub mod tiers;
pub mod validate;
mod watch;
mod work;

pub use endpoint::Endpoint;
pub use error::LocalError;

/// First argument that makes this program a guest's supervisor.
pub const SUPERVISOR: &str = "__guest-supervisor";
