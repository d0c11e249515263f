//! The thread that starts machines: it lives as long as the cloud process, and they no longer.
//!
//! A process can ask to be killed when its parent ends (`PR_SET_PDEATHSIG`), but what the kernel
//! takes for the parent is the *thread* that started it. Threads of a runtime come and go; this one
//! stays.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use tokio::process::{Child, Command};
use tokio::sync::oneshot;

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts processes that end with this process, however it ends.
#[derive(Clone)]
pub(super) struct Keeper {
    orders: std::sync::mpsc::Sender<Order>,
}

impl Keeper {
    /// Starts the thread. It ends, and all it has started with it, when the keeper is dropped.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, receiver) = std::sync::mpsc::channel::<Order>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("machines".to_owned())
            .spawn(move || {
                let _inside = runtime.enter();
                for Order { mut command, reply } in receiver {
                    // Whoever asked may have gone away: then the process ends with the reply.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts a process which inherits these descriptors under their own numbers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) async fn spawn(
        &self,
        mut command: Command,
        inherited: Vec<OwnedFd>,
    ) -> io::Result<Child> {
        die_with_parent(command.as_std_mut());
        let numbers: Vec<i32> = inherited.iter().map(OwnedFd::as_raw_fd).collect();
        // SAFETY: between fork and exec only async-signal-safe calls are made; the descriptors are
        // open until the process has been started.
        unsafe {
            command.pre_exec(move || {
                for number in &numbers {
                    if libc::fcntl(*number, libc::F_SETFD, 0) < 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        command.kill_on_drop(true);
        let (reply, answer) = oneshot::channel();
        let ended = || io::Error::other("the thread that starts machines has ended");
        self.orders
            .send(Order { command, reply })
            .map_err(|_| ended())?;
        let child = answer.await.map_err(|_| ended())?;
        drop(inherited);
        child
    }
}

/// Has the kernel kill the process when the thread that starts it ends.
pub(super) fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before that.
            if libc::getppid().cast_unsigned() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_it_started_ends_with_it() {
        let keeper = Keeper::start().expect("a thread");
        let mut command = Command::new("sleep");
        command.arg("1000");
        let mut child = keeper.spawn(command, Vec::new()).await.expect("a process");
        assert!(child.try_wait().expect("asked").is_none());
        drop(keeper);
        let status = child.wait().await.expect("its end");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(libc::SIGKILL));
    }

    #[tokio::test]
    async fn descriptors_are_inherited() {
        let keeper = Keeper::start().expect("a thread");
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo here >/dev/fd/{}", write.as_raw_fd())]);
        let mut child = keeper.spawn(command, vec![write]).await.expect("a process");
        assert!(child.wait().await.expect("its end").success());
        let mut said = String::new();
        io::Read::read_to_string(&mut std::fs::File::from(read), &mut said).expect("read");
        assert_eq!(said, "here\n");
    }
}
