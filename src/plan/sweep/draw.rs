//! From verdicts to steps: droplets first, then what they held, what let them be reached, and last
//! the tags that say whose all of it was.

use std::collections::BTreeMap;

use super::verdicts::{Doomed, Environment, Verdicts, holders};
use super::words::gb;
use super::{Found, FoundKind, Standing, Sweep, money};
use crate::address::Address;
use crate::digest::Digest;
use crate::live::claims::{Claim, claim};
use crate::live::{
    AccountWide, Catalog, LiveDroplet, LiveImage, LiveVolume, LiveVolumeSnapshot, ownership,
};
use crate::plan::change::{Action, Cause, Change, Reason};
use crate::plan::graph::Graph;
use crate::plan::step::{
    DeletedVolume, DropletRef, FirewallRef, StepId, StepKind, TaggedResource, VolumeRef,
};
use crate::plan::{Goal, Plan, Refusals, cost, expected};
use crate::units::{Gib, Money};

/// The plan that removes what was found, and what is told of it.
pub(super) fn draw(
    account: &AccountWide,
    verdicts: Verdicts<'_>,
    standing: Vec<Standing>,
    now: i64,
) -> Result<Sweep, Refusals> {
    let mut draft = Draft {
        graph: Graph::default(),
        found: Vec::new(),
        destroyed: BTreeMap::new(),
        ends: BTreeMap::new(),
        now,
    };
    let dated = draft.dates(&verdicts);
    draft.droplets(account, &verdicts.droplets, &dated);
    draft.volumes(account, &verdicts.volumes, &dated);
    draft.access(&verdicts);
    draft.images(&verdicts.images);
    draft.volume_snapshots(&verdicts.volume_snapshots);
    draft.tags(&verdicts);
    draft.finish(account, verdicts, standing)
}

struct Draft<'a> {
    graph: Graph,
    found: Vec<Found>,
    /// Steps that destroy a droplet, by its id.
    destroyed: BTreeMap<u64, StepId>,
    /// Steps after which something of an environment is gone.
    ends: BTreeMap<Environment<'a>, Vec<StepId>>,
    now: i64,
}

impl<'a> Draft<'a> {
    fn step(&mut self, address: &Address, kind: StepKind) -> StepId {
        let seconds = expected::seconds(&kind);
        self.graph.add(address.clone(), kind, seconds)
    }

    /// Takes note of a thing that goes, and of the step that removes it.
    fn found<T>(&mut self, doomed: &Doomed<'a, T>, step: StepId, found: Found) {
        if let Some(environment) = doomed.environment {
            let of = (doomed.project, environment);
            self.ends.entry(of).or_default().push(step);
        }
        self.found.push(Found {
            project: Some(doomed.project.to_owned()),
            environment: doomed.environment.map(ToOwned::to_owned),
            reason: doomed.reason.clone(),
            expired_at: doomed.expired_at,
            ..found
        });
    }

