//! How long the API takes over what it does in its own time: learnt from what was waited for, in this
//! run and in those before.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Client, locked};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// A new droplet, until it is active and has an address.
    DropletReady,
    /// A droplet that was deleted, until it is gone.
    DropletGone,
    /// A droplet that shuts down.
    DropletOff,
    /// A snapshot of a droplet.
    Snapshot,
    /// A copy of a snapshot to another region.
    Transfer,
    /// A volume that is attached.
    Attached,
    /// A volume that is detached.
    Detached,
    /// A volume that grows.
    Grown,
    /// A new SSH key, until creates know it.
    KeyKnown,
    /// A volume whose droplet is gone, until it is free.
    VolumeFree,
}

impl Awaited {
    /// As it is written.
    const fn word(self) -> &'static str {
        match self {
            Self::DropletReady => "droplet ready",
            Self::DropletGone => "droplet gone",
            Self::DropletOff => "droplet off",
            Self::Snapshot => "snapshot",
            Self::Transfer => "transfer",
            Self::Attached => "volume attached",
            Self::Detached => "volume detached",
            Self::Grown => "volume grown",
            Self::KeyKnown => "key known",
            Self::VolumeFree => "volume free",
        }
    }
}

/// How long one kind of thing was waited for in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// What was waited for.
    pub what: String,
    /// On what: the size of a droplet and what it is made from, the region of a copy; may be empty.
    pub on: String,
    /// The shortest, in milliseconds.
    pub least_ms: u64,
    /// The one in the middle.
    pub usual_ms: u64,
}

/// When something is expected to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// From here on it may be over.
    pub opens: Duration,
    /// From here on it has been over before, or nearly.
    pub near: Duration,
    /// In the middle.
    pub usual: Duration,
}

/// What may be over is looked for when this part of the shortest time it ever took has passed, once it
/// is known well.
const SHORTLY: f64 = 0.9;
/// It is looked at closely from here on: what was seen to be over was so a little sooner.
const NEARLY: f64 = 0.96;
/// By how much that is less after one run, by half of it after two, and so on: what took 50 s once may
/// take 35 s the next time.
const LESS_SURE: f64 = 0.3;

/// Of one run so many waits for one kind of thing are remembered: enough for a middle.
const REMEMBERED: usize = 256;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// What earlier runs told: the shortest and the one in the middle of each.
    before: BTreeMap<Kind, Vec<(u64, u64)>>,
    /// What this one has waited for, in milliseconds.
    here: BTreeMap<Kind, Vec<u64>>,
}

/// What was waited for, and on what.
type Kind = (String, String);

impl Waits {
    /// Takes what an earlier run has told.
    fn teach(&mut self, wait: Wait) {
        let known = self.before.entry((wait.what, wait.on)).or_default();
        known.push((wait.least_ms, wait.usual_ms));
    }

