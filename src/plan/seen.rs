//! What a plan looked at: the part of the live state it rests on, small enough to be kept with it.
//!
//! Left out is what changes without meaning anything to the plan: times, addresses, a droplet that
//! becomes active, leases that are renewed, whatever belongs to other environments and projects.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

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

/// What [`Seen`] is made of and written as, borrowed from where it was seen: to digest it, nothing
/// of it need be copied.
pub(super) struct Looked<'a>(Vec<(String, Fields<'a>)>);

/// The fields of a resource, sorted by name.
struct Fields<'a>(Vec<(&'static str, Value<'a>)>);

/// A field: one value, or several, sorted.
enum Value<'a> {
    One(Cow<'a, str>),
    Several(Vec<Cow<'a, str>>),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::One(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::One(Cow::Owned(text))
    }
}

impl<'a, T: Into<Cow<'a, str>>> FromIterator<T> for Value<'a> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut all: Vec<Cow<'a, str>> = items.into_iter().map(Into::into).collect();
        all.sort_unstable();
        all.dedup();
        Self::Several(all)
    }
}

impl Serialize for Looked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, fields)| (key, fields)))
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(text) => serializer.serialize_str(text),
            Self::Several(all) => serializer.collect_seq(all),
        }
    }
}

impl From<Value<'_>> for SeenValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::One(text) => Self::One(text.into_owned()),
            Value::Several(all) => Self::Several(all.into_iter().map(Cow::into_owned).collect()),
        }
    }
}

/// What the steps of a plan do something to.
struct Named<'a> {
    /// Volumes.
    touched: HashSet<&'a str>,
    images: HashSet<u64>,
    /// With their regions.
    sizes: BTreeSet<(&'a str, &'a str)>,
    /// Snapshots of the manifest.
    snapshots: HashSet<&'a str>,
}

