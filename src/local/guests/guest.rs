//! One running guest, as the cloud process holds it.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::GuestError;
use super::exec::{Exit, GuestExec, GuestProcess, ProcessRequest};
use super::network;
use super::sys;
use super::wire::{self, Ending, FromGuest, Setup, ToGuest};
use crate::local::watch::watch;
use crate::units::Seconds;

/// How long a guest may take from its start to `READY`, a hundred at once on two processors.
const BOOT: Duration = Duration::from_secs(60);
/// How long its processes may take to end before they are ended.
const POWER_OFF: Duration = Duration::from_secs(2);

/// What a guest says of itself.
#[derive(Debug)]
pub(super) enum Said {
    /// A shim wants a volume mounted.
    Mount {
        reply: String,
        device: String,
        path: String,
        options: String,
    },
    /// It ended.
    Ended { end: Ending },
}

type Reply<T> = oneshot::Sender<std::io::Result<T>>;

#[derive(Default)]
struct Waiting {
    started: HashMap<u64, Reply<Option<OwnedFd>>>,
    exits: HashMap<u64, oneshot::Sender<Exit>>,
    sockets: HashMap<u64, Reply<OwnedFd>>,
}

/// One running guest.
pub(super) struct Guest {
    control: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
    pid: i32,
    devices: OwnedFd,
    users: OwnedFd,
    /// Whether the cloud process ended it: then it does not start again, whatever it says.
    ended_here: AtomicBool,
    gone: CancellationToken,
}

