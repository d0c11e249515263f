//! What can go wrong with the local cloud as a service.

use camino::Utf8PathBuf;
use miette::Diagnostic;
use thiserror::Error;

use super::guests::{GuestError, Tier};
use super::machines::{Missing, ways_out};

/// What can go wrong with the local cloud as a service.
#[derive(Debug, Error, Diagnostic)]
pub enum LocalError {
    /// A file operation failed.
    #[error("{what}")]
    #[diagnostic(
        code(dewpoint::local::io),
        help("name a folder that you may write to with `--local-dir`")
    )]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// The system refused something that has nothing to do with a folder.
    #[error("{what}")]
    #[diagnostic(
        code(dewpoint::local::system),
        help("see what the system says above; nothing of the local cloud's state has changed")
    )]
    System {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// The folder holds something else.
    #[error("{folder} is not a local cloud's state folder")]
    #[diagnostic(
        code(dewpoint::local::not_ours),
        help("name an empty folder, or one that does not exist yet, with `--local-dir`")
    )]
    NotOurs {
        /// Which folder.
        folder: Utf8PathBuf,
    },
    /// There is no folder for state.
    #[error("there is no home folder to keep the local cloud's state in")]
    #[diagnostic(
        code(dewpoint::local::no_home),
        help("name a folder with `--local-dir`")
    )]
    NoHome,
    /// The service came up and ended.
    #[error("the local cloud did not start: {said}")]
    #[diagnostic(code(dewpoint::local::did_not_start), help("{help}"))]
    DidNotStart {
        /// Why, as it said itself.
        said: String,
        /// What to do about it.
        help: String,
    },
    /// The service does not end.
    #[error("the local cloud in {folder} does not end")]
    #[diagnostic(
        code(dewpoint::local::does_not_end),
        help(
            "look at cloud.log in that folder; serve.lock there holds the id of the process to end"
        )
    )]
    DoesNotEnd {
        /// Which folder.
        folder: Utf8PathBuf,
    },
    /// Another process serves the folder.
    #[error("another process serves {folder} already")]
    #[diagnostic(
        code(dewpoint::local::already_served),
        help("use `dewpoint local up`, which finds it")
    )]
    AlreadyServed {
        /// Which folder.
        folder: Utf8PathBuf,
    },
    /// State that cannot be read.
    #[error("the local cloud's state in {file} cannot be read")]
    #[diagnostic(
        code(dewpoint::local::bad_state),
        help(
            "start anew with `dewpoint local reset`, which deletes everything the local cloud holds"
        )
    )]
    BadState {
        /// Which file.
        file: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Guests cannot be set up.
    #[error("the local cloud cannot prepare guests")]
    #[diagnostic(
        code(dewpoint::local::guests),
        help(
            "start it with `dewpoint local up --without-guests` to have the API alone, without droplets to log in to"
        )
    )]
    Guests {
        /// Why.
        #[source]
        cause: GuestError,
    },
    /// Guests of this kernel were asked for, and cannot be here.
    #[error("there can be no guests here: {reasons}")]
    #[diagnostic(
        code(dewpoint::local::no_guests),
        help("mend that, or leave `--guests` out to take what is best here")
    )]
    NoGuests {
        /// Why.
        reasons: String,
    },
    /// Machines were asked for, and something they need is not here.
    #[error("there can be no machines here (`--guests vm`): {missing} is missing")]
    #[diagnostic(code(dewpoint::local::no_machines), help("{help}"))]
    NoMachines {
        /// What is missing.
        missing: String,
        /// What to do about it.
        help: String,
    },
    /// The base that machines are made from could not be built.
    #[error("the base of machines cannot be built")]
    #[diagnostic(
        code(dewpoint::local::machine_base),
        help(
            "see what is said above: it needs Debian's mirror, deb.debian.org, and 2 GB of room in the state folder; then try again"
        )
    )]
    MachineBase {
        /// Why.
        #[source]
        cause: GuestError,
    },
    /// What was asked for differs from what the folder's droplets and snapshots are.
    #[error("the droplets of the local cloud in {folder} are of the tier {is}, not {wanted}")]
    #[diagnostic(
        code(dewpoint::local::other_tier),
        help(
            "stop it with `dewpoint local down` if it runs; what it holds stays of its tier: empty it with `dewpoint local reset`, or name another folder with `--local-dir`"
        )
    )]
    OtherTier {
        /// Which folder.
        folder: Utf8PathBuf,
        /// What they are.
        is: Tier,
        /// What was asked for.
        wanted: Tier,
    },
    /// Guests of a service that was killed cannot be cleared away.
    #[error("what guests of the local cloud have left cannot be cleared away")]
    #[diagnostic(
        code(dewpoint::local::not_erased),
        help("end processes named `dewpoint __guest-supervisor`, then try again")
    )]
    NotErased {
        /// Why.
        #[source]
        cause: GuestError,
    },
    /// The words of the hidden command are wrong.
    #[error("the local cloud was started with wrong arguments: {message}")]
    #[diagnostic(
        code(dewpoint::local::arguments),
        help("use `dewpoint local up` instead")
    )]
    Arguments {
        /// What is wrong.
        message: String,
    },
}

impl LocalError {
    /// Refuses machines where something they need is missing: all of it at once.
    pub(super) fn refuse_without(missing: &[Missing]) -> Result<(), Self> {
        if missing.is_empty() {
            return Ok(());
        }
        let what: Vec<&str> = missing
            .iter()
            .map(|missing| missing.what.as_str())
            .collect();
        Err(Self::NoMachines {
            missing: what.join(", "),
            help: ways_out(missing),
        })
    }

    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::System { what, cause }
    }

    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}
