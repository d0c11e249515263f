//! One session channel: a process of the guest, its streams and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::local::seam::{Exit, GuestExec, GuestProcess, ProcessRequest, PtyRequest};
use crate::local::watch::watch;

/// How much is read from a process at once.
const CHUNK_BYTES: usize = 32 * 1024;
/// RFC 4254's number for standard error.
const STANDARD_ERROR: u32 = 1;

/// Serves a session channel to its end.
pub(super) async fn run(channel: Channel<Msg>, handle: Handle, guest: Arc<dyn GuestExec>) {
    let id = channel.id();
    let (mut read, write) = channel.split();
    let mut request = ProcessRequest {
        command: None,
        env: Vec::new(),
        pty: None,
    };
    // A client that went away needs no answers: the errors of `handle` are its absence.
    loop {
        match read.wait().await {
            Some(ChannelMsg::SetEnv {
                variable_name,
                variable_value,
                want_reply,
            }) => {
                request.env.push((variable_name, variable_value));
                if want_reply {
                    let _ = handle.channel_success(id).await;
                }
            }
            Some(ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                want_reply,
                ..
            }) => {
                let cells = |count: u32, default: u16| match u16::try_from(count) {
                    Ok(0) | Err(_) => default,
                    Ok(count) => count,
                };
                request.pty = Some(PtyRequest {
                    term,
                    columns: cells(col_width, 80),
                    rows: cells(row_height, 24),
                });
                if want_reply {
                    let _ = handle.channel_success(id).await;
                }
            }
            Some(ChannelMsg::Exec { command, .. }) => {
                request.command = Some(String::from_utf8_lossy(&command).into_owned());
                break;
            }
            Some(ChannelMsg::RequestShell { .. }) => break,
            Some(
                ChannelMsg::RequestSubsystem { .. }
                | ChannelMsg::RequestX11 { .. }
                | ChannelMsg::AgentForward { .. },
            ) => {
                let _ = handle.channel_failure(id).await;
            }
            Some(ChannelMsg::Close) | None => return,
            Some(_) => {}
        }
    }
    let has_terminal = request.pty.is_some();
    match guest.exec(request).await {
        Ok(process) => {
            let _ = handle.channel_success(id).await;
            converse(read, write, handle, process, has_terminal).await;
        }
        Err(error) => {
            tracing::debug!(%error, "a process could not be started in a guest");
            let _ = handle.channel_failure(id).await;
            let _ = write.close().await;
        }
    }
}

async fn converse(
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    handle: Handle,
    process: GuestProcess,
    has_terminal: bool,
) {
    let GuestProcess {
        stdin,
        stdout,
        stderr,
        exit,
        signals,
    } = process;
    let listening = tokio::spawn(listen(read, stdin, signals, has_terminal));
    let id = write.id();
    let out = pump(stdout, &write, None);
    let err = async {
        match stderr {
            Some(stderr) => pump(stderr, &write, Some(STANDARD_ERROR)).await,
            None => Ok(()),
        }
    };
    let end = async {
        match exit.await {
            Ok(Exit::Code(code)) => {
                let _ = write.exit_status(code.cast_unsigned()).await;
            }
            Ok(Exit::Signal(signal)) => {
                let _ = handle
                    .exit_signal_request(id, name_of(signal), false, String::new(), String::new())
                    .await;
            }
            // The guest was powered off under the process: nobody is left to say how it ended.
            Err(_gone) => {}
        }
    };
    if has_terminal {
        // Background processes may hold the terminal: as with sshd, the end of the process is the
        // end of the session, but not before what it wrote has been read.
        tokio::pin!(out, end);
        tokio::select! {
            _ = &mut out => end.await,
            () = &mut end => {
                let grace = std::time::Duration::from_millis(200);
                let _ = tokio::time::timeout(grace, &mut out).await;
            }
        }
    } else {
        // Without one, whoever still holds the pipes keeps the session open, as with sshd.
        let ((), _, _) = tokio::join!(end, out, err);
    }
    let _ = write.eof().await;
    let _ = write.close().await;
    listening.abort();
}

/// Carries a stream of the process to the client.
async fn pump(from: OwnedFd, to: &ChannelWriteHalf<Msg>, extended: Option<u32>) -> io::Result<()> {
    let from = watch(from)?;
    let mut bytes = vec![0_u8; CHUNK_BYTES];
    loop {
        let mut ready = from.readable().await?;
        let count = match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut bytes)?)) {
            Ok(Ok(count)) => count,
            // A terminal whose last process is gone says EIO.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => 0,
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => continue,
        };
        if count == 0 {
            return Ok(());
        }
        let data = bytes::Bytes::copy_from_slice(&bytes[..count]);
        let sent = match extended {
            None => to.data_bytes(data).await,
            Some(kind) => to.extended_data_bytes(kind, data).await,
        };
        sent.map_err(io::Error::other)?;
    }
}

/// Carries what the client sends to the process, until the client has no more to say.
async fn listen(
    mut read: ChannelReadHalf,
    stdin: OwnedFd,
    signals: mpsc::UnboundedSender<i32>,
    has_terminal: bool,
) {
    let mut stdin = watch(stdin).ok();
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(open) = &stdin
                    && write_all(open, &data).await.is_err()
                {
                    // The process reads no more; what the client still sends is lost, as in a pipe.
                    stdin = None;
                }
            }
            // A terminal has no half-close: its end of file is a character the client sends.
            ChannelMsg::Eof if !has_terminal => stdin = None,
            ChannelMsg::Signal { signal } => {
                if let Some(number) = number_of(&signal) {
                    // The process may have ended.
                    let _ = signals.send(number);
                }
            }
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            } => {
                if let (Some(terminal), Ok(columns), Ok(rows)) =
                    (&stdin, u16::try_from(col_width), u16::try_from(row_height))
                    && has_terminal
                {
                    let size = rustix::termios::Winsize {
                        ws_row: rows,
                        ws_col: columns,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    };
                    let _ = rustix::termios::tcsetwinsize(terminal.get_ref(), size);
                }
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    // The client went away. Without a terminal the process goes on, as with sshd; with one, the
    // hang-up is the terminal's.
    if has_terminal {
        let _ = signals.send(libc::SIGHUP);
    }
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let mut ready = to.writable().await?;
        match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
            Ok(count) => data = &data[count?..],
            Err(_would_block) => {}
        }
    }
    Ok(())
}

const SIGNALS: [(Sig, i32); 12] = [
    (Sig::ABRT, libc::SIGABRT),
    (Sig::ALRM, libc::SIGALRM),
    (Sig::FPE, libc::SIGFPE),
    (Sig::HUP, libc::SIGHUP),
    (Sig::ILL, libc::SIGILL),
    (Sig::INT, libc::SIGINT),
    (Sig::KILL, libc::SIGKILL),
    (Sig::PIPE, libc::SIGPIPE),
    (Sig::QUIT, libc::SIGQUIT),
    (Sig::SEGV, libc::SIGSEGV),
    (Sig::TERM, libc::SIGTERM),
    (Sig::USR1, libc::SIGUSR1),
];

fn name_of(number: i32) -> Sig {
    SIGNALS
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(
            || Sig::Custom(format!("{number}@dewpoint")),
            |(signal, _)| signal.clone(),
        )
}

fn number_of(signal: &Sig) -> Option<i32> {
    SIGNALS
        .iter()
        .find(|(known, _)| std::mem::discriminant(known) == std::mem::discriminant(signal))
        .map(|(_, number)| *number)
}
