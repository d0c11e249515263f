//! `local up --guests vm`: droplets that are machines of QEMU, from nothing to nothing.
//!
//! What boots machines takes minutes, and a base that is fetched from Debian's mirror: it runs when
//! `DEWPOINT_TEST_VM=1`, and says so when it does not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::workspace::Workspace;

const MANIFEST: &str = "\
version: 1
project: machines
region: nyc3
snapshots:
  base:
    from: debian-12-x64
    size: s-1vcpu-1gb
    provision:
      - name: mark
        run: uname -r >/opt/kernel
volumes:
  data: { size: 1GiB }
droplets:
  runner:
    image: { snapshot: base }
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run:
      - name: look
        command: |
          set -e
          echo \"kernel of the snapshot: $(cat /opt/kernel), here: $(uname -r)\"
          test \"$(cat /opt/kernel)\" = \"$(uname -r)\"
          test \"$(cat /sys/class/dmi/id/sys_vendor)\" = DigitalOcean
          test \"$(cat /sys/class/block/sda/device/vendor)\" = 'DO      '
          ls /dev/disk/by-id
          test -b /dev/disk/by-id/scsi-0DO_Volume_machines-data
          echo \"$(cat /mnt/data/visits 2>/dev/null)x\" >/mnt/data/visits
          echo \"visits: $(cat /mnt/data/visits)\"
          grep -q DataSourceDigitalOcean /run/cloud-init/result.json
          test \"$(hostname)\" = machines-main-runner
          systemctl is-active ssh
    after_run: destroy
";

/// Command lines of the machines of a workspace.
fn machines(workspace: &Workspace) -> Vec<String> {
    let folder = workspace.path("cloud");
    let folder = folder.to_str().expect("UTF-8");
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.starts_with("qemu-system") && line.contains(folder))
        .collect()
}

fn until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Creates a droplet and waits until it is active: its id, and the answer.
fn create(workspace: &Workspace, name: &str, image: &Value) -> (u64, Value) {
    let droplet = json!({
        "name": name, "region": "nyc3", "size": "s-1vcpu-1gb", "image": image,
    });
    let (status, made) = workspace.call("POST", "/v2/droplets", Some(&droplet));
    assert_eq!(status, 202, "{made}");
    let id = made["droplet"]["id"].as_u64().expect("an id");
    until("active", Duration::from_secs(60), || {
        let (_, found) = workspace.call("GET", &format!("/v2/droplets/{id}"), None);
        found["droplet"]["status"] == "active"
    });
    (id, made["droplet"].clone())
}

/// Does something to a droplet, and waits until it is done.
fn act(workspace: &Workspace, droplet: u64, action: &Value) {
    let path = format!("/v2/droplets/{droplet}/actions");
    let (status, begun) = workspace.call("POST", &path, Some(action));
    assert_eq!(status, 201, "{begun}");
    let path = format!("/v2/actions/{}", begun["action"]["id"]);
    until("done", Duration::from_secs(300), || {
        let (_, found) = workspace.call("GET", &path, None);
        assert_ne!(found["action"]["status"], "errored", "{action}");
        found["action"]["status"] == "completed"
    });
}

/// The image of that name, once it is listed.
fn image(workspace: &Workspace, name: &str) -> u64 {
    let mut id = None;
    until("listed", Duration::from_secs(60), || {
        let images = workspace.list("images");
        let found = images.iter().find(|image| image["name"] == name);
        id = found.and_then(|image| image["id"].as_u64());
        id.is_some()
    });
    id.expect("an id")
}

