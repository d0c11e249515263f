//! What can go wrong with the local cloud as a service.

use camino::Utf8PathBuf;
use miette::Diagnostic;
use thiserror::Error;

use super::guests::GuestError;

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
    #[diagnostic(code(dewpoint::local::did_not_start), help("look at {log}"))]
    DidNotStart {
        /// The end of its log.
        said: String,
        /// Where its log is.
        log: Utf8PathBuf,
    },
    /// The service does not answer.
    #[error("the local cloud in {folder} runs as process {pid} but does not answer")]
    #[diagnostic(
        code(dewpoint::local::no_answer),
        help("look at cloud.log in that folder; `dewpoint local down` ends it")
    )]
    NoAnswer {
        /// Which folder.
        folder: Utf8PathBuf,
        /// Which process.
        pid: u32,
    },
    /// The service does not end.
    #[error("the local cloud in {folder} does not end")]
    #[diagnostic(
        code(dewpoint::local::does_not_end),
        help("look at cloud.log in that folder, then end its process yourself")
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
        help("start anew with `dewpoint local reset`, which deletes all of it")
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
        help("use the tier `api`, without guests, with `--tier api`")
    )]
    Guests {
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
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}
