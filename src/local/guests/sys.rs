//! The few system calls that no safe crate of ours wraps.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Gives a detached mount the ids of a user namespace (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`).
pub(super) fn idmap(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attributes = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(user_namespace.as_raw_fd())
            .map_err(|_| io::ErrorKind::InvalidInput)?,
    };
    // SAFETY: the struct is the kernel's `mount_attr` of that size, and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes a device node owned by the guest's root.
pub(super) fn make_node(
    folder: BorrowedFd<'_>,
    name: &str,
    kind: libc::mode_t,
    permissions: libc::mode_t,
    device: libc::dev_t,
    owner: u32,
) -> io::Result<()> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `name` is a C string that outlives the calls, `folder` an open folder.
    unsafe {
        check(libc::mknodat(
            folder.as_raw_fd(),
            name.as_ptr(),
            kind | permissions,
            device,
        ))?;
        // The mode given to mknod is cut by the umask.
        check(libc::fchmodat(
            folder.as_raw_fd(),
            name.as_ptr(),
            permissions,
            0,
        ))?;
        check(libc::fchownat(
            folder.as_raw_fd(),
            name.as_ptr(),
            owner,
            owner,
            libc::AT_SYMLINK_NOFOLLOW,
        ))?;
    }
    Ok(())
}

/// Gives an entry to the guest's root, without following it.
pub(super) fn give(folder: BorrowedFd<'_>, name: &str, owner: u32) -> io::Result<()> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: as above.
    unsafe {
        check(libc::fchownat(
            folder.as_raw_fd(),
            name.as_ptr(),
            owner,
            owner,
            libc::AT_SYMLINK_NOFOLLOW,
        ))?;
    }
    Ok(())
}

/// Splits this process: `None` in the child. Only sound while the process has one thread.
pub(super) fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: supervisors run before any thread is started, so the child may run ordinary code.
    match check(unsafe { libc::fork() })? {
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Leaves namespaces (`unshare(2)`).
pub(super) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved; the process has one thread.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// Enters a namespace (`setns(2)`).
pub(super) fn enter(namespace: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setns(namespace.as_raw_fd(), kind) }).map(drop)
}

/// Becomes root of the user namespace this process is in.
pub(super) fn become_root() -> io::Result<()> {
    // SAFETY: no memory is involved; an empty group list may be null.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(0, 0, 0))?;
        check(libc::setresuid(0, 0, 0))?;
    }
    Ok(())
}

/// Bit of `prctl(PR_SET_SECUREBITS)`: capabilities stay when ids change.
const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;

/// Becomes another user of the host, but keeps every capability.
pub(super) fn become_with_capabilities(id: u32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        check(libc::prctl(
            libc::PR_SET_SECUREBITS,
            SECBIT_NO_SETUID_FIXUP,
            0,
            0,
            0,
        ))?;
        check(libc::setresgid(id, id, id))?;
        check(libc::setresuid(id, id, id)).map(drop)
    }
}

/// Does something with another file system identity but all capabilities (for overlay mounts over
/// id-mapped folders, whose maker must be an id the map knows).
pub(super) fn with_filesystem_id<T>(
    id: u32,
    action: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    // SAFETY: no memory is involved.
    unsafe {
        check(libc::prctl(
            libc::PR_SET_SECUREBITS,
            SECBIT_NO_SETUID_FIXUP,
            0,
            0,
            0,
        ))?;
        libc::setfsgid(id);
        libc::setfsuid(id);
    }
    let result = action();
    // SAFETY: no memory is involved; both calls report no error by design.
    unsafe {
        libc::setfsuid(0);
        libc::setfsgid(0);
    }
    result
}

/// Mounts (`mount(2)`).
pub(super) fn mount(
    source: &str,
    target: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let source = CString::new(source).map_err(|_| io::ErrorKind::InvalidInput)?;
    let target = c_path(target)?;
    let kind = CString::new(kind.unwrap_or("")).map_err(|_| io::ErrorKind::InvalidInput)?;
    let data = CString::new(data).map_err(|_| io::ErrorKind::InvalidInput)?;
    let kind_pointer = if kind.is_empty() {
        std::ptr::null()
    } else {
        kind.as_ptr()
    };
    let data_pointer = if data.is_empty() {
        std::ptr::null()
    } else {
        data.as_ptr().cast()
    };
    // SAFETY: every pointer is null or a C string that outlives the call.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind_pointer,
            flags,
            data_pointer,
        )
    })
    .map(drop)
}

