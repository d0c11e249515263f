use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::Ordering;

use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;

use crate::guest::{GuestError, Session, SourceFiles, SyncReport, sync_path, sync_path_as};

use super::server::Server;

/// A folder here, a place on the droplet, a connection between.
pub(super) struct Rig {
    pub(super) server: Server,
    pub(super) session: Session,
    pub(super) here: Utf8PathBuf,
    pub(super) there: Utf8PathBuf,
}

impl Rig {
    pub(super) async fn start() -> Self {
        let server = Server::start().await;
        let session = server.session().await;
        let here = server.folder("here");
        let there = server.home.join("opt/app");
        Self {
            server,
            session,
            here,
            there,
        }
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        let path = self.here.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, content).expect("written");
    }

    async fn sync(&self) -> SyncReport {
        sync_path(&self.session, &self.here, self.there.as_str())
            .await
            .expect("synced")
    }

    /// What is on the droplet: `PATH MODE CONTENT`, links by where they lead.
    pub(super) fn there(&self) -> Vec<String> {
        listed(&self.there)
    }
}

fn listed(root: &Utf8Path) -> Vec<String> {
    let mut found = Vec::new();
    list(root, root, &mut found);
    found.sort();
    found
}

fn list(root: &Utf8Path, folder: &Utf8Path, found: &mut Vec<String>) {
    for entry in folder.read_dir_utf8().expect("a folder") {
        let path = entry.expect("an entry").into_path();
        let meta = path.symlink_metadata().expect("there");
        let name = path.strip_prefix(root).expect("below");
        if meta.is_symlink() {
            let target = path.read_link_utf8().expect("a link");
            found.push(format!("{name} -> {target}"));
        } else if meta.is_dir() {
            found.push(format!("{name}/"));
            list(root, &path, found);
        } else {
            let mode = meta.permissions().mode() & 0o777;
            let content = fs::read_to_string(&path).expect("text");
            found.push(format!("{name} {mode:o} {content}"));
        }
    }
}

#[tokio::test]
async fn first_everything_then_nothing_then_only_what_changed() {
    let rig = Rig::start().await;
    rig.write("main.py", "one");
    rig.write("a b/it's $odd\n*.txt", "two");
    rig.write("run.sh", "three");
    fs::set_permissions(rig.here.join("run.sh"), fs::Permissions::from_mode(0o700)).expect("set");
    fs::create_dir(rig.here.join("empty")).expect("made");
    symlink("main.py", rig.here.join("link")).expect("made");
    symlink("/etc/hostname", rig.here.join("out")).expect("made");

    let first = rig.sync().await;
    assert_eq!((first.files, first.sent, first.round_trips), (5, 5, 2));
    assert_eq!(
        rig.there(),
        [
            "a b/",
            "a b/it's $odd\n*.txt 644 two",
            "empty/",
            "link -> main.py",
            "main.py 644 one",
            "out -> /etc/hostname",
            "run.sh 755 three",
        ]
    );
    let again = rig.sync().await;
    assert_eq!((again.sent, again.deleted, again.round_trips), (0, 0, 1));

    // Changed, deleted, mode, link, a folder in a file's place and the other way round.
    rig.write("main.py", "changed");
    fs::set_permissions(rig.here.join("run.sh"), fs::Permissions::from_mode(0o644)).expect("set");
    fs::remove_dir_all(rig.here.join("a b")).expect("gone");
    rig.write("a b", "a file now");
    fs::remove_file(rig.here.join("out")).expect("gone");
    rig.write("out/inner", "a folder now");
    fs::remove_file(rig.here.join("link")).expect("gone");
    symlink("run.sh", rig.here.join("link")).expect("made");
    fs::remove_dir(rig.here.join("empty")).expect("gone");
    let third = rig.sync().await;
    assert_eq!((third.files, third.sent, third.deleted), (5, 5, 1));
    assert_eq!(
        rig.there(),
        [
            "a b 644 a file now",
            "link -> run.sh",
            "main.py 644 changed",
            "out/",
            "out/inner 644 a folder now",
            "run.sh 644 three",
        ]
    );
    assert_eq!(rig.sync().await.round_trips, 1);
}

