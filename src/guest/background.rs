//! Scripts that run on after their session: started, watched, stopped.
//!
//! What must be known of one lies in a folder on the droplet: what it was started as, its log, how
//! it ended. Its processes are those that inherited its mark, those of its session, and whatever
//! descends from one of those, so that a listener can be told from somebody else's.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::connect::Session;
use super::error::GuestError;
use super::exec::{Status, printable};
use super::output::{Lines, OutputSink, Stream};
use super::run::{RemoteCommand, loader};
use super::scripts;
use super::shell::{check_variable, quote};
use super::sync;
use crate::digest::Digest;
use crate::shared::Shared;

/// The most that one look takes of a log: what is beyond comes with the next.
const LOOK_BYTES: u64 = 256 * 1024;
/// How long the answer of an address may take.
const ANSWER_SECONDS: u32 = 5;
/// How long a command that asks whether a step is ready may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Debug)]
pub struct Start<'a> {
    /// The script. Its time is not limited.
    pub command: &'a RemoteCommand,
    /// All that makes it what it is: as long as this is the same, what runs is left alone.
    pub definition: &'a Digest,
    /// The folder of its source, whose files are part of it.
    pub source: Option<&'a str>,
    /// Whether what runs is started anew though nothing is known to have changed.
    pub anew: bool,
}

/// What a start came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// It was not running.
    Started,
    /// It was running, and something had changed.
    Restarted,
    /// It was running, and is left alone.
    LeftAlone,
}

/// What is asked of a step that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Whether it runs.
    Alive,
    /// Whether it listens on this port.
    Port(u16),
    /// Whether an address answers with a success; and if a port is named, whether it is the step
    /// that listens there.
    Address {
        /// The address.
        url: String,
        /// The port, when the address is on the droplet itself.
        own_port: Option<u16>,
    },
}

/// What one look at a step has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It runs, and the answer was yes.
    Ready,
    /// It runs, and is not ready: why, in words.
    NotReady(String),
    /// It runs, and somebody else has its port.
    PortTaken {
        /// The port.
        port: u16,
        /// Process and command line, such as `process 12: nginx`.
        by: String,
    },
    /// It does not run any more.
    Ended {
        /// The status its shell returned; none when that was ended itself.
        status: Option<i32>,
        /// Who has the port that was asked for.
        port_taken_by: Option<String>,
    },
}

/// How a step stands that was started some time ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it runs.
    pub is_running: bool,
    /// The status its shell returned, if it did.
    pub status: Option<i32>,
    /// The last of its log.
    pub log: Vec<u8>,
    /// Bytes before that.
    pub cut: u64,
}

impl Session {
    /// Starts a script that runs on when this session is over, unless it runs already and nothing
    /// of it has changed. Its output goes to a log on the droplet.
    ///
    /// # Errors
    /// When its folder is not there, a variable's name is none, or what ran before does not end.
    pub async fn start_background(&self, start: &Start<'_>) -> Result<Began, GuestError> {
        let program = start_program(start)?;
        let doing = format!("starting `{}`", start.command.name);
        let mut exec = self.exec(&loader(program.len()), &doing).await?;
        let mut stdin = exec.stdin();
        let send = async {
            // If the other side is gone, `next` says so.
            let _ = stdin.write_all(program.as_bytes()).await;
        };
        tokio::pin!(send);
        let mut is_sending = true;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = loop {
            tokio::select! {
                () = &mut send, if is_sending => is_sending = false,
                chunk = exec.next() => match chunk? {
                    Some((Stream::Out, bytes)) => out.extend_from_slice(&bytes),
                    Some((Stream::Err, bytes)) => err.extend_from_slice(&bytes),
                    None => break exec.finish()?,
                },
            }
        };
        let word = String::from_utf8_lossy(&out);
        match (status, word.trim()) {
            (Status::Exit(0), "started") => Ok(Began::Started),
            (Status::Exit(0), "restarted") => Ok(Began::Restarted),
            (Status::Exit(0), "left") => Ok(Began::LeftAlone),
            (status, _) => Err(self.failed(&doing, &status.to_string(), &printable(&err))),
        }
    }

