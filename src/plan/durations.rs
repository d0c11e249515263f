//! How long steps take where they are carried out: by past runs there, else by what is usual there.
//!
//! The order in which a plan does things never follows from these: it goes by [`super::expected`]
//! alone, so that two machines with different pasts make the same plan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cost::Basis;
use super::step::{DropletRef, ProvisionStep, Step, StepId, StepKind};
use super::{Plan, expected};
use crate::address::Address;

/// How fast a cloud of no known past is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As DigitalOcean is.
    DigitalOcean,
    /// As a local cloud is whose latencies are DigitalOcean's times this factor.
    Local(f64),
}

/// How long one step took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// What was done: the kind of step, with the name of a script.
    pub what: String,
    /// To which resource, all instances of a droplet being one.
    pub subject: String,
    /// On a droplet of which size, where that is known.
    pub size: Option<String>,
    /// Milliseconds it took.
    pub took_ms: u64,
}

/// How long the steps of past runs took in one region of one cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Durations {
    pace: Pace,
    runs: u32,
    /// Medians, from the most to the least like a step: see [`keys`].
    medians: BTreeMap<Key, u64>,
}

/// What a step was done to and where: the less is known the more steps it stands for.
type Key = (String, Option<String>, Option<String>);

/// What a step is likened to: the same on the same size, the same on any, the same kind anywhere.
fn keys(what: &str, subject: &str, size: Option<&str>) -> [Key; 3] {
    let subject = Some(subject.to_owned());
    [
        (what.to_owned(), subject.clone(), size.map(str::to_owned)),
        // No size is named so: it stands for all of them.
        (what.to_owned(), subject, Some("*".to_owned())),
        (what.to_owned(), None, None),
    ]
}

impl Durations {
    /// From what was seen in past runs of that cloud and region.
    #[must_use]
    pub fn new(pace: Pace, runs: &[Vec<Observation>]) -> Self {
        let mut seen: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
        for one in runs.iter().flatten() {
            for key in keys(&one.what, &one.subject, one.size.as_deref()) {
                seen.entry(key).or_default().push(one.took_ms);
            }
        }
        let medians = seen.into_iter().map(|(key, mut took)| {
            took.sort_unstable();
            // Of two in the middle the longer: an estimate that is too short annoys more.
            (key, took[took.len() / 2])
        });
        Self {
            pace,
            runs: u32::try_from(runs.len()).unwrap_or(u32::MAX),
            medians: medians.collect(),
        }
    }

    /// What is usual, nothing being known of past runs.
    #[must_use]
    pub fn usual(pace: Pace) -> Self {
        Self::new(pace, &[])
    }

    /// Milliseconds that each step is expected to take, and what that goes by.
    pub(super) fn of(&self, steps: &[Step]) -> (Vec<u64>, Basis) {
        let sizes = sizes(steps);
        let mut by_history = 0;
        let expected: Vec<u64> = steps
            .iter()
            .map(|step| {
                let known = self.known(step, &sizes);
                by_history += usize::from(known.is_some());
                known.unwrap_or_else(|| self.usual_ms(&step.kind))
            })
            .collect();
        let basis = if 2 * by_history > steps.len() {
            Basis::PastRuns { runs: self.runs }
        } else {
            match self.pace {
                Pace::DigitalOcean => Basis::Usual,
                Pace::Local(_) => Basis::LocalCloud,
            }
        };
        (expected, basis)
    }

    /// Milliseconds that each step is expected to take, by its position.
    #[must_use]
    pub fn expected_ms(&self, steps: &[Step]) -> Vec<u64> {
        self.of(steps).0
    }

    /// What is known of past runs of how long a step takes, in milliseconds.
    fn known(&self, step: &Step, sizes: &BTreeMap<StepId, &str>) -> Option<u64> {
        if self.medians.is_empty() {
            return None;
        }
        let what = what(&step.kind);
        let subject = subject(&step.address);
        let keys = keys(&what, &subject, size(step, sizes));
        keys.iter().find_map(|key| self.medians.get(key)).copied()
    }

