//! `ssh`, `forward`, `ssh-config`: the user's own OpenSSH, told which key must answer.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::address::Address;
use crate::cli::args::{Forward, Ssh};
use crate::cli::context::{Context, Loaded};
use crate::cli::endpoint::{self, Cloud};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::few::few;
use crate::cli::key;
use crate::cli::terminal::{print, tell};
use crate::cli::waiting::waiting;
use crate::cloud::{Query, droplets_of};
use crate::desired::{self, Scope, meant};
use crate::guest::openssh::{HostCheck, Login, known_host, write_private};
use crate::guest::{HostKeyPin, Identity, Session, Target, derive_host_key};
use crate::live::{DropletStatus, LiveDroplet};
use crate::manifest::Manifest;
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::inventory;

/// How long a droplet that is up may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to connect.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Droplets that are up, and how one logs in to each.
pub(super) struct Reachable {
    scope: Scope,
    droplets: Vec<(Address, LiveDroplet)>,
    port: u16,
    user: String,
    policy: HostKeyPolicy,
    alias: String,
    known_hosts: Utf8PathBuf,
    identity: Utf8PathBuf,
    key: Identity,
    pin: HostKeyPin,
    manifest: Manifest,
}

/// Logs in to a droplet, or runs a command on it. Ends as `ssh` does.
///
/// # Errors
/// When there is no such droplet, it is not up, this machine has no key for it, or there is no `ssh`.
pub async fn ssh(context: &Context, options: &Ssh) -> miette::Result<Exit> {
    let reachable = reachable(context, &options.address).await?;
    let login = reachable.login(&options.address)?;
    answers(context, &login, &options.address).await;
    let mut command = Command::new("ssh");
    command.args(login.arguments());
    command.arg("--").arg(login.address.to_string());
    command.args(&options.command);
    Err(become_it(command).into())
}

/// Forwards a local port to a droplet until it is interrupted.
///
/// # Errors
/// As [`ssh`], and when the local port is taken.
pub async fn forward(context: &Context, options: &Forward) -> miette::Result<Exit> {
    let (local, host, port) = &options.ports;
    let reachable = reachable(context, &options.address).await?;
    let login = reachable.login(&options.address)?;
    refuse_taken(options)?;
    answers(context, &login, &options.address).await;
    if !context.global.quiet {
        tell(&format!(
            "127.0.0.1:{local} is {host}:{port} as {} sees it, until you press Ctrl-C",
            options.address
        ));
    }
    let mut command = Command::new("ssh");
    command.args(login.arguments());
    command.args(["-o", "ExitOnForwardFailure=yes", "-N", "-T", "-L"]);
    command.arg(format!("127.0.0.1:{local}:{host}:{port}"));
    command.arg("--").arg(login.address.to_string());
    Err(become_it(command).into())
}

/// Prints what stands in `ssh_config` for the environment's droplets.
///
/// # Errors
/// When the account cannot be read, or this machine has no key.
pub async fn config(context: &Context) -> miette::Result<Exit> {
    let found = look(context).await?;
    if found.droplets.is_empty() {
        print(&format!(
            "# no droplet of the environment is up; `dewpoint apply{}` makes them\n",
            context.flags()
        ))?;
        return Ok(Exit::Success);
    }
    let reachable = found.reachable().await?;
    let mut text = String::new();
    for (address, droplet) in &reachable.droplets {
        let Ok(login) = reachable.login_to(address, droplet) else {
            text.push_str(&format!("# {address} ({}) is not up\n", droplet.name));
            continue;
        };
        let address = address.to_string();
        let mut names = vec![droplet.name.as_str()];
        // What means something in a pattern cannot be a name.
        if !address.contains(|c: char| c.is_whitespace() || "*?!,\"\\#".contains(c)) {
            names.push(&address);
        }
        text.push_str(&login.block(&names));
        text.push('\n');
    }
    print(&text)?;
    Ok(Exit::Success)
}

/// Replaces this program by another; only a failure returns.
fn become_it(mut command: Command) -> CliError {
    let cause = command.exec();
    if cause.kind() == std::io::ErrorKind::NotFound {
        CliError::NoProgram { program: "ssh" }
    } else {
        CliError::Start { cause }
    }
}

/// Refuses a local port on which nobody can listen: `ssh` would say so after it has logged in.
fn refuse_taken(options: &Forward) -> Result<(), CliError> {
    let (port, host, far) = &options.ports;
    let listen = |port| std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port));
    let Err(cause) = listen(*port) else {
        return Ok(());
    };
    let free = listen(0).and_then(|listener| listener.local_addr());
    Err(CliError::PortTaken {
        port: *port,
        address: crate::guest::quote(&options.address),
        other: free.map_or(18_080, |address| address.port()),
        host: host.clone(),
        far: *far,
        cause,
    })
}

