//! What can go wrong with guests.

use miette::Diagnostic;
use thiserror::Error;

/// What can go wrong with guests.
#[derive(Debug, Error, Diagnostic)]
pub enum GuestError {
    /// A system call or file operation failed.
    #[error("{what}")]
    #[diagnostic(code(dewpoint::local::guest_io))]
    Io {
        /// What was being done, for which droplet or volume.
        what: String,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// The guest could not be set up.
    #[error("droplet {droplet} did not boot: {message}")]
    #[diagnostic(
        code(dewpoint::local::guest_boot),
        help("look at cloud.log in the local cloud's folder")
    )]
    Boot {
        /// Which droplet.
        droplet: u64,
        /// What init or its supervisor said.
        message: String,
    },
    /// No such droplet, image or volume here.
    #[error("{what} does not exist")]
    #[diagnostic(code(dewpoint::local::guest_missing))]
    Missing {
        /// Which one.
        what: String,
    },
    /// The host key in a droplet's user data cannot be read.
    #[error("the user data of droplet {droplet} has no usable ed25519 host key")]
    #[diagnostic(code(dewpoint::local::guest_host_key))]
    HostKey {
        /// Which droplet.
        droplet: u64,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl GuestError {
    pub(in crate::local) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}
