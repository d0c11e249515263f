//! Errors of the command line itself.

use camino::Utf8PathBuf;
use miette::Diagnostic;
use thiserror::Error;

use crate::address::Address;
use crate::units::Money;

/// What went wrong before, around or after planning and executing.
#[derive(Debug, Error, Diagnostic)]
pub enum CliError {
    /// An error code that there is not.
    #[error("there is no error code `{given}`")]
    #[diagnostic(code(dewpoint::cli::no_code), help("{hint}"))]
    NoCode {
        /// As it was given.
        given: String,
        /// Codes like it, if there are any.
        hint: String,
    },

    /// There is no manifest.
    #[error("there is no manifest at {path}")]
    #[diagnostic(
        code(dewpoint::cli::no_manifest),
        help("write one with `dewpoint init`, or name one with `-f FILE`")
    )]
    NoManifest {
        /// Where it was looked for.
        path: Utf8PathBuf,
    },

    /// A file cannot be read.
    #[error("cannot read {path}")]
    #[diagnostic(code(dewpoint::cli::read))]
    Read {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// A file cannot be written.
    #[error("cannot write {path}")]
    #[diagnostic(code(dewpoint::cli::write))]
    Write {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// The system cannot tell of changes of files.
    #[error("cannot watch for changes of files")]
    #[diagnostic(
        code(dewpoint::cli::unwatched),
        help(
            "the system may allow no more watches (sysctl fs.inotify.max_user_watches); `dewpoint run` runs once"
        )
    )]
    Unwatched {
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// Standard input is read once.
    #[error("a manifest on standard input cannot be watched")]
    #[diagnostic(
        code(dewpoint::cli::nothing_to_watch),
        help("write it into a file, and name that with `-f FILE`")
    )]
    NothingToWatch,

    /// `init` found a manifest.
    #[error("{path} is there already, and was left as it is")]
    #[diagnostic(
        code(dewpoint::cli::exists),
        help("name another file with `-f FILE`, or edit this one")
    )]
    Exists {
        /// Which one.
        path: Utf8PathBuf,
    },

    /// Neither a token nor `--local`.
    #[error("no DigitalOcean token, and no local cloud asked for")]
    #[diagnostic(
        code(dewpoint::cli::no_token),
        help(
            "set DIGITALOCEAN_TOKEN to a token of your account, or rehearse without an account: add `--local`"
        )
    )]
    NoToken,

    /// `DEWPOINT_CLOUD` names no cloud.
    #[error("DEWPOINT_CLOUD is `{given}`")]
    #[diagnostic(
        code(dewpoint::cli::cloud),
        help("write `local` or `digitalocean`, or unset it")
    )]
    Cloud {
        /// What it is.
        given: String,
    },

    /// `DIGITALOCEAN_API_URL` is no URL to which a token may be sent.
    #[error("DIGITALOCEAN_API_URL is `{url}`: {problem}")]
    #[diagnostic(
        code(dewpoint::cli::api_url),
        help("write an address such as https://api.digitalocean.com")
    )]
    ApiUrl {
        /// What it is.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A file of variables is no map of names to values.
    #[error("{path} is not a map of variable names to values: {problem}")]
    #[diagnostic(code(dewpoint::cli::var_file), help("write one `name: value` a line"))]
    VariableFile {
        /// Which one.
        path: Utf8PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A path that recipes or sources name is no valid text.
    #[error("{path} has a name that is not UTF-8")]
    #[diagnostic(
        code(dewpoint::cli::path_not_utf8),
        help("rename it: names stand in digests and on the droplet as UTF-8")
    )]
    NotUtf8 {
        /// About which one.
        path: String,
    },

    /// A recipe copies what cannot be copied.
    #[error("{path} is neither a file, a folder nor a symbolic link")]
    #[diagnostic(
        code(dewpoint::cli::special_file),
        help("take it out of the copied folder")
    )]
    SpecialFile {
        /// Which one.
        path: Utf8PathBuf,
    },

    /// A secret the manifest asks for is not set.
    #[error("these secrets are not set in the environment: {missing}; nothing was changed")]
    #[diagnostic(
        code(dewpoint::cli::no_secret),
        help("export them, or take them out of `secrets`")
    )]
    NoSecret {
        /// Which ones.
        missing: String,
    },

    /// git cannot be run.
    #[error("git cannot be run, and revisions are compared with it")]
    #[diagnostic(
        code(dewpoint::cli::no_git),
        help("install git, or compare two files: `dewpoint diff OLD.yaml NEW.yaml`")
    )]
    NoGit {
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// git has failed.
    #[error("git failed while {doing}: {said}")]
    #[diagnostic(
        code(dewpoint::cli::git),
        help("objects that a shallow or partial clone lacks must be fetched first")
    )]
    Git {
        /// What it was asked for.
        doing: &'static str,
        /// What it said.
        said: String,
    },

    /// Neither a file nor a revision.
    #[error("`{given}` is neither a file nor a git revision")]
    #[diagnostic(code(dewpoint::cli::no_revision), help("{hint}"))]
    NoRevision {
        /// What was given.
        given: String,
        /// What can be given.
        hint: String,
    },

    /// Both a file and a revision.
    #[error("`{given}` is both a file and a git revision")]
    #[diagnostic(
        code(dewpoint::cli::ambiguous),
        help(
            "write `./{given}` for the file; for the revision, put the manifest's path behind it: `-- {path}`"
        )
    )]
    Ambiguous {
        /// What was given.
        given: String,
        /// The manifest's path.
        path: Utf8PathBuf,
    },

    /// Two revisions without a common ancestor.
    #[error("{one} and {other} have no commit in common")]
    #[diagnostic(
        code(dewpoint::cli::no_merge_base),
        help("fetch more of their history, or compare them as they are: `{one}..{other}`")
    )]
    NoMergeBase {
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },

    /// A manifest that no revision can have.
    #[error("{path} does not lie in the repository's working tree")]
    #[diagnostic(
        code(dewpoint::cli::outside_repository),
        help("name a path in it: `-- path/to/dewpoint.yaml`")
    )]
    OutsideRepository {
        /// Which one.
        path: Utf8PathBuf,
    },

    /// The new side of a difference has no manifest.
    #[error("there is no manifest at {place}, so there is nothing to compare with")]
    #[diagnostic(
        code(dewpoint::cli::no_new_manifest),
        help(
            "check the path; deleting a manifest changes nothing on DigitalOcean: `dewpoint destroy` does, while the manifest is there"
        )
    )]
    NoNewManifest {
        /// Where it was looked for.
        place: String,
    },

    /// Nobody to ask.
    #[error("the plan needs approval, and there is no terminal to ask on; nothing was changed")]
    #[diagnostic(
        code(dewpoint::cli::no_terminal),
        help("read the plan with `dewpoint {plan}`, then add `--yes`")
    )]
    NoTerminal {
        /// The command that shows it, such as `plan --destroy`.
        plan: String,
    },

    /// Nobody to ask whether something is to be adopted.
    #[error("adopting needs approval, and there is no terminal to ask on; nothing was changed")]
    #[diagnostic(
        code(dewpoint::cli::no_terminal),
        help(
            "look at what it means on a terminal, where it asks, or add `--yes`: only tags are given, and what does not fit the manifest is refused"
        )
    )]
    NoTerminalForAdopting,

    /// `sweep --snapshots` without a manifest.
    #[error("`--snapshots` needs the manifests whose snapshots are to stay; nothing was changed")]
    #[diagnostic(
        code(dewpoint::cli::no_manifest_for_snapshots),
        help(
            "give every manifest of the project in use, each with `--manifest FILE`: what none of them names is found"
        )
    )]
    NoManifestForSnapshots,

    /// Nobody to ask whether the local cloud may go.
    #[error("deleting the local cloud needs approval, and there is no terminal to ask on")]
    #[diagnostic(
        code(dewpoint::cli::no_terminal),
        help("look at what it holds with `dewpoint local status`, then add `--yes`")
    )]
    NoTerminalForReset,

    /// A man page of what is no command.
    #[error("`{word}` is no command of dewpoint")]
    #[diagnostic(
        code(dewpoint::cli::no_command),
        help(
            "`dewpoint --help` lists the commands; write `dewpoint man local up` for those of `local`"
        )
    )]
    NoCommand {
        /// What was given.
        word: String,
    },

    /// A secret so short that it is part of ordinary words and numbers.
    #[error(
        "these secrets have values shorter than {least} characters: {names}; nothing was changed"
    )]
    #[diagnostic(
        code(dewpoint::cli::short_secret),
        help(
            "what is so short cannot be hidden in output without mangling it: use a longer value, or hand it over in `env` if it is no secret"
        )
    )]
    ShortSecret {
        /// Which ones.
        names: String,
        /// How long one must be.
        least: usize,
    },

    /// An option's value is an address of nothing.
    #[error(
        "`--unprotect {given}`: there is no such address in the manifest or the plan; nothing was changed"
    )]
    #[diagnostic(code(dewpoint::cli::unknown_address), help("{hint}"))]
    UnknownAddress {
        /// What was given.
        given: Address,
        /// The nearest there is.
        hint: String,
    },

    /// The answer was not `yes`.
    #[error("not approved; nothing was changed")]
    #[diagnostic(
        code(dewpoint::cli::not_approved),
        help("only the word `yes` approves")
    )]
    NotApproved,

    /// An option's value is no address.
    #[error("`{given}` is not an address")]
    #[diagnostic(
        code(dewpoint::cli::address),
        help(
            "write an address such as volume.models or droplet.runner[2]; `dewpoint plan` shows them all"
        )
    )]
    Address {
        /// What was given.
        given: String,
    },

    /// The local cloud cannot give droplets to log in to.
    #[error(
        "the local cloud has no guests on this machine, and the plan logs in to droplets in {steps} of its steps; nothing was changed"
    )]
    #[diagnostic(
        code(dewpoint::cli::no_guests),
        help("guests need this: {reasons}. Or run against DigitalOcean with DIGITALOCEAN_TOKEN")
    )]
    NoGuests {
        /// How many steps need a guest.
        steps: usize,
        /// Why there are none.
        reasons: String,
    },

    /// An address that the plan does not know is to be explained.
    #[error("`--explain {given}`: the plan has no such address")]
    #[diagnostic(code(dewpoint::cli::nothing_to_explain), help("{hint}"))]
    NothingToExplain {
        /// What was given.
        given: String,
        /// The nearest there are.
        hint: String,
    },

    /// The plan could cost more than it may.
    #[error(
        "this plan costs up to {most} when every step takes until its timeout, and `--max-cost` is {limit}; nothing was changed"
    )]
    #[diagnostic(
        code(dewpoint::cli::max_cost),
        help(
            "expected are {expected}; beside, droplets cost {hourly}/h for as long as they stay and {monthly}/month is kept; shorter timeouts, fewer or smaller droplets lower the most, or allow more"
        )
    )]
    MaxCost {
        /// What it may cost.
        limit: Money,
        /// What it can cost.
        most: Money,
        /// What it is expected to cost.
        expected: Money,
        /// Of an hour while all is up.
        hourly: Money,
        /// Of a month of what stays.
        monthly: Money,
    },

    /// Nobody knows what the plan can cost.
    #[error(
        "no price is known of {sizes}, so nobody can tell whether this plan stays below the {limit} of `--max-cost`; nothing was changed"
    )]
    #[diagnostic(
        code(dewpoint::cli::no_price),
        help("use sizes that the account offers, or leave out `--max-cost`")
    )]
    NoPrice {
        /// What it may cost.
        limit: Money,
        /// Of which sizes.
        sizes: String,
    },

    /// A program that is not part of dewpoint is missing.
    #[error("there is no `{program}` on this machine")]
    #[diagnostic(
        code(dewpoint::cli::no_program),
        help("install OpenSSH's client (on Debian and Ubuntu: `apt-get install openssh-client`)")
    )]
    NoProgram {
        /// Which one.
        program: &'static str,
    },

    /// An address names no droplet that is up.
    #[error("`{given}` names no droplet of this environment")]
    #[diagnostic(code(dewpoint::cli::no_droplet), help("{hint}"))]
    NoDroplet {
        /// What was given.
        given: String,
        /// What there is.
        hint: String,
    },

    /// Not exactly one side of a copy is a droplet's.
    #[error("{problem}")]
    #[diagnostic(
        code(dewpoint::cli::copy_sides),
        help(
            "write one of FROM and TO as ADDRESS:PATH, such as droplet.runner:/var/log/app, and the other as a path of this machine; a local path with a colon is written ./a:b"
        )
    )]
    CopySides {
        /// What is wrong.
        problem: &'static str,
    },

    /// An address names several droplets where one is needed.
    #[error("`{given}` names several droplets: {addresses}")]
    #[diagnostic(code(dewpoint::cli::several_droplets), help("name one of them"))]
    SeveralDroplets {
        /// What was given.
        given: String,
        /// Which ones.
        addresses: String,
    },

    /// A droplet of the manifest that is not there.
    #[error("{address} is not up")]
    #[diagnostic(
        code(dewpoint::cli::droplet_not_made),
        help("make it with `dewpoint apply`, which also runs its steps")
    )]
    DropletNotMade {
        /// Which one.
        address: Address,
    },

    /// The port of this machine that is to be forwarded is somebody's.
    #[error("port {port} of this machine cannot be used")]
    #[diagnostic(
        code(dewpoint::cli::port_taken),
        help(
            "end what listens there, or choose another: `dewpoint forward {address} {other}:{host}:{far}`"
        )
    )]
    PortTaken {
        /// Which one.
        port: u16,
        /// The droplet that was to be reached.
        address: String,
        /// A port that is free.
        other: u16,
        /// The host as the droplet sees it.
        host: String,
        /// The port there.
        far: u16,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// A droplet is there, and nobody can log in to it.
    #[error("{address} (`{name}`) is not up: it is being made, or is powered off")]
    #[diagnostic(
        code(dewpoint::cli::droplet_not_up),
        help("`dewpoint plan` shows what becomes of it")
    )]
    DropletNotUp {
        /// Which one.
        address: Address,
        /// Its name on DigitalOcean.
        name: String,
    },

    /// There is no run to look back at.
    #[error("this environment has no runs yet")]
    #[diagnostic(
        code(dewpoint::cli::no_runs),
        help(
            "`dewpoint apply` and `dewpoint test` make some; `dewpoint history --all` lists those of all environments"
        )
    )]
    NoRuns,

    /// Runs cannot be sent to a store that is not named.
    #[error("no store is given to send runs to")]
    #[diagnostic(
        code(dewpoint::cli::no_store),
        help("add `--store s3://BUCKET/PREFIX`, or a folder, or set DEWPOINT_STORE")
    )]
    NoStore,

    /// An id names no run, or several.
    #[error("`{given}` names {}", runs(*.found))]
    #[diagnostic(
        code(dewpoint::cli::no_run),
        help("`dewpoint history` lists them; give an id, or as much of it as is its alone")
    )]
    NoRun {
        /// What was given.
        given: String,
        /// How many it names.
        found: usize,
    },

    /// A run has no step of what was asked for.
    #[error("run {run} has no such step")]
    #[diagnostic(code(dewpoint::cli::no_steps), help("{hint}"))]
    NoSteps {
        /// Which run.
        run: String,
        /// What it has, or what was meant.
        hint: String,
    },

    /// The runtime or a signal handler cannot be set up.
    #[error("cannot start")]
    #[diagnostic(code(dewpoint::cli::start))]
    Start {
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// The report cannot be written.
    #[error("cannot render {what}")]
    #[diagnostic(code(dewpoint::cli::render))]
    Render {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The plan breaks a rule that every plan keeps.
    #[error("this plan is not safe to carry out: {violations}")]
    #[diagnostic(
        code(dewpoint::cli::bad_plan),
        help("nothing was changed; this is a fault of dewpoint: report it with the manifest")
    )]
    BadPlan {
        /// Which rules, and where.
        violations: String,
    },
}
fn runs(count: usize) -> String {
    match count {
        0 => "no run".to_owned(),
        count => format!("{count} runs"),
    }
}
