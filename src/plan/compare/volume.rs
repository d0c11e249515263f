//! Volumes: they grow and are tagged in place. They never shrink, move or change their file
//! system: what they hold would be lost.

use super::lease::Lease;
use super::{in_place, made};
use crate::desired::spec::ProvisionStep;
use crate::desired::{Desired, Populate, Volume, volume_spec_tag};
use crate::live::ownership::{self, Owner};
use crate::live::{Live, LiveVolume};
use crate::manifest::schema::{Filesystem, Scope};
use crate::plan::change::FieldChange;
use crate::plan::error::{Refusal, RefusalKind};
use crate::units::{Gib, Seconds};

/// What becomes of a volume.
#[derive(Debug)]
pub(in crate::plan) struct Verdict<'a> {
    /// What it shall be.
    pub volume: &'a Volume,
    /// What it is; absent when it is made.
    pub live: Option<&'a LiveVolume>,
    /// What goes first, when it is made anew.
    pub replaces: Option<&'a LiveVolume>,
    /// Its size after, when it grows.
    pub grow: Option<Gib>,
    /// Tags it gets, sorted.
    pub add: Vec<String>,
    /// Names it no longer has, as tags, sorted.
    pub remove: Vec<String>,
    /// What differs.
    pub fields: Vec<FieldChange>,
    /// Its lease; moving it is no change. What a project owns has none.
    pub lease: Lease,
    /// What fills it, unless it is filled, and why.
    pub populate: Option<(&'a Populate, &'static str)>,
}

impl Verdict<'_> {
    /// With the lease that the environment's own volumes have, as its droplets do.
    pub fn leased(mut self, ttl: Seconds, now: i64, stays: bool) -> Self {
        let is_leased = self.volume.scope == Scope::Environment && self.volume.size.is_some();
        self.lease = match self.live {
            _ if !is_leased => Lease::default(),
            None => Lease::new(ttl, now),
            Some(live) if stays => Lease::of(&live.tags, ttl, now),
            Some(_) => Lease::default(),
        };
        self
    }
}

/// Volumes by name, each name with its volumes in all regions.
pub(in crate::plan) type ByName<'a> = std::collections::BTreeMap<&'a str, Vec<&'a LiveVolume>>;

/// Puts the account's volumes in order.
pub(in crate::plan) fn by_name(live: &Live) -> ByName<'_> {
    let mut by_name = ByName::new();
    for volume in &live.volumes {
        by_name.entry(&volume.name).or_default().push(volume);
    }
    for volumes in by_name.values_mut() {
        volumes.sort_by(|a, b| a.id.cmp(&b.id));
    }
    by_name
}

/// Compares a volume.
pub(in crate::plan) fn compare<'a>(
    desired: &'a Desired,
    volume: &'a Volume,
    owner: &Owner,
    by_name: &ByName<'a>,
    replace: bool,
    refusals: &mut Vec<Refusal>,
) -> Verdict<'a> {
    let Volume {
        address,
        name,
        size,
        filesystem,
        scope,
        tags,
        populate,
    } = volume;
    let create = Verdict {
        volume,
        live: None,
        replaces: None,
        grow: None,
        add: Vec::new(),
        remove: Vec::new(),
        fields: Vec::new(),
        lease: Lease::default(),
        populate: populate.as_ref().map(|populate| (populate, "it is new")),
    };
    let region = &desired.scope.region;
    let Some(size) = size else {
        return compare_existing(volume, region, by_name, refusals);
    };
    let mut refuse = |kind, reason, help| {
        refusals.push(Refusal {
            address: Some(address.clone()),
            kind,
            reason,
            help,
        });
    };
    let owned = |live: &LiveVolume| match scope {
        Scope::Project => owner.in_project_only(&live.tags),
        Scope::Environment => owner.in_environment(&live.tags),
    };
    let named = by_name.get(name.as_str()).map_or(&[][..], Vec::as_slice);
    let here = named.iter().copied().find(|live| live.region == *region);
    if replace && here.is_none_or(owned) {
        // Wherever it is, however large, whatever it holds: it goes.
        let mut all = here.into_iter().chain(named.iter().copied());
        if let Some(old) = all.find(|live| owned(live)) {
            return Verdict {
                replaces: Some(old),
                ..create
            };
        }
    }
    let anew = match scope {
        Scope::Environment => {
            format!("; or `--replace {address}`, which makes it anew and loses what it holds")
        }
        Scope::Project => String::new(),
    };
    let Some(live) = here else {
        if let Some(elsewhere) = named.iter().find(|live| owned(live)) {
            refuse(
                RefusalKind::Region,
                format!(
                    "`{name}` is in {}, and a volume cannot move to {region}",
                    elsewhere.region
                ),
                format!(
                    "set `region: {}`, or give the volume a new name{anew}",
                    elsewhere.region
                ),
            );
        }
        return create;
    };
    if !owned(live) {
        let help = match scope {
            Scope::Project if owner.in_project(&live.tags) => {
                "rename the volume in the manifest: an environment of this project has one of that name"
            }
            _ => "rename the volume in the manifest, or give the existing one the project's tags",
        };
        refuse(
            RefusalKind::NameTaken,
            format!(
                "{region} has a volume `{name}` that is not the {}'s",
                whose(*scope)
            ),
            help.to_owned(),
        );
        return create;
    }
    let LiveVolume {
        id: _,
        name: _,
        region: _,
        size_gib,
        // Who uses it is the droplets' affair.
        droplet_ids: _,
        tags: live_tags,
        created_at: _,
    } = live;
    let mut fields = Vec::new();
    let mut grow = None;
    if size.0 > *size_gib {
        grow = Some(*size);
        fields.push(in_place(
            "size",
            Gib(*size_gib).to_string(),
            size.to_string(),
        ));
    } else if size.0 < *size_gib {
        refuse(
            RefusalKind::Shrink,
            format!("{} cannot shrink to {size}", Gib(*size_gib)),
            format!(
                "set `size: {}`, or give the volume a new name and copy what is needed{anew}",
                Gib(*size_gib)
            ),
        );
    }
    let owner_tag = match scope {
        Scope::Project => &owner.project_tag,
        Scope::Environment => &owner.environment_tag,
    };
    let spec = volume_spec_tag(owner_tag, *filesystem);
    let other = match filesystem {
        Filesystem::Ext4 => Filesystem::Xfs,
        Filesystem::Xfs => Filesystem::Ext4,
    };
    if !live_tags.contains(&spec) && live_tags.contains(&volume_spec_tag(owner_tag, other)) {
        refuse(
            RefusalKind::Filesystem,
            format!(
                "it has {}, and the manifest says {}",
                word(other),
                word(*filesystem)
            ),
            format!(
                "set `filesystem: {}`, or give the volume a new name{anew}",
                word(other)
            ),
        );
    }
    let add: Vec<String> = tags
        .iter()
        .filter(|tag| !live_tags.contains(tag))
        .cloned()
        .collect();
    let remove: Vec<String> = live_tags
        .iter()
        .filter(|tag| ownership::is_name_tag(tag) && !tags.contains(tag))
        .cloned()
        .collect();
    if !add.is_empty() || !remove.is_empty() {
        let list = |tags: &[String]| (!tags.is_empty()).then(|| tags.join(", "));
        fields.push(in_place("tags", list(&remove), list(&add)));
    }
    let populate = populate.as_ref().and_then(|populate| {
        let why = if live_tags
            .iter()
            .any(|tag| ownership::is_populating_tag(tag))
        {
            "an earlier run that filled it anew broke off"
        } else if live_tags.contains(&populate.tag) {
            return None;
        } else if live_tags.iter().any(|tag| ownership::is_populated_tag(tag)) {
            "its `populate` changed, or what that is made from"
        } else {
            "its `populate` has not succeeded yet"
        };
        Some((populate, why))
    });
    if let Some((populate, _)) = populate {
        fields.extend(populated(populate));
    }
    Verdict {
        volume,
        live: Some(live),
        replaces: None,
        grow,
        add,
        remove,
        fields,
        lease: Lease::default(),
        populate,
    }
}