    /// Stops what was started in the background with all that it started: TERM, and KILL for what
    /// is left after 5 s. `keep` names what is let be; none of that stops everything. Returns the
    /// names of what was stopped.
    ///
    /// # Errors
    /// When something does not end.
    pub async fn stop_background(&self, keep: &[Shared<str>]) -> Result<Vec<String>, GuestError> {
        let doing = "stopping background steps";
        let out = self
            .sh_ok(&stop_script(keep), doing, tokio::io::empty())
            .await?;
        Ok(printable(&out).lines().map(ToOwned::to_owned).collect())
    }

    /// Stops one background step, and forgets how it ended. Its log stays.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop_one_background(&self, name: &str) -> Result<(), GuestError> {
        let doing = format!("stopping `{name}`");
        let script = format!("{}stop && rm -f -- \"$s/digest\" \"$s/exit\"", head(name));
        self.sh_ok(&script, &doing, tokio::io::empty())
            .await
            .map(drop)
    }

    /// How a background step stands, with at most so many of the last bytes of its log; `None` when
    /// none of that name was started here.
    ///
    /// # Errors
    /// When the droplet cannot be asked.
    pub async fn background_standing(
        &self,
        name: &str,
        last_bytes: u64,
    ) -> Result<Option<Standing>, GuestError> {
        let doing = format!("asking how `{name}` stands");
        let script = format!(
            r#"{head}[ -e "$s/id" ] || exit 0
{HOW}
size=$(wc -c <"$s/log" 2>/dev/null || echo 0); size=$((size))
cut=$((size > {last_bytes} ? size - {last_bytes} : 0))
printf 'log %s\n\n' "$cut"
tail -c "+$((cut + 1))" "$s/log" 2>/dev/null | head -c {last_bytes}
exit 0"#,
            head = head(name)
        );
        let said = self.sh_ok(&script, &doing, tokio::io::empty()).await?;
        let Some((facts, log)) = split(&said) else {
            return Ok(None);
        };
        Ok(Some(Standing {
            is_running: facts.alive,
            status: facts.status,
            log: log.to_vec(),
            cut: facts.log,
        }))
    }

    /// Runs a command that asks whether a step is ready; its last line when it is not.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn ask_command(&self, command: &RemoteCommand) -> Result<Option<String>, GuestError> {
        let mut command = command.clone();
        command.timeout = Some(command.timeout.unwrap_or(COMMAND_LIMIT).min(COMMAND_LIMIT));
        let mut last = String::new();
        let mut sink = |_: Stream, line: &str| {
            if !line.trim().is_empty() {
                last = line.to_owned();
            }
        };
        let ended = self.run(&command, &mut sink).await?;
        Ok(match ended {
            super::run::Ended::Exit(0) => None,
            super::run::Ended::Exit(_) if !last.is_empty() => Some(last),
            super::run::Ended::Exit(status) => Some(format!("exit status {status}")),
            super::run::Ended::Signal(name) => Some(format!("ended by SIG{name}")),
            super::run::Ended::TimedOut => Some("it takes too long".to_owned()),
        })
    }
}

/// Watches a step and its log.
#[derive(Debug)]
pub struct Watch {
    name: String,
    /// Bytes of the log that were seen; none before the first look at what was there before.
    seen: Option<u64>,
    lines: Lines,
}

impl Watch {
    /// Watches a step: its log from the beginning, or what is written from now on.
    #[must_use]
    pub fn new(name: &str, from_the_beginning: bool) -> Self {
        Self {
            name: name.to_owned(),
            seen: from_the_beginning.then_some(0),
            lines: Lines::default(),
        }
    }

    /// Hands over what is new in the log, and asks.
    ///
    /// # Errors
    /// When the droplet cannot be asked.
    pub async fn look(
        &mut self,
        session: &Session,
        probe: &Probe,
        output: &mut dyn OutputSink,
    ) -> Result<Look, GuestError> {
        let doing = format!("watching `{}`", self.name);
        let script = look_script(&self.name, self.seen, probe);
        let said = session.sh_ok(&script, &doing, tokio::io::empty()).await?;
        let Some((facts, log)) = split(&said) else {
            return Ok(Look::Ended {
                status: None,
                port_taken_by: None,
            });
        };
        self.seen = Some(facts.log + log.len() as u64);
        self.lines
            .feed(log, &mut |line| output.line(Stream::Out, line));
        Ok(facts.judge(probe))
    }