/// Waits until the droplet's SSH server takes connections: one that is just starting, or starting again
/// with the local cloud, refuses them. Whatever else is wrong, `ssh` says.
async fn answers(context: &Context, login: &Login, address: &str) {
    let end = Instant::now() + PATIENCE;
    let trying = async {
        while Instant::now() < end {
            let connecting = TcpStream::connect((login.address, login.port));
            match connecting.await {
                Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
                    sleep(BETWEEN_TRIES).await;
                }
                _ => return,
            }
        }
    };
    let what = format!("{address} to answer");
    waiting(context, &what, trying).await;
}

/// What of an environment is up, before anything is known of its key.
struct Found {
    loaded: Loaded,
    scope: Scope,
    cloud: Cloud,
    droplets: Vec<(Address, LiveDroplet)>,
}

/// Finds out how one logs in to the environment's droplets. That the one is up comes first: where
/// nothing was made there is no key either.
///
/// # Errors
/// When the account cannot be read, the droplet is not up, or this machine has no key.
pub(super) async fn reachable(context: &Context, address: &str) -> miette::Result<Reachable> {
    let found = look(context).await?;
    one(
        &found.scope,
        &found.loaded.manifest,
        &found.droplets,
        address,
    )?;
    found.reachable().await
}

async fn look(context: &Context) -> miette::Result<Found> {
    let loaded = context.load_to_look()?;
    let opening = endpoint::open(&context.global);
    let cloud = waiting(context, "the local cloud to start", opening).await?;
    if !cloud.no_guests.is_empty() {
        return Err(CliError::NoGuests {
            steps: 1,
            reasons: cloud.no_guests.join("; "),
        }
        .into());
    }
    let manifest = &loaded.manifest;
    let query = Query {
        project: manifest.project.clone(),
        environment: manifest.environment.clone(),
        ssh_key: None,
        for_destroy: false,
        volume_snapshots: false,
    };
    let found = droplets_of(&cloud.client, &query);
    let what = format!("an answer from {}", cloud.endpoint);
    let found = waiting(context, &what, found).await?;
    let scope = desired::scope(manifest);
    let droplets = inventory::droplets(&scope, &found);
    let droplets = droplets
        .into_iter()
        .map(|(address, droplet)| (address, droplet.clone()))
        .collect();
    Ok(Found {
        loaded,
        scope,
        cloud,
        droplets,
    })
}

impl Found {
    async fn reachable(self) -> miette::Result<Reachable> {
        let loaded = self.loaded;
        let identity = key::present_key(&loaded).await?;
        let (known_hosts, alias, pin) = known_hosts(&loaded, &identity).await?;
        let identity_file = identity_file(&loaded, &identity)?;
        let manifest = loaded.manifest;
        Ok(Reachable {
            scope: self.scope,
            droplets: self.droplets,
            port: self.cloud.ssh_port,
            user: manifest.ssh.user.clone(),
            policy: manifest.ssh.host_key,
            alias,
            known_hosts,
            identity: identity_file,
            key: identity,
            pin,
            manifest,
        })
    }
}

/// Writes the file of known hosts: the one key that all droplets of the environment show.
async fn known_hosts(
    loaded: &Loaded,
    identity: &Identity,
) -> miette::Result<(Utf8PathBuf, String, HostKeyPin)> {
    let manifest = &loaded.manifest;
    let alias = format!("dewpoint-{}-{}", manifest.project, manifest.environment);
    let folder = loaded.folder("ssh")?;
    let folder = absolute(&folder)?;
    if manifest.ssh.host_key == HostKeyPolicy::AcceptNew {
        // OpenSSH itself adds to this one.
        let path = folder.join(format!("{alias}.accepted"));
        return Ok((path, alias, HostKeyPin::AcceptNew));
    }
    let key = derive_host_key(identity, &manifest.project, &manifest.environment).await?;
    let path = folder.join(format!("{alias}.known_hosts"));
    let line = key.public_line();
    write(&path, &known_host(&alias, &line))?;
    Ok((path, alias, HostKeyPin::Pinned(line)))
}

/// The file that tells OpenSSH which key logs in.
fn identity_file(loaded: &Loaded, identity: &Identity) -> Result<Utf8PathBuf, CliError> {
    if let Some(path) = key::key_file(loaded) {
        return absolute(&path);
    }
    let manifest = &loaded.manifest;
    let name = format!("{}-{}.pub", manifest.project, manifest.environment);
    let path = absolute(&loaded.folder("ssh")?)?.join(name);
    write(&path, &format!("{}\n", identity.public_key_line()))?;
    Ok(path)
}

fn write(path: &Utf8PathBuf, text: &str) -> Result<(), CliError> {
    write_private(path, text).map_err(|cause| CliError::Write {
        path: path.to_string(),
        cause,
    })
}

