use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use camino::Utf8Path;

use super::sync::Rig;
use crate::guest::cp::{Carried, CopyError, Watched, fetch, send};

fn set_mode(path: &Utf8Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

fn set_time(path: &Utf8Path, seconds: u64, nanoseconds: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    let file = fs::File::open(path).expect("there");
    file.set_modified(time).expect("set");
}

/// `PATH MODE TIME CONTENT` of all there is, links by where they lead.
fn listed(root: &Utf8Path) -> Vec<String> {
    fn list(root: &Utf8Path, path: &Utf8Path, found: &mut Vec<String>) {
        let meta = path.symlink_metadata().expect("there");
        let name = path.strip_prefix(root).expect("below");
        let time = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
        let mode = meta.mode() & 0o7777;
        if meta.is_symlink() {
            let target = path.read_link_utf8().expect("a link");
            found.push(format!("{name} -> {target}"));
        } else if meta.is_dir() {
            found.push(format!("{name}/ {mode:o} {time}"));
            for entry in path.read_dir_utf8().expect("a folder") {
                list(root, entry.expect("an entry").path(), found);
            }
        } else if meta.is_file() {
            let content = fs::read_to_string(path).expect("text");
            found.push(format!("{name} {mode:o} {time} {content}"));
        }
    }
    let mut found = Vec::new();
    list(root, root, &mut found);
    found.sort();
    found
}

/// The same without the times of folders, which what comes and goes in them changes.
fn contents(root: &Utf8Path) -> Vec<String> {
    let lines = listed(root).into_iter();
    let short = |line: String| match line.split_once("/ ") {
        Some((folder, rest)) if rest.split(' ').count() == 2 => folder.to_owned(),
        _ => line,
    };
    lines.map(short).collect()
}

/// Nothing of ours may be left beside a place.
fn assert_no_leftovers(folder: &Utf8Path) {
    for entry in folder.read_dir_utf8().expect("a folder") {
        let name = entry.expect("an entry").file_name().to_owned();
        assert!(!name.starts_with(".dewpoint."), "{name} is left");
    }
}

impl Rig {
    async fn put(&self, from: &str, to: &str) -> Result<Carried, CopyError> {
        let from = self.here.join(from);
        send(&self.session, &from, to, &Watched::default()).await
    }

    async fn get(&self, from: &str, to: &str) -> Result<Carried, CopyError> {
        let to = self.here.join(to);
        fetch(&self.session, from, &to, &Watched::default()).await
    }

    /// A folder with a bit of everything.
    fn tree(&self) {
        self.write("app/main.py", "main");
        self.write("app/a b/it's $odd`x`\n*.txt", "odd");
        self.write("app/.env", "hidden");
        self.write("app/.git/HEAD", "ref");
        self.write(&format!("app/{}/deep", ["long-name"; 16].join("/")), "deep");
        fs::create_dir(self.here.join("app/empty")).expect("made");
        symlink("main.py", self.here.join("app/link")).expect("made");
        symlink("/nowhere", self.here.join("app/out")).expect("made");
        set_mode(&self.here.join("app/main.py"), 0o4751);
        set_time(&self.here.join("app/main.py"), 1_600_000_000, 123_456_789);
        set_time(&self.here.join("app/.env"), 0, 0);
        set_mode(&self.here.join("app/a b"), 0o500);
        set_time(&self.here.join("app/a b"), 1_500_000_000, 0);
    }
}

#[tokio::test]
async fn a_folder_goes_there_and_comes_back_as_it_was() {
    let rig = Rig::start().await;
    rig.tree();
    let sent = rig.put("app", "copy").await.expect("sent");
    assert_eq!((sent.files, sent.bytes), (7, 20));
    assert_eq!(sent.place, "./copy");
    assert_no_leftovers(&rig.server.home);
    // What runs as its owner must not become another's.
    set_mode(&rig.here.join("app/main.py"), 0o751);
    let here = listed(&rig.here.join("app"));
    assert_eq!(listed(&rig.server.home.join("copy")), here);

    let came = rig.get("~/copy", "back").await.expect("came");
    assert_eq!((came.files, came.bytes), (7, 20));
    assert_eq!(listed(&rig.here.join("back")), here);
    assert_no_leftovers(&rig.here);
}

#[tokio::test]
async fn it_goes_where_cp_would_put_it() {
    let rig = Rig::start().await;
    rig.write("a.txt", "a");
    rig.write("app/x", "x");
    let home = rig.server.home.clone();
    rig.server.folder("in");
    fs::write(home.join("in/old"), "stays").expect("written");
    for (from, to, becomes) in [
        ("a.txt", "", "a.txt"),
        ("a.txt", "b.txt", "b.txt"),
        ("a.txt", "in", "in/a.txt"),
        ("a.txt", "in/", "in/a.txt"),
        ("app", "in", "in/app/x"),
        ("app/", "new", "new/x"),
        ("app/.", "in", "in/x"),
        ("app/.", "new2", "new2/x"),
    ] {
        rig.put(from, to).await.expect(to);
        assert!(home.join(becomes).is_file(), "{from} to {to:?}");
    }
    assert_eq!(
        fs::read_to_string(home.join("in/old")).expect("there"),
        "stays"
    );
    for (from, to, becomes) in [
        ("a.txt", "got.txt", "got.txt"),
        ("in/a.txt", "", "a.txt"),
        ("in/app", "", "app/x"),
        ("in/.", "all", "all/old"),
        ("in/app/", "app2", "app2/x"),
        ("in/app", "app2/", "app2/app/x"),
    ] {
        rig.get(from, to).await.expect(to);
        assert!(rig.here.join(becomes).is_file(), "{from} to {to:?}");
    }
    // A link that is named is what it leads to, on both sides.
    symlink("a.txt", rig.here.join("link")).expect("made");
    rig.put("link", "led").await.expect("sent");
    assert!(
        home.join("led")
            .symlink_metadata()
            .expect("there")
            .is_file()
    );
    symlink("b.txt", home.join("to-b")).expect("made");
    rig.write("new.txt", "new");
    rig.put("new.txt", "to-b").await.expect("sent");
    assert_eq!(
        fs::read_to_string(home.join("b.txt")).expect("there"),
        "new"
    );
    rig.get("to-b", "got.txt").await.expect("came");
    assert_eq!(
        fs::read_to_string(rig.here.join("got.txt")).expect("there"),
        "new"
    );
}

#[tokio::test]
async fn a_folder_is_laid_over_one_that_is_there() {
    let rig = Rig::start().await;
    rig.write("app/sub/new", "new");
    rig.write("app/sub/both", "of here");
    rig.write("app/other/x", "x");
    symlink("/nowhere", rig.here.join("app/sub/was-a-file")).expect("made");
    let app = rig.server.folder("app");
    fs::create_dir(app.join("sub")).expect("made");
    for (name, content) in [("both", "of there"), ("old", "old"), ("was-a-file", "f")] {
        fs::write(app.join("sub").join(name), content).expect("written");
    }
    set_mode(&rig.here.join("app/sub"), 0o555);
    rig.put("app", "").await.expect("sent");
    let names = |root: &Utf8Path| -> Vec<String> {
        let lines = listed(root);
        let short = |line: &String| {
            line.replace(" -> ", "->")
                .split(' ')
                .next()
                .map(str::to_owned)
        };
        lines.iter().filter_map(short).collect()
    };
    let all = [
        "/",
        "other/",
        "other/x",
        "sub/",
        "sub/both",
        "sub/new",
        "sub/old",
        "sub/was-a-file->/nowhere",
    ];
    assert_eq!(names(&app), all);
    assert_eq!(
        fs::read_to_string(app.join("sub/both")).expect("there"),
        "of here"
    );

    fs::create_dir_all(rig.here.join("back/sub")).expect("made");
    fs::write(rig.here.join("back/sub/both"), "of here").expect("written");
    fs::write(app.join("sub/both"), "of there").expect("written");
    rig.get("app/.", "back").await.expect("came");
    assert_eq!(names(&rig.here.join("back")), all);
    assert_eq!(
        fs::read_to_string(rig.here.join("back/sub/both")).expect("there"),
        "of there"
    );
}

#[tokio::test]
async fn what_cannot_be_is_told_and_changes_nothing() {
    let rig = Rig::start().await;
    rig.write("file", "f");
    rig.write("app/sub/x", "x");
    rig.server.folder("folder/file");
    let home = rig.server.home.clone();
    fs::write(home.join("plain"), "p").expect("written");
    rig.server.folder("app");
    fs::write(home.join("app/sub"), "a file").expect("written");
    let made = std::process::Command::new("mkfifo")
        .arg(home.join("fifo"))
        .status();
    assert!(made.expect("mkfifo runs").success());
    fs::create_dir(rig.here.join("file2")).expect("made");
    let before = contents(&home);
    for (from, to, message) in [
        ("gone", "x", "there is no "),
        ("file", "no/x", "there is no folder ./no on droplet.runner"),
        ("file", "no/", "there is no folder ./no on droplet.runner"),
        (
            "file",
            "folder",
            "./folder/file on droplet.runner is a folder, and a file was to go there",
        ),
        (
            "app",
            "plain",
            "./plain on droplet.runner is a file, and a folder was to go there",
        ),
        (
            "app",
            "",
            "./app/sub on droplet.runner is a file, and a folder was to go there",
        ),
        (
            "/dev/null",
            "x",
            "/dev/null on this machine is neither a file nor a folder",
        ),
    ] {
        let error = rig.put(from, to).await.expect_err(message).to_string();
        assert!(error.starts_with(message), "{error}");
    }
    assert_eq!(contents(&home), before);
    let before = contents(&rig.here);
    for (from, to, message) in [
        ("gone", "x", "there is no gone on droplet.runner"),
        (
            "fifo",
            "x",
            "fifo on droplet.runner is neither a file nor a folder",
        ),
        ("plain", "no/x", "there is no folder "),
        ("plain", "no/", "there is no folder "),
        ("plain", "file2/../app/sub/x/y", "there is no folder "),
        (
            "app",
            "file",
            " on this machine is a file, and a folder was to go there",
        ),
        (
            "folder/.",
            "",
            " on this machine is a file, and a folder was to go there",
        ),
    ] {
        let error = rig.get(from, to).await.expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(contents(&rig.here), before);
}

#[tokio::test]
async fn a_full_or_closed_disk_is_told_and_keeps_no_part() {
    let rig = Rig::start().await;
    rig.write("big", &"x".repeat(400_000));
    let home = rig.server.home.clone();
    fs::write(home.join("big"), "as it was").expect("written");
    // A `tar` that ends as one does whose disk is full, after it has written a part.
    let bin = rig.server.folder("bin");
    let script = "#!/bin/sh\nhead -c 100000 >\"$4/data\"\necho 'tar: data: Cannot write: No space left on device' >&2\nexit 2\n";
    fs::write(bin.join("tar"), script).expect("written");
    set_mode(&bin.join("tar"), 0o755);
    let path = format!("{bin}:{}", std::env::var("PATH").expect("a path"));
    *rig.server.path.lock().expect("unpoisoned") = Some(path);
    let error = rig.put("big", "big").await.expect_err("full");
    assert_eq!(
        error.to_string(),
        "no space is left on droplet.runner for big; nothing of it was kept"
    );
    assert_no_leftovers(&home);
    assert_eq!(
        fs::read_to_string(home.join("big")).expect("there"),
        "as it was"
    );
}

#[tokio::test]
async fn a_droplet_that_sends_something_else_writes_nothing() {
    let rig = Rig::start().await;
    let bin = rig.server.folder("bin");
    let path = format!("{bin}:{}", std::env::var("PATH").expect("a path"));
    *rig.server.path.lock().expect("unpoisoned") = Some(path);
    let fake = |commands: &str| {
        let script = format!("#!/bin/sh\n[ \"$1\" != --version ] || exit 0\n{commands}\n");
        fs::write(bin.join("tar"), script).expect("written");
        set_mode(&bin.join("tar"), 0o755);
    };
    // Python's module writes any name into an archive.
    let python = |body: &str| {
        format!(
            "python3 - <<'END'\nimport io, sys, tarfile\nt = tarfile.open(fileobj=sys.stdout.buffer, mode='w|')\n\
             def add(name, kind=tarfile.REGTYPE, link='', data=b'x'):\n    i = tarfile.TarInfo(name)\n    i.type = kind\n    i.linkname = link\n    i.size = len(data)\n    t.addfile(i, io.BytesIO(data))\n{body}\nt.close()\nEND"
        )
    };
    rig.server.folder("app");
    rig.write("kept", "kept");
    let before = contents(&rig.here);
    for (body, problem) in [
        ("add('../evil')", "a path in it leads out of the folder"),
        ("add('/evil')", "a path in it leads out of the folder"),
        (
            "add('l', tarfile.SYMTYPE, '..', b'')\nadd('l/evil')",
            "cannot write",
        ),
        (
            "add('h', tarfile.LNKTYPE, '../../kept', b'')",
            "a link in it leads out of the folder",
        ),
        ("add('twice')\nadd('twice')", "cannot write"),
        (
            "add('x' * 3000000)",
            "a name in it is longer than any can be",
        ),
    ] {
        fake(&python(body));
        let error = rig.get("app", "got").await.expect_err(body).to_string();
        assert!(error.contains(problem), "{body}: {error}");
        assert_eq!(contents(&rig.here), before, "{body}");
    }
    // An archive that ends early, at a place where it could have ended.
    fake("printf ''; exit 0");
    let error = rig
        .get("app", "got")
        .await
        .expect_err("nothing")
        .to_string();
    assert!(error.contains("cannot be unpacked"), "{error}");
    fake(&format!("{}\nkill -9 $PPID", python("add('a')")));
    let error = rig.get("app", "got").await.expect_err("cut").to_string();
    assert!(
        error.contains("cannot be unpacked") || error.contains("signal KILL"),
        "{error}"
    );
    assert_eq!(contents(&rig.here), before);
}

#[tokio::test]
async fn a_cut_connection_and_an_interrupt_leave_nothing() {
    let rig = Rig::start().await;
    // A file without end: whatever ends this, it is not that all was copied.
    let slow = rig.server.folder("slow");
    let script = "#!/bin/sh\n[ \"$1\" != --version ] || exit 0\ndd if=/dev/zero bs=512 count=1 2>/dev/null; yes\n";
    fs::write(slow.join("tar"), script).expect("written");
    set_mode(&slow.join("tar"), 0o755);
    rig.server.folder("app");
    let home = rig.server.home.clone();
    let real = std::env::var("PATH").expect("a path");
    *rig.server.path.lock().expect("unpoisoned") = Some(format!("{slow}:{real}"));

    // Takes what comes, and does not end before this test's folder is gone.
    let receiving = "#!/bin/sh\ncat >\"$4/data\"\nwhile [ -e \"$4/data\" ]; do sleep 0.05; done\n";
    let watched = Watched::default();
    watched.stop.cancel();
    let error = fetch(&rig.session, "app", &rig.here.join("got"), &watched)
        .await
        .expect_err("stopped");
    assert!(matches!(error, CopyError::Stopped), "{error:?}");
    assert_no_leftovers(&rig.here);

    fs::write(slow.join("tar"), receiving).expect("written");
    rig.write("big", &"x".repeat(300_000));
    let sending = rig.put("big", "big");
    let cutting = async {
        while !home
            .read_dir_utf8()
            .expect("there")
            .any(|entry| entry.is_ok_and(|entry| entry.path().join("data").exists()))
        {
            tokio::task::yield_now().await;
        }
        rig.server.cut.cancel();
    };
    let (sent, ()) = tokio::join!(sending, cutting);
    let error = sent.expect_err("cut").to_string();
    assert!(
        error.contains("the connection to droplet.runner was lost"),
        "{error}"
    );
    assert!(!home.join("big").exists());
}

#[tokio::test]
async fn a_large_file_streams_through_little_memory() {
    let rig = Rig::start().await;
    let large = rig.here.join("large");
    // Sparse, so that the disk has room: what is copied is not.
    let file = fs::File::create(&large).expect("made");
    file.set_len(300_000_000).expect("set");
    let watched = Watched::default();
    let sent = send(&rig.session, &large, "large", &watched)
        .await
        .expect("sent");
    assert_eq!(sent.bytes, 300_000_000);
    assert_eq!(
        watched.bytes.load(std::sync::atomic::Ordering::Relaxed),
        300_000_000
    );
    let there = rig.server.home.join("large");
    assert_eq!(there.metadata().expect("there").len(), 300_000_000);
}
