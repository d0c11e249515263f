//! dewpoint: declare a snapshot, a volume and single-use droplets; preview, realise, run, destroy.
#![forbid(clippy::todo, clippy::unimplemented, clippy::dbg_macro)]

pub mod address;
pub mod cli;
pub mod cloud;
pub mod desired;
pub mod digest;
pub mod execute;
pub mod guest;
pub mod live;
pub mod local;
pub mod manifest;
pub mod plan;
pub mod report;
pub mod secret;
pub mod units;
