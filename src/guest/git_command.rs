//! git as a process: never asks, never takes for ever, and says nothing it should not.

use std::process::{Output, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;

use super::error::GuestError;
use super::git_address::Address;

/// Of what git says, this much is shown.
const SHOWN_LINES: usize = 20;

/// git with nothing of a surrounding repository, hook or terminal.
fn git() -> Command {
    let mut command = Command::new("git");
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_CEILING_DIRECTORIES",
        "GIT_QUARANTINE_PATH",
        "GIT_TRACE",
        "GIT_TRACE_CURL",
        "GIT_CURL_VERBOSE",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
    ] {
        command.env_remove(name);
    }
    command
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .env("GIT_LFS_SKIP_SMUDGE", "1")
        .env("GIT_ADVICE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Its helpers go when it does.
        .process_group(0);
    command
}

/// git in a repository of the cache.
pub(super) fn local(repository: &Utf8Path) -> Command {
    let mut command = git();
    command.arg("--git-dir").arg(repository);
    command
}

/// git towards a server: it never asks.
pub(super) async fn remote(address: &Address) -> Command {
    let mut command = git();
    command.args(["-c", "core.askPass=", "-c", "protocol.version=2"]);
    let is_set = ["GIT_SSH_COMMAND", "GIT_SSH"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if address.is_ssh() && !is_set && !has_ssh_command().await {
        command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20");
    }
    command
}

/// Whether the user's git has an SSH command of its own.
async fn has_ssh_command() -> bool {
    let mut command = git();
    command.args(["config", "--get", "core.sshCommand"]);
    // A git that cannot be run is reported by whoever needs it.
    command
        .output()
        .await
        .is_ok_and(|said| said.status.success())
}

/// Runs git; anything but success is an error that shows what it said.
pub(super) async fn run(
    command: Command,
    address: &Address,
    doing: &'static str,
    limit: Duration,
) -> Result<Output, GuestError> {
    let output = start(command, address, doing, limit).await?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
    let printable: String = last
        .chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect();
    Err(GuestError::Git {
        doing,
        url: address.shown().to_owned(),
        output: address.redact(&printable),
    })
}

/// Ends a process group, unless it was let go.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // One that has ended by itself is no error.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs git to its end, whatever that is.
pub(super) async fn start(
    mut command: Command,
    address: &Address,
    doing: &'static str,
    limit: Duration,
) -> Result<Output, GuestError> {
    let child = command
        .spawn()
        .map_err(|cause| GuestError::NoGit { cause })?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(pid.and_then(Pid::from_raw));
    let output = timeout(limit, child.wait_with_output())
        .await
        .map_err(|_elapsed| GuestError::GitTimeout {
            doing,
            url: address.shown().to_owned(),
            limit,
        })?
        .map_err(|cause| GuestError::NoGit { cause })?;
    // It has ended and been waited for: its number may be another's soon.
    group.0 = None;
    Ok(output)
}
