//! The text as a tree of values: tolerant of what the span index has already reported.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, EnumAccess, IgnoredAny, VariantAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::error::{Kind, Problem};
use super::path::{Path, Segment};
use super::report::Report;

/// A value of which duplicate keys, keys that are not text and tags have been left out.
///
/// `serde_yaml::Value` itself gives up at the first duplicate key; the span index has reported
/// them all by then, and the rest of the text is still worth checking.
pub(super) struct Tree(pub(super) Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Self)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any YAML value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        // Beyond any number a manifest may hold: exactness is lost on the way to its refusal.
        #[expect(
            clippy::cast_precision_loss,
            reason = "it will be refused for its size"
        )]
        Ok(Value::Number((value as f64).into()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "it will be refused for its size"
        )]
        Ok(Value::Number((value as f64).into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Sequence(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Mapping::new();
        while let Some(Tree(key)) = entries.next_key()? {
            if key.is_string() && !map.contains_key(&key) {
                let Tree(value) = entries.next_value()?;
                map.insert(key, value);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Mapping(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (_tag, contents) = data.variant::<String>()?;
        let Tree(value) = contents.newtype_variant()?;
        Ok(value)
    }
}

/// Puts the maps that `<<` names into those that name them; what a map says itself wins.
///
/// serde_yaml's `apply_merge` is not used: it changes the order of keys, which for `matrix` has a
/// meaning, and leaves a `<<` within a merged map standing.
pub(super) fn merge(value: &mut Value, path: &mut Path, report: &mut Report) {
    match value {
        Value::Mapping(map) => {
            for (key, child) in map.iter_mut() {
                if let Some(key) = key.as_str() {
                    path.push(key);
                    merge(child, path, report);
                    path.pop();
                }
            }
            let merged = match map.shift_remove("<<") {
                None => return,
                Some(Value::Sequence(maps)) => maps,
                Some(one) => vec![one],
            };
            for source in merged {
                if let Value::Mapping(source) = source {
                    for (key, value) in source {
                        map.entry(key).or_insert(value);
                    }
                } else {
                    report.value(
                        &path.then("<<"),
                        Problem::new(Kind::WrongType, "`<<` merges maps, and this is none")
                            .help("write `<<: *NAME`, where `&NAME` stands before a map"),
                    );
                }
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index);
                merge(item, path, report);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {}
    }
}

/// The value at a place.
pub(super) fn get<'a>(root: &'a Value, path: &Path) -> Option<&'a Value> {
    path.segments()
        .iter()
        .try_fold(root, |value, segment| match segment {
            Segment::Key(key) => value.as_mapping()?.get(key.as_str()),
            Segment::Index(index) => value.as_sequence()?.get(*index),
        })
}

/// The value at a place, to be changed.
pub(super) fn get_mut<'a>(root: &'a mut Value, path: &Path) -> Option<&'a mut Value> {
    path.segments()
        .iter()
        .try_fold(root, |value, segment| match segment {
            Segment::Key(key) => value.as_mapping_mut()?.get_mut(key.as_str()),
            Segment::Index(index) => value.as_sequence_mut()?.get_mut(*index),
        })
}
