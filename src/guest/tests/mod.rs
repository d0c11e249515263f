//! The SSH client against a real SSH server on loopback that runs local processes.

mod background;
mod collect;
mod connect;
mod copy;
mod cp;
mod faults;
mod git;
mod run;
mod scripts;
pub(crate) mod server;
mod sync;
