//! What can be typed. The comments are the help; completions and the man page are made from them.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use super::complete;
use crate::cloud::Budget;
use crate::local::latency::Latency;
use crate::local::seam::Tier;
use crate::units::{Money, Seconds};

/// Declare a snapshot, volumes and single-use droplets; preview, realise, run, destroy.
///
/// dewpoint reads a manifest (dewpoint.yaml), looks at what exists on DigitalOcean, shows the plan
/// and carries it out. There is no state file. With --local everything happens on a local cloud
/// that needs no account.
#[derive(Debug, Parser)]
#[command(name = "dewpoint", version, max_term_width = 100)]
pub struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The manifest; `-` reads standard input.
    #[arg(
        short,
        long,
        global = true,
        default_value = "dewpoint.yaml",
        value_name = "FILE",
        env = "DEWPOINT_FILE",
        hide_env_values = true
    )]
    pub file: Utf8PathBuf,
    /// Environment to work on, instead of the manifest's.
    #[arg(
        long = "env",
        global = true,
        value_name = "NAME",
        add = ArgValueCandidates::new(complete::environments),
        env = "DEWPOINT_ENV",
        hide_env_values = true
    )]
    pub environment: Option<String>,
    /// Value of a variable; can be given several times [env: DEWPOINT_VAR_<NAME>, in capitals too].
    #[arg(long = "var", global = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub variables: Vec<(String, String)>,
    /// YAML file of variables: a map of names to values.
    #[arg(long = "var-file", global = true, value_name = "FILE")]
    pub variable_files: Vec<Utf8PathBuf>,
    /// Work on the local cloud; it is started when it is not running [env: DEWPOINT_CLOUD=local].
    #[arg(long, global = true)]
    pub local: bool,
    /// Folder of the local cloud's state [default: under the XDG state folder].
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "DEWPOINT_LOCAL_DIR",
        hide_env_values = true
    )]
    pub local_dir: Option<Utf8PathBuf>,
    /// How many changes of the cloud may be under way at once.
    #[arg(long, global = true, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallelism: u16,
    /// How much of the API's rate limit to use at most, such as `50%` or `1000/h`: the rest is left to
    /// others with the same token.
    #[arg(
        long,
        global = true,
        default_value = "100%",
        value_name = "SHARE",
        env = "DEWPOINT_API_BUDGET",
        hide_env_values = true
    )]
    pub api_budget: Budget,
    /// When to colour.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", env = "DEWPOINT_COLOR", hide_env_values = true)]
    pub color: Colour,
    /// How progress is written: `json` is the event stream, one line each.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", env = "DEWPOINT_LOG_FORMAT", hide_env_values = true)]
    pub log_format: LogFormat,
    /// Plain lines: nothing moves, no colour, no signs but ASCII; for screen readers and recordings.
    #[arg(long, global = true, env = "DEWPOINT_PLAIN", hide_env_values = true, value_parser = clap::builder::BoolishValueParser::new())]
    pub plain: bool,
    /// Only results and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// List the calls to the API on standard error; twice for more of each.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Global {
    /// Whether the local cloud is meant.
    ///
    /// # Errors
    /// When `DEWPOINT_CLOUD` names no cloud.
    pub fn is_local(&self) -> Result<bool, super::error::CliError> {
        match std::env::var(super::env_vars::CLOUD).as_deref() {
            _ if self.local => Ok(true),
            Ok("local") => Ok(true),
            Ok("" | "digitalocean") | Err(_) => Ok(false),
            Ok(other) => Err(super::error::CliError::Cloud {
                given: other.to_owned(),
            }),
        }
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How progress is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One event a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented starter manifest.
    Init(Init),
    /// Check the manifest; no network.
    Validate,
    /// Show what a change of the manifest means, between files or git revisions; no network.
    Diff(Diff),
    /// Show what apply would do.
    Plan(Plan),
    /// Draw the steps of a plan: what waits for what, and the longest chain.
    Graph(Graph),
    /// Realise the manifest: plan, ask, execute.
    Apply(Apply),
    /// Apply, run, collect, and destroy the environment whatever happened; for CI.
    Test(Test),
    /// Bring the source to droplets that are up and run their steps; nothing else.
    Run(Run),
    /// Destroy the environment; what the project owns stays.
    Destroy(Destroy),
    /// Take an existing volume or snapshot into the project, by tagging it.
    Adopt(Adopt),
    /// Show what there is of the environment: age, cost, expiry, drift, last runs.
    Status(Status),
    /// List past runs.
    History(History),
    /// Show what a past run said, or follow one that goes on.
    Logs(Logs),
    /// Make a page of a past run that any browser shows: timeline, critical path, tests, logs.
    Report(Report),
    /// Log in to a droplet, or run a command on it, with the system's `ssh`.
    Ssh(Ssh),
    /// Copy a file or a folder to a droplet, or from one.
    Cp(Cp),
    /// Forward a port of this machine to a droplet.
    Forward(Forward),
    /// Print what OpenSSH, and editors that use it, need to reach the droplets.
    SshConfig,
    /// Delete what has expired or was left behind, in the whole account; shows it unless `--yes`.
    Sweep(Sweep),
    /// Check that all is there that the other commands need, and say how to mend what is not.
    Doctor(Doctor),
    /// Explain an error code, such as `dewpoint::cloud::rate_limited`; without one, list them all.
    Explain(Explain),
    /// Print the JSON Schema of manifests, or of what commands write as JSON.
    Schema {
        /// What it is the schema of.
        #[arg(value_enum, default_value_t = SchemaOf::Manifest, value_name = "OF")]
        of: SchemaOf,
    },
    /// The local cloud as a background service.
    Local {
        /// What to do with it.
        #[command(subcommand)]
        command: LocalCommand,
    },
    /// Print a completion script.
    Completions {
        /// The shell it is for.
        shell: clap_complete::Shell,
    },
    /// Print the man page, or that of a command.
    Man {
        /// The command that is told of, such as `apply` or `local up`.
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
        /// Write all of them into this folder, which must be there.
        #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
        all: Option<Utf8PathBuf>,
    },
}

