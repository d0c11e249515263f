//! The difference as a value: what people read, programs read and the schema describes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::plan::{FieldChange, Reason};
use crate::units::Money;

/// What the step from one manifest to another would do, if the old one had been applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "dewpoint difference, version 1")]
#[must_use]
pub struct Difference {
    /// Version of the format: 1.
    pub version: u32,
    /// The manifest before; absent when there was none.
    pub old: Option<SideName>,
    /// The manifest after.
    pub new: SideName,
    /// Data that is lost, left behind or no longer protected, the worst first.
    pub data_at_risk: Vec<Risk>,
    /// What `apply` would refuse: then it does nothing at all, data is safe, and what else stands
    /// here does not happen. Sorted by address.
    pub refused: Vec<Finding>,
    /// What becomes of resources, sorted by address.
    pub resources: Vec<ResourceChange>,
    /// What changes in the manifest beside resources.
    pub settings: Vec<FieldChange>,
    /// What it costs before and after.
    pub cost: CostChange,
    /// What the reader should know beside: one sentence each.
    pub notices: Vec<String>,
}

impl Difference {
    /// Whether both manifests mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            version: _,
            old: _,
            new: _,
            data_at_risk,
            refused,
            resources,
            settings,
            // It follows from the rest.
            cost: _,
            // They are about how it was compared.
            notices: _,
        } = self;
        data_at_risk.is_empty() && refused.is_empty() && resources.is_empty() && settings.is_empty()
    }

    /// How many resources have that outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        let effects = self.resources.iter().flat_map(|change| &change.effects);
        effects
            .filter(|effect| effect.outcome == outcome)
            .map(|effect| effect.addresses.len())
            .sum()
    }
}

/// Which manifest a side is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideName {
    /// Where it was read: a file, or a revision and a path.
    pub name: String,
    /// Name of the project.
    pub project: String,
    /// Name of the environment.
    pub environment: String,
    /// Slug of the region.
    pub region: String,
}

/// What becomes of a resource. Closed; the loudest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is destroyed.
    Destroyed,
    /// It is destroyed, then made anew.
    Replaced,
    /// A snapshot is built anew; then the old one goes, or stays among those that are kept.
    Rebuilt,
    /// What is asked for is refused: nothing happens to it, nor to anything else.
    Refused,
    /// It is no longer the manifest's, and stays on DigitalOcean, where it costs.
    LeftBehind,
    /// It is changed in place.
    Changed,
    /// It is made.
    Created,
    /// It is no longer made for its runs; nothing of it stands.
    Dropped,
    /// Nothing that stands changes: it counts from the next run or build on.
    Later,
}

/// What becomes of some instances of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// What becomes of them.
    pub outcome: Outcome,
    /// Which ones: those of a droplet that share outcome and reasons.
    pub addresses: Vec<Address>,
    /// Their names on DigitalOcean.
    pub names: Vec<String>,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// What becomes of one resource of the manifest, and how its entry there differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceChange {
    /// Which one: `volume.models`, `droplet.runner` for all of its instances.
    pub address: Address,
    /// What becomes of it, the loudest first.
    pub effects: Vec<Effect>,
    /// What differs, in declared order. Of a resource that is new: what it will be.
    pub fields: Vec<FieldChange>,
    /// Steps of a recipe or of `populate`, or runs, that differ, in their new order.
    pub steps: Vec<StepChange>,
}

/// What becomes of a step of a recipe, of a run, or of what fills a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// It is new.
    Added,
    /// It is no longer there.
    Removed,
    /// It differs.
    Changed,
    /// It stands before or after others than it did; it may differ, too.
    Moved,
}

/// How a step of a recipe, a run, or a step that fills a volume, differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepChange {
    /// What it is called, or what it begins with.
    pub name: String,
    /// What becomes of it.
    pub action: StepAction,
    /// Its position before, from 1; absent when it is new.
    pub old: Option<u32>,
    /// Its position after, from 1; absent when it is no longer there.
    pub new: Option<u32>,
    /// Whether the snapshot must be built anew for that alone. Never of a run, nor of what fills a volume.
    pub forces_rebuild: bool,
    /// What differs; scripts whole, before and after.
    pub fields: Vec<FieldChange>,
    /// Which files it copies differ.
    pub files: Vec<FileChange>,
}

/// What becomes of a copied file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileAction {
    /// It is new.
    Added,
    /// It is no longer there.
    Removed,
    /// Its contents differ, or where a link leads.
    Changed,
    /// Only whether it can be executed differs, or what it is.
    Mode,
}

/// How a copied file differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileChange {
    /// Its path: what is copied, and the path below it.
    pub path: String,
    /// What becomes of it.
    pub action: FileAction,
    /// Whether git does not know it: then it differs on this machine alone.
    pub untracked: bool,
}

/// How data is at risk. Closed; the worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RiskKind {
    /// A volume is destroyed with all it holds.
    Destroyed,
    /// A volume that holds something is filled again: what fills it runs over what is there.
    FilledAgain,
    /// A volume stays, and what used it finds another one, or none.
    LeftBehind,
    /// What is asked for would lose data, and is refused.
    Refused,
    /// It is no longer protected.
    Unprotected,
}

/// Data that is at risk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// How.
    pub kind: RiskKind,
    /// Of which resource.
    pub address: Address,
    /// What happens, in words.
    pub text: String,
    /// What to do if that is not meant.
    pub advice: String,
}

/// Something that `apply` would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The resource; absent when it is about the whole environment.
    pub address: Option<Address>,
    /// The code of the refusal, such as `dewpoint::plan::shrink`.
    pub code: String,
    /// Why, in words.
    pub reason: String,
    /// The way out.
    pub help: String,
}

/// An amount before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    /// Before; nothing when there was no manifest.
    pub old: Money,
    /// After: as before when `apply` refuses the change, for then nothing happens.
    pub new: Money,
    /// After, were the change not refused; absent when it is not.
    pub if_not_refused: Option<Money>,
}

/// What it costs before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CostChange {
    /// When the prices of droplets were read, such as `2026-11-29T12:00:00Z`; absent when none are known.
    pub prices_at: Option<String>,
    /// Of an hour while every droplet is up; absent when no prices are known.
    pub hourly_while_up: Option<Amounts>,
    /// Of a month of the droplets that stay, of the same hours; absent when no prices are known.
    pub monthly_droplets: Option<Amounts>,
    /// Of a month of volumes, those that are left behind among them, and copies that stay with their droplets.
    pub monthly_volumes: Amounts,
    /// What stays of the old environment when another one is meant; amounts after have it in them.
    pub left_behind: Option<LeftBehind>,
    /// Sizes that have no price.
    pub unpriced: Vec<String>,
}

/// What stays of an environment of which nothing is changed or destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftBehind {
    /// How many droplets.
    pub droplets: u32,
    /// How many volumes, copies among them.
    pub volumes: u32,
    /// Of an hour of droplets and copies of volumes; absent when no prices are known.
    pub hourly: Option<Money>,
    /// Of a month of droplets; absent when no prices are known.
    pub monthly_droplets: Option<Money>,
    /// Of a month of volumes.
    pub monthly_volumes: Money,
}
