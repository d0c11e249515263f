//! The guest's agent: starts its processes, opens its sockets, places its mounts.
//!
//! It lives in every namespace of the guest but that of processes: what it starts is inside, it
//! itself can be neither seen nor killed from there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};

use super::interface;
use super::sys;
use super::systemd;
use super::wire::{self, FromGuest, Setup, ToGuest};

/// Where the shims of [`super::shims`] write their requests.
const REQUESTS: &str = "/run/dewpoint/requests";

/// Serves the cloud process until it is gone.
///
/// # Errors
/// When the guest's files cannot be opened, or the socket fails.
pub(super) fn serve(control: BorrowedFd<'_>, init: libc::pid_t, setup: &Setup) -> io::Result<()> {
    let requests = open_requests()?;
    let children = sys::signals(&[libc::SIGCHLD])?;
    if setup.groups.delegated.is_some() {
        systemd::wait_until_it_listens();
    }
    wire::send(control, &FromGuest::Ready, &[])?;
    let mut agent = Agent {
        control,
        init,
        has_systemd: setup.groups.delegated.is_some(),
        env: environment(setup),
        processes: BTreeMap::new(),
    };
    agent.serve(&requests, &children)
}

fn open_requests() -> io::Result<fs::File> {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        REQUESTS,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )?;
    // Both ends, so that it never reports an end while no shim writes.
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(REQUESTS)
}

fn environment(setup: &Setup) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = [
        (
            "PATH",
            "/run/dewpoint/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("LANG", "C.UTF-8"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    env.extend(setup.env.iter().cloned());
    env
}

struct Agent<'a> {
    control: BorrowedFd<'a>,
    /// Process 1 of the guest, as seen from here.
    init: libc::pid_t,
    has_systemd: bool,
    env: Vec<(String, String)>,
    /// Running processes: process id to the id the cloud process gave.
    processes: BTreeMap<libc::pid_t, u64>,
}

