//! What an account holds, by kind and name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// How many things of each kind and name there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Census(pub BTreeMap<(&'static str, String), i64>);

/// Kinds that cost money or bear a name of ours; tags are told apart.
const KINDS: [(&str, &str); 6] = [
    ("droplets", "droplet"),
    ("volumes", "volume"),
    ("images", "snapshot"),
    ("volume_snapshots", "volume snapshot"),
    ("firewalls", "firewall"),
    ("keys", "key"),
];

impl Census {
    /// Of an account as the local cloud writes it.
    pub fn of(account: &Value) -> Self {
        let mut census = BTreeMap::new();
        for (list, kind) in KINDS {
            for (_, thing) in account[list].as_object().expect(list) {
                let name = thing["name"].as_str().unwrap_or_default();
                *census.entry((kind, stem(name))).or_default() += 1;
            }
        }
        Self(census)
    }

    /// What has come and gone since another, in words; tags are not among it.
    pub fn since(&self, before: &Self) -> String {
        let mut kinds: BTreeMap<(&str, i64), i64> = BTreeMap::new();
        let keys = self.0.keys().chain(before.0.keys());
        let keys: std::collections::BTreeSet<_> = keys.collect();
        for key in keys {
            let now = self.0.get(key).copied().unwrap_or(0);
            let then = before.0.get(key).copied().unwrap_or(0);
            if now != then {
                *kinds.entry((key.0, (now - then).signum())).or_default() += (now - then).abs();
            }
        }
        let mut words = String::new();
        for ((kind, sign), count) in kinds {
            let sign = if sign > 0 { "+" } else { "-" };
            let comma = if words.is_empty() { "" } else { ", " };
            let _ = write!(words, "{comma}{sign}{count} {kind}");
        }
        words
    }

    /// The same, with one snapshot of a volume where there are several.
    pub fn with_one_snapshot(&self) -> Self {
        let mut census = self.clone();
        for ((kind, _), count) in &mut census.0 {
            if *kind == "volume snapshot" {
                *count = 1;
            }
        }
        census
    }

    /// Names that are there more than once, where one of that name is all there may be.
    pub fn doubled(&self) -> Vec<String> {
        let many = |(kind, _): &&(&'static str, String)| !kind.contains("snapshot");
        self.0
            .iter()
            .filter(|(key, count)| many(key) && **count > 1)
            .map(|((kind, name), count)| format!("{count} of {kind} {name}"))
            .collect()
    }
}

/// A name without what differs from run to run: digests and marks at its end.
fn stem(name: &str) -> String {
    let is_random = |part: &&str| {
        part.len() == 12
            || part.len() >= 6
                && part.chars().any(|c| c.is_ascii_digit())
                && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let parts = name.split('-').filter(|part| !is_random(part));
    parts.collect::<Vec<_>>().join("-")
}

/// Names of tags and of resources of an account, all of it: empty when nothing is left.
pub fn everything(account: &Value) -> Vec<String> {
    let mut all: Vec<String> = Census::of(account)
        .0
        .into_iter()
        .map(|((kind, name), count)| format!("{count} {kind} {name}"))
        .collect();
    let tags = account["tags"].as_object().expect("tags");
    // Tags that a manifest names are its author's, and may be borne by things of others.
    let ours = tags.keys().filter(|name| name.starts_with("dewpoint"));
    all.extend(ours.map(|name| format!("tag {name}")));
    all
}

/// Full names of what costs money and of firewalls.
pub fn names(account: &Value) -> Vec<String> {
    ["droplets", "volumes", "images", "firewalls"]
        .iter()
        .flat_map(|list| account[list].as_object().expect("a list").values())
        .filter_map(|thing| thing["name"].as_str())
        .map(str::to_owned)
        .collect()
}
