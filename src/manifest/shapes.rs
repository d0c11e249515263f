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
            .string(|text| Ok(Self::Slug(text.to_owned())))
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
