//! Firewalls: unique by name, without tags of their own.

use serde::Deserialize;

use super::client::Client;
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::volumes::is_in_doubt;
use super::wire;
use crate::live::{FirewallRule, LiveFirewall};
use crate::plan::step::FirewallSpec;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Firewall {
    id: String,
    name: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    inbound_rules: Vec<Inbound>,
    #[serde(default, deserialize_with = "wire::or_default")]
    outbound_rules: Vec<Outbound>,
    #[serde(default, deserialize_with = "wire::or_default")]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "wire::or_default")]
    droplet_ids: Vec<u64>,
    #[serde(default, deserialize_with = "wire::unix")]
    pub created_at: i64,
}

#[derive(Debug, Clone, Deserialize)]
struct Inbound {
    protocol: String,
    #[serde(default)]
    ports: Ports,
    #[serde(default, deserialize_with = "wire::or_default")]
    sources: Peers,
}

#[derive(Debug, Clone, Deserialize)]
struct Outbound {
    protocol: String,
    #[serde(default)]
    ports: Ports,
    #[serde(default, deserialize_with = "wire::or_default")]
    destinations: Peers,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Peers {
    #[serde(default, deserialize_with = "wire::or_default")]
    addresses: Vec<String>,
    #[serde(default, deserialize_with = "wire::or_default")]
    tags: Vec<String>,
}

/// Documented as text; a number is understood.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
enum Ports {
    Text(String),
    Number(u32),
    #[default]
    None,
}

/// One form for rules of one meaning: sets are sorted, `all` and nothing are `0`.
fn rule(protocol: String, ports: Ports, mut peers: Peers) -> FirewallRule {
    let ports = match ports {
        _ if protocol == "icmp" => "0".to_owned(),
        Ports::Text(text) if text == "all" || text.is_empty() => "0".to_owned(),
        Ports::Text(text) => text,
        Ports::Number(number) => number.to_string(),
        Ports::None => "0".to_owned(),
    };
    for list in [&mut peers.addresses, &mut peers.tags] {
        list.sort();
        list.dedup();
    }
    FirewallRule {
        protocol,
        ports,
        addresses: peers.addresses,
        tags: peers.tags,
    }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items.dedup();
    items
}

impl Firewall {
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl From<Firewall> for LiveFirewall {
    fn from(firewall: Firewall) -> Self {
        let inbound = firewall.inbound_rules.into_iter();
        let outbound = firewall.outbound_rules.into_iter();
        Self {
            id: firewall.id,
            name: firewall.name,
            inbound: sorted(inbound.map(|r| rule(r.protocol, r.ports, r.sources))),
            outbound: sorted(outbound.map(|r| rule(r.protocol, r.ports, r.destinations))),
            tags: sorted(firewall.tags.into_iter()),
            droplet_ids: sorted(firewall.droplet_ids.into_iter()),
        }
    }
}

impl Client {
    pub(super) async fn firewalls(&self) -> Result<Vec<Firewall>, CloudError> {
        self.list(&Call::Firewalls, "firewalls").await
    }

    /// Makes a firewall. One of exactly that name is ours, and is brought to what is wanted.
    ///
    /// # Errors
    /// When the API refuses: its tags must exist beforehand.
    pub async fn create_firewall(&self, spec: &FirewallSpec) -> Result<LiveFirewall, CloudError> {
        let call = Call::CreateFirewall(spec.clone());
        const CREATE: &str = "POST /v2/firewalls";
        let mut patience = Patience::new(self, self.timing().fault_deadline);
        // Once an answer was lost, no later error says that nothing was made.
        let mut lost = false;
        let told = |error: CloudError, lost: bool| {
            if lost {
                error.after_lost_answer(CREATE)
            } else {
                error
            }
        };
        loop {
            let error = match self.read::<Firewall>(&call, "firewall").await {
                Ok(firewall) => return Ok(firewall.into()),
                Err(error) if error.is_conflict() || is_in_doubt(&error) => error,
                Err(error) => return Err(told(error, lost)),
            };
            lost |= !error.is_conflict();
            let there = self.firewalls().await;
            let there = there
                .map_err(|error| told(error, lost))?
                .into_iter()
                .find(|firewall| firewall.name == spec.name);
            if let Some(firewall) = there {
                let updated = self.update_firewall(&firewall.id, spec).await;
                return updated.map_err(|error| told(error, lost));
            }
            // Names are unique, so asking again cannot make two.
            if !patience.pause(CREATE, &error.to_string()).await {
                return Err(told(error, lost));
            }
        }
    }

    /// The firewall of exactly that name.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub async fn find_firewall(&self, name: &str) -> Result<Option<LiveFirewall>, CloudError> {
        let found = self.firewalls().await?;
        let found = found.into_iter().find(|firewall| firewall.name == name);
        Ok(found.map(LiveFirewall::from))
    }

    /// Replaces a firewall's rules and tags.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn update_firewall(
        &self,
        id: &str,
        spec: &FirewallSpec,
    ) -> Result<LiveFirewall, CloudError> {
        let call = Call::UpdateFirewall {
            id: id.to_owned(),
            spec: spec.clone(),
        };
        Ok(self.read::<Firewall>(&call, "firewall").await?.into())
    }

    /// Deletes a firewall. One that is gone already is a success.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn delete_firewall(&self, id: &str) -> Result<(), CloudError> {
        match self.call(&Call::DeleteFirewall { id: id.to_owned() }).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
