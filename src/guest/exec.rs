//! One command as one channel: bytes in, bytes out, and how it ended.

use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::connect::Session;
use super::error::GuestError;
use super::output::Stream;
use super::shell::quote;

/// After a command has ended, this much silence ends waiting for more of its output. What it left
/// behind in the background may hold the stream open for ever.
const SILENCE: Duration = Duration::from_secs(1);
/// After a command has ended, at most this long is output still taken.
const LINGER: Duration = Duration::from_secs(10);
/// The most that a text of our own may answer: a droplet must not fill this side's memory.
const LONGEST_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Of what it complains about, this much is kept.
const LONGEST_COMPLAINT_BYTES: usize = 16 * 1024;
/// RFC 4254's number for standard error.
const STANDARD_ERROR: u32 = 1;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Exit(i32),
    Signal(String),
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Signal(name) => write!(f, "signal {name}"),
        }
    }
}

/// What a text of our own said, and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: Status,
    pub(super) out: Vec<u8>,
    /// The last of its standard error, fit for a message.
    pub(super) err: String,
}

/// A droplet's words without what could steer a terminal.
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// A command that runs on a droplet. Dropping it closes its channel.
pub(super) struct Exec {
    read: ChannelReadHalf,
    write: Option<ChannelWriteHalf<Msg>>,
    status: Option<(Status, Instant)>,
    label: String,
    doing: String,
}

impl Drop for Exec {
    fn drop(&mut self) {
        // russh does not close a channel that is dropped; the command would keep its input.
        if let Some(write) = self.write.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                // A connection that is gone has no channel to close.
                let _ = write.close().await;
            });
        }
    }
}

impl Session {
    /// Starts a command line under the user's shell. `doing` names it in errors.
    pub(super) async fn exec(&self, command: &str, doing: &str) -> Result<Exec, GuestError> {
        let lost = |_| GuestError::ConnectionLost {
            label: self.label().to_owned(),
            doing: doing.to_owned(),
        };
        let channel = match self.handle().channel_open_session().await {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(_)) => {
                return Err(GuestError::Refused {
                    label: self.label().to_owned(),
                    doing: doing.to_owned(),
                });
            }
            Err(error) => return Err(lost(error)),
        };
        channel.exec(true, command).await.map_err(lost)?;
        let (read, write) = channel.split();
        Ok(Exec {
            read,
            write: Some(write),
            status: None,
            label: self.label().to_owned(),
            doing: doing.to_owned(),
        })
    }

    /// Runs a command line to its end, feeding it `input` and handing its output over as it comes.
    /// The command's input ends with `input`.
    pub(super) async fn converse(
        &self,
        command: &str,
        doing: &str,
        input: impl AsyncRead + Send + Unpin,
        mut take: impl FnMut(Stream, Bytes) -> Result<(), GuestError> + Send,
    ) -> Result<Status, GuestError> {
        let mut exec = self.exec(command, doing).await?;
        let mut stdin = exec.stdin();
        let send = async move {
            let mut input = input;
            // A command that ends before it has read everything says so by its status.
            if tokio::io::copy(&mut input, &mut stdin).await.is_ok() {
                let _ = stdin.shutdown().await;
            }
        };
        tokio::pin!(send);
        let mut is_sending = true;
        loop {
            tokio::select! {
                () = &mut send, if is_sending => is_sending = false,
                chunk = exec.next() => match chunk? {
                    Some((stream, bytes)) => take(stream, bytes)?,
                    None => return exec.finish(),
                },
            }
        }
    }

    /// Runs a short command line without input: its exit code, and its output (both streams as they
    /// came, at most the last 64 KiB).
    ///
    /// # Errors
    /// When the connection is lost or a signal ends the command.
    pub async fn exec_capture(&self, command: &str) -> Result<(i32, String), GuestError> {
        const LIMIT: usize = 64 * 1024;
        let doing = "running a command";
        let mut said = Vec::new();
        let status = self
            .converse(command, doing, tokio::io::empty(), |_, bytes| {
                said.extend_from_slice(&bytes);
                let surplus = said.len().saturating_sub(LIMIT);
                said.drain(..surplus);
                Ok(())
            })
            .await?;
        let said = String::from_utf8_lossy(&said).into_owned();
        match status {
            Status::Exit(code) => Ok((code, said)),
            signal @ Status::Signal(_) => Err(self.failed(doing, &signal.to_string(), &said)),
        }
    }

    /// Runs a text of our own under sh, with `input` as its standard input.
    pub(super) async fn sh(
        &self,
        script: &str,
        doing: &str,
        input: impl AsyncRead + Send + Unpin,
    ) -> Result<Said, GuestError> {
        let command = format!("exec sh -c {}", quote(script));
        let mut out = Vec::new();
        let mut err = Vec::new();
        let status = self
            .converse(&command, doing, input, |stream, bytes| {
                match stream {
                    Stream::Out => out.extend_from_slice(&bytes),
                    Stream::Err => err.extend_from_slice(&bytes),
                }
                let surplus = err.len().saturating_sub(LONGEST_COMPLAINT_BYTES);
                err.drain(..surplus);
                if out.len() > LONGEST_ANSWER_BYTES {
                    return Err(GuestError::AnswerTooLong {
                        label: self.label().to_owned(),
                        doing: doing.to_owned(),
                        limit_bytes: LONGEST_ANSWER_BYTES,
                    });
                }
                Ok(())
            })
            .await?;
        Ok(Said {
            status,
            out,
            err: printable(&err),
        })
    }

    /// As [`Self::sh`], where anything but exit 0 is a failure: its standard output.
    pub(super) async fn sh_ok(
        &self,
        script: &str,
        doing: &str,
        input: impl AsyncRead + Send + Unpin,
    ) -> Result<Vec<u8>, GuestError> {
        let said = self.sh(script, doing, input).await?;
        match said.status {
            Status::Exit(0) => Ok(said.out),
            status => Err(self.failed(doing, &status.to_string(), &said.err)),
        }
    }

    pub(super) fn failed(&self, doing: &str, end: &str, output: &str) -> GuestError {
        GuestError::RemoteFailed {
            label: self.label().to_owned(),
            doing: doing.to_owned(),
            end: end.to_owned(),
            output: output.to_owned(),
        }
    }
}

