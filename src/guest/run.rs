//! A script on a droplet: its environment, its end, and the end of everything it started.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep_until};

use super::connect::Session;
use super::error::GuestError;
use super::exec::{Exec, Status};
use super::output::{Lines, OutputSink, Stream};
use super::shell::{check_variable, quote};
use crate::secret::Secret;

/// How long the processes of a run have between TERM and KILL.
const KILL_AFTER_SECONDS: u64 = 5;
/// How long after that the end of the command is waited for.
const KILL_SLACK: Duration = Duration::from_secs(3);

/// A script to run.
#[derive(Debug, Clone)]
pub struct RemoteCommand {
    /// What it is called: for messages and for the script's file name.
    pub name: String,
    /// The script. Run by `bash -eo pipefail`, by `sh -e` where there is no bash; its standard
    /// input is empty.
    pub script: String,
    /// Environment variables, in order.
    pub env: Vec<(String, String)>,
    /// Environment variables that never stand in an argument, a file or a message.
    pub secrets: Vec<(String, Secret<String>)>,
    /// The folder it runs in; the user's home if there is none.
    pub cwd: Option<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl RemoteCommand {
    /// A script without anything around it.
    #[must_use]
    pub fn new(name: &str, script: String) -> Self {
        Self {
            name: name.to_owned(),
            script,
            env: Vec::new(),
            secrets: Vec::new(),
            cwd: None,
            timeout: None,
        }
    }
}

/// How a script ended. A lost connection is an error instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It returned this code; 0 is success.
    Exit(i32),
    /// A signal of this name (`KILL`, `SEGV`) ended its shell.
    Signal(String),
    /// It took too long, and all its processes were ended.
    TimedOut,
}

impl Session {
    /// Runs a script to its end, handing its output over line by line.
    ///
    /// Everything goes over standard input, so that nothing needs quoting twice and no secret
    /// stands in an argument. That input stays open as a lifeline: when it ends (timeout, this
    /// future dropped, connection lost), the script and all it started get TERM and, 5 s later,
    /// KILL. What a script that *ended* left in the background goes on.
    ///
    /// # Errors
    /// When a variable's name is none, or the connection is lost before the script's end is known.
    pub async fn run(
        &self,
        command: &RemoteCommand,
        output: &mut dyn OutputSink,
    ) -> Result<Ended, GuestError> {
        let run_id = ulid::Ulid::generate().to_string();
        let program = program(command, &run_id)?;
        let doing = format!("running `{}`", command.name);
        let mut exec = self.exec(&loader(program.len()), &doing).await?;
        let mut stdin = exec.stdin();
        let send = async {
            // If the other side is gone, `next` says so.
            let _ = stdin.write_all(program.as_bytes()).await;
        };
        tokio::pin!(send);

        let mut streams = Streams::new(output, &run_id);
        let limit = command.timeout.map(|limit| Instant::now() + limit);
        let mut is_sending = true;
        let mut give_up = None;
        let ended = loop {
            let deadline = give_up.or(limit);
            tokio::select! {
                biased;
                () = &mut send, if is_sending => is_sending = false,
                chunk = exec.next() => match chunk? {
                    Some((stream, bytes)) => {
                        streams.feed(stream, &bytes);
                        // Whoever drives this may have to hold it up: a piece can be 32,000 lines.
                        tokio::task::yield_now().await;
                    }
                    None => break exec.finish()?,
                },
                // A script that has ended is past its limit: only its output is still coming.
                () = sleep_until(deadline.unwrap_or_else(Instant::now)),
                    if deadline.is_some() && !exec.has_ended() => {
                    if give_up.is_some() {
                        streams.flush();
                        self.kill(exec, &run_id).await?;
                        return Ok(Ended::TimedOut);
                    }
                    give_up = Some(Instant::now() + Duration::from_secs(KILL_AFTER_SECONDS) + KILL_SLACK);
                    exec.end_input().await?;
                }
            }
        };
        streams.flush();
        Ok(match ended {
            _ if give_up.is_some() => Ended::TimedOut,
            Status::Exit(code) => Ended::Exit(code),
            Status::Signal(name) => Ended::Signal(name),
        })
    }

    /// The last resort, over a channel of its own: KILL for everything that bears the run's mark.
    async fn kill(&self, exec: Exec, run_id: &str) -> Result<(), GuestError> {
        drop(exec);
        let script = format!("{}\nkill -KILL $(marked) 2>/dev/null || :", marked(run_id));
        let command = format!("exec sh -c {}", quote(&script));
        self.exec_capture(&command).await.map(drop)
    }
}

/// Both streams of a command on their way to the sink.
struct Streams<'a> {
    out: Lines,
    err: Lines,
    sink: &'a mut dyn OutputSink,
    /// What the line that tells of the failed command begins with.
    mark: String,
}

impl<'a> Streams<'a> {
    fn new(sink: &'a mut dyn OutputSink, run_id: &str) -> Self {
        Self {
            out: Lines::default(),
            err: Lines::default(),
            sink,
            mark: line_mark(run_id),
        }
    }

    fn feed(&mut self, stream: Stream, bytes: &[u8]) {
        let lines = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let (sink, mark) = (&mut *self.sink, self.mark.as_str());
        lines.feed(bytes, &mut |line| match line.strip_prefix(mark) {
            Some(number) => sink.failed_at(number.parse().unwrap_or_default()),
            None => sink.line(stream, line),
        });
    }

