//! What exists, as values: read by `cloud::observe`, compared by `plan`.
//!
//! What comes in: one observation of the account. What goes out: the resources that belong to this
//! project and environment ([`ownership`]), and what the account offers ([`catalog`]).
//!
//! **Invariant:** no I/O, no clock. Open sets of the API (statuses, slugs) stay strings.

mod account_wide;
pub mod catalog;
pub mod claims;
pub mod ownership;
mod resources;

pub use account_wide::AccountWide;
pub use catalog::{Catalog, ImageOffer, RegionOffer, SizeOffer};
pub use resources::{
    Account, DropletStatus, FirewallRule, Live, LiveDroplet, LiveFirewall, LiveImage, LiveSshKey,
    LiveVolume, LiveVolumeSnapshot,
};
