//! One run for an environment at a time, on all machines that share a store.

use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::s3::{KEY, SECRET, Server};
use crate::workspace::{Ran, Running, Workspace};

const ONE: &str = r#"
version: 1
project: one
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb }
"#;

/// Two machines with one account: the workspace's folder, and one below it.
struct Machines {
    workspace: Workspace,
    port: u16,
}

impl Machines {
    fn new(port: u16) -> Self {
        let workspace = Workspace::with(ONE);
        workspace.write("elsewhere/dewpoint.yaml", ONE);
        workspace.up(&["--without-guests"]);
        Self { workspace, port }
    }

    fn command(&self, arguments: &[&str], lock: &str) -> Command {
        let mut command = self.workspace.command(arguments);
        command.args(["--local", "--lock", lock]);
        Server::used_by(self.port, &mut command);
        command
    }

    fn elsewhere(&self, arguments: &[&str], lock: &str) -> Ran {
        let mut command = self.command(arguments, lock);
        command.current_dir(self.workspace.path("elsewhere"));
        self.workspace.finish(command)
    }

    /// An apply in its midst: the cloud leaves it without an answer when it asks for the SSH key.
    fn held_apply(&self, options: &[&str], lock: &str) -> Running {
        self.workspace.fault(&json!({
            "method": "POST", "path": "/v2/account/keys", "fault": { "delay": { "ms": 600_000 } }
        }));
        let apply = Running::of(self.command(&[&["apply", "--yes"], options].concat(), lock));
        // Wait for the level, not for a time.
        while self.workspace.names("firewalls").is_empty() {
            std::thread::yield_now();
        }
        apply
    }

    /// How many requests were to change something.
    fn writes(&self) -> usize {
        let requests = self.workspace.requests();
        let is_write = |request: &&serde_json::Value| {
            request["method"] != "GET"
                && request["path"]
                    .as_str()
                    .is_some_and(|path| path.starts_with("/v2/"))
        };
        requests.iter().filter(is_write).count()
    }
}

fn signal(running: &Running, signal: libc::c_int) {
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(running.pid(), signal) }, 0);
}

#[test]
fn of_two_machines_one_works_and_the_other_says_who_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let machines = Machines::new(server.port);
    let lock = "s3://locks/team";
    let mut apply = machines.held_apply(&[], lock);
    let refused = machines
        .elsewhere(&["destroy", "--yes", "-v"], lock)
        .expect(1);
    let holder = format!(
        "one / main is locked by `dewpoint apply` (process {} on ",
        apply.pid()
    );
    // As one line: messages are folded.
    let said = refused.err.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = said.replace("│ ", "");
    assert!(said.contains(&holder), "{}", refused.all());
    assert!(said.contains(", since 2"), "{}", refused.all());
    assert!(!refused.err.contains(SECRET) && !refused.err.contains(KEY));
    // With `-v` it would list its calls.
    assert!(!refused.err.contains("/v2/"), "{}", refused.all());
    // Interrupted, it lets go: no lease has to run out.
    signal(&apply, libc::SIGINT);
    apply.until("SIGINT: no new steps");
    signal(&apply, libc::SIGINT);
    apply.end();
    let done = machines
        .elsewhere(&["destroy", "--yes", "-vv"], lock)
        .expect(0);
    assert!(!done.err.contains(SECRET), "{}", done.all());
    machines.workspace.assert_empty();

    // A store that keeps nobody apart is found out, and a bucket that is not there is told.
    machines
        .elsewhere(&["destroy", "--yes"], "s3://careless/team")
        .expect(1)
        .says("dewpoint::store::not_exclusive");
    machines
        .elsewhere(&["destroy", "--yes"], "s3://nowhere/team")
        .expect(1)
        .says("NoSuchBucket")
        .says("does the bucket exist");
    let mut command = machines.command(&["destroy", "--yes"], lock);
    command.env_remove("AWS_SECRET_ACCESS_KEY");
    machines
        .workspace
        .finish(command)
        .expect(1)
        .says("AWS_SECRET_ACCESS_KEY is not set");
}

#[test]
fn who_was_paused_for_longer_than_the_lease_changes_nothing_any_more() {
    let Some(server) = Server::start() else {
        return;
    };
    let machines = Machines::new(server.port);
    let lock = "s3://locks/team";
    let lease = ["--lock-lease", "15s"];
    let apply = machines.held_apply(&lease, lock);
    signal(&apply, libc::SIGSTOP);
    // The other machine waits until the lease has run out, takes the lock, and cleans up.
    machines
        .elsewhere(&["destroy", "--yes", "--lock-timeout", "5m"], lock)
        .expect(0);
    machines.workspace.assert_empty();
    let writes = machines.writes();
    signal(&apply, libc::SIGCONT);
    let (code, err) = apply.end();
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("the lock on one / main was lost"), "{err}");
    assert!(
        err.contains("clean-up is left to whoever has the lock now"),
        "{err}"
    );
    assert_eq!(machines.writes(), writes, "{err}");
    machines.workspace.assert_empty();
}

#[test]
fn a_folder_that_machines_share_holds_locks_too() {
    let machines = Machines::new(9);
    let shared = machines.workspace.path("shared");
    std::fs::create_dir(&shared).expect("a folder");
    let lock = format!("file://{}", shared.display());
    let apply = machines.held_apply(&[], &lock);
    // Killed: nothing is let go.
    signal(&apply, libc::SIGKILL);
    apply.end();
    machines
        .elsewhere(&["destroy", "--yes"], &lock)
        .expect(1)
        .says("dewpoint::execute::locked");
    // As if its lease had run out.
    let object = shared.join("locks/one/main/0000000001");
    let file = std::fs::File::options()
        .append(true)
        .open(&object)
        .expect("the lock");
    file.set_modified(SystemTime::now() - Duration::from_secs(61))
        .expect("set back");
    machines.elsewhere(&["destroy", "--yes"], &lock).expect(0);
    machines.workspace.assert_empty();
    // The lock that was let go stays, marked; what was before it is gone.
    assert!(!object.exists());
    let object = std::fs::read_to_string(shared.join("locks/one/main/0000000002"));
    assert!(object.expect("the lock").contains(r#""released":"#));
}
