//! From which step to which lives what is billed by the second.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};

use super::{prices, volume_hourly};
use crate::live::Catalog;
use crate::plan::step::{DropletRef, NewDroplet, Step, StepId, StepKind, VolumeRef, position_of};
use crate::units::Money;

/// What a plan makes and is billed for: from which step to which it lives.
pub(super) struct Lives<'a> {
    droplets: Vec<DropletLives<'a>>,
    /// Throw-away copies of volumes.
    clones: Vec<CloneLife>,
    /// By step where among one of those is what it makes.
    made: Vec<u32>,
    /// The droplet whose end was noted last: by the step that makes it, and its position there.
    ended: (StepId, usize),
}

/// Droplets that one step makes.
struct DropletLives<'a> {
    made: usize,
    size: &'a str,
    droplets: &'a [NewDroplet],
    /// The steps that destroy them.
    ends: Vec<Option<usize>>,
}

struct CloneLife {
    made: usize,
    gib: u64,
    /// The step that deletes it.
    end: Option<usize>,
}

/// Stands for nothing that was made.
const NOTHING: u32 = u32::MAX;

impl<'a> Lives<'a> {
    /// Of a plan of so many steps, before they are noted.
    pub(super) fn with_capacity(steps: usize) -> Self {
        Self {
            droplets: Vec::new(),
            clones: Vec::new(),
            made: vec![NOTHING; steps],
            ended: (StepId(NOTHING), 0),
        }
    }

    /// Takes note of a step. What it ends was made by one before it.
    pub(super) fn note(&mut self, step: &'a Step) {
        let position = step.id.0 as usize;
        match &step.kind {
            StepKind::CreateDroplets { spec, droplets } => {
                self.note_made(step.id, self.droplets.len());
                self.droplets.push(DropletLives {
                    made: position,
                    size: &spec.size,
                    droplets,
                    ends: vec![None; droplets.len()],
                });
            }
            StepKind::CloneVolume { spec, .. } => {
                self.note_made(step.id, self.clones.len());
                self.clones.push(CloneLife {
                    made: position,
                    gib: u64::from(spec.size.0),
                    end: None,
                });
            }
            StepKind::DestroyDroplet {
                droplet: DropletRef::Created { step: by, name },
                ..
            } => {
                let made = self.made(*by).and_then(|at| self.droplets.get_mut(at));
                let Some(made) = made.filter(|made| made.made == by.0 as usize) else {
                    return;
                };
                let from = if self.ended.0 == *by {
                    self.ended.1 + 1
                } else {
                    0
                };
                if let Some(at) = position_of(made.droplets, name, from) {
                    made.ends[at] = Some(position);
                    self.ended = (*by, at);
                }
            }
            StepKind::DeleteVolume {
                volume: VolumeRef::Created { step: by },
                ..
            } => {
                let made = self.made(*by).and_then(|at| self.clones.get_mut(at));
                if let Some(made) = made.filter(|made| made.made == by.0 as usize) {
                    made.end = Some(position);
                }
            }
            _ => {}
        }
    }

    fn note_made(&mut self, step: StepId, at: usize) {
        if let Some(made) = self.made.get_mut(step.0 as usize) {
            *made = u32::try_from(at).unwrap_or(NOTHING);
        }
    }

    fn made(&self, step: StepId) -> Option<usize> {
        let at = self.made.get(step.0 as usize).copied()?;
        (at != NOTHING).then_some(at as usize)
    }

    /// Asks for each how many seconds it lives: made by which step, destroyed by which.
    pub(super) fn last(&self, mut life: impl FnMut(usize, Option<usize>) -> u64) -> Lasted<'a> {
        let mut droplets: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for made in &self.droplets {
            let lives = made.ends.iter().map(|end| {
                let life = life(made.made, *end);
                life.max(prices::DROPLET_LEAST_SECONDS)
            });
            let all = lives.fold(0_u64, u64::saturating_add);
            let (count, seconds) = droplets.entry(made.size).or_default();
            *count += made.ends.len() as u64;
            *seconds = seconds.saturating_add(all);
        }
        let mut clones = 0_u64;
        for clone in &self.clones {
            let life = clone.gib.saturating_mul(life(clone.made, clone.end));
            clones = clones.saturating_add(life);
        }
        Lasted { droplets, clones }
    }
}

/// How long what a plan makes and is billed for lives.
pub(super) struct Lasted<'a> {
    /// Droplets by their size: how many there are, and the seconds all of them live.
    droplets: BTreeMap<&'a str, (u64, u64)>,
    /// Throw-away copies of volumes: GiB times seconds.
    clones: u64,
}

impl Lasted<'_> {
    pub(super) fn price(&self, catalog: &Catalog) -> Money {
        let prices = self.droplets.iter().filter_map(|(slug, (count, seconds))| {
            let hourly = catalog.size(slug)?.price_hourly.0;
            let used = hourly * Decimal::from(*seconds) / Decimal::from(3_600);
            Some(Money(
                used.max(prices::DROPLET_LEAST * Decimal::from(*count)),
            ))
        });
        let clones = volume_hourly(self.clones).0 / Decimal::from(3_600);
        let sum: Money = prices.chain([Money(clones)]).sum();
        // Nobody is billed less than a millionth of a dollar; 28 digits read badly.
        Money(
            sum.0
                .round_dp_with_strategy(6, RoundingStrategy::AwayFromZero),
        )
    }
}
