//! The SSH server in front of each guest: part of the cloud process, so that a guest needs neither
//! a daemon nor a network to be reached.
//!
//! It behaves as sshd does where that matters: a command without a terminal goes on when its
//! client goes away, output is complete before the channel closes, signals reach the whole group.

mod server;
mod session;

pub use server::{fresh_host_key, serve};
