//! `cp`: files and folders between this machine and a guest, and the ways to go wrong.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use crate::guests;
use crate::workspace::{Running, Workspace};

const BOX: &str = "
version: 1
project: copies
region: nyc3
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2 }
";

fn modified(path: &std::path::Path) -> (i64, i64, u32) {
    let meta = path.symlink_metadata().expect("there");
    (meta.mtime(), meta.mtime_nsec(), meta.mode())
}

#[test]
fn files_and_folders_go_to_a_droplet_and_come_back() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(BOX);
    workspace
        .local(&["cp", "droplet.box[1]:/etc/hostname", "."])
        .expect(1)
        .says("dewpoint::cli::droplet_not_made");
    workspace.local(&["apply", "--yes"]).expect(0);
    let ssh = |command: &str| workspace.run(&["ssh", "--local", "droplet.box[2]", "--", command]);

    // There, as it is here, under its own name; and nothing beside it.
    workspace.write("app/main.py", "main");
    workspace.write("app/sub/it's $odd.txt", "odd");
    symlink("main.py", workspace.path("app/link")).expect("made");
    let main = workspace.path("app/main.py");
    std::fs::set_permissions(&main, std::fs::Permissions::from_mode(0o640)).expect("set");
    let went = workspace
        .local(&["cp", "app", "droplet.box[2]:/srv/"])
        .expect(0);
    assert_eq!(went.out, "");
    assert!(
        went.err
            .starts_with("ok droplet.box[2]:/srv/app (3 files, 7 B, "),
        "{}",
        went.all()
    );
    let there = ssh("cd /srv && find . | sort && stat -c '%a %U' app/main.py && readlink app/link");
    assert_eq!(
        there.expect(0).out,
        ".\n./app\n./app/link\n./app/main.py\n./app/sub\n./app/sub/it's $odd.txt\n640 root\nmain.py\n"
    );

    // And back: contents, modes and times are what they were.
    let came = workspace
        .local(&["-q", "cp", "droplet.box[2]:/srv/app", "back"])
        .expect(0);
    assert_eq!((came.out.as_str(), came.err.as_str()), ("", ""));
    for name in ["", "main.py", "sub", "sub/it's $odd.txt"] {
        let (here, back) = (
            workspace.path("app").join(name),
            workspace.path("back").join(name),
        );
        assert_eq!(modified(&here), modified(&back), "{name}");
    }
    assert_eq!(workspace.read("back/sub/it's $odd.txt"), "odd");

    // By the droplet's name, from and to the home, a file over a file.
    workspace.write("note", "one");
    workspace
        .local(&["cp", "note", "copies-main-box:"])
        .expect(0);
    workspace.write("note", "two");
    workspace
        .local(&["cp", "note", "droplet.box[1]:note"])
        .expect(0);
    workspace
        .local(&["cp", "droplet.box[1]:note", "got"])
        .expect(0)
        .says("ok got (1 file, 3 B, ");
    assert_eq!(workspace.read("got"), "two");

    // What cannot be is told, and changes nothing.
    ssh("mkdir -p /srv/small && mount -t tmpfs -o size=64k none /srv/small && echo old >/srv/small/big").expect(0);
    workspace.write("big", &"x".repeat(1_000_000));
    for (from, to, said) in [
        (
            "gone",
            "droplet.box[2]:x",
            "there is no gone on this machine",
        ),
        (
            "droplet.box[2]:/gone",
            "x",
            "there is no /gone on droplet.box[2]",
        ),
        (
            "note",
            "droplet.box[2]:/no/x",
            "there is no folder /no on droplet.box[2]",
        ),
        ("note", "droplet.box:x", "dewpoint::cli::several_droplets"),
        ("note", "droplet.nobody:x", "dewpoint::cli::no_droplet"),
        ("note", "x", "neither FROM nor TO is on a droplet"),
        (
            "droplet.box[1]:a",
            "droplet.box[2]:a",
            "both FROM and TO are on droplets",
        ),
        (
            "big",
            "droplet.box[2]:/srv/small/big",
            "no space is left on droplet.box[2] for /srv/small/big; nothing of it was kept",
        ),
        ("note", "droplet.box[2]:/proc/x", "dewpoint::guest::"),
    ] {
        let ran = workspace.local(&["cp", from, to]).expect(1).says(said);
        assert_eq!(ran.out, "");
    }
    let kept = ssh("cd /srv/small && ls -A && cat big").expect(0);
    assert_eq!(kept.out, "big\nold\n");

    // An interrupt leaves nothing on either side.
    ssh("mkfifo /srv/pipe && mkdir /srv/endless && ln -s /dev/zero /srv/endless/zero && head -c 400000000 /dev/zero >/srv/large")
        .expect(0);
    let before: Vec<_> = files(&workspace);
    let running = Running::start(
        &workspace,
        &["-v", "cp", "droplet.box[2]:/srv/large", "large"],
    );
    while files(&workspace).len() == before.len() {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(running.pid()).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    let (code, err) = running.end();
    assert_eq!(code, Some(130), "{err}");
    assert!(err.contains("SIGINT: nothing of it was kept"), "{err}");
    assert_eq!(files(&workspace), before);
    workspace.local(&["destroy", "--yes"]).expect(0);
}

/// What lies in the workspace's own folder.
fn files(workspace: &Workspace) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(workspace.path("."))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    names
}
