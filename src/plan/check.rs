//! Judges any plan apart from the planner: in tests, and before a plan is executed.
//!
//! It knows nothing of manifests; it holds the steps and edges of a plan against what exists. A
//! step "comes before" another only if that holds however steps fail or are skipped: along a path
//! of edges of which all but the first are `Needs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Plan;
use super::step::{
    DropletRef, EdgeKind, FirewallRef, ImageRef, Step, StepId, StepKind, TaggedResource, VolumeRef,
    VolumeUse,
};
use crate::desired::names;
use crate::live::ownership::{self, Owner, Whose, is_clone, is_environment_tag};
use crate::live::{Live, LiveImage};

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
/// while something on another droplet needs it, two events of one droplet or two attachments of one volume at a time, something
/// foreign touched, the last good snapshot removed, a droplet made for the plan alone that is not
/// destroyed, a throw-away copy of a volume without its droplet.
pub fn check(plan: &Plan, live: &Live) -> Result<(), Vec<Violation>> {
    let mut checker = Checker {
        plan,
        live,
        owner: Owner::new(&plan.project, &plan.environment),
        before: Vec::new(),
        violations: Vec::new(),
    };
    if checker.numbers_and_edges() {
        checker.references();
        checker.one_event_per_droplet();
        checker.one_attachment_per_volume();
        if plan.goal == super::Goal::Sweep {
            let unproven = super::check_sweep::unproven(plan, live);
            checker.violations.extend(unproven);
        } else {
            checker.nothing_foreign();
            checker.what_is_made_is_ours();
            checker.a_good_snapshot_is_left();
        }
        checker.ephemeral_droplets_go();
        checker.background_steps_are_stopped();
        checker.services_outlive_their_users();
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
    /// For each step, what it waits for.
    before: Vec<Vec<(StepId, EdgeKind)>>,
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
        self.before = vec![Vec::new(); count];
        for edge in &self.plan.edges {
            if edge.to.0 as usize >= count || edge.from >= edge.to {
                self.wrong(edge.to, format!("it waits for step {}", edge.from.0 + 1));
            } else {
                self.before[edge.to.0 as usize].push((edge.from, edge.kind));
            }
            if edge.reason.is_empty() {
                self.wrong(edge.to, "an edge has no reason");
            }
        }
        self.violations.is_empty()
    }

    /// Whether `first` has ended whenever `then` starts; with `needs`, whether it has succeeded.
    fn comes_before(&self, first: StepId, then: StepId, needs: bool) -> bool {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![then];
        while let Some(at) = waiting.pop() {
            for &(from, kind) in &self.before[at.0 as usize] {
                if kind == EdgeKind::After && needs {
                    continue;
                }
                if from == first {
                    return true;
                }
                if from > first && kind == EdgeKind::Needs && seen.insert(from) {
                    waiting.push(from);
                }
            }
        }
        false
    }

    fn steps(&self) -> impl Iterator<Item = &'a Step> + use<'a> {
        self.plan.steps.iter()
    }

    fn needs(&mut self, step: &Step, made_by: StepId, what: &str) {
        if !self.comes_before(made_by, step.id, true) {
            self.wrong(
                step.id,
                format!("it does not need the step that makes its {what}"),
            );
        }
    }

    fn references(&mut self) {
        for step in self.steps() {
            let forgiving = matches!(
                step.kind,
                StepKind::DestroyDroplet { .. }
                    | StepKind::KeepDroplet { .. }
                    | StepKind::DeleteVolume { .. }
                    | StepKind::DeleteFirewall { .. }
                    | StepKind::Unmount { .. }
                    | StepKind::Detach { .. }
            );
            let (droplet, volume, image, firewall) = references(&step.kind);
            if let Some(DropletRef::Created { step: by, name }) = droplet {
                match self.plan.step(*by).map(|by| &by.kind) {
                    Some(StepKind::CreateDroplets { droplets, .. })
                        if droplets.iter().any(|droplet| droplet.name == *name) => {}
                    _ => self.wrong(step.id, format!("no step makes droplet {name}")),
                }
                self.made_before(step, *by, "droplet", forgiving);
            }
            if let Some(VolumeRef::Created { step: by }) = volume {
                let made = self.plan.step(*by).map(|by| &by.kind);
                if !matches!(
                    made,
                    Some(StepKind::CreateVolume { .. } | StepKind::CloneVolume { .. })
                ) {
                    self.wrong(step.id, "no step makes its volume");
                }
                self.made_before(step, *by, "volume", forgiving);
            }
            if let Some(ImageRef::Taken(by)) = image {
                let made = self.plan.step(*by).map(|by| &by.kind);
                if !matches!(made, Some(StepKind::TakeSnapshot { .. })) {
                    self.wrong(step.id, "no step takes its image");
                }
                self.needs(step, *by, "image");
            }
            if let Some(FirewallRef::Created(by)) = firewall {
                let made = self.plan.step(*by).map(|by| &by.kind);
                if !matches!(made, Some(StepKind::CreateFirewall { .. })) {
                    self.wrong(step.id, "no step makes its firewall");
                }
                self.made_before(step, *by, "firewall", forgiving);
            }
            if let StepKind::CloneVolume { snapshot, .. } = &step.kind {
                let takes = self.plan.step(*snapshot).map(|by| &by.kind);
                if !matches!(takes, Some(StepKind::SnapshotVolume { .. })) {
                    self.wrong(step.id, "no step sees to the snapshot it is made from");
                }
                self.needs(step, *snapshot, "snapshot");
            }
            if let StepKind::Prepare { inventory, .. } = &step.kind {
                let gathers = self.plan.step(*inventory).map(|by| &by.kind);
                if !matches!(gathers, Some(StepKind::Gather { .. })) {
                    self.wrong(step.id, "no step gathers its inventory");
                }
                self.needs(step, *inventory, "inventory");
            }
        }
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

    fn one_event_per_droplet(&mut self) {
        let mut last: BTreeMap<DropletKey<'a>, StepId> = BTreeMap::new();
        for step in self.steps() {
            let droplet = match &step.kind {
                StepKind::PowerOff { droplet }
                | StepKind::TakeSnapshot { droplet, .. }
                | StepKind::Attach { droplet, .. }
                | StepKind::Detach { droplet, .. }
                | StepKind::DestroyDroplet { droplet, .. } => droplet,
                _ => continue,
            };
            if let Some(before) = last.insert(DropletKey::of(droplet), step.id)
                && !self.comes_before(before, step.id, false)
            {
                let text = format!(
                    "droplet {} could have an event with step {} at the same time",
                    droplet.name(),
                    before.0 + 1
                );
                self.wrong(step.id, text);
            }
        }
        // Nothing happens on a droplet while or after it is destroyed.
        for step in self.steps() {
            let (Some(droplet), _, _, _) = references(&step.kind) else {
                continue;
            };
            let Some(&end) = last.get(&DropletKey::of(droplet)) else {
                continue;
            };
            if matches!(step.kind, StepKind::KeepDroplet { .. }) {
                // It sees to what the end left.
                continue;
            }
            let is_end = matches!(
                self.plan.steps[end.0 as usize].kind,
                StepKind::DestroyDroplet { .. }
            );
            if is_end && step.id != end && !self.comes_before(step.id, end, false) {
                let text = format!(
                    "it could still run when droplet {} is destroyed",
                    droplet.name()
                );
                self.wrong(step.id, text);
            }
        }
    }

    fn one_attachment_per_volume(&mut self) {
        // Where each volume is, with the step that last moved it.
        let mut at: BTreeMap<VolumeKey<'a>, (Option<DropletKey<'a>>, Option<StepId>)> =
            BTreeMap::new();
        // What freed it before it was attached where it is: an attaching that is skipped says
        // nothing about that.
        let mut freed: BTreeMap<VolumeKey<'a>, StepId> = BTreeMap::new();
        // Either side may lag behind: believe both. What is being destroyed lets go by itself.
        let ghost = |id: u64| {
            let droplet = self.live.droplets.iter().find(|droplet| droplet.id == id);
            droplet.is_some_and(|droplet| droplet.tags.is_empty())
        };
        for volume in &self.live.volumes {
            let by_droplet = self
                .live
                .droplets
                .iter()
                .find(|droplet| droplet.volume_ids.contains(&volume.id))
                .map(|droplet| droplet.id);
            let holder = volume.droplet_ids.first().copied().or(by_droplet);
            // Whoever had the environment's own and is not among its droplets is gone, and the volume
            // free in a moment.
            let gone = |id: u64| {
                let mut droplets = self.live.droplets.iter();
                self.owner.in_environment(&volume.tags) && !droplets.any(|droplet| droplet.id == id)
            };
            if let Some(droplet) = holder.filter(|id| !ghost(*id) && !gone(*id)) {
                let here = Some(DropletKey::Known(droplet));
                at.insert(VolumeKey::Known(&volume.id), (here, None));
            }
        }
        for step in self.steps() {
            match &step.kind {
                StepKind::Attach {
                    volume, droplet, ..
                } => {
                    let (here, moved) = at.remove(&VolumeKey::of(volume)).unwrap_or_default();
                    if here.is_some() {
                        self.wrong(step.id, "its volume is attached to a droplet already");
                    }
                    if let Some(moved) = moved
                        && !self.comes_before(moved, step.id, true)
                    {
                        let text = format!(
                            "it does not need step {}, which frees its volume",
                            moved.0 + 1
                        );
                        self.wrong(step.id, text);
                    }
                    if let Some(moved) = moved {
                        freed.insert(VolumeKey::of(volume), moved);
                    }
                    let here = Some(DropletKey::of(droplet));
                    at.insert(VolumeKey::of(volume), (here, Some(step.id)));
                }
                StepKind::Detach {
                    volume, droplet, ..
                } => {
                    let (here, moved) = at.remove(&VolumeKey::of(volume)).unwrap_or_default();
                    if here != Some(DropletKey::of(droplet)) {
                        self.wrong(step.id, "its volume is not attached to that droplet");
                    }
                    if let Some(moved) = moved
                        && !self.comes_before(moved, step.id, false)
                    {
                        let text =
                            format!("it could run before step {}, which attaches", moved.0 + 1);
                        self.wrong(step.id, text);
                    }
                    if let Some(freed) = freed.remove(&VolumeKey::of(volume))
                        && !self.comes_before(freed, step.id, true)
                    {
                        let text = format!(
                            "it does not need step {}, which frees its volume",
                            freed.0 + 1
                        );
                        self.wrong(step.id, text);
                    }
                    at.insert(VolumeKey::of(volume), (None, Some(step.id)));
                }
                StepKind::SnapshotVolume { volume, .. } => {
                    let (here, moved) = at.get(&VolumeKey::of(volume)).copied().unwrap_or_default();
                    if here.is_some() {
                        self.wrong(step.id, "its volume is attached, so it may be written to");
                    }
                    if let Some(moved) = moved
                        && !self.comes_before(moved, step.id, true)
                    {
                        let text = format!(
                            "it does not need step {}, which frees its volume",
                            moved.0 + 1
                        );
                        self.wrong(step.id, text);
                    }
                }
                StepKind::DestroyDroplet { droplet, .. } => {
                    let gone = DropletKey::of(droplet);
                    for (here, moved) in at.values_mut() {
                        if *here == Some(gone) {
                            *here = None;
                            *moved = Some(step.id);
                        }
                    }
                }
                StepKind::DeleteVolume { volume, .. } => {
                    let (here, moved) = at.remove(&VolumeKey::of(volume)).unwrap_or_default();
                    if here.is_some() {
                        self.wrong(step.id, "its volume is still attached");
                    }
                    if let Some(moved) = moved
                        && !self.comes_before(moved, step.id, false)
                    {
                        let text =
                            format!("it could run before step {}, which frees it", moved.0 + 1);
                        self.wrong(step.id, text);
                    }
                }
                _ => {}
            }
        }
    }

    fn nothing_foreign(&mut self) {
        let droplets: BTreeMap<u64, _> = self.live.droplets.iter().map(|d| (d.id, d)).collect();
        let volumes: BTreeMap<&str, _> = self
            .live
            .volumes
            .iter()
            .map(|v| (v.id.as_str(), v))
            .collect();
        let images: BTreeMap<u64, _> = self.live.images.iter().map(|i| (i.id, i)).collect();
        let prefix = format!(
            "{}-",
            names::environment(&self.plan.project, &self.plan.environment)
        );
        for step in self.steps() {
            let (droplet, volume, _, firewall) = references(&step.kind);
            let tagged = match &step.kind {
                StepKind::UpdateTags { resource, id, .. } => Some((*resource, id.as_str())),
                _ => None,
            };
            let droplet = match (droplet, tagged) {
                (Some(DropletRef::Known { id, .. }), _) => Some(*id),
                (_, Some((TaggedResource::Droplet, id))) => id.parse().ok(),
                _ => None,
            };
            if let Some(id) = droplet {
                let ours = droplets.get(&id).is_some_and(|droplet| {
                    let our_name = droplet.name.starts_with(&prefix);
                    self.owner.droplet(&droplet.tags, our_name) != Whose::Foreign
                });
                if !ours {
                    self.wrong(step.id, format!("droplet {id} is not ours"));
                }
            }
            let volume = match (&step.kind, volume, tagged) {
                (StepKind::ResizeVolume { id, .. }, _, _)
                | (_, Some(VolumeRef::Known { id }), _) => Some(id.as_str()),
                (_, _, Some((TaggedResource::Volume, id))) => Some(id),
                _ => None,
            };
            // Someone's own may be used; that nobody else has it meanwhile is another rule.
            let is_used = matches!(step.kind, StepKind::Attach { .. } | StepKind::Detach { .. });
            if let Some(id) = volume {
                let ours = volumes
                    .get(id)
                    .is_some_and(|volume| is_used || self.owner.in_project(&volume.tags));
                if !ours {
                    self.wrong(step.id, format!("volume {id} is not ours"));
                }
            }
            if let StepKind::DeleteVolumeSnapshot { id, .. } = &step.kind {
                let mut snapshots = self.live.volume_snapshots.iter();
                let snapshot = snapshots.find(|snapshot| snapshot.id == *id);
                if !snapshot.is_some_and(|snapshot| self.owner.in_project(&snapshot.tags)) {
                    self.wrong(step.id, format!("snapshot {id} of a volume is not ours"));
                }
            }
            if let StepKind::Mount {
                volume_name,
                usage: VolumeUse::Own,
                ..
            } = &step.kind
            {
                let is_meant = |volume: &&crate::live::LiveVolume| {
                    volume.name == *volume_name && volume.region == self.plan.region
                };
                let found = self.live.volumes.iter().find(is_meant);
                if found.is_some_and(|volume| !self.owner.in_project(&volume.tags)) {
                    let text = format!("volume `{volume_name}` is not ours to format or grow");
                    self.wrong(step.id, text);
                }
            }
            let image = match &step.kind {
                StepKind::Prune { id, .. }
                | StepKind::TagSnapshot {
                    image: ImageRef::Id(id),
                    ..
                }
                | StepKind::Transfer {
                    image: ImageRef::Id(id),
                    ..
                } => Some(*id),
                _ => None,
            };
            if let Some(id) = image {
                let ours = images.get(&id).is_some_and(|image| {
                    let our_name = names::snapshot_of(&self.plan.project, &image.name).is_some();
                    self.owner.in_project(&image.tags)
                        || (our_name && ownership::is_unclaimed(&image.tags))
                });
                if !ours {
                    self.wrong(step.id, format!("image {id} is not ours"));
                }
            }
            self.firewall_and_key_are_ours(step, firewall);
        }
    }

    fn firewall_and_key_are_ours(&mut self, step: &Step, firewall: Option<&FirewallRef>) {
        let name = names::environment(&self.plan.project, &self.plan.environment);
        let wall = match (&step.kind, firewall) {
            (StepKind::UpdateFirewall { id, .. }, _) | (_, Some(FirewallRef::Known(id))) => {
                Some(id)
            }
            _ => None,
        };
        if let Some(id) = wall {
            let ours = self.live.firewalls.iter().any(|wall| {
                wall.id == *id
                    && wall.name == name
                    && (wall.tags.contains(&self.owner.environment_tag)
                        || !wall.tags.iter().any(|tag| is_environment_tag(tag)))
            });
            if !ours {
                self.wrong(step.id, format!("firewall {id} is not ours"));
            }
        }
        if let StepKind::DeleteSshKey { name: key, .. } = &step.kind
            && *key != name
        {
            self.wrong(step.id, format!("key `{key}` is not ours"));
        }
    }

    /// What is made bears our names and tags, and what is found by name and tag is sought by ours:
    /// a plan from a file could say otherwise, and then find what is someone else's.
    fn what_is_made_is_ours(&mut self) {
        let name = names::environment(&self.plan.project, &self.plan.environment);
        let in_environment = format!("{name}-");
        let in_project = format!("{}-", self.plan.project);
        for step in self.steps() {
            match &step.kind {
                StepKind::CreateDroplets { spec, droplets } => {
                    let tagged = spec.tags.contains(&self.owner.environment_tag)
                        && spec.tags.contains(&self.owner.project_tag);
                    if !tagged {
                        self.wrong(step.id, "its droplets do not bear the environment's tags");
                    }
                    for droplet in droplets {
                        if !droplet.name.starts_with(&in_environment) {
                            let text = format!("`{}` is no name of ours", droplet.name);
                            self.wrong(step.id, text);
                        }
                    }
                }
                StepKind::DestroyDroplet { tag, .. } | StepKind::KeepDroplet { tag, .. }
                    if *tag != self.owner.environment_tag =>
                {
                    self.wrong(step.id, format!("it looks for droplets that bear {tag}"));
                }
                StepKind::SnapshotVolume {
                    volume_name, tags, ..
                } if !volume_name.starts_with(&in_project) || !self.owner.in_project(tags) => {
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
                    let is_ours =
                        spec.name.starts_with(&in_project) && self.owner.in_project(&spec.tags);
                    if !is_ours {
                        let text = format!("volume `{}` would not be ours", spec.name);
                        self.wrong(step.id, text);
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
                    if spec.name != name || covers_others {
                        self.wrong(step.id, "the firewall would cover what is not ours");
                    }
                }
                StepKind::CreateSshKey { name: key, .. } if *key != name => {
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

    fn a_good_snapshot_is_left(&mut self) {
        if self.plan.goal == super::Goal::DestroyProject {
            return;
        }
        let pruned: BTreeSet<u64> = self
            .steps()
            .filter_map(|step| match step.kind {
                StepKind::Prune { id, .. } => Some(id),
                _ => None,
            })
            .collect();
        let lineage =
            |name: &str| names::snapshot_of(&self.plan.project, name).map(ToOwned::to_owned);
        fn called(image: &LiveImage) -> &str {
            crate::live::ownership::called(&image.name, &image.tags)
        }
        let left: BTreeSet<String> = self
            .live
            .images
            .iter()
            .filter(|image| image.status == "available" && self.owner.in_project(&image.tags))
            .filter(|image| !pruned.contains(&image.id))
            .filter_map(|image| lineage(called(image)))
            .collect();
        // What is tagged in this plan, by the name it stands for.
        let mut tagged: BTreeMap<String, StepId> = BTreeMap::new();
        for step in self.steps() {
            let StepKind::TagSnapshot { image, .. } = &step.kind else {
                continue;
            };
            let name = match image {
                ImageRef::Taken(take) => match self.plan.step(*take).map(|take| &take.kind) {
                    Some(StepKind::TakeSnapshot { name, .. }) => Some(name.as_str()),
                    _ => None,
                },
                ImageRef::Id(id) => {
                    let image = self.live.images.iter().find(|image| image.id == *id);
                    image.map(called)
                }
                ImageRef::Slug(_) => None,
            };
            if let Some(name) = name.and_then(lineage) {
                tagged.insert(name, step.id);
            }
        }
        for step in self.steps() {
            let StepKind::Prune { id, name } = &step.kind else {
                continue;
            };
            let image = self.live.images.iter().find(|image| image.id == *id);
            let Some(lineage) = lineage(image.map_or(name, called)) else {
                continue;
            };
            let replaced = tagged
                .get(&lineage)
                .is_some_and(|tag| self.comes_before(*tag, step.id, true));
            if !replaced && !left.contains(&lineage) {
                self.wrong(
                    step.id,
                    format!("it could remove the last good snapshot of {lineage}"),
                );
            }
        }
    }

    fn ephemeral_droplets_go(&mut self) {
        let destroyed: BTreeSet<DropletKey<'a>> = self
            .steps()
            .filter_map(|step| match &step.kind {
                StepKind::DestroyDroplet { droplet, .. } => Some(DropletKey::of(droplet)),
                _ => None,
            })
            .collect();
        let passing: BTreeSet<&str> = self
            .plan
            .activities
            .iter()
            .filter(|activity| activity.single_use)
            .map(|activity| activity.name.as_str())
            .collect();
        let test = self.plan.goal == super::Goal::Test;
        for step in self.steps() {
            let StepKind::CreateDroplets { droplets, .. } = &step.kind else {
                continue;
            };
            for droplet in droplets {
                let is_builder = matches!(
                    droplet.address,
                    crate::address::Address::Snapshot(_) | crate::address::Address::Volume(_)
                );
                let must_go = test || is_builder || passing.contains(droplet.name.as_str());
                let key = DropletKey::Created(step.id, &droplet.name);
                if must_go && !destroyed.contains(&key) {
                    self.wrong(
                        step.id,
                        format!("droplet {} is never destroyed", droplet.name),
                    );
                }
            }
        }
        if test {
            for droplet in &self.live.droplets {
                let ours = self.owner.in_environment(&droplet.tags);
                if ours && !destroyed.contains(&DropletKey::Known(droplet.id)) {
                    self.wrong(None, format!("droplet {} is never destroyed", droplet.name));
                }
            }
        }
    }
}

impl<'a> Checker<'a> {
    /// A throw-away copy of a volume goes after its droplet, and none is without one.
    fn clones_go_with_their_droplets(&mut self) {
        if self.plan.goal == super::Goal::Run {
            return;
        }
        let mut holders: BTreeMap<VolumeKey<'a>, Option<DropletKey<'a>>> = BTreeMap::new();
        for volume in &self.live.volumes {
            if !self.owner.in_environment(&volume.tags) || !is_clone(&volume.tags) {
                continue;
            }
            let mut droplets = self.live.droplets.iter();
            let holder = droplets.find(|droplet| {
                droplet.volume_ids.contains(&volume.id) || volume.droplet_ids.contains(&droplet.id)
            });
            let holder = holder.map(|droplet| DropletKey::Known(droplet.id));
            holders.insert(VolumeKey::Known(&volume.id), holder);
        }
        for step in self.steps() {
            match &step.kind {
                StepKind::CloneVolume { .. } => {
                    holders.insert(VolumeKey::Created(step.id), None);
                }
                StepKind::Attach {
                    volume, droplet, ..
                } => {
                    if let Some(holder) = holders.get_mut(&VolumeKey::of(volume)) {
                        *holder = Some(DropletKey::of(droplet));
                    }
                }
                _ => {}
            }
        }
        for (volume, holder) in holders {
            let destroy = self.steps().find(|step| {
                matches!(&step.kind, StepKind::DestroyDroplet { droplet, .. } if Some(DropletKey::of(droplet)) == holder)
            });
            let delete = self.steps().find(|step| {
                matches!(&step.kind, StepKind::DeleteVolume { volume: of, .. } if VolumeKey::of(of) == volume)
            });
            let made = match volume {
                VolumeKey::Created(step) => Some(step),
                VolumeKey::Known(_) => None,
            };
            match (destroy, delete) {
                (Some(destroy), Some(delete)) => {
                    if !self.comes_before(destroy.id, delete.id, false) {
                        self.wrong(delete.id, "its droplet may still have the clone");
                    }
                }
                (None, None) if holder.is_some() => {}
                (_, None) => self.wrong(made, "a clone of a volume is never deleted"),
                (None, Some(_)) => {}
            }
        }
    }

    /// Steps that start something in the background, with the droplet it runs on.
    fn backgrounds(&self) -> Vec<(StepId, DropletKey<'a>)> {
        let backgrounds = self.steps().filter_map(|step| match &step.kind {
            StepKind::Run { droplet, run } if run.background.is_some() => {
                Some((step.id, DropletKey::of(droplet)))
            }
            _ => None,
        });
        backgrounds.collect()
    }

    /// What is on a droplet is stopped before volumes leave it and before it is destroyed.
    fn background_steps_are_stopped(&mut self) {
        for (started, droplet) in self.backgrounds() {
            let stops: Vec<StepId> = self
                .steps()
                .filter(|step| {
                    matches!(&step.kind, StepKind::StopBackground { droplet: on } if DropletKey::of(on) == droplet)
                })
                .map(|step| step.id)
                .filter(|stop| self.comes_before(started, *stop, false))
                .collect();
            for step in self.steps().filter(|step| step.id > started) {
                let (StepKind::Unmount { droplet: on, .. }
                | StepKind::DestroyDroplet { droplet: on, .. }) = &step.kind
                else {
                    continue;
                };
                let is_stopped = || {
                    let mut stops = stops.iter();
                    stops.any(|stop| self.comes_before(*stop, step.id, false))
                };
                if DropletKey::of(on) == droplet && !is_stopped() {
                    let text = format!("what step {} started could still run", started.0 + 1);
                    self.wrong(step.id, text);
                }
            }
        }
    }

    /// What runs on one droplet and is needed by a run on another stays until that has ended.
    fn services_outlive_their_users(&mut self) {
        for (started, droplet) in self.backgrounds() {
            let users: Vec<StepId> = self
                .steps()
                .filter(|step| step.id > started)
                .filter(|step| {
                    matches!(&step.kind, StepKind::Run { droplet: on, .. } if DropletKey::of(on) != droplet)
                })
                .map(|step| step.id)
                .filter(|user| self.comes_before(started, *user, true))
                .collect();
            for step in self.steps().filter(|step| step.id > started) {
                let (StepKind::StopBackground { droplet: on }
                | StepKind::DestroyDroplet { droplet: on, .. }) = &step.kind
                else {
                    continue;
                };
                if DropletKey::of(on) != droplet {
                    continue;
                }
                for &user in &users {
                    if !self.comes_before(user, step.id, false) {
                        let text = format!("step {} could still need it", user.0 + 1);
                        self.wrong(step.id, text);
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DropletKey<'a> {
    Known(u64),
    Created(StepId, &'a str),
}

impl<'a> DropletKey<'a> {
    fn of(droplet: &'a DropletRef) -> Self {
        match droplet {
            DropletRef::Known { id, .. } => Self::Known(*id),
            DropletRef::Created { step, name } => Self::Created(*step, name),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum VolumeKey<'a> {
    Known(&'a str),
    Created(StepId),
}

impl<'a> VolumeKey<'a> {
    fn of(volume: &'a VolumeRef) -> Self {
        match volume {
            VolumeRef::Known { id } => Self::Known(id),
            VolumeRef::Created { step } => Self::Created(*step),
        }
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
