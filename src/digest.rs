//! Canonical SHA-256: the same value has the same digest on every machine.

use std::fmt;
use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(String);

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest: 64 hexadecimal digits in lower case")]
pub struct BadDigest(String);

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_digit) {
            Ok(Self(text))
        } else {
            Err(BadDigest(text))
        }
    }
}

impl Digest {
    /// Digests bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    /// Digests a value by its canonical JSON: object keys sorted, no blanks, so that neither the
    /// order of keys in a manifest nor of fields in a type matters.
    #[must_use]
    pub fn of<T: Serialize>(value: &T) -> Self {
        // serde_json's `Value` keeps its object keys sorted (the crate's `preserve_order` feature
        // may be switched on by a dependency, hence the explicit sort).
        let mut value = serde_json::to_value(value).expect("our types serialize to JSON");
        value.sort_all_objects();
        Self::of_bytes(value.to_string().as_bytes())
    }

    /// Digests a value by its JSON as its types write it: for types that have one order of their own.
    /// Nothing of the text is kept, however long it is.
    #[must_use]
    pub fn streamed<T: Serialize>(value: &T) -> Self {
        let mut writer = BufWriter::with_capacity(PIECE, Hashing(Sha256::new()));
        serde_json::to_writer(&mut writer, value).expect("our types serialize to JSON");
        writer.flush().expect("hashing does not fail");
        let (hashing, _) = writer.into_parts();
        Self(hex::encode(hashing.0.finalize()))
    }

    /// The first 12 digits: what stands in names and tags.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So much of a text is hashed at a time, in bytes: what a processor has near.
const PIECE: usize = 16 * 1024;

/// Hashes what is written to it.
struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_order_does_not_matter_but_values_do() {
        let a = Digest::of(&serde_json::json!({"a": 1, "b": {"x": 1, "y": 2}}));
        let b = Digest::of(&serde_json::json!({"b": {"y": 2, "x": 1}, "a": 1}));
        let c = Digest::of(&serde_json::json!({"b": {"y": 2, "x": 1}, "a": 2}));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(a.short().len(), 12);
    }

    #[test]
    fn a_text_that_is_hashed_in_pieces_has_the_digest_of_the_whole() {
        for length in [0, 1, PIECE - 1, PIECE, 3 * PIECE + 7] {
            let value = serde_json::json!({"b": "x".repeat(length), "a": [1, null, "ä\n"]});
            let text = serde_json::to_vec(&value).expect("JSON");
            assert_eq!(
                Digest::streamed(&value),
                Digest::of_bytes(&text),
                "{length}"
            );
        }
    }

    #[test]
    fn what_is_read_is_a_whole_digest() {
        let digest = Digest::of_bytes(b"");
        let text = serde_json::to_string(&digest).expect("JSON");
        assert_eq!(serde_json::from_str::<Digest>(&text).expect("read"), digest);
        for bad in [
            "\"\"",
            "\"abc\"",
            &text.to_uppercase(),
            &text.replace('e', "ä"),
        ] {
            assert!(serde_json::from_str::<Digest>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_match_the_published_vector() {
        // FIPS 180-4's example for "abc".
        assert_eq!(
            Digest::of_bytes(b"abc").as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
