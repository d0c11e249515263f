//! `run`: source and run steps on droplets that are up, and nothing else.

use super::build::{Draft, End, PlannedDroplet, streamed};
use super::census::Census;
use super::change::Action;
use super::cost::{Kept, Up};
use super::droplet_verdict::not_running_help;
use super::error::{Refusal, RefusalKind, Refusals};
use super::{Goal, Plan};
use crate::address::Address;
use crate::desired::{Desired, Droplet, meant};
use crate::live::{DropletStatus, Live, LiveDroplet};

/// What to run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// An address of droplets, in which `*` stands for any characters.
    pub address: String,
    /// The one run step that runs; all of them when absent.
    pub step: Option<String>,
}

pub(super) fn run(desired: &Desired, live: &Live, selection: &Selection) -> Result<Plan, Refusals> {
    let mut chosen: Vec<(usize, Droplet)> = desired
        .droplets
        .iter()
        .enumerate()
        .filter(|(_, droplet)| droplet.address.matches(&selection.address))
        .map(|(position, droplet)| (position, only(droplet.clone(), selection.step.as_deref())))
        .collect();
    let mut draft = Draft::new(&desired.scope, live, Goal::Run);
    if chosen.is_empty() {
        draft.refusals.push(no_such_droplet(desired, selection));
    } else if let Some(refusal) = no_such_step(desired, &chosen, selection) {
        draft.refusals.push(refusal);
    }
    if selection.step.is_some() {
        chosen.retain(|(_, droplet)| !droplet.runs.is_empty());
    }
    let census = Census::of(desired, live, &draft);
    let mut planned = Vec::new();
    for (position, droplet) in &chosen {
        match census.instances(*position).first().copied() {
            Some(live) if is_up(live) => planned.push((droplet, live)),
            found => draft.refusals.push(not_up(droplet, found)),
        }
    }
    let mut up = Up::default();
    for (droplet, found) in planned {
        up.add(&found.size, true);
        draft.change(
            &droplet.address,
            &droplet.name,
            Some(found.id.to_string()),
            Action::Keep,
            Vec::new(),
            Vec::new(),
        );
        draft.draw_run_alone(
            desired,
            &PlannedDroplet {
                droplet,
                live: Some(found),
                first: Vec::new(),
                end: End::Stays,
                add: Vec::new(),
                remove: Vec::new(),
            },
            found,
        );
    }
    draft.finish(streamed(desired), &up, &Kept::default())
}

/// The droplet with the run step of that name alone; one that is named runs also when it runs only
/// once and has.
fn only(mut droplet: Droplet, step: Option<&str>) -> Droplet {
    if let Some(step) = step {
        droplet.runs.retain(|run| run.spec.name.as_str() == step);
        for run in &mut droplet.runs {
            run.spec.to_mut().once = None;
        }
    }
    droplet
}

/// Whether one can log in to it, as far as the API tells.
fn is_up(live: &LiveDroplet) -> bool {
    matches!(live.status, DropletStatus::Active) && live.public_ipv4.is_some()
}

fn no_such_droplet(desired: &Desired, selection: &Selection) -> Refusal {
    let droplets = desired.droplets.iter();
    let addresses: Vec<Address> = droplets.map(|droplet| droplet.address.clone()).collect();
    let mut known: Vec<String> = desired
        .droplets
        .iter()
        .map(|droplet| match &droplet.address {
            Address::Droplet { name, .. } => format!("droplet.{name}"),
            other => other.to_string(),
        })
        .collect();
    known.dedup();
    Refusal {
        address: None,
        kind: RefusalKind::NoSuchAddress,
        reason: format!("`{}` names no droplet of the manifest", selection.address),
        help: if known.is_empty() {
            "the manifest has no droplets".to_owned()
        } else if let Some(meant) = meant(&selection.address, &addresses) {
            format!("did you mean `{meant}`?")
        } else {
            format!(
                "use {}, one instance such as droplet.NAME[2], or `*` for any characters",
                known.join(", ")
            )
        },
    }
}

/// Refuses a run step that none of the chosen droplets has.
fn no_such_step(
    desired: &Desired,
    chosen: &[(usize, Droplet)],
    selection: &Selection,
) -> Option<Refusal> {
    let step = selection.step.as_deref()?;
    if chosen.iter().any(|(_, droplet)| !droplet.runs.is_empty()) {
        return None;
    }
    let mut known: Vec<String> = desired
        .droplets
        .iter()
        .filter(|droplet| droplet.address.matches(&selection.address))
        .flat_map(|droplet| &droplet.runs)
        .map(|run| format!("`{}`", run.spec.name))
        .collect();
    known.sort();
    known.dedup();
    Some(Refusal {
        address: None,
        kind: RefusalKind::NoSuchStep,
        reason: format!("`{}` has no run step `{step}`", selection.address),
        help: if known.is_empty() {
            "it has no run steps".to_owned()
        } else {
            format!("use one of {}", known.join(", "))
        },
    })
}

fn not_up(droplet: &Droplet, found: Option<&LiveDroplet>) -> Refusal {
    let (reason, help) = match found.map(|found| (found.id, &found.status)) {
        None => (
            "it is not up, so nothing can run on it".to_owned(),
            "make it with `dewpoint apply`, which also runs its steps".to_owned(),
        ),
        Some((id, DropletStatus::Off)) => (
            format!("droplet {id} is off, so nothing can run on it"),
            not_running_help(&droplet.address),
        ),
        Some((id, DropletStatus::Other(word))) => (
            format!("droplet {id} is {word}, so nothing can run on it"),
            format!(
                "wait until it is active, or make it anew: `dewpoint apply --replace {}`",
                droplet.address
            ),
        ),
        Some((id, DropletStatus::New | DropletStatus::Active)) => (
            format!("droplet {id} is still being made, so nothing can run on it"),
            "try again in half a minute".to_owned(),
        ),
    };
    Refusal {
        address: Some(droplet.address.clone()),
        kind: RefusalKind::NotRunning,
        reason,
        help,
    }
}
