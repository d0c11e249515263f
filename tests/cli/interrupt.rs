//! Ctrl-C: what the plan calls ephemeral is removed before the program ends.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::guests;
use crate::workspace::Workspace;

#[test]
fn an_interrupted_test_leaves_no_droplet() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: stop
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    run:
      - name: wait
        command: echo waiting; sleep 600
"#,
    );
    for (signal, code) in [
        (libc::SIGINT, 130),
        (libc::SIGTERM, 143),
        // The terminal was closed.
        (libc::SIGHUP, 129),
    ] {
        let mut test = workspace
            .command(&["test", "--local"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut err = BufReader::new(test.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("| waiting") {
            line.clear();
            assert!(
                err.read_line(&mut line).expect("read") > 0,
                "it ended early"
            );
        }
        let pid = i32::try_from(test.id()).expect("a process id");
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut err, &mut rest).expect("read");
        assert_eq!(test.wait().expect("ended").code(), Some(code), "{rest}");
        workspace.assert_empty();
    }
}

#[test]
fn nobody_listening_does_not_keep_clean_up_from_being_done() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: deaf
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run: [{ name: talk, command: "seq 1 5000; echo ran >/tmp/x" }]
"#,
    );
    let mut test = workspace
        .command(&["test", "--local", "-vv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Both readers go away at once, as those of `2>&1 | head -1` do.
    drop(test.stdout.take());
    let mut line = String::new();
    let mut err = BufReader::new(test.stderr.take().expect("piped"));
    err.read_line(&mut line).expect("read");
    drop(err);
    assert_eq!(test.wait().expect("ended").code(), Some(0));
    workspace.assert_empty();
}
