//! The SSH client against a real SSH server on loopback that runs local processes.

mod connect;
mod run;
mod server;
