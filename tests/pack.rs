//! `.ci/pack`: what a release holds, the same bytes whoever packs it and when.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use dewpoint::digest::Digest;
use flate2::read::GzDecoder;
use serde_json::Value;
use tar::{Archive, EntryType};

const NAME: &str = "dewpoint-v1.2.3-some-target";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program that does what dewpoint does and is small: a debug build takes long to pack.
fn program(folder: &Path, mode: u32, age: Duration) -> PathBuf {
    let path = folder.join("built");
    let text = format!(
        "#!/bin/sh\nexec '{}' \"$@\"\n",
        env!("CARGO_BIN_EXE_dewpoint")
    );
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
    let file = std::fs::File::open(&path).expect("there");
    file.set_modified(SystemTime::now() - age).expect("ours");
    path
}

/// The archive and its sum.
fn pack(program: &Path, into: &Path, umask: &str) -> (Vec<u8>, String) {
    let script = format!("umask {umask} && exec python3 -I \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(repository().join(".ci/pack"))
        .args(["v1.2.3", "some-target"])
        .args([program, into])
        .current_dir(program.parent().expect("a folder"))
        .output()
        .expect("python3 is there");
    assert!(output.status.success(), "{output:?}");
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    let mut files: Vec<PathBuf> = std::fs::read_dir(into)
        .expect("made")
        .map(|entry| entry.expect("read").path())
        .collect();
    files.sort();
    let names = [format!("{NAME}.tar.gz"), format!("{NAME}.tar.gz.sha256")];
    assert_eq!(files, names.map(|name| into.join(name)));
    let sum = std::fs::read_to_string(&files[1]).expect("text");
    (std::fs::read(&files[0]).expect("read"), sum)
}

#[test]
fn the_same_files_make_the_same_archive_and_all_is_in_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).expect("made");
        path
    };
    let (here, there) = (at("here"), at("there"));
    let long_ago = Duration::from_secs(100_000);
    let one = program(&here, 0o755, Duration::ZERO);
    let other = program(&there, 0o700, long_ago);
    let (packed, sum) = pack(&one, &here.join("packed"), "022");
    let again = pack(&other, &there.join("packed"), "077");
    assert!(again == (packed.clone(), sum.clone()), "it is not the same");
    let total = Digest::of_bytes(&packed);
    assert_eq!(sum, format!("{}  {NAME}.tar.gz\n", total.as_str()));
    // Deflated, no name, no time; no system at the end.
    assert_eq!(packed[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    assert_eq!(packed[9], 0xff);

    let mut files: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    let mut names = Vec::new();
    let mut archive = Archive::new(GzDecoder::new(packed.as_slice()));
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("whole");
        let header = entry.header();
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        assert_eq!(header.mtime().expect("one"), 0, "{path}");
        let owner = (header.uid().expect("one"), header.gid().expect("one"));
        assert_eq!(owner, (0, 0), "{path}");
        assert_eq!(header.username_bytes(), Some(&b""[..]), "{path}");
        let mode = header.mode().expect("one");
        if header.entry_type() == EntryType::Directory {
            assert_eq!(mode, 0o755, "{path}");
        } else {
            assert_eq!(header.entry_type(), EntryType::Regular, "{path}");
            let name = path.strip_prefix(&format!("{NAME}/")).expect("below it");
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("whole");
            files.insert(name.to_owned(), (mode, data));
        }
        names.push(path.trim_end_matches('/').to_owned());
    }
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names[0], NAME);

    let built = std::fs::read(&one).expect("there");
    assert_eq!(files.remove("dewpoint"), Some((0o755, built)));
    for (name, (mode, data)) in &files {
        assert_eq!(*mode, 0o644, "{name}");
        assert!(!data.is_empty(), "{name}");
    }
    for name in ["README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md"] {
        let ours = std::fs::read(repository().join(name)).expect("there");
        assert_eq!(files.remove(name).map(|file| file.1), Some(ours), "{name}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (_, text) = files
            .remove(&format!("completions/dewpoint.{shell}"))
            .expect("a completion");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("DEWPOINT_COMPLETE"), "{shell}: {text}");
        // Where it was packed from is nobody's path.
        assert!(
            !text.contains(env!("CARGO_MANIFEST_DIR")),
            "{shell}: {text}"
        );
    }
    let pages = ["dewpoint.1", "dewpoint-apply.1", "dewpoint-local-up.1"];
    for page in pages {
        let (_, text) = &files[&format!("man/{page}")];
        assert!(String::from_utf8_lossy(text).contains(".SH"), "{page}");
    }
    files.retain(|name, _| !(name.starts_with("man/dewpoint") && name.ends_with(".1")));
    assert_eq!(files.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}

/// A workflow that is no YAML is noticed by nobody until it is needed.
#[test]
fn a_release_is_built_for_each_system_and_without_guests_where_there_are_none() {
    let workflow = |name: &str| -> Value {
        let path = repository().join(".github/workflows").join(name);
        let text = std::fs::read_to_string(path).expect("there");
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(workflow("ci.yml")["jobs"]["macos"]["steps"].is_array());
    let release = workflow("release.yml");
    let build = &release["jobs"]["build"];
    let built: Vec<_> = build["strategy"]["matrix"]["include"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["target"].as_str().expect("one"),
                one["features"].as_str(),
            )
        })
        .collect();
    let without = Some("--no-default-features");
    assert_eq!(
        built,
        [
            ("x86_64-unknown-linux-gnu", None),
            ("aarch64-unknown-linux-gnu", None),
            ("aarch64-apple-darwin", without),
            ("x86_64-apple-darwin", without),
        ]
    );
    let steps = build["steps"].as_array().expect("a list");
    let runs: Vec<_> = steps
        .iter()
        .filter_map(|step| step["run"].as_str())
        .collect();
    for run in [
        "cargo build --release --locked ${FEATURES:+\"$FEATURES\"}",
        ".ci/pack \"$VERSION\" \"$TARGET\"",
    ] {
        assert!(runs.contains(&run), "{runs:?}");
    }
}