    fn usual_ms(&self, kind: &StepKind) -> u64 {
        match self.pace {
            Pace::DigitalOcean => expected::seconds(kind) * 1_000,
            Pace::Local(factor) => expected::local_ms(kind, factor),
        }
    }
}

/// What a run tells of how long steps take: those of its steps that were `done`, with the
/// milliseconds each took.
#[must_use]
pub fn observed(plan: &Plan, done: impl IntoIterator<Item = (StepId, u64)>) -> Vec<Observation> {
    let sizes = sizes(&plan.steps);
    done.into_iter()
        .filter_map(|(id, took_ms)| {
            let step = plan.step(id)?;
            Some(Observation {
                what: what(&step.kind),
                subject: subject(&step.address),
                size: size(step, &sizes).map(str::to_owned),
                took_ms,
            })
        })
        .collect()
}

/// Sizes of the droplets that each create makes.
fn sizes(steps: &[Step]) -> BTreeMap<StepId, &str> {
    steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::CreateDroplets { spec, .. } => Some((step.id, spec.size.as_str())),
            _ => None,
        })
        .collect()
}

fn size<'a>(step: &Step, sizes: &BTreeMap<StepId, &'a str>) -> Option<&'a str> {
    let made_by = match step.kind.droplet() {
        Some(DropletRef::Created { step, .. }) => *step,
        Some(DropletRef::Known { .. }) => return None,
        None => step.id,
    };
    sizes.get(&made_by).copied()
}

/// A resource, all instances of a droplet being one.
fn subject(address: &Address) -> String {
    match address {
        Address::Droplet { name, .. } => format!("droplet.{name}"),
        _ => address.to_string(),
    }
}

/// What a step does, apart from whom it does it to. How many droplets a create makes and which
/// number a step of a recipe has make no difference.
fn what(kind: &StepKind) -> String {
    match kind {
        StepKind::CreateDroplets { .. } => "create droplets".to_owned(),
        StepKind::Provision { step, .. } => format!("provision {}", step.name()),
        StepKind::Prune { .. } => "prune".to_owned(),
        StepKind::Mount { .. } => "mount".to_owned(),
        StepKind::Unmount { .. } => "unmount".to_owned(),
        _ => kind.title(),
    }
}

/// The longest a step can take, in seconds, before it is given up: its timeouts, or what the
/// clients of the API and of SSH go by.
pub(super) fn longest(kind: &StepKind) -> u64 {
    /// One call, with all its tries.
    const CALL: u64 = 250;
    /// Until a login succeeds and the first boot is over.
    const LOGIN: u64 = 2 * 15 * 60;
    /// A login to a droplet that is known to be up, for what does one thing there.
    const QUICK: u64 = 5 * 60;
    /// Files to a droplet or from it.
    const FILES: u64 = 15 * 60;
    match kind {
        StepKind::CreateTags { .. }
        | StepKind::DeleteTags { .. }
        | StepKind::UpdateTags { .. }
        | StepKind::CreateFirewall { .. }
        | StepKind::UpdateFirewall { .. }
        | StepKind::DeleteFirewall { .. }
        | StepKind::CreateSshKey { .. }
        | StepKind::DeleteSshKey { .. }
        | StepKind::Prune { .. }
        | StepKind::DeleteVolume { .. }
        | StepKind::KeepDroplet { .. }
        | StepKind::CreateVolume { .. }
        | StepKind::CloneVolume { .. }
        | StepKind::DeleteVolumeSnapshot { .. }
        | StepKind::SnapshotVolume { found: Some(_), .. }
        | StepKind::TagSnapshot { .. }
        | StepKind::TagVolume { .. }
        | StepKind::Gather { .. } => CALL,
        StepKind::ResizeVolume { .. } | StepKind::Attach { .. } | StepKind::Detach { .. } => {
            CALL + ACTION
        }
        StepKind::CreateDroplets { .. } => CALL + DROPLET_READY,
        StepKind::Connect { .. } => LOGIN,
        StepKind::Provision { step, .. } => match &**step {
            ProvisionStep::Run { timeout, .. } => timeout.0,
            ProvisionStep::Copy { .. } => FILES,
        },
        StepKind::Run { run, .. } => {
            let once = match run.background.as_ref().and_then(|it| it.ready.as_ref()) {
                Some(ready) => ready.timeout.0,
                None if run.background.is_some() => QUICK,
                None => run.timeout.0,
            };
            once.saturating_mul(u64::from(run.retries) + 1)
        }
        StepKind::Sync { .. } | StepKind::Collect { .. } => FILES,
        StepKind::Prepare { .. } | StepKind::StopBackground { .. } => QUICK,
        // Another of the same volume may have been taken just before: one in 10 minutes.
        StepKind::SnapshotVolume { found: None, .. } => CALL + 11 * 60,
        StepKind::PowerOff { .. } => 15 * 60 + 9 * 60,
        StepKind::TakeSnapshot { .. } => CALL + SNAPSHOT,
        StepKind::Transfer { .. } => CALL + TRANSFER,
        StepKind::Mount { .. } => 60 * 60,
        StepKind::Unmount { .. } => 15 * 60,
        StepKind::DestroyDroplet { .. } => CALL + DROPLET_GONE,
    }
}

