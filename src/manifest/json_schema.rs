//! The manifest's JSON Schema, for editors.

use super::schema::Manifest;

/// The JSON Schema of a manifest: what `schemas/manifest.schema.json` holds.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}
