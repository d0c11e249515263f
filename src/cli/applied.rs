//! What was last applied from this folder: a file for each environment and cloud in
//! `.dewpoint/applied`, by which drift is told from an edit of the manifest.
//!
//! History, not state: no step of a plan depends on it, and without it a plan does the same. One
//! that cannot be read is as good as none, and one that cannot be written fails nothing.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::{Loaded, private_folder};
use super::endpoint::Cloud;
use super::planning::Planned;
use crate::desired::Desired;
use crate::digest::Digest;
use crate::live::Live;
use crate::plan::{self, Goal, Plan};

/// Version of the file's format: one of another is as good as none.
const VERSION: u32 = 1;
/// A thousand droplets take some megabytes; this is no file of ours.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// What was last done to an environment from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    version: u32,
    /// The file's name could be another's, too.
    cloud: String,
    project: String,
    environment: String,
    /// Whose cloud it is: another token's account is another one.
    pub account: String,
    /// When it ended, or began if it has not.
    pub at: Timestamp,
    /// How far it came.
    pub outcome: Outcome,
}

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of this was realised.
    Realised(Box<Desired>),
    /// It was a part of a plan, has not ended, or has failed: what there is lies between two states.
    Unfinished,
    /// The environment was emptied.
    Emptied,
    /// Likewise; volumes or snapshots of the project stayed.
    Kept,
}

/// Of a record what it takes to know whether something of it may be left.
#[derive(Deserialize)]
struct Header {
    version: u32,
    cloud: String,
    project: String,
    environment: String,
    account: String,
    outcome: OutcomeOf,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeOf {
    Realised(serde::de::IgnoredAny),
    Unfinished,
    Emptied,
    Kept,
}

/// The record of one environment on one cloud.
#[derive(Debug, Clone)]
pub struct Record {
    path: Utf8PathBuf,
    cloud: String,
    project: String,
    environment: String,
}

impl Record {
    /// That of the manifest's environment.
    #[must_use]
    pub fn of(loaded: &Loaded, cloud: &Cloud) -> Self {
        let cloud = &cloud.endpoint;
        let project = &loaded.manifest.project;
        let environment = &loaded.manifest.environment;
        let whose = Digest::of(&(cloud, project, environment));
        let name = format!("{project}-{environment}-{}.json", whose.short());
        Self {
            path: loaded.looked_at("applied").join(name),
            cloud: cloud.clone(),
            project: project.clone(),
            environment: environment.clone(),
        }
    }

    /// What was last done; none when nothing tells.
    #[must_use]
    pub fn read(&self) -> Option<Applied> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&self.path).ok()?;
        file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        let applied: Applied = serde_json::from_slice(&bytes).ok()?;
        let is_ours = applied.version == VERSION
            && applied.cloud == self.cloud
            && applied.project == self.project
            && applied.environment == self.environment;
        is_ours.then_some(applied)
    }

    /// What was last realised on that account; none when nothing tells, or something else came after
    /// it.
    #[must_use]
    pub fn realised(&self, account: &str) -> Option<Desired> {
        match self
            .read()
            .filter(|applied| applied.account == account)?
            .outcome
        {
            Outcome::Realised(desired) => Some(*desired),
            Outcome::Unfinished | Outcome::Emptied | Outcome::Kept => None,
        }
    }

    /// Keeps what was done, in place of what was before.
    ///
    /// # Errors
    /// When it cannot be written: then nothing is kept, and drift cannot be told from it.
    pub fn write(&self, outcome: Outcome, account: &str, at: Timestamp) -> std::io::Result<()> {
        let applied = Applied {
            version: VERSION,
            cloud: self.cloud.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
            account: account.to_owned(),
            at,
            outcome,
        };
        self.try_write(&applied).inspect_err(|_| {
            // An older one would tell of what is no more.
            let _ = std::fs::remove_file(&self.path);
        })
    }

    /// Environments of other projects that were applied from this folder to that account, and of which
    /// nothing says that nothing is left: no look at the cloud, for what they left is no part of any plan
    /// of this project. Sorted by project and environment.
    #[must_use]
    pub fn others(&self, account: &str) -> Vec<(String, String)> {
        let mut others: Vec<_> = self
            .headers(account)
            .filter(|(_, header)| header.project != self.project)
            .filter(|(_, header)| !matches!(header.outcome, OutcomeOf::Emptied))
            .map(|(_, header)| (header.project, header.environment))
            .collect();
        others.sort();
        others
    }

    /// Takes note that nothing is left of the project, in whichever environment. What cannot be written
    /// only has a later plan tell of what is no more.
    pub fn note_project_is_gone(&self, account: &str, at: Timestamp) {
        let siblings: Vec<_> = self
            .headers(account)
            .filter(|(_, header)| header.project == self.project)
            .collect();
        for (path, header) in siblings {
            let record = Self {
                path,
                environment: header.environment,
                ..self.clone()
            };
            if let Err(error) = record.write(Outcome::Emptied, account, at) {
                tracing::info!(%error, "that an environment is gone is not kept");
            }
        }
    }

    /// The records of that account in this folder, where they lie.
    fn headers(&self, account: &str) -> impl Iterator<Item = (Utf8PathBuf, Header)> {
        let folder = self.path.parent().unwrap_or(&self.path);
        let files = folder.read_dir_utf8().into_iter().flatten().flatten();
        files.filter_map(move |file| {
            let path = file.path().to_owned();
            let file = std::fs::File::open(&path).ok()?;
            let header: Header =
                serde_json::from_reader(std::io::BufReader::new(file.take(MOST_BYTES))).ok()?;
            let is_there = header.version == VERSION
                && header.cloud == self.cloud
                && header.account == account;
            is_there.then_some((path, header))
        })
    }

    /// Where it is kept.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    fn try_write(&self, applied: &Applied) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        private_folder(folder.as_std_path())?;
        // For its owner alone from the start, and never seen half written.
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(&serde_json::to_vec(applied)?)?;
        new.persist(&self.path)?;
        Ok(())
    }
}

