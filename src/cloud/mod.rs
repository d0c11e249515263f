//! DigitalOcean over HTTP: intents in, [`crate::live`] values out.
//!
//! What comes in: an endpoint, a token, and one method call per intent. What goes out: the state of
//! the account ([`observe`]) and of what was made, as values of [`crate::live`].
//!
//! **Invariants:**
//! - Every request is a [`request::Call`] before it is sent; only [`request`] knows paths and bodies.
//! - The token stands in one header of the transport, marked sensitive, and in no error or output.
//! - A create whose answer was lost is looked up before it is tried again; each method may be
//!   called again after any failure.
//! - Behind a [`Fence`], nothing that changes the account is sent once it has closed.
//! - Nothing here knows which cloud answers: no fixed waits, only polls that begin fast and slow
//!   down, or go by what was waited for before ([`timing::Timing`], [`waits`]).
//! - Wire types stay inside; statuses, slugs and actions are open sets and stay strings.

mod account;
mod actions;
mod budget;
mod checkup;
mod client;
mod droplet_create;
mod droplet_life;
mod droplet_look;
pub mod droplets;
pub mod error;
mod fence;
mod firewalls;
mod gate;
mod hold;
mod images;
mod observe;
mod observe_account;
mod pages;
mod patience;
mod rate_limit;
pub mod request;
mod retry;
mod ssh_keys;
mod tags;
pub mod timing;
mod transport;
mod urgency;
mod volume_snapshots;
mod volumes;
mod wait;
mod waits;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use budget::{BadBudget, Budget};
pub use checkup::{Checkup, checkup};
pub use client::{Client, ClientNotice, Config};
pub use droplet_life::Destroyed;
pub use droplets::{DropletImage, NewDroplets, Sighting, Witness};
pub use error::{CloudError, Refusal};
pub use fence::{Fence, fenced_by};
pub use hold::HoldPolls;
pub use observe::{Query, droplets_of, observe};
pub use observe_account::observe_account;
pub use timing::Timing;
pub(crate) use transport::install_crypto;
pub use urgency::for_chain;
pub use waits::Wait;
