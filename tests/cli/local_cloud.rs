//! `dewpoint local`: what it promises to whoever starts, kills and removes it.

use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::workspace::Workspace;

const TWO_WITH_A_VOLUME: &str = r#"
version: 1
project: kept
region: nyc3
volumes:
  data:
    size: 1GiB
droplets:
  store:
    image: debian-12-x64
    size: s-1vcpu-1gb
    volumes:
      - { volume: data, mount: /mnt/data }
  plain:
    image: debian-12-x64
    size: s-1vcpu-1gb
"#;

/// Waits for something to be so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn endpoint(workspace: &Workspace) -> Value {
    serde_json::from_str(&workspace.read("cloud/endpoint.json")).expect("JSON")
}

pub fn pid(workspace: &Workspace) -> u32 {
    let pid = endpoint(workspace)["pid"].as_u64().expect("a process id");
    u32::try_from(pid).expect("a process id")
}

pub fn kill(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a kill");
}

/// A process: its id, when it started and its parent; `None` when it has ended.
fn process(id: u32) -> Option<(u32, String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may hold spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    Some((id, fields.nth(17)?.to_owned(), parent))
}

/// A process and everything that descends from it.
pub fn family(ancestor: u32) -> Vec<(u32, String, u32)> {
    let all: Vec<_> = std::fs::read_dir("/proc")
        .expect("processes")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect();
    let mut found: Vec<_> = process(ancestor).into_iter().collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|process| process.0) {
        found.extend(all.iter().filter(|process| process.2 == parent).cloned());
        at += 1;
    }
    found
}

/// Waits for processes that have let go of everything to be taken off the kernel's list.
#[track_caller]
pub fn wait_until_ended(processes: &[(u32, String, u32)]) {
    wait_until("every process has ended", || {
        processes
            .iter()
            .all(|old| process(old.0).is_none_or(|now| now.1 != old.1))
    });
}

/// Loop devices and mounts over what lies in the workspace.
pub fn mounts_and_loops(workspace: &Workspace) -> Vec<String> {
    let folder = workspace.path("cloud").display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mut found: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(&folder))
        .map(str::to_owned)
        .collect();
    for entry in std::fs::read_dir("/sys/block").expect("disks") {
        let backing = entry.expect("a disk").path().join("loop/backing_file");
        let backing = std::fs::read_to_string(backing).unwrap_or_default();
        if backing.starts_with(&folder) {
            found.push(backing);
        }
    }
    found
}

/// Whether something that speaks SSH answers for a droplet.
fn answers_ssh(droplet: &Value, port: u64) -> bool {
    let address = droplet["networks"]["v4"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|network| network["type"] == "public")
        .and_then(|network| network["ip_address"].as_str().map(str::to_owned));
    let Some(address) = address else { return false };
    let Ok(mut stream) = TcpStream::connect(format!("{address}:{port}")) else {
        return false;
    };
    let mut banner = [0; 8];
    stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-2.0-"
}

#[test]
fn a_reset_after_a_kill_leaves_nothing() {
    if !crate::guests() {
        return;
    }
    let workspace = Workspace::with(TWO_WITH_A_VOLUME);
    workspace.local(&["apply", "--yes"]).expect(0);
    let service = pid(&workspace);
    let before = family(service);
    assert!(before.len() >= 7, "three for each guest: {before:?}");
    assert_ne!(mounts_and_loops(&workspace), Vec::<String>::new());

    kill(service);
    workspace.run(&["local", "reset", "--yes"]).expect(0);
    wait_until_ended(&before);
    assert_eq!(mounts_and_loops(&workspace), Vec::<String>::new());
    assert!(!workspace.path("cloud").exists());
    workspace
        .run(&["local", "status"])
        .expect(0)
        .says("not running");
}

#[test]
fn down_after_a_kill_leaves_no_process() {
    if !crate::guests() {
        return;
    }
    let workspace = Workspace::with(TWO_WITH_A_VOLUME);
    workspace.local(&["apply", "--yes"]).expect(0);
    let service = pid(&workspace);
    let before = family(service);
    kill(service);
    workspace.run(&["local", "down"]).expect(0);
    wait_until_ended(&before);
    assert_eq!(mounts_and_loops(&workspace), Vec::<String>::new());
    workspace
        .run(&["local", "status"])
        .expect(0)
        .says("2 droplets, 1 volume,");
}

