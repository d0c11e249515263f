//! Values that several hold and none changes: a plan has those of the desired state, not copies.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that is held in several places and lies in memory once. It is read, written and described
/// as the value itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared<T>(Arc<T>);

impl<T: Clone> Shared<T> {
    /// To change the value, for this holder alone: it gets a copy when there are others.
    pub fn to_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(self, serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

impl<T: JsonSchema> JsonSchema for Shared<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_changes_nothing_for_the_others() {
        let one = Shared::from("a".to_owned());
        let mut other = one.clone();
        assert!(Arc::ptr_eq(&one.0, &other.0), "it lies in memory once");
        other.to_mut().push('b');
        assert_eq!((one.as_str(), other.as_str()), ("a", "ab"));
    }

    #[test]
    fn it_is_written_as_the_value_itself() {
        let shared = Shared::from(vec![1, 2]);
        let text = serde_json::to_string(&shared).expect("written");
        assert_eq!(text, "[1,2]");
        let read: Shared<Vec<u32>> = serde_json::from_str(&text).expect("read");
        assert_eq!(read, shared);
        assert_eq!(
            schemars::schema_for!(Shared<Vec<u32>>),
            schemars::schema_for!(Vec<u32>)
        );
    }
}
