//! What SECURITY.md promises of this side: the token, private files, links that lie in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::guests;
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
            .arg("-vvv")
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
        (&["test", "--log-format", "json"], 0),
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

/// Runs the binary against the local cloud where nothing but the program itself keeps others out.
fn with_open_umask(workspace: &Workspace, arguments: &[&str]) -> Ran {
    let inner = workspace.command(arguments);
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 0 && exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .arg("--local")
        .current_dir(workspace.path(""));
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    workspace.finish(command)
}

/// Fails unless all that is kept is for its owner alone; says how much that is.
fn assert_private(workspace: &Workspace) -> usize {
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
        let folder = workspace.path(folder);
        check(&folder);
        // What guests see as theirs lies below a folder that nobody else can enter.
        let guests = workspace.path("cloud/guests");
        files(&folder, &mut |path, _| {
            if !path.starts_with(&guests) {
                check(path);
                check(path.parent().expect("a parent"));
            }
        });
    }
    seen
}

#[test]
fn what_is_kept_is_for_its_owner_alone() {
    let workspace = Workspace::with(MANIFEST);
    workspace.up(&["--without-guests"]);
    by_address(&workspace, &["plan", "--out", "saved.json"]).expect(0);
    let mode = fs::metadata(workspace.path("saved.json")).expect("there");
    assert_eq!(mode.permissions().mode() & 0o077, 0);
    by_address(&workspace, &["apply", "--yes"]).expect(0);
    by_address(&workspace, &["ssh-config"]).expect(0);
    assert!(assert_private(&workspace) > 20);
    by_address(&workspace, &["destroy", "--project", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn what_runs_leave_is_for_its_owner_alone_whatever_the_umask() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: safe
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    run:
      - { name: serve, command: "echo up; exec sleep 600", background: true }
      - name: work
        command: mkdir -p out/deep && echo 1 | tee out/a out/deep/b && chmod -R 777 out
        artifacts: ["out/**"]
"#,
    );
    with_open_umask(&workspace, &["apply", "--yes"]).expect(0);
    with_open_umask(&workspace, &["plan", "--out", "saved.json"]).expect(0);
    with_open_umask(&workspace, &["ssh-config"]).expect(0);
    let mode = fs::metadata(workspace.path("saved.json")).expect("there");
    assert_eq!(mode.permissions().mode() & 0o077, 0);
    let mut names = String::new();
    files(&workspace.path(".dewpoint/runs"), &mut |path, _| {
        names.push_str(&path.to_string_lossy());
        names.push('\n');
    });
    for kept in ["out/a\n", "out/deep/b\n", "journal.jsonl\n", "junit.xml\n"] {
        assert!(names.contains(kept), "{names}");
    }
    assert!(assert_private(&workspace) > 30);
    with_open_umask(&workspace, &["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

/// The ends of the sockets that processes have open and that wait for whoever comes: of TCP those
/// that listen, of UDP all.
fn waiting_sockets(pids: &BTreeSet<u32>) -> Vec<SocketAddr> {
    let mut sockets = Vec::new();
    for pid in pids {
        let mut inodes = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
        {
            let link = entry
                .ok()
                .and_then(|entry| fs::read_link(entry.path()).ok());
            let link = link.unwrap_or_default().to_string_lossy().into_owned();
            let inode = link.strip_prefix("socket:[");
            inodes.extend(inode.and_then(|rest| rest.strip_suffix(']')?.parse::<u64>().ok()));
        }
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let inode: u64 = fields[9].parse().expect("an inode");
                let listens = table.starts_with("udp") || fields[3] == "0A";
                if listens && inodes.contains(&inode) {
                    sockets.push(socket_address(fields[1]));
                }
            }
        }
    }
    sockets
}

/// An address as the kernel writes it: words of the machine's byte order, in hexadecimal.
fn socket_address(text: &str) -> SocketAddr {
    let (address, port) = text.split_once(':').expect("an address and a port");
    let port = u16::from_str_radix(port, 16).expect("a port");
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(&address[at..at + 8], 16).expect("a word");
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => {
            let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).expect("16 bytes");
            IpAddr::V6(Ipv6Addr::from(sixteen))
        }
    };
    SocketAddr::new(ip, port)
}

