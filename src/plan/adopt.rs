//! `adopt`: an existing volume or snapshot becomes what an address of the manifest stands for. Tags
//! alone do it; what they would lead to is found by planning with them.

use super::compare::volume::word;
use super::error::{Refusal, RefusalKind, Refusals};
use super::renames::Renames;
use super::step::TaggedResource;
use super::{Action, Change, Options, plan};
use crate::address::Address;
use crate::desired::{Desired, Snapshot, Volume, names};
use crate::live::ownership::{self, Owner};
use crate::live::{Live, LiveImage, LiveVolume};
use crate::manifest::schema::Scope;
use crate::units::Gib;

/// What is to be adopted, and as what.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The address it shall have.
    pub address: &'a Address,
    /// Its id or its name on DigitalOcean.
    pub id: &'a str,
    /// Whether a volume may be attached to a droplet that is not the environment's.
    pub attached: bool,
}

/// What adopting something comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The address it gets.
    pub address: Address,
    /// What kind of thing it is.
    pub resource: TaggedResource,
    /// Its id.
    pub id: String,
    /// Its name on DigitalOcean, which stays.
    pub name: String,
    /// What else tells it from others, in words.
    pub described: String,
    /// The name that a tag is to remember, as its own is another.
    pub called: Option<String>,
    /// Tags it gets, sorted; none when it is adopted already.
    pub add: Vec<String>,
    /// Tags it loses, sorted: names it no longer has.
    pub remove: Vec<String>,
    /// What the next plan makes of it; unknown while the plan is refused for other reasons.
    pub next: Option<Change>,
}

impl Adoption {
    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// Judges an adoption; `now` is seconds since 1970.
///
/// # Errors
/// When there is no such address or thing, it is somebody else's, or the manifest could not be
/// realised with it.
pub fn adopt(
    desired: &Desired,
    live: &Live,
    wanted: Wanted<'_>,
    now: i64,
) -> Result<Adoption, Refusals> {
    let owner = Owner::new(&desired.scope.project, &desired.scope.environment);
    let judged = match wanted.address {
        Address::Volume(_) => volume(desired, live, &owner, wanted),
        Address::Snapshot(_) => snapshot(desired, live, &owner, wanted),
        address => Err(refusal(
            address,
            RefusalKind::NoSuchAddress,
            "only volumes and snapshots can be adopted".to_owned(),
            "droplets, the firewall and the key are made anew by `dewpoint apply`",
        )),
    };
    let mut adoption = judged.map_err(|refusal| Refusals {
        refusals: vec![refusal],
    })?;
    let before = plan(desired, live, &Options::default(), now);
    let after = plan(desired, &adopted(live, &adoption), &Options::default(), now);
    match after {
        Ok(after) => {
            let changes = after.changes.into_iter();
            adoption.next = changes
                .filter(|change| change.id.as_deref() == Some(&adoption.id))
                .find(|change| change.address == adoption.address);
        }
        Err(after) => {
            let before = before.map_or_else(|refused| refused.refusals, |_| Vec::new());
            // What stood in the way before, elsewhere, is no reason against this.
            let new = after.refusals.into_iter().filter(|refusal| {
                let its_own = refusal.address.as_ref() == Some(wanted.address);
                let is_attached = matches!(
                    refusal.kind,
                    RefusalKind::AttachedElsewhere | RefusalKind::Held
                );
                let meant = wanted.attached && is_attached;
                (its_own || !before.contains(refusal)) && !meant
            });
            Refusals::or(new.collect(), ())?;
        }
    }
    let replaced = adoption
        .next
        .as_ref()
        .filter(|change| !matches!(change.action, Action::Keep | Action::Update));
    if let Some(change) = replaced {
        let reasons: Vec<&str> = change.reasons.iter().map(|r| r.text.as_str()).collect();
        return Err(Refusals {
            refusals: vec![refusal(
                wanted.address,
                RefusalKind::Image,
                format!(
                    "the next apply would not use `{}`: {}",
                    adoption.name,
                    reasons.join("; ")
                ),
                "change the manifest so that it would, or adopt another",
            )],
        });
    }
    Ok(adoption)
}

fn refusal(
    address: &Address,
    kind: RefusalKind,
    reason: String,
    help: impl Into<String>,
) -> Refusal {
    Refusal {
        address: Some(address.clone()),
        kind,
        reason,
        help: help.into(),
    }
}

/// What exists once the tags are given.
fn adopted(live: &Live, adoption: &Adoption) -> Live {
    let mut live = live.clone();
    let tags = match adoption.resource {
        TaggedResource::Volume => live
            .volumes
            .iter_mut()
            .find(|volume| volume.id == adoption.id)
            .map(|volume| &mut volume.tags),
        TaggedResource::Image => live
            .images
            .iter_mut()
            .find(|image| image.id.to_string() == adoption.id)
            .map(|image| &mut image.tags),
        TaggedResource::Droplet => None,
    };
    if let Some(tags) = tags {
        tags.retain(|tag| !adoption.remove.contains(tag));
        tags.extend(adoption.add.iter().cloned());
        tags.sort();
    }
    live
}

/// Tags that are missing, and names to forget: both sorted.
fn difference(tags: &[String], live: &[String]) -> (Vec<String>, Vec<String>) {
    let mut add: Vec<String> = tags
        .iter()
        .filter(|tag| !live.contains(tag))
        .cloned()
        .collect();
    add.sort();
    let remove = live
        .iter()
        .filter(|tag| ownership::is_name_tag(tag) && !tags.contains(tag))
        .cloned()
        .collect();
    (add, remove)
}

/// Whose something is, when it is another project's or another environment's.
fn other_owner(owner: &Owner, tags: &[String]) -> Option<String> {
    if let Some(tag) = owner.other_environment(tags) {
        let environment = tag.rsplit(':').next().unwrap_or(tag);
        return Some(format!("environment {environment} of this project"));
    }
    if owner.in_project(tags) {
        return None;
    }
    let project = tags.iter().find_map(|tag| tag.strip_prefix("dewpoint:"))?;
    let project = project.split(':').next().unwrap_or(project);
    Some(format!("project {project}"))
}

/// The nearest of some names, for a hint.
fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .min()
        .map(|(_, name)| name)
}