fn absolute(path: &Utf8PathBuf) -> Result<Utf8PathBuf, CliError> {
    camino::absolute_utf8(path).map_err(|cause| CliError::Read {
        path: path.to_string(),
        cause,
    })
}

impl Reachable {
    /// A connection of our own to the one droplet of that address.
    pub(super) async fn session(
        &self,
        context: &Context,
        address: &str,
    ) -> miette::Result<Session> {
        let (address, droplet) = one(&self.scope, &self.manifest, &self.droplets, address)?;
        let login = self.login_to(address, droplet)?;
        let target = Target {
            address: login.address,
            port: login.port,
            user: login.user,
            label: address.to_string(),
        };
        let connecting = Session::connect(&target, &self.key, &self.pin, PATIENCE);
        let what = format!("{address} to answer");
        Ok(waiting(context, &what, connecting).await?)
    }

    /// How to log in to the one droplet of that address.
    fn login(&self, address: &str) -> Result<Login, CliError> {
        let (address, droplet) = one(&self.scope, &self.manifest, &self.droplets, address)?;
        self.login_to(address, droplet)
    }

    fn login_to(&self, address: &Address, droplet: &LiveDroplet) -> Result<Login, CliError> {
        let public = droplet
            .public_ipv4
            .filter(|_| droplet.status == DropletStatus::Active);
        let Some(public) = public else {
            return Err(CliError::DropletNotUp {
                address: address.clone(),
                name: droplet.name.clone(),
            });
        };
        let check = match self.policy {
            HostKeyPolicy::Derived => HostCheck::Pinned {
                alias: self.alias.clone(),
            },
            // Each its own: an address may be another droplet's tomorrow.
            HostKeyPolicy::AcceptNew => HostCheck::AcceptNew {
                alias: format!("{}-{}", self.alias, droplet.id),
            },
        };
        Ok(Login {
            address: public.into(),
            port: self.port,
            user: self.user.clone(),
            check,
            known_hosts: self.known_hosts.clone(),
            identity: self.identity.clone(),
        })
    }
}

/// The one droplet of that address or name.
fn one<'a>(
    scope: &Scope,
    manifest: &Manifest,
    droplets: &'a [(Address, LiveDroplet)],
    given: &str,
) -> Result<(&'a Address, &'a LiveDroplet), CliError> {
    let named = |known: &Address, droplet: &LiveDroplet| {
        known.to_string() == given
            || droplet.name == given
            || inventory::beyond_count(scope, known)
                .is_some_and(|instance| instance.to_string() == given)
            // The first of several is called like an only one, which it was or will be.
            || matches!(known, Address::Droplet { instance: None, .. })
                && format!("{known}[1]") == given
    };
    let those = |is_meant: &dyn Fn(&Address, &LiveDroplet) -> bool| -> Vec<_> {
        let droplets = droplets.iter();
        droplets
            .filter(|(known, droplet)| is_meant(known, droplet))
            .map(|(known, droplet)| (known, droplet))
            .collect()
    };
    let mut found = those(&named);
    if found.is_empty() {
        found = those(&|known, _| known.matches(given));
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(not_there(scope, manifest, droplets, given)),
        several => {
            let addresses: Vec<String> =
                several.iter().map(|(known, _)| known.to_string()).collect();
            Err(CliError::SeveralDroplets {
                given: given.to_owned(),
                addresses: addresses.join(", "),
            })
        }
    }
}

/// Why no droplet that is up has that address: it is not up, or there is none such.
fn not_there(
    scope: &Scope,
    manifest: &Manifest,
    droplets: &[(Address, LiveDroplet)],
    given: &str,
) -> CliError {
    let declared: Vec<Address> = manifest
        .droplets
        .iter()
        .flat_map(|(name, droplet)| desired::instances(name, droplet))
        .collect();
    if let Some(address) = declared.iter().find(|address| address.matches(given)) {
        return CliError::DropletNotMade {
            address: address.clone(),
        };
    }
    // As they can be typed.
    let up: Vec<Address> = droplets
        .iter()
        .map(|(known, _)| inventory::beyond_count(scope, known).unwrap_or_else(|| known.clone()))
        .collect();
    // Of several of one name, no other number is nearer.
    let name = |address: &str| address.split('[').next().map(str::to_owned);
    let is_one_too_many = up
        .iter()
        .any(|known| name(&known.to_string()) == name(given));
    let near = || meant(given, &up).or_else(|| meant(given, &declared));
    let hint = if is_one_too_many {
        format!("droplets that are up: {}", few(&up))
    } else if let Some(meant) = near() {
        format!("did you mean `{meant}`?")
    } else if up.is_empty() {
        "no droplet of the environment is up; `dewpoint apply` makes them".to_owned()
    } else {
        format!("droplets that are up: {}", few(&up))
    };
    CliError::NoDroplet {
        given: given.to_owned(),
        hint,
    }
}
