//! The client against a real HTTP server that answers as each test says.

mod creates;
mod hostile;
mod hurried;
mod images;
mod keys_and_tags;
mod observing;
mod pace;
mod sending;
pub(crate) mod server;
pub(crate) mod simulated;
mod volume_snapshots;
mod volumes;

pub(super) use server::{client_of, quick};
