//! The seam between the SSH server and a guest: start a process, talk to it, learn how it ended.

use std::os::fd::OwnedFd;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

/// A process to start inside a guest.
#[derive(Debug, Clone)]
pub struct ProcessRequest {
    /// A command line for `sh -c` of the user's shell; `None` starts a login shell.
    pub command: Option<String>,
    /// Environment the SSH client asked for, added to the guest's own.
    pub env: Vec<(String, String)>,
    /// A terminal, when the client asked for one.
    pub pty: Option<PtyRequest>,
}

/// The terminal a client asked for.
#[derive(Debug, Clone)]
pub struct PtyRequest {
    /// Value of `TERM`.
    pub term: String,
    /// Width in character cells.
    pub columns: u16,
    /// Height in character cells.
    pub rows: u16,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Code(i32),
    /// A signal with this number ended it.
    Signal(i32),
}

/// A process that runs inside a guest. The file descriptors are pipes (or one pty master, cloned).
///
/// Dropping it closes the pipes; it does not kill the process: like sshd without a pty, a command
/// goes on when its client goes away.
#[derive(Debug)]
pub struct GuestProcess {
    /// Write end of the process's standard input (with a pty: the master).
    pub stdin: OwnedFd,
    /// Read end of its standard output (with a pty: the master).
    pub stdout: OwnedFd,
    /// Read end of its standard error; `None` with a pty.
    pub stderr: Option<OwnedFd>,
    /// Resolves once, when the process has ended. An error means that the guest went away.
    pub exit: oneshot::Receiver<Exit>,
    /// Sends a signal number to the process's group.
    pub signals: mpsc::UnboundedSender<i32>,
}

/// What the SSH server needs of a guest.
#[async_trait]
pub trait GuestExec: Send + Sync + 'static {
    /// Starts a process as root inside the guest.
    ///
    /// # Errors
    /// When the guest is gone or the process cannot be started.
    async fn exec(&self, request: ProcessRequest) -> std::io::Result<GuestProcess>;

    /// Opens a TCP connection from inside the guest's network namespace (for `ssh -L`).
    ///
    /// # Errors
    /// As `connect(2)` inside the guest.
    async fn connect_tcp(&self, host: &str, port: u16) -> std::io::Result<tokio::net::TcpStream>;
}
