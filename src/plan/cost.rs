//! What a plan costs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Money;

/// What a plan costs, from live prices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Of an hour while every droplet of the plan is up (builders not counted).
    pub hourly_while_up: Money,
    /// Of a month of what stays after the plan: volumes, snapshots, kept droplets.
    pub monthly_kept: Money,
    /// Of executing the plan once, as expected: droplets and builders for as long as they are expected to live.
    pub expected_once: Money,
    /// How long executing is expected to take, in seconds, along the longest chain.
    pub expected_seconds: u64,
    /// What had no price: sizes the account does not know.
    pub unpriced: Vec<String>,
}
