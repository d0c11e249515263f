//! The local cloud as a background service: started, found, stopped, removed.
//!
//! All of it blocks for up to some seconds: call it before a runtime starts, or on a thread of its
//! own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use etcetera::BaseStrategy as _;
use serde::Deserialize;

use super::account::Config;
use super::endpoint::{Written, build_of};
use super::folder::Folder;
use super::latency::Latency;
use super::seam::Tier;
use super::store;
use super::tiers::{self, Host};

pub use super::endpoint::Endpoint;
pub use super::error::LocalError;
use super::serve::{HELP, SAID};
pub use super::serve::{SERVE, ServeOptions, last_words, serve};

/// How long a service may take to come up: the first start copies a base for guests.
const TO_START: Duration = Duration::from_secs(60);
/// How long it may take to go down before it is killed: powering guests off takes milliseconds.
const TO_STOP: Duration = Duration::from_secs(15);

/// How to start a local cloud. Of no effect on one that runs already.
#[derive(Debug, Clone, PartialEq)]
pub struct UpOptions {
    /// How long things take.
    pub latency: Latency,
    /// How many droplets there may be.
    pub droplet_limit: u32,
    /// After how many idle seconds it ends; 0 for never.
    pub idle_seconds: u64,
    /// Whether the API's request limits are in force.
    pub rate_limits: bool,
    /// Whether to do without guests, even where they could be.
    pub without_guests: bool,
    /// What droplets are to be; what the folder's were to be, else what is best here, when left out.
    pub guests: Option<Tier>,
    /// The program to start; this one when left out.
    pub program: Option<PathBuf>,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            latency: Latency::FAST,
            droplet_limit: 120,
            idle_seconds: 1_800,
            rate_limits: false,
            without_guests: false,
            guests: None,
            program: None,
        }
    }
}

/// What is in a state folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Where it runs, if it does.
    pub running: Option<Endpoint>,
    /// The file that holds its address and token while it runs, as JSON (`url`, `token`).
    pub endpoint_file: Utf8PathBuf,
    /// What users of its snapshots should know.
    pub warnings: Vec<String>,
    /// How many droplets it has.
    pub droplets: usize,
    /// How many volumes.
    pub volumes: usize,
    /// How many snapshots, of droplets and of volumes.
    pub snapshots: usize,
}

/// The state folder when none is named: `dewpoint/local` in the XDG state folder.
///
/// # Errors
/// When there is no home folder.
pub fn default_folder() -> Result<Utf8PathBuf, LocalError> {
    let strategy = etcetera::choose_base_strategy().map_err(|_| LocalError::NoHome)?;
    let state = strategy.state_dir().unwrap_or_else(|| strategy.data_dir());
    Utf8PathBuf::from_path_buf(state.join("dewpoint").join("local")).map_err(|_| LocalError::NoHome)
}

/// Finds the local cloud of a folder, or starts it. One of another version or build of this program
/// is stopped first, and the answer says so.
///
/// # Errors
/// When the folder holds something else, or the service does not come up.
pub fn up(dir: &Utf8Path, options: &UpOptions) -> Result<Endpoint, LocalError> {
    let folder = Folder::at(dir)?;
    folder.prepare()?;
    // Whoever comes second waits here, and finds what the first has started.
    let _lock = folder.lock_for_change()?;
    // A reset may have come in between.
    folder.prepare()?;
    let mut restarted = None;
    if let Some(endpoint) = find_served(&folder)? {
        let program = program(options)?;
        refuse_other_tier(&folder, options.guests, Some(endpoint.tier))?;
        let Some(reason) = other_build(&endpoint, &program) else {
            return Ok(endpoint);
        };
        restarted = Some(reason);
    }
    if is_served(&folder)? {
        stop(&folder)?;
    }
    let mut endpoint = start(&folder, options)?;
    endpoint.restarted = restarted;
    Ok(endpoint)
}

/// The service of a folder; one that comes up or goes down at this very moment is waited for.
fn find_served(folder: &Folder) -> Result<Option<Endpoint>, LocalError> {
    match find(folder) {
        Some(endpoint) => Ok(Some(endpoint)),
        None if is_served(folder)? => Ok(wait_for_answer(folder)),
        None => Ok(None),
    }
}

fn program(options: &UpOptions) -> Result<PathBuf, LocalError> {
    match &options.program {
        Some(program) => Ok(program.clone()),
        None => std::env::current_exe().map_err(|cause| LocalError::System {
            what: "cannot find this program".to_owned(),
            cause,
        }),
    }
}

/// Why a service is not the one that a program would start.
fn other_build(endpoint: &Endpoint, program: &Path) -> Option<String> {
    let version = env!("CARGO_PKG_VERSION");
    if endpoint.version != version {
        return Some(format!(
            "the local cloud that ran was dewpoint {}, this is {version}: it was restarted, and its droplets with it",
            endpoint.version
        ));
    }
    (endpoint.build != build_of(program)).then(|| {
        "the local cloud that ran was another build of dewpoint: it was restarted, and its droplets with it"
            .to_owned()
    })
}

