//! The JSON Schema of plans: of what `plan --format json` prints and of saved plans.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Plan, Saved};

/// A plan of dewpoint: what `plan --format json` prints, or the file that `plan --out` writes, which
/// holds the same under `plan`.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "dewpoint plan, version 1")]
#[expect(
    dead_code,
    clippy::large_enum_variant,
    reason = "only its schema is ever made"
)]
enum PlanDocument {
    /// What `plan --format json` prints.
    Printed(Plan),
    /// What `plan --out` writes.
    Saved(Saved),
}

/// The JSON Schema of plans: what `schemas/plan.schema.json` holds.
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(PlanDocument).to_value()
}
