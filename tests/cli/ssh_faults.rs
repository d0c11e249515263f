//! SSH goes wrong under a run: what happened is told, the exit code is right, memory stays small.
//!
//! Told elsewhere: a connection that is cut (`wrong_uses`); whoever answers in a droplet's place
//! with no SSH, or with silence (unit tests of `guest`).

use std::io::Read as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::guests;
use crate::workspace::{Running, Workspace};

/// The most memory that a process has had so far; nothing once it has ended.
fn most_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.and_then(|most| most.split_whitespace().next()?.parse().ok());
    most.unwrap_or_default()
}

#[test]
fn a_hundred_megabytes_of_all_kinds_take_no_memory() {
    /// All of this output, with what each of its 650,000 lines takes as a message, would be more than
    /// 360 MiB.
    const MOST_KIB: u64 = 120 * 1024;
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: flood
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run:
      - name: lines
        command: "head -c 45000000 /dev/zero | tr '\\0' x | fold -w 99"
      - name: unbroken
        command: "head -c 45000000 /dev/zero | tr '\\0' x"
      - name: empty
        command: "head -c 200000 /dev/zero | tr '\\0' '\\n'"
      - name: binary
        command: "head -c 10000000 /dev/urandom; exit 42"
"#,
    );
    let out = std::fs::File::create(workspace.path("out")).expect("made");
    let mut child = workspace
        .command(&["test", "--local"])
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Looked at while it works, and by itself: what the system tells of a process that has ended counts
    // what the one had that started it, which here is the process of all tests. It is never ahead of who
    // reads by more than a pipe holds.
    let mut err = child.stderr.take().expect("piped");
    let mut piece = vec![0; 64 * 1024];
    let mut most = 0;
    while err.read(&mut piece).expect("read") > 0 {
        most = most_kib(child.id()).max(most);
    }
    let status = child.wait().expect("ended");
    let said = workspace.read("out");
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("exit status 42"), "{said}");
    assert!(
        !said.contains(|c: char| c.is_control() && c != '\n'),
        "what is binary must not steer the terminal"
    );
    assert!((1..MOST_KIB).contains(&most), "{most} KiB");
    workspace.assert_empty();
    // All of it is in the logs.
    let run = std::fs::read_dir(workspace.path(".dewpoint/runs"))
        .expect("runs")
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a run");
    for (log, least) in [
        ("lines", 45_000_000),
        ("unbroken", 45_000_000),
        ("empty", 200_000),
        ("binary", 10_000_000),
    ] {
        let log = run.join("flood-main-box").join(format!("{log}.log"));
        let size = std::fs::metadata(&log).expect("a log").len();
        assert!(size >= least, "{}: {size}", log.display());
    }
}

const BOX: &str = r#"
version: 1
project: again
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run:
      - name: long
        command: "mountpoint -q /mnt/data; test -e /root/once || { touch /root/once; echo waiting; sleep 600; }; echo fine"
        retries: 1
"#;

/// Restarts the one droplet there is once its command waits; how the run ended.
fn restarted(workspace: &Workspace) -> (Option<i32>, String) {
    let mut apply = Running::start(workspace, &["apply", "--yes"]);
    apply.until("| waiting");
    let id = workspace.list("droplets")[0]["id"].clone();
    let path = format!("/v2/droplets/{id}/actions");
    let (status, answer) = workspace.call("POST", &path, Some(&json!({"type": "reboot"})));
    assert_eq!(status, 201, "{answer}");
    apply.end()
}

#[test]
fn a_restart_in_the_middle_is_told_and_nothing_runs_beside_a_volume() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(BOX);
    let (code, text) = restarted(&workspace);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("droplet.box was restarted while `long` ran"),
        "{text}"
    );
    // Its volume is not mounted any more: the same command again would write in its place.
    assert!(!text.contains("try 2: "), "{text}");
    workspace.local(&["apply", "--yes"]).expect(0).says("fine");
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);

    // Without a volume there is nothing to lose, and one that may be repeated is.
    let plain = BOX
        .replace("volumes: { data: { size: 1GiB } }\n", "")
        .replace("    volumes: [{ volume: data, mount: /mnt/data }]\n", "")
        .replace("mountpoint -q /mnt/data; ", "");
    workspace.write("dewpoint.yaml", &plain);
    let (code, text) = restarted(&workspace);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("droplet.box was restarted while `long` ran; try 2"),
        "{text}"
    );
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn somebody_in_a_droplets_place_is_refused_loudly() {
    if !guests() {
        return;
    }
    let manifest = r#"
version: 1
project: other
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run: [{ name: tell, command: "echo the secret" }]
"#;
    let workspace = Workspace::with(manifest);
    workspace
        .local(&["apply", "--yes"])
        .expect(0)
        .says("the secret");
    // The same in all but the host key, which nobody but us can compute.
    let ours = workspace.list("droplets")[0].clone();
    let key = workspace.list("ssh_keys")[0]["id"].clone();
    let (status, _) = workspace.call("DELETE", &format!("/v2/droplets/{}", ours["id"]), None);
    assert_eq!(status, 204);
    while !workspace.names("droplets").is_empty() {
        std::thread::yield_now();
    }
    let theirs = json!({
        "name": ours["name"], "tags": ours["tags"], "region": "nyc3", "size": "s-1vcpu-1gb",
        "image": "ubuntu-24-04-x64", "ssh_keys": [key],
    });
    let (status, made) = workspace.call("POST", "/v2/droplets", Some(&theirs));
    assert_eq!(status, 202, "{made}");
    let is_up = |droplets: Vec<Value>| droplets.iter().all(|one| one["status"] == "active");
    while !is_up(workspace.list("droplets")) {
        std::thread::yield_now();
    }
    let ran = workspace
        .local(&["run", "droplet.box"])
        .expect(1)
        .says("WRONG HOST KEY: whoever answers at")
        .says("find out who answers there before you go on");
    assert!(!ran.all().contains("| the secret"), "{}", ran.all());
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}
