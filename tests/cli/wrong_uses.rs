//! What users do wrong, and what the world does to them: each ends in a clear error, the clean-up
//! that was promised, and a plan afterwards that makes sense.
//!
//! Told elsewhere: a volume that another environment holds (`held_volume`), steps that are never
//! ready (`services`), secrets that are too short (`words`), recipes that fail (`failures`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::guests;
use crate::workspace::{Ran, Running, Workspace};

/// A droplet with a volume, whose steps come in the end.
const BOX: &str = r#"
version: 1
project: wrong
region: nyc3
volumes: { data: { size: 1GiB } }
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    volumes: [{ volume: data, mount: /mnt/data }]
    run:
"#;

/// A droplet without one.
fn plain(rest: &str) -> String {
    format!(
        "{}{rest}",
        BOX.replace("volumes: { data: { size: 1GiB } }\n", "")
            .replace("    volumes: [{ volume: data, mount: /mnt/data }]\n", "")
    )
}

/// What `plan --detailed-exitcode` says of an environment that is to be changed, or not.
#[track_caller]
fn plans(workspace: &Workspace, code: i32) -> Ran {
    workspace
        .local(&["plan", "--detailed-exitcode"])
        .expect(code)
}

/// Empties everything, and sees to it that it is.
#[track_caller]
fn empty(workspace: &Workspace) {
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.assert_empty();
}

fn attach(workspace: &Workspace, what: &str, droplet: u64) {
    let volume = workspace.list("volumes")[0]["id"].clone();
    let path = format!("/v2/volumes/{}/actions", volume.as_str().expect("an id"));
    let wish = json!({"type": what, "droplet_id": droplet, "region": "nyc3"});
    loop {
        let (status, answer) = workspace.call("POST", &path, Some(&wish));
        match status {
            202 => break,
            422 if answer.to_string().contains("pending event") => std::thread::yield_now(),
            _ => panic!("{status}: {answer}"),
        }
    }
    let wanted = if what == "attach" {
        json!([droplet])
    } else {
        json!([])
    };
    while workspace.list("volumes")[0]["droplet_ids"] != wanted {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_wrong_with_the_manifest_or_this_side_is_said_before_anything_is_made() {
    struct Case {
        yaml: String,
        make: fn(&Workspace),
        code: &'static str,
        says: &'static str,
    }
    let copies = |from: &str| {
        format!(
            "version: 1\nproject: wrong\nregion: nyc3\nsnapshots:\n  base:\n    from: ubuntu-24-04-x64\n    size: s-1vcpu-1gb\n    provision:\n      - copy: {{ from: {from}, to: /opt/thing }}\n"
        )
    };
    let artifact = |pattern: &str| {
        plain(&format!(
            "      - {{ name: a, command: \"true\", artifacts: [\"{pattern}\"] }}\n"
        ))
    };
    let step = "      - { name: a, command: \"true\" }\n";
    let git = "    source: { git: ./repo, ref: no-such-branch }\n    run:\n";
    let cases = [
        Case {
            yaml: plain(step).replace("    run:\n", git),
            make: |workspace| {
                fs::create_dir(workspace.path("repo")).expect("made");
                for arguments in [
                    &["init", "--quiet", "-b", "main"][..],
                    &[
                        "-c",
                        "user.name=a",
                        "-c",
                        "user.email=a@b",
                        "commit",
                        "--quiet",
                        "--allow-empty",
                        "-m",
                        "x",
                    ],
                ] {
                    let git = Command::new("git")
                        .args(arguments)
                        .current_dir(workspace.path("repo"))
                        .status();
                    assert!(git.expect("git runs").success());
                }
            },
            code: "dewpoint::guest::no_such_ref",
            says: "has no branch, tag or commit `no-such-branch`",
        },
        Case {
            yaml: copies("./thing"),
            make: |workspace| symlink("nowhere", workspace.path("thing")).expect("made"),
            code: "dewpoint::manifest::no_file",
            says: "is a link to nowhere, and there is no such file",
        },
        Case {
            yaml: copies("./thing"),
            make: |workspace| {
                let pipe = Command::new("mkfifo").arg(workspace.path("thing")).status();
                assert!(pipe.expect("mkfifo runs").success());
            },
            code: "dewpoint::manifest::no_file",
            says: "is not a file or folder",
        },
        Case {
            yaml: copies("./thing"),
            make: |_| {},
            code: "dewpoint::manifest::no_file",
            says: "there is no file or folder",
        },
        Case {
            yaml: artifact("../secrets"),
            make: |_| {},
            code: "dewpoint::manifest::bad_path",
            says: "`../secrets` leads out of the step's folder",
        },
        Case {
            yaml: artifact("/etc/shadow"),
            make: |_| {},
            code: "dewpoint::manifest::bad_path",
            says: "`/etc/shadow` leads out of the step's folder",
        },
        Case {
            yaml: plain(step).replace("    run:\n", "    secrets: [WRONG_USES_UNSET]\n    run:\n"),
            make: |_| {},
            code: "dewpoint::cli::no_secret",
            says: "WRONG_USES_UNSET (of droplet.box)",
        },
    ];
    for Case {
        yaml,
        make,
        code,
        says,
    } in cases
    {
        let workspace = Workspace::with(&yaml);
        make(&workspace);
        for command in [&["apply", "--yes"][..], &["test"]] {
            workspace.local(command).expect(1).says(code).says(says);
        }
        if workspace.path("cloud/endpoint.json").exists() {
            workspace.assert_empty();
        }
    }
}

#[test]
fn a_copied_file_that_vanishes_in_the_middle_costs_the_builder_alone() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: wrong
region: nyc3
snapshots:
  base:
    from: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    provision:
      - { name: wait, run: "echo waiting; while test ! -e /root/go; do sleep 0.1; test $((n=n+1)) -lt 10 || touch /root/go; done" }
      - copy: { from: ./thing, to: /opt/thing }
"#,
    );
    workspace.write("thing", "here");
    let mut apply = Running::start(&workspace, &["apply", "--yes"]);
    apply.until("| waiting");
    fs::remove_file(workspace.path("thing")).expect("removed");
    let (code, text) = apply.end();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("FAILED snapshot.base provision 2/2 copy ./thing")
            && text.contains("cannot read"),
        "{text}"
    );
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("images"), Vec::<String>::new());
    workspace
        .local(&["plan"])
        .expect(1)
        .says("there is no file or folder");
    workspace.write("thing", "here again");
    workspace.local(&["apply", "--yes"]).expect(0);
    plans(&workspace, 0).says("No changes.");
    empty(&workspace);
}

