//! What SECURITY.md promises of this side: the token, private files, links that lie in the way.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::workspace::{Ran, Workspace};

const MANIFEST: &str = r#"
version: 1
project: safe
region: nyc3
volumes: { data: { size: 1GiB, scope: environment } }
droplets:
  box: { image: ubuntu-24-04-x64, size: s-1vcpu-1gb, count: 2 }
"#;

/// All files below a folder, with what is in them.
fn files(folder: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let kind = fs::symlink_metadata(&path).expect("there").file_type();
        if kind.is_dir() {
            files(&path, look);
        } else if kind.is_file() {
            look(&path, &fs::read(&path).expect("read"));
        }
    }
}

/// Runs the binary against the local cloud as against any other API: by address and token.
fn by_address(workspace: &Workspace, arguments: &[&str]) -> Ran {
    let (url, token) = workspace.endpoint();
    let mut command = workspace.command(arguments);
    command
        .env("DIGITALOCEAN_API_URL", url)
        .env("DIGITALOCEAN_TOKEN", token);
    workspace.finish(command)
}

#[test]
fn the_token_is_in_no_output_and_no_file() {
    const PLANTED: &str = "dop_v1_planted0123456789abcdefplanted";
    let workspace = Workspace::with(MANIFEST);
    workspace.up(&["--without-guests"]);
    let (url, token) = workspace.endpoint();
    let ran = |arguments: &[&str], token: &str| -> Ran {
        let mut command = workspace.command(arguments);
        command
            .arg("-vv")
            .env("DEWPOINT_LOG", "trace")
            .env("DIGITALOCEAN_API_URL", &url)
            .env("DIGITALOCEAN_TOKEN", token);
        workspace.finish(command)
    };
    let mut said = String::new();
    for (arguments, code) in [
        (&["plan", "--out", "saved.json"][..], 0),
        (&["plan", "--format", "json"], 0),
        (&["plan", "--format", "markdown"], 0),
        (&["graph", "--format", "svg", "--out", "plan.svg"], 0),
        (&["apply", "saved.json"], 0),
        (&["apply", "--yes", "--log-format", "json"], 0),
        (&["status", "--format", "json"], 0),
        (&["history", "--format", "json"], 0),
        (&["logs"], 0),
        (&["ssh-config"], 0),
        (&["plan", "--destroy"], 0),
        (&["destroy", "--yes"], 0),
        (&["sweep", "--yes"], 0),
        (&["test"], 0),
    ] {
        let ran = ran(arguments, &token);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.all());
        assert!(
            ran.err.contains("GET /v2/") || matches!(arguments[0], "history" | "logs"),
            "{arguments:?} says nothing: {}",
            ran.err
        );
        said.push_str(&ran.all());
    }
    // One that is refused is not shown either.
    for arguments in [&["plan"][..], &["apply", "--yes"], &["sweep"]] {
        let ran = ran(arguments, PLANTED);
        assert_eq!(ran.code, Some(1), "{}", ran.all());
        said.push_str(&ran.all());
    }
    // The local cloud gets its own token, whatever is set for DigitalOcean: it refuses any other.
    let mut local = workspace.command(&["plan", "--local"]);
    local.env("DIGITALOCEAN_TOKEN", PLANTED);
    workspace.finish(local).expect(0);
    for secret in [token.as_str(), PLANTED, "PRIVATE KEY"] {
        assert!(!said.contains(secret));
    }
    let mut seen = 0;
    files(&workspace.path(""), &mut |path, bytes| {
        let name = path.file_name().expect("a name").to_string_lossy();
        // The local cloud keeps its own; whoever calls it reads it there.
        if matches!(&*name, "endpoint.json" | "identity.json") {
            return;
        }
        seen += 1;
        let text = String::from_utf8_lossy(bytes);
        for secret in [token.as_str(), PLANTED] {
            assert!(!text.contains(secret), "{}", path.display());
        }
    });
    assert!(seen > 10, "{seen} files are too few to look through");
    // Nor is it an argument of the service, which everyone on this machine can see.
    let endpoint: serde_json::Value =
        serde_json::from_str(&workspace.read("cloud/endpoint.json")).expect("JSON");
    for of in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{of}", endpoint["pid"]);
        let text = String::from_utf8_lossy(&fs::read(path).expect("read")).into_owned();
        assert!(!text.contains(&token), "{of}");
    }
    workspace.assert_empty();
}

