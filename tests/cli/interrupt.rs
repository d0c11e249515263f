//! Ctrl-C: what the plan calls ephemeral is removed before the program ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::FromRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::guests;
use crate::workspace::{Running, Workspace};

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
        command: echo half >half.txt; echo waiting; sleep 600
        artifacts: [half.txt]
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
        let mut waiting = 0;
        while waiting < 2 {
            line.clear();
            assert!(
                err.read_line(&mut line).expect("read") > 0,
                "it ended early"
            );
            waiting += usize::from(line.contains("| waiting"));
        }
        let pid = i32::try_from(test.id()).expect("a process id");
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut err, &mut rest).expect("read");
        assert_eq!(test.wait().expect("ended").code(), Some(code), "{rest}");
        workspace.assert_empty();
        // What there was of artifacts was brought back before the droplets went.
        for droplet in ["stop-main-box", "stop-main-box-2"] {
            let run = std::fs::read_dir(workspace.path(".dewpoint/runs"))
                .expect("runs")
                .map(|run| run.expect("an entry").path())
                .max()
                .expect("a run");
            let half = run.join("artifacts").join(droplet).join("half.txt");
            let half = std::fs::read_to_string(&half)
                .unwrap_or_else(|error| panic!("{}: {error}\n{rest}", half.display()));
            assert_eq!(half, "half\n");
        }
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

#[test]
fn an_interrupt_lets_no_volume_keep_a_droplet_waiting() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: haste
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run: [{ name: wait, command: "cd /mnt/data; echo waiting; sleep 600" }]
"#,
    );
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
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut err, &mut rest).expect("read");
    assert_eq!(test.wait().expect("ended").code(), Some(143), "{rest}");
    assert!(rest.contains("goes with its droplet"), "{rest}");
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("volumes"), ["haste-data"]);
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn a_closed_terminal_is_an_interrupt_and_leaves_no_droplet() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: gone
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run: [{ name: wait, command: "echo waiting; sleep 600" }]
"#,
    );
    let (mut window, mut terminal) = (0, 0);
    // SAFETY: both are places for one file descriptor, and the rest may be null.
    let opened = unsafe {
        libc::openpty(
            &raw mut window,
            &raw mut terminal,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert_eq!(opened, 0);
    // SAFETY: both were just opened, and are nobody else's.
    let (window, terminal) = unsafe { (File::from_raw_fd(window), File::from_raw_fd(terminal)) };
    // SAFETY: this descriptor is open; the child must not hold the window of its own terminal open.
    unsafe {
        use std::os::fd::AsRawFd as _;
        libc::fcntl(window.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
    }
    let mut command = workspace.command(&["test", "--local"]);
    let end = || Stdio::from(terminal.try_clone().expect("another"));
    command.stdin(end()).stdout(end()).stderr(end());
    // SAFETY: both calls may be made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(std::io::stdin())?;
            Ok(())
        });
    }
    let mut test = command.spawn().expect("the binary runs");
    drop(command);
    drop(terminal);
    let mut shown = BufReader::new(window);
    let mut line = Vec::new();
    while !String::from_utf8_lossy(&line).contains("| waiting") {
        line.clear();
        let read = shown.read_until(b'\n', &mut line).expect("read");
        assert!(read > 0, "it ended early");
    }
    drop(shown);
    assert_eq!(test.wait().expect("ended").code(), Some(129));
    workspace.assert_empty();
}

#[test]
fn twenty_half_made_droplets_are_gone_after_an_interrupt() {
    let workspace = Workspace::with(
        r#"
version: 1
project: twenty
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 1 }
"#,
    );
    workspace.up(&["--without-guests"]);
    // One is there before: then the key is known, and no create waits for another.
    workspace.local(&["apply", "--yes"]).expect(0);
    let before = workspace.requests().len();
    let text = workspace.read("dewpoint.yaml");
    workspace.write("dewpoint.yaml", &text.replace("count: 1", "count: 20"));
    // Ten more exist and are not up for long; the answer for the other nine is out for a while.
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "contains": "\"twenty-main-box-2\"", "times": 0,
        "fault": { "action": { "delay_ms": 60_000 } }
    }));
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "contains": "\"twenty-main-box-20\"", "times": 0,
        "fault": { "delay": { "ms": 3_000 } }
    }));
    let test = Running::start(&workspace, &["test"]);
    let are_half_made = || {
        let (_, faults) = workspace.call("GET", "/_local/faults", None);
        faults["faults"][1]["seen"] != 0 && workspace.names("droplets").len() == 11
    };
    while !are_half_made() {
        std::thread::yield_now();
    }
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(test.pid(), libc::SIGINT) }, 0);
    let (code, text) = test.end();
    assert_eq!(code, Some(130), "{text}");
    workspace.assert_empty();

    // In the order in which the API had done with them: nothing was made after the signal, and what
    // was known then went before the answer for the others was there.
    let is = |request: &Value, method: &str, status: u64| {
        let path = request["path"].as_str().unwrap_or_default();
        request["method"] == method
            && path.starts_with("/v2/droplets")
            && request["status"] == status
    };
    let told: Vec<&str> = workspace
        .requests()
        .iter()
        .skip(before)
        .filter_map(|request| match () {
            () if is(request, "POST", 202) => Some("made"),
            () if is(request, "DELETE", 204) => Some("deleted"),
            () => None,
        })
        .collect();
    // The first create was accepted before the signal: its answer may be noted before or after the
    // first delete, or, when the signal came before the answer, not at all.
    let of = |told: &[&str], what: &str| told.iter().filter(|told| **told == what).count();
    assert_eq!(of(&told, "deleted"), 20, "{told:?}\n{text}");
    assert!(of(&told, "made") <= 2, "{told:?}\n{text}");
    let last_made = told.iter().rposition(|what| *what == "made");
    let last_made = last_made.unwrap_or_else(|| panic!("{told:?}\n{text}"));
    assert_eq!(of(&told[..last_made], "deleted"), 11, "{told:?}\n{text}");
}

