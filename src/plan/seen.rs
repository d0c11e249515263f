//! What a plan looked at: the part of the live state it rests on, small enough to be kept with it.
//!
//! Left out is what changes without meaning anything to the plan: times, addresses, a droplet that
//! becomes active, leases that are renewed, whatever belongs to other environments and projects.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::step::{DropletRef, ImageRef, StepKind, VolumeRef};
use super::{Goal, Plan};
use crate::address::Address;
use crate::desired::names;
use crate::live::ownership::{self, Owner, Whose, is_expires_tag, is_snap_tag};
use crate::live::{DropletStatus, FirewallRule, Live, LiveDroplet, LiveImage, LiveVolume};

/// What a plan rests on: for each resource, such as `droplet 3164444`, its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seen(BTreeMap<String, BTreeMap<String, SeenValue>>);

/// A field: one value, or several in no order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SeenValue {
    /// One value.
    One(String),
    /// Several, such as tags.
    Several(BTreeSet<String>),
}

impl From<&str> for SeenValue {
    fn from(text: &str) -> Self {
        Self::One(text.to_owned())
    }
}

impl From<String> for SeenValue {
    fn from(text: String) -> Self {
        Self::One(text)
    }
}

impl FromIterator<String> for SeenValue {
    fn from_iter<T: IntoIterator<Item = String>>(items: T) -> Self {
        Self::Several(items.into_iter().collect())
    }
}

/// What the steps of a plan name, and what it calls its own.
struct Named<'a> {
    /// Names and ids of the resources it speaks of.
    words: BTreeSet<&'a str>,
    /// Volumes that it does something to.
    touched: BTreeSet<&'a str>,
    images: BTreeSet<u64>,
    sizes: BTreeSet<(&'a str, &'a str)>,
    snapshots: BTreeSet<&'a str>,
}

impl<'a> Named<'a> {
    fn by(plan: &'a Plan) -> Self {
        let mut named = Self {
            words: BTreeSet::new(),
            touched: BTreeSet::new(),
            images: BTreeSet::new(),
            sizes: BTreeSet::new(),
            snapshots: BTreeSet::new(),
        };
        for change in &plan.changes {
            named.words.insert(&change.name);
            named.words.extend(change.id.as_deref());
            if let Address::Snapshot(name) = &change.address {
                named.snapshots.insert(name);
            }
        }
        let activities = plan.activities.iter();
        named
            .words
            .extend(activities.map(|done| done.name.as_str()));
        for step in &plan.steps {
            match &step.kind {
                StepKind::CreateDroplets { spec, droplets } => {
                    let made = droplets.iter().map(|droplet| droplet.name.as_str());
                    named.words.extend(made);
                    named.sizes.insert((&spec.size, &spec.region));
                    named.image(&spec.image);
                }
                StepKind::TagSnapshot { image, .. } | StepKind::Transfer { image, .. } => {
                    named.image(image);
                }
                StepKind::CreateVolume { spec } => drop(named.words.insert(&spec.name)),
                StepKind::ResizeVolume { id, .. } => drop(named.touched.insert(id)),
                StepKind::Attach {
                    volume, droplet, ..
                }
                | StepKind::Detach {
                    volume, droplet, ..
                } => {
                    if let VolumeRef::Known { id } = volume {
                        named.touched.insert(id);
                    }
                    if let DropletRef::Known { name, .. } = droplet {
                        named.words.insert(name);
                    }
                }
                StepKind::DeleteVolume {
                    volume: VolumeRef::Known { id },
                    ..
                }
                | StepKind::SnapshotVolume {
                    volume: VolumeRef::Known { id },
                    ..
                } => drop(named.touched.insert(id)),
                StepKind::DeleteSshKey { fingerprint, .. }
                | StepKind::CreateSshKey { fingerprint, .. } => {
                    named.words.insert(fingerprint);
                }
                _ => {}
            }
        }
        named
    }

    fn image(&mut self, image: &ImageRef) {
        if let ImageRef::Id(id) = image {
            self.images.insert(*id);
        }
    }
}