/// What there is a JSON Schema of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// Manifests.
    Manifest,
    /// What `plan --format json` prints and `plan --out` writes.
    Plan,
    /// What `diff --format json` writes.
    Diff,
    /// What `plan --refresh-only --format json` prints.
    Drift,
    /// A line of what `--log-format json` writes, and of a journal.
    Event,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Text, value_name = "FORMAT")]
    pub format: ListFormat,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The code, or its end, or a part of dewpoint such as `cloud`.
    #[arg(value_name = "CODE", add = ArgValueCandidates::new(complete::error_codes))]
    pub code: Option<String>,
    /// Print all pages as Markdown.
    #[arg(long, conflicts_with = "code")]
    pub markdown: bool,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Name of the project [default: the folder's name].
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// How the plan is written.
    #[arg(long, value_enum, default_value_t = PlanFormat::Text, value_name = "FORMAT")]
    pub format: PlanFormat,
    /// Exit with 2 when there are changes.
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Show the plan that `destroy` would carry out.
    #[arg(long, conflicts_with_all = ["targets", "replace"])]
    pub destroy: bool,
    /// With --destroy: also the project's volumes and snapshots, as `destroy --project` would.
    #[arg(long, requires = "destroy")]
    pub project: bool,
    /// Plan as if this protected address might be destroyed or replaced; can be given several times.
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub unprotect: Vec<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub narrowing: Narrowing,
    /// Only destroy what should not be there any more; make and run nothing.
    #[arg(long, conflicts_with_all = ["destroy", "replace"])]
    pub only_destroy: bool,
    /// Instead of the plan: what is no longer as it was last applied from this folder, changed,
    /// deleted or added by somebody else; nothing is proposed. With --detailed-exitcode, 2 tells of drift.
    #[arg(long, conflicts_with_all = ["destroy", "targets", "replace", "only_destroy", "unprotect", "steps", "explain", "max_cost", "out"])]
    pub refresh_only: bool,
    /// List every step, however many there are.
    #[arg(long)]
    pub steps: bool,
    /// Instead of the plan: why the steps of this address (`*` for any characters) exist, what they
    /// wait for and what waits for them.
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses), conflicts_with_all = ["format", "steps"])]
    pub explain: Option<String>,
    /// Refuse a plan that could cost more than this many US dollars, every step taking until its timeout.
    #[arg(long, value_name = "AMOUNT", value_parser = super::max_cost::amount)]
    pub max_cost: Option<Money>,
    /// Also save the plan in this file, for `dewpoint apply FILE` to carry out.
    #[arg(long, value_name = "FILE")]
    pub out: Option<Utf8PathBuf>,
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

/// Options of `graph`.
#[derive(Debug, Args)]
pub struct Graph {
    /// How it is drawn [default: by the name of the file, else mermaid].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<GraphFormat>,
    /// Write it to a file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<Utf8PathBuf>,
    /// Draw every step, also those of droplets that go the same way.
    #[arg(long, visible_alias = "all")]
    pub steps: bool,
    /// Draw what `test` would do.
    #[arg(long, conflicts_with = "destroy")]
    pub test: bool,
    /// Draw what `destroy` would do.
    #[arg(long, conflicts_with_all = ["targets", "replace"])]
    pub destroy: bool,
    /// With --destroy: also the project's volumes and snapshots, as `destroy --project` would.
    #[arg(long, requires = "destroy")]
    pub project: bool,
    /// Plan as if this protected address might be destroyed or replaced; can be given several times.
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::addresses))]
    pub unprotect: Vec<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub narrowing: Narrowing,
    /// Draw only what removes what should not be there any more.
    #[arg(long, conflicts_with_all = ["destroy", "test", "replace"])]
    pub only_destroy: bool,
}

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// A picture that needs no other program.
    Svg,
}

