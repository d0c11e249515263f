//! What stands on DigitalOcean as far as a run's events tell: what it made, what it removed, what
//! may have been made, and what that costs. Pure.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::NOT_PRUNED;
use super::event::{Event, EventKind, Failure};
use crate::address::Address;
use crate::desired::names;
use crate::live::Live;
use crate::plan::{Action, Plan, StepKind};
use crate::units::Money;

/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    /// A droplet: the only one billed by the hour.
    Droplet,
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// A firewall.
    Firewall,
    /// An SSH key.
    SshKey,
}

/// Whether a resource exists, as far as events tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does.
    Exists,
    /// It may: it was being made or removed, and that did not end well.
    MayExist,
    /// It does not.
    Gone,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What it belongs to; a builder belongs to its snapshot.
    pub address: Address,
    /// Whether it exists.
    pub presence: Presence,
    /// What an hour of it costs; nothing where that is not known or not billed by the hour.
    pub hourly: Money,
    /// Milliseconds into the run since when it costs; `None` when it cost before.
    since_ms: Option<u64>,
}

/// What droplets cost by the hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tariff {
    /// By size.
    pub by_size: BTreeMap<String, Money>,
    /// By name, of those that are up already.
    pub by_name: BTreeMap<String, Money>,
}

impl Tariff {
    /// The prices at the time of planning.
    #[must_use]
    pub fn of(live: &Live) -> Self {
        let price = |size: &str| live.catalog.size(size).map(|size| size.price_hourly);
        Self {
            by_size: live
                .catalog
                .sizes
                .iter()
                .map(|size| (size.slug.clone(), size.price_hourly))
                .collect(),
            by_name: live
                .droplets
                .iter()
                .filter_map(|droplet| Some((droplet.name.clone(), price(&droplet.size)?)))
                .collect(),
        }
    }
}

/// What stands, by sort and name on DigitalOcean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    resources: BTreeMap<(Sort, String), Resource>,
    tariff: Tariff,
    spent: Money,
}

impl Standing {
    /// Before a run: what the plan found.
    #[must_use]
    pub fn new(plan: &Plan, tariff: Tariff) -> Self {
        let mut standing = Self {
            tariff,
            ..Self::default()
        };
        for change in &plan.changes {
            let sort = match &change.address {
                Address::SshKey => Sort::SshKey,
                Address::Firewall => Sort::Firewall,
                // A builder that an earlier run left bears the address of what it builds.
                address
                    if names::is_builder_of(
                        &plan.project,
                        &plan.environment,
                        address,
                        &change.name,
                    ) =>
                {
                    Sort::Droplet
                }
                Address::Volume(_) => Sort::Volume,
                Address::Snapshot(_) => Sort::Snapshot,
                Address::Droplet { .. } => Sort::Droplet,
            };
            // The name of a snapshot that is replaced is that of the new one.
            let is_there = change.id.is_some()
                && !(sort == Sort::Snapshot && change.action == Action::CreateThenDestroy);
            if is_there {
                let hourly = standing.tariff.by_name.get(&change.name);
                let resource = Resource {
                    address: change.address.clone(),
                    presence: Presence::Exists,
                    hourly: hourly.copied().unwrap_or_default(),
                    since_ms: None,
                };
                standing
                    .resources
                    .insert((sort, change.name.clone()), resource);
            }
        }
        for step in &plan.steps {
            if let StepKind::Prune { id, name } = &step.kind {
                let resource = Resource {
                    address: step.address.clone(),
                    presence: Presence::Exists,
                    hourly: Money::default(),
                    since_ms: None,
                };
                let key = (Sort::Snapshot, old_image(plan, *id, name));
                standing.resources.insert(key, resource);
            }
        }
        standing
    }

    /// After these events of a run of the plan.
    #[must_use]
    pub fn after(plan: &Plan, tariff: Tariff, events: &[Event]) -> Self {
        let mut standing = Self::new(plan, tariff);
        for event in events {
            standing.apply(event, plan);
        }
        standing
    }