/// Whether a volume is given the tag which says that it is being filled anew: one that was never filled
/// needs none.
pub(in crate::plan) fn is_marked_first(populate: &Populate, live: &LiveVolume) -> bool {
    let mut tags = live.tags.iter();
    tags.any(|tag| ownership::is_populated_tag(tag)) && !live.tags.contains(&populate.marks)
}

/// What fills a volume, for a plan.
pub(in crate::plan) fn populated(populate: &Populate) -> Vec<FieldChange> {
    let mut fields = vec![made("populate", format!("on a {}", populate.size))];
    for step in &populate.steps {
        if let ProvisionStep::Run { name, script, .. } = step {
            fields.push(made(&format!("populate {name}"), script));
        }
    }
    fields
}

/// Someone's own volume: it must be there, and nothing of it is compared.
fn compare_existing<'a>(
    volume: &'a Volume,
    region: &str,
    by_name: &ByName<'a>,
    refusals: &mut Vec<Refusal>,
) -> Verdict<'a> {
    let name = &volume.name;
    let named = by_name.get(name.as_str()).map_or(&[][..], Vec::as_slice);
    let live = named.iter().copied().find(|live| live.region == region);
    if live.is_none() {
        let (kind, reason, help) = match named.first() {
            Some(elsewhere) => (
                RefusalKind::Region,
                format!(
                    "`{name}` is in {}, and a volume cannot move to {region}",
                    elsewhere.region
                ),
                format!("set `region: {}`, or name a volume in {region}", elsewhere.region),
            ),
            None => (
                RefusalKind::Missing,
                format!("the account has no volume `{name}`"),
                "correct the name after `existing`, or write `size` for a volume of the project's own"
                    .to_owned(),
            ),
        };
        refusals.push(Refusal {
            address: Some(volume.address.clone()),
            kind,
            reason,
            help,
        });
    }
    Verdict {
        volume,
        live,
        replaces: None,
        grow: None,
        add: Vec::new(),
        remove: Vec::new(),
        fields: Vec::new(),
        lease: Lease::default(),
        populate: None,
    }
}

const fn whose(scope: Scope) -> &'static str {
    match scope {
        Scope::Project => "project",
        Scope::Environment => "environment",
    }
}

/// A file system's word in a manifest.
pub(in crate::plan) const fn word(filesystem: Filesystem) -> &'static str {
    match filesystem {
        Filesystem::Ext4 => "ext4",
        Filesystem::Xfs => "xfs",
    }
}

/// Whether a volume is ours in any way: the project's or the environment's.
pub(in crate::plan) fn is_ours(owner: &Owner, live: &LiveVolume) -> bool {
    owner.in_environment(&live.tags) || owner.in_project_only(&live.tags)
}

/// The tags of a volume that go with it.
pub(in crate::plan) fn tags_of_one(tags: &[String]) -> impl Iterator<Item = &String> {
    tags.iter().filter(|tag| ownership::is_tag_of_one(tag))
}