// Deadlines of the client of the API, in seconds.
const ACTION: u64 = 420;
const DROPLET_READY: u64 = 3_600;
const DROPLET_GONE: u64 = 300;
const SNAPSHOT: u64 = 2 * 3_600;
const TRANSFER: u64 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(what: &str, subject: &str, size: Option<&str>, took_ms: u64) -> Observation {
        Observation {
            what: what.to_owned(),
            subject: subject.to_owned(),
            size: size.map(str::to_owned),
            took_ms,
        }
    }

    fn ms(durations: &Durations, what: &str, subject: &str, size: Option<&str>) -> Option<u64> {
        let mut keys = keys(what, subject, size).into_iter();
        keys.find_map(|key| durations.medians.get(&key).copied())
    }

    #[test]
    fn the_most_alike_counts_and_of_those_the_middle() {
        let runs = [
            vec![
                one("run tests", "droplet.runner", Some("s-1"), 100),
                one("run tests", "droplet.runner", Some("c-8"), 10),
            ],
            vec![one("run tests", "droplet.runner", Some("s-1"), 300)],
            vec![
                one("run tests", "droplet.runner", Some("s-1"), 900),
                one("run tests", "droplet.other", Some("s-1"), 5_000),
                one("run tests", "droplet.other", Some("s-1"), 5_000),
            ],
        ];
        let durations = Durations::new(Pace::DigitalOcean, &runs);
        let of = |subject, size| ms(&durations, "run tests", subject, size);
        assert_eq!(of("droplet.runner", Some("s-1")), Some(300));
        assert_eq!(of("droplet.runner", Some("c-8")), Some(10));
        // Another size, or one that is not known: any of that droplet's; another droplet: any.
        assert_eq!(of("droplet.runner", Some("c-2")), Some(300));
        assert_eq!(of("droplet.runner", None), Some(300));
        assert_eq!(of("droplet.new", Some("s-1")), Some(900));
        assert_eq!(ms(&durations, "run lint", "droplet.runner", None), None);
    }

    #[test]
    fn deadlines_are_not_shorter_than_those_of_the_client() {
        let timing = crate::cloud::Timing::default();
        for (ours, theirs) in [
            (ACTION, timing.action),
            (DROPLET_READY, timing.droplet_ready),
            (DROPLET_GONE, timing.droplet_gone),
            (SNAPSHOT, timing.snapshot),
            (TRANSFER, timing.transfer),
        ] {
            assert!(ours >= theirs.as_secs(), "{ours} s for {theirs:?}");
        }
    }
}
