//! Descriptors that are waited for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Watches a descriptor with the runtime; it becomes non-blocking.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, for as long as the watch lives.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
