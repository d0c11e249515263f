//! What can go wrong when files are copied by hand.

use camino::Utf8PathBuf;
use miette::Diagnostic;
use thiserror::Error;

use crate::guest::error::GuestError;

/// An error of `dewpoint cp`.
#[derive(Debug, Error, Diagnostic)]
pub enum CopyError {
    /// What is to be copied is not there.
    #[error("there is no {path} on {side}")]
    #[diagnostic(
        code(dewpoint::guest::cp_missing),
        help(
            "check the path: a relative one begins at the user's home on a droplet, in the current folder on this machine"
        )
    )]
    Missing {
        /// What was named.
        path: String,
        /// The droplet, or `this machine`.
        side: String,
    },

    /// The folder that something is to go to is not there.
    #[error("there is no folder {path} on {side}")]
    #[diagnostic(
        code(dewpoint::guest::cp_no_folder),
        help("make it first, or name a folder that is there")
    )]
    NoFolder {
        /// Which folder.
        path: String,
        /// The droplet, or `this machine`.
        side: String,
    },

    /// A file cannot take the place of a folder, nor a folder that of a file.
    #[error("{path} on {side} is a {found}, and a {wanted} was to go there")]
    #[diagnostic(
        code(dewpoint::guest::cp_in_the_way),
        help("name another path, or remove what is there; nothing was changed")
    )]
    InTheWay {
        /// Which path.
        path: String,
        /// The droplet, or `this machine`.
        side: String,
        /// What is there.
        found: &'static str,
        /// What was to be.
        wanted: &'static str,
    },

    /// What is to be copied is a device, a pipe or a socket.
    #[error("{path} on {side} is neither a file nor a folder")]
    #[diagnostic(
        code(dewpoint::guest::cp_kind),
        help("name a file or a folder; `dewpoint ssh ADDRESS -- COMMAND` reads the rest")
    )]
    Kind {
        /// Which path.
        path: String,
        /// The droplet, or `this machine`.
        side: String,
    },

    /// A file of this machine cannot be read.
    #[error("cannot read {path}")]
    #[diagnostic(code(dewpoint::guest::cp_read), help("make it readable"))]
    Read {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// A file of this machine became shorter while it was read.
    #[error("{path} became shorter while it was copied")]
    #[diagnostic(
        code(dewpoint::guest::cp_shrank),
        help("copy it when nothing writes to it")
    )]
    Shrank {
        /// Which one.
        path: Utf8PathBuf,
    },

    /// A file of this machine cannot be written.
    #[error("cannot write {path}; nothing of it was kept")]
    #[diagnostic(
        code(dewpoint::guest::cp_write),
        help("make room on the disk, or make the folder writable")
    )]
    Write {
        /// Which one.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// The droplet's user may not read or write something.
    #[error("{side} does not allow it for {path}{}", said(.output))]
    #[diagnostic(
        code(dewpoint::guest::cp_denied),
        help("name a path that the user (`ssh.user`) may read and write; nothing was kept")
    )]
    Denied {
        /// What was named.
        path: String,
        /// The droplet.
        side: String,
        /// What was said.
        output: String,
    },

    /// The droplet's disk is full.
    #[error("no space is left on {side} for {path}; nothing of it was kept")]
    #[diagnostic(
        code(dewpoint::guest::cp_no_space),
        help("make room there, name a folder on a volume, or choose a larger `size`")
    )]
    NoSpace {
        /// What was named.
        path: String,
        /// The droplet.
        side: String,
    },

    /// A droplet sent what is no copy of what was named.
    #[error("what {side} sent cannot be unpacked: {problem}; nothing of it was kept")]
    #[diagnostic(
        code(dewpoint::guest::cp_archive),
        help("look at what runs on the droplet: its `tar` does not do what it should")
    )]
    Archive {
        /// The droplet.
        side: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Somebody ended it.
    #[error("interrupted; nothing of it was kept")]
    #[diagnostic(code(dewpoint::guest::cp_stopped))]
    Stopped,

    /// The connection, or a command on the droplet.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Guest(#[from] GuestError),
}

impl CopyError {
    pub(super) fn archive(side: &str, problem: impl ToString) -> Self {
        Self::Archive {
            side: side.to_owned(),
            problem: problem.to_string(),
        }
    }
}

fn said(output: &str) -> String {
    // The last line is what ended it.
    match output.trim_end().lines().last() {
        Some(line) => format!(": {line}"),
        None => String::new(),
    }
}