#[test]
fn what_is_kept_is_for_its_owner_alone() {
    let workspace = Workspace::with(MANIFEST);
    workspace.up(&["--without-guests"]);
    by_address(&workspace, &["plan", "--out", "saved.json"]).expect(0);
    by_address(&workspace, &["apply", "--yes"]).expect(0);
    by_address(&workspace, &["ssh-config"]).expect(0);
    let mut seen = 0;
    let mut check = |path: &Path| {
        let mode = fs::symlink_metadata(path).expect("there").permissions();
        let name = path.to_string_lossy();
        // A public key is no secret, and the ignore file tells git alone; both lie in 0700 folders.
        if !name.ends_with(".pub") && !name.ends_with(".gitignore") {
            assert_eq!(mode.mode() & 0o077, 0, "{name} {:o}", mode.mode());
            seen += 1;
        }
    };
    for folder in [".dewpoint", "cloud", "cache"] {
        files(&workspace.path(folder), &mut |path, _| {
            check(path);
            check(path.parent().expect("a parent"));
        });
    }
    check(&workspace.path("saved.json"));
    assert!(seen > 20, "{seen} are too few");
    by_address(&workspace, &["destroy", "--project", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn nothing_is_written_through_a_link() {
    let workspace = Workspace::with(MANIFEST);
    workspace.up(&["--without-guests"]);
    // Once without, to learn what is written.
    by_address(&workspace, &["plan", "--out", "saved.json"]).expect(0);
    by_address(&workspace, &["apply", "--yes"]).expect(0);
    by_address(&workspace, &["ssh-config"]).expect(0);
    let graph = ["graph", "--format", "dot", "--out", "plan.dot"];
    by_address(&workspace, &graph).expect(0);
    let mut written = Vec::new();
    for folder in [".dewpoint", "cache"] {
        files(&workspace.path(folder), &mut |path, _| {
            let path = path.strip_prefix(workspace.path("")).expect("below");
            // A run has a folder of its own, whose name nobody can know before.
            if !path.starts_with(".dewpoint/runs") {
                written.push(path.to_owned());
            }
        });
    }
    written.extend(["saved.json".into(), "plan.dot".into()]);
    for known in ["locks", "keys", "known_hosts", "prices", "gitignore"] {
        let is_known = |path: &std::path::PathBuf| path.to_string_lossy().contains(known);
        assert!(written.iter().any(is_known), "{known}: {written:?}");
    }
    const PRECIOUS: &str = "precious\n";
    for path in &written {
        for target in ["precious", "nowhere"] {
            workspace.write("precious", PRECIOUS);
            let path = workspace.path(&path.to_string_lossy());
            let before = fs::read(&path).unwrap_or_default();
            let _ = fs::remove_file(&path);
            symlink(workspace.path(target), &path).expect("a link");
            // Each may be refused, or put a file in the link's place; never may it go through.
            let mut said = String::new();
            for arguments in [
                &["plan", "--out", "saved.json"][..],
                &["apply", "--yes"],
                &["ssh-config"],
                &graph,
            ] {
                said.push_str(&by_address(&workspace, arguments).all());
            }
            let shown = path.display();
            assert_eq!(workspace.read("precious"), PRECIOUS, "{shown}\n{said}");
            assert!(!workspace.path("nowhere").exists(), "{shown}\n{said}");
            let _ = fs::remove_file(&path);
            fs::write(&path, before).expect("as it was");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        }
    }
    by_address(&workspace, &["destroy", "--project", "--yes"]).expect(0);
    workspace.assert_empty();
}
