//! Options of what only looks: plans, differences, what there is and what there was.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::{Narrowing, OutputFormat, Storing};
use crate::cli::complete;
use crate::units::Money;

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
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    pub format: OutputFormat,
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
    #[arg(long, value_name = "AMOUNT", value_parser = crate::cli::max_cost::amount)]
    pub max_cost: Option<Money>,
    /// Also save the plan in this file, for `dewpoint apply FILE` to carry out.
    #[arg(long, value_name = "FILE")]
    pub out: Option<Utf8PathBuf>,
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

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// How it is written.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    pub format: OutputFormat,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would show it as help")]
    pub storing: Storing,
}

/// Options of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Runs of every environment; without a store also of other projects that were run from this folder.
    #[arg(long)]
    pub all: bool,
    /// How many runs, the newest first.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    pub format: OutputFormat,
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
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    pub format: OutputFormat,
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