#[tokio::test]
async fn of_an_empty_folder_there_is_an_empty_folder() {
    let rig = Rig::start().await;
    assert_eq!(rig.sync().await.files, 0);
    assert_eq!(rig.there(), Vec::<String>::new());
    assert_eq!(rig.sync().await.round_trips, 1, "nothing is left to do");
    fs::remove_dir(&rig.there).expect("removed");
    rig.sync().await;
    assert_eq!(rig.there(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_run_made_stays_and_what_it_broke_is_put_right() {
    let rig = Rig::start().await;
    let outside = rig.server.folder("outside");
    fs::write(outside.join("kept"), "precious").expect("written");
    fs::write(outside.join("old"), "precious").expect("written");
    rig.write("main.py", "one");
    rig.write("conf/kept", "mine");
    rig.write("conf/old", "mine");
    rig.write("data/x", "x");
    rig.sync().await;

    fs::write(rig.there.join("report.xml"), "made by a run").expect("written");
    fs::write(rig.there.join("data/made"), "made by a run").expect("written");
    fs::write(rig.there.join("main.py"), "onE").expect("written");
    // A folder of ours replaced by a link that leads out.
    fs::remove_dir_all(rig.there.join("conf")).expect("gone");
    symlink(&outside, rig.there.join("conf")).expect("made");
    fs::remove_file(rig.here.join("conf/old")).expect("gone");
    fs::remove_dir_all(rig.here.join("data")).expect("gone");
    let report = rig.sync().await;
    assert_eq!((report.sent, report.deleted), (2, 2));
    assert_eq!(
        rig.there(),
        [
            "conf/",
            "conf/kept 644 mine",
            "data/",
            "data/made 644 made by a run",
            "main.py 644 one",
            "report.xml 644 made by a run",
        ]
    );
    let left = |name: &str| fs::read_to_string(outside.join(name)).expect("there");
    assert_eq!(
        (left("kept"), left("old")),
        ("precious".into(), "precious".into())
    );

    // The whole folder of ours is gone here and a link there: nothing is deleted through it.
    fs::remove_dir_all(rig.there.join("conf")).expect("gone");
    symlink(&outside, rig.there.join("conf")).expect("made");
    fs::remove_dir_all(rig.here.join("conf")).expect("gone");
    rig.sync().await;
    assert!(!rig.there().iter().any(|line| line.starts_with("conf")));
    assert_eq!(left("kept"), "precious");

    fs::remove_dir_all(&rig.there).expect("gone");
    assert_eq!(rig.sync().await.sent, 1);
    assert_eq!(rig.there(), ["main.py 644 one"]);
}

#[tokio::test]
async fn ignored_files_and_repositories_stay_here() {
    let rig = Rig::start().await;
    rig.write(".gitignore", "*.log\n!kept.log\n/build/\n");
    rig.write("sub/.gitignore", "local\n");
    rig.write(".git/config", "secret");
    rig.write(".dewpoint/keys/id", "secret");
    rig.write("sub/.dewpoint/x", "secret");
    rig.write("a.log", "");
    rig.write("kept.log", "k");
    rig.write("build/x", "");
    rig.write("sub/local", "");
    rig.write(".hidden", "h");
    let report = rig.sync().await;
    assert_eq!(
        rig.there(),
        [
            ".gitignore 644 *.log\n!kept.log\n/build/\n",
            ".hidden 644 h",
            "kept.log 644 k",
            "sub/",
            "sub/.gitignore 644 local\n",
        ]
    );
    assert!(report.left_out.is_empty());
    // What becomes ignored is deleted over there.
    rig.write(".gitignore", "*.log\n");
    assert_eq!(rig.sync().await.deleted, 1);
}

#[tokio::test]
async fn only_the_files_that_a_saved_plan_saw_are_brought() {
    let rig = Rig::start().await;
    rig.write("a", "a");
    rig.write("plans/plan.json", "{}");
    let but_for = Some("plans/plan.json".to_owned());
    let seen = SourceFiles::read(&rig.here, but_for).expect("read");
    rig.write("plans/plan.json", "{\"saved_plan\": 1}");
    let into = rig.there.as_str();
    let report = sync_path_as(&rig.session, &rig.here, into, &seen).await;
    assert_eq!(report.expect("brought").sent, 1);
    assert_eq!(rig.there(), ["a 644 a", "plans/"]);
    for spoil in [("a", "b"), ("new", "")] {
        rig.write(spoil.0, spoil.1);
        let report = sync_path_as(&rig.session, &rig.here, into, &seen).await;
        let error = report.expect_err("other files");
        assert!(matches!(error, GuestError::SourceMoved { .. }), "{error:?}");
        rig.write("a", "a");
    }
    assert_eq!(rig.there(), ["a 644 a", "plans/"]);
}

#[tokio::test]
async fn what_cannot_be_carried_is_named() {
    let rig = Rig::start().await;
    rig.write("a", "a");
    let _socket = std::os::unix::net::UnixListener::bind(rig.here.join("socket")).expect("bound");
    assert_eq!(rig.sync().await.left_out, ["socket"]);
    let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"bad\xff");
    fs::write(rig.here.as_std_path().join(odd), "").expect("written");
    let error = sync_path(&rig.session, &rig.here, rig.there.as_str())
        .await
        .expect_err("refused");
    assert!(matches!(error, GuestError::SourceName { .. }), "{error:?}");
}

#[tokio::test]
async fn hostile_targets_are_refused_here_and_there() {
    let rig = Rig::start().await;
    rig.write("a", "a");
    let before = rig.server.commands.load(Ordering::SeqCst);
    for target in [
        "/",
        "/etc",
        "/usr",
        "opt/app",
        "/opt/../etc",
        "/proc/self",
        "/opt/",
    ] {
        let error = sync_path(&rig.session, &rig.here, target)
            .await
            .expect_err("refused");
        assert!(matches!(error, GuestError::BadTarget { .. }), "{error:?}");
    }
    assert_eq!(rig.server.commands.load(Ordering::SeqCst), before);
    let link = rig.server.home.join("leads-to-etc");
    symlink("/etc", &link).expect("made");
    let error = sync_path(&rig.session, &rig.here, link.as_str())
        .await
        .expect_err("refused");
    insta::assert_snapshot!(
        error.to_string().replace(link.as_str(), "LINK"),
        @"`LINK` cannot be a target on a droplet: it leads to a folder of the system"
    );
    assert!(!Utf8Path::new("/etc/a").exists());
}

#[tokio::test]
async fn a_folder_that_a_run_removed_comes_back() {
    let rig = Rig::start().await;
    rig.write("a", "a");
    fs::create_dir(rig.here.join("empty")).expect("made");
    rig.sync().await;
    fs::remove_dir(rig.there.join("empty")).expect("gone");
    rig.sync().await;
    assert_eq!(rig.there(), ["a 644 a", "empty/"]);
}

#[tokio::test]
async fn an_interrupted_sync_is_made_good_by_the_next() {
    let rig = Rig::start().await;
    rig.write("a", "a");
    rig.write("b", "b");
    rig.sync().await;
    // As a connection that breaks while files are being unpacked leaves it.
    let state = rig.server.home.join("state/sync");
    let memory = state.read_dir_utf8().expect("there").next().expect("one");
    let memory = memory.expect("read").into_path();
    let sent = fs::read_to_string(memory.join("sent")).expect("there");
    let mut records: Vec<&str> = sent.split_terminator('\0').collect();
    records.push("f 1 0123 half");
    records.sort_unstable();
    let records = records.join("\0") + "\0";
    fs::write(memory.join("sent"), records).expect("written");
    fs::write(memory.join("unfinished"), "").expect("written");
    fs::write(rig.there.join("half"), "half").expect("written");
    fs::write(rig.there.join("a"), "").expect("written");
    let report = rig.sync().await;
    assert_eq!((report.sent, report.deleted), (2, 1));
    assert_eq!(rig.there(), ["a 644 a", "b 644 b"]);
    assert_eq!(rig.sync().await.round_trips, 1);
}

#[tokio::test]
async fn a_droplet_that_cannot_take_it_says_why() {
    let rig = Rig::start().await;
    rig.write("a", "a");
    fs::write(rig.server.home.join("opt"), "a file").expect("written");
    let error = sync_path(&rig.session, &rig.here, rig.there.as_str())
        .await
        .expect_err("refused");
    assert!(
        matches!(error, GuestError::RemoteFailed { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("Not a directory"), "{error}");
}

#[tokio::test]
async fn one_line_of_many_files_is_two_round_trips_and_few_bytes() {
    let rig = Rig::start().await;
    for number in 0..2000 {
        let path = format!("package{}/module_{number}.py", number % 40);
        rig.write(&path, &format!("value = {number}\n").repeat(60));
    }
    let first = rig.sync().await;
    rig.write("package7/module_47.py", "value = 1\n");
    let changed = rig.sync().await;
    assert_eq!((changed.files, changed.sent), (2000, 1));
    assert_eq!(changed.round_trips, 2);
    assert!(changed.bytes_sent < 10_000, "{changed:?}");
    assert!(
        first.bytes_sent > 50 * changed.bytes_sent,
        "{first:?} {changed:?}"
    );
}

/// What can be at a path.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Thing {
    Nothing,
    File(char),
    Program(char),
    Link,
    Folder,
}

const PATHS: [&str; 8] = ["a", "a/x", "a/y", "b", "b/-x", "b/-x/z z", "c\n", "d"];

fn world() -> impl Strategy<Value = Vec<Thing>> {
    let thing = prop_oneof![
        Just(Thing::Nothing),
        proptest::char::range('a', 'c').prop_map(Thing::File),
        proptest::char::range('a', 'c').prop_map(Thing::Program),
        Just(Thing::Link),
        Just(Thing::Folder),
        Just(Thing::Folder),
    ];
    proptest::collection::vec(thing, PATHS.len())
}

/// Puts things at the paths below a folder, as far as what is above them lets it.
fn make(root: &Utf8Path, world: &[Thing], outside: &Utf8Path) {
    for (path, thing) in PATHS.iter().zip(world) {
        let path = root.join(path);
        if !path.parent().expect("below").is_dir() || path.parent().expect("below").is_symlink() {
            continue;
        }
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path).expect("gone"),
            Ok(_) => fs::remove_file(&path).expect("gone"),
            Err(_) => {}
        }
        match thing {
            Thing::Nothing => {}
            Thing::Link => symlink(outside, &path).expect("made"),
            Thing::Folder => fs::create_dir(&path).expect("made"),
            Thing::File(content) | Thing::Program(content) => {
                fs::write(&path, content.to_string()).expect("written");
                let mode = if matches!(thing, Thing::File(_)) {
                    0o644
                } else {
                    0o755
                };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::tried::tried(8))]
    #[test]
    fn whatever_happens_in_between_what_is_here_is_there(
        worlds in proptest::collection::vec(world(), 1..4),
        disturbances in proptest::collection::vec(proptest::option::of(world()), 4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let rig = Rig::start().await;
            let outside = rig.server.folder("outside");
            for name in ["x", "y", "-x"] {
                fs::write(outside.join(name), "precious").expect("written");
            }
            let before = listed(&outside);
            let mut is_disturbed = false;
            for (world, disturbance) in worlds.iter().zip(&disturbances) {
                make(&rig.here, world, &outside);
                rig.sync().await;
                let (here, there) = (listed(&rig.here), listed(&rig.there));
                if is_disturbed {
                    let missing: Vec<_> = here.iter().filter(|line| !there.contains(line)).collect();
                    assert!(missing.is_empty(), "{missing:?}");
                } else {
                    assert_eq!(here, there);
                }
                assert_eq!(rig.sync().await.round_trips, 1, "nothing is left to do");
                if let Some(disturbance) = disturbance {
                    is_disturbed = true;
                    make(&rig.there, disturbance, &outside);
                }
            }
            assert_eq!(listed(&outside), before, "nothing outside was touched");
        });
    }
}