/// The local cloud of a folder, if it runs and answers.
///
/// # Errors
/// When the folder cannot be named.
pub fn connect(dir: &Utf8Path) -> Result<Option<Endpoint>, LocalError> {
    Ok(find(&Folder::at(dir)?))
}

/// Stops the local cloud of a folder: guests are powered off, state stays. Tells whether one ran.
///
/// # Errors
/// When it does not end.
pub fn down(dir: &Utf8Path) -> Result<bool, LocalError> {
    let folder = Folder::at(dir)?;
    if !folder.is_marked() {
        return Ok(false);
    }
    let _lock = folder.lock_for_change()?;
    let ran = is_served(&folder)?;
    if ran {
        stop(&folder)?;
    }
    let _ = fs::remove_file(folder.endpoint());
    // Those of a service that was killed may not have ended yet.
    Host::wait_until_gone(&folder.path).map_err(|cause| LocalError::NotErased { cause })?;
    Ok(ran)
}

/// Stops the local cloud of a folder and removes the folder with all it holds. Tells whether there
/// was anything.
///
/// # Errors
/// When the folder holds something else, or a file cannot be removed.
pub fn reset(dir: &Utf8Path) -> Result<bool, LocalError> {
    let folder = Folder::at(dir)?;
    match fs::symlink_metadata(&folder.path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Ok(_) if folder.is_marked() => {}
        _ => {
            return Err(LocalError::NotOurs {
                folder: folder.path,
            });
        }
    }
    let _lock = folder.lock_for_change()?;
    if is_served(&folder)? {
        stop(&folder)?;
    }
    Host::erase(&folder.path).map_err(|cause| LocalError::NotErased { cause })?;
    let failed = || LocalError::io(format!("cannot remove {}", folder.path));
    // The mark goes last: what is cut short can be done again.
    let mut last = Vec::new();
    for entry in folder.path.read_dir_utf8().map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let path = entry.into_path();
        match path.file_name() {
            Some("up.lock" | ".dewpoint-local-cloud") => last.push(path),
            _ if path.is_dir() && !path.is_symlink() => {
                fs::remove_dir_all(&path).map_err(failed())?;
            }
            _ => fs::remove_file(&path).map_err(failed())?,
        }
    }
    for path in last {
        fs::remove_file(&path).map_err(failed())?;
    }
    fs::remove_dir(&folder.path).map_err(failed())?;
    Ok(true)
}

/// What is in a folder, whether it runs or not.
///
/// # Errors
/// When its state cannot be read.
pub fn status(dir: &Utf8Path) -> Result<Status, LocalError> {
    let folder = Folder::at(dir)?;
    let (running, warnings) = ask_service(&folder)
        .map_or((None, Vec::new()), |(endpoint, warnings)| {
            (Some(endpoint), warnings)
        });
    let file = folder.state();
    let account = store::read(&file, Config::default())
        .map_err(|cause| LocalError::BadState { file, cause })?;
    let (droplets, volumes, snapshots) = account.map_or((0, 0, 0), |account| account.census());
    Ok(Status {
        running,
        endpoint_file: folder.endpoint(),
        warnings,
        droplets,
        volumes,
        snapshots,
    })
}

/// Refuses what is no longer to be chosen: a service that runs has its tier, and so has what a
/// folder holds.
fn refuse_other_tier(
    folder: &Folder,
    wanted: Option<Tier>,
    running: Option<Tier>,
) -> Result<(), LocalError> {
    let holds = |names: [&str; 2], tier| {
        names
            .iter()
            .filter_map(|name| folder.path.join("guests").join(name).read_dir().ok())
            .any(|mut entries| entries.next().is_some())
            .then_some(tier)
    };
    let is = running
        .or_else(|| holds(["vm/droplets", "vm/layers"], Tier::Vm))
        .or_else(|| holds(["droplets", "layers"], Tier::Namespaces));
    match (wanted, is) {
        // Where nothing can log in, it does not matter what could.
        (Some(Tier::Api), _) if running.is_none() => Ok(()),
        (Some(wanted), Some(is)) if wanted != is => Err(LocalError::OtherTier {
            folder: folder.path.clone(),
            is,
            wanted,
        }),
        _ => Ok(()),
    }
}

/// What droplets are to be, from now on: what is asked for, else what was asked for once. What
/// machines need is looked for, and their base built.
fn settle_tier(folder: &Folder, options: &UpOptions) -> Result<Option<Tier>, LocalError> {
    if options.without_guests {
        return Ok(None);
    }
    let mut identity = folder.identity()?;
    let wanted = options.guests.or(identity.guests);
    refuse_other_tier(folder, wanted, None)?;
    if wanted == Some(Tier::Vm) {
        LocalError::refuse_without(&tiers::machines_lack(&folder.path))?;
        tiers::build_machines(&folder.path).map_err(|cause| LocalError::MachineBase { cause })?;
    }
    if wanted != identity.guests {
        identity.guests = wanted;
        folder.keep_identity(&identity)?;
    }
    Ok(wanted)
}

