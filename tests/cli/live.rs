//! What stands and what has run, looked at: `ssh`, `forward`, `ssh-config`, `status`, `history`, `logs`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::guests;
use crate::workspace::Workspace;

const FLEET: &str = r#"
version: 1
project: live
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    run:
      - { name: words, command: "echo words of $DEWPOINT_DROPLET" }
      - name: serve
        command: "cd /etc; exec python3 -m http.server 8000"
        background: true
        ready: { tcp: 8000 }
      - { name: judge, command: "test ! -e /tmp/fail" }
"#;

/// Whether the system has an SSH client; says so when it has none.
fn has_ssh() -> bool {
    let found = Command::new("ssh").arg("-V").output().is_ok();
    if !found {
        eprintln!("NOT RUN: there is no `ssh` on this machine");
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must run the tests of `ssh`"
        );
    }
    found
}

#[test]
fn the_systems_ssh_logs_in_where_the_right_key_answers() {
    if !guests() || !has_ssh() {
        return;
    }
    let workspace = Workspace::with(FLEET);
    workspace
        .local(&["ssh", "droplet.box"])
        .expect(1)
        .says("dewpoint::cli::droplet_not_made");
    workspace.local(&["apply", "--yes"]).expect(0);
    // Only now is it the key that is missing.
    let (keys, away) = (workspace.path(".dewpoint/keys"), workspace.path("away"));
    std::fs::rename(&keys, &away).expect("moved");
    workspace
        .local(&["ssh", "droplet.box[1]"])
        .expect(1)
        .says("dewpoint::execute::no_identity");
    std::fs::rename(&away, &keys).expect("moved back");

    let ssh =
        |address: &str, command: &str| workspace.run(&["ssh", "--local", address, "--", command]);
    let ran = ssh("droplet.box[2]", "hostname; echo wrong >&2; exit 7").expect(7);
    assert_eq!(ran.out, "live-main-box-2\n");
    assert!(ran.err.contains("wrong"), "{}", ran.all());
    ssh("droplet.box", "true")
        .expect(1)
        .says("droplet.box[1], droplet.box[2]");
    ssh("droplet.bix", "true")
        .expect(1)
        .says("droplets that are up: droplet.box[1], droplet.box[2]");
    let mut without = workspace.command(&["ssh", "--local", "droplet.box[1]"]);
    without.env("PATH", workspace.path("nowhere"));
    workspace
        .finish(without)
        .expect(1)
        .says("there is no `ssh` on this machine")
        .says("openssh-client");

    // What it was told lies for its owner alone, and serves other programs.
    let known_hosts = workspace.path(".dewpoint/ssh/dewpoint-live-main.known_hosts");
    let mode = std::fs::metadata(&known_hosts)
        .expect("there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let config = workspace.local(&["ssh-config"]).expect(0).out;
    workspace.write("config", &config);
    let other = Command::new("ssh")
        .arg("-F")
        .arg(workspace.path("config"))
        .args(["droplet.box[1]", "hostname"])
        .output()
        .expect("ssh runs");
    assert_eq!(String::from_utf8_lossy(&other.stdout), "live-main-box\n");

    ssh("box-2", "true")
        .expect(1)
        .says("did you mean `droplet.box[2]`?");

    // A port that is taken is told before anything is reached.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let refused = workspace
        .local(&["forward", "droplet.box[1]", &format!("{port}:8000")])
        .expect(1)
        .says("dewpoint::cli::port_taken")
        .says(&format!("port {port} of this machine cannot be used"));
    assert!(
        !refused.all().contains("as droplet.box"),
        "{}",
        refused.all()
    );

    let mut forward = workspace
        .command(&["forward", "--local", "droplet.box[1]", "18733:8000"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let answer = loop {
        assert_eq!(forward.try_wait().expect("waited"), None, "it ended early");
        let Ok(mut stream) = TcpStream::connect("127.0.0.1:18733") else {
            std::thread::sleep(std::time::Duration::from_millis(20));
            continue;
        };
        stream
            .write_all(b"GET /hostname HTTP/1.0\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        break answer;
    };
    forward.kill().expect("killed");
    forward.wait().expect("ended");
    assert!(answer.contains("live-main-box"), "{answer}");

    // Whoever answers with another key is not spoken to.
    let key = workspace.path(".dewpoint/keys/live-main");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(workspace.path("other"))
        .status()
        .expect("ssh-keygen runs");
    assert!(made.success());
    let right = std::fs::read(&key).expect("a key");
    std::fs::copy(workspace.path("other"), &key).expect("copied");
    let refused = ssh("droplet.box[1]", "echo was here").expect(255);
    assert!(
        refused
            .err
            .contains("REMOTE HOST IDENTIFICATION HAS CHANGED")
            && refused.err.contains("Host key verification failed")
            && refused.out.is_empty(),
        "{}",
        refused.all()
    );
    std::fs::write(&key, right).expect("written");
    workspace.local(&["destroy", "--yes"]).expect(0);
}

#[test]
fn what_stands_and_what_has_run_is_told() {
    if !guests() || !has_ssh() {
        return;
    }
    let workspace = Workspace::with(FLEET);
    let empty = workspace.local(&["status"]).expect(0);
    assert_eq!(
        empty.out,
        "live / main in nyc3 on the local cloud: the environment is empty\n"
    );
    workspace.run(&["history"]).expect(0).says("No runs yet.");
    workspace
        .run(&["logs"])
        .expect(1)
        .says("dewpoint::cli::no_runs");
    workspace.local(&["apply", "--yes"]).expect(0);

    let calls = workspace.requests().len();
    workspace
        .local(&["status"])
        .expect(0)
        .says("droplet.box[2]")
        .says("As the manifest says.")
        .says("apply main: succeeded");
    let calls = workspace.requests().len() - calls;
    assert!(calls <= 8, "{calls} calls");
    let id = workspace.list("droplets")[0]["id"].to_string();
    let body = serde_json::json!({"resources": [{"resource_id": id, "resource_type": "droplet"}]});
    let (status, _) = workspace.call("DELETE", "/v2/tags/dewpoint:live/resources", Some(&body));
    assert_eq!(status, 204);
    let shown = workspace.local(&["status"]).expect(0).says("drifted:");
    shown.says("1 difference from the manifest: `dewpoint plan --local` shows it.");
    let json = workspace.local(&["status", "--format", "json"]).expect(0);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["droplets"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["runs"][0]["result"], "succeeded");

    // What was said, by droplet and step.
    let said = workspace.run(&["logs", "--step", "words", "--droplet", "droplet.box[2]"]);
    assert_eq!(said.expect(0).out, "words of live-main-box-2\n");
    workspace
        .run(&["logs", "--step", "words"])
        .expect(0)
        .says("==> droplet.box[1] run words: ok\nwords of live-main-box\n");
    workspace
        .run(&["logs", "--step", "word"])
        .expect(1)
        .says("did you mean `--step words`?");
    workspace
        .run(&["logs", "--droplet", "box-2"])
        .expect(1)
        .says("did you mean `--droplet 'droplet.box[2]'`?");

    // A run that goes on is followed until it ends.
    workspace.write(
        "dewpoint.yaml",
        &FLEET.replace(
            "test ! -e /tmp/fail",
            "echo waiting; while test ! -e /tmp/go; do sleep 0.1; done; echo gone on; exit 4",
        ),
    );
    let mut run = workspace
        .command(&["run", "--local", "droplet.box[1]", "judge"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut told = BufReader::new(run.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("waiting") {
        line.clear();
        assert!(told.read_line(&mut line).expect("read") > 0, "it ended");
    }
    workspace
        .run(&["history"])
        .expect(0)
        .says("run main: running");
    let mut follow = workspace
        .command(&["logs", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut seen = BufReader::new(follow.stdout.take().expect("piped"));
    line.clear();
    seen.read_line(&mut line).expect("read");
    assert_eq!(line, "droplet.box[1] judge | waiting\n");
    let going = Command::new("ssh")
        .arg("-F")
        .arg({
            let config = workspace.local(&["ssh-config"]).expect(0).out;
            workspace.write("config", &config);
            workspace.path("config")
        })
        .args(["live-main-box", "touch /tmp/go"])
        .status();
    assert!(going.expect("ssh runs").success());
    let mut rest = String::new();
    seen.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "droplet.box[1] judge | gone on\n");
    assert_eq!(follow.wait().expect("ended").code(), Some(0));
    let mut rest = String::new();
    told.read_to_string(&mut rest).expect("read");
    assert_eq!(run.wait().expect("ended").code(), Some(3), "{rest}");
    workspace
        .run(&["history"])
        .expect(0)
        .says("run main: a run step failed after")
        .says("failed: droplet.box[1] run judge (exit status 4)");

    // A journal without its end, as kill -9 leaves it.
    let newest = std::fs::read_dir(workspace.path(".dewpoint/runs"))
        .expect("runs")
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a run");
    let journal = newest.join("journal.jsonl");
    let text = std::fs::read_to_string(&journal).expect("a journal");
    let lines: Vec<&str> = text.lines().collect();
    let judged = lines
        .iter()
        .position(|line| line.contains("run judge"))
        .expect("the step");
    std::fs::write(&journal, lines[..=judged].join("\n") + "\n{\"seq\":").expect("written");
    workspace
        .run(&["history"])
        .expect(0)
        .says("run main: interrupted after ")
        .says(": its journal has no end")
        .says("not ended: droplet.box[1] run judge");
    let history = workspace.run(&["history", "--format", "json"]).expect(0);
    let history: Value = serde_json::from_str(&history.out).expect("JSON");
    assert_eq!(history["runs"][0]["result"], "cut_off");
    assert_eq!(history["runs"][1]["command"], "apply");
    workspace.local(&["destroy", "--yes"]).expect(0);
}
