//! What only `apply` used to find out: whether the account, the region and the manifest's own
//! limits allow what the plan is about to make.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Draft, PlannedDroplet};
use super::cost::Up;
use super::error::{Refusal, RefusalKind};
use super::step::{ImageRef, StepKind};
use crate::address::{Address, wildcard};
use crate::desired::{Desired, Image};
use crate::live::SizeOffer;
use crate::units::Money;

/// The API attaches at most this many volumes to a droplet.
const VOLUMES_PER_DROPLET: usize = 15;
/// The API takes at most this many rules in a firewall.
const RULES_PER_FIREWALL: usize = 50;

/// Checks everything that can be known before the first step.
pub(super) fn check(
    desired: &Desired,
    planned: &[PlannedDroplet<'_>],
    up: &Up<'_>,
    draft: &mut Draft<'_>,
) {
    let mut refusals = Vec::new();
    account(draft, &mut refusals);
    region(desired, draft, &mut refusals);
    copies(draft, &mut refusals);
    sizes_and_images(desired, planned, draft, &mut refusals);
    limits(desired, up, draft, &mut refusals);
    for droplet in &desired.droplets {
        if droplet.mounts.len() > VOLUMES_PER_DROPLET {
            refusals.push(refusal(
                Some(&droplet.address),
                RefusalKind::AccountLimit,
                format!("it mounts more than {VOLUMES_PER_DROPLET} volumes"),
                "mount fewer volumes",
            ));
        }
    }
    if let Some(firewall) = &desired.firewall
        && firewall.inbound.len() + firewall.outbound.len() > RULES_PER_FIREWALL
    {
        refusals.push(refusal(
            Some(&Address::Firewall),
            RefusalKind::AccountLimit,
            format!("it has more than {RULES_PER_FIREWALL} rules"),
            "merge rules: several networks may stand in one",
        ));
    }
    draft.refusals.extend(refusals);
}

fn refusal(
    address: Option<&Address>,
    kind: RefusalKind,
    reason: impl Into<String>,
    help: impl Into<String>,
) -> Refusal {
    Refusal {
        address: address.cloned(),
        kind,
        reason: reason.into(),
        help: help.into(),
    }
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

fn account(draft: &Draft<'_>, refusals: &mut Vec<Refusal>) {
    let account = &draft.live.account;
    let (mut droplets, mut volumes, mut destroyed, mut builders) = (0, 0, 0, 0);
    let known: BTreeSet<&str> = draft.live.volumes.iter().map(|v| v.name.as_str()).collect();
    let is_new = |name: &str| !known.contains(name);
    for kind in draft.graph.kinds() {
        match kind {
            StepKind::CreateDroplets { droplets: new, .. } => droplets += new.len(),
            // A leftover of that name goes first.
            StepKind::CreateVolume { spec } | StepKind::CloneVolume { spec, .. } => {
                volumes += usize::from(is_new(&spec.name));
            }
            StepKind::DestroyDroplet { droplet, .. } => match droplet {
                super::step::DropletRef::Known { .. } => destroyed += 1,
                super::step::DropletRef::Created { name, .. } => {
                    builders += usize::from(name.contains("-builder."));
                }
            },
            _ => {}
        }
    }
    if droplets + volumes > 0 && account.status == "locked" {
        refusals.push(refusal(
            None,
            RefusalKind::AccountState,
            "the account is locked, so nothing can be made",
            "see the account's page on DigitalOcean, or use another token",
        ));
    }
    let limit = account.droplet_limit as usize;
    let ours = draft
        .live
        .droplets
        .iter()
        .filter(|droplet| draft.owner.in_environment(&droplet.tags))
        .count();
    // Builders are gone before most droplets are made from their snapshots.
    let least = (ours + droplets - builders)
        .saturating_sub(destroyed)
        .max(usize::from(builders > 0));
    if limit > 0 && least > limit {
        refusals.push(refusal(
            None,
            RefusalKind::AccountLimit,
            format!(
                "the environment would have {} at once, and the account may have {limit}",
                counted(least, "droplet")
            ),
            "lower `count`, or ask DigitalOcean for a higher limit",
        ));
    }
    let limit = account.volume_limit as usize;
    let volumes = volumes + draft.live.volumes.len();
    if limit > 0 && volumes > limit {
        refusals.push(refusal(
            None,
            RefusalKind::AccountLimit,
            format!(
                "the account would have {}, and may have {limit}",
                counted(volumes, "volume")
            ),
            "delete volumes that are not needed, or ask DigitalOcean for a higher limit",
        ));
    }
}

fn region(desired: &Desired, draft: &Draft<'_>, refusals: &mut Vec<Refusal>) {
    let regions = &draft.live.catalog.regions;
    if regions.is_empty() {
        return;
    }
    let slug = &desired.scope.region;
    let Some(region) = draft.live.catalog.region(slug) else {
        let known: Vec<&str> = regions.iter().map(|region| region.slug.as_str()).collect();
        refusals.push(refusal(
            None,
            RefusalKind::Region,
            format!("there is no region `{slug}`"),
            format!("use one of {}", known.join(", ")),
        ));
        return;
    };
    let creates = draft
        .graph
        .kinds()
        .any(|kind| matches!(kind, StepKind::CreateDroplets { .. }));
    if creates && !region.available {
        refusals.push(refusal(
            None,
            RefusalKind::Region,
            format!("region {slug} takes no new droplets now"),
            "use another region, or try later",
        ));
    }
    if !desired.volumes.is_empty() && !region.features.iter().any(|feature| feature == "storage") {
        refusals.push(refusal(
            None,
            RefusalKind::Region,
            format!("region {slug} has no volumes"),
            "use a region with the feature `storage`",
        ));
    }
}

/// Whether snapshots can be copied to where they shall be.
fn copies(draft: &Draft<'_>, refusals: &mut Vec<Refusal>) {
    let regions = &draft.live.catalog.regions;
    if regions.is_empty() {
        return;
    }
    for (address, slug) in draft.graph.transfers() {
        let takes_copies = draft.live.catalog.region(slug).map(|region| {
            region
                .features
                .iter()
                .any(|feature| feature == "image_transfer")
        });
        let reason = match takes_copies {
            Some(true) => continue,
            Some(false) => format!("region {slug} takes no copies of snapshots"),
            None => format!("there is no region `{slug}`"),
        };
        let known: Vec<&str> = regions
            .iter()
            .filter(|region| {
                region
                    .features
                    .iter()
                    .any(|feature| feature == "image_transfer")
            })
            .map(|region| region.slug.as_str())
            .collect();
        refusals.push(refusal(
            Some(address),
            RefusalKind::Region,
            reason,
            format!(
                "take it out of `regions`, or use one of {}",
                known.join(", ")
            ),
        ));
    }
}

fn sizes_and_images(
    desired: &Desired,
    planned: &[PlannedDroplet<'_>],
    draft: &Draft<'_>,
    refusals: &mut Vec<Refusal>,
) {
    // One look for each size and image that something is made of, named by the first that asks.
    let mut made: BTreeMap<(&str, &Image), &Address> = BTreeMap::new();
    for planned in planned.iter().filter(|planned| planned.live.is_none()) {
        let droplet = planned.droplet;
        made.entry((&droplet.size, &droplet.image))
            .or_insert(&droplet.address);
    }
    for planned in draft.volumes.values() {
        if let Some(populate) = planned.populate {
            made.entry((&populate.size, &populate.image))
                .or_insert(&planned.volume.address);
        }
    }
    for planned in draft.images.values() {
        if let ImageRef::Taken(_) = planned.reference {
            let snapshot = planned.snapshot;
            made.entry((&snapshot.size, &snapshot.from))
                .or_insert(&snapshot.address);
        }
    }
    for ((slug, image), address) in made {
        let size = if draft.live.catalog.sizes.is_empty() {
            None
        } else {
            size(slug, address, desired, draft, refusals)
        };
        let least = match image {
            Image::Slug(slug) => public_image(slug, address, desired, draft, refusals),
            Image::Id(id) => private_image(*id, address, desired, draft, refusals),
            Image::Snapshot(name) => draft
                .images
                .get(name.as_str())
                .and_then(|planned| planned.min_disk_gib),
        };
        if let (Some(size), Some(least)) = (size, least)
            && size.disk_gib < least
        {
            let help = match image {
                Image::Snapshot(name) => format!(
                    "use a size with at least {least} GiB of disk, or build snapshot.{name} on a smaller size under another name"
                ),
                _ => format!("use a size with at least {least} GiB of disk"),
            };
            refusals.push(refusal(
                Some(address),
                RefusalKind::Disk,
                format!(
                    "size {slug} has {} GiB of disk, and its image needs {least} GiB",
                    size.disk_gib
                ),
                help,
            ));
        }
    }
}

fn size<'d>(
    slug: &str,
    address: &Address,
    desired: &Desired,
    draft: &'d Draft<'_>,
    refusals: &mut Vec<Refusal>,
) -> Option<&'d SizeOffer> {
    let region = &desired.scope.region;
    let Some(size) = draft.live.catalog.size(slug) else {
        refusals.push(refusal(
            Some(address),
            RefusalKind::Size,
            format!("there is no size `{slug}`"),
            "use a size that the account is offered, such as s-1vcpu-1gb",
        ));
        return None;
    };
    if !size.available || !size.regions.contains(region) {
        let help = if size.regions.is_empty() {
            "use another size".to_owned()
        } else {
            format!(
                "use another size, or one of the regions {}",
                size.regions.join(", ")
            )
        };
        refusals.push(refusal(
            Some(address),
            RefusalKind::Size,
            format!("size {slug} is not to be had in {region}"),
            help,
        ));
    }
    Some(size)
}

/// What a public image needs, when somebody asked the API about it.
fn public_image(
    slug: &str,
    address: &Address,
    desired: &Desired,
    draft: &Draft<'_>,
    refusals: &mut Vec<Refusal>,
) -> Option<u32> {
    let catalog = &draft.live.catalog;
    let Some(image) = catalog.images.get(slug)? else {
        refusals.push(refusal(
            Some(address),
            RefusalKind::Image,
            format!("there is no image `{slug}`"),
            similar(slug, &catalog.distributions),
        ));
        return None;
    };
    let region = &desired.scope.region;
    if image.status != super::compare::snapshot::AVAILABLE {
        refusals.push(refusal(
            Some(address),
            RefusalKind::Image,
            format!(
                "image {slug} is `{}`, so nothing can be made from it",
                image.status
            ),
            "use another image",
        ));
    } else if !image.regions.is_empty() && !image.regions.contains(region) {
        refusals.push(refusal(
            Some(address),
            RefusalKind::Image,
            format!(
                "image {slug} is in {}, not in {region}",
                image.regions.join(", ")
            ),
            "use another image, or one of its regions",
        ));
    }
    Some(image.min_disk_gib)
}

/// The most slugs that help names.
const MOST_SIMILAR: usize = 5;

/// What may have been meant by a slug that is none.
fn similar(slug: &str, known: &[String]) -> String {
    // The distribution, or what stands for it: `ubuntu` of `ubuntu-24-04`.
    let stem = |slug: &str| slug.split('-').next().unwrap_or_default().to_owned();
    let mut near: Vec<&str> = known.iter().map(String::as_str).collect();
    near.sort_by_cached_key(|known| {
        // An unfinished slug is nearer to what begins with it than to another as long as itself.
        let is_beginning = known.starts_with(slug);
        let same_stem = stem(known) == stem(slug);
        (
            !is_beginning,
            !same_stem,
            strsim::damerau_levenshtein(slug, known),
        )
    });
    near.truncate(MOST_SIMILAR);
    match near.as_slice() {
        [] => "use the slug of a distribution, such as ubuntu-24-04-x64, or the id of an image"
            .to_owned(),
        near => format!(
            "use the slug of a distribution, such as {}, or the id of an image",
            near.join(", ")
        ),
    }
}

fn private_image(
    id: u64,
    address: &Address,
    desired: &Desired,
    draft: &Draft<'_>,
    refusals: &mut Vec<Refusal>,
) -> Option<u32> {
    // Ids of public images are fine too, and not listed here.
    let image = draft.live.images.iter().find(|image| image.id == id)?;
    let region = &desired.scope.region;
    if !image.regions.contains(region) {
        refusals.push(refusal(
            Some(address),
            RefusalKind::Image,
            format!(
                "image {id} is in {}, not in {region}",
                image.regions.join(", ")
            ),
            "use the image's region, or copy the image",
        ));
    }
    if image.status != super::compare::snapshot::AVAILABLE {
        refusals.push(refusal(
            Some(address),
            RefusalKind::Image,
            format!(
                "image {id} is `{}`, so nothing can be made from it",
                image.status
            ),
            "wait until it is available, or use another",
        ));
    }
    Some(image.min_disk_gib)
}

fn limits(desired: &Desired, up: &Up<'_>, draft: &Draft<'_>, refusals: &mut Vec<Refusal>) {
    let Some(limits) = &desired.limits else {
        return;
    };
    let crate::manifest::schema::Limits {
        droplets,
        cost_per_hour,
        sizes,
    } = limits;
    if let Some(most) = droplets
        && desired.droplets.len() > *most as usize
    {
        refusals.push(refusal(
            None,
            RefusalKind::Limits,
            format!(
                "the manifest asks for {}, and `limits.droplets` is {most}",
                counted(desired.droplets.len(), "droplet")
            ),
            "lower `count`, or raise the limit",
        ));
    }
    if let Some(most) = cost_per_hour {
        let hourly = up.hourly(&draft.live.catalog);
        if hourly.0 > *most {
            refusals.push(refusal(
                None,
                RefusalKind::Limits,
                format!(
                    "an hour costs {hourly} while all is up, and `limits.cost_per_hour` is {}",
                    Money(*most)
                ),
                "use fewer or smaller droplets, or raise the limit",
            ));
        }
    }
    if let Some(patterns) = sizes {
        let all = desired
            .snapshots
            .iter()
            .map(|snapshot| (snapshot.size.as_str(), &snapshot.address))
            .chain(desired.volumes.iter().filter_map(|volume| {
                let populate = volume.populate.as_ref()?;
                Some((populate.size.as_str(), &volume.address))
            }))
            .chain(
                desired
                    .droplets
                    .iter()
                    .map(|droplet| (droplet.size.as_str(), &droplet.address)),
            );
        // Each is told once, of what comes first.
        let mut used: BTreeMap<&str, &Address> = BTreeMap::new();
        for (size, address) in all {
            let first = used.entry(size).or_insert(address);
            *first = address.min(*first);
        }
        for (size, address) in used {
            let allowed = patterns.iter().any(|pattern| wildcard(pattern, size));
            if !allowed {
                refusals.push(refusal(
                    Some(address),
                    RefusalKind::Limits,
                    format!("size {size} is not among `limits.sizes`"),
                    format!("use a size that fits {}", patterns.join(", ")),
                ));
            }
        }
    }
}
