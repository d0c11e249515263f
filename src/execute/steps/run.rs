//! Commands on droplets: run steps and recipes.

use std::time::Duration;

use camino::Utf8PathBuf;
use tokio::time::{sleep, timeout};

use super::Steps;
use super::background::BadStart;
use super::files::in_words;
use crate::digest::Digest;
use crate::execute::error::StepError;
use crate::execute::event::{DONE_BEFORE, Failure, FailureClass};
use crate::execute::feed::Reporter;
use crate::execute::output::CommandOutput;
use crate::execute::sessions::Restarts;
use crate::guest::{self, Ended, GuestError, RemoteCommand, Session};
use crate::plan::step::{DropletRef, ProvisionStep, RunSpec};
use crate::secret::Secret;
use crate::units::Seconds;

/// Before a command is tried again: long enough for what it left to end, short enough not to be
/// felt.
const BEFORE_RETRY: Duration = Duration::from_secs(1);
/// A droplet that takes longer to say nothing is going down.
const TO_ANSWER_STILL: Duration = Duration::from_secs(10);

impl Steps {
    /// Runs a run step, again as often as it says.
    pub(super) async fn run(
        &self,
        droplet: &DropletRef,
        run: &RunSpec,
        reporter: &Reporter,
    ) -> Result<String, Failure> {
        let once = run
            .once
            .as_ref()
            .map(|once| Digest::of_bytes(once.as_bytes()));
        if let Some(once) = &once
            && self
                .on_droplet(droplet, reporter, |session| {
                    Box::pin(async move { guest::has_run_once(&session, once).await })
                })
                .await?
        {
            return Ok(DONE_BEFORE.to_owned());
        }
        let command = RemoteCommand {
            name: run.name.as_str().to_owned(),
            script: run.command.as_str().to_owned(),
            env: run
                .env
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
                .collect(),
            secrets: self.secrets(run)?,
            cwd: run.cwd.as_ref().map(|cwd| cwd.as_str().to_owned()),
            timeout: run.background.is_none().then(|| run.timeout.to_std()),
        };
        let mut attempt = 1;
        loop {
            if let Some(background) = &run.background {
                let started = self
                    .start_background(droplet, &command, run, background, reporter)
                    .await;
                match started {
                    Ok(note) => return Ok(note),
                    Err(BadStart::NotTried(error)) => return Err(error.into()),
                    Err(BadStart::Failed(mut failure)) if attempt > run.retries => {
                        failure.allowed = run.allow_failure;
                        return Err(failure);
                    }
                    Err(BadStart::Failed(failure)) => {
                        attempt += 1;
                        reporter.retried(attempt, BEFORE_RETRY, &failure.message);
                        sleep(BEFORE_RETRY).await;
                        continue;
                    }
                }
            }
            let failure = match self.execute(droplet, &command, reporter).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            if attempt > run.retries || !failure.may_pass {
                let mut failure =
                    failure.into_failure(FailureClass::RunStep, run.timeout, &command.script);
                failure.allowed = run.allow_failure && failure.class == FailureClass::RunStep;
                return Err(failure);
            }
            attempt += 1;
            reporter.retried(attempt, BEFORE_RETRY, &failure.reason(run.timeout));
            sleep(BEFORE_RETRY).await;
        }
        if let Some(once) = &once {
            self.on_droplet(droplet, reporter, |session| {
                Box::pin(async move { guest::mark_run_once(&session, once).await })
            })
            .await?;
        }
        Ok(match attempt {
            1 => String::new(),
            tries => format!("at try {tries}"),
        })
    }

    /// The secrets a run step names, with their values.
    fn secrets(&self, run: &RunSpec) -> Result<Vec<(String, Secret<String>)>, StepError> {
        let known = &self.settings.secrets;
        let value = |name: &String| match known.get(name) {
            Some(value) => Ok((name.clone(), value.clone())),
            None => Err(StepError::NoSecret { name: name.clone() }),
        };
        run.secrets.iter().map(value).collect()
    }

