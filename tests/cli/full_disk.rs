//! A full disk: the file is named, what was there before stays as it was, nothing more is made, and a
//! destroy removes what there is.
//!
//! Artifacts and a journal that is full from the beginning are in `wrong_uses`.

use std::ffi::CString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::guests;
use crate::workspace::{Running, Workspace};

const BOXES: &str = r#"
version: 1
project: full
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
"#;

/// A small file system that only this thread, and what it starts, can see: it ends with them, however they
/// end.
struct Disk(PathBuf);

impl Disk {
    /// None where this cannot be had, which is said.
    fn at(place: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&place).expect("made");
        let text = |text: &str| CString::new(text).expect("no zero in it");
        let (target, options) = (text(&place.to_string_lossy()), text(options));
        let (root, kind) = (text("/"), text("tmpfs"));
        // SAFETY: all pointers are to texts that live until after the calls. Only this thread gets a
        // namespace of its own.
        let made = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    std::ptr::null(),
                    root.as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(
                    kind.as_ptr(),
                    target.as_ptr(),
                    kind.as_ptr(),
                    0,
                    options.as_ptr().cast(),
                ) == 0
        };
        if made {
            return Some(Self(place));
        }
        let why = std::io::Error::last_os_error();
        eprintln!("NOT RUN: no small file system can be mounted here (it takes root): {why}");
        assert!(std::env::var_os("CI").is_none(), "CI must run it");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("made");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Leaves room in files, but none for further ones.
    fn fill_with_files(&self) {
        fs::create_dir(self.filler()).expect("made");
        for number in 0.. {
            if fs::File::create(self.filler().join(number.to_string())).is_err() {
                return;
            }
        }
    }

    fn free(&self) {
        let filler = self.filler();
        let _ = fs::remove_file(&filler).or_else(|_| fs::remove_dir_all(&filler));
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let target = CString::new(self.0.to_string_lossy().as_bytes()).expect("no zero in it");
        // SAFETY: the pointer is to a text that lives until after the call.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

fn is_met(workspace: &Workspace) -> bool {
    let (_, faults) = workspace.call("GET", "/_local/faults", None);
    faults["faults"][0]["seen"] != 0
}

fn newest_run(workspace: &Workspace) -> PathBuf {
    let runs = fs::read_dir(workspace.path(".dewpoint/runs")).expect("runs");
    let runs = runs.map(|run| run.expect("an entry").path());
    runs.max().expect("a run")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_file_that_was_asked_for_is_written_whole_or_stays_as_it_was() {
    let workspace = Workspace::with(BOXES);
    workspace.up(&["--without-guests"]);
    workspace.local(&["apply", "--yes"]).expect(0);
    let Some(disk) = Disk::at(workspace.path("small"), "size=256k") else {
        return;
    };
    let commands: [&[&str]; 3] = [
        &["plan", "--local", "--out", "small/plan.json"],
        &["report", "--output", "small/report.html"],
        &["graph", "--local", "--out", "small/graph.svg"],
    ];
    for command in commands {
        workspace.run(command).expect(0);
    }
    let files = ["graph.svg", "plan.json", "report.html"];
    let before = files.map(|name| read(&disk.0.join(name)));
    let text = workspace.read("dewpoint.yaml");
    workspace.write("dewpoint.yaml", &text.replace("count: 2", "count: 3"));
    disk.fill();
    for command in commands {
        let file = command.last().expect("a file");
        let failed = workspace.run(command).expect(1);
        failed.says(file).says("No space left on device");
    }
    let init = ["init", "-f", "small/new.yaml"];
    workspace
        .run(&init)
        .expect(1)
        .says("small/new.yaml")
        .says("No space left on device");
    assert_eq!(files.map(|name| read(&disk.0.join(name))), before);
    let all = ["filler", "graph.svg", "plan.json", "report.html"];
    assert_eq!(disk.names(), all, "nothing half written is left");
    disk.free();
    for command in commands {
        workspace.run(command).expect(0);
    }
    workspace.run(&init).expect(0);
    assert_ne!(read(&disk.0.join("plan.json")), before[1]);
    workspace.write("dewpoint.yaml", &text);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn no_create_follows_what_the_journal_could_not_take_and_its_lines_are_whole() {
    let workspace = Workspace::with(BOXES);
    workspace.up(&["--without-guests"]);
    let Some(disk) = Disk::at(workspace.path(".dewpoint"), "size=512k") else {
        return;
    };
    // Droplets need the key, whose answer is out for a while.
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/account/keys", "fault": { "delay": { "ms": 2_000 } }
    }));
    let apply = Running::start(&workspace, &["apply", "--yes"]);
    while !is_met(&workspace) {
        std::thread::yield_now();
    }
    disk.fill();
    // What of a page is left takes some more lines: all of it is used up.
    let journal = newest_run(&workspace).join("journal.jsonl");
    let pad = 4096 - fs::metadata(&journal).expect("there").len() % 4096;
    let pad = usize::try_from(pad).expect("small");
    let mut line = vec![b' '; pad - 1];
    line.push(b'\n');
    let notice =
        br#"{"seq":9999,"at":"2026-08-01T00:00:00Z","elapsed_ms":0,"event":"notice","text":""}"#;
    line[..notice.len().min(pad - 1)].copy_from_slice(&notice[..notice.len().min(pad - 1)]);
    let padded = pad > notice.len();
    if padded {
        let mut file = fs::File::options()
            .append(true)
            .open(&journal)
            .expect("opened");
        file.write_all(&line).expect("within the page");
    }
    let (code, text) = apply.end();
    assert_eq!(code, Some(1), "{text}");
    for says in [
        "cannot write",
        "journal.jsonl",
        "No space left on device",
        "no new steps, but clean-up",
    ] {
        assert!(text.contains(says), "`{says}` is missing:\n{text}");
    }
    let made = |request: &Value| request["method"] == "POST" && request["path"] == "/v2/droplets";
    assert!(!workspace.requests().iter().any(made), "{text}");
    for line in read(&journal).lines() {
        let event = serde_json::from_str::<Value>(line);
        assert!(event.is_ok(), "`{line}` is no event");
    }
    disk.free();
    workspace.run(&["history"]).expect(0);
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn a_log_that_fills_the_disk_is_named_and_all_is_cleaned_up() {
    if !guests() {
        return;
    }
    let run = "    run: [{ name: talk, command: 'seq 1 400000' }]\n";
    let workspace = Workspace::with(&format!("{}{run}", BOXES.replace("    count: 2\n", "")));
    workspace.up(&[]);
    let Some(disk) = Disk::at(workspace.path(".dewpoint"), "size=1m") else {
        return;
    };
    let failed = workspace.local(&["test"]).expect(1);
    failed
        .says("talk.log")
        .says("No space left on device")
        .says("no new steps, but clean-up");
    workspace.assert_empty();
    drop(disk);
    workspace.local(&["test"]).expect(0);
    workspace.assert_empty();
}

#[test]
fn what_is_written_about_a_run_at_its_end_is_missed_by_name() {
    if !guests() {
        return;
    }
    let run = "    run: [{ name: nothing, command: 'true' }]\n";
    let workspace = Workspace::with(&format!("{}{run}", BOXES.replace("    count: 2\n", "")));
    workspace.up(&[]);
    let Some(disk) = Disk::at(workspace.path(".dewpoint"), "size=4m,nr_inodes=200") else {
        return;
    };
    // What was kept of an apply tells of what is no more once another has begun.
    workspace.local(&["apply", "--yes"]).expect(0);
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.fault(&json!({
        "method": "POST", "path": "/v2/droplets", "fault": { "delay": { "ms": 2_000 } }
    }));
    let command = workspace.command(&["apply", "--yes", "--local"]);
    let said = workspace.path("said");
    let apply = Running::with_output(command, fs::File::create(&said).expect("a file"));
    while !is_met(&workspace) {
        std::thread::yield_now();
    }
    disk.fill_with_files();
    let (code, text) = apply.end();
    let said = read(&said);
    // The run itself is what it is.
    assert_eq!(code, Some(0), "{said}{text}");
    // The old record goes when the new one cannot be kept, which makes room for one more file.
    for name in ["junit.xml", ".dewpoint/applied/"] {
        let line = said.lines().find(|line| line.contains(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not told:\n{said}"));
        assert!(
            line.starts_with("Cannot write .dewpoint/") && line.contains("No space left"),
            "{line}"
        );
    }
    disk.free();
    workspace.local(&["plan"]).expect(0).says("No changes.");
    workspace.local(&["destroy", "--yes"]).expect(0);
    workspace.assert_empty();
}
