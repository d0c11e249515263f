//! Tags, and what bears them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Account;
use super::routes::keyed;
use crate::local::exchange::{Answer, Millis, Refusal, Request};
use crate::local::validate;

/// A tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// When it was made.
    pub created_at: Millis,
    /// Type and id of resources that were tagged though they do not exist: they are counted all
    /// the same.
    pub phantoms: BTreeSet<(String, String)>,
}

/// What may bear tags, in the order answers have them.
const KINDS: [(&str, &str); 4] = [
    ("droplet", "droplets"),
    ("image", "images"),
    ("volume", "volumes"),
    ("volume_snapshot", "volume_snapshots"),
];

/// Tag errors have a shape of their own.
fn invalid(name: &str) -> Answer {
    let error = format!(
        "tag name {name:?} is invalid: only letters, numbers, colons, dashes and underscores are allowed"
    );
    Answer::new(
        400,
        json!({
            "error": error,
            "messages": null,
            "root_causes": [format!("rpc error: code = InvalidArgument desc = {error}")],
        }),
    )
}

impl Account {
    pub(super) fn list_tags(&self, request: &Request) -> Result<Answer, Refusal> {
        let all = self.tags.keys().map(|name| self.tag_json(name)).collect();
        Self::page(request, "tags", all)
    }

    pub(super) fn create_tag(
        &mut self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let name = validate::required_text(body, "name")?;
        if !validate::is_tag(name) {
            return Ok(invalid(name));
        }
        self.make_tags(&[name.to_owned()], now);
        Ok(Answer::new(201, json!({ "tag": self.tag_json(name) })))
    }

    pub(super) fn show_tag(&self, name: &str) -> Result<Answer, Refusal> {
        if !self.tags.contains_key(name) {
            return Err(Refusal::not_found());
        }
        Ok(Answer::ok(json!({ "tag": self.tag_json(name) })))
    }

    pub(super) fn delete_tag(&mut self, name: &str) -> Result<Answer, Refusal> {
        self.tags.remove(name).ok_or_else(Refusal::not_found)?;
        for (kind, _) in KINDS {
            for id in self.bearers(kind, name) {
                if let Some(tags) = self.tags_of(kind, &id) {
                    tags.retain(|tag| tag != name);
                }
            }
        }
        for firewall in self.firewalls.values_mut() {
            firewall.tags.retain(|tag| tag != name);
        }
        Ok(Answer::empty())
    }

    /// Tags or untags. 204 proves nothing: ids that do not exist are taken, and counted.
    pub(super) fn tag_resources(
        &mut self,
        name: &str,
        body: &Map<String, Value>,
        tag: bool,
    ) -> Result<Answer, Refusal> {
        if !self.tags.contains_key(name) {
            return Err(Refusal::not_found());
        }
        let mut resources = Vec::new();
        for resource in validate::list(body, "resources")? {
            let resource = resource
                .as_object()
                .ok_or_else(|| Refusal::unprocessable("resources must be a list of objects"))?;
            let kind = validate::required_text(resource, "resource_type")?;
            let id = match resource.get("resource_id") {
                Some(Value::Number(number)) => number.to_string(),
                _ => validate::required_text(resource, "resource_id")?.to_owned(),
            };
            resources.push((kind.to_owned(), id));
        }
        for (kind, id) in resources {
            let known = KINDS.iter().any(|(name, _)| *name == kind);
            if let Some(tags) = self.tags_of(&kind, &id) {
                tags.retain(|found| found != name);
                if tag {
                    tags.push(name.to_owned());
                    tags.sort();
                }
            } else if known && let Some(found) = self.tags.get_mut(name) {
                if tag {
                    found.phantoms.insert((kind, id));
                } else {
                    found.phantoms.remove(&(kind, id));
                }
            }
        }
        Ok(Answer::empty())
    }

    /// Makes tags that are not there yet.
    pub(super) fn make_tags(&mut self, names: &[String], now: Millis) {
        for name in names {
            self.tags.entry(name.clone()).or_insert_with(|| Tag {
                created_at: now,
                phantoms: BTreeSet::new(),
            });
        }
    }

    /// The tags of a resource, if it exists and can bear any.
    fn tags_of(&mut self, kind: &str, id: &str) -> Option<&mut Vec<String>> {
        match kind {
            "droplet" => {
                let droplet = self.droplets.get_mut(&id.parse().ok()?)?;
                // A droplet that is being destroyed has lost its tags for good.
                (!droplet.going).then_some(&mut droplet.tags)
            }
            "image" => Some(&mut self.images.get_mut(&id.parse().ok()?)?.tags),
            "volume" => Some(&mut self.volumes.get_mut(id)?.tags),
            "volume_snapshot" => Some(&mut self.volume_snapshots.get_mut(id)?.tags),
            _ => None,
        }
    }

    /// Ids of a kind's resources that bear a tag.
    fn bearers(&self, kind: &str, name: &str) -> Vec<String> {
        let bears = |tags: &[String]| tags.iter().any(|tag| tag == name);
        match kind {
            "droplet" => self
                .droplets
                .values()
                .filter(|droplet| bears(&droplet.tags))
                .map(|droplet| droplet.id.to_string())
                .collect(),
            "image" => self
                .images
                .values()
                .filter(|image| bears(&image.tags))
                .map(|image| image.id.to_string())
                .collect(),
            "volume" => self
                .volumes
                .values()
                .filter(|volume| bears(&volume.tags))
                .map(|volume| volume.id.clone())
                .collect(),
            _ => self
                .volume_snapshots
                .values()
                .filter(|snapshot| bears(&snapshot.tags))
                .map(|snapshot| snapshot.id.clone())
                .collect(),
        }
    }

    fn tag_json(&self, name: &str) -> Value {
        let mut resources = Map::new();
        let mut total = 0;
        let mut last = None;
        for (kind, plural) in KINDS {
            let bearers = self.bearers(kind, name);
            let phantoms = self.tags.get(name).map_or(0, |tag| {
                tag.phantoms.iter().filter(|(of, _)| of == kind).count()
            });
            let count = bearers.len() + phantoms;
            total += count;
            let mut part = Map::from_iter([("count".to_owned(), json!(count))]);
            if let Some(id) = bearers.last() {
                let path = match kind {
                    "volume_snapshot" => "snapshots",
                    _ => plural,
                };
                let uri = format!("https://api.digitalocean.com/v2/{path}/{id}");
                part.insert("last_tagged_uri".to_owned(), json!(uri));
                last = Some(uri);
            }
            resources.insert(plural.to_owned(), Value::Object(part));
        }
        resources.insert("databases".to_owned(), keyed("count", json!(0)));
        resources.insert("count".to_owned(), json!(total));
        if let Some(uri) = last {
            resources.insert("last_tagged_uri".to_owned(), json!(uri));
        }
        json!({ "name": name, "resources": resources })
    }
}
