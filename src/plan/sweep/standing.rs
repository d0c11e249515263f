//! What stands in an account and is no sweep's: environments whose time is not over, and what outlives
//! them. Told, for nothing else tells of a project whose manifest is gone or has another name now.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::verdicts::{Verdicts, is_builder};
use super::words;
use crate::desired::names;
use crate::live::AccountWide;
use crate::live::claims::{Claim, Lease, claim, environment_of, lease};
use crate::plan::cost::{image_monthly, volume_monthly};
use crate::units::{Gib, Money};

/// What stands of an environment, or of a project beside its environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The project.
    pub project: String,
    /// The environment; none for what outlives the project's environments.
    pub environment: Option<String>,
    /// Slugs of the regions where something of it is, sorted.
    pub regions: BTreeSet<String>,
    /// Its droplets but for builders.
    pub droplets: Vec<Piece>,
    /// Droplets on which snapshots are built, or were to be.
    pub builders: Vec<Piece>,
    /// Its volumes.
    pub volumes: Vec<Piece>,
    /// Snapshots of droplets.
    pub snapshots: Vec<Piece>,
    /// Snapshots of volumes.
    pub volume_snapshots: Vec<Piece>,
    /// Its firewall, by name.
    pub firewall: Option<String>,
    /// When the last of it expires, seconds since 1970; none when something of it never does.
    pub expires_at: Option<i64>,
    /// What an hour of its droplets costs, as far as their sizes have a price.
    pub hourly: Money,
    /// What a month of its volumes and snapshots costs.
    pub monthly: Money,
    /// The command that ends it, in the folder of the project's manifest.
    pub ends_with: String,
}

/// A thing that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Its name on DigitalOcean.
    pub name: String,
    /// Its id on DigitalOcean.
    pub id: String,
    /// Its size, such as `10GiB`.
    pub size: String,
    /// When it was made, seconds since 1970, when the API says so.
    pub created_at: Option<i64>,
    /// What an hour of it costs, of what is billed by the hour.
    pub hourly: Option<Money>,
    /// What a month of it costs.
    pub monthly: Option<Money>,
}

/// What stands once what is doomed is gone, by project: first what outlives environments, then those
/// by name.
pub(super) fn of(account: &AccountWide, verdicts: &Verdicts<'_>) -> Vec<Standing> {
    let mut all = All::default();
    let live = &account.live;
    let gone: BTreeSet<u64> = verdicts.droplets.iter().map(|gone| gone.what.id).collect();
    for droplet in live.droplets.iter().filter(|live| !gone.contains(&live.id)) {
        let Some((project, environment, standing)) = all.whose(&droplet.tags) else {
            continue;
        };
        let price = live.catalog.size(&droplet.size);
        let piece = Piece {
            hourly: price.map(|size| size.price_hourly),
            monthly: price.map(|size| size.price_monthly),
            ..piece(
                &droplet.name,
                droplet.id,
                droplet.size.clone(),
                droplet.created_at,
            )
        };
        standing.regions.insert(droplet.region.clone());
        standing.hourly = standing.hourly + piece.hourly.unwrap_or_default();
        if environment.is_some_and(|env| is_builder(&droplet.name, project, env)) {
            standing.builders.push(piece);
        } else {
            standing.droplets.push(piece);
        }
        let until = match lease(&droplet.tags) {
            Lease::Until(at) => at,
            Lease::None | Lease::Unreadable => i64::MAX,
        };
        all.expires(&droplet.tags, until);
    }
    let gone: BTreeSet<&str> = (verdicts.volumes.iter())
        .map(|gone| gone.what.id.as_str())
        .collect();
    for volume in &live.volumes {
        if gone.contains(volume.id.as_str()) {
            continue;
        }
        let Some((_, _, standing)) = all.whose(&volume.tags) else {
            continue;
        };
        let size = Gib(volume.size_gib);
        let piece = piece(
            &volume.name,
            &volume.id,
            size.to_string(),
            volume.created_at,
        );
        standing.regions.insert(volume.region.clone());
        standing
            .volumes
            .push(stored(piece, volume_monthly(size), &mut standing.monthly));
        // One without a lease goes with the droplets of its environment.
        if let Lease::Until(at) = lease(&volume.tags) {
            all.expires(&volume.tags, at);
        }
    }
    let pruned: BTreeSet<u64> = verdicts.images.iter().map(|gone| gone.what.id).collect();
    for image in live.images.iter().filter(|live| !pruned.contains(&live.id)) {
        let Some((_, _, standing)) = all.whose(&image.tags) else {
            continue;
        };
        let piece = piece(
            &image.name,
            image.id,
            words::gb(image.size_mb),
            image.created_at,
        );
        standing.regions.extend(image.regions.iter().cloned());
        standing.snapshots.push(stored(
            piece,
            image_monthly(image.size_mb),
            &mut standing.monthly,
        ));
    }
    let swept: BTreeSet<&str> = (verdicts.volume_snapshots.iter())
        .map(|gone| gone.what.id.as_str())
        .collect();
    for snapshot in &live.volume_snapshots {
        if swept.contains(snapshot.id.as_str()) || gone.contains(snapshot.volume_id.as_str()) {
            continue;
        }
        let Some((_, _, standing)) = all.whose(&snapshot.tags) else {
            continue;
        };
        let monthly = image_monthly(snapshot.size_mb);
        let size = words::gb(snapshot.size_mb);
        let piece = piece(&snapshot.name, &snapshot.id, size, snapshot.created_at);
        standing.regions.extend(snapshot.regions.iter().cloned());
        standing
            .volume_snapshots
            .push(stored(piece, monthly, &mut standing.monthly));
    }
    let gone: BTreeSet<&str> = (verdicts.firewalls.iter())
        .map(|gone| gone.what.id.as_str())
        .collect();
    for wall in live
        .firewalls
        .iter()
        .filter(|wall| !gone.contains(wall.id.as_str()))
    {
        let mut named = wall.tags.iter().filter_map(|tag| environment_of(tag));
        let named = named.find(|(project, env)| wall.name == names::environment(project, env));
        if let Some((project, environment)) = named {
            all.entry(project, Some(environment)).firewall = Some(wall.name.clone());
        }
    }
    all.finish()
}

