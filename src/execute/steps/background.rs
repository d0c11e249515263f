//! Run steps in the background: started, waited for until they are ready, looked after, stopped.

use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Steps;
use crate::execute::error::StepError;
use crate::execute::event::{Failure, FailureClass};
use crate::execute::feed::Reporter;
use crate::execute::journal::file_name;
use crate::execute::output::CommandOutput;
use crate::guest::{Began, Look, Probe, RemoteCommand, Session, Standing, Start, Watch};
use crate::plan::step::{BackgroundSpec, CollectLog, DropletRef, ProbeSpec, RunSpec};
use crate::times;
use crate::units::Seconds;

/// Between two looks: short at first, for many programs are up at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a step must run to count as running, when nothing tells when it is ready: what cannot
/// find its files ends sooner.
const TO_FAIL_AT_ONCE: Duration = Duration::from_millis(300);
/// How long somebody else may have a step's port: what held it before may just be ending.
const TO_LET_GO: Duration = Duration::from_secs(5);
/// How much of a log is brought back: what somebody may still read.
const LOG_BYTES: u64 = 32 * 1024 * 1024;
/// How much of a log is looked at for the last lines that a failure shows.
const TAIL_BYTES: u64 = 8 * 1024;

impl Steps {
    /// Starts a run step in the background unless it runs already, and waits until it is ready.
    pub(super) async fn start_background(
        &self,
        droplet: &DropletRef,
        command: &RemoteCommand,
        run: &RunSpec,
        background: &BackgroundSpec,
        reporter: &Reporter,
    ) -> Result<String, BadStart> {
        let session = self.session(droplet).await?;
        self.refuse_unmounted(droplet, &session, &command.name)
            .await?;
        let start = Start {
            command,
            definition: &background.definition,
            source: run.cwd.as_deref(),
            anew: self.outputs.is_source_changed(droplet.name()),
        };
        let began = match session.start_background(&start).await {
            // Whether it was started is seen by trying again.
            Err(error) if error.is_connection_lost() => {
                reporter.retried(2, Duration::ZERO, &error.to_string());
                let session = self.session(droplet).await?;
                session.start_background(&start).await?
            }
            began => began?,
        };
        let since = Instant::now();
        let mut output = CommandOutput::new(reporter);
        let mut watch = Watch::new(&run.name, began != Began::LeftAlone);
        let end = self
            .wait_until_ready(
                droplet,
                command,
                background,
                &mut watch,
                &mut output,
                reporter,
            )
            .await;
        watch.finish(&mut output);
        let (mut tail, _) = output.finish();
        let Err(end) = end else {
            let took = times::duration(crate::execute::feed::milliseconds(since.elapsed()));
            return Ok(match (began, &background.ready) {
                (Began::LeftAlone, _) => "runs on, nothing changed".to_owned(),
                (Began::Started, None) => "runs".to_owned(),
                (Began::Restarted, None) => "restarted".to_owned(),
                (Began::Started, Some(_)) => format!("ready after {took}"),
                (Began::Restarted, Some(_)) => format!("restarted, ready after {took}"),
            });
        };
        if tail.is_empty()
            && let Ok(session) = self.session(droplet).await
            && let Ok(Some(standing)) = session.background_standing(&run.name, TAIL_BYTES).await
        {
            tail = last_lines(&standing, reporter);
        }
        // What failed shall not go on and be taken for ready by the next one who looks.
        if let Ok(session) = self.session(droplet).await
            && let Err(error) = session.stop_one_background(&run.name).await
        {
            reporter.notice(&format!("{} may still run: {error}", run.name));
        }
        Err(BadStart::Failed(end.into_failure(
            &run.name,
            tail,
            run.timeout,
        )?))
    }

