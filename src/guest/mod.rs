//! A droplet over SSH.
//!
//! In comes an address, a user's key and the host key that must answer there; out come lines of
//! output, exit codes and files. This part knows no cloud.
//!
//! - [`open_key`], [`generate_key_file`]: the user's key; [`derive_host_key`]: the droplets'.
//! - [`Session::connect`], [`Session::run`]: one connection, many commands.
//! - [`scripts`]: what dewpoint itself runs on a droplet, as text.
//!
//! **Invariant:** nothing is sent to a server whose host key is not the pinned one.
//!
//! **Invariant:** no secret stands in a command line, a file on the droplet, a message or a log.
//!
//! **Invariant:** when [`Session::run`] ends without the script having ended, nothing of it runs on.
//!
//! **Invariant:** nothing a droplet sends is written outside the folder it is meant for.

mod connect;
mod error;
mod exec;
mod host_key;
mod keys;
mod output;
mod run;
mod shell;
#[cfg(test)]
mod tests;

pub use connect::{Session, Target};
pub use error::GuestError;
pub use host_key::{HostKey, HostKeyPin, derive_host_key};
pub use keys::{Identity, KeyPair, UserKey, generate_key_file, open_key};
pub use output::{OutputSink, Stream};
pub use run::{Ended, RemoteCommand};
pub use shell::quote;
