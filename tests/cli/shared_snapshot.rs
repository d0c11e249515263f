//! Two environments of one project and the snapshot that both boot from.

use std::fs::File;
use std::io::Write as _;

use crate::guests;
use crate::workspace::{Asking, Running, Workspace};

const TWO: &str = r#"
version: 1
project: two
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - run: echo building the first
droplets:
  box:
    image: { snapshot: base }
    size: s-1vcpu-1gb
"#;

fn signal(running: &Running, signal: libc::c_int) {
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(running.pid(), signal) }, 0);
}

#[test]
fn it_is_built_once_and_never_pruned_while_the_other_is_worked_on() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(TWO);
    let mut first = Running::start(&workspace, &["apply", "--yes", "--env", "a"]);
    first.until("| building the first");
    // In the midst of it: the other has nothing to use yet, and waits.
    signal(&first, libc::SIGSTOP);
    let refused = workspace.local(&["apply", "--yes", "--env", "b", "--no-wait"]);
    refused
        .expect(1)
        .says("dewpoint::execute::project_locked")
        .says("`dewpoint apply --env a`");
    let mut second = Running::start(&workspace, &["apply", "--yes", "--env", "b"]);
    let waits = second.until("waiting, as the snapshots and volumes of two are being worked on by");
    assert!(
        waits.contains("`dewpoint apply --env a` (process "),
        "{waits}"
    );
    signal(&first, libc::SIGCONT);
    let (code, err) = first.end();
    assert_eq!(code, Some(0), "{err}");
    let (code, err) = second.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(!err.contains("building"), "{err}");
    assert_eq!(workspace.names("images").len(), 1);
    assert_eq!(workspace.names("droplets"), ["two-a-box", "two-b-box"]);

    // A new recipe, while somebody works on the other environment: what they may be about to use stays.
    workspace.write("dewpoint.yaml", &TWO.replace("the first", "the second"));
    let mut lock = File::options()
        .write(true)
        .truncate(true)
        .open(workspace.path(".dewpoint/locks/two-b.lock"))
        .expect("the lock");
    lock.lock().expect("nobody has it");
    let holder = serde_json::json!({
        "pid": std::process::id(),
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "command": "test",
        "since": "2026-08-01T00:00:00Z",
    });
    lock.write_all(holder.to_string().as_bytes())
        .expect("written");
    workspace
        .local(&["apply", "--yes", "--env", "a"])
        .expect(0)
        .says("left for a later apply, as it may be in use by environment b: `dewpoint test`");
    assert_eq!(workspace.names("images").len(), 2);
    drop(lock);
    // The next apply finds it.
    workspace.local(&["apply", "--yes", "--env", "a"]).expect(0);
    assert_eq!(workspace.names("images").len(), 1);
    workspace
        .local(&["destroy", "--yes", "--env", "b"])
        .expect(0);
    workspace
        .local(&["destroy", "--yes", "--project", "--env", "a"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn nobody_is_kept_waiting_while_somebody_thinks() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(TWO);
    let asks = "Only `yes` approves";
    let mut asked = Asking::start(&workspace, &["apply", "--env", "a"]);
    asked.until(asks);
    // What both need is made by whoever does not have to think.
    workspace
        .local(&["apply", "--yes", "--env", "b", "--no-wait"])
        .expect(0)
        .says("building the first");
    // So that plan would build it once more: it is not what it was made for any more.
    asked.answer("yes");
    let (code, said) = asked.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("dewpoint::cli::moved_meanwhile"), "{said}");
    assert_eq!(workspace.names("images").len(), 1);
    assert_eq!(workspace.names("droplets"), ["two-b-box"]);

    // Where nothing has moved it is carried out as it was shown.
    workspace.write("dewpoint.yaml", &TWO.replace("the first", "the second"));
    let mut asked = Asking::start(&workspace, &["apply", "--env", "a"]);
    asked.until(asks);
    asked.answer("yes");
    let (code, said) = asked.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("building the second"), "{said}");
    assert_eq!(workspace.names("droplets"), ["two-a-box", "two-b-box"]);
    for environment in ["a", "b"] {
        workspace
            .local(&["destroy", "--yes", "--env", environment])
            .expect(0);
    }
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}