    async fn wait_until_ready(
        &self,
        droplet: &DropletRef,
        command: &RemoteCommand,
        background: &BackgroundSpec,
        watch: &mut Watch,
        output: &mut CommandOutput<'_>,
        reporter: &Reporter,
    ) -> Result<(), NotReady> {
        let since = Instant::now();
        let (probe, asked, limit) = match &background.ready {
            None => (Probe::Alive, None, TO_FAIL_AT_ONCE),
            Some(ready) => {
                let limit = ready.timeout.to_std();
                match &ready.probe {
                    ProbeSpec::Tcp { port } => (Probe::Port(*port), None, limit),
                    ProbeSpec::Http { url, own_port } => {
                        let (url, own_port) = (url.clone(), *own_port);
                        (Probe::Address { url, own_port }, None, limit)
                    }
                    ProbeSpec::Command { script } => {
                        let mut command = command.clone();
                        command.name = format!("ready of {}", command.name);
                        command.script.clone_from(script);
                        (Probe::Alive, Some(command), limit)
                    }
                }
            }
        };
        if let Some(ready) = &background.ready {
            reporter.progress(&format!("waiting until {}", ready.probe));
        }
        let mut pause = FIRST_PAUSE;
        let mut taken_since = None;
        loop {
            let session = self.session(droplet).await?;
            let looked = look(&session, watch, &probe, asked.as_ref(), output).await;
            let seen = match looked {
                Err(error) if error.is_connection_lost() && since.elapsed() < limit => {
                    reporter.retried(2, Duration::ZERO, &error.to_string());
                    continue;
                }
                seen => seen.map_err(StepError::from)?,
            };
            let why = match seen {
                Look::Ready if background.ready.is_some() => return Ok(()),
                Look::Ready if since.elapsed() >= limit => return Ok(()),
                Look::Ready => String::new(),
                Look::NotReady(why) => {
                    taken_since = None;
                    why
                }
                Look::PortTaken { port, by } => {
                    let taken = *taken_since.get_or_insert_with(Instant::now);
                    if taken.elapsed() >= TO_LET_GO {
                        return Err(NotReady::PortTaken { port, by });
                    }
                    format!("port {port} is held by {by}")
                }
                Look::Ended {
                    status,
                    port_taken_by,
                } => {
                    return Err(NotReady::Ended {
                        status,
                        port_taken_by,
                    });
                }
            };
            if since.elapsed() >= limit {
                return Err(NotReady::TimedOut { why });
            }
            sleep(pause.min(limit.saturating_sub(since.elapsed()))).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// Stops every background step of a droplet. Where no step got through to it, none runs.
    pub(super) async fn stop_background(
        &self,
        droplet: &DropletRef,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        if !self.sessions.was_made(droplet.name()).await {
            return Ok("was never connected".to_owned());
        }
        let stopped = self
            .on_droplet(droplet, reporter, |session| {
                Box::pin(async move { session.stop_background(&[]).await })
            })
            .await?;
        Ok(match stopped.is_empty() {
            true => "nothing runs".to_owned(),
            false => stopped.join(", "),
        })
    }

    /// Brings the log of a background step back, and tells if it has failed meanwhile.
    pub(super) async fn collect_log(
        &self,
        droplet: &DropletRef,
        name: &str,
        log: CollectLog,
        reporter: &Reporter,
    ) -> Result<Option<String>, Failure> {
        let standing = self
            .on_droplet(droplet, reporter, |session| {
                Box::pin(async move { session.background_standing(name, LOG_BYTES).await })
            })
            .await?;
        let Some(standing) = standing else {
            return Ok(None);
        };
        let folder = self.settings.run_folder.join("artifacts");
        let folder = folder.join(file_name(droplet.name()));
        let path = folder.join(format!("{}.log", file_name(name)));
        let text = reporter
            .redactor()
            .redact(&String::from_utf8_lossy(&standing.log));
        let size = text.len() as u64;
        let write = || {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)?;
            crate::guest::openssh::write_private(&path, &text)
        };
        write().map_err(|cause| StepError::WriteLog {
            path: path.clone(),
            cause,
        })?;
        if standing.cut > 0 {
            reporter.notice(&format!(
                "only the end of the log of {name} was brought back: {} were left",
                bytesize::ByteSize(standing.cut)
            ));
        }
        match standing.status {
            Some(status) if status != 0 && !standing.is_running => Err(Failure {
                class: FailureClass::RunStep,
                allowed: log.allow_failure,
                code: "dewpoint::run::background".to_owned(),
                message: format!("{name} ended while others ran: {}", ending(Some(status))),
                help: Some(format!("its whole log is {path}")),
                causes: Vec::new(),
                exit_status: Some(status),
                script: Vec::new(),
                tail: last_lines(&standing, reporter),
            }),
            _ => Ok(Some(format!("log, {}", bytesize::ByteSize(size)))),
        }
    }
}

/// Looks at the step, and asks a command too if there is one.
async fn look(
    session: &Session,
    watch: &mut Watch,
    probe: &Probe,
    asked: Option<&RemoteCommand>,
    output: &mut CommandOutput<'_>,
) -> Result<Look, crate::guest::GuestError> {
    let Some(command) = asked else {
        return watch.look(session, probe, output).await;
    };
    let answer = session.ask_command(command).await?;
    // What has ended meanwhile was not ready, whatever the command says.
    let seen = watch.look(session, probe, output).await?;
    Ok(match (seen, answer) {
        (Look::Ready, Some(why)) => Look::NotReady(why),
        (seen, _) => seen,
    })
}

/// The last lines of a log, without secrets.
fn last_lines(standing: &Standing, reporter: &Reporter) -> Vec<String> {
    const LINES: usize = 20;
    let text = reporter
        .redactor()
        .redact(&String::from_utf8_lossy(&standing.log));
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LINES);
    lines[first..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

/// How a script ended, in words.
fn ending(status: Option<i32>) -> String {
    match status {
        None => "its shell was ended by a signal".to_owned(),
        // As every shell tells a signal.
        Some(status @ 129..=192) => format!("exit status {status}, signal {}", status - 128),
        Some(status) => format!("exit status {status}"),
    }
}

/// Why a step is not ready.
enum NotReady {
    TimedOut {
        why: String,
    },
    Ended {
        status: Option<i32>,
        port_taken_by: Option<String>,
    },
    PortTaken {
        port: u16,
        by: String,
    },
    NotAsked(StepError),
}

impl From<StepError> for NotReady {
    fn from(error: StepError) -> Self {
        Self::NotAsked(error)
    }
}

impl NotReady {
    fn into_failure(
        self,
        name: &str,
        tail: Vec<String>,
        limit: Seconds,
    ) -> Result<Failure, StepError> {
        let (code, message, help, exit_status) = match self {
            Self::NotAsked(error) => return Err(error),
            Self::TimedOut { why } => (
                "dewpoint::run::not_ready",
                match why.as_str() {
                    "" => format!("{name} was not ready within {limit}"),
                    why => format!("{name} was not ready within {limit}: {why}"),
                },
                "give it a longer `ready.timeout`, or find out what it waits for",
                None,
            ),
            Self::Ended {
                status,
                port_taken_by: Some(by),
            } => (
                "dewpoint::run::ended_early",
                format!(
                    "{name} ended before it was ready: {}; its port is held by {by}",
                    ending(status)
                ),
                "end what holds the port in an earlier step, or use another port",
                status,
            ),
            Self::Ended { status, .. } => (
                "dewpoint::run::ended_early",
                format!("{name} ended before it was ready: {}", ending(status)),
                "a background step must stay in the foreground of its own shell: it is dewpoint that lets it run on",
                status,
            ),
            Self::PortTaken { port, by } => (
                "dewpoint::run::port_taken",
                format!("port {port} is not {name}'s own: it is held by {by}"),
                "end what holds the port in an earlier step, or use another port",
                None,
            ),
        };
        Ok(Failure {
            class: FailureClass::RunStep,
            allowed: false,
            code: code.to_owned(),
            message,
            help: Some(help.to_owned()),
            causes: Vec::new(),
            exit_status,
            script: Vec::new(),
            tail,
        })
    }
}

/// How a start came to nothing.
pub(super) enum BadStart {
    /// The step's own fault.
    Failed(Failure),
    /// It could not be tried.
    NotTried(StepError),
}

impl<E: Into<StepError>> From<E> for BadStart {
    fn from(error: E) -> Self {
        Self::NotTried(error.into())
    }
}
