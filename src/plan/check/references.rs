//! Whatever a step refers to is there, and made before.

use super::subjects::Class;
use super::{Checker, References};
use crate::plan::step::{DropletRef, FirewallRef, ImageRef, Step, StepId, StepKind, VolumeRef};

impl<'a> Checker<'a> {
    pub(super) fn refers_to_what_is_made(&mut self, step: &'a Step, references: References<'a>) {
        let forgiving = matches!(
            step.kind,
            StepKind::DestroyDroplet { .. }
                | StepKind::KeepDroplet { .. }
                | StepKind::DeleteVolume { .. }
                | StepKind::DeleteFirewall { .. }
                | StepKind::Unmount { .. }
                | StepKind::Detach { .. }
        );
        let (droplet, volume, image, firewall) = references;
        if let Some(DropletRef::Created { step: by, name }) = droplet {
            if self.subjects.is_on_unmade(step.id) {
                self.wrong(step.id, format!("no step makes droplet {name}"));
            }
            self.made_before(step, *by, "droplet", forgiving);
        }
        if let Some(VolumeRef::Created { step: by }) = volume {
            let made = self.class(*by);
            if !matches!(made, Class::CreateVolume | Class::CloneVolume) {
                self.wrong(step.id, "no step makes its volume");
            }
            self.made_before(step, *by, "volume", forgiving);
        }
        if let Some(ImageRef::Taken(by)) = image {
            if self.class(*by) != Class::TakeSnapshot {
                self.wrong(step.id, "no step takes its image");
            }
            self.needs(step, *by, "image");
        }
        if let Some(FirewallRef::Created(by)) = firewall {
            if self.class(*by) != Class::CreateFirewall {
                self.wrong(step.id, "no step makes its firewall");
            }
            self.made_before(step, *by, "firewall", forgiving);
        }
        if let StepKind::CloneVolume { snapshot, .. } = &step.kind {
            if self.class(*snapshot) != Class::SnapshotVolume {
                self.wrong(step.id, "no step sees to the snapshot it is made from");
            }
            self.needs(step, *snapshot, "snapshot");
        }
        if let StepKind::Prepare { inventory, .. } = &step.kind {
            if self.class(*inventory) != Class::Gather {
                self.wrong(step.id, "no step gathers its inventory");
            }
            self.needs(step, *inventory, "inventory");
        }
    }

    /// The class of a step that was noted, or of one that is yet to come; another one for one that is
    /// not there.
    fn class(&self, step: StepId) -> Class {
        let noted = self.subjects.class(step);
        let class = || Some(Class::of(&self.plan.step(step)?.kind));
        noted.or_else(class).unwrap_or(Class::Other)
    }

    /// A removal must only come after what makes the thing; everything else needs it.
    fn made_before(&mut self, step: &Step, by: StepId, what: &str, forgiving: bool) {
        if forgiving {
            if !self.comes_before(by, step.id, false) {
                self.wrong(step.id, format!("it could run before its {what} is made"));
            }
        } else {
            self.needs(step, by, what);
        }
    }

    fn needs(&mut self, step: &Step, made_by: StepId, what: &str) {
        if !self.comes_before(made_by, step.id, true) {
            self.wrong(
                step.id,
                format!("it does not need the step that makes its {what}"),
            );
        }
    }
}