#[test]
fn a_volume_is_never_taken_from_what_is_on_it_or_who_has_it() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        "version: 1\nproject: wrong\nregion: nyc3\nvolumes: { data: { size: 1GiB } }\n",
    );
    workspace.local(&["apply", "--yes"]).expect(0);

    // Someone's own droplet has it.
    let foreign = json!({"name": "theirs", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64"});
    let (status, made) = workspace.call("POST", "/v2/droplets", Some(&foreign));
    assert_eq!(status, 202, "{made}");
    let foreign = made["droplet"]["id"].as_u64().expect("an id");
    attach(&workspace, "attach", foreign);
    let writer =
        "      - { name: write, command: \"echo fine >>/mnt/data/file; cat /mnt/data/file\" }\n";
    workspace.write("dewpoint.yaml", &format!("{BOX}{writer}"));
    workspace
        .local(&["test"])
        .expect(1)
        .says("dewpoint::plan::attached_elsewhere")
        .says("it is attached to droplet theirs, which is not of this environment")
        .says("detach it there first");
    assert_eq!(workspace.names("droplets"), ["theirs"]);
    attach(&workspace, "detach", foreign);
    // Refused while it still has a pending event.
    while workspace
        .call("DELETE", &format!("/v2/droplets/{foreign}"), None)
        .0
        != 204
    {
        std::thread::yield_now();
    }

    // On a droplet of ours lies what is no file system, then one of another kind.
    let raw = |command: &str| {
        let yaml = plain(&format!(
            "      - {{ name: raw, command: \"{command}\" }}\n"
        ));
        let yaml = yaml.replace(
            "droplets:\n",
            "volumes: { data: { size: 1GiB } }\ndroplets:\n",
        );
        workspace.write("dewpoint.yaml", &yaml.replace("  box:", "  raw:"));
    };
    const DEVICE: &str = "/dev/disk/by-id/scsi-0DO_Volume_wrong-data";
    raw("true");
    workspace
        .local(&["apply", "--yes", "--env", "raw"])
        .expect(0);
    let id = workspace
        .list("droplets")
        .into_iter()
        .find(|droplet| droplet["name"] == "wrong-raw-raw");
    let id = id.expect("the droplet")["id"].as_u64().expect("an id");
    for (put, found) in [
        (
            format!("printf precious | dd of={DEVICE} bs=1 seek=1000000 2>/dev/null"),
            "data of a kind that is not known (in its first 16 MiB)",
        ),
        (format!("mkfs.ext2 -q {DEVICE}"), "ext2"),
    ] {
        attach(&workspace, "attach", id);
        raw(&format!(
            "until test -e {DEVICE}; do sleep 0.1; done; {put}; sha256sum {DEVICE} >sum; cat sum"
        ));
        workspace
            .local(&["run", "droplet.raw", "--env", "raw"])
            .expect(0);
        attach(&workspace, "detach", id);
        workspace.write("dewpoint.yaml", &format!("{BOX}{writer}"));
        workspace
            .local(&["test"])
            .expect(1)
            .says("dewpoint::guest::wrong_filesystem")
            .says(&format!(
                "the volume wrong-data holds {found}, not ext4; nothing was written to it"
            ));
        assert_eq!(workspace.names("droplets"), ["wrong-raw-raw"]);
        // Not a byte of it has changed.
        attach(&workspace, "attach", id);
        raw(&format!(
            "until test -e {DEVICE}; do sleep 0.1; done; sha256sum -c sum"
        ));
        workspace
            .local(&["run", "droplet.raw", "--env", "raw"])
            .expect(0);
        attach(&workspace, "detach", id);
    }
    workspace
        .local(&["destroy", "--yes", "--env", "raw"])
        .expect(0);

    // Another file system is told from the tags alone; the way out is the manifest's old word.
    workspace.write(
        "dewpoint.yaml",
        &format!("{BOX}{writer}").replace("size: 1GiB", "size: 1GiB, filesystem: xfs"),
    );
    workspace
        .local(&["plan"])
        .expect(1)
        .says("dewpoint::plan::filesystem")
        .says("it has ext4, and the manifest says xfs");
    // Destroyed, it is made anew, and the next one works.
    workspace.write("dewpoint.yaml", &format!("{BOX}{writer}"));
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
    workspace.local(&["apply", "--yes"]).expect(0).says("fine");
    plans(&workspace, 0).says("No changes.");

    // Something else is mounted where a volume should be.
    workspace.write("dewpoint.yaml", &format!("{BOX}      - {{ name: other, command: \"mkdir -p /mnt/other; mount -t tmpfs none /mnt/other; echo put >/mnt/other/file\" }}\n"));
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace.write(
        "dewpoint.yaml",
        &format!("{BOX}{writer}").replace("mount: /mnt/data", "mount: /mnt/other"),
    );
    workspace
        .local(&["apply", "--yes"])
        .expect(1)
        .says("dewpoint::guest::mount_point_taken")
        .says("something else is mounted at /mnt/other on droplet.box: tmpfs none");
    workspace.write("dewpoint.yaml", &format!("{BOX}{writer}"));
    workspace.local(&["apply", "--yes"]).expect(0).says("fine");
    empty(&workspace);
}

#[test]
fn a_full_disk_there_or_here_is_named_and_room_mends_it() {
    if !guests() {
        return;
    }
    // There: the volume.
    let steps =
        "      - { name: fill, command: \"head -c 1200M /dev/zero >/mnt/data/big; echo fits\" }\n";
    let workspace = Workspace::with(&format!("{BOX}{steps}"));
    workspace
        .local(&["test"])
        .expect(3)
        .says("No space left on device")
        .says("FAILED: exit status 1");
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    assert_eq!(workspace.names("volumes"), ["wrong-data"]);
    plans(&workspace, 2).says("volume.data stays");
    workspace.write(
        "dewpoint.yaml",
        &format!("{BOX}{steps}").replace("1GiB", "3GiB"),
    );
    workspace.local(&["test"]).expect(0).says("fits");
    empty(&workspace);

    // Here: the folder that artifacts go to.
    let steps = "      - { name: much, command: \"head -c 4M /dev/urandom >big.bin\", artifacts: [big.bin] }\n";
    let workspace = Workspace::with(&plain(steps));
    let small = Mount::new(&workspace, "2m");
    workspace
        .local(&["test"])
        .expect(1)
        .says("dewpoint::guest::write")
        .says("cannot write")
        .says("big.bin")
        .says("No space left on device")
        .says("make room on the disk");
    workspace.assert_empty();
    let half = last_run(&workspace).join("artifacts/wrong-main-box/big.bin");
    assert!(!half.exists(), "half a file is left");
    drop(small);
    workspace.local(&["test"]).expect(0);
    let whole = last_run(&workspace).join("artifacts/wrong-main-box/big.bin");
    assert_eq!(fs::metadata(whole).expect("there").len(), 4 * 1024 * 1024);
    workspace.assert_empty();
}

#[test]
fn a_full_disk_for_the_journal_begins_nothing_more_and_cleans_up() {
    if !guests() {
        return;
    }
    let boxes = plain("").replace("    run:\n", "    count: 20\n");
    let workspace = Workspace::with(&boxes);
    let small = Mount::new(&workspace, "512k");
    workspace.up(&["--without-guests"]);
    let writes = || {
        let is_write = |request: &&serde_json::Value| request["method"] != "GET";
        workspace.requests().iter().filter(is_write).count()
    };
    // Full from the beginning: nothing is made.
    let filler = workspace.path(".dewpoint/filler");
    let fill = || {
        use std::io::Write as _;
        let mut file = fs::File::create(&filler).expect("made");
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    fill();
    workspace
        .local(&["test"])
        .expect(1)
        .says("No space left on device");
    assert_eq!(writes(), 0);
    fs::remove_file(&filler).expect("removed");

    // Full while the droplets are being made.
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "times": 0, "fault": { "delay": { "ms": 2000 } }
    }));
    let test = Running::start(&workspace, &["test"]);
    let is_met = || {
        let (_, faults) = workspace.call("GET", "/_local/faults", None);
        faults["faults"][0]["seen"] != 0
    };
    while !is_met() {
        std::thread::yield_now();
    }
    fill();
    let (code, text) = test.end();
    assert_eq!(code, Some(1), "{text}");
    for says in [
        "cannot write",
        "journal.jsonl",
        "No space left on device",
        "no new steps, but clean-up",
    ] {
        assert!(text.contains(says), "`{says}` is missing:\n{text}");
    }
    workspace.assert_empty();
    drop(small);
}

