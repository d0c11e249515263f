use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::guest::collect::{Limits, collect_within};
use crate::guest::{CollectReport, GuestError, collect};

use super::sync::Rig;

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Rig {
    async fn collect(&self, patterns: &[&str]) -> Result<CollectReport, GuestError> {
        let dest = self.server.home.join("artifacts");
        collect(
            &self.session,
            Some(self.here.as_str()),
            &strings(patterns),
            &dest,
        )
        .await
    }

    fn collected(&self, path: &str) -> String {
        fs::read_to_string(self.server.home.join("artifacts").join(path)).expect("there")
    }
}

#[tokio::test]
async fn what_patterns_name_comes_back() {
    let rig = Rig::start().await;
    rig.write("report.xml", "<x/>");
    rig.write("logs/a/b c.log", "log");
    rig.write("logs/-d'\n.log", "odd");
    rig.write("shots/1.png", "p");
    rig.write("shots/1.txt", "t");
    rig.write("other", "o");
    let secret = rig.server.folder("secret");
    fs::write(secret.join("file"), "secret").expect("written");
    symlink(secret.join("file"), rig.here.join("logs/leak")).expect("made");
    symlink(&secret, rig.here.join("way-out")).expect("made");
    let patterns = [
        "report.xml",
        "logs/**",
        "shots/*.png",
        "absent/*",
        "way-out/*",
        "way-out/file",
    ];
    let report = rig.collect(&patterns).await.expect("collected");
    assert_eq!(
        report,
        CollectReport {
            files: strings(&[
                "logs/-d'\n.log",
                "logs/a/b c.log",
                "report.xml",
                "shots/1.png"
            ]),
            bytes: 11,
            unmatched: strings(&["absent/*", "way-out/*", "way-out/file"]),
            skipped: strings(&["logs/leak"]),
        }
    );
    assert_eq!(rig.collected("logs/a/b c.log"), "log");
    // Again, over what is there, and nothing at all.
    rig.write("report.xml", "<y/>");
    rig.collect(&["report.xml"]).await.expect("collected");
    assert_eq!(rig.collected("report.xml"), "<y/>");
    let none = rig.collect(&[]).await.expect("collected");
    assert_eq!(none, CollectReport::default());
    let dest = rig.server.home.join("none");
    let report = collect(
        &rig.session,
        Some("/no/such/folder"),
        &strings(&["x"]),
        &dest,
    )
    .await
    .expect("collected");
    assert_eq!(report.unmatched, ["x"]);
    assert!(!dest.exists());
}

#[tokio::test]
async fn no_link_on_this_side_is_followed() {
    let rig = Rig::start().await;
    rig.write("logs/a", "new");
    rig.write("b", "new");
    let outside = rig.server.folder("outside");
    for name in ["a", "b"] {
        fs::write(outside.join(name), "precious").expect("written");
    }
    let dest = rig.server.folder("artifacts");
    symlink(outside.join("b"), dest.join("b")).expect("made");
    rig.collect(&["b"]).await.expect("collected");
    assert_eq!(rig.collected("b"), "new");
    symlink(&outside, dest.join("logs")).expect("made");
    let error = rig.collect(&["logs/a"]).await.expect_err("refused");
    assert!(matches!(error, GuestError::Write { .. }), "{error:?}");
    for name in ["a", "b"] {
        assert_eq!(
            fs::read_to_string(outside.join(name)).expect("there"),
            "precious"
        );
    }
}

#[tokio::test]
async fn too_much_is_refused_before_it_is_sent() {
    let rig = Rig::start().await;
    for name in ["a", "b", "c"] {
        rig.write(name, "1234567890");
    }
    let dest = rig.server.home.join("artifacts");
    let within = async |files, bytes| {
        let limits = Limits { files, bytes };
        collect_within(
            &rig.session,
            Some(rig.here.as_str()),
            &strings(&["*"]),
            &dest,
            limits,
        )
        .await
    };
    let error = within(2, 1000).await.expect_err("refused");
    assert!(
        matches!(error, GuestError::TooManyArtifacts { limit: 2, .. }),
        "{error:?}"
    );
    let error = within(3, 29).await.expect_err("refused");
    assert!(
        matches!(
            error,
            GuestError::ArtifactsTooLarge {
                limit_bytes: 29,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!dest.exists());
    assert_eq!(within(3, 30).await.expect("collected").bytes, 30);
}

/// An archive with these entries, the names as they are.
fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o4777);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_link_name("/etc").expect("set");
        }
        header.set_cksum();
        builder.append(&header, *content).expect("appended");
    }
    let encoder = builder.into_inner().expect("built");
    encoder.finish().expect("finished")
}