/// How a plan is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// One JSON document: see `dewpoint schema plan`.
    Json,
    /// GitHub-flavoured Markdown, for a comment on a pull request.
    Markdown,
}

/// Options of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
A file that is there is a file, anything else a git revision; with `-- PATH` both are revisions.
`dewpoint diff main` compares the manifest of a branch with the working tree, `main..HEAD` two
revisions, `main...HEAD` what HEAD has changed since it left main, `main:a.yaml HEAD:b.yaml` two
files of theirs, and `/dev/null dewpoint.yaml` shows all that a manifest makes.")]
pub struct Diff {
    /// The manifest before: a file, a git revision, REV:PATH, or both sides as REV..REV.
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The manifest after [default: the one in the working tree].
    #[arg(value_name = "NEW")]
    pub new: Option<String>,
    /// The manifest's path in revisions [default: that of -f].
    #[arg(last = true, value_name = "PATH")]
    pub path: Option<Utf8PathBuf>,
    /// How the difference is written.
    #[arg(long, value_enum, default_value_t = DiffFormat::Text, value_name = "FORMAT")]
    pub format: DiffFormat,
    /// Exit with 2 when the manifests differ.
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Folder that paths in both files are relative to, in place of each one's own.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<Utf8PathBuf>,
}

/// How a difference is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// GitHub-flavoured Markdown, for a comment on a pull request.
    Markdown,
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
    #[arg(long, value_name = "AMOUNT", value_parser = super::max_cost::amount)]
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
    #[arg(long, value_name = "AMOUNT", value_parser = super::max_cost::amount)]
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
    #[arg(long, value_enum, default_value_t = ListFormat::Text, value_name = "FORMAT")]
    pub format: ListFormat,
    /// Also snapshots, older than a day, of the projects whose manifests are given, that none of these
    /// manifests names.
    #[arg(long)]
    pub snapshots: bool,
    /// With --snapshots: a manifest whose snapshots stay; can be given several times.
    #[arg(long = "manifest", value_name = "FILE", requires = "snapshots")]
    pub manifests: Vec<Utf8PathBuf>,
}

/// How what is found or listed is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
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

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Text, value_name = "FORMAT")]
    pub format: ListFormat,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

/// Options of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Runs of every environment of the project.
    #[arg(long)]
    pub all: bool,
    /// How many runs, the newest first.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = ListFormat::Text, value_name = "FORMAT")]
    pub format: ListFormat,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
    /// List nothing; send the store every run of the project that is in this folder and not in the store.
    #[arg(long, requires = "store", conflicts_with_all = ["all", "limit", "format"])]
    pub push: bool,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Which run: its id, or enough of its beginning or end to tell it from others [default: the newest].
    #[arg(value_name = "RUN", add = ArgValueCandidates::new(complete::runs))]
    pub run: Option<String>,
    /// Only steps of droplets of that address, in which `*` stands for any characters.
    #[arg(long, value_name = "ADDRESS", add = ArgValueCandidates::new(complete::droplets))]
    pub droplet: Option<String>,
    /// Only steps of that name.
    #[arg(long, value_name = "STEP")]
    pub step: Option<String>,
    /// Go on until the run ends, showing each line as it comes.
    #[arg(long, conflicts_with = "format", short = 'F')]
    pub follow: bool,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Text, value_name = "FORMAT")]
    pub format: ListFormat,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Which run: its id, or enough of its beginning or end to tell it from others [default: the newest].
    #[arg(value_name = "RUN", add = ArgValueCandidates::new(complete::runs))]
    pub run: Option<String>,
    /// Where to write the page; `-` is standard output [default: report.html in the run's folder].
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

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

/// What to do with the local cloud.
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Start the local cloud.
    Up(Up),
    /// Stop the local cloud; its droplets power off, its state stays.
    Down,
    /// Show whether the local cloud runs, what its droplets are and what it holds.
    Status,
    /// Stop the local cloud and delete everything it holds.
    Reset {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

/// Options of `local up`. They count when it starts.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Up {
    /// `realistic`, `fast` (the default: a hundredth) or a factor such as 0.1 of the real cloud's latencies.
    #[arg(long, value_name = "LATENCY")]
    pub latency: Option<Latency>,
    /// How many droplets the account may have [default: 120].
    #[arg(long, value_name = "N")]
    pub droplet_limit: Option<u32>,
    /// Stop by itself after this long without a request [default: 30m].
    #[arg(long, value_name = "DURATION")]
    pub idle_timeout: Option<Seconds>,
    /// Enforce the API's request limits: 250 a minute, 5,000 an hour.
    #[arg(long)]
    pub rate_limits: bool,
    /// Simulate the API alone, even where guests could be.
    #[arg(long, conflicts_with = "guests")]
    pub without_guests: bool,
    /// What droplets are made of; it stays so until `local reset` [default: the best that this machine can do].
    #[arg(long, value_name = "TIER")]
    pub guests: Option<Tier>,
}