    /// A volume that bears no expiry of its own gets that of its environment before the droplets
    /// that bear it go: else a sweep that was cut off between the two would leave nothing that says
    /// that the volume is over.
    fn dates(&mut self, verdicts: &Verdicts<'a>) -> BTreeMap<Environment<'a>, Vec<StepId>> {
        let mut expired: BTreeMap<Environment<'a>, i64> = BTreeMap::new();
        let droplets = verdicts
            .droplets
            .iter()
            .map(|gone| (gone.project, gone.environment, gone.expired_at));
        let volumes = verdicts
            .volumes
            .iter()
            .map(|gone| (gone.project, gone.environment, gone.expired_at));
        for (project, environment, at) in droplets.chain(volumes) {
            if let (Some(environment), Some(at)) = (environment, at) {
                let latest = expired.entry((project, environment)).or_insert(at);
                *latest = at.max(*latest);
            }
        }
        let mut dated: BTreeMap<Environment<'a>, Vec<StepId>> = BTreeMap::new();
        for doomed in verdicts.volumes.iter().filter(|v| v.expired_at.is_none()) {
            let Some(of) = doomed.environment.map(|env| (doomed.project, env)) else {
                continue;
            };
            let Some(&at) = expired.get(&of) else {
                continue;
            };
            let step = self.step(
                &Address::volume(&doomed.what.name),
                StepKind::UpdateTags {
                    resource: TaggedResource::Volume,
                    id: doomed.what.id.clone(),
                    add: vec![ownership::expires_tag(at)],
                    remove: Vec::new(),
                },
            );
            dated.entry(of).or_default().push(step);
        }
        dated
    }

    fn droplets(
        &mut self,
        account: &AccountWide,
        droplets: &[Doomed<'a, LiveDroplet>],
        dated: &BTreeMap<Environment<'a>, Vec<StepId>>,
    ) {
        for doomed in droplets {
            let droplet = doomed.what;
            let address = Address::droplet(&droplet.name);
            let known = DropletRef::Known {
                id: droplet.id,
                name: droplet.name.as_str().into(),
            };
            // Volumes that stay leave it first: then nothing of theirs is cut off half-written by
            // the droplet's end, and they are free at once.
            let mut detaches: Vec<StepId> = Vec::new();
            for volume in staying(account, droplet) {
                let detach = self.step(
                    &address,
                    StepKind::Detach {
                        volume: VolumeRef::Known {
                            id: volume.id.clone(),
                        },
                        droplet: known.clone(),
                        region: volume.region.as_str().into(),
                    },
                );
                if let Some(&before) = detaches.last() {
                    self.graph
                        .after(before, detach, "one event per droplet at a time");
                }
                detaches.push(detach);
            }
            let tag = match doomed.environment {
                Some(environment) => ownership::environment_tag(doomed.project, environment),
                None => ownership::project_tag(doomed.project),
            };
            let destroy = self.step(
                &address,
                StepKind::DestroyDroplet {
                    droplet: known,
                    tag: tag.into(),
                },
            );
            for before in detaches {
                let reason = "volumes that stay leave it before it is destroyed";
                self.graph.after(before, destroy, reason);
            }
            let of = doomed.environment.map(|env| (doomed.project, env));
            for &step in of.and_then(|of| dated.get(&of)).into_iter().flatten() {
                let reason = "the volumes of its environment must say that they are over first";
                self.graph.needs(step, destroy, reason);
            }
            self.destroyed.insert(droplet.id, destroy);
            let (hourly, monthly) = prices(&account.live.catalog, droplet);
            let age = self.now - droplet.created_at;
            let found = Found {
                what: format!("{} in {}", droplet.size, droplet.region),
                created_at: Some(droplet.created_at),
                hourly,
                monthly,
                spent: hourly
                    .zip(monthly)
                    .map(|(hour, month)| money::hourly(hour, month, age)),
                ..found(FoundKind::Droplet, &droplet.name, Some(droplet.id))
            };
            self.found(doomed, destroy, found);
        }
    }

    fn volumes(
        &mut self,
        account: &AccountWide,
        volumes: &[Doomed<'a, LiveVolume>],
        dated: &BTreeMap<Environment<'a>, Vec<StepId>>,
    ) {
        let holders = holders(account);
        for doomed in volumes {
            let volume = doomed.what;
            let step = self.step(
                &Address::volume(&volume.name),
                StepKind::DeleteVolume {
                    volume: VolumeRef::Known {
                        id: volume.id.clone(),
                    },
                    name: volume.name.as_str().into(),
                    sort: if ownership::is_clone(&volume.tags) {
                        DeletedVolume::Clone
                    } else {
                        DeletedVolume::WithSnapshots
                    },
                },
            );
            let of = doomed.environment.map(|env| (doomed.project, env));
            let own = dated.get(&of.unwrap_or_default()).into_iter().flatten();
            for &before in own {
                self.graph
                    .after(before, step, "it is tagged before it goes");
            }
            for holder in holders.get(volume.id.as_str()).into_iter().flatten() {
                if let Some(&destroy) = self.destroyed.get(holder) {
                    let reason = "a volume can only be deleted once nothing holds it";
                    self.graph.needs(destroy, step, reason);
                }
            }
            let size = Gib(volume.size_gib);
            let monthly = cost::volume_monthly(size);
            let age = self.now - volume.created_at;
            let found = Found {
                what: format!("{size} in {}", volume.region),
                created_at: Some(volume.created_at),
                monthly: Some(monthly),
                spent: Some(money::monthly(monthly, age)),
                ..found(FoundKind::Volume, &volume.name, Some(&volume.id))
            };
            self.found(doomed, step, found);
        }
    }

    /// Firewalls and keys, once nothing of their environment is left that they serve.
    fn access(&mut self, verdicts: &Verdicts<'a>) {
        let steps: BTreeMap<Environment<'a>, Vec<StepId>> = self.ends.clone();
        let first = |environment: Option<&'a str>, project: &'a str| -> Vec<StepId> {
            let of = environment.map(|environment| (project, environment));
            of.and_then(|of| steps.get(&of).cloned())
                .unwrap_or_default()
        };
        for doomed in &verdicts.firewalls {
            let wall = doomed.what;
            let step = self.step(
                &Address::Firewall,
                StepKind::DeleteFirewall {
                    firewall: FirewallRef::Known(wall.id.clone()),
                    name: wall.name.clone(),
                },
            );
            for before in first(doomed.environment, doomed.project) {
                let reason = "droplets are covered by their firewall until they are gone";
                self.graph.needs(before, step, reason);
            }
            let found = found(FoundKind::Firewall, &wall.name, Some(&wall.id));
            self.found(doomed, step, found);
        }
        for doomed in &verdicts.keys {
            let key = doomed.what;
            let step = self.step(
                &Address::SshKey,
                StepKind::DeleteSshKey {
                    name: key.name.clone(),
                    fingerprint: key.fingerprint.clone(),
                    forget_private_key: false,
                },
            );
            for before in first(doomed.environment, doomed.project) {
                let reason = "the key opens droplets until they are gone";
                self.graph.needs(before, step, reason);
            }
            let found = found(FoundKind::SshKey, &key.name, Some(key.id));
            self.found(doomed, step, found);
        }
    }

    fn images(&mut self, images: &[Doomed<'a, LiveImage>]) {
        for doomed in images {
            let image = doomed.what;
            let step = self.step(
                &Address::snapshot(&image.name),
                StepKind::Prune {
                    id: image.id,
                    name: image.name.clone(),
                },
            );
            let monthly = cost::image_monthly(image.size_mb);
            let age = self.now - image.created_at;
            let found = Found {
                what: format!("{} in {}", gb(image.size_mb), image.regions.join(", ")),
                created_at: Some(image.created_at),
                monthly: Some(monthly),
                spent: Some(money::monthly(monthly, age)),
                ..found(FoundKind::Snapshot, &image.name, Some(image.id))
            };
            self.found(doomed, step, found);
        }
    }

    fn volume_snapshots(&mut self, snapshots: &[Doomed<'a, LiveVolumeSnapshot>]) {
        for doomed in snapshots {
            let snapshot = doomed.what;
            let step = self.step(
                &Address::volume(&snapshot.name),
                StepKind::DeleteVolumeSnapshot {
                    id: snapshot.id.clone(),
                    name: snapshot.name.clone(),
                },
            );
            let monthly = cost::image_monthly(snapshot.size_mb);
            let age = self.now - snapshot.created_at;
            let found = Found {
                what: format!(
                    "{} in {}",
                    gb(snapshot.size_mb),
                    snapshot.regions.join(", ")
                ),
                created_at: Some(snapshot.created_at),
                monthly: Some(monthly),
                spent: Some(money::monthly(monthly, age)),
                ..found(
                    FoundKind::VolumeSnapshot,
                    &snapshot.name,
                    Some(&snapshot.id),
                )
            };
            self.found(doomed, step, found);
        }
    }

    /// An environment's tag goes last and only when all else of it went: it is the proof of whose
    /// its firewall and its key are. Other tags go when nothing that bears them is left.
    fn tags(&mut self, verdicts: &Verdicts<'a>) {
        for (tag, of) in &verdicts.environments {
            let step = self.step(
                &Address::Firewall,
                StepKind::DeleteTags {
                    names: vec![(*tag).to_owned()],
                },
            );
            for &before in self.ends.get(of).into_iter().flatten() {
                let reason = "the tag proves whose the rest is, until that is gone";
                self.graph.needs(before, step, reason);
            }
            self.found.push(Found {
                project: Some(of.0.to_owned()),
                environment: Some(of.1.to_owned()),
                ..found(FoundKind::Tag, tag, None::<u64>)
            });
        }
        if verdicts.tags.is_empty() {
            return;
        }
        let takers = self.graph.takers_of_tags();
        let step = self.step(
            &Address::Firewall,
            StepKind::DeleteTags {
                names: verdicts.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            },
        );
        for taker in takers {
            let reason = "a tag goes once nothing bears it any more";
            self.graph.after(taker, step, reason);
        }
        for tag in &verdicts.tags {
            self.found.push(found(FoundKind::Tag, tag, None::<u64>));
        }
    }

    fn finish(
        mut self,
        account: &AccountWide,
        verdicts: Verdicts<'_>,
        standing: Vec<Standing>,
    ) -> Result<Sweep, Refusals> {
        // What belongs to no environment stands last.
        let rank = |found: &Found| {
            let Found {
                project,
                environment,
                kind,
                name,
                id,
                ..
            } = found;
            (
                project.is_none(),
                project.clone(),
                environment.clone(),
                *kind,
                name.clone(),
                id.clone(),
            )
        };
        self.found.sort_by_key(rank);
        let changes = self.found.iter().filter_map(change).collect();
        let (steps, edges) = self
            .graph
            .finish()
            .map_err(|cycle| Refusals::internal(&cycle.0))?;
        let live = &account.live;
        let cost = cost::of(
            &steps,
            &edges,
            &cost::Up::default(),
            &cost::Kept::default(),
            &live.catalog,
        );
        let plan = Plan {
            version: 1,
            // It is no single one's.
            project: String::new(),
            environment: String::new(),
            region: String::new(),
            goal: Goal::Sweep,
            desired_digest: Digest::of_bytes(b"sweep"),
            live_digest: crate::plan::build::streamed(live),
            changes,
            activities: Vec::new(),
            steps,
            edges,
            cost,
            notices: Vec::new(),
        };
        Ok(Sweep {
            found: self.found,
            left: verdicts.left,
            standing,
            plan,
        })
    }
}

/// Volumes of a project that are attached to a droplet.
fn staying<'l>(account: &'l AccountWide, droplet: &LiveDroplet) -> Vec<&'l LiveVolume> {
    let volumes = account.live.volumes.iter();
    volumes
        .filter(|volume| {
            let is_here =
                volume.droplet_ids.contains(&droplet.id) || droplet.volume_ids.contains(&volume.id);
            let is_projects = matches!(
                claim(&volume.tags),
                Claim::Owned {
                    environment: None,
                    ..
                }
            );
            is_here && is_projects
        })
        .collect()
}

fn prices(catalog: &Catalog, droplet: &LiveDroplet) -> (Option<Money>, Option<Money>) {
    let size = catalog.size(&droplet.size);
    (
        size.map(|size| size.price_hourly),
        size.map(|size| size.price_monthly),
    )
}

/// A thing of which nothing more is known; a tag, to begin with.
fn found(kind: FoundKind, name: &str, id: Option<impl ToString>) -> Found {
    Found {
        project: None,
        environment: None,
        kind,
        name: name.to_owned(),
        id: id.map(|id| id.to_string()),
        what: String::new(),
        reason: Reason {
            cause: Cause::Leftover,
            text: "nothing is left that bears it".to_owned(),
        },
        created_at: None,
        expired_at: None,
        hourly: None,
        monthly: None,
        spent: None,
    }
}

/// What the journal and the end of a run tell by. Tags are no resources.
fn change(found: &Found) -> Option<Change> {
    let name = found.name.clone();
    let address = match found.kind {
        FoundKind::Droplet => Address::droplet(&name),
        FoundKind::Volume | FoundKind::VolumeSnapshot => Address::volume(&name),
        FoundKind::Firewall => Address::Firewall,
        FoundKind::SshKey => Address::SshKey,
        FoundKind::Snapshot => Address::snapshot(&name),
        FoundKind::Tag => return None,
    };
    Some(Change {
        address,
        name,
        id: found.id.clone(),
        action: Action::Delete,
        reasons: vec![found.reason.clone()],
        fields: Vec::new(),
    })
}