#[tokio::test]
async fn a_hostile_archive_leaves_nothing() {
    use tar::EntryType;
    let rig = Rig::start().await;
    rig.write("a", "a");
    // A droplet whose tar sends what it likes.
    let bin = rig.server.folder("bin");
    let evil = rig.server.home.join("evil");
    fs::write(
        bin.join("tar"),
        format!("#!/bin/sh\ncat >/dev/null\nexec cat '{evil}'\n"),
    )
    .expect("written");
    fs::set_permissions(bin.join("tar"), fs::Permissions::from_mode(0o755)).expect("set");
    let server_path = format!("{bin}:{}", std::env::var("PATH").expect("set"));
    *rig.server.path.lock().expect("unpoisoned") = Some(server_path);
    let good = ("./a", EntryType::Regular, &b"fine"[..]);
    for bad in [
        ("/tmp/dewpoint-evil", EntryType::Regular, &b"x"[..]),
        ("../evil-file", EntryType::Regular, b"x"),
        ("a/../../evil-file", EntryType::Regular, b"x"),
        ("./a", EntryType::Symlink, b""),
        ("./a", EntryType::Link, b""),
        ("./a", EntryType::Char, b""),
        ("./a", EntryType::Fifo, b""),
        ("./a/", EntryType::Directory, b""),
        ("not-asked-for", EntryType::Regular, b"x"),
    ] {
        fs::write(&evil, archive(&[good, bad])).expect("written");
        let error = rig.collect(&["a"]).await.expect_err("refused");
        assert!(
            matches!(error, GuestError::UnsafeArchive { .. }),
            "{bad:?}: {error:?}"
        );
    }
    // Names that cannot be, and that would steer a terminal if they were shown as they are.
    let mut long = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(8 * 1024 * 1024);
    header.set_cksum();
    long.append(&header, &vec![b'a'; 8 * 1024 * 1024][..])
        .expect("appended");
    let long = long
        .into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .expect("built");
    fs::write(&evil, long).expect("written");
    let error = rig.collect(&["a"]).await.expect_err("refused");
    assert!(
        error.to_string().contains("longer than any name can be"),
        "{error}"
    );
    let steering = ("./\u{1b}]0;owned\u{7}\n", EntryType::Regular, &b"x"[..]);
    fs::write(&evil, archive(&[good, steering])).expect("written");
    let error = rig.collect(&["a"]).await.expect_err("refused");
    assert!(
        !error.to_string().contains(char::is_control),
        "{:?}",
        error.to_string()
    );
    // A link, and then something written through it.
    let link = ("./way", EntryType::Symlink, &b""[..]);
    let through = ("./way/evil", EntryType::Regular, &b"x"[..]);
    fs::write(&evil, archive(&[good, link, through])).expect("written");
    let error = rig.collect(&["a"]).await.expect_err("refused");
    assert!(
        matches!(error, GuestError::UnsafeArchive { .. }),
        "{error:?}"
    );
    fs::write(&evil, "no archive").expect("written");
    let error = rig.collect(&["a"]).await.expect_err("refused");
    assert!(matches!(error, GuestError::BadArchive { .. }), "{error:?}");
    let bomb = vec![0; 40 * 1024 * 1024];
    fs::write(&evil, archive(&[("./a", EntryType::Regular, &bomb)])).expect("written");
    let dest = rig.server.home.join("artifacts");
    let limits = Limits {
        files: 10,
        bytes: 1024,
    };
    let here = Some(rig.here.as_str());
    let error = collect_within(&rig.session, here, &strings(&["a"]), &dest, limits)
        .await
        .expect_err("refused");
    assert!(
        matches!(error, GuestError::ArtifactsTooLarge { .. }),
        "{error:?}"
    );
    assert!(!dest.exists(), "nothing was written");
    fs::write(&evil, archive(&[good])).expect("written");
    rig.collect(&["a"]).await.expect("collected");
    assert_eq!(rig.collected("a"), "fine");
    let mode = fs::metadata(dest.join("a"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o7777,
        0o700,
        "no set-user-id, and for its owner alone"
    );
    let folder = fs::metadata(&dest).expect("there").permissions().mode();
    assert_eq!(folder & 0o7777, 0o700);
}
