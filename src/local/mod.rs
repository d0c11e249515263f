//! The local cloud: a DigitalOcean API on loopback whose droplets are real guests.

pub mod guests;
pub mod ssh;
