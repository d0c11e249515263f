//! What ends a step badly, and its form in events.

use miette::Diagnostic;
use thiserror::Error;

use super::event::{Failure, FailureClass};
use super::redact::Redactor;
use crate::cloud::CloudError;
use crate::guest::GuestError;

/// Code of the failure of a step that an interrupt ended.
pub const INTERRUPTED: &str = "dewpoint::execute::interrupted";

/// What ends a step badly, but for a command's own end.
#[derive(Debug, Error, Diagnostic)]
pub enum StepError {
    /// The API, or the way to it.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cloud(#[from] CloudError),

    /// The droplet, or the way to it.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Guest(#[from] GuestError),

    /// There is no key to log in with.
    #[error("the SSH key of this environment is not on this machine")]
    #[diagnostic(
        code(dewpoint::execute::no_identity),
        help(
            "copy `.dewpoint/keys` from the machine that made the environment, or use `ssh.key: agent` for several machines"
        )
    )]
    NoIdentity,

    /// What another step was to make is not known.
    #[error("{what} was not made by the step that this one builds on")]
    #[diagnostic(
        code(dewpoint::execute::not_made),
        help("report this as a bug, with the journal of this run")
    )]
    NotMade {
        /// Such as `droplet shop-main-runner`.
        what: String,
    },

    /// A droplet has no address.
    #[error("droplet {name} has no public IPv4 address")]
    #[diagnostic(
        code(dewpoint::execute::no_address),
        help("look at it in the control panel; destroy it and apply again if it stays so")
    )]
    NoAddress {
        /// Its name.
        name: String,
    },

    /// Someone has destroyed a droplet in the middle of its work.
    #[error("droplet {name} is gone: someone else has destroyed it")]
    #[diagnostic(
        code(dewpoint::execute::droplet_gone),
        help("apply again: the next plan makes it anew, with all it is to run")
    )]
    DropletGone {
        /// Its name.
        name: String,
    },

    /// Another environment was quicker to attach a volume that is to be filled.
    #[error(
        "{held}; this run keeps the project's other environments from making what they share, so it does not wait for it"
    )]
    #[diagnostic(
        code(dewpoint::execute::held_meanwhile),
        help("run the same command again: it waits for the volume before it makes anything")
    )]
    HeldMeanwhile {
        /// What the volume is attached to.
        held: String,
    },

    /// Nobody knows whether a droplet was made.
    #[error(
        "the create of droplet {name} was never answered, and nothing of it was found before the run had to end"
    )]
    #[diagnostic(
        code(dewpoint::execute::unanswered),
        help(
            "`dewpoint status` shows whether it is there; `dewpoint destroy` removes it, and so does `dewpoint sweep` once it has expired"
        )
    )]
    Unanswered {
        /// Its name.
        name: String,
    },

    /// A droplet was restarted while a command ran on it.
    #[error("{label} was restarted while `{command}` ran")]
    #[diagnostic(
        code(dewpoint::execute::restarted),
        help(
            "apply again: that mounts its volumes and starts what runs in the background; find out who restarted it, or whether the command did"
        )
    )]
    Restarted {
        /// The droplet's address in the manifest.
        label: String,
        /// What ran.
        command: String,
    },

    /// A droplet was restarted after its volumes had been mounted.
    #[error(
        "{label} was restarted, so its volumes are not mounted any more: `{command}` was not run"
    )]
    #[diagnostic(
        code(dewpoint::execute::unmounted),
        help("apply again: that mounts its volumes; nothing was written beside them")
    )]
    Unmounted {
        /// The droplet's address in the manifest.
        label: String,
        /// What was not run.
        command: String,
    },

    /// A secret that a run step names has no value.
    #[error("the secret `{name}` has no value")]
    #[diagnostic(
        code(dewpoint::execute::no_secret),
        help("set the environment variable {name} where you run dewpoint")
    )]
    NoSecret {
        /// Its name.
        name: String,
    },

    /// A droplet does not go off.
    #[error("droplet {name} is still on after every way to power it off")]
    #[diagnostic(
        code(dewpoint::execute::still_on),
        help(
            "look at its console; then run the same command again: a snapshot is built anew, and a volume that may still be in use was not taken from it"
        )
    )]
    StillOn {
        /// Its name.
        name: String,
    },

    /// A volume is written to again and again while a snapshot of it is to be taken.
    #[error("volume {volume} was never free for long enough to take a snapshot of it")]
    #[diagnostic(
        code(dewpoint::execute::never_at_rest),
        help("run the command again when nobody else uses the volume")
    )]
    NeverAtRest {
        /// Its name.
        volume: String,
    },

    /// The lock on what environments share.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] super::lock::LockError),

    /// What is the project's is to go, and another environment may be about to use it.
    #[error("snapshot {name} may be in use by {who}")]
    #[diagnostic(
        code(dewpoint::execute::project_in_use),
        help(
            "it stays; run `dewpoint destroy --project` again when nobody works on another environment"
        )
    )]
    ProjectInUse {
        /// Its name.
        name: String,
        /// Who works on which environment.
        who: String,
    },

    /// A log that was brought back cannot be written.
    #[error("cannot write {path}")]
    #[diagnostic(
        code(dewpoint::execute::write_log),
        help("make room on the disk, or make the folder writable")
    )]
    WriteLog {
        /// Which one.
        path: camino::Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },

    /// The private key cannot be removed.
    #[error("cannot remove the private key {path}")]
    #[diagnostic(code(dewpoint::execute::forget_key), help("remove it yourself"))]
    ForgetKey {
        /// Where it is.
        path: camino::Utf8PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::from_error(&error)
    }
}

impl Failure {
    /// A failure of the tool, from an error: its code, message and help, and its causes, outermost
    /// first.
    #[must_use]
    pub fn from_error(error: &(impl Diagnostic + ?Sized)) -> Self {
        let mut causes: Vec<String> = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Wrappers often say what they wrap; once is enough.
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            cause = error.source();
        }
        Self {
            class: FailureClass::Tool,
            allowed: false,
            code: error.code().map_or_else(
                || "dewpoint::execute::step".to_owned(),
                |code| code.to_string(),
            ),
            message: error.to_string(),
            help: error.help().map(|help| help.to_string()),
            causes,
            exit_status: None,
            script: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// The step was ended by a signal to dewpoint.
    pub(super) fn interrupted() -> Self {
        Self {
            class: FailureClass::Tool,
            allowed: false,
            code: INTERRUPTED.to_owned(),
            message: "interrupted".to_owned(),
            help: None,
            causes: Vec::new(),
            exit_status: None,
            script: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// The step panicked.
    pub(super) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self {
            class: FailureClass::Tool,
            allowed: false,
            code: "dewpoint::execute::panicked".to_owned(),
            message: "dewpoint itself failed in this step".to_owned(),
            help: Some("report this as a bug, with the journal of this run".to_owned()),
            causes: said.into_iter().collect(),
            exit_status: None,
            script: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Without secrets.
    pub(super) fn redacted(mut self, redactor: &Redactor) -> Self {
        self.message = redactor.redact(&self.message);
        self.help = self.help.map(|help| redactor.redact(&help));
        for text in self
            .causes
            .iter_mut()
            .chain(&mut self.script)
            .chain(&mut self.tail)
        {
            *text = redactor.redact(text);
        }
        self
    }
}