    /// Hands over what has no line end yet.
    pub fn finish(&mut self, output: &mut dyn OutputSink) {
        self.lines.flush(&mut |line| output.line(Stream::Out, line));
    }
}

/// What the droplet says before the log.
#[derive(Debug, Default)]
struct Facts {
    alive: bool,
    status: Option<i32>,
    /// Who holds the port: whether it is the step, and who else.
    port: Option<Result<(), String>>,
    /// What was wrong with an address's answer.
    answer: Option<String>,
    /// Where in the log the bytes begin.
    log: u64,
}

impl Facts {
    fn judge(self, probe: &Probe) -> Look {
        if !self.alive {
            return Look::Ended {
                status: self.status,
                port_taken_by: self.port.and_then(Result::err),
            };
        }
        let port = match probe {
            Probe::Alive => return Look::Ready,
            Probe::Port(port) => Some(*port),
            Probe::Address { own_port, .. } => *own_port,
        };
        if let Some(port) = port {
            match self.port {
                None => return Look::NotReady(format!("nothing listens on port {port}")),
                Some(Err(by)) => return Look::PortTaken { port, by },
                Some(Ok(())) => {}
            }
        }
        match self.answer {
            Some(words) => Look::NotReady(words),
            None => Look::Ready,
        }
    }
}

/// Facts and log of an answer; `None` when there is no such step.
fn split(said: &[u8]) -> Option<(Facts, &[u8])> {
    let end = said.windows(2).position(|pair| pair == b"\n\n")?;
    let mut facts = Facts::default();
    for line in printable(&said[..end]).lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "alive" => facts.alive = true,
            "status" => facts.status = rest.trim().parse().ok(),
            "own" => facts.port = Some(Ok(())),
            "taken" => facts.port = Some(Err(rest.to_owned())),
            "answer" => facts.answer = Some(rest.to_owned()),
            "log" => facts.log = rest.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    Some((facts, &said[end + 2..]))
}

/// A name as that of a folder.
fn key(name: &str) -> String {
    Digest::of_bytes(name.as_bytes()).short().to_owned()
}

/// What every script begins with: `$s`, the folder of the step, and `members`, which names its
/// processes.
fn head(name: &str) -> String {
    format!(
        "set -u\n{state}{MEMBERS}s=$state/background/{key}\n",
        state = sync::STATE_FOLDER,
        key = key(name),
    )
}

/// `members`: the processes of the step whose folder is `$s`. `stop`: ends them.
///
/// A session's number is not given to another process while one of the session is left; so it
/// counts as long as nobody else bears it.
const MEMBERS: &str = r#"members() {
  id=$(cat "$s/id" 2>/dev/null) && [ -n "$id" ] || return 0
  [ "$(cat "$s/boot" 2>/dev/null)" = "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" ] || return 0
  leader=$(cat "$s/pid" 2>/dev/null)
  {
    grep -ls "DEWPOINT_BACKGROUND_ID=$id" /proc/[0-9]*/environ 2>/dev/null | sed 's|^/proc/\([0-9]*\)/.*|m \1|'
    cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) (.*) \(.\) \([0-9]*\) [0-9]* \([0-9]*\) .*/s \1 \2 \3 \4/p'
  } | awk -v leader="${leader:-none}" '
    $1 == "m" { mine[$2] = 1 }
    $1 == "s" { state[$2] = $3; parent[$2] = $4; session[$2] = $5 }
    END {
      if ((leader in mine) || !(leader in state)) for (p in session) if (session[p] == leader) mine[p] = 1
      do {
        more = 0
        for (p in parent) if (!(p in mine) && (parent[p] in mine)) { mine[p] = 1; more = 1 }
      } while (more)
      for (p in mine) if ((p in state) && state[p] != "Z" && state[p] != "X") print p
    }'
}
left() { for p in $all; do [ -d "/proc/$p" ] && ! grep -qs '^State:[[:space:]]*[ZX]' "/proc/$p/status" && echo "$p"; done; members; }
stop() {
  all=$(members)
  [ -z "$all" ] || kill -TERM $all 2>/dev/null
  round=0
  while rest=$(left); [ -n "$rest" ]; do
    round=$((round + 1))
    if [ "$round" -gt 75 ]; then
      printf 'these processes do not end: %s\n' "$(echo $rest)" >&2
      return 1
    fi
    [ "$round" -le 25 ] || kill -KILL $rest 2>/dev/null
    sleep 0.2
  done
}
"#;

