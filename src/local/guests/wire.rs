//! What the cloud process and a guest's init say to each other: one JSON message a packet, file
//! descriptors beside it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cgroups::Groups;

/// The largest message: command lines of SSH clients stay far below it.
const MESSAGE_BYTES: usize = 192 * 1024;
/// The most descriptors in one message: three standard streams.
const MESSAGE_FDS: usize = 4;

/// How a guest is set up, the first message to its supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    /// Folder on which the supervisor stages its private mounts.
    pub stage: String,
    /// Folder of the droplet: holds `rw/PART/{upper,work}`.
    pub droplet: String,
    /// Layers below, newest first; each holds a folder for each part.
    pub layers: Vec<String>,
    /// The base: skeleton, `etc`, `var` and what is laid over the host's `/usr`.
    pub base: String,
    /// The folder that is `/usr` below everything.
    pub usr: String,
    /// First id of the range the guest's users are mapped to.
    pub shift: u32,
    /// Host name.
    pub hostname: String,
    /// Lines of root's authorized keys, written at first boot.
    pub authorized_keys: Vec<String>,
    /// Whether the droplet boots for the first time.
    pub first_boot: bool,
    /// Further environment of every process, such as a proxy's address.
    pub env: Vec<(String, String)>,
    /// Text of /etc/motd.
    pub motd: String,
    /// Its control groups; with a delegated one its process 1 is systemd.
    pub groups: Groups,
}

/// From the cloud process to init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToGuest {
    /// Start a process; without a pty its three streams come along.
    Exec {
        id: u64,
        command: Option<String>,
        env: Vec<(String, String)>,
        pty: Option<(String, u16, u16)>,
    },
    /// Send a signal to a process's group.
    Signal { id: u64, signal: i32 },
    /// Move the mount that comes along to a path, for the shim that asked.
    Mount { reply: String, path: String },
    /// A shim's request was refused.
    Refuse { reply: String, message: String },
    /// Open a socket in the guest's network: 4 or 6.
    Socket { id: u64, family: u8 },
    /// Listen on the guest's loopback, and hand the socket out.
    Listen { id: u64, port: u16 },
    /// Make the guest's interface on the private network, and hand its other end out.
    Join {
        id: u64,
        name: String,
        address: Ipv4Addr,
        mask: Ipv4Addr,
    },
    /// Shut down in good order, if anyone inside listens.
    ShutDown,
    /// End everything.
    PowerOff,
}

/// From init, and first from its supervisor, to the cloud process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromGuest {
    /// Init's process id, as the host sees it; the guest's /dev comes along.
    Born { pid: i32 },
    /// The guest is up.
    Ready,
    /// It could not be set up.
    Broken { message: String },
    /// The process runs; its terminal comes along when it has one.
    Started { id: u64 },
    /// It could not be started.
    NotStarted { id: u64, errno: i32 },
    /// It ended.
    Exited {
        id: u64,
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// The socket that was asked for comes along.
    Socket { id: u64 },
    /// It cannot be had.
    NoSocket { id: u64, errno: i32 },
    /// A shim wants a volume mounted.
    Mount {
        reply: String,
        device: String,
        path: String,
        options: String,
    },
    /// The guest has ended; the last word of its supervisor.
    Ended { end: Ending },
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ending {
    /// Its process 1 powered it off.
    PoweredOff,
    /// Its process 1 wants it to start again.
    Restarts,
    /// It was ended from outside, or its process 1 failed.
    Stopped,
}

/// Sends a message.
pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES {
        return Err(std::io::ErrorKind::ArgumentListTooLong.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a message; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> std::io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(Some((
        serde_json::from_slice(&bytes[..received.bytes])?,
        fds,
    )))
}