    fn flush(&mut self) {
        self.out
            .flush(&mut |line| self.sink.line(Stream::Out, line));
        self.err
            .flush(&mut |line| self.sink.line(Stream::Err, line));
    }
}

/// The command line: takes the program of this length from its input and becomes it. The program
/// is whole or not run at all, should the connection break while it is sent.
pub(super) fn loader(length: usize) -> String {
    let script = format!(
        "program=$(head -c {length}; echo x); program=${{program%x}}\n\
         [ \"$(printf %s \"$program\" | wc -c)\" -eq {length} ] || exit 255\n\
         eval \"$program\""
    );
    format!("exec sh -c {}", quote(&script))
}

/// What precedes the number of the line whose command ended the script.
fn line_mark(run_id: &str) -> String {
    format!("dewpoint {run_id} line ")
}

/// What bash reads before the script: from then on it tells which line's command ends it. Commands
/// whose failure is taken care of, and those within a subshell, end nothing. A script that is given
/// a `BASH_ENV` of its own keeps that instead.
fn tell_line(run_id: &str) -> String {
    let mark = line_mark(run_id);
    format!(
        "unset BASH_ENV\nset -E\ntrap '[[ $- != *e* || $BASH_SUBSHELL != 0 ]] || printf \"{mark}%s\\n\" \"$LINENO\" >&2' ERR\n"
    )
}

/// A shell function that names the processes of a run: those that inherited its mark.
fn marked(run_id: &str) -> String {
    format!(
        "marked() {{ grep -ls DEWPOINT_TRY_ID={run_id} /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }}"
    )
}

/// The program that becomes the script.
///
/// It leaves a watcher behind, in a session of its own, which waits for the end of the lifeline.
/// The shell then *becomes* the script, so that exit codes and signals are the script's own, and
/// its signals are not ignored as those of a shell's background jobs are.
fn program(command: &RemoteCommand, run_id: &str) -> Result<String, GuestError> {
    if command.script.contains('\0') {
        return Err(GuestError::BadVariable {
            name: command.name.clone(),
            problem: "the script has a zero byte",
        });
    }
    let mut text = String::new();
    let plain = command.env.iter().map(|(name, value)| (name, value));
    // Secrets are exposed to become the script's environment, in a text that only goes over the
    // encrypted channel.
    let secret = command
        .secrets
        .iter()
        .map(|(name, value)| (name, value.expose()));
    for (name, value) in plain.chain(secret) {
        check_variable(name, value)?;
        text.push_str(&format!("export {name}={}\n", quote(value)));
    }
    let cwd = match &command.cwd {
        Some(cwd) => quote(cwd),
        None => "\"$HOME\"".to_owned(),
    };
    text.push_str(&format!(
        r#"export DEWPOINT_TRY_ID={run_id}
say() {{ printf 'dewpoint: %s\n' "$*" >&2; }}
cd {cwd} 2>/dev/null || {{ say "there is no folder "{cwd}; exit 125; }}
folder=$(mktemp -d "${{TMPDIR:-/tmp}}/dewpoint.XXXXXXXX") || {{ say 'no temporary folder can be made'; exit 125; }}
script=$folder/{file}
printf '%s\n' {script} >"$script" || {{ say 'the script cannot be written'; rm -rf "$folder"; exit 125; }}
printf '%s' {tell} >"$folder/tell" || {{ say 'the script cannot be written'; rm -rf "$folder"; exit 125; }}
exec 3<&0 </dev/null
watcher={watcher}
if command -v setsid >/dev/null 2>&1
then env -u DEWPOINT_TRY_ID setsid sh -c "$watcher" dewpoint $$ "$folder" <&3 >/dev/null 2>&1 3<&- &
else env -u DEWPOINT_TRY_ID sh -c "$watcher" dewpoint $$ "$folder" <&3 >/dev/null 2>&1 3<&- &
fi
if command -v bash >/dev/null 2>&1
then BASH_ENV=${{BASH_ENV:-$folder/tell}} exec bash -eo pipefail "$script" 3<&-
else exec sh -e "$script" 3<&-
fi
"#,
        file = file_name(&command.name),
        script = quote(&command.script),
        tell = quote(&tell_line(run_id)),
        watcher = quote(&watcher(run_id)),
    ));
    Ok(text)
}

/// The watcher: sleeps until its input ends. If the script is still there then, everything that
/// bears the run's mark or is in the script's process group is ended.
fn watcher(run_id: &str) -> String {
    let marked = marked(run_id);
    let rounds = KILL_AFTER_SECONDS * 5;
    format!(
        r#"trap '' TERM HUP INT
{marked}
is_up() {{ grep -qs DEWPOINT_TRY_ID={run_id} "/proc/$1/environ"; }}
read -r ended
if is_up "$1"; then
  kill -TERM -- "-$1" $(marked) 2>/dev/null || kill -TERM $(marked) 2>/dev/null
  round=0
  while [ "$round" -lt {rounds} ] && [ -n "$(marked)" ]; do
    round=$((round + 1)); sleep 0.2
  done
  kill -KILL -- "-$1" 2>/dev/null
  while [ -n "$(marked)" ] && [ "$round" -lt {last} ]; do
    kill -KILL $(marked) 2>/dev/null
    round=$((round + 1)); sleep 0.1
  done
fi
rm -rf "$2""#,
        last = rounds + 20,
    )
}

/// A name for the script's file, which shells put before their messages.
fn file_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let trimmed = plain.trim_matches('-');
    if trimmed.is_empty() {
        "script".to_owned()
    } else {
        trimmed.to_owned()
    }
}
