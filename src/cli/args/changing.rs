//! Options of what changes the account or runs commands, and of how it is approved, locked and kept.

use camino::Utf8PathBuf;
use clap::Args;
use clap_complete::ArgValueCandidates;

use super::OutputFormat;
use crate::cli::complete;
use crate::report::hints::Flags;
use crate::units::{Money, Seconds};

/// What a command that changes things is given again: where it locks and stores.
#[must_use]
pub fn shared_flags(locking: &Locking, storing: &Storing) -> Flags {
    let is_ambient = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    let mut flags = Flags::default();
    if let Some(place) = locking.place()
        && !is_ambient("DEWPOINT_LOCK", place)
    {
        flags = flags.option("--lock", place);
    }
    if let Some(place) = storing.address()
        && !is_ambient("DEWPOINT_STORE", place)
    {
        flags = flags.option("--store", place);
    }
    flags
}

/// What a plan is about.
#[derive(Debug, Clone, Default, Args)]
pub struct Narrowing {
    /// Only this address (`*` for any characters) and what it needs; all else stays as it is, which
    /// the plan says loudly; can be given several times.
    #[arg(long = "target", value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub targets: Vec<String>,
    /// Make this address anew although nothing is wrong with it, and what is made from it: a
    /// droplet, a snapshot, a volume with `scope: environment`; can be given several times.
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub replace: Vec<String>,
}

/// What commands that change things have in common.
#[derive(Debug, Clone, Args)]
pub struct Approval {
    /// Do not ask.
    #[arg(short, long, visible_alias = "auto-approve")]
    pub yes: bool,
    /// Destroy or replace this protected address all the same; can be given several times.
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub unprotect: Vec<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub locking: Locking,
}

/// How other dewpoints are kept from changing the environment meanwhile.
#[derive(Debug, Clone, Args)]
pub struct Locking {
    /// How long to wait for another dewpoint that works on this environment.
    #[arg(long, value_name = "DURATION")]
    pub lock_timeout: Option<Seconds>,
    /// Also lock the environment for all machines that give the same place: s3://BUCKET/PREFIX, or
    /// file:///FOLDER for a folder they share.
    #[arg(
        long,
        value_name = "URL",
        env = "DEWPOINT_LOCK",
        hide_env_values = true
    )]
    pub lock: Option<String>,
    /// How long that lock outlives a dewpoint that was killed, 12s to 1h [default: 60s].
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = lease,
        env = "DEWPOINT_LOCK_LEASE",
        hide_env_values = true
    )]
    pub lock_lease: Option<Seconds>,
}

/// Where runs are kept for a team.
#[derive(Debug, Clone, Default, Args)]
pub struct Storing {
    /// Where a team keeps its history of runs: s3://BUCKET/PREFIX, or a folder they share.
    #[arg(
        long,
        value_name = "URL",
        env = "DEWPOINT_STORE",
        hide_env_values = true
    )]
    pub store: Option<String>,
}

impl Storing {
    /// The place that is given, if one is.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.store.as_deref().filter(|place| !place.is_empty())
    }
}

/// Unless another one is given.
const LEASE: Seconds = Seconds(60);
/// Stores cut times to whole seconds, and a holder renews its lease four times in it.
const SHORTEST_LEASE: Seconds = Seconds(12);
const LONGEST_LEASE: Seconds = Seconds(3_600);

impl Locking {
    /// How long is waited.
    #[must_use]
    pub fn patience(&self) -> std::time::Duration {
        self.lock_timeout
            .map_or(std::time::Duration::ZERO, Seconds::to_std)
    }

    /// How long a lock is good for that is not renewed.
    #[must_use]
    pub fn lease(&self) -> std::time::Duration {
        self.lock_lease.unwrap_or(LEASE).to_std()
    }

    /// The place that is shared, if one is given.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.lock.as_deref().filter(|place| !place.is_empty())
    }
}

fn lease(text: &str) -> Result<Seconds, String> {
    let lease: Seconds = text.parse().map_err(|error| format!("{error}"))?;
    match (SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease) {
        true => Ok(lease),
        false => Err("a lease lasts 12s at least and 1h at most".to_owned()),
    }
}

/// What becomes of volumes that other environments hold.
#[derive(Debug, Clone, Args)]
pub struct Holding {
    /// Do not wait for a volume that another environment holds: refuse.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for a volume that another environment holds [default: 2h].
    #[arg(long, value_name = "DURATION", conflicts_with = "no_wait")]
    pub wait: Option<Seconds>,
}