/// A process and all that it has begun, but for those in a network of their own.
fn family(first: u32) -> BTreeSet<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("processes") {
        let name = entry.expect("an entry").file_name();
        let Ok(pid) = name.to_string_lossy().parse::<u32>() else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        if let Some(parent) = after_name.split_whitespace().nth(1) {
            parents.insert(pid, parent.parse::<u32>().expect("a process id"));
        }
    }
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let mut family = BTreeSet::from([first]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| family.contains(parent) && !family.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    family.retain(|pid| network(*pid) == network(first));
    family
}

#[test]
fn the_local_cloud_listens_on_loopback_alone() {
    // The test sees what there is to see: also what is not on loopback.
    let wide = std::net::TcpListener::bind("0.0.0.0:0").expect("a free port");
    let own = waiting_sockets(&BTreeSet::from([std::process::id()]));
    let port = wide.local_addr().expect("bound").port();
    assert!(
        own.iter()
            .any(|socket| socket.port() == port && !socket.ip().is_loopback())
    );

    let workspace = Workspace::with(MANIFEST);
    let logs_in = guests();
    workspace.up(if logs_in { &[] } else { &["--without-guests"] });
    workspace.local(&["apply", "--yes"]).expect(0);
    let endpoint: serde_json::Value =
        serde_json::from_str(&workspace.read("cloud/endpoint.json")).expect("JSON");
    let pid = endpoint["pid"].as_u64().expect("a process id");
    let sockets = waiting_sockets(&family(u32::try_from(pid).expect("a process id")));
    for socket in &sockets {
        assert!(socket.ip().is_loopback(), "{socket} of {sockets:?}");
    }
    let (url, _) = workspace.endpoint();
    let api = url.rsplit(':').next().expect("a port");
    let on = |port: &str| {
        let ending = format!(":{port}");
        let ours = sockets.iter().map(ToString::to_string);
        ours.filter(|socket| socket.ends_with(&ending)).count()
    };
    assert_eq!(on(api), 1, "{sockets:?}");
    if logs_in {
        // Each of the two droplets has an address of its own.
        assert_eq!(on(&endpoint["ssh_port"].to_string()), 2, "{sockets:?}");
    }
    workspace
        .local(&["destroy", "--project", "--yes"])
        .expect(0);
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

/// Every file of Rust below a folder, with its text.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join(folder), &mut |path, bytes| {
        let name = path.strip_prefix(root).expect("below").to_string_lossy();
        if name.ends_with(".rs") {
            found.push((
                name.into_owned(),
                String::from_utf8_lossy(bytes).into_owned(),
            ));
        }
    });
    found
}

#[test]
fn every_test_that_is_promised_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("read");
    let sources = [sources(Path::new("src")), sources(Path::new("tests"))].concat();
    let mut named = 0;
    let mut last_file = String::new();
    for name in text.split('`').skip(1).step_by(2) {
        let Some((place, test)) = name.rsplit_once("::") else {
            continue;
        };
        // A module whose tests are meant altogether has no name of several words.
        if test.split('_').count() < 3 {
            continue;
        }
        // `tests/cli/x.rs`, the one before (`…`), or a module of the library.
        let place = if place == "…" {
            last_file.clone()
        } else {
            place.to_owned()
        };
        last_file.clone_from(&place);
        let module = format!("src/{}", place.replace("::", "/"));
        let is_meant = |file: &str| {
            file == place
                || file == format!("{module}.rs")
                || file == format!("{module}/mod.rs")
                || module
                    .strip_suffix("/tests")
                    .is_some_and(|above| file == format!("{above}.rs"))
        };
        let mut meant = sources.iter().filter(|(file, _)| is_meant(file));
        let begins = format!("fn {test}(");
        assert!(
            meant.any(|(_, text)| text.contains(&begins)),
            "there is no {name}"
        );
        named += 1;
    }
    assert!(named > 20, "{named}");
}