impl Exec {
    /// The command's standard input. Ends when it is shut down.
    pub(super) fn stdin(&self) -> impl AsyncWrite + Send + Unpin + 'static {
        self.write
            .as_ref()
            .expect("the channel is only given up on drop")
            .make_writer()
    }

    /// Ends the command's standard input.
    pub(super) async fn end_input(&self) -> Result<(), GuestError> {
        let write = self
            .write
            .as_ref()
            .expect("the channel is only given up on drop");
        write.eof().await.map_err(|_| self.lost())
    }

    /// The next piece of output; `None` once the command has ended and its output is read. May be
    /// dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Result<Option<(Stream, Bytes)>, GuestError> {
        loop {
            let message = match &self.status {
                None => self.read.wait().await,
                Some((_, since)) => {
                    let patience = SILENCE.min(LINGER.saturating_sub(since.elapsed()));
                    match timeout(patience, self.read.wait()).await {
                        Ok(message) => message,
                        Err(_silence) => return Ok(None),
                    }
                }
            };
            match message {
                Some(ChannelMsg::Data { data }) => return Ok(Some((Stream::Out, data))),
                Some(ChannelMsg::ExtendedData {
                    data,
                    ext: STANDARD_ERROR,
                }) => return Ok(Some((Stream::Err, data))),
                // The status may come before the last of the output.
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.end(Status::Exit(exit_status.cast_signed()));
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.end(Status::Signal(signal_name_text(&signal_name)));
                }
                Some(ChannelMsg::Failure) => {
                    return Err(GuestError::Refused {
                        label: self.label.clone(),
                        doing: self.doing.clone(),
                    });
                }
                // A channel that ends without a status was cut off.
                Some(ChannelMsg::Close) | None => {
                    return if self.status.is_some() {
                        Ok(None)
                    } else {
                        Err(self.lost())
                    };
                }
                Some(_) => {}
            }
        }
    }

    /// How it ended, once `next` has given `None`.
    pub(super) fn finish(self) -> Result<Status, GuestError> {
        match &self.status {
            Some((status, _)) => Ok(status.clone()),
            None => Err(self.lost()),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    fn end(&mut self, status: Status) {
        self.status.get_or_insert((status, Instant::now()));
    }

    fn lost(&self) -> GuestError {
        GuestError::ConnectionLost {
            label: self.label.clone(),
            doing: self.doing.clone(),
        }
    }
}

fn signal_name_text(signal: &russh::Sig) -> String {
    use russh::Sig;
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
    .to_owned()
}
