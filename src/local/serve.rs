//! The process of the local cloud: `dewpoint __local-serve`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Parser;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketType};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::account::{Account, Config};
use super::endpoint::Written;
use super::error::LocalError;
use super::folder::{Folder, Identity};
use super::latency::Latency;
use super::seam::{Probe, Tier};
use super::server::{self, Api};
use super::store::{self, Store};
use super::tiers::{self, Host};
use super::work::{Worker, lock, now};
use crate::digest::Digest;
use crate::secret::Secret;

/// First argument that makes this program the local cloud's process.
pub const SERVE: &str = "__local-serve";

/// What a line of the log begins with that says why the service ended.
pub(super) const SAID: &str = "error: ";
/// What a line of the log begins with that says what to do about it.
pub(super) const HELP: &str = "help: ";

/// What a service that ends early says last, for whoever started it to show.
#[must_use]
pub fn last_words(error: &LocalError) -> String {
    let mut said = format!("{SAID}{error}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        said = format!("{said}: {cause}");
        next = cause.source();
    }
    if let Some(help) = miette::Diagnostic::help(error) {
        said = format!("{said}\n{HELP}{help}");
    }
    said
}

/// How the local cloud is set up.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "dewpoint __local-serve", no_binary_name = true)]
pub struct ServeOptions {
    /// The state folder.
    #[arg(long)]
    pub dir: Utf8PathBuf,
    /// How long things take.
    #[arg(long, default_value_t = Latency::FAST)]
    pub latency: Latency,
    /// How many droplets there may be.
    #[arg(long, default_value_t = 120)]
    pub droplet_limit: u32,
    /// How many volumes there may be; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    pub volume_limit: u32,
    /// After how many seconds without requests and SSH connections it ends; 0 for never.
    #[arg(long, default_value_t = 1_800)]
    pub idle_seconds: u64,
    /// Whether the API's request limits are in force.
    #[arg(long)]
    pub rate_limits: bool,
    /// Whether to do without guests, even where they could be.
    #[arg(long)]
    pub without_guests: bool,
    /// What droplets are to be; what is best here when left out.
    #[arg(long)]
    pub guests: Option<Tier>,
}

impl ServeOptions {
    /// The arguments that say the same.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--dir={}", self.dir),
            format!("--latency={}", self.latency),
            format!("--droplet-limit={}", self.droplet_limit),
            format!("--volume-limit={}", self.volume_limit),
            format!("--idle-seconds={}", self.idle_seconds),
        ];
        if self.rate_limits {
            arguments.push("--rate-limits".to_owned());
        }
        if self.without_guests {
            arguments.push("--without-guests".to_owned());
        }
        if let Some(tier) = self.guests {
            arguments.push(format!("--guests={tier}"));
        }
        arguments
    }
}

