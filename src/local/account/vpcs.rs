//! VPCs: names for networks that nothing here separates.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Account;
use crate::local::catalog;
use crate::local::exchange::{Answer, Millis, Refusal, Request, timestamp};
use crate::local::validate;

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: String,
    /// Its name, unique.
    pub name: String,
    /// What people read about it.
    pub description: String,
    /// Its region's slug.
    pub region: String,
    /// Its addresses.
    pub ip_range: String,
    /// Whether droplets that name no VPC are in it.
    pub default: bool,
    /// When it was made.
    pub created_at: Millis,
}

impl Vpc {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "urn": format!("do:vpc:{}", self.id),
            "name": self.name,
            "description": self.description,
            "region": self.region,
            "ip_range": self.ip_range,
            "default": self.default,
            "created_at": timestamp(self.created_at),
        })
    }
}

impl Account {
    /// The default VPC of a region, made at its first use.
    pub(super) fn default_vpc(&mut self, region: &str, now: Millis) -> String {
        let found = self
            .vpcs
            .values()
            .find(|vpc| vpc.default && vpc.region == region);
        match found {
            Some(vpc) => vpc.id.clone(),
            None => self.add_vpc(format!("default-{region}"), region, None, true, now),
        }
    }

    fn add_vpc(
        &mut self,
        name: String,
        region: &str,
        ip_range: Option<String>,
        default: bool,
        now: Millis,
    ) -> String {
        let id = self.uuid();
        let vpc = Vpc {
            id: id.clone(),
            name,
            description: String::new(),
            region: region.to_owned(),
            ip_range: ip_range.unwrap_or_else(|| "10.108.0.0/16".to_owned()),
            default,
            created_at: now,
        };
        self.vpcs.insert(id.clone(), vpc);
        id
    }

    fn vpc(&self, id: &str) -> Result<&Vpc, Refusal> {
        self.vpcs.get(id).ok_or_else(Refusal::not_found)
    }

    pub(super) fn list_vpcs(&self, request: &Request) -> Result<Answer, Refusal> {
        Self::page(request, "vpcs", self.vpcs.values().map(Vpc::json).collect())
    }

    pub(super) fn show_vpc(&self, id: &str) -> Result<Answer, Refusal> {
        Ok(Answer::ok(json!({ "vpc": self.vpc(id)?.json() })))
    }

    pub(super) fn create_vpc(
        &mut self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let name = validate::required_text(body, "name")?;
        let region = validate::required_text(body, "region")?;
        if !catalog::find_region(region).is_some_and(|region| region.available) {
            return Err(Refusal::unprocessable("Region is not available"));
        }
        let ip_range = validate::optional_text(body, "ip_range")?;
        if let Some(range) = ip_range {
            let fits = range
                .parse::<ipnet::Ipv4Net>()
                .is_ok_and(|net| (16..=28).contains(&net.prefix_len()));
            if !fits {
                return Err(Refusal::unprocessable("invalid ip_range"));
            }
        }
        if self.vpcs.values().any(|vpc| vpc.name == name) {
            return Err(Refusal::conflict("a VPC with the same name already exists"));
        }
        let id = self.add_vpc(
            name.to_owned(),
            region,
            ip_range.map(str::to_owned),
            false,
            now,
        );
        Ok(Answer::new(201, json!({ "vpc": self.vpcs[&id].json() })))
    }

    pub(super) fn update_vpc(
        &mut self,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<Answer, Refusal> {
        let name = validate::required_text(body, "name")?.to_owned();
        let description = validate::optional_text(body, "description")?.map(str::to_owned);
        let vpc = self.vpcs.get_mut(id).ok_or_else(Refusal::not_found)?;
        vpc.name = name;
        if let Some(description) = description {
            vpc.description = description;
        }
        Ok(Answer::ok(json!({ "vpc": vpc.json() })))
    }

    pub(super) fn delete_vpc(&mut self, id: &str, now: Millis) -> Result<Answer, Refusal> {
        if self.vpc(id)?.default {
            return Err(Refusal::forbidden("Can not delete default VPCs"));
        }
        // A droplet is a member only once it shows its VPC.
        let has_members = self
            .droplets
            .values()
            .any(|droplet| droplet.vpc == id && droplet.vpc_at <= now);
        if has_members {
            return Err(Refusal::conflict("Can not delete VPC with members"));
        }
        self.vpcs.remove(id);
        Ok(Answer::empty())
    }

    pub(super) fn list_vpc_members(
        &self,
        request: &Request,
        id: &str,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        self.vpc(id)?;
        let all = self
            .droplets
            .values()
            .filter(|droplet| droplet.vpc == id && droplet.vpc_at <= now)
            .map(|droplet| {
                json!({
                    "urn": format!("do:droplet:{}", droplet.id),
                    "name": droplet.name,
                    "created_at": timestamp(droplet.created_at),
                })
            })
            .collect();
        Self::page(request, "members", all)
    }
}