/// Says whether the step runs, and the status its shell returned.
const HOW: &str = r#"mine=$(members)
[ -z "$mine" ] || echo alive
if [ -e "$s/exit" ]; then printf 'status %s\n' "$(cat "$s/exit")"; fi"#;

/// Says who listens on the port `$port`.
const PORT: &str = r#"inodes=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v want="$(printf ':%04X' "$port")" '$4 == "0A" && substr($2, length($2) - 4) == want { print $10 }')
holds() {
  for inode in $inodes; do
    ls -l "/proc/$1/fd" 2>/dev/null | grep -q "socket:\[$inode\]" && return 0
  done
  return 1
}
listener() {
  for p in $mine; do holds "$p" && { echo own; return; }; done
  for p in /proc/[0-9]*; do
    p=${p#/proc/}
    holds "$p" && { printf 'taken process %s: %s\n' "$p" "$(tr '\0\n' '  ' <"/proc/$p/cmdline" 2>/dev/null | cut -c1-200)"; return; }
  done
  echo 'taken a process of another user'
}
[ -z "$inodes" ] || listener"#;

fn look_script(name: &str, seen: Option<u64>, probe: &Probe) -> String {
    let port = match probe {
        Probe::Alive => None,
        Probe::Port(port) => Some(*port),
        Probe::Address { own_port, .. } => *own_port,
    };
    let port = port.map_or_else(String::new, |port| format!("port={port}\n{PORT}\n"));
    let answer = match probe {
        Probe::Address { url, .. } => ask_address(url),
        Probe::Alive | Probe::Port(_) => String::new(),
    };
    // What ends between the question and the answer is not ready.
    let again = if answer.is_empty() { "" } else { HOW };
    let first = if answer.is_empty() {
        HOW
    } else {
        "mine=$(members)"
    };
    let seen = seen.map_or_else(|| "$size".to_owned(), |seen| seen.to_string());
    format!(
        r#"{head}[ -e "$s/id" ] || exit 0
{first}
{port}{answer}{again}
size=$(wc -c <"$s/log" 2>/dev/null || echo 0); size=$((size))
printf 'log %s\n\n' "{seen}"
tail -c "+$(({seen} + 1))" "$s/log" 2>/dev/null | head -c {LOOK_BYTES}
exit 0"#,
        head = head(name),
    )
}

/// Asks an address with whatever the image has for it; says what was wrong.
fn ask_address(url: &str) -> String {
    format!(
        r#"url={url}
ask() {{
  if command -v curl >/dev/null 2>&1; then
    curl --silent --show-error --fail --location --max-redirs 5 --noproxy '*' --max-time {ANSWER_SECONDS} --output /dev/null -- "$url" 2>&1
  elif command -v wget >/dev/null 2>&1; then
    env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY wget -q -T {ANSWER_SECONDS} -O /dev/null -- "$url" 2>&1
  elif command -v python3 >/dev/null 2>&1; then
    python3 -c 'import sys, urllib.request as u
try: u.build_opener(u.ProxyHandler({{}})).open(sys.argv[1], timeout={ANSWER_SECONDS})
except Exception as e: sys.exit(str(e))' "$url" 2>&1
  else
    echo 'the image has none of curl, wget and python3 to ask it with'; return 1
  fi
}}
said=$(ask) || printf 'answer %s: %s\n' "$url" "$(printf '%s' "${{said:-it does not answer}}" | tail -n 1 | cut -c1-300)"
"#,
        url = quote(url),
    )
}

/// The program that starts a step. It becomes no script itself: the step is a process of its own.
fn start_program(start: &Start<'_>) -> Result<String, GuestError> {
    let command = start.command;
    if command.script.contains('\0') {
        return Err(GuestError::BadVariable {
            name: command.name.clone(),
            problem: "the script has a zero byte",
        });
    }
    let mut exports = String::new();
    let plain = command.env.iter().map(|(name, value)| (name, value));
    // Secrets are exposed to become the step's environment, in a text that only goes over the
    // encrypted channel.
    let secret = command
        .secrets
        .iter()
        .map(|(name, value)| (name, value.expose()));
    for (name, value) in plain.chain(secret) {
        check_variable(name, value)?;
        exports.push_str(&format!("export {name}={}\n", quote(value)));
    }
    let cwd = match &command.cwd {
        Some(cwd) => quote(cwd),
        None => "\"$HOME\"".to_owned(),
    };
    let files = match start.source {
        Some(into) => format!("$(sha256sum <{} 2>/dev/null)", sync::memory_of(into)),
        None => String::new(),
    };
    // Nothing of ours may be a variable where the script's own are set: they may have any name.
    Ok(format!(
        r#"{head}umask 077
[ -d {cwd} ] || {{ echo there is no folder {cwd} >&2; exit 125; }}
wanted="{definition} {files}"
did=started
if [ -n "$(members)" ]; then
  if [ {anew} = 0 ] && [ "$(cat "$s/digest" 2>/dev/null)" = "$wanted" ]; then echo left; exit 0; fi
  did=restarted
  stop || exit 1
fi
mkdir -p -- "$s" || exit 1
chmod 700 "$state"
rm -f -- "$s/exit" "$s/pid" "$s/id" "$s/log.old"
[ ! -e "$s/log" ] || mv -f -- "$s/log" "$s/log.old"
printf '%s\n' {script} >"$s/script" || exit 1
printf '%s\n' {name} >"$s/name"
printf '%s\n' "$wanted" >"$s/digest"
cat /proc/sys/kernel/random/boot_id >"$s/boot" 2>/dev/null
: >"$s/log"
printf '%s\n' {id} >"$s/id"
set -- "$s" "$did"
(
unset DEWPOINT_TRY_ID
{exports}export DEWPOINT_BACKGROUND_ID={id}
umask 022
cd {cwd} || exit 125
if command -v setsid >/dev/null 2>&1
then exec setsid sh -c {supervisor} dewpoint "$1"
else exec sh -c {supervisor} dewpoint "$1"
fi
) </dev/null >>"$1/log" 2>&1 &
round=0
until [ -s "$1/pid" ] || [ "$round" -ge 100 ]; do round=$((round + 1)); sleep 0.05; done
echo "$2""#,
        head = head(&command.name),
        definition = start.definition,
        anew = u8::from(start.anew),
        script = quote(&command.script),
        name = quote(&command.name),
        id = ulid::Ulid::generate(),
        supervisor = quote(SUPERVISOR),
    ))
}

/// Waits for the script, to tell how it ended.
const SUPERVISOR: &str = r#"echo $$ >"$1/pid.new" && mv -f "$1/pid.new" "$1/pid"
if command -v bash >/dev/null 2>&1
then bash -eo pipefail "$1/script"
else sh -e "$1/script"
fi
echo $? >"$1/exit.new" && mv -f "$1/exit.new" "$1/exit""#;

/// Stops what has none of these names. Root's own folder is looked through by root alone, as is
/// every other user's by that user: what was started was started by whoever logs in.
fn stop_script(keep: &[Shared<str>]) -> String {
    let keep: String = keep.iter().map(|name| format!(" {}", key(name))).collect();
    format!(
        r#"{head}for s in "$state"/background/*; do
  [ -e "$s/id" ] || continue
  case ' {keep} ' in *" ${{s##*/}} "*) continue ;; esac
  was=$(members)
  stop || exit 1
  rm -f -- "$s/id" "$s/pid" "$s/digest" "$s/script"
  [ -z "$was" ] || cat "$s/name"
done"#,
        head = head(""),
    )
}

/// Writes the inventory and the names of the others, for all to read; what stands in /etc/hosts
/// beside the block that is dewpoint's stays as it is.
///
/// # Errors
/// When the droplet does not take it.
pub async fn write_inventory(
    session: &Session,
    inventory: &str,
    hosts: &str,
) -> Result<(), GuestError> {
    let script = scripts::as_root(&scripts::write_inventory(inventory.len()));
    let input = format!("{inventory}{hosts}");
    session
        .sh_ok(&script, "writing the inventory", input.as_bytes())
        .await
        .map(drop)
}