impl Guest {
    /// Starts a guest and waits until it is up. What it says later goes to `said`.
    pub(super) async fn start(
        droplet: u64,
        setup: &Setup,
        said: mpsc::UnboundedSender<(u64, Said)>,
    ) -> Result<Arc<Self>, GuestError> {
        let failed = |what: &str| GuestError::io(format!("droplet {droplet}: {what}"));
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| failed("cannot make a socket pair")(error.into()))?;
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command
            .arg(crate::local::SUPERVISOR)
            .stdin(std::process::Stdio::null())
            .env_clear();
        let inherited = theirs.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls are made. A fresh descriptor
        // from dup2 is not closed on exec.
        unsafe {
            command.pre_exec(move || {
                if inherited == 3 {
                    rustix::io::fcntl_setfd(
                        BorrowedFd::borrow_raw(3),
                        rustix::io::FdFlags::empty(),
                    )?;
                } else if libc::dup2(inherited, 3) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut supervisor = command
            .spawn()
            .map_err(failed("cannot start its supervisor"))?;
        drop(theirs);
        wire::send(&ours, setup, &[]).map_err(failed("cannot hand over its set-up"))?;
        let control = watch(ours).map_err(failed("cannot watch its socket"))?;

        let boot = async {
            let mut born = None;
            loop {
                match receive(&control)
                    .await
                    .map_err(failed("cannot read from init"))?
                {
                    Some((FromGuest::Born { pid }, mut fds)) => {
                        born = fds.pop().map(|devices| (pid, devices))
                    }
                    Some((FromGuest::Ready, _)) => {
                        return born.ok_or_else(|| GuestError::Boot {
                            droplet,
                            message: "init was ready before it was born".to_owned(),
                        });
                    }
                    Some((FromGuest::Broken { message }, _)) => {
                        return Err(GuestError::Boot { droplet, message });
                    }
                    Some(_) => {}
                    None => {
                        let message = "its supervisor ended without a word".to_owned();
                        return Err(GuestError::Boot { droplet, message });
                    }
                }
            }
        };
        let (pid, devices) = match tokio::time::timeout(BOOT, boot).await {
            Ok(born) => born?,
            Err(_) => {
                // Init, if there is one, ends when our end of the socket closes.
                let _ = supervisor.start_kill();
                let message = format!("it was not up after {}", Seconds(BOOT.as_secs()));
                return Err(GuestError::Boot { droplet, message });
            }
        };
        let users = std::fs::File::open(format!("/proc/{pid}/ns/user"))
            .map_err(failed("its namespace is gone"))?
            .into();
        let guest = Arc::new(Self {
            control,
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            pid,
            devices,
            users,
            ended_here: AtomicBool::new(false),
            gone: CancellationToken::new(),
        });
        let reader = Arc::clone(&guest);
        tokio::spawn(async move {
            let mut end = Ending::Stopped;
            while let Ok(Some((message, fds))) = receive(&reader.control).await {
                match message {
                    FromGuest::Ended { end: how } => end = how,
                    FromGuest::Mount {
                        reply,
                        device,
                        path,
                        options,
                    } => {
                        // Nobody listens only while the whole cloud closes.
                        let _ = said.send((
                            droplet,
                            Said::Mount {
                                reply,
                                device,
                                path,
                                options,
                            },
                        ));
                    }
                    message => reader.settle(message, fds),
                }
            }
            // The supervisor ends when init has: then every mount of the guest is gone too.
            let status = supervisor.wait().await;
            tracing::debug!(droplet, signal = ?status.ok().and_then(|status| status.signal()), "guest ended");
            reader.gone.cancel();
            *reader.lock() = Waiting::default();
            if reader.ended_here.load(Ordering::Relaxed) {
                end = Ending::Stopped;
            }
            let _ = said.send((droplet, Said::Ended { end }));
        });
        Ok(guest)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic happens under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, message: FromGuest, mut fds: Vec<OwnedFd>) {
        let mut waiting = self.lock();
        // A waiter that gave up meanwhile is no one to tell.
        match message {
            FromGuest::Started { id } => {
                if let Some(reply) = waiting.started.remove(&id) {
                    let _ = reply.send(Ok(fds.pop()));
                }
            }
            FromGuest::NotStarted { id, errno } => {
                waiting.exits.remove(&id);
                if let Some(reply) = waiting.started.remove(&id) {
                    let _ = reply.send(Err(std::io::Error::from_raw_os_error(errno)));
                }
            }
            FromGuest::Exited { id, code, signal } => {
                // Whoever cuts the power leaves nobody who could say what that ended.
                let is_cut_off = signal.is_some() && self.ended_here.load(Ordering::Relaxed);
                if let Some(reply) = waiting.exits.remove(&id)
                    && !is_cut_off
                {
                    let _ = reply.send(signal.map_or(Exit::Code(code.unwrap_or(0)), Exit::Signal));
                }
            }
            FromGuest::Socket { id } => {
                if let (Some(reply), Some(socket)) = (waiting.sockets.remove(&id), fds.pop()) {
                    let _ = reply.send(Ok(socket));
                }
            }
            FromGuest::NoSocket { id, errno } => {
                if let Some(reply) = waiting.sockets.remove(&id) {
                    let _ = reply.send(Err(std::io::Error::from_raw_os_error(errno)));
                }
            }
            FromGuest::Born { .. }
            | FromGuest::Ready
            | FromGuest::Broken { .. }
            | FromGuest::Mount { .. }
            | FromGuest::Ended { .. } => {}
        }
    }

    /// Asks it to end in good order.
    pub(super) async fn shut_down(&self) {
        // A guest that is going already does not listen any more.
        let _ = self.send(&ToGuest::ShutDown, &[]).await;
    }

    /// Ends it and waits until every process and mount of it is gone.
    pub(super) async fn power_off(&self) {
        self.ended_here.store(true, Ordering::Relaxed);
        // A guest that is going already does not listen any more.
        let _ = self.send(&ToGuest::PowerOff, &[]).await;
        if tokio::time::timeout(POWER_OFF, self.gone.cancelled())
            .await
            .is_err()
        {
            // The end of process 1 ends the rest. It may have ended just now.
            let _ = sys::kill(self.pid, libc::SIGKILL);
            self.gone.cancelled().await;
        }
    }

    /// The guest's /dev.
    pub(super) fn devices(&self) -> BorrowedFd<'_> {
        self.devices.as_fd()
    }

    /// The guest's user namespace.
    pub(super) fn users(&self) -> BorrowedFd<'_> {
        self.users.as_fd()
    }

    /// Resolves when it is gone.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Hands a mount to the shim that asked for it, or says why not.
    pub(super) async fn answer_mount(
        &self,
        reply: String,
        path: String,
        mount: Result<OwnedFd, String>,
    ) {
        let result = match mount {
            Ok(mount) => {
                self.send(&ToGuest::Mount { reply, path }, &[mount.as_fd()])
                    .await
            }
            Err(message) => self.send(&ToGuest::Refuse { reply, message }, &[]).await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a guest went away while it mounted a volume");
        }
    }

