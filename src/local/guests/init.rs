//! The guest's init: process 1 inside, the only one the cloud process talks to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};

use super::shims;
use super::sys;
use super::wire::{self, FromGuest, Setup, ToGuest};

/// Where the shims of [`shims`] write their requests.
const REQUESTS: &str = "/run/dewpoint/requests";

/// Lives as the guest's process 1. Never returns.
pub(super) fn run(control: &OwnedFd, root: &Path, setup: &Setup) -> ! {
    sys::hide_from_ptrace();
    let result = enter(root, setup).and_then(|()| {
        let requests = open_requests()?;
        let children = sys::child_signals()?;
        wire::send(control, &FromGuest::Ready, &[])?;
        let mut init = Init {
            control: control.as_fd(),
            env: environment(setup),
            processes: BTreeMap::new(),
        };
        init.serve(&requests, &children)
    });
    if let Err(error) = result {
        // The cloud process may be gone: then this is how init learns of it.
        let _ = wire::send(
            control,
            &FromGuest::Broken {
                message: format!("init: {error}"),
            },
            &[],
        );
    }
    // The end of process 1 ends every process of the guest.
    std::process::exit(0)
}

/// Makes `root` the root, with its own /proc, /sys, /dev/pts, /run and /tmp.
fn enter(root: &Path, setup: &Setup) -> io::Result<()> {
    let step = |what: &'static str| {
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    // The copied mounts are locked to each other; pivot_root wants a root that is not.
    sys::mount(
        &root.display().to_string(),
        root,
        None,
        libc::MS_BIND | libc::MS_REC,
        "",
    )
    .map_err(step("bind the root"))?;
    std::env::set_current_dir(root)?;
    let hardened = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(
        "proc",
        Path::new("proc"),
        Some("proc"),
        hardened | libc::MS_NOEXEC,
        "",
    )
    .map_err(step("mount /proc"))?;
    sys::mount(
        "sysfs",
        Path::new("sys"),
        Some("sysfs"),
        hardened | libc::MS_NOEXEC | libc::MS_RDONLY,
        "",
    )
    .map_err(step("mount /sys"))?;
    let pts = "newinstance,ptmxmode=0666,mode=620,gid=5";
    sys::mount(
        "devpts",
        Path::new("dev/pts"),
        Some("devpts"),
        libc::MS_NOSUID | libc::MS_NOEXEC,
        pts,
    )
    .map_err(step("mount /dev/pts"))?;
    sys::mount(
        "shm",
        Path::new("dev/shm"),
        Some("tmpfs"),
        hardened,
        "mode=1777",
    )
    .map_err(step("mount /dev/shm"))?;
    sys::mount("run", Path::new("run"), Some("tmpfs"), hardened, "mode=755")
        .map_err(step("mount /run"))?;
    sys::mount(
        "tmp",
        Path::new("tmp"),
        Some("tmpfs"),
        hardened,
        "mode=1777",
    )
    .map_err(step("mount /tmp"))?;
    for secret in ["kcore", "keys", "sysrq-trigger", "timer_list"] {
        let path = Path::new("proc").join(secret);
        if path.exists() {
            sys::mount("dev/null", &path, None, libc::MS_BIND, "")
                .map_err(step("mask a part of /proc"))?;
        }
    }
    sys::pivot_into_current_folder().map_err(step("pivot"))?;
    sys::loopback_up().map_err(step("switch loopback on"))?;
    rustix::system::sethostname(setup.hostname.as_bytes())?;
    rustix::process::setrlimit(
        rustix::process::Resource::Nproc,
        rustix::process::Rlimit {
            current: Some(2_048),
            maximum: Some(2_048),
        },
    )?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    populate(setup).map_err(step("write the first files"))
}

/// What cloud-init does on a droplet: host name, machine id, keys; at first boot only.
fn populate(setup: &Setup) -> io::Result<()> {
    shims::write_run()?;
    if !setup.first_boot {
        return Ok(());
    }
    fs::write("/etc/hostname", format!("{}\n", setup.hostname))?;
    fs::write(
        "/etc/hosts",
        format!(
            "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {}\n",
            setup.hostname
        ),
    )?;
    fs::write("/etc/motd", &setup.motd)?;
    let mut id = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    fs::write("/etc/machine-id", format!("{}\n", hex::encode(id)))?;
    fs::create_dir_all("/root/.ssh")?;
    fs::set_permissions("/root/.ssh", fs::Permissions::from_mode(0o700))?;
    let mut keys = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open("/root/.ssh/authorized_keys")?;
    for key in &setup.authorized_keys {
        writeln!(keys, "{key}")?;
    }
    fs::create_dir_all("/var/lib/cloud/instance")?;
    fs::write("/var/lib/cloud/instance/boot-finished", "")?;
    Ok(())
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

struct Init<'a> {
    control: BorrowedFd<'a>,
    env: Vec<(String, String)>,
    /// Running processes: process id to the id the cloud process gave.
    processes: BTreeMap<libc::pid_t, u64>,
}

impl Init<'_> {
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
                    Some((ToGuest::PowerOff, _)) => {
                        self.end_processes();
                        return Ok(());
                    }
                    Some((message, fds)) => self.handle(message, fds)?,
                }
            }
            if from_shims && self.handle_shims(requests, &mut pending)? {
                wire::send(self.control, &FromGuest::PoweredOff, &[])?;
                self.end_processes();
                return Ok(());
            }
        }
    }

    /// Asks every process to end, and gives them a moment.
    fn end_processes(&mut self) {
        // -1 from process 1 means every other process of the guest.
        if sys::kill(-1, libc::SIGTERM).is_err() {
            return;
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_millis(500);
        while std::time::Instant::now() < deadline {
            while sys::reap(-1, false).is_some() {}
            if sys::kill(-1, 0).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(ended) = sys::reap(-1, false) {
            // Orphans that were adopted have no id.
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
            // Handled by the caller: it ends the loop.
            ToGuest::PowerOff => Ok(()),
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

    /// Reads what shims ask for; true when one powers the guest off.
    fn handle_shims(&self, mut requests: &fs::File, pending: &mut Vec<u8>) -> io::Result<bool> {
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
                ["poweroff"] => return Ok(true),
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
        Ok(false)
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