impl Seen {
    /// What of the live state a plan rests on. The same for the same state, however its lists are
    /// ordered.
    #[must_use]
    pub fn of(plan: &Plan, live: &Live) -> Self {
        let named = Named::by(plan);
        let owner = Owner::new(&plan.project, &plan.environment);
        let all = plan.goal == Goal::DestroyProject;
        let mut seen = BTreeMap::new();
        for droplet in &live.droplets {
            let is_named = named.words.contains(droplet.name.as_str());
            let counts = owner.droplet(&droplet.tags, is_named) != Whose::Foreign
                || (all && owner.in_project(&droplet.tags));
            if counts {
                seen.insert(format!("droplet {}", droplet.id), droplet_fields(droplet));
            }
        }
        for volume in &live.volumes {
            let counts = owner.in_environment(&volume.tags)
                || named.words.contains(volume.name.as_str())
                || named.words.contains(volume.id.as_str())
                || named.touched.contains(volume.id.as_str())
                || (all && owner.in_project(&volume.tags));
            if counts {
                let is_touched = all || named.touched.contains(volume.id.as_str());
                let fields = volume_fields(volume, is_touched);
                seen.insert(format!("volume {}", volume.id), fields);
            }
        }
        for image in &live.images {
            let lineage = names::snapshot_of(&plan.project, &image.name);
            let is_ours = owner.in_project(&image.tags) || ownership::is_unclaimed(&image.tags);
            let counts = named.images.contains(&image.id)
                || lineage.is_some_and(|name| is_ours && named.snapshots.contains(name))
                || (all && owner.in_project(&image.tags));
            if counts {
                seen.insert(format!("snapshot {}", image.id), image_fields(image));
            }
        }
        let name = names::environment(&plan.project, &plan.environment);
        for wall in live.firewalls.iter().filter(|wall| wall.name == name) {
            let rules = |rules: &[FirewallRule]| rules.iter().map(rule).collect::<SeenValue>();
            let droplets = wall.droplet_ids.iter().map(u64::to_string);
            let fields = fields([
                ("name", wall.name.as_str().into()),
                ("rule in", rules(&wall.inbound)),
                ("rule out", rules(&wall.outbound)),
                ("tag", wall.tags.iter().cloned().collect()),
                ("droplet", droplets.collect()),
            ]);
            seen.insert(format!("firewall {}", wall.id), fields);
        }
        let is_destroy = matches!(plan.goal, Goal::Destroy | Goal::DestroyProject);
        for key in &live.ssh_keys {
            // For an apply only the one key was looked for; a destroy sees all of the account.
            let counts =
                !is_destroy || key.name == name || named.words.contains(key.fingerprint.as_str());
            if counts {
                let fields = fields([
                    ("name", key.name.as_str().into()),
                    ("fingerprint", key.fingerprint.as_str().into()),
                ]);
                seen.insert(format!("ssh key {}", key.id), fields);
            }
        }
        for (slug, region) in named.sizes {
            let Some(size) = live.catalog.size(slug) else {
                continue;
            };
            let is_there = size.available && size.regions.iter().any(|known| known == region);
            let fields = fields([
                ("name", slug.into()),
                ("price of an hour", size.price_hourly.to_string().into()),
                ("price of a month", size.price_monthly.to_string().into()),
                ("to be had", if is_there { "yes" } else { "no" }.into()),
            ]);
            seen.insert(format!("size {slug} in {region}"), fields);
        }
        Self(seen)
    }

    /// What differs between then and now, a line each: resource by resource, field by field.
    #[must_use]
    pub fn moved(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, then) in &self.0 {
            let Some(now) = now.0.get(key) else {
                lines.push(format!("{} is gone", title(key, then)));
                continue;
            };
            let title = title(key, then);
            let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
            for name in names {
                let (old, new) = (then.get(name), now.get(name));
                if old != new {
                    lines.extend(field_moved(&title, name, old, new));
                }
            }
        }
        for (key, fields) in &now.0 {
            if !self.0.contains_key(key) {
                lines.push(format!("{} was not there", title(key, fields)));
            }
        }
        lines
    }
}