    /// Listens on the guest's loopback.
    pub(super) async fn listen(&self, port: u16) -> std::io::Result<tokio::net::TcpListener> {
        let socket = self.ask_socket(|id| ToGuest::Listen { id, port }).await?;
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }

    /// Puts the guest on the private network: the other end of its interface there.
    pub(super) async fn join(&self, address: std::net::Ipv4Addr) -> std::io::Result<OwnedFd> {
        self.ask_socket(|id| ToGuest::Join {
            id,
            name: network::INTERFACE.to_owned(),
            address,
            mask: network::MASK,
        })
        .await
    }

    async fn ask_socket(&self, message: impl FnOnce(u64) -> ToGuest) -> std::io::Result<OwnedFd> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.lock().sockets.insert(id, reply);
        self.send(&message(id), &[]).await?;
        answer.await.map_err(|_| gone())?
    }

    async fn send(&self, message: &ToGuest, fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        loop {
            let mut ready = self.control.writable().await?;
            match ready.try_io(|socket| wire::send(socket.get_ref(), message, fds)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

fn gone() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::NotConnected,
        "the droplet is powered off",
    )
}

async fn receive(control: &AsyncFd<OwnedFd>) -> std::io::Result<Option<(FromGuest, Vec<OwnedFd>)>> {
    loop {
        let mut ready = control.readable().await?;
        match ready.try_io(|socket| wire::receive(socket.get_ref())) {
            // Said once when the other side ended before it had read all; its last word is still
            // to be had.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

#[async_trait]
impl GuestExec for Guest {
    async fn exec(&self, request: ProcessRequest) -> std::io::Result<GuestProcess> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (started, starting) = oneshot::channel();
        let (ended, exit) = oneshot::channel();
        {
            let mut waiting = self.lock();
            waiting.started.insert(id, started);
            waiting.exits.insert(id, ended);
        }
        let message = ToGuest::Exec {
            id,
            command: request.command,
            env: request.env,
            pty: request
                .pty
                .as_ref()
                .map(|pty| (pty.term.clone(), pty.columns, pty.rows)),
        };
        let streams = if request.pty.is_some() {
            self.send(&message, &[]).await?;
            None
        } else {
            let (stdin_read, stdin) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let (stdout, stdout_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let (stderr, stderr_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            self.send(
                &message,
                &[
                    stdin_read.as_fd(),
                    stdout_write.as_fd(),
                    stderr_write.as_fd(),
                ],
            )
            .await?;
            Some((stdin, stdout, stderr))
        };
        let terminal = starting.await.map_err(|_| gone())??;
        let (stdin, stdout, stderr) = match (streams, terminal) {
            (Some((stdin, stdout, stderr)), _) => (stdin, stdout, Some(stderr)),
            (None, Some(terminal)) => (terminal.try_clone()?, terminal, None),
            (None, None) => return Err(std::io::ErrorKind::InvalidData.into()),
        };
        let (signals, mut wanted) = mpsc::unbounded_channel();
        let control = self.control.get_ref().try_clone()?;
        tokio::spawn(async move {
            while let Some(signal) = wanted.recv().await {
                // Signals are few and small: a full socket means a guest that reads nothing.
                if wire::send(&control, &ToGuest::Signal { id, signal }, &[]).is_err() {
                    break;
                }
            }
        });
        Ok(GuestProcess {
            stdin,
            stdout,
            stderr,
            exit,
            signals,
        })
    }

    async fn connect_tcp(&self, host: &str, port: u16) -> std::io::Result<tokio::net::TcpStream> {
        // Names other than the guest's own would be looked up by the host, which is not what was asked.
        let address = match host {
            "localhost" => std::net::IpAddr::from([127, 0, 0, 1]),
            other => other
                .trim_matches(['[', ']'])
                .parse()
                .map_err(|_| std::io::ErrorKind::AddrNotAvailable)?,
        };
        let family = if address.is_ipv6() { 6 } else { 4 };
        let socket = self.ask_socket(|id| ToGuest::Socket { id, family }).await?;
        let socket = tokio::net::TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        socket.connect((address, port).into()).await
    }
}
