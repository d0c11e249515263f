//! Why a saved plan is not carried out.

use camino::Utf8PathBuf;
use miette::Diagnostic;
use thiserror::Error;

/// Something that is not as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Error, Diagnostic)]
#[error("{0}")]
pub struct Moved(pub String);

/// Why a plan is not saved, or a saved one not carried out.
#[derive(Debug, Error, Diagnostic)]
pub enum PlanFileError {
    /// Something else is where the plan would be written.
    #[error("{path} is there already and is no saved plan; it was left as it is")]
    #[diagnostic(
        code(dewpoint::saved::not_overwritten),
        help("name another file after `--out`: only an older plan is overwritten")
    )]
    NotOverwritten {
        /// Which file.
        path: Utf8PathBuf,
    },
    /// It is larger than any plan.
    #[error("{path} is larger than any plan: more than {most} MiB")]
    #[diagnostic(
        code(dewpoint::saved::too_large),
        help("name a file that `dewpoint plan --out FILE` wrote")
    )]
    TooLarge {
        /// Which file.
        path: Utf8PathBuf,
        /// How many MiB there may be.
        most: u64,
    },
    /// An option that changes a plan.
    #[error("`{option}` does not go with a saved plan; nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::option),
        help(
            "a saved plan is carried out as it was made: give `{option}` to `dewpoint plan --out FILE`"
        )
    )]
    Option {
        /// Which one.
        option: &'static str,
    },
    /// `--env` names another environment than the plan's.
    #[error("the plan is for the environment `{planned}`, not for `{given}`; nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::environment),
        help("leave `--env` and DEWPOINT_ENV out: the plan knows its environment")
    )]
    Environment {
        /// The plan's.
        planned: String,
        /// The one given.
        given: String,
    },
    /// Another cloud.
    #[error("the plan was made for {planned}, not for {here}; nothing was changed")]
    #[diagnostic(code(dewpoint::saved::cloud), help("{hint}"))]
    Cloud {
        /// The plan's.
        planned: String,
        /// The one at hand.
        here: String,
        /// How to get to the other.
        hint: &'static str,
    },
    /// Another account.
    #[error("the plan was made for another account of {cloud}; nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::account),
        help(
            "use a token of the account (and team) the plan was made with, or make it anew with this one"
        )
    )]
    Account {
        /// Of which cloud.
        cloud: String,
    },
    /// The manifest says something else now.
    #[error("{name} has changed since the plan was made ({made_at}); nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::manifest_moved),
        help("look at what it means now and save that: `dewpoint plan --out FILE`")
    )]
    ManifestMoved {
        /// The manifest.
        name: String,
        /// When the plan was made.
        made_at: String,
        /// What is different.
        #[related]
        moved: Vec<Moved>,
    },
    /// What exists is not what it was.
    #[error("what exists has moved since the plan was made ({made_at}); nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::live_moved),
        help("look at what is to be done now and save that: `dewpoint plan --out FILE`")
    )]
    LiveMoved {
        /// When the plan was made.
        made_at: String,
        /// What is different.
        #[related]
        moved: Vec<Moved>,
    },
    /// Files of this side are not what they were.
    #[error("files have changed since the plan was made ({made_at}); nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::files_moved),
        help("put them back, or save what is to be done now: `dewpoint plan --out FILE`")
    )]
    FilesMoved {
        /// When the plan was made.
        made_at: String,
        /// Which ones, and how.
        #[related]
        moved: Vec<Moved>,
    },
    /// Another SSH key.
    #[error("the plan was made with the SSH key {planned}, and {here}; nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::ssh_key),
        help(
            "bring the folder .dewpoint/keys of the machine that made the plan, or write `ssh: {{ key: agent }}` or the path of a key that both have"
        )
    )]
    SshKey {
        /// Its fingerprint.
        planned: String,
        /// What there is instead.
        here: String,
    },
    /// It was carried out before.
    #[error("this plan was applied before: at {at}, run {run}; nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::applied),
        help(
            "a plan is carried out once, whatever came of it: make a new one with `dewpoint plan --out FILE`"
        )
    )]
    Applied {
        /// When.
        at: String,
        /// Id of the run.
        run: String,
    },
    /// What it makes would count as expired.
    #[error(
        "the plan was made at {made_at}: what it makes or renews would count as expired since {since}; nothing was changed"
    )]
    #[diagnostic(
        code(dewpoint::saved::expired),
        help(
            "make it anew with `dewpoint plan --out FILE`; `ttl` in the manifest says how long an environment lasts"
        )
    )]
    Expired {
        /// When the plan was made.
        made_at: String,
        /// When its lease ended.
        since: String,
    },
    /// It would do what no plan of dewpoint does.
    #[error("this plan is not one that dewpoint makes of this manifest; nothing was changed")]
    #[diagnostic(
        code(dewpoint::saved::unsafe_plan),
        help(
            "do not trust where the file comes from; make the plan anew with `dewpoint plan --out FILE`"
        )
    )]
    Unsafe {
        /// What it would do.
        #[related]
        violations: Vec<Moved>,
    },
}

/// Texts as parts of an error.
pub(super) fn moved(lines: impl IntoIterator<Item = String>) -> Vec<Moved> {
    lines.into_iter().map(Moved).collect()
}
