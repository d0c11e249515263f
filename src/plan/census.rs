//! The droplets there are, sorted out: used, removed, left alone.

use std::collections::{HashMap, HashSet};

use super::build::{Draft, because};
use super::change::{Action, Cause};
use super::narrow::Narrow;
use crate::address::Address;
use crate::desired::{Desired, Droplet, Scope, names};
use crate::live::ownership::Whose;
use crate::live::{Live, LiveDroplet};

/// Where the droplets of a manifest stand, by their names.
struct Names<'a> {
    droplets: &'a [Droplet],
    /// The one after that which was found last: droplets are mostly made, and so found, in order.
    next: usize,
    /// Made once that is not enough.
    positions: Option<HashMap<&'a str, usize>>,
}

impl<'a> Names<'a> {
    fn of(droplets: &'a [Droplet]) -> Self {
        Self {
            droplets,
            next: 0,
            positions: None,
        }
    }

    fn position(&mut self, name: &str) -> Option<usize> {
        let next = self.droplets.get(self.next);
        let position = if next.is_some_and(|next| next.name.as_str() == name) {
            self.next
        } else {
            let positions = self.positions.get_or_insert_with(|| {
                let all = self.droplets.iter().enumerate();
                all.map(|(position, droplet)| (droplet.name.as_str(), position))
                    .collect()
            });
            *positions.get(name)?
        };
        self.next = position + 1;
        Some(position)
    }
}

/// The droplets there are, sorted out.
pub(super) struct Census<'a> {
    /// Droplets of ours that bear the name of one of the manifest, in the order of those; of one name
    /// the oldest first.
    instances: Vec<&'a LiveDroplet>,
    /// For each droplet of the manifest where those begin, and where those of the last end.
    begins: Vec<usize>,
    /// Droplets of ours that the manifest does not know: builders of earlier runs, instances
    /// beyond `count`, and what was taken out of the manifest.
    pub strays: Vec<&'a LiveDroplet>,
    /// Of those, the ones that a narrowed plan leaves out.
    pub left: Vec<&'a LiveDroplet>,
    /// Droplets that bear one of our names and no tags.
    pub ghosts: Vec<&'a LiveDroplet>,
    /// Droplets that bear one of our names and are someone else's.
    namesakes: Vec<&'a LiveDroplet>,
    builders: HashSet<&'a str>,
}

impl<'a> Census<'a> {
    pub fn of(desired: &'a Desired, live: &'a Live, draft: &Draft<'_>) -> Self {
        let mut names = Names::of(&desired.droplets);
        let mut instances: Vec<(usize, &LiveDroplet)> = Vec::new();
        let builders: HashSet<&str> = desired
            .snapshots
            .iter()
            .map(|snapshot| snapshot.builder_name.as_str())
            .chain(desired.volumes.iter().filter_map(|volume| {
                let populate = volume.populate.as_ref();
                populate.map(|populate| populate.droplet.as_str())
            }))
            .collect();
        let mut census = Self {
            instances: Vec::new(),
            begins: Vec::new(),
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
            let found = names.position(name);
            let ours = found.is_some() || census.builders.contains(name);
            match draft.owner.droplet(&droplet.tags, ours) {
                Whose::Ours => match found {
                    Some(position) => instances.push((position, droplet)),
                    None => census.strays.push(droplet),
                },
                Whose::Ghost => census.ghosts.push(droplet),
                Whose::Foreign if ours => census.namesakes.push(droplet),
                Whose::Foreign => {}
            }
        }
        census
            .strays
            .sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        // Those of one name stay as they are: the oldest first.
        instances.sort_by_key(|(position, _)| *position);
        let mut begin = 0;
        for position in 0..desired.droplets.len() {
            census.begins.push(begin);
            let of = instances[begin..].iter();
            begin += of.take_while(|(at, _)| *at == position).count();
        }
        census.begins.push(begin);
        census.instances = instances.into_iter().map(|(_, live)| live).collect();
        census
    }

    /// Droplets of ours that bear the name of the manifest's droplet at a position: oldest first.
    pub fn instances(&self, position: usize) -> &[&'a LiveDroplet] {
        &self.instances[self.begins[position]..self.begins[position + 1]]
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