    /// Takes note of an event.
    pub fn apply(&mut self, event: &Event, plan: &Plan) {
        let (step, begins, succeeded) = match &event.kind {
            EventKind::Started { step, .. } => (*step, true, false),
            EventKind::Done { step, .. } => (*step, false, true),
            EventKind::Failed { step, .. } => (*step, false, false),
            _ => return,
        };
        let Some(step) = plan.step(step) else { return };
        let made = match &event.kind {
            EventKind::Done { .. } => Presence::Exists,
            EventKind::Failed { failure, .. } if made_nothing(failure) => Presence::Gone,
            _ => Presence::MayExist,
        };
        let at = event.elapsed_ms;
        match &step.kind {
            StepKind::CreateDroplets { spec, droplets } => {
                let hourly = self.tariff.by_size.get(&spec.size).copied();
                for droplet in droplets {
                    self.make(
                        (Sort::Droplet, &droplet.name),
                        &droplet.address,
                        made,
                        (hourly.unwrap_or_default(), at),
                    );
                }
            }
            StepKind::CreateVolume { spec } | StepKind::CloneVolume { spec, .. } => {
                self.make((Sort::Volume, &spec.name), &step.address, made, FREE);
            }
            StepKind::CreateFirewall { spec } => {
                self.make((Sort::Firewall, &spec.name), &step.address, made, FREE);
            }
            StepKind::CreateSshKey { name, .. } => {
                self.make((Sort::SshKey, name), &step.address, made, FREE);
            }
            StepKind::TakeSnapshot { name, .. } => {
                self.make((Sort::Snapshot, name), &step.address, made, FREE);
            }
            StepKind::DestroyDroplet { droplet, .. } if !begins => {
                self.remove((Sort::Droplet, droplet.name()), succeeded, at);
            }
            StepKind::DeleteVolume { name, .. } if !begins => {
                self.remove((Sort::Volume, name), succeeded, at);
            }
            StepKind::DeleteVolumeSnapshot { name, .. } if !begins => {
                self.remove((Sort::Volume, name), succeeded, at);
            }
            StepKind::DeleteFirewall { name, .. } if !begins => {
                self.remove((Sort::Firewall, name), succeeded, at);
            }
            StepKind::DeleteSshKey { name, .. } if !begins => {
                self.remove((Sort::SshKey, name), succeeded, at);
            }
            StepKind::Prune { id, name } if !begins && !is_left(event) => {
                let key = old_image(plan, *id, name);
                self.remove((Sort::Snapshot, &key), succeeded, at);
            }
            StepKind::DestroyDroplet { .. }
            | StepKind::KeepDroplet { .. }
            | StepKind::Transfer { .. }
            | StepKind::DeleteVolume { .. }
            | StepKind::SnapshotVolume { .. }
            | StepKind::TagVolume { .. }
            | StepKind::DeleteVolumeSnapshot { .. }
            | StepKind::DeleteFirewall { .. }
            | StepKind::DeleteSshKey { .. }
            | StepKind::Prune { .. }
            | StepKind::CreateTags { .. }
            | StepKind::DeleteTags { .. }
            | StepKind::UpdateFirewall { .. }
            | StepKind::ResizeVolume { .. }
            | StepKind::UpdateTags { .. }
            | StepKind::Connect { .. }
            | StepKind::Provision { .. }
            | StepKind::PowerOff { .. }
            | StepKind::TagSnapshot { .. }
            | StepKind::Attach { .. }
            | StepKind::Mount { .. }
            | StepKind::Sync { .. }
            | StepKind::Gather { .. }
            | StepKind::Prepare { .. }
            | StepKind::StopBackground { .. }
            | StepKind::Run { .. }
            | StepKind::Collect { .. }
            | StepKind::Unmount { .. }
            | StepKind::Detach { .. } => {}
        }
    }