fn qemu_img(words: &[&str]) -> String {
    let output = std::process::Command::new("qemu-img").args(words).output();
    let output = output.expect("qemu-img runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

/// A snapshot of a machine that runs, a machine of that, a snapshot of it in turn: each holds what the
/// disk does, lies on the base alone, and outlives what it came from.
fn generations(workspace: &Workspace, first: u64) {
    let file = |kind: &str, id: u64| {
        let path = workspace.path(&format!("cloud/guests/vm/{kind}/{id}/disk.qcow2"));
        path.to_str().expect("UTF-8").to_owned()
    };
    act(
        workspace,
        first,
        &json!({ "type": "snapshot", "name": "running" }),
    );
    let running = image(workspace, "running");
    qemu_img(&["check", &file("layers", running)]);

    let (second, _) = create(workspace, "second", &json!(running));
    let (status, _) = workspace.call("DELETE", &format!("/v2/images/{running}"), None);
    assert_eq!(status, 204);
    until("deleted", Duration::from_secs(60), || {
        !workspace
            .path(&format!("cloud/guests/vm/layers/{running}"))
            .exists()
    });
    act(workspace, second, &json!({ "type": "power_off" }));
    act(
        workspace,
        second,
        &json!({ "type": "snapshot", "name": "off" }),
    );
    let layer = file("layers", image(workspace, "off"));
    qemu_img(&["check", &layer]);
    qemu_img(&["compare", &file("droplets", second), &layer]);
    let about: Value =
        serde_json::from_str(&qemu_img(&["info", "--output=json", &layer])).expect("JSON");
    let below = about["full-backing-filename"].as_str().expect("a base");
    assert!(below.ends_with("/base-1/root.qcow2"), "{below}");
}

#[test]
fn without_what_they_need_there_are_none_and_nothing_less() {
    let workspace = Workspace::new();
    let mut command = workspace.command(&["local", "up", "--guests", "vm"]);
    command.env("PATH", "/nowhere");
    workspace
        .finish(command)
        .expect(1)
        .says("dewpoint::local::no_machines")
        .says("the program qemu-system-x86_64, the program qemu-img")
        .says("apt-get install qemu-system-x86 qemu-utils");
    workspace
        .run(&["local", "status"])
        .expect(0)
        .says("the local cloud is not running");
    let mut command = workspace.command(&["doctor"]);
    command.env("PATH", "/nowhere");
    workspace
        .finish(command)
        .says("--    machines")
        .says("the program qemu-system-x86_64, the program qemu-img");
}

#[test]
fn a_cloud_that_runs_is_not_taken_for_another_tier() {
    let workspace = Workspace::new();
    workspace.up(&["--without-guests"]);
    workspace
        .run(&["local", "up", "--guests", "vm"])
        .expect(1)
        .says("dewpoint::local::other_tier")
        .says("are of the tier api, not vm");
    workspace.run(&["local", "down"]).expect(0);
    workspace
        .run(&["local", "up", "--guests", "vm", "--without-guests"])
        .expect(1)
        .says("cannot be used with");
}

#[test]
fn a_manifest_is_carried_out_on_machines() {
    if std::env::var("DEWPOINT_TEST_VM").as_deref() != Ok("1") {
        eprintln!("NOT RUN: no machine was booted; DEWPOINT_TEST_VM=1 does it, in some minutes");
        return;
    }
    let workspace = Workspace::with(MANIFEST);
    workspace
        .run(&["local", "up", "--guests", "vm"])
        .expect(0)
        .says("guests    vm")
        .says("Debian GNU/Linux 12 (bookworm) machine (QEMU with ");

    for visits in ["visits: x", "visits: xx"] {
        workspace
            .local(&["test"])
            .expect(0)
            .says(visits)
            .says("scsi-0DO_Volume_machines-data");
        assert_eq!(machines(&workspace), Vec::<String>::new());
    }

    let (first, made) = create(&workspace, "first", &json!("ubuntu-24-04-x64"));
    assert_eq!(
        made["image"]["description"],
        "ubuntu-24-04-x64 -> Debian GNU/Linux 12 (bookworm) machine, NOT Ubuntu 24.04"
    );
    generations(&workspace, first);

    assert_eq!(machines(&workspace).len(), 1);
    let id = workspace.read("cloud/serve.lock");
    let pid = rustix::process::Pid::from_raw(id.trim().parse().expect("an id")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let minute = Duration::from_secs(60);
    until("no machine", minute, || machines(&workspace).is_empty());

    // What it was it stays, without a word, and the droplet comes back.
    workspace
        .run(&["local", "up"])
        .expect(0)
        .says("guests    vm")
        .says("2 droplets, 1 volume, 2 snapshots");
    until("the machine again", minute, || {
        machines(&workspace).len() == 1
    });
    workspace.run(&["local", "reset", "--yes"]).expect(0);
    assert_eq!(machines(&workspace), Vec::<String>::new());
    assert!(!workspace.path("cloud").exists());
}
