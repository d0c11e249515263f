//! The inventory: who the droplets of the environment are, told to each of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::Steps;
use crate::address::{Address, Instance};
use crate::execute::error::StepError;
use crate::execute::feed::Reporter;
use crate::guest;
use crate::plan::StepId;
use crate::plan::step::{DropletRef, InventoryDroplet};
use crate::shared::Shared;

/// What stands in `/run/dewpoint/inventory.json`.
#[derive(Debug, Serialize)]
struct Inventory<'a> {
    /// Of this form.
    version: u32,
    project: &'a str,
    environment: &'a str,
    droplets: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    address: String,
    name: &'a str,
    host: &'a str,
    public_ipv4: Option<Ipv4Addr>,
    private_ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    matrix: BTreeMap<&'a str, &'a str>,
}

impl Steps {
    /// Gathers names and addresses of all droplets that were made.
    pub(super) async fn gather(
        &self,
        step: StepId,
        droplets: &[InventoryDroplet],
    ) -> Result<String, StepError> {
        let mut entries = Vec::new();
        let mut hosts = String::new();
        for entry in droplets {
            // One that could not be made is not there.
            let Ok(mut known) = self.droplet(&entry.droplet) else {
                continue;
            };
            if known.address.is_none() {
                known.address = Some(self.address(&entry.droplet).await?);
            }
            let name = entry.droplet.name();
            if let Some(address) = known.private.or(known.address) {
                hosts.push_str(&format!("{address} {} {name}\n", entry.host));
            }
            let (index, matrix) = match &entry.address {
                Address::Droplet {
                    instance: Some(Instance::Index(index)),
                    ..
                } => (Some(*index), BTreeMap::new()),
                Address::Droplet {
                    instance: Some(Instance::Matrix(pairs)),
                    ..
                } => {
                    let pairs = pairs
                        .iter()
                        .map(|(key, value)| (key.as_str(), value.as_str()));
                    (None, pairs.collect())
                }
                _ => (None, BTreeMap::new()),
            };
            entries.push(Entry {
                address: entry.address.to_string(),
                name,
                host: &entry.host,
                public_ipv4: known.address,
                private_ipv4: known.private,
                index,
                matrix,
            });
        }
        let note = match entries.len() {
            1 => "1 droplet".to_owned(),
            count => format!("{count} droplets"),
        };
        let inventory = Inventory {
            version: 1,
            project: &self.project,
            environment: &self.environment,
            droplets: entries,
        };
        let mut text =
            serde_json::to_string_pretty(&inventory).expect("names and addresses are plain data");
        text.push('\n');
        self.outputs.gathered(step, text, hosts);
        Ok(note)
    }

    /// Tells a droplet who the others are, and stops what the manifest no longer has there.
    pub(super) async fn prepare(
        &self,
        droplet: &DropletRef,
        inventory: StepId,
        background: &[Shared<str>],
        reporter: &Reporter,
    ) -> Result<String, StepError> {
        let gathered = self.outputs.inventory(inventory);
        let (text, hosts) = gathered.as_deref().ok_or_else(|| StepError::NotMade {
            what: "the inventory".to_owned(),
        })?;
        let stopped = self
            .on_droplet(droplet, reporter, |session| {
                Box::pin(async move {
                    guest::write_inventory(&session, text, hosts).await?;
                    session.stop_background(background).await
                })
            })
            .await?;
        Ok(match stopped.is_empty() {
            true => String::new(),
            false => format!("stopped {}", stopped.join(", ")),
        })
    }
}
