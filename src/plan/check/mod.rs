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

use super::step::{DropletRef, FirewallRef, ImageRef, Step, StepId, StepKind, VolumeRef};
use super::{Goal, Plan};
use crate::desired::names;
use crate::live::Live;
use crate::live::ownership::Owner;
use endings::Gone;
use foreign::Known;
use made::Ours;
use order::{Before, Order};
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
    if checker.edges_lead_forward() && checker.steps_by_themselves() {
        checker.one_event_per_droplet();
        checker.one_attachment_per_volume();
        if plan.goal == Goal::Sweep {
            let unproven = sweep::unproven(plan, live);
            checker.violations.extend(unproven);
        } else {
            checker.a_good_snapshot_is_left();
        }
        let gone = Gone::of(&checker.subjects);
        checker.ephemeral_droplets_go(&gone);
        let backgrounds = checker.backgrounds();
        if !backgrounds.is_empty() {
            let ends = checker.ends();
            checker.background_steps_are_stopped(&backgrounds, &ends);
            checker.services_outlive_their_users(&backgrounds, &ends);
        }
        checker.clones_go_with_their_droplets(&gone);
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

    /// Every edge leads forward, which is also why there is no circle.
    fn edges_lead_forward(&mut self) -> bool {
        let count = self.plan.steps.len();
        let mut edges = Vec::with_capacity(self.plan.edges.len());
        for edge in &self.plan.edges {
            edges.push(Before {
                from: edge.from,
                to: edge.to,
                kind: edge.kind,
            });
            if edge.to.0 as usize >= count || edge.from >= edge.to {
                self.wrong(edge.to, format!("it waits for step {}", edge.from.0 + 1));
            }
            if edge.reason.is_empty() {
                self.wrong(edge.to, "an edge has no reason");
            }
        }
        let is_sound = self.violations.is_empty();
        if is_sound {
            self.order = Order::of(count, &edges);
        }
        is_sound
    }

    /// Judges what each step says by itself, and takes note of what the other rules need of it. A large
    /// plan outgrows the processor's caches: its steps are read here, once. False when they do not stand
    /// in the order of their numbers, so that nothing can be said of them.
    fn steps_by_themselves(&mut self) -> bool {
        let (plan, live) = (self.plan, self.live);
        self.subjects = Subjects::new(plan, live);
        let mut known = Known::of(plan, live);
        let mut ours = Ours::default();
        for (position, step) in plan.steps.iter().enumerate() {
            if step.id.0 as usize != position {
                self.violations.clear();
                self.wrong(step.id, format!("it stands at position {}", position + 1));
                return false;
            }
            let references = references(&step.kind);
            self.subjects.note(plan, step, references);
            self.refers_to_what_is_made(step, references);
            if plan.goal != Goal::Sweep {
                self.is_not_foreign(step, references, &mut known);
                self.is_made_as_ours(step, &mut ours);
            }
        }
        self.names_are_ours(&ours);
        true
    }

    /// Whether `first` has ended whenever `then` starts; with `needs`, whether it has succeeded.
    fn comes_before(&self, first: StepId, then: StepId, needs: bool) -> bool {
        self.order.comes_before(first, then, needs)
    }

    fn steps(&self) -> impl Iterator<Item = &'a Step> + use<'a> {
        self.plan.steps.iter()
    }
}

/// What a step refers to.
type References<'a> = (
    Option<&'a DropletRef>,
    Option<&'a VolumeRef>,
    Option<&'a ImageRef>,
    Option<&'a FirewallRef>,
);

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
