//! What is made bears our names and tags.

use super::Checker;
use crate::desired::names;
use crate::live::ownership;
use crate::plan::step::{Step, StepId, StepKind};
use crate::shared::{Shared, Texts};

/// What was found to be ours, so that the many that hold the same are not read again.
#[derive(Default)]
pub(super) struct Ours<'a> {
    tag: Option<&'a Shared<str>>,
    tags: Option<&'a Texts>,
    /// Names of droplets and of volumes that are made, by the steps that make them.
    droplets: Vec<(StepId, &'a str)>,
    volumes: Vec<(StepId, &'a str)>,
}

fn volume_of_others(name: &str) -> String {
    format!("volume `{name}` would not be ours")
}

/// Whether what several share is ours: what was found to be so last is not read again.
fn same<'a, T: ?Sized>(
    last: &mut Option<&'a Shared<T>>,
    shared: &'a Shared<T>,
    is_ours: impl FnOnce(&'a Shared<T>) -> bool,
) -> bool {
    let known = last.is_some_and(|last| last.is_same(shared));
    if !known && is_ours(shared) {
        *last = Some(shared);
        return true;
    }
    known
}

impl<'a> Checker<'a> {
    /// What is made bears our names and tags, and what is found by name and tag is sought by ours:
    /// a plan from a file could say otherwise, and then find what is someone else's.
    pub(super) fn is_made_as_ours(&mut self, step: &'a Step, ours: &mut Ours<'a>) {
        match &step.kind {
            StepKind::CreateDroplets { spec, droplets } => {
                let tagged = spec.tags.contains(&self.owner.environment_tag)
                    && spec.tags.contains(&self.owner.project_tag);
                if !tagged {
                    self.wrong(step.id, "its droplets do not bear the environment's tags");
                }
                let names = droplets.iter().map(|droplet| droplet.name.as_str());
                ours.droplets.extend(names.map(|name| (step.id, name)));
            }
            StepKind::DestroyDroplet { tag, .. } | StepKind::KeepDroplet { tag, .. }
                if !same(&mut ours.tag, tag, |tag| *tag == self.owner.environment_tag) =>
            {
                self.wrong(step.id, format!("it looks for droplets that bear {tag}"));
            }
            StepKind::SnapshotVolume {
                volume_name, tags, ..
            } if !self.is_in_project(volume_name) || !self.owner.in_project(tags) => {
                let text = format!("the snapshot of `{volume_name}` would not be ours");
                self.wrong(step.id, text);
            }
            StepKind::TagVolume { add, remove, .. }
                if !add.iter().chain(remove).all(|tag| {
                    ownership::is_populated_tag(tag) || ownership::is_populating_tag(tag)
                }) =>
            {
                self.wrong(
                    step.id,
                    "it gives or takes more than tags of what fills a volume",
                );
            }
            StepKind::CreateVolume { spec } | StepKind::CloneVolume { spec, .. } => {
                let tagged = same(&mut ours.tags, &spec.tags, |tags| {
                    self.owner.in_project(tags)
                });
                if tagged {
                    ours.volumes.push((step.id, &spec.name));
                } else {
                    self.wrong(step.id, volume_of_others(&spec.name));
                }
            }
            StepKind::TakeSnapshot { name, .. }
                if names::snapshot_of(&self.plan.project, name).is_none() =>
            {
                self.wrong(step.id, format!("`{name}` is no name of ours"));
            }
            StepKind::CreateFirewall { spec } | StepKind::UpdateFirewall { spec, .. } => {
                let covers_others = spec
                    .tags
                    .iter()
                    .any(|tag| *tag != self.owner.environment_tag);
                if spec.name != self.name || covers_others {
                    self.wrong(step.id, "the firewall would cover what is not ours");
                }
            }
            StepKind::CreateSshKey { name: key, .. } if *key != self.name => {
                self.wrong(step.id, format!("`{key}` is no name of ours"));
            }
            StepKind::DeleteTags { names } => {
                // One that somebody bears is left by whoever carries this out.
                let foreign = names.iter().find(|tag| {
                    let is_ours = **tag == ownership::TAG
                        || **tag == self.owner.project_tag
                        || **tag == self.owner.environment_tag
                        || ownership::is_tag_of_one(tag);
                    !is_ours && !self.is_taken_away(tag)
                });
                if let Some(tag) = foreign {
                    self.wrong(step.id, format!("the tag {tag} is not ours"));
                }
            }
            _ => {}
        }
    }

    /// What is made is called as ours is. Each name lies somewhere else: in a loop that does nothing but
    /// read them, one is fetched while another is.
    pub(super) fn names_are_ours(&mut self, ours: &Ours<'a>) {
        for &(step, name) in &ours.droplets {
            if !name.starts_with(&self.name_prefix) {
                self.wrong(step, format!("`{name}` is no name of ours"));
            }
        }
        for &(step, name) in &ours.volumes {
            if !self.is_in_project(name) {
                self.wrong(step, volume_of_others(name));
            }
        }
    }

    /// Whether a name begins as those of the project do.
    fn is_in_project(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.plan.project.as_str());
        rest.is_some_and(|rest| rest.starts_with('-'))
    }

    /// Whether the plan takes a tag from something that bears it: then it may hold nothing any more.
    fn is_taken_away(&self, tag: &String) -> bool {
        self.steps().any(|step| match &step.kind {
            StepKind::UpdateTags { remove, .. } => remove.contains(tag),
            StepKind::DestroyDroplet { .. } => self.live.droplets.iter().any(|droplet| {
                self.owner.in_environment(&droplet.tags) && droplet.tags.contains(tag)
            }),
            _ => false,
        })
    }
}
