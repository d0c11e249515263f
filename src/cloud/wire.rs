//! Reading JSON as the service writes it, rather than as it is documented: nulls, absent keys,
//! numbers with a fraction, times as text or number.

use serde::{Deserialize, Deserializer, de};

/// A null counts as the type's default.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A null counts as the type's default, an absent key (with `#[serde(default)]`) as nothing.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    or_default(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Fraction(f64),
    Text(String),
    Null(()),
}

/// A whole number that may be written with a fraction, as text, or null.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what the type holds"
)]
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(match Number::deserialize(deserializer)? {
        Number::Whole(number) => number,
        Number::Fraction(number) => number.max(0.0).ceil() as u64,
        Number::Text(text) => text.parse().map_err(de::Error::custom)?,
        Number::Null(()) => 0,
    })
}

/// Thousandths of a number that may have a fraction or be null.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what the type holds"
)]
pub(super) fn thousandths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number: Option<f64> = Option::deserialize(deserializer)?;
    Ok((number.unwrap_or_default().max(0.0) * 1_000.0).round() as u64)
}

/// Like [`whole`], for what is a `u32` on our side.
pub(super) fn whole32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    whole(deserializer).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(i64),
    Text(jiff::Timestamp),
    Null(()),
}

/// Seconds since 1970 of a time written in RFC 3339 or as a number; 0 for null.
pub(super) fn unix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(match Time::deserialize(deserializer)? {
        Time::Seconds(seconds) => seconds,
        Time::Text(time) => time.as_second(),
        Time::Null(()) => 0,
    })
}

/// Something of which only the slug matters.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Slug {
    #[serde(default, deserialize_with = "or_default")]
    pub slug: String,
}

/// Tags, sorted; an absent list means that the token may not see them.
pub(super) fn sorted_tags(
    tags: Option<Vec<String>>,
    what: impl FnOnce() -> String,
) -> Result<Vec<String>, super::CloudError> {
    let mut tags = tags.ok_or_else(|| super::CloudError::HiddenTags { what: what() })?;
    tags.sort();
    tags.dedup();
    Ok(tags)
}
