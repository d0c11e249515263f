//! A droplet over SSH.
//!
//! In comes an address, a user's key and the host key that must answer there; out come lines of
//! output, exit codes and files. This part knows no cloud.
//!
//! - [`open_key`], [`generate_key_file`]: the user's key; [`derive_host_key`]: the droplets'.
//! - [`Session::connect`], [`Session::run`]: one connection, many commands.
//! - [`resolve_git`], [`sync_git`], [`sync_path`], [`copy_to`]: files to a droplet; [`collect`]:
//!   files from it; [`cp`]: either way, by hand.
//! - [`wait_first_boot`], [`mount_volume`], [`unmount`], [`seal`]: what happens around the runs;
//!   [`scripts`] has their texts.
//!
//! **Invariant:** nothing is sent to a server whose host key is not the pinned one.
//!
//! **Invariant:** no secret stands in a command line, a file on the droplet, a message or a log.
//!
//! **Invariant:** when [`Session::run`] ends without the script having ended, nothing of it runs on.
//!
//! **Invariant:** nothing a droplet sends is written outside the folder it is meant for.

mod background;
mod collect;
mod connect;
mod copy;
pub mod cp;
mod error;
mod exec;
mod git;
mod git_address;
mod git_command;
mod host_key;
mod keys;
pub mod openssh;
mod output;
mod pack;
mod run;
pub mod scripts;
mod setup;
mod shell;
mod sync;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
mod unpack;

pub use background::{Began, Look, Probe, Standing, Start, Watch, write_inventory};
pub use collect::{CollectReport, collect};
pub use connect::{Session, Target, allow_many_connections};
pub use copy::{Copied, copied, copy_digest, copy_to};
pub use error::GuestError;
pub use git::{GitCommit, resolve_git, sync_git};
pub use git_address::without_credentials;
pub use host_key::{HostKey, HostKeyPin, derive_host_key};
pub use keys::{Identity, KeyPair, UserKey, generate_key_file, open_key};
pub use output::{OutputSink, Stream};
pub use run::{Ended, RemoteCommand};
pub use setup::{
    FirstBoot, Mounted, has_run_once, mark_run_once, mount_volume, seal, time_since_boot, unmount,
    wait_first_boot,
};
pub use shell::quote;
pub use sync::{SourceFiles, SyncReport, sync_path, sync_path_as};
pub use tree::Entry;