/// What a plan realises when all of it succeeds; none when it is a part of what `desired` asks for.
#[must_use]
pub fn whole(plan: &Plan, desired: Desired, live: &Live, now: i64) -> Option<Desired> {
    let options = plan::Options {
        // Whoever lifted protection for the plan lifted it for this comparison.
        unprotect: plan.changes.iter().map(|c| c.address.clone()).collect(),
        ..plan::Options::default()
    };
    let all = plan::plan(&desired, live, &options, now).ok()?;
    let names = |plan: &Plan| -> BTreeSet<_> {
        plan.changes
            .iter()
            .filter(|change| change.action != plan::Action::Keep)
            .map(|change| (change.address.clone(), change.name.clone()))
            .collect()
    };
    // What `--replace` adds is realised all the same.
    let is_whole = names(&all).is_subset(&names(plan));
    is_whole.then_some(desired)
}

/// Keeps that a plan found nothing to do: what it asks for is there, whoever realised it.
pub fn note_as_is(planned: &Planned) {
    let now = Timestamp::now();
    let realised = planned
        .desired
        .clone()
        .and_then(|desired| whole(&planned.plan, desired, &planned.live, now.as_second()));
    // A part of a plan that finds nothing to do changes nothing.
    let Some(outcome @ (Outcome::Realised(_) | Outcome::Emptied | Outcome::Kept)) =
        after(&planned.plan, realised)
    else {
        return;
    };
    let record = Record::of(&planned.loaded, &planned.cloud);
    let account = &planned.live.account.id;
    if planned.plan.goal == Goal::DestroyProject {
        record.note_project_is_gone(account, now);
    }
    if let Err(error) = record.write(outcome, account, now) {
        tracing::info!(%error, "what is as it should be is not kept: drift cannot be told from it");
    }
}

/// What a run of that plan leaves when it has succeeded.
#[must_use]
pub fn after(plan: &Plan, realised: Option<Desired>) -> Option<Outcome> {
    let keeps =
        plan.cost.monthly_kept.0 > rust_decimal::Decimal::ZERO || !plan.cost.unpriced.is_empty();
    match (plan.goal, realised) {
        (Goal::Apply, Some(desired)) => Some(Outcome::Realised(Box::new(desired))),
        (Goal::Apply, None) => Some(Outcome::Unfinished),
        (Goal::Test | Goal::Destroy, _) if keeps => Some(Outcome::Kept),
        (Goal::Test | Goal::Destroy | Goal::DestroyProject, _) => Some(Outcome::Emptied),
        // They change nothing that is declared.
        (Goal::Run | Goal::Sweep, _) => None,
    }
}

/// What is told of other projects that were applied from this folder; none where nothing is to tell.
#[must_use]
pub fn note_of_others(
    loaded: &Loaded,
    cloud: &Cloud,
    account: &str,
    is_local: bool,
) -> Option<String> {
    const SHOWN: usize = 3;
    let others = Record::of(loaded, cloud).others(account);
    let (first, more) = (others.get(..SHOWN).unwrap_or(&others), others.len());
    let names: Vec<String> = first
        .iter()
        .map(|(project, environment)| format!("{project} / {environment}"))
        .collect();
    let more = match more.saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let local = if is_local { " --local" } else { "" };
    let (was, it) = match others.len() {
        1 => ("was", "it"),
        _ => ("were", "they"),
    };
    (!others.is_empty()).then(|| {
        format!(
            "{}{more} {was} applied from this folder too; what {it} left is not part of this plan: `dewpoint sweep{local}` shows it",
            names.join(", ")
        )
    })
}