    fn note(&mut self, what: Awaited, on: &str, took: Duration) {
        let kind = (what.word().to_owned(), on.to_owned());
        let known = self.here.entry(kind).or_default();
        if known.len() < REMEMBERED {
            known.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// When it is expected to be over: by the same on the same, else by the same on anything else.
    fn expect(&self, what: Awaited, on: &str) -> Option<Expected> {
        let alike = |kind: &Kind| kind.0 == what.word() && kind.1 == on;
        let same = |kind: &Kind| kind.0 == what.word();
        self.by(alike).or_else(|| self.by(same))
    }

    fn by(&self, counts: impl Fn(&Kind) -> bool) -> Option<Expected> {
        let before = self.before.iter().filter(|(kind, _)| counts(kind));
        let mut waits: Vec<(u64, u64)> = before.flat_map(|(_, waits)| waits).copied().collect();
        for (kind, here) in &self.here {
            if let Some(wait) = summary(here).filter(|_| counts(kind)) {
                waits.push(wait);
            }
        }
        let earliest = waits.iter().map(|(least, _)| *least).min()?;
        let runs = f64::from(u32::try_from(waits.len()).unwrap_or(u32::MAX));
        let mut usual: Vec<u64> = waits.into_iter().map(|(_, usual)| usual).collect();
        Some(Expected {
            opens: Duration::from_millis(earliest).mul_f64(SHORTLY - LESS_SURE / runs),
            near: Duration::from_millis(earliest).mul_f64(NEARLY),
            usual: Duration::from_millis(middle(&mut usual)?),
        })
    }

    /// What this run tells the next ones.
    fn told(&self) -> Vec<Wait> {
        let kinds = self.here.iter();
        kinds
            .filter_map(|((what, on), here)| {
                let (least_ms, usual_ms) = summary(here)?;
                Some(Wait {
                    what: what.clone(),
                    on: on.clone(),
                    least_ms,
                    usual_ms,
                })
            })
            .collect()
    }
}

fn summary(waits: &[u64]) -> Option<(u64, u64)> {
    let mut sorted = waits.to_vec();
    let usual = middle(&mut sorted)?;
    Some((*sorted.first()?, usual))
}

/// Sorts them, too.
fn middle(waits: &mut [u64]) -> Option<u64> {
    waits.sort_unstable();
    waits.get(waits.len() / 2).copied()
}

impl Client {
    /// Takes what earlier runs on the same cloud, in the same region, have waited for: looks at what
    /// takes its time begin shortly before it is expected to be over.
    pub fn teach(&self, waits: impl IntoIterator<Item = Wait>) {
        let mut known = locked(&self.inner.waits);
        waits.into_iter().for_each(|wait| known.teach(wait));
    }

    /// What this client, and its clones, have waited for.
    #[must_use]
    pub fn waited(&self) -> Vec<Wait> {
        locked(&self.inner.waits).told()
    }

    pub(super) fn note_wait(&self, what: Awaited, on: &str, took: Duration) {
        locked(&self.inner.waits).note(what, on, took);
    }

    pub(super) fn expect_wait(&self, what: Awaited, on: &str) -> Option<Expected> {
        locked(&self.inner.waits).expect(what, on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(on: &str, least_ms: u64, usual_ms: u64) -> Wait {
        Wait {
            what: Awaited::DropletReady.word().to_owned(),
            on: on.to_owned(),
            least_ms,
            usual_ms,
        }
    }

    fn ms(waits: &Waits, what: Awaited, on: &str) -> Option<(u128, u128)> {
        let expected = waits.expect(what, on)?;
        Some((expected.opens.as_millis(), expected.usual.as_millis()))
    }

    #[test]
    fn what_is_most_alike_counts_and_the_more_runs_the_surer() {
        let mut waits = Waits::default();
        assert_eq!(ms(&waits, Awaited::DropletReady, "s-1"), None);
        waits.teach(wait("s-1", 3_000, 4_000));
        // Once: it may be over much sooner the next time.
        assert_eq!(
            ms(&waits, Awaited::DropletReady, "s-1"),
            Some((1_800, 4_000))
        );
        for (least, usual) in [(2_000, 4_100), (3_100, 6_000)] {
            waits.teach(wait("s-1", least, usual));
        }
        waits.teach(wait("g-8", 9_000, 9_500));
        // The shortest of three runs, less a fifth; the one in the middle.
        assert_eq!(
            ms(&waits, Awaited::DropletReady, "s-1"),
            Some((1_600, 4_100))
        );
        assert_eq!(
            ms(&waits, Awaited::DropletReady, "g-8"),
            Some((5_400, 9_500))
        );
        // A size that was never made: as any other.
        assert_eq!(
            ms(&waits, Awaited::DropletReady, "c-2"),
            Some((1_650, 6_000))
        );
        assert_eq!(ms(&waits, Awaited::DropletGone, ""), None);
    }

    #[test]
    fn a_run_learns_from_itself_and_tells_the_next() {
        let mut waits = Waits::default();
        for took in [50, 20, 30] {
            waits.note(Awaited::Attached, "", Duration::from_millis(took));
        }
        assert_eq!(ms(&waits, Awaited::Attached, ""), Some((12, 30)));
        let told = waits.told();
        let mut next = Waits::default();
        told.into_iter().for_each(|wait| next.teach(wait));
        assert_eq!(ms(&next, Awaited::Attached, ""), Some((12, 30)));
        assert_eq!(next.told(), []);
        for _ in 0..1_000 {
            waits.note(Awaited::Attached, "", Duration::from_millis(1));
        }
        assert_eq!(waits.here.values().map(Vec::len).sum::<usize>(), REMEMBERED);
    }
}
