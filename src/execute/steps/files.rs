//! Files: to droplets and back.

use std::time::Duration;

use camino::Utf8Path;

use super::Steps;
use tokio::time::sleep;

use crate::execute::error::StepError;
use crate::execute::event::Failure;
use crate::execute::exposed::exposed_in;
use crate::execute::feed::Reporter;
use crate::execute::journal::file_name;
use crate::execute::withheld;
use crate::guest::{self, SyncReport};
use crate::plan::step::{DropletRef, SourceSpec};

/// How long artifacts may still take after an interrupt.
const WHEN_INTERRUPTED: Duration = Duration::from_secs(1);

impl Steps {
    /// Brings the source onto a droplet.
    pub(super) async fn sync(
        &self,
        droplet: &DropletRef,
        source: &SourceSpec,
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let settings = &self.settings;
        let report = match source {
            SourceSpec::Git {
                url, commit, into, ..
            } => {
                self.on_droplet(droplet, reporter, |session| {
                    Box::pin(async move {
                        let (base, cache) = (&settings.base, &settings.cache);
                        guest::sync_git(&session, url, commit, base, cache, into).await
                    })
                })
                .await?
            }
            SourceSpec::Path { path, into } => {
                let folder = &settings.base.join(path);
                let expected = settings.sources.get(path);
                self.on_droplet(droplet, reporter, |session| {
                    Box::pin(async move {
                        match expected {
                            Some(files) => guest::sync_path_as(&session, folder, into, files).await,
                            None => guest::sync_path(&session, folder, into).await,
                        }
                    })
                })
                .await?
            }
        };
        if report.sent > 0 || report.deleted > 0 {
            self.outputs.changed_source(droplet.name());
        }
        if !report.left_out.is_empty() {
            reporter.notice(&format!(
                "not brought to {}: {}",
                source.into_path(),
                report.left_out.join(", ")
            ));
        }
        Ok(in_words(&report))
    }

    /// Tells which of the files that were brought back hold a secret.
    async fn tell_exposed(
        &self,
        droplet: &DropletRef,
        folder: &Utf8Path,
        files: &[String],
        reporter: &Reporter,
    ) {
        if self.settings.secrets.is_empty() {
            return;
        }
        let (folder, files) = (folder.to_owned(), files.to_vec());
        let secrets = self.settings.secrets.clone();
        let looked = tokio::task::spawn_blocking(move || exposed_in(&folder, &files, &secrets));
        let exposed = match looked.await.map_err(std::io::Error::other) {
            Ok(Ok(exposed)) => exposed,
            Ok(Err(error)) | Err(error) => {
                reporter.notice(&format!(
                    "the artifacts of {} could not be searched for secrets: {error}",
                    droplet.name()
                ));
                return;
            }
        };
        let paths = exposed.keys().cloned().collect();
        if let Err(error) =
            withheld::note_done(&self.settings.run_folder, &file_name(droplet.name()), paths)
        {
            // Then they are sent nowhere.
            tracing::info!(%error, "that artifacts were searched is not noted");
        }
        for (path, names) in exposed {
            let path = on_one_line(&[path]);
            let names: Vec<String> = names.into_iter().collect();
            reporter.notice(&format!(
                "the artifact `{path}` of {} holds the value of the secret {} in plain text: take care whom you give it to",
                droplet.name(),
                names.join(", ")
            ));
        }
    }

    /// Brings artifacts back. An interrupt leaves it a moment: deletes are due within 2 s.
    pub(super) async fn collect(
        &self,
        droplet: &DropletRef,
        cwd: Option<&str>,
        patterns: &[String],
        reporter: &Reporter,
    ) -> Result<Result<String, StepError>, Failure> {
        let folder = self.settings.run_folder.join("artifacts");
        let folder = &folder.join(file_name(droplet.name()));
        if !self.settings.secrets.is_empty()
            && let Err(error) =
                withheld::note_due(&self.settings.run_folder, &file_name(droplet.name()))
        {
            tracing::info!(%error, "that artifacts are to be searched is not noted");
        }
        let work = self.on_droplet(droplet, reporter, |session| {
            Box::pin(async move { guest::collect(&session, cwd, patterns, folder).await })
        });
        let out_of_time = async {
            reporter.cancelled().await;
            sleep(WHEN_INTERRUPTED).await;
        };
        let report = tokio::select! {
            biased;
            report = work => report,
            () = out_of_time => return Err(Failure::interrupted()),
        };
        let report = match report {
            Ok(report) => report,
            Err(error) => return Ok(Err(error)),
        };
        for pattern in &report.unmatched {
            reporter.notice(&format!(
                "the artifact `{pattern}` matched nothing on {}",
                droplet.name()
            ));
        }
        if !report.skipped.is_empty() {
            reporter.notice(&format!(
                "not brought back from {}: {}",
                droplet.name(),
                on_one_line(&report.skipped)
            ));
        }
        self.tell_exposed(droplet, folder, &report.files, reporter)
            .await;
        Ok(Ok(match report.files.len() {
            0 => "no files".to_owned(),
            1 => format!("1 file, {}", bytesize::ByteSize(report.bytes)),
            files => format!("{files} files, {}", bytesize::ByteSize(report.bytes)),
        }))
    }
}

/// Names that a droplet gave to its files: no line break of theirs may begin a line of ours.
fn on_one_line(names: &[String]) -> String {
    names
        .join(", ")
        .replace(|c: char| c.is_control(), "\u{fffd}")
}

/// What a sync did, such as `12 files, 3 sent`.
pub(super) fn in_words(report: &SyncReport) -> String {
    let mut text = match report.files {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    if report.sent > 0 {
        text.push_str(&format!(", {} sent", report.sent));
    }
    if report.deleted > 0 {
        text.push_str(&format!(", {} deleted", report.deleted));
    }
    if report.sent == 0 && report.deleted == 0 {
        text.push_str(", nothing changed");
    }
    text
}