#[test]
fn a_link_out_of_the_folder_is_no_artifact() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(&plain(
        "      - { name: out, command: \"mkdir out; ln -s /etc/passwd out/users; ln -s /etc folder; echo mine >out/mine\", artifacts: [\"out/**\", \"folder/hostname\"] }\n",
    ));
    workspace
        .local(&["test"])
        .expect(0)
        .says("out/users")
        .says("`folder/hostname` matched nothing");
    let artifacts = last_run(&workspace).join("artifacts/wrong-main-box");
    assert_eq!(
        fs::read_to_string(artifacts.join("out/mine")).expect("read"),
        "mine\n"
    );
    assert!(fs::symlink_metadata(artifacts.join("out/users")).is_err());
    assert!(fs::symlink_metadata(artifacts.join("folder")).is_err());
    workspace.assert_empty();
}

#[test]
fn how_a_command_ended_is_told_apart() {
    if !guests() {
        return;
    }
    for (step, code, says) in [
        (
            "command: \"exit 137\"",
            "dewpoint::run::exit",
            "exit status 137",
        ),
        (
            "command: \"kill -KILL $$\"",
            "dewpoint::run::signal",
            "ended by SIGKILL",
        ),
        (
            "command: \"kill -SEGV $$\"",
            "dewpoint::run::signal",
            "ended by SIGSEGV",
        ),
        (
            "command: \"sleep 600\", timeout: 1s",
            "dewpoint::run::timeout",
            "it did not end within 1s",
        ),
        (
            "command: \"sleep 600\", background: true, ready: { command: \"false\", timeout: 1s }",
            "dewpoint::run::",
            "never was not ready within 1s",
        ),
    ] {
        let workspace = Workspace::with(&plain(&format!("      - {{ name: never, {step} }}\n")));
        workspace.local(&["test"]).expect(3).says(code).says(says);
        workspace.assert_empty();
        plans(&workspace, 2).says("3 to add");
    }
}