    fn make(
        &mut self,
        (sort, name): (Sort, &str),
        address: &Address,
        presence: Presence,
        (hourly, at): (Money, u64),
    ) {
        let resource = self
            .resources
            .entry((sort, name.to_owned()))
            .or_insert_with(|| Resource {
                address: address.clone(),
                presence: Presence::Gone,
                hourly,
                since_ms: Some(at),
            });
        if resource.presence == Presence::Gone && presence != Presence::Gone {
            // Made anew under the same name.
            resource.hourly = hourly;
            resource.since_ms = Some(at);
        }
        resource.presence = presence;
    }

    fn remove(&mut self, (sort, name): (Sort, &str), succeeded: bool, at: u64) {
        let Some(resource) = self.resources.get_mut(&(sort, name.to_owned())) else {
            return;
        };
        if resource.presence == Presence::Gone {
            return;
        }
        if !succeeded {
            resource.presence = Presence::MayExist;
            return;
        }
        if let Some(since) = resource.since_ms {
            self.spent = self.spent + price(resource.hourly, at.saturating_sub(since));
        }
        resource.presence = Presence::Gone;
    }

    /// What exists or may exist, sorted by sort and name.
    pub fn present(&self) -> impl Iterator<Item = (Sort, &str, &Resource)> {
        self.resources
            .iter()
            .filter(|(_, resource)| resource.presence != Presence::Gone)
            .map(|((sort, name), resource)| (*sort, name.as_str(), resource))
    }

    /// What the droplets that this run made cost so far.
    #[must_use]
    pub fn cost(&self, elapsed_ms: u64) -> Money {
        let up = self.present().filter_map(|(_, _, resource)| {
            let since = resource.since_ms?;
            Some(price(resource.hourly, elapsed_ms.saturating_sub(since)))
        });
        self.spent + up.sum()
    }

    /// What an hour costs of the droplets that are up.
    #[must_use]
    pub fn hourly(&self) -> Money {
        self.present().map(|(_, _, resource)| resource.hourly).sum()
    }
}

/// Whether a create that failed so has made nothing for certain: it was refused, or never sent.
fn made_nothing(failure: &Failure) -> bool {
    let code = failure.code.strip_prefix("dewpoint::");
    let Some((part, name)) = code.and_then(|code| code.split_once("::")) else {
        return false;
    };
    match part {
        "cloud" => matches!(
            name,
            "bad_request"
                | "unauthorized"
                | "forbidden"
                | "not_found"
                | "conflict"
                | "refused"
                | "rate_limited"
                | "unreachable"
                | "name_taken"
        ),
        "execute" => matches!(name, "no_identity" | "not_made"),
        _ => false,
    }
}

/// What an old snapshot is called here: by its id too when the plan takes one of the same name.
fn old_image(plan: &Plan, id: u64, name: &str) -> String {
    let is_taken_again = plan.steps.iter().any(
        |step| matches!(&step.kind, StepKind::TakeSnapshot { name: taken, .. } if taken == name),
    );
    if is_taken_again {
        format!("{name}, {id}")
    } else {
        name.to_owned()
    }
}

/// What the old snapshots that a plan deletes are called here.
pub fn old_images(plan: &Plan) -> impl Iterator<Item = String> {
    plan.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Prune { id, name } => Some(old_image(plan, *id, name)),
        _ => None,
    })
}

/// Whether a step has ended well by leaving an old snapshot to a later apply.
fn is_left(event: &Event) -> bool {
    matches!(&event.kind, EventKind::Done { note, .. } if note.starts_with(NOT_PRUNED))
}

/// Not billed by the hour.
const FREE: (Money, u64) = (Money(Decimal::ZERO), 0);

fn price(hourly: Money, ms: u64) -> Money {
    Money(hourly.0 * Decimal::from(ms) / Decimal::from(HOUR_MS))
}
