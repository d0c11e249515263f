//! dewpoint: declare a snapshot, volumes and single-use droplets; preview, realise, run, destroy.
//!
//! # How data flows
//!
//! ```text
//! manifest ─► desired ─┐
//!                      ├─► plan (a DAG of steps) ─► execute ─► events ─► report
//! cloud    ─► live ────┘                             │
//!                                                    ├─► cloud (HTTP)
//!                                                    └─► guest (SSH)
//! ```
//!
//! Data flows one way: a module imports only what stands before it. The ground floor ([`address`],
//! [`digest`], [`secret`], [`units`]) imports nothing of ours.
//!
//! # Invariants
//!
//! - [`manifest`], [`live`] and [`plan`] have no I/O, no clock, no randomness: these come in as
//!   arguments.
//! - Only [`report`] (and the command line) write to the terminal; only `guest` knows SSH as a
//!   client.
//! - [`local`], the local cloud, shares no wire types with the client of the API, lest one mistake
//!   fit both sides.
//! - Secrets have no `Display`, `Debug` or `Serialize` that shows them ([`secret::Secret`]).

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
