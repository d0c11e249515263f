//! A folder with a manifest and a local cloud of its own; the binary is driven in it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::Value;

use crate::api_call;

/// A workspace. Its local cloud is stopped and emptied when it goes.
pub struct Workspace {
    folder: tempfile::TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Both streams, for a message.
    pub fn all(&self) -> String {
        format!(
            "exit {:?}\n--- out\n{}--- err\n{}",
            self.code, self.out, self.err
        )
    }

    /// Fails unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self
    }

    /// Fails unless standard output or error has this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "`{text}` is missing:\n{}",
            self.all()
        );
        self
    }
}

impl Workspace {
    /// An empty one.
    pub fn new() -> Self {
        // Not below /tmp, which may be of a kind that guests cannot lie on.
        let folder = tempfile::Builder::new()
            .prefix("cli-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder");
        Self { folder }
    }

    /// One with this manifest.
    pub fn with(manifest: &str) -> Self {
        let workspace = Self::new();
        workspace.write("dewpoint.yaml", manifest);
        workspace
    }

    /// One with a copy of an example.
    pub fn example(name: &str) -> Self {
        let workspace = Self::new();
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(name);
        copy(&from, workspace.folder.path());
        workspace
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn cloud(&self) -> PathBuf {
        self.path("cloud")
    }

    /// The binary, with an environment that is the test's alone.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dewpoint"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DEWPOINT_") || text.starts_with("DIGITALOCEAN_") {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("DEWPOINT_LOCAL_DIR", self.cloud())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("NO_COLOR", "1")
            .env_remove("CI")
            .env_remove("GITHUB_ACTIONS")
            .env_remove("LC_ALL")
            .env_remove("LC_CTYPE")
            .env_remove("LANG")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of [`Self::command`] to its end.
    pub fn finish(&self, mut command: Command) -> Ran {
        Ran::of(&command.output().expect("the binary runs"))
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().expect("the binary runs"))
    }

    /// Runs the binary against the local cloud.
    pub fn local(&self, arguments: &[&str]) -> Ran {
        let mut all = arguments.to_vec();
        all.push("--local");
        self.run(&all)
    }

    /// Starts the local cloud with options; other commands start it with its defaults.
    pub fn up(&self, options: &[&str]) {
        let mut all = vec!["local", "up"];
        all.extend_from_slice(options);
        self.run(&all).expect(0);
    }

