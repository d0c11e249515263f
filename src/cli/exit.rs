//! Exit codes, chosen here alone.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well: 0.
    Success,
    /// Usage, manifest, API or other tool error: 1.
    Error,
    /// `--detailed-exitcode`: there are changes: 2.
    Changes,
    /// Everything was realised, but a run step failed: 3.
    RunFailed,
    /// SIGINT ended it, after cleaning up: 130.
    Interrupted,
    /// SIGTERM ended it, after cleaning up: 143.
    Terminated,
    /// SIGHUP ended it, after cleaning up: 129.
    HungUp,
}

impl Exit {
    /// Whether a signal ended it.
    #[must_use]
    pub const fn is_interrupt(self) -> bool {
        matches!(self, Self::Interrupted | Self::Terminated | Self::HungUp)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Error => 1,
            Exit::Changes => 2,
            Exit::RunFailed => 3,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::HungUp => 129,
        })
    }
}
