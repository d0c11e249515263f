//! Firewalls: checked and listed as on DigitalOcean, enforced by nothing here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Account;
use crate::local::exchange::{Answer, Millis, Refusal, Request, timestamp};
use crate::local::latency::Wait;
use crate::local::validate;

/// Most droplets a firewall can name.
const DROPLETS: usize = 10;
/// Most tags.
const TAGS: usize = 5;
/// Most rules.
const RULES: usize = 50;
/// Most sources or destinations of a rule.
const PEERS: usize = 1_000;

/// A firewall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// Its id.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// Rules for what may come in, as answers show them.
    pub inbound: Vec<Value>,
    /// Rules for what may go out.
    pub outbound: Vec<Value>,
    /// Droplets it covers by id.
    pub droplet_ids: Vec<u64>,
    /// Tags of the droplets it covers.
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Millis,
    /// When it last changed: what it covers is covered a while later.
    pub changed_at: Millis,
    /// Droplets that are gone, and when their ids leave.
    pub leaving: BTreeMap<u64, Millis>,
}

/// What a request says a firewall shall be.
struct Wanted {
    name: String,
    inbound: Vec<Value>,
    outbound: Vec<Value>,
    droplet_ids: Vec<u64>,
    tags: Vec<String>,
}

impl Account {
    fn firewall_json(&self, firewall: &Firewall, now: Millis) -> Value {
        let waiting: Vec<Value> = self
            .droplets
            .values()
            .filter(|droplet| covers(firewall, droplet.id, &droplet.tags))
            .filter(|droplet| {
                let since = firewall.changed_at.max(droplet.created_at);
                now < since + self.wait(Wait::Firewall)
            })
            .map(|droplet| {
                json!({ "droplet_id": droplet.id, "removing": false, "status": "waiting" })
            })
            .collect();
        json!({
            "id": firewall.id,
            "name": firewall.name,
            "status": if waiting.is_empty() { "succeeded" } else { "waiting" },
            "inbound_rules": firewall.inbound,
            "outbound_rules": firewall.outbound,
            "droplet_ids": firewall.droplet_ids,
            "tags": firewall.tags,
            "created_at": timestamp(firewall.created_at),
            "pending_changes": waiting,
        })
    }

    pub(super) fn list_firewalls(&self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        let all = self
            .firewalls
            .values()
            .map(|firewall| self.firewall_json(firewall, now))
            .collect();
        Self::page(request, "firewalls", all)
    }

    pub(super) fn list_droplet_firewalls(
        &self,
        request: &Request,
        droplet: u64,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let tags = self
            .droplets
            .get(&droplet)
            .map(|droplet| droplet.tags.clone())
            .unwrap_or_default();
        let all = self
            .firewalls
            .values()
            .filter(|firewall| covers(firewall, droplet, &tags))
            .map(|firewall| self.firewall_json(firewall, now))
            .collect();
        Self::page(request, "firewalls", all)
    }

    pub(super) fn show_firewall(&self, id: &str, now: Millis) -> Result<Answer, Refusal> {
        let firewall = self.firewalls.get(id).ok_or_else(unknown)?;
        Ok(Answer::ok(
            json!({ "firewall": self.firewall_json(firewall, now) }),
        ))
    }

    pub(super) fn create_firewall(
        &mut self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let wanted = self.check_firewall(body)?;
        if self
            .firewalls
            .values()
            .any(|found| found.name == wanted.name)
        {
            return Err(Refusal::conflict("duplicate name"));
        }
        let firewall = Firewall {
            id: self.uuid(),
            name: wanted.name,
            inbound: wanted.inbound,
            outbound: wanted.outbound,
            droplet_ids: wanted.droplet_ids,
            tags: wanted.tags,
            created_at: now,
            changed_at: now,
            leaving: BTreeMap::new(),
        };
        let answer = json!({ "firewall": self.firewall_json(&firewall, now) });
        self.firewalls.insert(firewall.id.clone(), firewall);
        Ok(Answer::new(202, answer))
    }

    /// Replaces the whole: what the request leaves out is emptied.
    pub(super) fn replace_firewall(
        &mut self,
        id: &str,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        if !self.firewalls.contains_key(id) {
            return Err(unknown());
        }
        let wanted = self.check_firewall(body)?;
        let taken = self
            .firewalls
            .values()
            .any(|found| found.name == wanted.name && found.id != id);
        if taken {
            return Err(Refusal::conflict("duplicate name"));
        }
        if let Some(firewall) = self.firewalls.get_mut(id) {
            firewall.name = wanted.name;
            firewall.inbound = wanted.inbound;
            firewall.outbound = wanted.outbound;
            firewall.droplet_ids = wanted.droplet_ids;
            firewall.tags = wanted.tags;
            firewall.changed_at = now;
        }
        self.show_firewall(id, now)
    }

    pub(super) fn delete_firewall(&mut self, id: &str) -> Result<Answer, Refusal> {
        self.firewalls.remove(id).ok_or_else(unknown)?;
        Ok(Answer::empty())
    }