#[test]
fn after_a_kill_the_next_command_goes_on() {
    if !crate::guests() {
        return;
    }
    let workspace = Workspace::with(TWO_WITH_A_VOLUME);
    workspace.local(&["apply", "--yes"]).expect(0);
    let service = pid(&workspace);
    kill(service);
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(0)
        .says("No changes.");
    assert_ne!(pid(&workspace), service);
    let port = endpoint(&workspace)["ssh_port"].as_u64().expect("a port");
    wait_until("the droplets are back", || {
        workspace
            .list("droplets")
            .iter()
            .all(|droplet| droplet["status"] == "active" && answers_ssh(droplet, port))
    });
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

#[test]
fn droplets_shut_down_reboot_and_come_back() {
    if !crate::guests() {
        return;
    }
    let workspace = Workspace::new();
    workspace.up(&[]);
    let body = json!({
        "name": "web", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64",
    });
    let (status, answer) = workspace.call("POST", "/v2/droplets", Some(&body));
    assert_eq!(status, 202, "{answer}");
    let path = format!("/v2/droplets/{}", answer["droplet"]["id"]);
    let droplet = || workspace.call("GET", &path, None).1["droplet"].clone();
    let port = endpoint(&workspace)["ssh_port"].as_u64().expect("a port");
    wait_until("it is up", || answers_ssh(&droplet(), port));
    for (action, after, answers) in [
        ("shutdown", "off", false),
        ("power_on", "active", true),
        ("reboot", "active", true),
        ("power_cycle", "active", true),
        ("power_off", "off", false),
        ("power_on", "active", true),
    ] {
        let body = json!({ "type": action });
        let (status, answer) = workspace.call("POST", &format!("{path}/actions"), Some(&body));
        assert_eq!(status, 201, "{action}: {answer}");
        let id = &answer["action"]["id"];
        wait_until(action, || {
            let (_, shown) = workspace.call("GET", &format!("/v2/actions/{id}"), None);
            assert_ne!(shown["action"]["status"], "errored", "{action}");
            shown["action"]["status"] == "completed"
        });
        assert_eq!(droplet()["status"], after, "{action}");
        assert_eq!(answers_ssh(&droplet(), port), answers, "{action}");
    }
}

#[test]
fn commands_that_come_at_once_share_one_service() {
    let workspace = Workspace::with("version: 1\nproject: empty\nregion: nyc3\n");
    let running: Vec<_> = (0..3)
        .map(|_| {
            workspace
                .command(&["plan", "--local"])
                .stdout(Stdio::null())
                .spawn()
                .expect("a run")
        })
        .collect();
    for mut one in running {
        assert!(one.wait().expect("an end").success());
    }
    let log = workspace.read("cloud/cloud.log");
    assert_eq!(log.matches(" up port=").count(), 1, "{log}");
}

#[test]
fn an_idle_service_ends_and_the_next_command_starts_it() {
    let workspace = Workspace::with("version: 1\nproject: empty\nregion: nyc3\n");
    workspace.up(&["--idle-timeout", "2s", "--without-guests"]);
    let first = pid(&workspace);
    wait_until("it has ended", || process(first).is_none());
    workspace
        .run(&["local", "status"])
        .expect(0)
        .says("not running");
    workspace.local(&["plan"]).expect(0);
    assert_ne!(pid(&workspace), first);
}

#[test]
fn a_service_of_another_build_is_replaced() {
    let workspace = Workspace::with("version: 1\nproject: empty\nregion: nyc3\n");
    let other = workspace.path("dewpoint-of-before");
    std::fs::copy(env!("CARGO_BIN_EXE_dewpoint"), &other).expect("a copy");
    let up = workspace.command(&["local", "up", "--without-guests"]);
    let ended = Command::new(&other)
        .args(up.get_args())
        .stdout(Stdio::null())
        .env("DEWPOINT_LOCAL_DIR", workspace.path("cloud"))
        .status()
        .expect("a run");
    assert!(ended.success());
    let first = pid(&workspace);
    workspace
        .local(&["plan"])
        .expect(0)
        .says("was another build of dewpoint: it was restarted");
    assert_ne!(pid(&workspace), first);
    let second = pid(&workspace);
    workspace.local(&["plan"]).expect(0);
    assert_eq!(pid(&workspace), second);
}

#[test]
fn without_guests_the_reason_is_said() {
    let workspace = Workspace::new();
    workspace
        .run(&["local", "up", "--without-guests"])
        .expect(0)
        .says("guests    api")
        .says("not better because the local cloud was started without guests");
    workspace
        .run(&["local", "status"])
        .expect(0)
        .says("not better because the local cloud was started without guests");
}

#[test]
fn state_that_cannot_be_read_is_named() {
    let workspace = Workspace::new();
    workspace.up(&["--without-guests"]);
    workspace.run(&["local", "down"]).expect(0);
    workspace.write("cloud/state.json", "{ \"half");
    let refused = workspace.run(&["local", "up"]).expect(1);
    assert!(
        refused.err.contains("state.json") && refused.err.contains("local reset"),
        "{}",
        refused.all()
    );
}

#[test]
fn a_write_is_never_late_only_what_is_read() {
    let workspace = Workspace::new();
    workspace
        .run(&["local", "up", "--without-guests"])
        .expect(0);
    workspace
        .fault(&json!({ "path": "/v2/**", "times": 0, "fault": { "lag": { "ms": 600_000 } } }));
    let tag = json!({ "name": "made" });
    let (status, _) = workspace.call("POST", "/v2/tags", Some(&tag));
    assert_eq!(status, 201);
    // As it was ten minutes ago, and as it is.
    assert_eq!(workspace.call("GET", "/v2/tags/made", None).0, 404);
    workspace.call("DELETE", "/_local/faults", None);
    assert_eq!(workspace.call("GET", "/v2/tags/made", None).0, 200);
}

#[test]
fn its_status_tells_programs_where_it_is_and_keeps_the_token_to_itself() {
    let workspace = Workspace::new();
    let status = || {
        let ran = workspace.run(&["local", "status", "--format", "json"]);
        let ran = ran.expect(0);
        serde_json::from_str::<Value>(&ran.out).expect("JSON")
    };
    assert_eq!(status()["running"], Value::Null);

    workspace.up(&["--without-guests"]);
    let (url, token) = workspace.endpoint();
    let found = status();
    assert_eq!(found["running"]["url"], url);
    assert_eq!(found["running"]["guests"], "api");
    assert_eq!(found["holds"]["droplets"], 0);
    assert!(!found.to_string().contains(&token), "{found}");
    // What may be read by its owner alone has it.
    let file = found["running"]["token_file"].as_str().expect("a path");
    let held: Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("it is there")).expect("JSON");
    assert_eq!(held["token"], token);
    workspace
        .run(&["local", "status"])
        .expect(0)
        .says(&format!("token     in {file}"));
}
