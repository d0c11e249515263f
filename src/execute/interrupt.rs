//! Signals that end a run early.

use tokio::sync::mpsc;

use crate::plan::StepKind;

/// A signal that asks for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Int,
    /// SIGTERM: the machine or the CI system wants an end.
    Term,
    /// SIGHUP: the terminal was closed, or the connection to it was lost.
    Hup,
}

impl Signal {
    /// Its name, such as `SIGINT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
            Self::Hup => "SIGHUP",
        }
    }

    /// What a program that it ended returns: 128 and its number.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Int => 130,
            Self::Term => 143,
            Self::Hup => 129,
        }
    }
}

/// Signals as they come in.
///
/// The first asks for no new steps and a clean end, the second for an end at once.
#[derive(Debug)]
pub struct Interrupts {
    signals: mpsc::UnboundedReceiver<Signal>,
}

impl Interrupts {
    /// None ever comes.
    #[must_use]
    pub fn none() -> Self {
        Self::channel().1
    }

    /// They come from the sender.
    #[must_use]
    pub fn channel() -> (mpsc::UnboundedSender<Signal>, Self) {
        let (sender, signals) = mpsc::unbounded_channel();
        (sender, Self { signals })
    }

    /// They come from the operating system. From here on SIGINT, SIGTERM and SIGHUP no longer end
    /// the process by themselves. A SIGHUP that whoever started it had it ignore (`nohup`) stays
    /// ignored.
    ///
    /// # Errors
    /// When the operating system does not let them be caught.
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hup = if ignores_hangups() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        let (sender, interrupts) = Self::channel();
        tokio::spawn(async move {
            let hung_up = async |hup: &mut Option<tokio::signal::unix::Signal>| match hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            };
            loop {
                let signal = tokio::select! {
                    Some(()) = int.recv() => Signal::Int,
                    Some(()) = term.recv() => Signal::Term,
                    Some(()) = hung_up(&mut hup) => Signal::Hup,
                    () = sender.closed() => return,
                };
                if sender.send(signal).is_err() {
                    return;
                }
            }
        });
        Ok(interrupts)
    }

    /// The next one; waits for ever when there is none. Nothing is lost when it is given up.
    pub async fn next(&mut self) -> Signal {
        match self.signals.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// Whether this process was started to outlive its terminal. Where nothing tells, it was not.
fn ignores_hangups() -> bool {
    // SAFETY: all zeroes is an action, and with no new one nothing is changed: the old one is written there.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether a step may be given up in its midst: work on a droplet, which ends with the connection,
/// and waits for what the next plan finds by itself. Others are let finish: what they were about to
/// make has to be known, to be removed.
pub(super) const fn may_be_dropped(kind: &StepKind) -> bool {
    match kind {
        StepKind::Connect { .. }
        | StepKind::Provision { .. }
        | StepKind::PowerOff { .. }
        | StepKind::TakeSnapshot { .. }
        | StepKind::Transfer { .. }
        // A snapshot that it takes is found and used, or pruned, by whoever comes next.
        | StepKind::SnapshotVolume { .. }
        | StepKind::Attach { .. }
        | StepKind::Mount { .. }
        | StepKind::Sync { .. }
        | StepKind::Gather { .. }
        | StepKind::Prepare { .. }
        | StepKind::StopBackground { .. }
        | StepKind::Run { .. }
        | StepKind::Unmount { .. }
        | StepKind::ResizeVolume { .. } => true,
        StepKind::CreateSshKey { .. }
        | StepKind::DeleteSshKey { .. }
        | StepKind::CreateTags { .. }
        | StepKind::DeleteTags { .. }
        | StepKind::CreateFirewall { .. }
        | StepKind::UpdateFirewall { .. }
        | StepKind::DeleteFirewall { .. }
        | StepKind::CreateVolume { .. }
        | StepKind::DeleteVolume { .. }
        | StepKind::CloneVolume { .. }
        | StepKind::TagVolume { .. }
        | StepKind::DeleteVolumeSnapshot { .. }
        | StepKind::UpdateTags { .. }
        | StepKind::CreateDroplets { .. }
        | StepKind::TagSnapshot { .. }
        | StepKind::Prune { .. }
        // It gives itself up, a moment later.
        | StepKind::Collect { .. }
        | StepKind::Detach { .. }
        | StepKind::DestroyDroplet { .. }
        | StepKind::KeepDroplet { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_of_the_system_comes_in() {
        let mut interrupts = Interrupts::listen().expect("signals can be caught");
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .expect("we may signal ourselves");
        assert_eq!(interrupts.next().await, Signal::Term);
        assert_eq!(Signal::Term.exit_code(), 143);
    }
}
