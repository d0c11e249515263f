//! dewpoint: declare a snapshot, volumes and single-use droplets; preview, realise, run, destroy.
//!
//! This page is the map. What the program promises its users stands in the README; what each part
//! promises the others stands at the top of its module.
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
//! | part | in | out |
//! | --- | --- | --- |
//! | [`manifest`] | text, values of variables | a checked tree, or every problem at its place |
//! | [`desired`] | manifest, digests of files, commits, the SSH key | every name, tag and digest decided |
//! | [`live`] | what [`cloud`] has read | what exists, as values; whose it is |
//! | [`plan`] | desired, live, now | changes with reasons, steps with edges, cost; or refusals |
//! | [`cloud`] | one call per intent | live values; safe under lost answers, races and limits |
//! | [`store`] | an address of a bucket or a shared folder | objects, created only once |
//! | [`guest`] | an address, a key, a pinned host key | output, exit codes, files |
//! | [`diff`] | two manifests, what their recipes copy | what the step from one to the other would do |
//! | [`execute`] | a plan | events, and what stands in the end |
//! | [`report`] | plans and events | text, JSON, JUnit |
//! | [`cli`] | words | one exit code |
//! | [`local`] | HTTP and SSH, as DigitalOcean gets them | a cloud of guests on this machine |
//!
//! Data flows one way: a module imports only what stands before it. The ground floor ([`address`],
//! [`digest`], [`secret`], [`seemly`], [`times`], [`units`]) imports nothing of ours.
//!
//! # One apply
//!
//! `cli` reads the manifest, opens the SSH key, and asks the account for what exists (`cloud`, a
//! handful of calls whatever the number of resources) while it digests copied files and resolves
//! branches. `plan` compares and draws the steps; [`plan::check`], which shares no code with it,
//! judges them. `execute` walks the steps: each is announced in the journal before anything is done
//! for it. There is no state file: what an environment owns bears its tags from the create call on,
//! so the next plan, on any machine, starts from what is really there.
//!
//! # Invariants
//!
//! - [`manifest`], [`desired`], [`live`], [`plan`] and [`diff`] have no I/O, no clock, no randomness and no
//!   async: these come in as arguments. The same inputs give the same plan, byte for byte.
//! - A plan is executed exactly as it was made; what only execution can know is a typed reference to
//!   the step that will know it.
//! - Only [`report`] and [`cli`] write to the terminal; only [`cloud`] knows HTTP paths; only
//!   [`guest`] knows SSH as a client.
//! - [`local`], the local cloud, shares no wire types with the client of the API, lest one mistake
//!   fit both sides; nothing but the endpoint, the token and the SSH port tells the two clouds apart.
//! - Secrets have no `Display`, `Debug` or `Serialize` that shows them ([`secret::Secret`]).

pub mod address;
pub mod cli;
pub mod cloud;
pub mod desired;
pub mod diff;
pub mod digest;
pub mod execute;
pub mod guest;
pub mod live;
pub mod local;
pub mod manifest;
pub mod plan;
pub mod report;
pub mod secret;
pub mod seemly;
pub mod shared;
pub mod store;
pub mod times;
pub mod units;

#[cfg(test)]
mod tried;
