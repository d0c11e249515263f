//! The guest's supervisor: this program, started again with one thread. It forks the guest's
//! agent, which builds the root and the namespaces and forks process 1; it stays outside itself
//! and sees to it that none of the three outlives the others, or the cloud process.
//!
//! The order matters, and each step says why it stands where it does.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::agent;
use super::cgroups::Made;
use super::init;
use super::living;
use super::sys;
use super::wire::{self, Ending, FromGuest, Setup};

/// The parts of the root file system that are overlays of their own. One overlay over `/` would
/// loop when a layer lies inside `/`.
pub(super) const PARTS: [&str; 5] = ["root", "usr", "etc", "var", "opt"];

/// Ids a guest has.
const IDS: u32 = 65_536;

/// The socket to the cloud process.
const CONTROL: i32 = 3;

/// The body of the hidden supervisor command. Never returns.
pub fn supervisor_main() -> ! {
    // SAFETY: the cloud process starts us with its socket as descriptor 3, which nobody else owns.
    let control = unsafe { OwnedFd::from_raw_fd(CONTROL) };
    let code = match run(&control) {
        Ok(()) => 0,
        Err((step, error)) => {
            let message = format!("{step}: {error}");
            // Nobody is left to tell when the cloud process is gone.
            let _ = wire::send(&control, &FromGuest::Broken { message }, &[]);
            1
        }
    };
    std::process::exit(code)
}

type Step<T> = Result<T, (String, io::Error)>;

trait During<T> {
    fn during(self, step: &str) -> Step<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, step: &str) -> Step<T> {
        self.map_err(|error| (step.to_owned(), error))
    }
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, step: &str) -> Step<T> {
        self.map_err(|error| (step.to_owned(), error.into()))
    }
}

fn run(control: &OwnedFd) -> Step<()> {
    // What the guest runs must not inherit the way to the cloud process.
    rustix::io::fcntl_setfd(control, rustix::io::FdFlags::CLOEXEC).during("keep the socket")?;
    // An interrupt at the terminal is the cloud process's to handle.
    let _ = rustix::process::setsid();
    let Some((setup, _)) = wire::receive::<Setup>(control).during("read the set-up")? else {
        return Ok(());
    };
    // Held until nothing of the guest is left: whoever follows a cloud that was killed waits for it.
    let alive = living::hold(Path::new(&setup.stage)).during("mark the guest as alive")?;
    if living::has_hung_up(control) {
        return Ok(());
    }
    let groups = Made::make(&setup.groups, setup.shift).during("make its control groups")?;
    let children = sys::signals(&[libc::SIGCHLD]).during("watch children")?;
    let (born, birth) = pipe().during("make a pipe")?;
    match sys::fork().during("fork the agent")? {
        None => {
            drop((born, children, alive));
            if let Err((step, error)) = agent(control, &setup, &groups, birth) {
                let message = format!("{step}: {error}");
                // Nobody is left to tell when the cloud process is gone.
                let _ = wire::send(control, &FromGuest::Broken { message }, &[]);
            }
            std::process::exit(1)
        }
        Some(agent) => {
            drop(birth);
            if setup.groups.memory.is_some() {
                // What is to be ended when the guest's memory is full is what filled it.
                let _ = fs::write(format!("/proc/{agent}/oom_score_adj"), "-1000");
            }
            let end = watch(control, &children, agent, &born).during("watch the guest");
            groups.remove();
            // The very end of this process lets go of it.
            std::mem::forget(alive);
            // Nobody is left to tell when the cloud process is gone.
            let _ = wire::send(control, &FromGuest::Ended { end: end? }, &[]);
            Ok(())
        }
    }
}

fn pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
}