/// Serves a state folder until it is told to stop, or has been idle for long.
///
/// # Errors
/// When the arguments are wrong, another process serves the folder, its state cannot be read, or
/// guests cannot be prepared.
pub fn serve(arguments: impl IntoIterator<Item = OsString>) -> Result<(), LocalError> {
    let options = ServeOptions::try_parse_from(arguments).map_err(|error| {
        let message = error.to_string();
        LocalError::Arguments {
            message: message.trim_start_matches("error: ").trim().to_owned(),
        }
    })?;
    close_inherited();
    // A session of its own: the terminal's signals are for whoever asked for this process. It
    // fails when this process leads one already, which is as good.
    let _ = rustix::process::setsid();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(io::stderr)
        .try_init()
        .unwrap_or_default();
    let folder = Folder::at(&options.dir)?;
    folder.prepare()?;
    let mut held = folder
        .try_lock_for_service()?
        .ok_or_else(|| LocalError::AlreadyServed {
            folder: folder.path.clone(),
        })?;
    held.set_len(0)
        .and_then(|()| write!(held, "{}", std::process::id()))
        .map_err(LocalError::io(format!("cannot write to {}", folder.path)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(LocalError::system("cannot start threads"))?;
    let result = runtime.block_on(run(&folder, &options));
    // Work that still goes on would outlive the promise that nothing does.
    runtime.shutdown_timeout(Duration::from_secs(2));
    drop(held);
    result
}

/// Closes what whoever started this process left open: a service that lives on must not keep
/// another's locks and pipes.
fn close_inherited() {
    #[cfg(target_os = "linux")]
    // SAFETY: nothing in this process has opened anything yet, so nobody owns what is closed here;
    // the standard streams stay. An older kernel refuses, and nothing is lost by that.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
    #[cfg(not(target_os = "linux"))]
    {
        let open: Vec<i32> = std::fs::read_dir("/dev/fd")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|fd| *fd > 2)
            .collect();
        for fd in open {
            // SAFETY: as above; the one that the list was read by is closed already, which is an error
            // and no more.
            unsafe { libc::close(fd) };
        }
    }
}

async fn run(folder: &Folder, options: &ServeOptions) -> Result<(), LocalError> {
    // Taken first: from here on a signal ends this in good order.
    let mut terminate =
        signal(SignalKind::terminate()).map_err(LocalError::system("cannot take signals"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(LocalError::system("cannot take signals"))?;
    let mut identity = folder.identity()?;
    let api_listener = listen(identity.api_port)
        .await
        .map_err(LocalError::system("cannot listen on 127.0.0.1"))?;
    let api_port = api_listener
        .local_addr()
        .map_err(LocalError::system("cannot listen on 127.0.0.1"))?
        .port();
    let (ssh_port, _ssh_guard) = reserve_ssh_port(&identity).map_err(LocalError::system(
        "no port is free for the SSH servers of droplets",
    ))?;
    identity.api_port = Some(api_port);
    identity.ssh_port = Some(ssh_port);
    folder.keep_identity(&identity)?;

    let probe = choose_tier(folder, options).await?;
    let config = Config {
        latency: options.latency,
        droplet_limit: options.droplet_limit,
        volume_limit: options.volume_limit,
        tier: probe.tier,
        rate_limits: options.rate_limits,
    };
    let file = folder.state();
    let account = store::read(&file, config.clone())
        .map_err(|cause| LocalError::BadState {
            file: file.clone(),
            cause,
        })?
        .unwrap_or_else(|| Account::new(&identity.seed, config));
    let account = Arc::new(Mutex::new(account));
    let host = Host::open(&folder.path, probe.tier, ssh_port)
        .await
        .map_err(|cause| LocalError::Guests { cause })?;
    let store = Arc::new(Store::new(file, Arc::clone(&account)));
    let saving = tokio::spawn(Arc::clone(&store).run());
    let jobs = {
        let mut account = lock(&account);
        account.resume(now());
        account.take_fresh()
    };
    let known = lock(&account).known();
    if let Err(error) = host.keep_only(&known).await {
        // It takes room, and is in nobody's way.
        tracing::warn!(%error, "files that belong to nothing are left");
    }
    let volumes = (probe.tier != Tier::Api).then(|| folder.path.join("guests").join("volumes"));
    let worker = Arc::new(Worker::new(account, Arc::clone(&store), host, volumes));
    let listening = tokio::spawn(Arc::clone(&worker).listen());
    worker.look_at_images();
    worker.start(jobs);

    let written = Written::new(api_port, ssh_port, &identity.token, &probe, options.latency);
    let mut api = Api::new(
        Arc::clone(&worker),
        Secret::new(identity.token.clone()),
        api_port,
    );
    api.latency = options.latency;
    api.rate_limits = options.rate_limits;
    api.about = json!({
        "pid": written.pid,
        "version": written.version,
        "tier": written.tier,
        "reasons": written.reasons,
        "base": written.base,
        "ssh_port": ssh_port,
    });
    let api = Arc::new(api);
    store.save().await;
    folder.write_json(&folder.endpoint(), &written)?;
    tracing::info!(port = api_port, ssh_port, tier = %probe.tier, "up");

    let idle = {
        let (api, seconds) = (Arc::clone(&api), options.idle_seconds);
        async move { until_idle(&api, ssh_port, seconds).await }
    };
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop"),
            _ = interrupt.recv() => tracing::info!("interrupted"),
            () = idle => tracing::info!("idle for long"),
        }
    };
    let served = server::serve(api_listener, api, stop).await;
    // Nobody shall find an endpoint that is going away.
    let _ = std::fs::remove_file(folder.endpoint());
    listening.abort();
    worker.close().await;
    store.save().await;
    saving.abort();
    tracing::info!("down");
    served.map_err(LocalError::system("the API ended early"))
}

/// What droplets are: what was asked for or nothing, else what is best here.
async fn choose_tier(folder: &Folder, options: &ServeOptions) -> Result<Probe, LocalError> {
    if options.without_guests || options.guests == Some(Tier::Api) {
        return Ok(Probe {
            tier: Tier::Api,
            reasons: vec!["the local cloud was started without guests".to_owned()],
            base: None,
        });
    }
    if options.guests == Some(Tier::Vm) {
        LocalError::refuse_without(&tiers::machines_lack(&folder.path))?;
        return Ok(tiers::probe_machines(&folder.path).await);
    }
    let found = tiers::probe(&folder.path);
    match options.guests {
        Some(wanted) if wanted != found.tier => Err(LocalError::NoGuests {
            reasons: found.reasons.join("; "),
        }),
        _ => Ok(found),
    }
}

/// Listens on the port of last time if it is free, else on any.
async fn listen(last: Option<u16>) -> io::Result<TcpListener> {
    if let Some(port) = last
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// A port for the SSH servers of all droplets: that of last time if it is free. What comes with it
/// keeps other local clouds off the port.
fn reserve_ssh_port(identity: &Identity) -> io::Result<(u16, OwnedFd)> {
    // Below the range that systems take ports for outgoing connections from.
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 12_000;
    let digest = Digest::of_bytes(identity.seed.as_bytes());
    let salt = u16::from_str_radix(&digest.as_str()[4..8], 16).unwrap_or(0);
    let candidates = identity
        .ssh_port
        .into_iter()
        .chain((0..PORTS).map(|step| FIRST + (salt % PORTS + step) % PORTS));
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in candidates {
        // Bound but not listening: whoever connects is refused, whoever binds is too.
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::io::ioctl_fioclex(&socket)?;
        match rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            Ok(()) => return Ok((port, socket)),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Waits until there has been no request and no SSH connection for so many seconds. Droplets that
/// exist keep nothing awake: they are powered off, and boot again at the next start.
async fn until_idle(api: &Api, ssh_port: u16, seconds: u64) {
    let Some(limit) = i64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(|seconds| seconds.saturating_mul(1_000))
    else {
        return std::future::pending().await;
    };
    let mut since = now();
    loop {
        // Often enough to end in time, seldom enough to cost nothing.
        let nap = (limit / 10).clamp(50, 10_000);
        tokio::time::sleep(Duration::from_millis(nap.unsigned_abs())).await;
        match api.idle_since() {
            Some(last) if !has_ssh_connections(ssh_port) => since = since.max(last),
            _ => since = now(),
        }
        if now() - since >= limit {
            return;
        }
    }
}

/// Whether anyone is connected to a droplet: a run step asks the API for nothing while it runs.
fn has_ssh_connections(port: u16) -> bool {
    const ESTABLISHED: &str = "01";
    let Ok(table) = std::fs::read_to_string("/proc/self/net/tcp") else {
        return false;
    };
    let local = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_ours = fields.next().is_some_and(|field| field.ends_with(&local));
        is_ours && fields.nth(1) == Some(ESTABLISHED)
    })
}
