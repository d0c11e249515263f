//! Whether guests of a state folder are alive, whoever started them.
//!
//! Each guest's supervisor holds a shared lock on the folder that guests are built in. A guest of
//! a cloud that was killed ends within moments; who comes next waits until its lock is gone.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};

/// Marks a guest as alive until the result is dropped.
pub(in crate::local) fn hold(stage: &Path) -> io::Result<File> {
    let folder = File::open(stage)?;
    flock(&folder, FlockOperation::NonBlockingLockShared)?;
    Ok(folder)
}

/// Whether the cloud process at the other end of a socket is gone.
pub(super) fn has_hung_up(control: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(control, PollFlags::empty())];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // What cannot be asked is taken for alive: the watch over the guest asks again.
    poll(&mut fds, Some(&now)).is_ok() && !fds[0].revents().is_empty()
}

/// Waits until no guest of a state folder is alive; whether that is so in time.
pub(super) fn wait_until_gone(stage: &Path, within: Duration) -> io::Result<bool> {
    let folder = match File::open(stage) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        result => result?,
    };
    let deadline = Instant::now() + within;
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}