impl<'a> Named<'a> {
    fn by(plan: &'a Plan) -> Self {
        let mut named = Self {
            touched: HashSet::new(),
            images: HashSet::new(),
            sizes: BTreeSet::new(),
            snapshots: HashSet::new(),
        };
        for change in &plan.changes {
            if let Address::Snapshot(name) = &change.address {
                named.snapshots.insert(name);
            }
        }
        for step in &plan.steps {
            match &step.kind {
                StepKind::CreateDroplets { spec, .. } => {
                    named.sizes.insert((&spec.size, &spec.region));
                    named.image(&spec.image);
                }
                StepKind::TagSnapshot { image, .. } | StepKind::Transfer { image, .. } => {
                    named.image(image);
                }
                StepKind::ResizeVolume { id, .. }
                | StepKind::Attach {
                    volume: VolumeRef::Known { id },
                    ..
                }
                | StepKind::Detach {
                    volume: VolumeRef::Known { id },
                    ..
                }
                | StepKind::DeleteVolume {
                    volume: VolumeRef::Known { id },
                    ..
                }
                | StepKind::SnapshotVolume {
                    volume: VolumeRef::Known { id },
                    ..
                } => drop(named.touched.insert(id)),
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

/// Names and ids of the resources a plan speaks of.
fn words(plan: &Plan) -> HashSet<&str> {
    let mut words = HashSet::new();
    for change in &plan.changes {
        words.insert(change.name.as_str());
        words.extend(change.id.as_deref());
    }
    words.extend(plan.activities.iter().map(|done| done.name.as_str()));
    for step in &plan.steps {
        match &step.kind {
            StepKind::CreateDroplets { droplets, .. } => {
                words.extend(droplets.iter().map(|droplet| droplet.name.as_str()));
            }
            StepKind::CreateVolume { spec } => drop(words.insert(&spec.name)),
            StepKind::Attach {
                droplet: DropletRef::Known { name, .. },
                ..
            }
            | StepKind::Detach {
                droplet: DropletRef::Known { name, .. },
                ..
            } => drop(words.insert(name)),
            StepKind::DeleteSshKey { fingerprint, .. }
            | StepKind::CreateSshKey { fingerprint, .. } => {
                words.insert(fingerprint);
            }
            _ => {}
        }
    }
    words
}

impl<'a> Looked<'a> {
    /// What of the live state a plan rests on. The same for the same state, however its lists are
    /// ordered.
    pub(super) fn of(plan: &'a Plan, live: &'a Live) -> Self {
        let named = Named::by(plan);
        // Tags tell of most resources whose they are.
        let words = LazyCell::new(|| words(plan));
        let owner = Owner::new(&plan.project, &plan.environment);
        let all = plan.goal == Goal::DestroyProject;
        let mut seen = Vec::with_capacity(live.droplets.len());
        for droplet in &live.droplets {
            let counts = owner.in_environment(&droplet.tags)
                || owner.droplet(&droplet.tags, words.contains(droplet.name.as_str()))
                    != Whose::Foreign
                || (all && owner.in_project(&droplet.tags));
            if counts {
                seen.push((format!("droplet {}", droplet.id), droplet_fields(droplet)));
            }
        }
        for volume in &live.volumes {
            let counts = owner.in_environment(&volume.tags)
                || words.contains(volume.name.as_str())
                || words.contains(volume.id.as_str())
                || named.touched.contains(volume.id.as_str())
                || (all && owner.in_project(&volume.tags));
            if counts {
                let is_touched = all || named.touched.contains(volume.id.as_str());
                let fields = volume_fields(volume, is_touched);
                seen.push((format!("volume {}", volume.id), fields));
            }
        }
        for image in &live.images {
            let lineage = names::snapshot_of(&plan.project, &image.name);
            let is_ours = owner.in_project(&image.tags) || ownership::is_unclaimed(&image.tags);
            let counts = named.images.contains(&image.id)
                || lineage.is_some_and(|name| is_ours && named.snapshots.contains(name))
                || (all && owner.in_project(&image.tags));
            if counts {
                seen.push((format!("snapshot {}", image.id), image_fields(image)));
            }
        }
        let name = names::environment(&plan.project, &plan.environment);
        for wall in live.firewalls.iter().filter(|wall| wall.name == name) {
            let rules = |rules: &[FirewallRule]| rules.iter().map(rule).collect::<Value<'_>>();
            let droplets = wall.droplet_ids.iter().map(u64::to_string);
            let fields = fields([
                ("name", wall.name.as_str().into()),
                ("rule in", rules(&wall.inbound)),
                ("rule out", rules(&wall.outbound)),
                ("tag", wall.tags.iter().collect()),
                ("droplet", droplets.collect()),
            ]);
            seen.push((format!("firewall {}", wall.id), fields));
        }
        let is_destroy = matches!(plan.goal, Goal::Destroy | Goal::DestroyProject);
        for key in &live.ssh_keys {
            // For an apply only the one key was looked for; a destroy sees all of the account.
            let counts =
                !is_destroy || key.name == name || words.contains(key.fingerprint.as_str());
            if counts {
                let fields = fields([
                    ("name", key.name.as_str().into()),
                    ("fingerprint", key.fingerprint.as_str().into()),
                ]);
                seen.push((format!("ssh key {}", key.id), fields));
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
            seen.push((format!("size {slug} in {region}"), fields));
        }
        seen.sort_by(|(a, _), (b, _)| a.cmp(b));
        // What was seen twice is as it was seen last.
        seen.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        Self(seen)
    }
}

impl Seen {
    /// What of the live state a plan rests on. The same for the same state, however its lists are
    /// ordered.
    #[must_use]
    pub fn of(plan: &Plan, live: &Live) -> Self {
        let Looked(seen) = Looked::of(plan, live);
        let fields = |Fields(fields): Fields<'_>| {
            let fields = fields.into_iter();
            fields
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect()
        };
        let seen = seen.into_iter();
        Self(seen.map(|(key, of)| (key, fields(of))).collect())
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

/// Fields, by name.
fn fields<'a, const N: usize>(mut fields: [(&'static str, Value<'a>); N]) -> Fields<'a> {
    fields.sort_unstable_by_key(|(name, _)| *name);
    Fields(Vec::from(fields))
}

/// Tags but for leases, which are renewed by whoever uses the environment, and for those that tell of
/// snapshots: what a volume holds is the same, whether or not there is one of it.
fn tags(tags: &[String]) -> Value<'_> {
    tags.iter()
        .filter(|tag| !is_expires_tag(tag) && !is_snap_tag(tag))
        .collect()
}

fn droplet_fields(droplet: &LiveDroplet) -> Fields<'_> {
    let power = match &droplet.status {
        DropletStatus::New | DropletStatus::Active => "on",
        DropletStatus::Off => "off",
        DropletStatus::Other(word) => word,
    };
    fields([
        // Its slug moves on to newer images.
        ("image", droplet.image_id.to_string().into()),
        ("name", droplet.name.as_str().into()),
        ("power", power.into()),
        ("region", droplet.region.as_str().into()),
        ("size", droplet.size.as_str().into()),
        ("tag", tags(&droplet.tags)),
        ("volume", droplet.volume_ids.iter().collect()),
    ])
}

/// Who has a volume matters only to a plan that does something to it.
fn volume_fields(volume: &LiveVolume, is_touched: bool) -> Fields<'_> {
    let name = ("name", volume.name.as_str().into());
    let region = ("region", volume.region.as_str().into());
    let size = ("size", format!("{}GiB", volume.size_gib).into());
    let tag = ("tag", tags(&volume.tags));
    if is_touched {
        let droplets = volume.droplet_ids.iter().map(u64::to_string);
        fields([
            ("attached to droplet", droplets.collect()),
            name,
            region,
            size,
            tag,
        ])
    } else {
        fields([name, region, size, tag])
    }
}

fn image_fields(image: &LiveImage) -> Fields<'_> {
    fields([
        ("name", image.name.as_str().into()),
        ("status", image.status.as_str().into()),
        ("region", image.regions.iter().collect()),
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