#[cfg(target_os = "linux")] // Nowhere else can a socket of another process be taken.
#[test]
fn a_connection_that_is_cut_in_the_middle_is_told_and_can_be_tried_again() {
    if !guests() {
        return;
    }
    let step = "      - { name: long, command: \"echo half >half.txt; echo waiting; test -e /root/once || { touch /root/once; sleep 600; }\", artifacts: [half.txt] }\n";
    let workspace = Workspace::with(&format!("{BOX}{step}"));
    let mut test = Running::start(&workspace, &["test"]);
    test.until("| waiting");
    cut(&workspace, test.pid());
    let (code, text) = test.end();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("the connection to droplet.box was lost while running `long`"),
        "{text}"
    );
    // What there was is brought back over a new connection, and nothing is left.
    let half = last_run(&workspace).join("artifacts/wrong-main-box/half.txt");
    assert_eq!(fs::read_to_string(half).expect("read"), "half\n");
    assert_eq!(workspace.names("droplets"), Vec::<String>::new());
    plans(&workspace, 2).says("volume.data stays");

    // One that may be repeated is.
    let again = step.replace("name: long,", "name: long, retries: 1,");
    workspace.write("dewpoint.yaml", &format!("{BOX}{again}"));
    let mut test = Running::start(&workspace, &["test"]);
    test.until("| waiting");
    cut(&workspace, test.pid());
    let (code, text) = test.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("at try 2"), "{text}");
    empty(&workspace);
}

