//! Options of what reaches into a droplet.

use clap::Args;
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use crate::cli::complete;

/// Options of `ssh`.
#[derive(Debug, Args)]
pub struct Ssh {
    /// Which droplet, such as droplet.runner or droplet.runner[2]; snapshot.base for a builder that was kept.
    #[arg(value_name = "ADDRESS", add = ArgValueCandidates::new(complete::droplets))]
    pub address: String,
    /// What to run there, after `--`, as `ssh` takes it; without it, a shell.
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
}

/// Options of `cp`.
#[derive(Debug, Args)]
#[command(after_help = "\
One side is ADDRESS:PATH, such as droplet.runner:/var/log/app or droplet.runner[2]:results. There a
relative path begins at the user's home. A folder that is there already takes in what is copied; `.`
at the end of FROM stands for what is in it. Modes and times are kept, owners are not. What arrives
has its name only when all of it is there. A local path with a colon is written ./a:b.

    dewpoint cp droplet.runner:/var/log/app .
    dewpoint cp model.bin droplet.runner:/mnt/models/")]
pub struct Cp {
    /// What is copied: PATH of this machine or ADDRESS:PATH.
    #[arg(value_name = "FROM", add = ArgValueCompleter::new(complete::sides_of_a_copy))]
    pub from: String,
    /// Where it goes: ADDRESS:PATH when FROM is of this machine, else PATH.
    #[arg(value_name = "TO", add = ArgValueCompleter::new(complete::sides_of_a_copy))]
    pub to: String,
}

/// Options of `forward`.
#[derive(Debug, Args)]
pub struct Forward {
    /// Which droplet.
    #[arg(value_name = "ADDRESS", add = ArgValueCandidates::new(complete::droplets))]
    pub address: String,
    /// The droplet's port; or LOCAL:PORT; or LOCAL:HOST:PORT for a host that the droplet reaches.
    #[arg(value_name = "PORT", value_parser = ports)]
    pub ports: (u16, String, u16),
}

fn ports(text: &str) -> Result<(u16, String, u16), String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{text}` is no port: write 1 to 65535")),
    };
    match text.split(':').collect::<Vec<_>>().as_slice() {
        [both] => Ok((port(both)?, "localhost".to_owned(), port(both)?)),
        [local, remote] => Ok((port(local)?, "localhost".to_owned(), port(remote)?)),
        [local, host, remote] if !host.is_empty() => {
            Ok((port(local)?, (*host).to_owned(), port(remote)?))
        }
        _ => Err("write PORT, LOCAL:PORT or LOCAL:HOST:PORT".to_owned()),
    }
}
