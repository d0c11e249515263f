//! Addresses: how a resource is called in output, errors, `--target` and `--replace`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};

use crate::shared::Shared;

/// The name of a resource within an environment, such as `droplet.runner[2]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// The environment's SSH key: `ssh_key`.
    SshKey,
    /// The environment's firewall: `firewall`.
    Firewall,
    /// `volume.NAME`.
    Volume(Shared<str>),
    /// `snapshot.NAME`.
    Snapshot(Shared<str>),
    /// `droplet.NAME` or `droplet.NAME[INSTANCE]`.
    Droplet {
        /// Name in the manifest.
        // All steps of all droplets of that name hold it.
        name: Shared<str>,
        /// Which one of several, when `count` or `matrix` asks for several.
        instance: Option<Instance>,
    },
}

/// Which one of several droplets of one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instance {
    /// From `count`: 1 and up.
    Index(u32),
    /// From `matrix`: keys in declared order with their values.
    Matrix(Vec<(String, String)>),
}

impl Address {
    /// Whether a pattern names it: the address itself, an address with `*` for any characters, or
    /// the address of a droplet without an instance for all of its instances.
    #[must_use]
    pub fn matches(&self, pattern: &str) -> bool {
        if wildcard(pattern, &self.to_string()) {
            return true;
        }
        match self {
            Self::Droplet {
                name,
                instance: Some(_),
            } => wildcard(pattern, &format!("droplet.{name}")),
            // All instances of a droplet of which there is one.
            Self::Droplet { instance: None, .. } => pattern
                .strip_suffix("[*]")
                .is_some_and(|pattern| wildcard(pattern, &self.to_string())),
            _ => false,
        }
    }

    /// Which one of several droplets.
    #[must_use]
    pub const fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Droplet { instance, .. } => instance.as_ref(),
            _ => None,
        }
    }

    /// A volume.
    #[must_use]
    pub fn volume(name: &str) -> Self {
        Self::Volume(name.into())
    }

    /// A snapshot.
    #[must_use]
    pub fn snapshot(name: &str) -> Self {
        Self::Snapshot(name.into())
    }

    /// A droplet without an instance.
    #[must_use]
    pub fn droplet(name: &str) -> Self {
        Self::Droplet {
            name: name.into(),
            instance: None,
        }
    }
}

/// A matrix value as it stands in an address: commas would end it, so they are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

/// Splits at the commas that are not escaped, and takes the escapes away; `None` for a dangling one.
fn unescaped_parts(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => parts.push(String::new()),
            '\\' => parts.last_mut()?.push(chars.next()?),
            _ => parts.last_mut()?.push(c),
        }
    }
    Some(parts)
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Matrix(pairs) => {
                for (position, (key, value)) in pairs.iter().enumerate() {
                    if position > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{key}={}", escaped(value))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SshKey => f.write_str("ssh_key"),
            Self::Firewall => f.write_str("firewall"),
            Self::Volume(name) => write!(f, "volume.{name}"),
            Self::Snapshot(name) => write!(f, "snapshot.{name}"),
            Self::Droplet {
                name,
                instance: None,
            } => write!(f, "droplet.{name}"),
            Self::Droplet {
                name,
                instance: Some(instance),
            } => {
                write!(f, "droplet.{name}[{instance}]")
            }
        }
    }
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address")]
pub struct BadAddress(pub String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        match text {
            "ssh_key" => return Ok(Self::SshKey),
            "firewall" => return Ok(Self::Firewall),
            _ => {}
        }
        let (kind, rest) = text.split_once('.').ok_or_else(bad)?;
        let (name, instance) = match rest.strip_suffix(']').map(|body| body.split_once('[')) {
            Some(Some((name, instance))) => (name, Some(instance)),
            Some(None) => return Err(bad()),
            None => (rest, None),
        };
        let name_is_plain = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !name_is_plain {
            return Err(bad());
        }
        match (kind, instance) {
            ("volume", None) => Ok(Self::Volume(name.into())),
            ("snapshot", None) => Ok(Self::Snapshot(name.into())),
            ("droplet", None) => Ok(Self::droplet(name)),
            ("droplet", Some(instance)) => {
                let instance = if let Ok(index) = instance.parse() {
                    Instance::Index(index)
                } else {
                    let pairs = unescaped_parts(instance)
                        .ok_or_else(bad)?
                        .iter()
                        .map(|pair| {
                            pair.split_once('=')
                                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        })
                        .collect::<Option<Vec<_>>>();
                    Instance::Matrix(pairs.ok_or_else(bad)?)
                };
                Ok(Self::Droplet {
                    name: name.into(),
                    instance: Some(instance),
                })
            }
            _ => Err(bad()),
        }
    }
}

/// Whether a text fits a pattern in which `*` stands for any characters, none included.
#[must_use]
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "The name of a resource, such as droplet.runner[2]."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_through_text() {
        for text in [
            "ssh_key",
            "firewall",
            "volume.models",
            "snapshot.base",
            "droplet.runner",
            "droplet.runner[2]",
            "droplet.runner[python=3.12,os=deb]",
            r"droplet.runner[set=a\,b=c\\,os=deb]",
            "droplet.runner-3.12",
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "droplet",
            "droplet.",
            "volume.a[1]",
            "droplet.a]",
            "droplet.a[x]",
            r"droplet.a[x=1\]",
            "bucket.a",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text} must be refused");
        }
    }

    #[test]
    fn patterns_name_addresses() {
        let second = Address::Droplet {
            name: "runner".into(),
            instance: Some(Instance::Index(2)),
        };
        for pattern in [
            "droplet.runner[2]",
            "droplet.runner[*]",
            "droplet.runner",
            "droplet.*",
            "*",
        ] {
            assert!(second.matches(pattern), "{pattern}");
        }
        for pattern in ["droplet.run", "droplet.runner[3]", "volume.*", ""] {
            assert!(!second.matches(pattern), "{pattern}");
        }
        assert!(wildcard("s-*gb", "s-1vcpu-1gb"));
        assert!(!wildcard("s-*-1gb-*", "s-1vcpu-1gb"));
    }
}
