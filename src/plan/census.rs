//! The droplets there are, sorted out: used, removed, left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Draft, because};
use super::change::{Action, Cause};
use super::narrow::Narrow;
use crate::address::Address;
use crate::desired::{Desired, Scope, names};
use crate::live::ownership::Whose;
use crate::live::{Live, LiveDroplet};

/// The droplets there are, sorted out.
pub(super) struct Census<'a> {
    /// Droplets of ours that bear the name of one of the manifest: oldest first.
    pub instances: BTreeMap<&'a str, Vec<&'a LiveDroplet>>,
    /// Droplets of ours that the manifest does not know: builders of earlier runs, instances
    /// beyond `count`, and what was taken out of the manifest.
    pub strays: Vec<&'a LiveDroplet>,
    /// Of those, the ones that a narrowed plan leaves out.
    pub left: Vec<&'a LiveDroplet>,
    /// Droplets that bear one of our names and no tags.
    pub ghosts: Vec<&'a LiveDroplet>,
    /// Droplets that bear one of our names and are someone else's.
    namesakes: Vec<&'a LiveDroplet>,
    builders: BTreeSet<&'a str>,
}

impl<'a> Census<'a> {
    pub fn of(desired: &'a Desired, live: &'a Live, draft: &Draft<'_>) -> Self {
        let wanted: BTreeSet<&str> = desired
            .droplets
            .iter()
            .map(|droplet| droplet.name.as_str())
            .collect();
        let builders: BTreeSet<&str> = desired
            .snapshots
            .iter()
            .map(|snapshot| snapshot.builder_name.as_str())
            .chain(desired.volumes.iter().filter_map(|volume| {
                let populate = volume.populate.as_ref();
                populate.map(|populate| populate.droplet.as_str())
            }))
            .collect();
        let mut census = Self {
            instances: BTreeMap::new(),
            strays: Vec::new(),
            left: Vec::new(),
            ghosts: Vec::new(),
            namesakes: Vec::new(),
            builders,
        };
        let mut droplets: Vec<&LiveDroplet> = live.droplets.iter().collect();
        droplets.sort_by_key(|droplet| (droplet.created_at, droplet.id));
        for droplet in droplets {
            let name = droplet.name.as_str();
            let ours = wanted.contains(name) || census.builders.contains(name);
            match draft.owner.droplet(&droplet.tags, ours) {
                Whose::Ours if wanted.contains(name) => {
                    census.instances.entry(name).or_default().push(droplet);
                }
                Whose::Ours => census.strays.push(droplet),
                Whose::Ghost => census.ghosts.push(droplet),
                Whose::Foreign if ours => census.namesakes.push(droplet),
                Whose::Foreign => {}
            }
        }
        census
            .strays
            .sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        census
    }

    /// Leaves out what a plan is not about.
    pub fn narrow(&mut self, scope: &Scope, narrow: &Narrow<'_>) {
        let strays = std::mem::take(&mut self.strays);
        let (in_it, left) = strays
            .into_iter()
            .partition(|stray| narrow.removes(&self.address_of(scope, stray)));
        self.strays = in_it;
        self.left = left;
    }

    pub fn address_of(&self, scope: &Scope, stray: &LiveDroplet) -> Address {
        names::address_of_stray(&scope.project, &scope.environment, &stray.name)
    }

    /// Says what is found beside what the manifest asks for.
    pub fn tell(&self, draft: &mut Draft<'a>) {
        for stray in &self.strays {
            let address = self.address_of(draft.scope, stray);
            let reasons = if self.builders.contains(stray.name.as_str()) {
                because(Cause::Leftover, "an earlier run left this builder")
            } else {
                because(Cause::Manifest, "it is no longer in the manifest")
            };
            draft.change(
                &address,
                &stray.name,
                Some(stray.id.to_string()),
                Action::Delete,
                reasons,
                Vec::new(),
            );
        }
        for ghost in &self.ghosts {
            draft.notices.push(format!(
                "droplet `{}` ({}) bears no tags: it is being destroyed, or someone else's, and left alone",
                ghost.name, ghost.id
            ));
        }
        for namesake in &self.namesakes {
            draft.notices.push(format!(
                "droplet `{}` ({}) is not of this environment, and left alone",
                namesake.name, namesake.id
            ));
        }
    }
}
