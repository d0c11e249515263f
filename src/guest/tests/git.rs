use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

use crate::guest::{GuestError, resolve_git, sync_git};

use super::sync::Rig;

fn git(folder: &Utf8Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(folder)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A repository with two commits on `main`, a tag on the first, a branch.
fn repository(rig: &Rig) -> (Utf8PathBuf, String, String) {
    let folder = rig.here.clone();
    git(&folder, &["init", "-q"]);
    rig.write("main.py", "one");
    rig.write(".gitignore", "ignored\n");
    rig.write("ignored", "but tracked");
    rig.write("run.sh", "run");
    std::fs::set_permissions(
        folder.join("run.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("set");
    std::os::unix::fs::symlink("main.py", folder.join("link")).expect("made");
    git(&folder, &["add", "-f", "."]);
    git(&folder, &["commit", "-qm", "one"]);
    let first = git(&folder, &["rev-parse", "HEAD"]);
    git(&folder, &["tag", "-a", "v1", "-m", "v1"]);
    git(&folder, &["branch", "feature/x"]);
    rig.write("main.py", "two");
    git(&folder, &["rm", "-q", "--cached", "ignored"]);
    git(&folder, &["commit", "-qam", "two"]);
    let second = git(&folder, &["rev-parse", "HEAD"]);
    (folder, first, second)
}

#[tokio::test]
async fn names_are_resolved_as_git_does() {
    let rig = Rig::start().await;
    let (folder, first, second) = repository(&rig);
    let base = folder.parent().expect("a parent");
    let address = folder.file_name().expect("a name");
    let resolve = async |name: Option<&str>| {
        resolve_git(address, name, base)
            .await
            .map(|found| found.commit)
    };
    assert_eq!(resolve(None).await.expect("found"), second);
    for (name, commit) in [
        ("main", &second),
        ("refs/heads/main", &second),
        ("v1", &first),
        ("feature/x", &first),
        (&first[..9], &first),
        (&first, &first),
    ] {
        assert_eq!(&resolve(Some(name)).await.expect("found"), commit, "{name}");
    }
    let help = async |name: &str| {
        let error = resolve(Some(name)).await.expect_err("missing");
        let GuestError::NoSuchRef { help, .. } = error else {
            panic!("{error:?}")
        };
        help
    };
    insta::assert_snapshot!(help("mian").await, @"did you mean `main`?");
    insta::assert_snapshot!(help("fedcba9").await, @"write all 40 digits of the commit: servers do not find it by fewer");
    insta::assert_snapshot!(help("--upload-pack=id").await, @r"a name of a branch or tag has no blanks, `..`, `~^:?*[\` and no dash before it");

    rig.write("main.py", "three");
    git(&folder, &["commit", "-qam", "three"]);
    assert_ne!(
        resolve(Some("main")).await.expect("found"),
        second,
        "it moved"
    );
}

#[tokio::test]
async fn addresses_that_run_programs_or_lead_nowhere_are_refused() {
    let rig = Rig::start().await;
    let resolve = async |url: &str| {
        resolve_git(url, None, &rig.here)
            .await
            .expect_err("refused")
    };
    let marker = rig.server.home.join("ran");
    let error = resolve(&format!("ext::sh -c touch% {marker}")).await;
    assert!(matches!(error, GuestError::BadUrl { .. }), "{error:?}");
    assert!(!marker.exists());
    let error = resolve("nowhere").await;
    assert!(matches!(error, GuestError::Git { .. }), "{error:?}");
    // Nobody listens there: bound and dropped.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("bound")
        .port();
    let error = resolve(&format!("http://me:s3cret@127.0.0.1:{port}/a.git")).await;
    let text = format!("{error} {error:?}");
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn exactly_one_commit_is_brought_over() {
    let rig = Rig::start().await;
    let (folder, first, second) = repository(&rig);
    let cache = rig.server.home.join("cache");
    let into = rig.there.as_str();
    let sync = async |commit: &str| {
        sync_git(
            &rig.session,
            folder.as_str(),
            commit,
            &rig.here,
            &cache,
            into,
        )
        .await
    };
    // A commit that no branch leads to any more is still what was planned.
    git(&folder, &["checkout", "-q", "--orphan", "other"]);
    git(&folder, &["commit", "-qm", "other"]);
    let report = sync(&first).await.expect("synced");
    assert_eq!(report.sent, 5);
    assert_eq!(
        rig.there(),
        [
            ".gitignore 644 ignored\n",
            "ignored 644 but tracked",
            "link -> main.py",
            "main.py 644 one",
            "run.sh 755 run",
        ]
    );
    let report = sync(&second).await.expect("synced");
    assert_eq!((report.sent, report.deleted, report.files), (1, 1, 4));

    // From the cache alone.
    std::fs::rename(&folder, folder.with_extension("away")).expect("moved");
    let (one, two) = tokio::join!(sync(&first), sync(&second));
    assert!(one.is_ok() || two.is_ok());
    sync(&first).await.expect("synced");
    assert!(rig.there().contains(&"main.py 644 one".to_owned()));
    std::fs::rename(folder.with_extension("away"), &folder).expect("moved");

    let error = sync(&"0123456789".repeat(4)).await.expect_err("missing");
    assert!(
        matches!(error, GuestError::Git { .. } | GuestError::NoSuchRef { .. }),
        "{error:?}"
    );
    let tree = git(&folder, &["rev-parse", "HEAD^{tree}"]);
    assert!(sync(&tree).await.is_err(), "a tree is no commit");
}

#[tokio::test]
async fn submodules_come_with_it() {
    let rig = Rig::start().await;
    let (folder, ..) = repository(&rig);
    let middle = rig.server.folder("middle");
    git(&middle, &["init", "-q"]);
    let inner = format!("../{}", folder.file_name().expect("a name"));
    git(
        &middle,
        &["submodule", "--quiet", "add", folder.as_str(), "lib/inner"],
    );
    git(
        &middle,
        &[
            "config",
            "-f",
            ".gitmodules",
            "submodule.lib/inner.url",
            &inner,
        ],
    );
    git(&middle, &["commit", "-qam", "middle"]);
    let outer = rig.server.folder("outer");
    git(&outer, &["init", "-q"]);
    git(
        &outer,
        &["submodule", "--quiet", "add", middle.as_str(), "middle"],
    );
    git(
        &outer,
        &["submodule", "--quiet", "add", folder.as_str(), "untold"],
    );
    git(
        &outer,
        &[
            "config",
            "-f",
            ".gitmodules",
            "--remove-section",
            "submodule.untold",
        ],
    );
    git(&outer, &["commit", "-qam", "outer"]);
    let commit = git(&outer, &["rev-parse", "HEAD"]);
    let cache = rig.server.home.join("cache");
    let into = rig.there.as_str();
    let url = format!("file://{outer}");
    let report = sync_git(&rig.session, &url, &commit, &rig.here, &cache, into)
        .await
        .expect("synced");
    assert_eq!(report.left_out, ["untold"]);
    let there = rig.there();
    for file in [
        "middle/lib/inner/main.py 644 two",
        "middle/lib/inner/run.sh 755 run",
    ] {
        assert!(there.contains(&file.to_owned()), "{there:?}");
    }
}