fn unknown<'a>(address: &Address, known: impl Iterator<Item = &'a Address>) -> Refusal {
    let known: Vec<String> = known.map(ToString::to_string).collect();
    let help = match nearest(&address.to_string(), known.iter().map(String::as_str)) {
        Some(nearest) => format!("the nearest there is: `{nearest}`"),
        None => "write it into the manifest first: it says what the thing is to be".to_owned(),
    };
    refusal(
        address,
        RefusalKind::NoSuchAddress,
        "it is not in the manifest".to_owned(),
        help,
    )
}

fn missing(address: &Address, kind: &str, given: &str, nearest: Option<&str>) -> Refusal {
    let help = match nearest {
        Some(nearest) => format!("give an id or a name; the nearest there is: `{nearest}`"),
        None => format!("the account has no {kind} at all"),
    };
    refusal(
        address,
        RefusalKind::Missing,
        format!("the account has no {kind} `{given}`"),
        help,
    )
}

fn volume(
    desired: &Desired,
    live: &Live,
    owner: &Owner,
    wanted: Wanted<'_>,
) -> Result<Adoption, Refusal> {
    let address = wanted.address;
    let mut declared = desired.volumes.iter();
    let Some(volume) = declared.find(|volume| volume.address == *address) else {
        return Err(unknown(
            address,
            desired.volumes.iter().map(|volume| &volume.address),
        ));
    };
    if volume.size.is_none() {
        return Err(refusal(
            address,
            RefusalKind::Owned,
            "the manifest says `existing`: someone's own volume, which is used and never tagged"
                .to_owned(),
            "write its `size` in place of `existing` if it shall become the project's",
        ));
    }
    let found = find_volume(desired, live, wanted)?;
    not_anothers(desired, volume, owner, found, address)?;
    stands_for_nothing_else(desired, live, volume, owner, found)?;
    let ours = |id: &u64| live.droplets.iter().any(|droplet| droplet.id == *id);
    if let Some(holder) = found.droplet_ids.iter().find(|id| !ours(id))
        && !wanted.attached
    {
        return Err(refusal(
            address,
            RefusalKind::AttachedElsewhere,
            format!(
                "`{}` is attached to droplet {holder}, which is not of this environment",
                found.name
            ),
            "detach it first; or add `--attached` to adopt it all the same: it can be mounted once it is detached",
        ));
    }
    let called = (found.name != volume.name).then(|| volume.name.clone());
    let mut tags = volume.tags.clone();
    tags.extend(called.as_deref().map(ownership::name_tag));
    let (add, remove) = difference(&tags, &found.tags);
    let attached = if found.droplet_ids.is_empty() {
        ""
    } else {
        ", attached to a droplet"
    };
    Ok(Adoption {
        address: address.clone(),
        resource: TaggedResource::Volume,
        id: found.id.clone(),
        name: found.name.clone(),
        described: format!("{} in {}{attached}", Gib(found.size_gib), found.region),
        called,
        add,
        remove,
        next: None,
    })
}

