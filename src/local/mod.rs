//! The local cloud: a DigitalOcean API on loopback whose droplets are real guests.

pub mod account;
pub mod catalog;
mod connection;
mod endpoint;
mod error;
pub mod exchange;
pub mod faults;
mod folder;
pub mod guests;
pub mod latency;
pub mod request_log;
mod serve;
mod server;
pub mod service;
pub mod ssh;
pub mod store;
pub mod validate;
mod watch;
mod work;

pub use endpoint::Endpoint;
pub use error::LocalError;

/// First argument that makes this program a guest's supervisor.
pub const SUPERVISOR: &str = "__guest-supervisor";
