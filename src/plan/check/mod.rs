//! Judges any plan apart from the planner: in tests, and before a plan is executed.
//!
//! It knows nothing of manifests; it holds the steps and edges of a plan against what exists. A
//! step "comes before" another only if that holds however steps fail or are skipped: along a path
//! of edges of which all but the first are `Needs`.

mod attachments;
mod background;
mod endings;
mod foreign;
mod made;
mod order;
mod references;
mod subjects;
mod sweep;

use std::fmt;

use super::Plan;
use super::step::{DropletRef, FirewallRef, ImageRef, Step, StepId, StepKind, VolumeRef};
use crate::desired::names;
use crate::live::Live;
use crate::live::ownership::Owner;
use order::Order;
use subjects::Subjects;

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The step it is about; none when it is about the whole plan.
    pub step: Option<StepId>,
    /// In words.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "step {}: {}", step.0 + 1, self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Judges a plan against what exists.
///
/// # Errors
/// Everything that is wrong with it: steps that wait for each other, references to what no earlier
/// step makes, a background step that is not stopped before its volumes or its droplet go, or is
/// while something on another droplet needs it, two events of one droplet or two attachments of one
/// volume at a time, something foreign touched, the last good snapshot removed, a droplet made for the plan alone that is not
/// destroyed, a throw-away copy of a volume without its droplet.
pub fn check(plan: &Plan, live: &Live) -> Result<(), Vec<Violation>> {
    let name = names::environment(&plan.project, &plan.environment);
    let mut checker = Checker {
        plan,
        live,
        owner: Owner::new(&plan.project, &plan.environment),
        name_prefix: format!("{name}-"),
        name,
        order: Order::default(),
        subjects: Subjects::default(),
        violations: Vec::new(),
    };
    if checker.numbers_and_edges() {
        checker.references();
        checker.one_event_per_droplet();
        checker.one_attachment_per_volume();
        if plan.goal == super::Goal::Sweep {
            let unproven = sweep::unproven(plan, live);
            checker.violations.extend(unproven);
        } else {
            checker.nothing_foreign();
            checker.what_is_made_is_ours();
            checker.a_good_snapshot_is_left();
        }
        checker.ephemeral_droplets_go();
        let ends = checker.ends();
        checker.background_steps_are_stopped(&ends);
        checker.services_outlive_their_users(&ends);
        checker.clones_go_with_their_droplets();
    }
    if checker.violations.is_empty() {
        Ok(())
    } else {
        Err(checker.violations)
    }
}

struct Checker<'a> {
    plan: &'a Plan,
    live: &'a Live,
    owner: Owner,
    /// The name of the environment, and what its droplets' names begin with.
    name: String,
    name_prefix: String,
    /// What comes before what.
    order: Order,
    /// What steps are about.
    subjects: Subjects<'a>,
    violations: Vec<Violation>,
}

impl<'a> Checker<'a> {
    fn wrong(&mut self, step: impl Into<Option<StepId>>, text: impl Into<String>) {
        self.violations.push(Violation {
            step: step.into(),
            text: text.into(),
        });
    }

    /// Ids are positions and every edge leads forward, which is also why there is no circle.
    fn numbers_and_edges(&mut self) -> bool {
        let count = self.plan.steps.len();
        for (position, step) in self.plan.steps.iter().enumerate() {
            if step.id.0 as usize != position {
                self.wrong(step.id, format!("it stands at position {}", position + 1));
            }
        }
        for edge in &self.plan.edges {
            if edge.to.0 as usize >= count || edge.from >= edge.to {
                self.wrong(edge.to, format!("it waits for step {}", edge.from.0 + 1));
            }
            if edge.reason.is_empty() {
                self.wrong(edge.to, "an edge has no reason");
            }
        }
        let is_sound = self.violations.is_empty();
        if is_sound {
            self.order = Order::of(self.plan);
            self.subjects = Subjects::of(self.plan, self.live);
        }
        is_sound
    }

    /// Whether `first` has ended whenever `then` starts; with `needs`, whether it has succeeded.
    fn comes_before(&self, first: StepId, then: StepId, needs: bool) -> bool {
        self.order.comes_before(first, then, needs)
    }

    fn steps(&self) -> impl Iterator<Item = &'a Step> + use<'a> {
        self.plan.steps.iter()
    }
}

type References<'a> = (
    Option<&'a DropletRef>,
    Option<&'a VolumeRef>,
    Option<&'a ImageRef>,
    Option<&'a FirewallRef>,
);

/// What a step refers to.
fn references(kind: &StepKind) -> References<'_> {
    match kind {
        StepKind::CreateSshKey { .. }
        | StepKind::DeleteSshKey { .. }
        | StepKind::CreateTags { .. }
        | StepKind::DeleteTags { .. }
        | StepKind::CreateFirewall { .. }
        | StepKind::UpdateFirewall { .. }
        | StepKind::CreateVolume { .. }
        | StepKind::ResizeVolume { .. }
        | StepKind::UpdateTags { .. }
        | StepKind::Gather { .. }
        | StepKind::CloneVolume { .. }
        | StepKind::DeleteVolumeSnapshot { .. }
        | StepKind::Prune { .. } => (None, None, None, None),
        StepKind::DeleteFirewall { firewall, .. } => (None, None, None, Some(firewall)),
        StepKind::DeleteVolume { volume, .. }
        | StepKind::SnapshotVolume { volume, .. }
        | StepKind::TagVolume { volume, .. } => (None, Some(volume), None, None),
        StepKind::CreateDroplets { spec, .. } => (None, None, Some(&spec.image), None),
        StepKind::TagSnapshot { image, .. } | StepKind::Transfer { image, .. } => {
            (None, None, Some(image), None)
        }
        StepKind::Attach {
            volume, droplet, ..
        }
        | StepKind::Detach {
            volume, droplet, ..
        } => (Some(droplet), Some(volume), None, None),
        StepKind::Connect { droplet, .. }
        | StepKind::Provision { droplet, .. }
        | StepKind::PowerOff { droplet }
        | StepKind::TakeSnapshot { droplet, .. }
        | StepKind::Mount { droplet, .. }
        | StepKind::Prepare { droplet, .. }
        | StepKind::StopBackground { droplet }
        | StepKind::Sync { droplet, .. }
        | StepKind::Run { droplet, .. }
        | StepKind::Collect { droplet, .. }
        | StepKind::Unmount { droplet, .. }
        | StepKind::DestroyDroplet { droplet, .. }
        | StepKind::KeepDroplet { droplet, .. } => (Some(droplet), None, None, None),
    }
}