fn find_volume<'a>(
    desired: &Desired,
    live: &'a Live,
    wanted: Wanted<'_>,
) -> Result<&'a LiveVolume, Refusal> {
    let region = &desired.scope.region;
    let by_id = live.volumes.iter().find(|volume| volume.id == wanted.id);
    let named = || {
        live.volumes
            .iter()
            .filter(|volume| volume.name == wanted.id)
    };
    let found = by_id
        .or_else(|| named().find(|volume| volume.region == *region))
        .or_else(|| named().next());
    let Some(found) = found else {
        let names = live.volumes.iter().map(|volume| volume.name.as_str());
        return Err(missing(
            wanted.address,
            "volume",
            wanted.id,
            nearest(wanted.id, names),
        ));
    };
    if found.region != *region {
        return Err(refusal(
            wanted.address,
            RefusalKind::Region,
            format!(
                "`{}` is in {}, and a volume cannot move to {region}",
                found.name, found.region
            ),
            format!(
                "set `region: {}`, or adopt a volume in {region}",
                found.region
            ),
        ));
    }
    Ok(found)
}

fn not_anothers(
    desired: &Desired,
    volume: &Volume,
    owner: &Owner,
    found: &LiveVolume,
    address: &Address,
) -> Result<(), Refusal> {
    let owned = |whose: String, help: &str| {
        Err(refusal(
            address,
            RefusalKind::Owned,
            format!("`{}` belongs to {whose}", found.name),
            help,
        ))
    };
    if let Some(whose) = other_owner(owner, &found.tags) {
        return owned(
            whose,
            "adopt another; or take that owner's `dewpoint` tags from it first, if nobody there needs it any more",
        );
    }
    match volume.scope {
        Scope::Environment if owner.in_project_only(&found.tags) => owned(
            "the project, and the manifest's is the environment's".to_owned(),
            "set `scope: project` (the default): what the project keeps is not to go with an environment",
        ),
        Scope::Project if owner.in_environment(&found.tags) => owned(
            format!(
                "environment {}, and the manifest's is the project's",
                desired.scope.environment
            ),
            "set `scope: environment`, or take the environment's tags from it first",
        ),
        _ => Ok(()),
    }
}

/// One volume for each address, and one address for each volume.
fn stands_for_nothing_else(
    desired: &Desired,
    live: &Live,
    volume: &Volume,
    owner: &Owner,
    found: &LiveVolume,
) -> Result<(), Refusal> {
    let address = &volume.address;
    let renames = Renames::find(&desired.scope, live);
    let scope = renames.scope(&desired.scope);
    let is_ours = |volume: &LiveVolume| super::compare::volume::is_ours(owner, volume);
    for other in &desired.volumes {
        if other.address == *address {
            continue;
        }
        if other.size.is_none() && other.name == found.name {
            return Err(refusal(
                address,
                RefusalKind::Owned,
                format!(
                    "{} uses `{}` as someone's own (`existing`)",
                    other.address, found.name
                ),
                format!("take {} out of the manifest first", other.address),
            ));
        }
    }
    if let Some(other) = scope.volumes.get(&found.name)
        && other != address
        && is_ours(found)
    {
        return Err(refusal(
            address,
            RefusalKind::Owned,
            format!("`{}` is {other} already", found.name),
            format!(
                "to rename it, replace {other} in the manifest by {address} with `was`: a volume has one address"
            ),
        ));
    }
    let standing = scope
        .volumes
        .iter()
        .find(|(_, known)| *known == address)
        .and_then(|(name, _)| {
            let here = |volume: &&LiveVolume| volume.region == scope.region && is_ours(volume);
            live.volumes
                .iter()
                .filter(here)
                .find(|volume| volume.name == *name)
        });
    match standing {
        Some(standing) if standing.id != found.id => Err(refusal(
            address,
            RefusalKind::NameTaken,
            format!("it is `{}` ({}) already", standing.name, standing.id),
            "give the one to adopt an address of its own in the manifest",
        )),
        _ => Ok(()),
    }
}

/// Judges the file system that the API tells of a volume: one that was made with it.
///
/// # Errors
/// When it is not the manifest's.
pub fn judge_filesystem(
    desired: &Desired,
    adoption: &Adoption,
    filesystem: &str,
) -> Result<(), Refusals> {
    let volume = desired
        .volumes
        .iter()
        .find(|volume| volume.address == adoption.address);
    let other = volume.filter(|volume| word(volume.filesystem) != filesystem);
    let refused = other.map(|volume| {
        refusal(
            &adoption.address,
            RefusalKind::Filesystem,
            format!(
                "`{}` has {filesystem}, and the manifest says {}",
                adoption.name,
                word(volume.filesystem)
            ),
            format!("set `filesystem: {filesystem}`, or adopt another"),
        )
    });
    Refusals::or(refused.into_iter().collect(), ())
}

