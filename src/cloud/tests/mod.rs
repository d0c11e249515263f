//! The client against a real HTTP server that answers as each test says.

mod creates;
mod hostile;
mod images;
mod keys_and_tags;
mod observing;
mod sending;
mod server;
mod volume_snapshots;
mod volumes;

pub(super) use server::{client_of, quick};
