//! Types that are written in one of several shapes: a word, a number or a map.
//!
//! serde's own `untagged` loses both the path and the message of an error; serde-untagged keeps
//! them. The `untagged` attribute stands on the `Serialize` and `JsonSchema` side alone.

use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};
use serde_untagged::UntaggedEnumVisitor;

use super::schema::{AfterRun, AfterRunWord, Firewall, FirewallWord, ImageSource};

/// Reads an enum of plain words, whose own message lists the words there are.
fn word<'de, T: Deserialize<'de>>(text: &str) -> Result<T, serde_untagged::de::Error> {
    T::deserialize(text.to_owned().into_deserializer())
}

impl<'de> Deserialize<'de> for Firewall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("`none` or a map with `inbound`")
            .string(|text| word::<FirewallWord>(text).map(Self::Word))
            .map(|map| map.deserialize().map(Self::Rules))
            .deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for ImageSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("an image slug, an image id or `{ snapshot: NAME }`")
            .string(|text| {
                // A variable's value is text, also where it is an id. No slug is all digits.
                let is_id = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
                Ok(match text.parse() {
                    Ok(id) if is_id => Self::Id(id),
                    _ => Self::Slug(text.to_owned()),
                })
            })
            .u64(|id| Ok(Self::Id(id)))
            .i64(|id| {
                u64::try_from(id).map(Self::Id).map_err(|_| {
                    serde_untagged::de::Error::custom("an image id is a positive number")
                })
            })
            .map(|map| map.deserialize().map(Self::Snapshot))
            .deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for AfterRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("`keep`, `destroy`, `destroy_on_success` or `{ keep: 30m }`")
            .string(|text| word::<AfterRunWord>(text).map(Self::Word))
            .map(|map| map.deserialize().map(Self::KeepOnFailure))
            .deserialize(deserializer)
    }
}

/// Reads the default of a variable: text, or a number or truth value as it is written. (The reader
/// has refused numbers by now that YAML would write otherwise.)
pub(super) fn variable_default<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    UntaggedEnumVisitor::new()
        .expecting("text, a number, `true` or `false`")
        .string(|text| Ok(text.to_owned()))
        .bool(|value| Ok(value.to_string()))
        .u64(|number| Ok(number.to_string()))
        .i64(|number| Ok(number.to_string()))
        .f64(|number| Ok(serde_yaml::Number::from(number).to_string()))
        .deserialize(deserializer)
        .map(Some)
}

/// What `variable_default` reads.
pub(super) fn variable_default_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["string", "number", "boolean"] })
}
