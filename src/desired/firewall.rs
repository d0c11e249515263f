//! The environment's firewall: the manifest's rules on top of the default ones, normalised.

use std::collections::{BTreeMap, BTreeSet};

use super::names;
use super::spec::FirewallSpec;
use crate::live::{FirewallRule, ownership};
use crate::manifest::Manifest;
use crate::manifest::schema::{self, Firewall, Protocol};

pub(super) fn firewall(manifest: &Manifest) -> Option<FirewallSpec> {
    let rules = match &manifest.firewall {
        Firewall::Word(schema::FirewallWord::None) => return None,
        Firewall::Rules(rules) => rules,
    };
    let tag = ownership::environment_tag(&manifest.project, &manifest.environment);
    let mut inbound = vec![rule("tcp", "22", networks(&manifest.ssh.allow_from), &[])];
    for protocol in ["tcp", "udp", "icmp"] {
        inbound.push(rule(protocol, "0", Vec::new(), std::slice::from_ref(&tag)));
    }
    for added in &rules.inbound {
        let (protocol, ports) = match (added.protocol, added.ports.as_deref()) {
            (Protocol::Icmp, _) => ("icmp", "0"),
            (Protocol::Tcp, ports) => ("tcp", ports.unwrap_or("0")),
            (Protocol::Udp, ports) => ("udp", ports.unwrap_or("0")),
        };
        let ports = if ports == "all" { "0" } else { ports };
        inbound.push(rule(protocol, ports, networks(&added.from), &[]));
    }
    let everywhere = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let outbound = ["tcp", "udp", "icmp"]
        .map(|protocol| rule(protocol, "0", everywhere.clone(), &[]))
        .to_vec();
    Some(FirewallSpec {
        name: names::environment(&manifest.project, &manifest.environment),
        inbound: merged(&inbound),
        outbound: merged(&outbound),
        tags: vec![tag],
    })
}

fn networks(networks: &[ipnet::IpNet]) -> Vec<String> {
    // Bits beyond the prefix mean nothing; the API may drop them, which would look like a change.
    networks.iter().map(|net| net.trunc().to_string()).collect()
}

fn rule(protocol: &str, ports: &str, addresses: Vec<String>, tags: &[String]) -> FirewallRule {
    FirewallRule {
        protocol: protocol.to_owned(),
        ports: ports.to_owned(),
        addresses,
        tags: tags.to_vec(),
    }
}

/// One rule for each protocol and ports, peers sorted: rules are a set, and several of one kind
/// add up, so equal meaning becomes equal value.
pub(crate) fn merged(rules: &[FirewallRule]) -> Vec<FirewallRule> {
    type Peers<'a> = (BTreeSet<&'a String>, BTreeSet<&'a String>);
    let mut by_kind: BTreeMap<(&str, &str), Peers<'_>> = BTreeMap::new();
    for FirewallRule {
        protocol,
        ports,
        addresses,
        tags,
    } in rules
    {
        let peers = by_kind.entry((protocol, ports)).or_default();
        peers.0.extend(addresses);
        peers.1.extend(tags);
    }
    by_kind
        .into_iter()
        .map(|((protocol, ports), (addresses, tags))| FirewallRule {
            protocol: protocol.to_owned(),
            ports: ports.to_owned(),
            addresses: addresses.into_iter().cloned().collect(),
            tags: tags.into_iter().cloned().collect(),
        })
        .collect()
}
