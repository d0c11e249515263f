//! Plans as they are executed here: without what needs a guest, one step after the other.

use std::collections::{BTreeMap, BTreeSet};

use dewpoint::plan::{self, EdgeKind, Plan, StepId, StepKind};
use serde_json::Value;

/// Whether a step works over SSH.
pub fn needs_guest(kind: &StepKind) -> bool {
    match kind {
        StepKind::Connect { .. }
        | StepKind::Provision { .. }
        | StepKind::PowerOff { .. }
        | StepKind::Mount { .. }
        | StepKind::Prepare { .. }
        | StepKind::Sync { .. }
        | StepKind::Run { .. }
        | StepKind::Collect { .. }
        | StepKind::StopBackground { .. }
        | StepKind::Unmount { .. } => true,
        StepKind::CreateSshKey { .. }
        | StepKind::DeleteSshKey { .. }
        | StepKind::CreateTags { .. }
        | StepKind::DeleteTags { .. }
        | StepKind::CreateFirewall { .. }
        | StepKind::UpdateFirewall { .. }
        | StepKind::DeleteFirewall { .. }
        | StepKind::CreateVolume { .. }
        | StepKind::ResizeVolume { .. }
        | StepKind::DeleteVolume { .. }
        | StepKind::SnapshotVolume { .. }
        | StepKind::CloneVolume { .. }
        | StepKind::TagVolume { .. }
        | StepKind::DeleteVolumeSnapshot { .. }
        | StepKind::UpdateTags { .. }
        | StepKind::CreateDroplets { .. }
        | StepKind::TakeSnapshot { .. }
        | StepKind::TagSnapshot { .. }
        | StepKind::Transfer { .. }
        | StepKind::Prune { .. }
        | StepKind::Attach { .. }
        | StepKind::Gather { .. }
        | StepKind::Detach { .. }
        | StepKind::DestroyDroplet { .. }
        | StepKind::KeepDroplet { .. } => false,
    }
}

/// The plan with every step that needs a guest replaced by one that does nothing, in its place; when
/// `fails`, run steps by one that fails.
pub fn without_guests(mut plan: Plan, fails: bool) -> Plan {
    for step in &mut plan.steps {
        if !needs_guest(&step.kind) {
            continue;
        }
        step.kind = match (&step.kind, fails) {
            // It builds on a step that is not there, so it fails before anything is asked for.
            (StepKind::Run { .. }, true) => StepKind::Transfer {
                image: plan::step::ImageRef::Taken(StepId(u32::MAX)),
                region: "nyc3".to_owned(),
            },
            _ => StepKind::Gather { droplets: vec![] },
        };
    }
    plan
}

/// The plan with its steps one after the other: what is asked meanwhile is asked by one of them.
pub fn one_by_one(mut plan: Plan) -> Plan {
    let mut waiting: BTreeMap<StepId, BTreeSet<StepId>> = plan
        .steps
        .iter()
        .map(|step| (step.id, BTreeSet::new()))
        .collect();
    for edge in &plan.edges {
        waiting.entry(edge.to).or_default().insert(edge.from);
    }
    let mut order = Vec::new();
    while let Some(next) = waiting
        .iter()
        .find(|(_, before)| before.is_empty())
        .map(|(step, _)| *step)
    {
        waiting.remove(&next);
        for before in waiting.values_mut() {
            before.remove(&next);
        }
        order.push(next);
    }
    assert!(waiting.is_empty(), "a cycle");
    for pair in order.windows(2) {
        let [from, to] = *pair else { unreachable!() };
        if !plan
            .edges
            .iter()
            .any(|edge| edge.from == from && edge.to == to)
        {
            plan.edges.push(plan::Edge {
                from,
                to,
                kind: EdgeKind::After,
                reason: "one by one".into(),
            });
        }
    }
    plan
}

/// The kind of a step, as plans write it.
pub fn kind_of(kind: &StepKind) -> String {
    let value = serde_json::to_value(kind).expect("JSON");
    value["kind"].as_str().expect("a kind").to_owned()
}

/// Every kind of step there is.
pub fn all_kinds() -> BTreeSet<String> {
    let schema: Value = serde_json::to_value(plan::json_schema()).expect("JSON");
    let kinds = schema["$defs"]["StepKind"]["oneOf"].as_array().cloned();
    kinds
        .unwrap_or_default()
        .iter()
        .filter_map(|kind| kind["properties"]["kind"]["const"].as_str())
        .map(str::to_owned)
        .collect()
}
