//! `kill -9` of a program exactly before or after it writes a record of its journal: the kernel stops
//! it at each of its writes and asks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A record that is about to be written.
pub struct Record {
    /// From 1.
    pub number: usize,
    /// The folder of its run.
    pub run: PathBuf,
    /// The record, a line.
    pub text: String,
}

/// Which side of a record the kill comes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It is not written.
    Before,
    /// It is written, and nothing else is done.
    After,
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was killed at that record.
    Killed,
    /// By itself, with this status, before any record at which it was to be killed.
    Exited(i32),
}

/// Runs a program, its output in a file, and kills it at the first record that `when` says so of.
/// Call it from a thread that has no other child running.
#[expect(
    clippy::zombie_processes,
    reason = "it is waited for here, with all of its threads"
)]
pub fn killed_at(
    mut command: Command,
    output: &Path,
    mut when: impl FnMut(&Record) -> Option<Side>,
) -> Ended {
    let out = File::create(output).expect("made");
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a handle"))
        .stderr(out);
    // SAFETY: all it does between fork and exec is system calls.
    unsafe { command.pre_exec(stop_at_writes) };
    let child = command.spawn().expect("the program runs");
    let leader = i32::try_from(child.id()).expect("a process id");
    // Ends it when a test fails on the way, too.
    let mut traced = Traced {
        leader,
        is_over: false,
    };
    let mut number = 0;
    let mut has_options = false;
    // The thread that is on its way to the end of the write after which the kill comes.
    let mut last = None;
    loop {
        let (thread, status) = wait();
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            if thread != leader {
                continue;
            }
            traced.is_over = true;
            assert!(
                libc::WIFEXITED(status),
                "ended by signal {}",
                libc::WTERMSIG(status)
            );
            return Ended::Exited(libc::WEXITSTATUS(status));
        }
        if !has_options {
            has_options = true;
            let options = libc::PTRACE_O_TRACESECCOMP
                | libc::PTRACE_O_TRACECLONE
                | libc::PTRACE_O_TRACEFORK
                | libc::PTRACE_O_TRACEVFORK
                | libc::PTRACE_O_TRACESYSGOOD
                | libc::PTRACE_O_EXITKILL;
            ask(libc::PTRACE_SETOPTIONS, thread, options.into());
            ask(libc::PTRACE_CONT, thread, 0);
            continue;
        }
        if last == Some(thread) && libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
            traced.kill();
            return Ended::Killed;
        }
        if status >> 16 == libc::PTRACE_EVENT_SECCOMP && last.is_none() {
            let Some(record) = record(thread, &mut number) else {
                ask(libc::PTRACE_CONT, thread, 0);
                continue;
            };
            match when(&record) {
                None => ask(libc::PTRACE_CONT, thread, 0),
                Some(Side::Before) => {
                    traced.kill();
                    return Ended::Killed;
                }
                Some(Side::After) => {
                    last = Some(thread);
                    ask(libc::PTRACE_SYSCALL, thread, 0);
                }
            }
            continue;
        }
        // Its own signals are let through; stops that only tracing makes are not signals.
        let signal = libc::WSTOPSIG(status);
        let is_own = status >> 16 == 0 && !matches!(signal, libc::SIGTRAP | libc::SIGSTOP);
        ask(
            libc::PTRACE_CONT,
            thread,
            if is_own { signal.into() } else { 0 },
        );
    }
}

/// A program that is traced, gone when this is.
struct Traced {
    leader: i32,
    is_over: bool,
}

impl Traced {
    /// Kills it, and waits until it is gone with all of its threads.
    fn kill(&mut self) {
        // SAFETY: the process is our child, and has not been waited for.
        unsafe { libc::kill(self.leader, libc::SIGKILL) };
        loop {
            let (thread, status) = wait();
            if thread == self.leader && (libc::WIFEXITED(status) || libc::WIFSIGNALED(status)) {
                break;
            }
        }
        self.is_over = true;
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.is_over {
            self.kill();
        }
    }
}

/// In the child: is traced by whoever started it, and stops at each write.
fn stop_at_writes() -> io::Result<()> {
    let said = |result: libc::c_long| match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    };
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let give = (libc::BPF_RET | libc::BPF_K) as u16;
    let write = u32::try_from(libc::SYS_write).unwrap_or_default();
    // SAFETY: macros of C that only fill in a structure.
    let mut program = unsafe {
        [
            libc::BPF_STMT(load, 0),
            libc::BPF_JUMP(equal, write, 0, 1),
            libc::BPF_STMT(give, libc::SECCOMP_RET_TRACE),
            libc::BPF_STMT(give, libc::SECCOMP_RET_ALLOW),
        ]
    };
    let program = libc::sock_fprog {
        len: 4,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program outlives the call that copies it.
    unsafe {
        said(libc::ptrace(
            libc::PTRACE_TRACEME,
            0,
            std::ptr::null_mut::<u8>(),
            std::ptr::null_mut::<u8>(),
        ))?;
        said(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        said(
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
            .into(),
        )
    }
}

/// The next child or thread of a child of this very thread that stops or ends.
fn wait() -> (i32, i32) {
    let mut status = 0;
    // SAFETY: the place for the status lives as long as the call.
    let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    assert!(thread > 0, "{}", io::Error::last_os_error());
    (thread, status)
}

/// Asks the kernel for something about a thread that stands still. One that was killed meanwhile is
/// told of by the next wait.
fn ask(what: libc::c_uint, thread: i32, data: libc::c_long) {
    // SAFETY: none of these requests takes an address; data is a number.
    unsafe {
        libc::ptrace(
            what,
            thread,
            std::ptr::null_mut::<u8>(),
            data as *mut libc::c_void,
        )
    };
}

/// What a thread that stands before a write is about to write, if that is a record.
fn record(thread: i32, number: &mut usize) -> Option<Record> {
    let call = std::fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
    let mut words = call.split_ascii_whitespace().skip(1);
    let mut next = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
    let (file, address, length) = (next()?, next()?, next()?);
    let path = std::fs::read_link(format!("/proc/{thread}/fd/{file}")).ok()?;
    if path.file_name()? != "journal.jsonl" {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let memory = File::open(format!("/proc/{thread}/mem")).expect("its memory");
    memory.read_exact_at(&mut bytes, address).expect("read");
    *number += 1;
    Some(Record {
        number: *number,
        run: path.parent()?.to_owned(),
        text: String::from_utf8(bytes).expect("UTF-8"),
    })
}
