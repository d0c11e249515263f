//! Checks of requests in the API's own words.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::exchange::Refusal;

type Object = Map<String, Value>;

/// Most names in one create.
pub const NAMES_AT_ONCE: usize = 10;
/// Most bytes of user data.
pub const USER_DATA_BYTES: usize = 64 * 1024;
/// Most volumes of a droplet.
pub const VOLUMES_PER_DROPLET: usize = 15;
/// Most snapshots of a volume.
pub const SNAPSHOTS_PER_VOLUME: usize = 25;

/// A text that must be there.
///
/// # Errors
/// When it is missing, empty or no text.
pub fn required_text<'a>(body: &'a Object, key: &str) -> Result<&'a str, Refusal> {
    match body.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None | Some(Value::Null) => Err(Refusal::unprocessable(format!("{key} is required"))),
        Some(Value::String(_)) => Err(Refusal::unprocessable(format!("{key} can't be blank"))),
        Some(_) => Err(wrong_type(key, "a string")),
    }
}

/// A text that may be left out.
///
/// # Errors
/// When it is there and no text.
pub fn optional_text<'a>(body: &'a Object, key: &str) -> Result<Option<&'a str>, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(key, "a string")),
    }
}

/// A boolean that may be left out.
///
/// # Errors
/// When it is there and no boolean.
pub fn optional_flag(body: &Object, key: &str) -> Result<Option<bool>, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(wrong_type(key, "a boolean")),
    }
}

/// A whole number that must be there; a text of digits counts, as it does on DigitalOcean.
///
/// # Errors
/// When it is missing or no such number.
pub fn required_number(body: &Object, key: &str) -> Result<u64, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Err(Refusal::unprocessable(format!("{key} is required"))),
        Some(value) => number(value).ok_or_else(|| wrong_type(key, "an integer")),
    }
}

/// A number, or a text of digits.
#[must_use]
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

/// A list that may be left out.
///
/// # Errors
/// When it is there and no list.
pub fn list<'a>(body: &'a Object, key: &str) -> Result<&'a [Value], Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(wrong_type(key, "a list")),
    }
}

/// A list of texts that may be left out.
///
/// # Errors
/// When it is there and no list of texts.
pub fn texts(body: &Object, key: &str) -> Result<Vec<String>, Refusal> {
    list(body, key)?
        .iter()
        .map(|item| {
            item.as_str()
                .map(str::to_owned)
                .ok_or_else(|| wrong_type(key, "a list of strings"))
        })
        .collect()
}

/// A list of whole numbers that may be left out.
///
/// # Errors
/// When it is there and no list of whole numbers.
pub fn numbers(body: &Object, key: &str) -> Result<Vec<u64>, Refusal> {
    list(body, key)?
        .iter()
        .map(|item| number(item).ok_or_else(|| wrong_type(key, "a list of integers")))
        .collect()
}

fn wrong_type(key: &str, wanted: &str) -> Refusal {
    Refusal::unprocessable(format!("{key} must be {wanted}"))
}

/// The tags of a create, sorted and without repeats.
///
/// # Errors
/// When one is no tag.
pub fn tags(body: &Object) -> Result<Vec<String>, Refusal> {
    let mut tags = texts(body, "tags")?;
    for tag in &tags {
        if !is_tag(tag) {
            return Err(Refusal::unprocessable(format!(
                "tag {tag} is invalid: only letters, numbers, colons, dashes and underscores are allowed"
            )));
        }
    }
    tags.sort();
    tags.dedup();
    Ok(tags)
}

/// Whether a text may be a tag.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':'))
}

/// Checks a droplet's name.
///
/// # Errors
/// When it cannot be a host name.
pub fn droplet_name(name: &str) -> Result<(), Refusal> {
    let fits = (1..=255).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        && name
            .bytes()
            .last()
            .is_some_and(|b| b.is_ascii_alphanumeric());
    if fits {
        Ok(())
    } else {
        Err(Refusal::unprocessable(
            "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)",
        ))
    }
}

/// Checks a volume's name.
///
/// # Errors
/// When it is too long or has other characters.
pub fn volume_name(name: &str) -> Result<(), Refusal> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(Refusal::unprocessable(
            "invalid volume name: it must start with a lowercase letter, be at most 64 characters long and have only lowercase letters, numbers and dashes",
        ))
    }
}

/// Checks a firewall's name.
///
/// # Errors
/// When it is too long or has other characters.
pub fn firewall_name(name: &str) -> Result<(), Refusal> {
    let fits = (2..=255).contains(&name.len())
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if fits {
        Ok(())
    } else {
        Err(Refusal::unprocessable("invalid name"))
    }
}

/// Checks an address or network of a firewall rule.
///
/// # Errors
/// When it is neither.
pub fn address(text: &str) -> Result<(), Refusal> {
    if text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok() {
        Ok(())
    } else {
        Err(Refusal::unprocessable(format!("invalid address: {text}")))
    }
}

/// The ports of a firewall rule as they are kept: `0` for all.
///
/// # Errors
/// When they are no port and no range.
pub fn ports(protocol: &str, value: Option<&Value>) -> Result<String, Refusal> {
    let wrong = || Refusal::unprocessable("invalid port range");
    let text = match value {
        None | Some(Value::Null) if protocol == "icmp" => return Ok("0".to_owned()),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err(wrong()),
    };
    if protocol == "icmp" || matches!(text.as_str(), "all" | "0") {
        return Ok("0".to_owned());
    }
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(wrong()),
    };
    match text.split_once('-') {
        None => port(&text).map(|_| text.clone()),
        Some((first, last)) if port(first)? <= port(last)? => Ok(text.clone()),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_keep_to_their_alphabets() {
        assert!(droplet_name("eval-main-runner-3.12").is_ok());
        for wrong in ["", "a_b", "a=b", "a-", "ä"] {
            assert!(droplet_name(wrong).is_err(), "{wrong}");
        }
        assert!(volume_name("models-2").is_ok());
        for wrong in ["", "2models", "Models", "xfs_example", &"a".repeat(65)] {
            assert!(volume_name(wrong).is_err(), "{wrong}");
        }
        assert!(is_tag("dewpoint:eval:Main_1"));
        for wrong in ["", "a.b", "a=b", "a b", "a/b"] {
            assert!(!is_tag(wrong), "{wrong}");
        }
        assert!(firewall_name("a:b").is_err());
    }

    #[test]
    fn ports_are_kept_as_the_service_keeps_them() {
        let kept = |protocol: &str, value: Value| ports(protocol, Some(&value)).ok();
        assert_eq!(kept("tcp", json!("all")).as_deref(), Some("0"));
        assert_eq!(kept("tcp", json!(22)).as_deref(), Some("22"));
        assert_eq!(
            kept("tcp", json!("8000-9000")).as_deref(),
            Some("8000-9000")
        );
        assert_eq!(kept("tcp", json!("9000-8000")), None);
        assert_eq!(kept("udp", json!("70000")), None);
        assert_eq!(ports("icmp", None).ok().as_deref(), Some("0"));
        assert!(ports("tcp", None).is_err());
    }
}