#[test]
fn an_interrupt_waits_neither_for_droplets_to_be_gone_nor_for_the_rate_limit() {
    let workspace = Workspace::with(
        r#"
version: 1
project: brief
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 1 }
"#,
    );
    workspace.up(&["--without-guests"]);
    // One is there before: then the key is known, and no create waits for another.
    workspace.local(&["apply", "--yes"]).expect(0);
    let before = workspace.requests().len();
    let text = workspace.read("dewpoint.yaml");
    workspace.write("dewpoint.yaml", &text.replace("count: 1", "count: 12"));
    // Eleven are accepted, and the API is never done with them nor with their end.
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "times": 0, "fault": { "action": { "never": true } }
    }));
    workspace.fault(&json!({
        "method": "DELETE", "path": "/v2/droplets/*", "times": 0, "fault": { "action": { "never": true } }
    }));
    let mut test = Running::start(&workspace, &["test"]);
    let answered = || {
        let creates = workspace.requests().into_iter().skip(before);
        creates
            .filter(|request| request["method"] == "POST" && request["path"] == "/v2/droplets")
            .filter(|request| request["status"] != 422)
            .count()
    };
    while answered() < 2 {
        std::thread::yield_now();
    }
    // From here on one has to come back in an hour.
    workspace.fault(&json!({
        "method": "GET", "path": "/v2/droplets",
        "fault": { "status": { "code": 429, "retry_after": 3_600 } }
    }));
    test.until("GET /v2/droplets is held back by the rate limit");
    // SAFETY: the process is our child and has not been waited for.
    assert_eq!(unsafe { libc::kill(test.pid(), libc::SIGINT) }, 0);
    let (code, text) = test.end();
    assert_eq!(code, Some(130), "{text}");
    assert_eq!(answered(), 2, "no create after the signal: {text}");
    let deletes = |path: &str| {
        let requests = workspace.requests().into_iter();
        let is_delete = |request: &Value| {
            let begins = |text: &str| text.starts_with(path);
            request["method"] == "DELETE"
                && request["path"].as_str().is_some_and(begins)
                && request["status"] == 204
        };
        requests.filter(is_delete).count()
    };
    assert_eq!(deletes("/v2/droplets/"), 12, "{text}");
    assert_eq!(workspace.names("firewalls"), Vec::<String>::new(), "{text}");
    // What is not over is told, with every name.
    let told = "the API has accepted these deletes and was not done with them yet";
    assert!(text.contains(told), "{text}");
    for number in 2..=12 {
        assert!(text.contains(&format!("brief-main-box-{number}")), "{text}");
    }
    workspace.call("DELETE", "/_local/faults", None);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_names_what_may_be_left() {
    let workspace = Workspace::with(
        r#"
version: 1
project: twice
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 3 }
"#,
    );
    workspace.up(&["--without-guests"]);
    // They exist and are never up, and no delete is ever answered.
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "times": 0, "fault": { "action": { "never": true } }
    }));
    workspace.fault(&json!({
        "method": "DELETE", "path": "/v2/**", "times": 0, "fault": { "delay": { "ms": 600_000 } }
    }));
    for (first, second, code) in [
        (libc::SIGINT, libc::SIGINT, 130),
        (libc::SIGINT, libc::SIGTERM, 130),
        (libc::SIGTERM, libc::SIGINT, 143),
    ] {
        let environment = format!("e{code}{second}");
        let command = workspace.command(&["test", "--env", &environment, "--local"]);
        let out = File::create(workspace.path("out")).expect("a file");
        let mut test = Running::with_output(command, out);
        let before = workspace.names("droplets").len();
        while workspace.names("droplets").len() < before + 3 {
            std::thread::yield_now();
        }
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(test.pid(), first) }, 0);
        test.until("no new steps; removing what is ephemeral");
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(test.pid(), second) }, 0);
        let (ended, text) = test.end();
        assert_eq!(ended, Some(code), "{text}");
        let said = workspace.read("out");
        let left = format!("(twice-{environment}-box to twice-{environment}-box-3)");
        assert!(
            said.contains(&format!("May be left: droplet.box[1..3] {left}")),
            "{said}"
        );
        let way_out = format!("`dewpoint destroy --local --env {environment}` finds");
        assert!(said.contains(&way_out), "{said}");
    }
    workspace.call("DELETE", "/_local/faults", None);
    for environment in ["e1302", "e13015", "e1432"] {
        workspace
            .local(&["destroy", "--yes", "--env", environment])
            .expect(0);
    }
    workspace.assert_empty();
}