    /// Does a step of a recipe on the builder.
    pub(super) async fn provision(
        &self,
        droplet: &DropletRef,
        step: &ProvisionStep,
        reporter: &Reporter,
    ) -> Result<String, Failure> {
        match step {
            ProvisionStep::Run {
                name,
                script,
                env,
                timeout,
            } => {
                let command = RemoteCommand {
                    name: name.clone(),
                    script: script.clone(),
                    env: env.clone(),
                    secrets: Vec::new(),
                    cwd: None,
                    timeout: Some(timeout.to_std()),
                };
                self.execute(droplet, &command, reporter)
                    .await
                    .map_err(|failure| {
                        failure.into_failure(FailureClass::Tool, *timeout, &command.script)
                    })?;
                Ok(String::new())
            }
            ProvisionStep::Copy {
                from, to, digest, ..
            } => {
                // Without the `.` that may stand in it.
                let from: Utf8PathBuf = self.settings.base.join(from).components().collect();
                let from = &from;
                let report = self
                    .on_droplet(droplet, reporter, |session| {
                        Box::pin(async move { guest::copy_to(&session, from, to, digest).await })
                    })
                    .await?;
                Ok(in_words(&report))
            }
        }
    }

    /// Runs a command to its end.
    async fn execute(
        &self,
        droplet: &DropletRef,
        command: &RemoteCommand,
        reporter: &Reporter,
    ) -> Result<(), BadEnd> {
        let session = self.session(droplet).await.map_err(|error| BadEnd {
            how: How::NotRun(error),
            tail: Vec::new(),
            line: None,
            // Connecting was tried for long enough.
            may_pass: false,
        })?;
        let before = self.sessions.restarts(droplet.name()).await;
        if let Err(error) = self
            .refuse_unmounted(droplet, &session, &command.name)
            .await
        {
            return Err(BadEnd {
                how: How::NotRun(error),
                tail: Vec::new(),
                line: None,
                may_pass: false,
            });
        }
        let mut output = CommandOutput::new(reporter);
        let ended = match session.run(command, &mut output).await {
            // A machine that goes down ends what runs on it first, and only then the connection.
            Ok(Ended::Signal(name))
                if matches!(name.as_str(), "TERM" | "KILL" | "HUP") && !answers(&session).await =>
            {
                Err(GuestError::ConnectionLost {
                    label: session.label().to_owned(),
                    doing: format!("running `{}`", command.name),
                })
            }
            ended => ended,
        };
        let (tail, line) = output.finish();
        let (how, may_pass) = match ended {
            Ok(Ended::Exit(0)) => return Ok(()),
            Ok(Ended::Exit(status)) => (How::Exit(status), true),
            Ok(Ended::Signal(name)) => (How::Signal(name), true),
            Ok(Ended::TimedOut) => (How::TimedOut, true),
            Err(error) if error.is_connection_lost() => {
                self.sessions.give_up(droplet.name(), &session).await;
                self.why_lost(droplet, command, before, error).await
            }
            Err(error) => (How::NotRun(error.into()), false),
        };
        Err(BadEnd {
            how,
            tail,
            line,
            may_pass,
        })
    }
}

impl Steps {
    /// Refuses to run something on a droplet that was restarted after its volumes had been mounted:
    /// it would write beside the volume, where the volume should be.
    pub(super) async fn refuse_unmounted(
        &self,
        droplet: &DropletRef,
        session: &Session,
        command: &str,
    ) -> Result<(), StepError> {
        if !self.sessions.restarts(droplet.name()).await.has_lost_mounts {
            return Ok(());
        }
        Err(StepError::Unmounted {
            label: session.label().to_owned(),
            command: command.to_owned(),
        })
    }

    /// Finds out what became of a droplet whose connection was lost under a command, and whether
    /// another try could go better.
    async fn why_lost(
        &self,
        droplet: &DropletRef,
        command: &RemoteCommand,
        before: Restarts,
        error: GuestError,
    ) -> (How, bool) {
        if let Err(gone) = self.refuse_gone(droplet).await {
            return (How::NotRun(gone), false);
        }
        let session = match self.session(droplet).await {
            Ok(session) => session,
            // Somebody else answers, or it is gone: that is what has to be told.
            Err(
                told @ (StepError::Guest(GuestError::WrongHostKey { .. })
                | StepError::DropletGone { .. }),
            ) => return (How::NotRun(told), false),
            // It stays away.
            Err(_) => return (How::Lost(error), false),
        };
        let now = self.sessions.restarts(droplet.name()).await;
        if now.count == before.count {
            return (How::Lost(error), true);
        }
        let restarted = StepError::Restarted {
            label: session.label().to_owned(),
            command: command.name.clone(),
        };
        (How::NotRun(restarted), !now.has_lost_mounts)
    }
}