fn snapshot(
    desired: &Desired,
    live: &Live,
    owner: &Owner,
    wanted: Wanted<'_>,
) -> Result<Adoption, Refusal> {
    let address = wanted.address;
    let mut declared = desired.snapshots.iter();
    let Some(snapshot) = declared.find(|snapshot| snapshot.address == *address) else {
        return Err(unknown(
            address,
            desired.snapshots.iter().map(|snapshot| &snapshot.address),
        ));
    };
    let found = find_image(live, wanted)?;
    usable(desired, snapshot, owner, found)?;
    let stands = |image: &&LiveImage| {
        owner.in_project(&image.tags)
            && ownership::called(&image.name, &image.tags) == snapshot.image_name
    };
    if let Some(standing) = live.images.iter().filter(stands).find(|i| i.id != found.id) {
        return Err(refusal(
            address,
            RefusalKind::NameTaken,
            format!(
                "there is a snapshot of this recipe already: `{}` ({})",
                standing.name, standing.id
            ),
            "one is enough; to use the other one, delete this one first",
        ));
    }
    let called = (found.name != snapshot.image_name).then(|| snapshot.image_name.clone());
    let mut tags = snapshot.tags.clone();
    tags.extend(called.as_deref().map(ownership::name_tag));
    let (add, remove) = difference(&tags, &found.tags);
    Ok(Adoption {
        address: address.clone(),
        resource: TaggedResource::Image,
        id: found.id.to_string(),
        name: found.name.clone(),
        described: format!(
            "{}.{} GB in {}, for disks of {} and more",
            found.size_mb / 1_000,
            found.size_mb % 1_000 / 100,
            found.regions.join(", "),
            Gib(found.min_disk_gib)
        ),
        called,
        add,
        remove,
        next: None,
    })
}

fn find_image<'a>(live: &'a Live, wanted: Wanted<'_>) -> Result<&'a LiveImage, Refusal> {
    let by_id = live
        .images
        .iter()
        .find(|image| image.id.to_string() == wanted.id);
    if let Some(found) = by_id {
        return Ok(found);
    }
    let mut named = live.images.iter().filter(|image| image.name == wanted.id);
    let Some(found) = named.next() else {
        let names = live.images.iter().map(|image| image.name.as_str());
        return Err(missing(
            wanted.address,
            "snapshot",
            wanted.id,
            nearest(wanted.id, names),
        ));
    };
    let others: Vec<String> = named.map(|image| image.id.to_string()).collect();
    if others.is_empty() {
        return Ok(found);
    }
    Err(refusal(
        wanted.address,
        RefusalKind::NameTaken,
        format!(
            "there are {} snapshots named `{}`",
            others.len() + 1,
            wanted.id
        ),
        format!("give an id: {} or {}", found.id, others.join(" or ")),
    ))
}

fn usable(
    desired: &Desired,
    snapshot: &Snapshot,
    owner: &Owner,
    found: &LiveImage,
) -> Result<(), Refusal> {
    let address = &snapshot.address;
    if let Some(whose) = other_owner(owner, &found.tags) {
        return Err(refusal(
            address,
            RefusalKind::Owned,
            format!("`{}` belongs to {whose}", found.name),
            "adopt another; or take that owner's `dewpoint` tags from it first, if nobody there needs it any more",
        ));
    }
    let called = ownership::called(&found.name, &found.tags);
    if let Some(other) = names::snapshot_of(&desired.scope.project, called)
        && owner.in_project(&found.tags)
        && other != snapshot.name
    {
        return Err(refusal(
            address,
            RefusalKind::Owned,
            format!("`{}` is of snapshot.{other}", found.name),
            "adopt another: an image stands for one snapshot of the manifest",
        ));
    }
    if found.status != super::compare::snapshot::AVAILABLE {
        return Err(refusal(
            address,
            RefusalKind::Image,
            format!("`{}` is {}, not available", found.name, found.status),
            "wait until it is, or adopt another",
        ));
    }
    let region = &desired.scope.region;
    if !found.regions.contains(region) && snapshot.regions.is_none() {
        return Err(refusal(
            address,
            RefusalKind::Region,
            format!(
                "`{}` is in {}, not in {region}",
                found.name,
                found.regions.join(", ")
            ),
            format!(
                "add `regions: [{region}]` to {address} so that it is copied here, or set `region` to where it is"
            ),
        ));
    }
    Ok(())
}