    /// Adds or takes away droplets, tags or rules.
    pub(super) fn change_firewall(
        &mut self,
        id: &str,
        part: &str,
        body: &Map<String, Value>,
        add: bool,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let mut changed = self.firewalls.get(id).ok_or_else(unknown)?.clone();
        match part {
            "droplets" => {
                let ids = validate::numbers(body, "droplet_ids")?;
                changed.droplet_ids.retain(|droplet| !ids.contains(droplet));
                if add {
                    self.check_droplets(&ids)?;
                    changed.droplet_ids.extend(ids);
                }
            }
            "tags" => {
                let tags = validate::texts(body, "tags")?;
                changed.tags.retain(|tag| !tags.contains(tag));
                if add {
                    self.check_tags(&tags)?;
                    changed.tags.extend(tags);
                }
            }
            _ => {
                let inbound = self.check_rules(body, "inbound_rules", "sources")?;
                let outbound = self.check_rules(body, "outbound_rules", "destinations")?;
                changed.inbound.retain(|rule| !inbound.contains(rule));
                changed.outbound.retain(|rule| !outbound.contains(rule));
                if add {
                    changed.inbound.extend(inbound);
                    changed.outbound.extend(outbound);
                }
            }
        }
        check_sizes(
            changed.droplet_ids.len(),
            changed.tags.len(),
            changed.inbound.len() + changed.outbound.len(),
        )?;
        changed.changed_at = now;
        self.firewalls.insert(id.to_owned(), changed);
        Ok(Answer::empty())
    }

    fn check_firewall(&self, body: &Map<String, Value>) -> Result<Wanted, Refusal> {
        let name = validate::required_text(body, "name")?;
        validate::firewall_name(name)?;
        let inbound = self.check_rules(body, "inbound_rules", "sources")?;
        let outbound = self.check_rules(body, "outbound_rules", "destinations")?;
        let droplet_ids = validate::numbers(body, "droplet_ids")?;
        let tags = validate::texts(body, "tags")?;
        check_sizes(
            droplet_ids.len(),
            tags.len(),
            inbound.len() + outbound.len(),
        )?;
        self.check_droplets(&droplet_ids)?;
        self.check_tags(&tags)?;
        Ok(Wanted {
            name: name.to_owned(),
            inbound,
            outbound,
            droplet_ids,
            tags,
        })
    }

    fn check_droplets(&self, ids: &[u64]) -> Result<(), Refusal> {
        if ids.iter().all(|id| self.droplets.contains_key(id)) {
            Ok(())
        } else {
            Err(Refusal::unprocessable("droplet does not exist"))
        }
    }

    fn check_tags(&self, tags: &[String]) -> Result<(), Refusal> {
        match tags.iter().find(|tag| !self.tags.contains_key(*tag)) {
            None => Ok(()),
            Some(tag) => Err(Refusal::unprocessable(format!("tag {tag} does not exist"))),
        }
    }

    /// Rules as answers show them.
    fn check_rules(
        &self,
        body: &Map<String, Value>,
        key: &str,
        side: &str,
    ) -> Result<Vec<Value>, Refusal> {
        let mut rules = Vec::new();
        for rule in validate::list(body, key)? {
            let rule = rule
                .as_object()
                .ok_or_else(|| Refusal::unprocessable(format!("{key} must be a list of rules")))?;
            let protocol = validate::required_text(rule, "protocol")?;
            if !matches!(protocol, "tcp" | "udp" | "icmp") {
                return Err(Refusal::unprocessable("you specified an invalid protocol"));
            }
            let ports = validate::ports(protocol, rule.get("ports"))?;
            let peers = rule
                .get(side)
                .and_then(Value::as_object)
                .ok_or_else(|| Refusal::unprocessable(format!("{side} is required")))?;
            rules.push(json!({
                "protocol": protocol,
                "ports": ports,
                side: self.check_peers(peers)?,
                "action": "allow",
            }));
        }
        Ok(rules)
    }

    fn check_peers(&self, peers: &Map<String, Value>) -> Result<Value, Refusal> {
        let mut shown = Map::new();
        let addresses = validate::texts(peers, "addresses")?;
        if peers.contains_key("addresses") && addresses.is_empty() {
            return Err(Refusal::unprocessable("invalid address"));
        }
        for address in &addresses {
            validate::address(address)?;
        }
        let droplets = validate::numbers(peers, "droplet_ids")?;
        self.check_droplets(&droplets)?;
        let tags = validate::texts(peers, "tags")?;
        self.check_tags(&tags)?;
        if addresses.len() + droplets.len() + tags.len() > PEERS {
            return Err(Refusal::unprocessable(format!(
                "must have at most {PEERS} sources per rule"
            )));
        }
        for (key, value, is_empty) in [
            ("addresses", json!(addresses), addresses.is_empty()),
            ("droplet_ids", json!(droplets), droplets.is_empty()),
            ("tags", json!(tags), tags.is_empty()),
        ] {
            if !is_empty {
                shown.insert(key.to_owned(), value);
            }
        }
        for key in ["load_balancer_uids", "kubernetes_ids"] {
            let ids = validate::texts(peers, key)?;
            if !ids.is_empty() {
                shown.insert(key.to_owned(), json!(ids));
            }
        }
        Ok(Value::Object(shown))
    }
}

fn check_sizes(droplets: usize, tags: usize, rules: usize) -> Result<(), Refusal> {
    let message = if rules == 0 {
        "must have at least one rule".to_owned()
    } else if rules > RULES {
        format!("must have at most {RULES} rules")
    } else if droplets > DROPLETS {
        format!("must have at most {DROPLETS} droplets")
    } else if tags > TAGS {
        format!("must have at most {TAGS} tags")
    } else {
        return Ok(());
    };
    Err(Refusal::unprocessable(message))
}

fn covers(firewall: &Firewall, droplet: u64, tags: &[String]) -> bool {
    firewall.droplet_ids.contains(&droplet) || firewall.tags.iter().any(|tag| tags.contains(tag))
}

fn unknown() -> Refusal {
    Refusal::missing("Firewall not found")
}