    /// Address and token of the local cloud.
    pub fn endpoint(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.cloud().join("endpoint.json"))
            .expect("the local cloud runs");
        let endpoint: Value = serde_json::from_str(&text).expect("JSON");
        let text = |name: &str| endpoint[name].as_str().expect(name).to_owned();
        (text("url"), text("token"))
    }

    /// One call to the API of the local cloud, past the client.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (url, token) = self.endpoint();
        api_call::call((&url, &token), method, path, body)
    }

    /// The list behind a path, whole.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let path = match kind {
            "ssh_keys" => "/v2/account/keys?per_page=200".to_owned(),
            "images" => "/v2/images?private=true&per_page=200".to_owned(),
            _ => format!("/v2/{kind}?per_page=200"),
        };
        let (status, body) = self.call("GET", &path, None);
        assert_eq!(status, 200, "{body}");
        body[kind].as_array().expect(kind).clone()
    }

    /// Names of what is in a list, sorted.
    pub fn names(&self, kind: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .list(kind)
            .iter()
            .map(|item| item["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    }

    /// Fails unless the account holds nothing at all.
    #[track_caller]
    pub fn assert_empty(&self) {
        for kind in [
            "droplets",
            "volumes",
            "snapshots",
            "images",
            "firewalls",
            "ssh_keys",
            "tags",
        ] {
            assert_eq!(self.names(kind), Vec::<String>::new(), "{kind} are left");
        }
    }

    /// What the client has sent since the local cloud started.
    pub fn requests(&self) -> Vec<Value> {
        let (status, body) = self.call("GET", "/_local/requests", None);
        assert_eq!(status, 200, "{body}");
        body["requests"].as_array().expect("requests").clone()
    }

    /// Makes the cloud misbehave.
    pub fn fault(&self, fault: &Value) {
        let (status, body) = self.call("POST", "/_local/faults", Some(fault));
        assert!(status < 300, "{status}: {body}");
    }
}

/// The binary at work against the local cloud, its standard error being read.
pub struct Running {
    process: Child,
    err: BufReader<ChildStderr>,
    seen: String,
}

impl Running {
    /// Starts it.
    pub fn start(workspace: &Workspace, arguments: &[&str]) -> Self {
        Self::of(workspace.command(&[arguments, &["--local"]].concat()))
    }

    /// Starts a command of [`Workspace::command`].
    pub fn of(command: Command) -> Self {
        Self::with_output(command, Stdio::null())
    }

    /// The same, whose standard output goes elsewhere.
    pub fn with_output(mut command: Command, out: impl Into<Stdio>) -> Self {
        let mut process = command
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let err = BufReader::new(process.stderr.take().expect("piped"));
        Self {
            process,
            err,
            seen: String::new(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).expect("a process id")
    }

    /// Reads until a line has this text: that line.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        loop {
            let begin = self.seen.len();
            let read = self.err.read_line(&mut self.seen).expect("read");
            assert!(read > 0, "it ended before `{text}`:\n{}", self.seen);
            if self.seen[begin..].contains(text) {
                return self.seen[begin..].to_owned();
            }
        }
    }

    /// Waits for its end: the exit code, and all of standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.err.read_to_string(&mut self.seen).expect("read");
        let status = self.process.wait().expect("ended");
        (status.code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that a failing test leaves behind; else it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary at work on a terminal of its own, where it can ask.
pub struct Asking {
    process: Child,
    terminal: std::fs::File,
    seen: String,
}

impl Asking {
    /// Starts it against the local cloud.
    pub fn start(workspace: &Workspace, arguments: &[&str]) -> Self {
        Self::start_elsewhere(workspace, &[arguments, &["--local"]].concat())
    }

    /// Starts it against no cloud, or what the arguments say.
    pub fn start_elsewhere(workspace: &Workspace, arguments: &[&str]) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&terminal).expect("ours");
        unlockpt(&terminal).expect("open to us");
        let name = ptsname(&terminal, Vec::new()).expect("a name");
        let side = || {
            let path = Path::new(name.to_str().expect("plain"));
            std::fs::File::options()
                .read(true)
                .write(true)
                .open(path)
                .expect("the other side")
        };
        let process = workspace
            .command(arguments)
            .stdin(side())
            .stdout(Stdio::null())
            .stderr(side())
            .spawn()
            .expect("the binary runs");
        Self {
            process,
            terminal: terminal.into(),
            seen: String::new(),
        }
    }

    /// Reads until this text has come.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.read(), "it ended before `{text}`:\n{}", self.seen);
        }
    }

    /// Takes what comes; false once nobody writes any more.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        // A terminal whose other side is closed fails.
        match self.terminal.read(&mut bytes) {
            Ok(read @ 1..) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
                true
            }
            _ => false,
        }
    }

    /// Types a line.
    pub fn answer(&mut self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    /// Types that.
    pub fn write(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("it reads");
    }

    /// What the terminal showed, without what was forgotten.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Reads until this text has come, and forgets it and what came before it.
    #[track_caller]
    pub fn pass(&mut self, text: &str) {
        self.until(text);
        if let Some(at) = self.seen.find(text) {
            self.seen.drain(..at + text.len());
        }
    }

    /// Waits for its end: the exit code, and all that the terminal showed.
    pub fn end(mut self) -> (Option<i32>, String) {
        while self.read() {}
        let status = self.process.wait().expect("ended");
        (status.code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let ended = self.run(&["local", "reset", "--yes"]);
        if !std::thread::panicking() {
            assert_eq!(ended.code, Some(0), "{}", ended.all());
            assert!(!self.cloud().exists(), "the local cloud left files");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the example") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            if entry.file_name() != ".dewpoint" && entry.file_name() != "__pycache__" {
                copy(&entry.path(), &target);
            }
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