impl Agent<'_> {
    fn serve(&mut self, requests: &fs::File, children: &OwnedFd) -> io::Result<()> {
        let mut pending = Vec::new();
        loop {
            let (from_cloud, from_shims) = {
                let mut fds = [
                    PollFd::from_borrowed_fd(self.control, PollFlags::IN),
                    PollFd::new(requests, PollFlags::IN),
                    PollFd::new(children, PollFlags::IN),
                ];
                match poll(&mut fds, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
            };
            let mut drained = [0_u8; 128];
            // What it says is told by `reap`; it only has to be emptied.
            let _ = rustix::io::read(children, &mut drained);
            self.reap()?;
            if from_cloud {
                match wire::receive::<ToGuest>(self.control)? {
                    None => return Ok(()),
                    Some((message, fds)) => self.handle(message, fds)?,
                }
            }
            if from_shims {
                self.handle_shims(requests, &mut pending)?;
            }
        }
    }

    /// Asks process 1 to shut the guest down; a systemd stops its services first.
    fn shut_down(&self, restart: bool) {
        let signal = match (self.has_systemd, restart) {
            // systemd(1): start poweroff.target, reboot.target.
            (true, false) => libc::SIGRTMIN() + 4,
            (true, true) => libc::SIGRTMIN() + 5,
            (false, false) => libc::SIGTERM,
            (false, true) => libc::SIGHUP,
        };
        // It may be ending already.
        let _ = sys::kill(self.init, signal);
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(ended) = sys::reap(-1, false) {
            if let Some(id) = self.processes.remove(&ended.pid) {
                let message = FromGuest::Exited {
                    id,
                    code: ended.code,
                    signal: ended.signal,
                };
                wire::send(self.control, &message, &[])?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: ToGuest, mut fds: Vec<OwnedFd>) -> io::Result<()> {
        match message {
            ToGuest::Exec {
                id,
                command,
                env,
                pty,
            } => match self.exec(command, env, pty, fds) {
                Ok((pid, terminal)) => {
                    self.processes.insert(pid, id);
                    let terminal: Vec<BorrowedFd<'_>> = terminal.iter().map(AsFd::as_fd).collect();
                    wire::send(self.control, &FromGuest::Started { id }, &terminal)
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    wire::send(self.control, &FromGuest::NotStarted { id, errno }, &[])
                }
            },
            ToGuest::Signal { id, signal } => {
                if let Some((pid, _)) = self.processes.iter().find(|(_, known)| **known == id) {
                    // It may have ended meanwhile.
                    let _ = sys::kill(-*pid, signal);
                }
                Ok(())
            }
            ToGuest::Mount { reply, path } => {
                let result = match fds.pop() {
                    None => Err(io::Error::from(io::ErrorKind::InvalidData)),
                    Some(mount) => rustix::mount::move_mount(
                        &mount,
                        "",
                        rustix::fs::CWD,
                        path.as_str(),
                        rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
                    )
                    .map_err(io::Error::from),
                };
                answer(
                    &reply,
                    result
                        .err()
                        .map(|error| format!("{path}: {error}"))
                        .as_deref(),
                );
                Ok(())
            }
            ToGuest::Refuse { reply, message } => {
                answer(&reply, Some(&message));
                Ok(())
            }
            ToGuest::Socket { id, family } => {
                let family = if family == 6 {
                    rustix::net::AddressFamily::INET6
                } else {
                    rustix::net::AddressFamily::INET
                };
                let socket = rustix::net::socket_with(
                    family,
                    rustix::net::SocketType::STREAM,
                    rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
                    None,
                );
                self.hand_out(id, socket.map_err(io::Error::from))
            }
            ToGuest::Listen { id, port } => {
                let listener = std::net::TcpListener::bind(("127.0.0.1", port)).map(OwnedFd::from);
                self.hand_out(id, listener)
            }
            ToGuest::Join {
                id,
                name,
                address,
                mask,
            } => self.hand_out(id, interface::make(&name, address, mask)),
            ToGuest::ShutDown => {
                self.shut_down(false);
                Ok(())
            }
            ToGuest::PowerOff => {
                if self.has_systemd {
                    let _ = sys::kill(self.init, libc::SIGKILL);
                } else {
                    self.shut_down(false);
                }
                Ok(())
            }
        }
    }

    fn hand_out(&self, id: u64, socket: io::Result<OwnedFd>) -> io::Result<()> {
        match socket {
            Ok(socket) => wire::send(self.control, &FromGuest::Socket { id }, &[socket.as_fd()]),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                wire::send(self.control, &FromGuest::NoSocket { id, errno }, &[])
            }
        }
    }

    fn exec(
        &self,
        command: Option<String>,
        env: Vec<(String, String)>,
        pty: Option<(String, u16, u16)>,
        fds: Vec<OwnedFd>,
    ) -> io::Result<(libc::pid_t, Option<OwnedFd>)> {
        if self.has_systemd && systemd::is_going_down() {
            // What starts after it has told everything to end is waited for in vain.
            return Err(io::Error::from_raw_os_error(libc::ESHUTDOWN));
        }
        let shell = if Path::new("/bin/bash").exists() {
            "/bin/bash"
        } else {
            "/bin/sh"
        };
        let mut process = Command::new(shell);
        match command {
            Some(command) => process.arg("-c").arg(command),
            None => process.arg0("-sh").arg("-l"),
        };
        process
            .env_clear()
            .envs(self.env.iter().cloned())
            .env("SHELL", shell)
            .envs(env);
        let home = if Path::new("/root").is_dir() {
            "/root"
        } else {
            "/"
        };
        process.current_dir(home);
        let terminal = match pty {
            None => {
                let mut fds = fds.into_iter();
                let mut next = || {
                    fds.next()
                        .map(Stdio::from)
                        .ok_or(io::ErrorKind::InvalidData)
                };
                process.stdin(next()?).stdout(next()?).stderr(next()?);
                None
            }
            Some((term, columns, rows)) => {
                let master = rustix::pty::openpt(
                    rustix::pty::OpenptFlags::RDWR
                        | rustix::pty::OpenptFlags::NOCTTY
                        | rustix::pty::OpenptFlags::CLOEXEC,
                )?;
                rustix::pty::grantpt(&master)?;
                rustix::pty::unlockpt(&master)?;
                let name = rustix::pty::ptsname(&master, Vec::new())?;
                let size = rustix::termios::Winsize {
                    ws_row: rows,
                    ws_col: columns,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                rustix::termios::tcsetwinsize(&master, size)?;
                let slave = fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(libc::O_NOCTTY)
                    .open(name.to_string_lossy().as_ref())?;
                process
                    .stdin(slave.try_clone()?)
                    .stdout(slave.try_clone()?)
                    .stderr(slave)
                    .env("TERM", term);
                Some(master)
            }
        };
        let has_terminal = terminal.is_some();
        // SAFETY: between fork and exec only async-signal-safe system calls are made.
        unsafe {
            process.pre_exec(move || {
                sys::unblock_signals()?;
                sys::be_killable_when_memory_is_short();
                rustix::process::setsid()?;
                if has_terminal {
                    sys::take_terminal(std::io::stdin().as_raw_fd())?;
                }
                Ok(())
            });
        }
        let child = process.spawn()?;
        // Dropping the child neither kills nor waits for it: `reap` does that for all.
        let pid = libc::pid_t::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok((pid, terminal))
    }

    /// Reads what shims ask for.
    fn handle_shims(&self, mut requests: &fs::File, pending: &mut Vec<u8>) -> io::Result<()> {
        let mut bytes = [0_u8; 4_096];
        match requests.read(&mut bytes) {
            Ok(count) => pending.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = line
                .as_slice()
                .lines()
                .next()
                .and_then(Result::ok)
                .unwrap_or_default();
            let words: Vec<&str> = line.split('\t').collect();
            match words.as_slice() {
                ["poweroff"] => self.shut_down(false),
                ["reboot"] => self.shut_down(true),
                ["mount", reply, device, path, options] => {
                    let message = FromGuest::Mount {
                        reply: (*reply).to_owned(),
                        device: (*device).to_owned(),
                        path: (*path).to_owned(),
                        options: (*options).to_owned(),
                    };
                    wire::send(self.control, &message, &[])?;
                }
                // Anyone inside may write nonsense there; it harms nobody.
                _ => {}
            }
        }
        // A line without an end is bounded: a pipe's atomic writes are no longer than this.
        if pending.len() > 64 * 1024 {
            pending.clear();
        }
        Ok(())
    }
}

/// Answers a shim: an empty line means done.
fn answer(reply: &str, problem: Option<&str>) {
    // The shim may have been killed while it waited.
    let opened = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(reply);
    if let Ok(mut pipe) = opened {
        let _ = writeln!(pipe, "{}", problem.unwrap_or_default());
    }
}
