//! The firewall: rules change in place. It cannot bear tags, so it is ours by its exact name.

use super::in_place;
use crate::desired::Desired;
use crate::desired::merged;
use crate::desired::spec::FirewallSpec;
use crate::live::ownership::is_environment_tag;
use crate::live::{FirewallRule, Live, LiveFirewall};
use crate::plan::change::FieldChange;

/// What becomes of the firewall.
#[derive(Debug)]
pub(in crate::plan) enum Verdict<'a> {
    /// None is wanted and none is there.
    Nothing,
    /// It is made.
    Create(&'a FirewallSpec),
    /// Its rules or tags change.
    Update(&'a FirewallSpec, &'a LiveFirewall, Vec<FieldChange>),
    /// It stays.
    Keep(&'a FirewallSpec, &'a LiveFirewall),
    /// The manifest opts out, and it is there.
    Delete(&'a LiveFirewall),
    /// One of that name is there that covers another environment.
    Taken(&'a LiveFirewall),
}

/// Finds the firewall of that name, and whether it can be ours: one that selects droplets by the
/// tag of another environment is not, whatever it is called.
pub(in crate::plan) fn find<'a>(
    name: &str,
    environment_tag: &str,
    live: &'a Live,
) -> Option<(&'a LiveFirewall, bool)> {
    let found = live
        .firewalls
        .iter()
        .filter(|firewall| firewall.name == name)
        .min_by(|a, b| a.id.cmp(&b.id))?;
    let of_another = found
        .tags
        .iter()
        .any(|tag| is_environment_tag(tag) && tag != environment_tag);
    let ours = !of_another || found.tags.iter().any(|tag| tag == environment_tag);
    Some((found, ours))
}

/// Compares the firewall.
pub(in crate::plan) fn compare<'a>(
    desired: &'a Desired,
    environment_tag: &str,
    live: &'a Live,
) -> Verdict<'a> {
    let name = desired.scope.environment_name();
    let found = find(&name, environment_tag, live);
    match (&desired.firewall, found) {
        (None, None | Some((_, false))) => Verdict::Nothing,
        (None, Some((found, true))) => Verdict::Delete(found),
        (Some(spec), None) => Verdict::Create(spec),
        (Some(_), Some((found, false))) => Verdict::Taken(found),
        (Some(spec), Some((found, true))) => {
            let fields = differences(spec, found);
            if fields.is_empty() {
                Verdict::Keep(spec, found)
            } else {
                Verdict::Update(spec, found, fields)
            }
        }
    }
}

fn differences(spec: &FirewallSpec, live: &LiveFirewall) -> Vec<FieldChange> {
    let FirewallSpec {
        name: _,
        inbound,
        outbound,
        tags,
    } = spec;
    let LiveFirewall {
        id: _,
        name: _,
        inbound: live_inbound,
        outbound: live_outbound,
        tags: live_tags,
        // Droplets are covered by tag; ids of destroyed ones linger for a while.
        droplet_ids: _,
    } = live;
    let mut fields = rule_differences("inbound", live_inbound, inbound);
    fields.extend(rule_differences("outbound", live_outbound, outbound));
    let mut live_tags = live_tags.clone();
    live_tags.sort();
    if live_tags != *tags {
        fields.push(in_place("tags", live_tags.join(", "), tags.join(", ")));
    }
    fields
}

fn rule_differences(side: &str, old: &[FirewallRule], new: &[FirewallRule]) -> Vec<FieldChange> {
    let (old, new) = (merged(old), merged(new));
    let kind = |rule: &FirewallRule| (rule.protocol.clone(), rule.ports.clone());
    let mut fields = Vec::new();
    let mut kinds: Vec<(String, String)> = old.iter().chain(&new).map(kind).collect();
    kinds.sort();
    kinds.dedup();
    for wanted in kinds {
        let of = |rules: &[FirewallRule]| rules.iter().find(|rule| kind(rule) == wanted).map(peers);
        let (before, after) = (of(&old), of(&new));
        if before != after {
            let field = format!("{side} {} {}", wanted.0, ports(&wanted.1));
            fields.push(in_place(field.trim_end(), before, after));
        }
    }
    fields
}

fn ports(ports: &str) -> &str {
    if ports == "0" { "all" } else { ports }
}

fn peers(rule: &FirewallRule) -> String {
    let peers: Vec<&str> = rule
        .addresses
        .iter()
        .chain(&rule.tags)
        .map(String::as_str)
        .collect();
    peers.join(", ")
}

/// What a firewall that is made lets in.
pub(in crate::plan) fn described(spec: &FirewallSpec) -> Vec<FieldChange> {
    spec.inbound
        .iter()
        .map(|rule| {
            let field = format!("inbound {} {}", rule.protocol, ports(&rule.ports));
            super::made(&field, peers(rule))
        })
        .collect()
}