#[test]
fn a_droplet_that_is_destroyed_behind_our_back_is_told_by_name() {
    if !guests() {
        return;
    }
    let step =
        "      - { name: long, command: \"echo waiting; sleep 600\", artifacts: [half.txt] }\n";
    let workspace = Workspace::with(&format!("{BOX}{step}"));
    for command in [&["test"][..], &["apply", "--yes"]] {
        let mut running = Running::start(&workspace, command);
        running.until("| waiting");
        let id = workspace.list("droplets")[0]["id"].clone();
        let (status, _) = workspace.call("DELETE", &format!("/v2/droplets/{id}"), None);
        assert_eq!(status, 204);
        let (code, text) = running.end();
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("FAILED droplet.box run long")
                && text.contains("droplet wrong-main-box is gone: someone else has destroyed it"),
            "{text}"
        );
        // It is told before the API has done with it, which lets go of the volume last.
        while !workspace.names("droplets").is_empty()
            || workspace.list("volumes")[0]["droplet_ids"] != json!([])
        {
            std::thread::yield_now();
        }
        assert_eq!(workspace.names("volumes"), ["wrong-data"]);
        plans(&workspace, 2).says("droplet.box will be created");
    }
    // Made anew, with the volume that is free again.
    workspace.write(
        "dewpoint.yaml",
        &format!("{BOX}{}", step.replace("sleep 600", "true")),
    );
    workspace.local(&["apply", "--yes"]).expect(0);
    plans(&workspace, 0).says("No changes.");
    empty(&workspace);
}

/// A small file system at `.dewpoint`; gone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(workspace: &Workspace, size: &str) -> Self {
        let place = workspace.path(".dewpoint");
        fs::create_dir_all(&place).expect("made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(&place)
            .status();
        assert!(mounted.expect("mount runs").success());
        Self(place)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Cuts every SSH connection that a process has, as a network that goes away does: its sockets are
/// taken hold of from outside and shut.
#[cfg(target_os = "linux")]
fn cut(workspace: &Workspace, pid: i32) {
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

    let text = workspace.read("cloud/endpoint.json");
    let endpoint: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let port = u16::try_from(endpoint["ssh_port"].as_u64().expect("a port")).expect("a port");
    // SAFETY: the call takes numbers; what it returns is a descriptor of ours, or an error.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = i32::try_from(process).expect("a descriptor");
    assert!(process >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    let process = unsafe { OwnedFd::from_raw_fd(process) };
    let mut cut = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("a process") {
        let entry = entry.expect("an entry");
        let is_socket = fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        if !is_socket {
            continue;
        }
        let number: i32 = entry
            .file_name()
            .to_string_lossy()
            .parse()
            .expect("a number");
        // SAFETY: as above; the descriptor of the process is open.
        let socket =
            unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
        let Some(socket) = i32::try_from(socket).ok().filter(|socket| *socket >= 0) else {
            continue;
        };
        // SAFETY: just got, and nobody else's; a socket of another kind only gives errors.
        let socket = unsafe { std::net::TcpStream::from_raw_fd(socket) };
        if socket.peer_addr().is_ok_and(|peer| peer.port() == port) {
            socket.shutdown(std::net::Shutdown::Both).expect("shut");
            cut += 1;
        }
    }
    assert!(cut > 0, "it has no SSH connection");
}

fn last_run(workspace: &Workspace) -> PathBuf {
    // Names of runs sort by time.
    fs::read_dir(workspace.path(".dewpoint/runs"))
        .expect("runs")
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a run")
}