fn field_moved(
    title: &str,
    name: &str,
    old: Option<&SeenValue>,
    new: Option<&SeenValue>,
) -> Vec<String> {
    let several = |value: Option<&'_ SeenValue>| match value {
        Some(SeenValue::One(text)) => [text.clone()].into(),
        Some(SeenValue::Several(all)) => all.clone(),
        None => BTreeSet::new(),
    };
    if let (Some(SeenValue::One(old)), Some(SeenValue::One(new))) = (old, new) {
        return vec![format!("{title}: {name} {old} -> {new}")];
    }
    let (old, new) = (several(old), several(new));
    let lost = old
        .difference(&new)
        .map(|item| format!("{title}: {name} {item} -> (none)"));
    let got = new
        .difference(&old)
        .map(|item| format!("{title}: {name} (none) -> {item}"));
    lost.chain(got).collect()
}

/// `droplet shop-main-web (3164444)`.
fn title(key: &str, fields: &BTreeMap<String, SeenValue>) -> String {
    match (key.rsplit_once(' '), fields.get("name")) {
        (Some((kind, id)), Some(SeenValue::One(name))) if !key.starts_with("size ") => {
            format!("{kind} {name} ({id})")
        }
        _ => key.to_owned(),
    }
}

fn fields<const N: usize>(fields: [(&str, SeenValue); N]) -> BTreeMap<String, SeenValue> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Tags but for leases, which are renewed by whoever uses the environment, and for those that tell of
/// snapshots: what a volume holds is the same, whether or not there is one of it.
fn tags(tags: &[String]) -> SeenValue {
    tags.iter()
        .filter(|tag| !is_expires_tag(tag) && !is_snap_tag(tag))
        .cloned()
        .collect()
}

fn droplet_fields(droplet: &LiveDroplet) -> BTreeMap<String, SeenValue> {
    let power = match &droplet.status {
        DropletStatus::New | DropletStatus::Active => "on",
        DropletStatus::Off => "off",
        DropletStatus::Other(word) => word,
    };
    fields([
        ("name", droplet.name.as_str().into()),
        ("region", droplet.region.as_str().into()),
        ("size", droplet.size.as_str().into()),
        // Its slug moves on to newer images.
        ("image", droplet.image_id.to_string().into()),
        ("power", power.into()),
        ("volume", droplet.volume_ids.iter().cloned().collect()),
        ("tag", tags(&droplet.tags)),
    ])
}

/// Who has a volume matters only to a plan that does something to it.
fn volume_fields(volume: &LiveVolume, is_touched: bool) -> BTreeMap<String, SeenValue> {
    let mut fields = fields([
        ("name", volume.name.as_str().into()),
        ("region", volume.region.as_str().into()),
        ("size", format!("{}GiB", volume.size_gib).into()),
        ("tag", tags(&volume.tags)),
    ]);
    if is_touched {
        let droplets = volume.droplet_ids.iter().map(u64::to_string);
        fields.insert("attached to droplet".to_owned(), droplets.collect());
    }
    fields
}

fn image_fields(image: &LiveImage) -> BTreeMap<String, SeenValue> {
    fields([
        ("name", image.name.as_str().into()),
        ("status", image.status.as_str().into()),
        ("region", image.regions.iter().cloned().collect()),
        ("tag", tags(&image.tags)),
    ])
}

/// `tcp 22 with 0.0.0.0/0, ::/0`.
fn rule(rule: &FirewallRule) -> String {
    let FirewallRule {
        protocol,
        ports,
        addresses,
        tags,
    } = rule;
    let peers: Vec<&str> = addresses.iter().chain(tags).map(String::as_str).collect();
    let ports = if ports == "0" { "all" } else { ports };
    format!("{protocol} {ports} with {}", peers.join(", "))
}