/// Binds the working folder, with all that is mounted below it, onto itself, and enters what
/// covers it. No path is walked: its parents may be closed to this user.
pub(super) fn cover_current_folder() -> io::Result<()> {
    use rustix::fs::CWD;
    use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
    let tree = open_tree(
        CWD,
        ".",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    move_mount(&tree, "", CWD, ".", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(rustix::process::fchdir(&tree)?)
}

/// Makes the current folder the root and lets go of the old one.
pub(super) fn pivot_into_current_folder() -> io::Result<()> {
    // SAFETY: both arguments are C string constants.
    unsafe {
        if libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
    }
    Ok(())
}

/// Switches the loopback interface on.
pub(super) fn loopback_up() -> io::Result<()> {
    // SAFETY: `ifreq` is plain data for which zeros are valid; the name is shorter than its field.
    unsafe {
        let socket = check(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        ))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = check(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request));
        libc::close(socket);
        result.map(drop)
    }
}

/// Makes a terminal the controlling one of this session. Safe between fork and exec.
pub(super) fn take_terminal(terminal: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) }).map(drop)
}

/// Sends a signal to a process (or with a negative id to a group).
pub(super) fn kill(pid: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub pid: libc::pid_t,
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

/// Collects one ended child; `None` when there is none (now, or at all).
pub(super) fn reap(pid: libc::pid_t, wait: bool) -> Option<Ended> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, if wait { 0 } else { libc::WNOHANG }) };
    if pid <= 0 {
        return None;
    }
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    Some(Ended { pid, code, signal })
}

/// A descriptor that becomes readable when one of these signals arrives; they are blocked.
pub(super) fn signals(numbers: &[libc::c_int]) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd as _;
    // SAFETY: the set is initialised by sigemptyset; the new descriptor is ours alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut set))?;
        for number in numbers {
            check(libc::sigaddset(&raw mut set, *number))?;
        }
        check(libc::sigprocmask(
            libc::SIG_BLOCK,
            &raw const set,
            std::ptr::null_mut(),
        ))?;
        let fd = check(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// A signal that arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal {
    pub number: libc::c_int,
    /// Who sent it; 0 when that process is outside the process namespace.
    pub sender: u32,
}

/// Takes the next signal from a descriptor of [`signals`]; `None` when there is none now.
pub(super) fn next_signal(signals: &OwnedFd) -> io::Result<Option<Signal>> {
    const BYTES: usize = size_of::<libc::signalfd_siginfo>();
    let mut bytes = [0_u8; BYTES];
    match rustix::io::read(signals, &mut bytes) {
        Ok(BYTES) => {
            let word = |at: usize| {
                u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            Ok(Some(Signal {
                number: word(std::mem::offset_of!(libc::signalfd_siginfo, ssi_signo)).cast_signed(),
                sender: word(std::mem::offset_of!(libc::signalfd_siginfo, ssi_pid)),
            }))
        }
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Splits this process like [`fork`], but as a brother: this process's parent becomes its parent.
pub(super) fn fork_beside() -> io::Result<Option<libc::pid_t>> {
    let flags = libc::c_ulong::from((libc::CLONE_PARENT | libc::SIGCHLD).cast_unsigned());
    // SAFETY: without a stack of its own the child goes on as after fork; the process has one
    // thread, and nothing that caches its id is used.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match child {
        0 => Ok(None),
        child if child > 0 => libc::pid_t::try_from(child)
            .map(Some)
            .map_err(|_| io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the kernel end this process when its parent ends, however that happens.
pub(super) fn die_with_parent() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}

/// How process 1 ends its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    PowerOff,
    Restart,
}

/// Ends every process of this process namespace (`reboot(2)`): its parent sees process 1 ended by
/// SIGINT or SIGHUP, as with a systemd.
pub(super) fn end_namespace(how: End) -> io::Result<()> {
    let command = match how {
        End::PowerOff => libc::RB_POWER_OFF,
        End::Restart => libc::RB_AUTOBOOT,
    };
    // SAFETY: no memory is involved; outside the first process namespace it ends that alone.
    check(unsafe { libc::reboot(command) }).map(drop)
}

/// Takes back the protection that the agent has and its children inherit. Safe between fork and
/// exec. It matters only while memory is short, so that a failure is no reason not to start.
pub(super) fn be_killable_when_memory_is_short() {
    // SAFETY: the path and the text are constants. A process that is not dumpable may not write
    // the file, which is root's then.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        let file = libc::open(
            c"/proc/self/oom_score_adj".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if file >= 0 {
            libc::write(file, c"0".as_ptr().cast(), 1);
            libc::close(file);
        }
    }
}

/// Unblocks every signal. Safe between fork and exec.
pub(super) fn unblock_signals() -> io::Result<()> {
    // SAFETY: the set is initialised by sigemptyset.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut set))?;
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const set,
            std::ptr::null_mut(),
        ))
        .map(drop)
    }
}

/// Keeps other processes of the guest from looking into this one.
pub(super) fn hide_from_ptrace() {
    // SAFETY: no memory is involved. It cannot fail with these arguments.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
}