/// Stays outside of the guest, as the parent of its process 1 and of its agent: one of them ends,
/// or the cloud process does, and it ends the rest. Nothing inside can reach it.
fn watch(
    control: &OwnedFd,
    children: &OwnedFd,
    agent: libc::pid_t,
    born: &OwnedFd,
) -> io::Result<Ending> {
    let mut agent = Some(agent);
    let mut init = Init::Unborn;
    let mut end = Ending::Stopped;
    let kill = |pid: libc::pid_t| {
        // It is not reaped yet, so the number is still its own.
        let _ = sys::kill(pid, libc::SIGKILL);
    };
    while agent.is_some() || matches!(init, Init::Lives(_)) {
        let (hung_up, news) = {
            let mut fds = [
                PollFd::new(control, PollFlags::empty()),
                PollFd::new(children, PollFlags::IN),
                PollFd::new(born, PollFlags::IN),
            ];
            // The pipe has nothing more to say after its one word.
            let count = if init == Init::Unborn { 3 } else { 2 };
            match poll(&mut fds[..count], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            (!fds[0].revents().is_empty(), !fds[2].revents().is_empty())
        };
        if news {
            let mut pid = [0_u8; 4];
            init = match rustix::io::read(born, &mut pid) {
                Ok(4) => Init::Lives(libc::pid_t::from_ne_bytes(pid)),
                // The agent ended before it was born.
                _ => Init::Gone,
            };
        }
        while sys::next_signal(children)?.is_some() {}
        while let Some(ended) = sys::reap(-1, false) {
            if agent == Some(ended.pid) {
                agent = None;
            } else {
                init = Init::Gone;
                end = match ended.signal {
                    Some(libc::SIGINT) => Ending::PoweredOff,
                    Some(libc::SIGHUP) => Ending::Restarts,
                    _ => Ending::Stopped,
                };
            }
        }
        let over = hung_up || agent.is_none() || init == Init::Gone;
        if over {
            agent.into_iter().for_each(kill);
            if let Init::Lives(pid) = init {
                kill(pid);
            }
        }
        if hung_up && (agent.is_some() || matches!(init, Init::Lives(_))) {
            // The hang-up stays: without this the loop would spin until both are reaped.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    Ok(end)
}

/// The guest's process 1, as its supervisor knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Init {
    Unborn,
    Lives(libc::pid_t),
    Gone,
}

/// Builds the guest, forks its process 1 and stays as its agent.
fn agent(control: &OwnedFd, setup: &Setup, groups: &Made, birth: OwnedFd) -> Step<()> {
    groups.join().during("join its control groups")?;
    let users = user_namespace(setup.shift).during("make a user namespace")?;
    sys::unshare(libc::CLONE_NEWNS).during("make a mount namespace")?;
    // Nothing of what follows may be seen by the host.
    sys::mount(
        "none",
        Path::new("/"),
        None,
        libc::MS_REC | libc::MS_PRIVATE,
        "",
    )
    .during("make mounts private")?;
    let root = build_root(setup, users.as_fd())?;
    let devices = build_devices(&root, setup.shift).during("make /dev")?;
    // From here on the root is the working folder: the guest's users may not walk through the
    // folders above it, which are the owner's alone.
    std::env::set_current_dir(&root).during("go to the root folder")?;

    sys::enter(users.as_fd(), libc::CLONE_NEWUSER).during("enter the user namespace")?;
    sys::become_root().during("become the guest's root")?;
    // A change of user has taken this back, if it was set before.
    sys::die_with_parent().during("follow the supervisor")?;
    sys::hide_from_ptrace();
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWNET;
    sys::unshare(namespaces).during("make the guest's namespaces")?;
    let (go, start) = pipe().during("make a pipe")?;
    let (problem, told) = pipe().during("make a pipe")?;
    // As a brother, so that the supervisor learns how it ended.
    let Some(init) = sys::fork_beside().during("fork process 1")? else {
        drop((start, problem, birth));
        init::run(setup, go, told)
    };
    // Its root follows process 1 into the guest's; so must its working folder.
    std::env::set_current_dir("/").during("leave the working folder")?;
    drop((go, told));
    rustix::io::write(&birth, &init.to_ne_bytes()).during("report process 1")?;
    drop(birth);
    wire::send(control, &FromGuest::Born { pid: init }, &[devices.as_fd()])
        .during("report process 1")?;
    groups.step_aside().during("leave the guest's tree to it")?;
    limit_processes().during("limit processes")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::io::write(&start, b"1").during("start process 1")?;
    drop((start, devices, users));
    let mut message = String::new();
    fs::File::from(problem)
        .read_to_string(&mut message)
        .during("hear from process 1")?;
    if !message.is_empty() {
        return Err(("process 1".to_owned(), io::Error::other(message)));
    }
    agent::serve(control.as_fd(), init, setup).during("agent")
}

/// Bounds how many processes a user of the guest may have: a fork bomb stays inside.
pub(super) fn limit_processes() -> io::Result<()> {
    let limit = rustix::process::Rlimit {
        current: Some(2_048),
        maximum: Some(2_048),
    };
    Ok(rustix::process::setrlimit(
        rustix::process::Resource::Nproc,
        limit,
    )?)
}

/// A user namespace whose root is `shift` outside. The shift is mandatory: with an identity map a
/// guest could write the host's sysctls.
fn user_namespace(shift: u32) -> io::Result<OwnedFd> {
    let (ready_read, ready_write) = rustix::pipe::pipe()?;
    let (done_read, done_write) = rustix::pipe::pipe()?;
    match sys::fork()? {
        None => {
            drop(ready_read);
            drop(done_write);
            // Whoever makes the namespace is charged for what the guest takes of the kernel's
            // bounded things, such as inotify's instances: its own id, not the root of all guests.
            if sys::become_with_capabilities(shift).is_ok()
                && sys::unshare(libc::CLONE_NEWUSER).is_ok()
            {
                let _ = rustix::io::write(&ready_write, b"1");
                // Ends when the parent has the namespace, or is gone.
                let _ = rustix::io::read(&done_read, &mut [0_u8; 1]);
            }
            std::process::exit(0)
        }
        Some(child) => {
            drop(ready_write);
            drop(done_read);
            let mut byte = [0_u8; 1];
            let count = rustix::io::read(&ready_read, &mut byte)?;
            let namespace = if count == 1 {
                let map = format!("0 {shift} {IDS}\n");
                fs::write(format!("/proc/{child}/uid_map"), &map)
                    .and_then(|()| fs::write(format!("/proc/{child}/gid_map"), &map))
                    .and_then(|()| fs::File::open(format!("/proc/{child}/ns/user")))
                    .map(OwnedFd::from)
            } else {
                Err(io::Error::from_raw_os_error(libc::EPERM))
            };
            drop(done_write);
            let _ = sys::reap(child, true);
            namespace
        }
    }
}

/// Stages every layer with the guest's ids and lays the overlays on each other.
fn build_root(setup: &Setup, users: BorrowedFd<'_>) -> Step<PathBuf> {
    let stage = Path::new(&setup.stage);
    sys::mount(
        "dewpoint",
        stage,
        Some("tmpfs"),
        libc::MS_NOSUID,
        "mode=755",
    )
    .during("mount the stage")?;
    let staged = |name: &str, source: &Path| -> Step<PathBuf> {
        let target = stage.join(name);
        fs::create_dir(&target).during("make a staging folder")?;
        let step = format!("stage {}", source.display());
        let tree = open_tree(
            rustix::fs::CWD,
            source,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .during(&step)?;
        sys::idmap(tree.as_fd(), users).during(&step)?;
        move_mount(
            &tree,
            "",
            rustix::fs::CWD,
            &target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .during(&step)?;
        Ok(target)
    };
    let droplet = staged("rw", Path::new(&setup.droplet))?;
    let base = staged("base", Path::new(&setup.base))?;
    let usr = staged("usr", Path::new(&setup.usr))?;
    let mut layers = Vec::new();
    for (position, layer) in setup.layers.iter().enumerate() {
        layers.push(staged(&format!("l{position}"), Path::new(layer))?);
    }
    let root = stage.join("root");
    fs::create_dir(&root).during("make the root folder")?;
    for part in PARTS {
        let mut lowers: Vec<PathBuf> = layers.iter().map(|layer| layer.join(part)).collect();
        lowers.push(base.join(part));
        if part == "usr" {
            if setup.groups.delegated.is_none() {
                lowers.push(base.join("usr-without-systemd"));
            }
            lowers.push(usr.clone());
        }
        let lowers: Vec<String> = lowers
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let upper = droplet.join("rw").join(part);
        // Without `volatile` each unmount would sync the host's whole file system; the data is only
        // needed for as long as the machine runs.
        let options = format!(
            "lowerdir={},upperdir={},workdir={},volatile",
            lowers.join(":"),
            upper.join("upper").display(),
            upper.join("work").display()
        );
        let target = if part == "root" {
            root.clone()
        } else {
            root.join(part)
        };
        let flags = libc::MS_NODEV;
        sys::with_filesystem_id(setup.shift, || {
            sys::mount("overlay", &target, Some("overlay"), flags, &options)
        })
        .during(&format!("mount the overlay of {part}"))?;
    }
    // The guest's root is nobody out here: it cannot pass through folders of the host's root, such
    // as the home folder that state lies in by default. /tmp is hidden from this process alone.
    let open = Path::new("/tmp");
    let staged = setup.stage.as_str();
    sys::mount(staged, open, None, libc::MS_MOVE, "").during("move the stage")?;
    Ok(open.join("root"))
}

/// A /dev made by the host's root: a user namespace may not make device nodes.
fn build_devices(root: &Path, shift: u32) -> io::Result<OwnedFd> {
    let folder = root.join("dev");
    sys::mount(
        "dev",
        &folder,
        Some("tmpfs"),
        libc::MS_NOSUID,
        "mode=755,size=4m",
    )?;
    let devices: OwnedFd = fs::File::open(&folder)?.into();
    let at = devices.as_fd();
    sys::give(at, ".", shift)?;
    for name in ["pts", "shm", "disk", "disk/by-id", "net"] {
        fs::create_dir(folder.join(name))?;
        sys::give(at, name, shift)?;
    }
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
        ("net/tun", 10, 200),
    ] {
        sys::make_node(
            at,
            name,
            libc::S_IFCHR,
            0o666,
            libc::makedev(major, minor),
            shift,
        )?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        std::os::unix::fs::symlink(target, folder.join(name))?;
        sys::give(at, name, shift)?;
    }
    Ok(devices)
}