/// What stands, by whose it is.
#[derive(Default)]
struct All<'a> {
    standing: BTreeMap<(&'a str, Option<&'a str>), Standing>,
    expiries: BTreeMap<(&'a str, Option<&'a str>), i64>,
}

impl<'a> All<'a> {
    fn entry(&mut self, project: &'a str, environment: Option<&'a str>) -> &mut Standing {
        self.standing.entry((project, environment)).or_default()
    }

    /// Whose something is that bears these tags: that of which they say so without contradiction.
    fn whose(&mut self, tags: &'a [String]) -> Option<(&'a str, Option<&'a str>, &mut Standing)> {
        let Claim::Owned {
            project,
            environment,
        } = claim(tags)
        else {
            return None;
        };
        Some((project, environment, self.entry(project, environment)))
    }

    fn expires(&mut self, tags: &'a [String], until: i64) {
        if let Claim::Owned {
            project,
            environment,
        } = claim(tags)
        {
            let latest = self.expiries.entry((project, environment)).or_insert(until);
            *latest = until.max(*latest);
        }
    }

    fn finish(self) -> Vec<Standing> {
        let all = self.standing.into_iter();
        all.map(|(of, mut standing)| {
            let (project, environment) = of;
            for pieces in [
                &mut standing.droplets,
                &mut standing.builders,
                &mut standing.volumes,
                &mut standing.snapshots,
                &mut standing.volume_snapshots,
            ] {
                pieces.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
            }
            let expires_at = self.expiries.get(&of).copied();
            Standing {
                project: project.to_owned(),
                environment: environment.map(ToOwned::to_owned),
                expires_at: expires_at.filter(|at| *at < i64::MAX),
                ends_with: match environment {
                    Some(environment) => format!("dewpoint destroy --env {environment}"),
                    None => "dewpoint destroy --project".to_owned(),
                },
                ..standing
            }
        })
        .collect()
    }
}

fn piece(name: &str, id: impl ToString, size: String, created_at: i64) -> Piece {
    Piece {
        name: name.to_owned(),
        id: id.to_string(),
        size,
        created_at: (created_at > 0).then_some(created_at),
        hourly: None,
        monthly: None,
    }
}

/// Of something that is billed by the month.
fn stored(piece: Piece, monthly: Money, sum: &mut Money) -> Piece {
    *sum = *sum + monthly;
    Piece {
        monthly: Some(monthly),
        ..piece
    }
}