impl Holding {
    /// How long is waited.
    #[must_use]
    pub fn patience(&self) -> std::time::Duration {
        match self.no_wait {
            true => std::time::Duration::ZERO,
            false => self.wait.map_or(HOLD_PATIENCE, Seconds::to_std),
        }
    }
}

/// As long as two run steps may take that say nothing else: whoever has a volume for longer has it
/// for good.
const HOLD_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2 * 3_600);

/// Options of `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A saved plan (`dewpoint plan --out PLAN`): it is carried out as it was saved, and nobody is asked;
    /// refused when the manifest, files or what exists have moved since.
    #[arg(value_name = "PLAN")]
    pub plan: Option<Utf8PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub approval: Approval,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub holding: Holding,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub narrowing: Narrowing,
    /// Only destroy what should not be there any more; make and run nothing.
    #[arg(long, conflicts_with = "replace")]
    pub only_destroy: bool,
    /// Keep the builder of a snapshot when something goes wrong on it, to log in to; it costs money
    /// until `dewpoint destroy` removes it.
    #[arg(long)]
    pub keep_builder: bool,
    /// Refuse a plan that could cost more than this many US dollars, every step taking until its timeout.
    #[arg(long, value_name = "AMOUNT", value_parser = crate::cli::max_cost::amount)]
    pub max_cost: Option<Money>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

/// Options of `test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Has no effect: `test` never asks.
    #[arg(short, long, visible_alias = "auto-approve")]
    pub yes: bool,
    /// Destroy or replace this protected address all the same; can be given several times.
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub unprotect: Vec<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub locking: Locking,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub holding: Holding,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub narrowing: Narrowing,
    /// Keep the builder of a snapshot when something goes wrong on it, to log in to; it costs money
    /// until `dewpoint destroy` removes it.
    #[arg(long)]
    pub keep_builder: bool,
    /// Refuse a plan that could cost more than this many US dollars, every step taking until its timeout.
    #[arg(long, value_name = "AMOUNT", value_parser = crate::cli::max_cost::amount)]
    pub max_cost: Option<Money>,
    /// On droplets that are up (`dewpoint apply`), bring the source and run the steps, again on every
    /// save, until Ctrl-C; nothing else is made or destroyed. The same as `run 'droplet.*' --watch`.
    #[arg(short, long, conflicts_with_all = ["unprotect", "targets", "replace", "keep_builder", "max_cost"])]
    pub watch: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Which droplets: an address, in which `*` stands for any characters.
    #[arg(value_name = "ADDRESS", add = ArgValueCandidates::new(complete::droplets))]
    pub address: String,
    /// The one run step to run, also when it runs only once and has [default: all of them].
    #[arg(value_name = "STEP")]
    pub step: Option<String>,
    /// Run again on every save of a source or of the manifest, until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub locking: Locking,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

/// Options of `destroy`.
#[derive(Debug, Args)]
pub struct Destroy {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub approval: Approval,
    /// Also destroy the project's volumes and snapshots, with all they hold.
    #[arg(long)]
    pub project: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

/// Options of `sweep`.
///
/// It looks at every environment of every project by their tags, and needs no manifest; `--env` has
/// no effect. What projects own (volumes, snapshots) stays.
#[derive(Debug, Args)]
pub struct Sweep {
    /// Delete what is found; without, it is only shown, and the exit code is 2 if there is something.
    #[arg(short, long, visible_alias = "auto-approve")]
    pub yes: bool,
    /// How what is found is written.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    pub format: OutputFormat,
    /// Also snapshots, older than a day, of the projects whose manifests are given, that none of these
    /// manifests names.
    #[arg(long)]
    pub snapshots: bool,
    /// With --snapshots: a manifest whose snapshots stay; can be given several times.
    #[arg(long = "manifest", value_name = "FILE", requires = "snapshots")]
    pub manifests: Vec<Utf8PathBuf>,
}

/// Options of `adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// The address it shall have, such as volume.models or snapshot.base: the manifest says what it is.
    #[arg(value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub address: String,
    /// Its id or its name on DigitalOcean.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Adopt a volume also while it is attached to a droplet that is not of this environment.
    #[arg(long)]
    pub attached: bool,
    /// Do not ask.
    #[arg(short, long, visible_alias = "auto-approve")]
    pub yes: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub locking: Locking,
}
