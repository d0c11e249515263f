//! Values that several hold and none changes: a plan has those of the desired state, not copies.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that is held in several places and lies in memory once. It is read, written and described
/// as the value itself.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shared<T: ?Sized>(Arc<T>);

/// A list of texts, such as tags.
pub type Texts = Shared<Vec<String>>;

impl<T: Clone> Shared<T> {
    /// To change the value, for this holder alone: it gets a copy when there are others.
    pub fn to_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: ?Sized> Shared<T> {
    /// Whether two of them lie in one place, so that they are equal without being read.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Shared<T> {
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

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: fmt::Display + ?Sized> fmt::Display for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl Shared<str> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Shared<str> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<String> for Shared<str> {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<Shared<str>> for String {
    fn eq(&self, other: &Shared<str>) -> bool {
        **self == *other.0
    }
}

impl From<&str> for Shared<str> {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl From<String> for Shared<str> {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl<T: Serialize + ?Sized> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(self, serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for Shared<str> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl<T: JsonSchema + ?Sized> JsonSchema for Shared<T> {
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
        let one = Shared::<String>::from("a".to_owned());
        let mut other = one.clone();
        assert!(Arc::ptr_eq(&one.0, &other.0), "it lies in memory once");
        other.to_mut().push('b');
        assert_eq!((one.as_str(), other.as_str()), ("a", "ab"));
    }

    #[test]
    fn a_text_is_shared_and_written_as_any() {
        let shared = Shared::<str>::from("a");
        assert!(shared.is_same(&shared.clone()));
        let read: Shared<str> = serde_json::from_str("\"a\"").expect("read");
        assert!(read == shared && !read.is_same(&shared));
        assert_eq!(serde_json::to_string(&read).expect("written"), "\"a\"");
        assert_eq!(
            schemars::schema_for!(Shared<str>),
            schemars::schema_for!(String)
        );
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