fn start(folder: &Folder, options: &UpOptions) -> Result<Endpoint, LocalError> {
    let guests = settle_tier(folder, options)?;
    let _ = fs::remove_file(folder.endpoint());
    let log = folder.log();
    let opened = || LocalError::io(format!("cannot write {log}"));
    let errors = private_file(&log).map_err(opened())?;
    // What earlier services said is not what this one says.
    let said_before = errors.metadata().map_or(0, |data| data.len());
    let program = program(options)?;
    let serve = ServeOptions {
        dir: folder.path.clone(),
        latency: options.latency,
        droplet_limit: options.droplet_limit,
        volume_limit: 0,
        idle_seconds: options.idle_seconds,
        rate_limits: options.rate_limits,
        without_guests: options.without_guests,
        guests,
    };
    let mut child = Command::new(&program)
        .arg(SERVE)
        .args(serve.arguments())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .map_err(|cause| LocalError::System {
            what: format!("cannot start {}", program.display()),
            cause,
        })?;
    let deadline = Instant::now() + TO_START;
    loop {
        if let Some(endpoint) = find(folder) {
            return Ok(endpoint);
        }
        let has_ended = child.try_wait().is_ok_and(|status| status.is_some());
        if has_ended || Instant::now() >= deadline {
            return Err(did_not_start(&log, said_before));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn private_file(path: &Utf8Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options.open(path)
}

/// What a service that ended said of it in its log, from a point on.
fn did_not_start(log: &Utf8Path, after: u64) -> LocalError {
    let bytes = fs::read(log).unwrap_or_default();
    let start = usize::try_from(after).unwrap_or(0).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[start..]);
    let last = |mark: &str| {
        text.lines()
            .rev()
            .find_map(|line| line.strip_prefix(mark))
            .map(str::to_owned)
    };
    LocalError::DidNotStart {
        said: last(SAID)
            .or_else(|| text.lines().last().map(str::to_owned))
            .unwrap_or_else(|| "it said nothing".to_owned()),
        help: last(HELP).unwrap_or_else(|| format!("look at {log}, then try again")),
    }
}

fn is_served(folder: &Folder) -> Result<bool, LocalError> {
    Ok(folder.is_marked() && folder.try_lock_for_service()?.is_none())
}

/// The service, if it answers, and is the one that wrote the endpoint.
fn find(folder: &Folder) -> Option<Endpoint> {
    Some(ask_service(folder)?.0)
}

/// The service, and what it warns of.
fn ask_service(folder: &Folder) -> Option<(Endpoint, Vec<String>)> {
    #[derive(Deserialize)]
    struct About {
        pid: u32,
        version: String,
        #[serde(default)]
        warnings: Vec<String>,
    }
    let written = read_endpoint(folder)?;
    let about: About = ask(written.port, &written.token, "/_local/status")?;
    (about.pid == written.pid && about.version == written.version)
        .then(|| (written.into_endpoint(), about.warnings))
}

fn read_endpoint(folder: &Folder) -> Option<Written> {
    serde_json::from_slice(&fs::read(folder.endpoint()).ok()?).ok()
}

fn wait_for_answer(folder: &Folder) -> Option<Endpoint> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if let Some(endpoint) = find(folder) {
            return Some(endpoint);
        }
        if matches!(is_served(folder), Ok(false)) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// One GET over HTTP: no client, no runtime and no certificates are needed to look at loopback.
fn ask<T: for<'a> Deserialize<'a>>(port: u16, token: &str, path: &str) -> Option<T> {
    let timeout = Duration::from_secs(2);
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let mut stream = TcpStream::connect_timeout(&address, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    stream.set_write_timeout(Some(timeout)).ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer).ok()?;
    let text = std::str::from_utf8(&answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    serde_json::from_str(body).ok()
}

/// Ends the service: asked first, killed if it does not listen. Either way its guests are gone.
fn stop(folder: &Folder) -> Result<(), LocalError> {
    let pid = fs::read_to_string(folder.path.join("serve.lock"))
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    let Some(pid) = pid.filter(|pid| is_our_process(*pid)) else {
        // Nothing to signal: it is about to end, or about to write who it is.
        return wait_until_gone(folder, TO_STOP);
    };
    signal(pid, rustix::process::Signal::TERM);
    if wait_until_gone(folder, TO_STOP).is_ok() {
        return Ok(());
    }
    signal(pid, rustix::process::Signal::KILL);
    wait_until_gone(folder, TO_STOP)
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may end by itself in between.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process is a local cloud: its number may have been given to another.
fn is_our_process(pid: u32) -> bool {
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line
            .split(|byte| *byte == 0)
            .any(|word| word == SERVE.as_bytes()),
        // Systems without /proc: the lock that is held has to do.
        Err(_) => !std::path::Path::new("/proc/self").exists(),
    }
}

fn wait_until_gone(folder: &Folder, within: Duration) -> Result<(), LocalError> {
    let deadline = Instant::now() + within;
    while is_served(folder)? {
        if Instant::now() >= deadline {
            return Err(LocalError::DoesNotEnd {
                folder: folder.path.clone(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = fs::remove_file(folder.endpoint());
    Ok(())
}
