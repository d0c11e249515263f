use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::guest::{GuestError, copy_digest, copy_to};

use super::sync::Rig;

#[tokio::test]
async fn a_digest_is_the_same_on_every_machine() {
    let rig = Rig::start().await;
    rig.write("app/a.txt", "a");
    rig.write("app/sub/b.sh", "b");
    rig.write("app/.git/HEAD", "x");
    symlink("a.txt", rig.here.join("app/link")).expect("made");
    let app = rig.here.join("app");
    let script = app.join("sub/b.sh");
    let set = |mode| fs::set_permissions(&script, fs::Permissions::from_mode(mode)).expect("set");
    set(0o755);
    let digest = copy_digest(&app).expect("digested");
    insta::assert_snapshot!(digest, @"f746ab17b5087b02f6d745cfe9f4895f40c77ea32fe18f4d96b8d2f12dd14606");
    // Another umask, another time, another .git.
    set(0o700);
    rig.write("app/a.txt", "a");
    rig.write("app/.git/HEAD", "y");
    assert_eq!(copy_digest(&app).expect("digested"), digest);

    set(0o644);
    assert_ne!(copy_digest(&app).expect("digested"), digest, "mode");
    set(0o755);
    rig.write("app/a.txt", "b");
    assert_ne!(copy_digest(&app).expect("digested"), digest, "content");
    rig.write("app/a.txt", "a");
    fs::create_dir(app.join("empty")).expect("made");
    assert_ne!(copy_digest(&app).expect("digested"), digest, "folder");

    let file = copy_digest(&app.join("a.txt")).expect("digested");
    fs::rename(app.join("a.txt"), app.join("c.txt")).expect("moved");
    assert_eq!(copy_digest(&app.join("c.txt")).expect("digested"), file);
    let error = copy_digest(&app.join("a.txt")).expect_err("gone");
    assert!(matches!(error, GuestError::SourceRead { .. }), "{error:?}");
}

#[tokio::test]
async fn files_and_folders_go_where_they_are_told() {
    let rig = Rig::start().await;
    rig.write("a.sh", "a");
    fs::set_permissions(rig.here.join("a.sh"), fs::Permissions::from_mode(0o711)).expect("set");
    rig.write("app/-x y", "x");
    let to = |path: &str| rig.there.join(path).into_string();
    let file = rig.here.join("a.sh");
    let digest = copy_digest(&file).expect("digested");
    for (name, is_folder) in [("bin/run it", false), ("bin/", true)] {
        let target = if is_folder {
            format!("{}/", to("bin"))
        } else {
            to(name)
        };
        let report = copy_to(&rig.session, &file, &target, &digest)
            .await
            .expect("copied");
        assert_eq!((report.sent, report.round_trips), (1, 1));
    }
    let folder = rig.here.join("app");
    let folder_digest = copy_digest(&folder).expect("digested");
    copy_to(&rig.session, &folder, &to("bin"), &folder_digest)
        .await
        .expect("copied");
    assert_eq!(
        rig.there(),
        [
            "bin/",
            "bin/-x y 644 x",
            "bin/a.sh 755 a",
            "bin/run it 755 a"
        ]
    );
    let error = copy_to(&rig.session, &file, &to("bin"), &digest)
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("a folder is there"), "{error}");

    rig.write("a.sh", "changed since");
    let error = copy_to(&rig.session, &file, &to("late"), &digest)
        .await
        .expect_err("refused");
    assert!(matches!(error, GuestError::CopyChanged { .. }), "{error:?}");
    assert!(!rig.there.join("late").exists());
    let error = copy_to(&rig.session, &file, "/", &digest)
        .await
        .expect_err("refused");
    assert!(matches!(error, GuestError::BadTarget { .. }), "{error:?}");
}
