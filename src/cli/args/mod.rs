//! What can be typed. The comments are the help; completions and the man page are made from them.

mod changing;
mod local;
mod looking;
mod reaching;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

pub use changing::{
    Adopt, Apply, Approval, Destroy, Holding, Locking, Narrowing, Run, Storing, Sweep, Test,
    shared_flags,
};
pub use local::{LocalCommand, Up};
pub use looking::{
    Diff, DiffFormat, Doctor, Explain, Graph, GraphFormat, History, Init, Logs, Plan, PlanFormat,
    Report, SchemaOf, Status,
};
pub use reaching::{Cp, Forward, Ssh};

use super::complete;
use crate::cloud::Budget;
use crate::report::hints::Flags;

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
    /// Folder of the local cloud's state [default: dewpoint/local in ~/.local/state, or in XDG_STATE_HOME].
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
    pub fn is_local(&self) -> Result<bool, crate::cli::error::CliError> {
        match std::env::var(crate::cli::env_vars::CLOUD).as_deref() {
            _ if self.local => Ok(true),
            Ok("local") => Ok(true),
            Ok("" | "digitalocean") | Err(_) => Ok(false),
            Ok(other) => Err(crate::cli::error::CliError::Cloud {
                given: other.to_owned(),
            }),
        }
    }
}

impl Global {
    /// What a further command has to be given to mean the same; what the environment says, it says to
    /// that one, too.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let is_ambient =
            |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
        let mut flags = Flags::default();
        if self.local {
            flags = flags.switch("--local");
        }
        if let Some(folder) = &self.local_dir
            && !is_ambient("DEWPOINT_LOCAL_DIR", folder.as_str())
        {
            flags = flags.option("--local-dir", folder.as_str());
        }
        if self.file != "dewpoint.yaml" {
            flags = flags.option("-f", self.file.as_str());
        }
        if let Some(environment) = &self.environment {
            flags = flags.option("--env", environment);
        }
        for file in &self.variable_files {
            flags = flags.option("--var-file", file.as_str());
        }
        for (at, (name, value)) in self.variables.iter().enumerate() {
            // Of several values the last one counts.
            if !self.variables[at + 1..]
                .iter()
                .any(|(later, _)| later == name)
            {
                flags = flags.variable(name, value);
            }
        }
        flags
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

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}
