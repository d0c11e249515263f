//! The guest's supervisor: this program, started again with one thread, which builds the guest's
//! root and namespaces and becomes the parent of its init.
//!
//! The order matters, and each step says why it stands where it does.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::init;
use super::sys;
use super::wire::{self, FromGuest, Setup};

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
    let Some((setup, _)) = wire::receive::<Setup>(control).during("read the set-up")? else {
        return Ok(());
    };
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
    let root = build_root(&setup, users.as_fd())?;
    let devices = build_devices(&root, setup.shift).during("make /dev")?;

    sys::enter(users.as_fd(), libc::CLONE_NEWUSER).during("enter the user namespace")?;
    sys::become_root().during("become the guest's root")?;
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWNET;
    sys::unshare(namespaces).during("make the guest's namespaces")?;
    match sys::fork().during("fork init")? {
        None => init::run(control, &root, &setup),
        Some(child) => {
            wire::send(control, &FromGuest::Born { pid: child }, &[devices.as_fd()])
                .during("report init")?;
            // From here on only init talks; the cloud process learns of the end by our exit.
            let _ = sys::reap(child, true);
            Ok(())
        }
    }
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
            if sys::unshare(libc::CLONE_NEWUSER).is_ok() {
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
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
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
    for name in ["pts", "shm", "disk", "disk/by-id"] {
        fs::create_dir(folder.join(name))?;
        sys::give(at, name, shift)?;
    }
    Ok(devices)
}
