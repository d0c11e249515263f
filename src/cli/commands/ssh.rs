//! `ssh`, `forward`, `ssh-config`: the user's own OpenSSH, told which key must answer.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use camino::Utf8PathBuf;

use crate::address::Address;
use crate::cli::args::{Forward, Ssh};
use crate::cli::context::{Context, Loaded};
use crate::cli::endpoint;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::key;
use crate::cli::terminal::{print, tell};
use crate::cli::waiting::waiting;
use crate::cloud::{Query, droplets_of};
use crate::desired::{self, Scope};
use crate::guest::openssh::{HostCheck, Login, known_host, write_private};
use crate::guest::{HostKeyPin, Identity, Session, Target, derive_host_key};
use crate::live::{DropletStatus, LiveDroplet};
use crate::manifest::schema::HostKeyPolicy;
use crate::plan::inventory;

/// How long a droplet that is up may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

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
}

/// Logs in to a droplet, or runs a command on it. Ends as `ssh` does.
///
/// # Errors
/// When there is no such droplet, it is not up, this machine has no key for it, or there is no `ssh`.
pub async fn ssh(context: &Context, options: &Ssh) -> miette::Result<Exit> {
    let reachable = reachable(context).await?;
    let login = reachable.login(&options.address)?;
    let mut command = Command::new("ssh");
    command.args(login.arguments());
    command.arg("--").arg(login.address.to_string());
    command.args(&options.command);
    Err(become_it(command).into())
}

/// Forwards a local port to a droplet until it is interrupted.
///
/// # Errors
/// As [`ssh`].
pub async fn forward(context: &Context, options: &Forward) -> miette::Result<Exit> {
    let (local, host, port) = &options.ports;
    let reachable = reachable(context).await?;
    let login = reachable.login(&options.address)?;
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
    let reachable = reachable(context).await?;
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
    if text.is_empty() {
        text.push_str("# the environment has no droplets\n");
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

pub(super) async fn reachable(context: &Context) -> miette::Result<Reachable> {
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
    let identity = key::present_key(&loaded).await?;
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
    let (known_hosts, alias, pin) = known_hosts(&loaded, &identity).await?;
    Ok(Reachable {
        scope: scope.clone(),
        droplets: droplets
            .into_iter()
            .map(|(address, droplet)| (address, droplet.clone()))
            .collect(),
        port: cloud.ssh_port,
        user: manifest.ssh.user.clone(),
        policy: manifest.ssh.host_key,
        alias,
        known_hosts,
        identity: identity_file(&loaded, &identity)?,
        key: identity,
        pin,
    })
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
        let (address, droplet) = self.one(address)?;
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
        let (address, droplet) = self.one(address)?;
        self.login_to(address, droplet)
    }

    fn one(&self, address: &str) -> Result<(&Address, &LiveDroplet), CliError> {
        let named = |known: &Address, droplet: &LiveDroplet| {
            known.to_string() == address
                || droplet.name == address
                || inventory::beyond_count(&self.scope, known)
                    .is_some_and(|instance| instance.to_string() == address)
                // The first of several is called like an only one, which it was or will be.
                || matches!(known, Address::Droplet { instance: None, .. })
                    && format!("{known}[1]") == address
        };
        let those = |is_meant: &dyn Fn(&Address, &LiveDroplet) -> bool| -> Vec<_> {
            let droplets = self.droplets.iter();
            droplets
                .filter(|(known, droplet)| is_meant(known, droplet))
                .collect()
        };
        let mut found = those(&named);
        if found.is_empty() {
            found = those(&|known, _| known.matches(address));
        }
        match found.as_slice() {
            [(address, droplet)] => Ok((address, droplet)),
            [] => Err(CliError::NoDroplet {
                given: address.to_owned(),
                hint: self.hint(),
            }),
            several => {
                let addresses: Vec<String> =
                    several.iter().map(|(known, _)| known.to_string()).collect();
                Err(CliError::SeveralDroplets {
                    given: address.to_owned(),
                    addresses: addresses.join(", "),
                })
            }
        }
    }

    fn hint(&self) -> String {
        let addresses: Vec<String> = self
            .droplets
            .iter()
            .map(|(known, _)| {
                let instance = inventory::beyond_count(&self.scope, known);
                instance.as_ref().unwrap_or(known).to_string()
            })
            .collect();
        if addresses.is_empty() {
            "the environment has no droplets; `dewpoint apply` makes them".to_owned()
        } else {
            format!("droplets that are up: {}", addresses.join(", "))
        }
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