/// Whether commands can still be run over a connection, a moment after a signal has ended one.
async fn answers(session: &Session) -> bool {
    sleep(BEFORE_RETRY).await;
    timeout(TO_ANSWER_STILL, session.exec_capture("exit 0"))
        .await
        .is_ok_and(|answer| answer.is_ok())
}

/// How a command ended, other than well.
struct BadEnd {
    how: How,
    tail: Vec<String>,
    /// The line of the script whose command ended it.
    line: Option<u32>,
    /// Whether another try could go better.
    may_pass: bool,
}

enum How {
    Exit(i32),
    Signal(String),
    TimedOut,
    Lost(GuestError),
    NotRun(StepError),
}

impl BadEnd {
    /// In words, for whoever waits for the next try.
    fn reason(&self, limit: Seconds) -> String {
        match &self.how {
            How::Exit(status) => format!("exit status {status}"),
            How::Signal(name) => format!("ended by SIG{name}"),
            How::TimedOut => format!("it did not end within {limit}"),
            How::Lost(error) => error.to_string(),
            How::NotRun(error) => error.to_string(),
        }
    }

    /// As a failure: an end of the command's own is of the class; that it could not be run, or how
    /// it ended is not known, is the tool's.
    fn into_failure(self, class: FailureClass, limit: Seconds, script: &str) -> Failure {
        // One line is the command, which is shown already.
        let line = self.line.filter(|_| script.lines().count() > 1);
        let message = match line {
            Some(line) => format!("{} in line {line} of its script", self.reason(limit)),
            None => self.reason(limit),
        };
        let script = line.map_or_else(Vec::new, |line| around(script, line));
        let of_run = class == FailureClass::RunStep;
        let code = match (&self.how, of_run) {
            (How::Exit(_), true) => "dewpoint::run::exit",
            (How::Exit(_), false) => "dewpoint::provision::exit",
            (How::Signal(_), true) => "dewpoint::run::signal",
            (How::Signal(_), false) => "dewpoint::provision::signal",
            // The others bring their own.
            (_, true) => "dewpoint::run::timeout",
            (_, false) => "dewpoint::provision::timeout",
        };
        let (help, exit_status) = match self.how {
            How::Exit(status) => (None, Some(status)),
            How::Signal(name) if name == "KILL" => (
                Some("choose a larger `size` if the droplet ran out of memory".to_owned()),
                None,
            ),
            How::Signal(_) => (None, None),
            How::TimedOut => (
                Some("give it a longer `timeout`, or find out what it waits for".to_owned()),
                None,
            ),
            How::Lost(error) => {
                let mut failure = Failure::from_error(&error);
                failure.tail = self.tail;
                return failure;
            }
            How::NotRun(error) => {
                let mut failure = Failure::from(error);
                failure.tail = self.tail;
                return failure;
            }
        };
        Failure {
            class,
            allowed: false,
            code: code.to_owned(),
            message,
            help,
            causes: Vec::new(),
            exit_status,
            script,
            tail: self.tail,
        }
    }
}

/// How many lines of a script are shown before and after the one that failed.
const AROUND: u32 = 2;
/// How much of a line of a script is shown, in characters.
const LONGEST: usize = 160;

/// The lines of a script around one, numbered; the one itself is marked.
fn around(script: &str, line: u32) -> Vec<String> {
    let from = line.saturating_sub(AROUND).max(1);
    let to = line.saturating_add(AROUND);
    let width = to.to_string().len();
    (1..)
        .zip(script.lines())
        .filter(|(number, _)| (from..=to).contains(number))
        .map(|(number, text)| {
            let sign = if number == line { '>' } else { ' ' };
            let shown: String = text.chars().take(LONGEST).collect();
            format!("{sign} {number:width$} | {shown}")
                .trim_end()
                .to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::around;

    #[test]
    fn a_script_is_shown_around_the_line_that_failed() {
        let script = "set -u\napt-get update\n\nfalse\necho never\necho more\n";
        insta::assert_snapshot!(around(script, 4).join("\n"), @r"
          2 | apt-get update
          3 |
        > 4 | false
          5 | echo never
          6 | echo more
        ");
        assert_eq!(around("false", 1), ["> 1 | false"]);
        assert_eq!(around("false", 9), Vec::<String>::new());
    }
}
