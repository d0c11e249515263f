//! What goes and what stays, thing by thing.

mod environments;
mod tags;
mod volume_snapshots;

use std::collections::{BTreeMap, BTreeSet};

use super::{Declared, FoundKind, LEFT_AFTER, LeftAlone};
use crate::desired::names;
use crate::live::claims::{Claim, Lease, claim, environment_of, expiry_of, lease};
use crate::live::{
    AccountWide, LiveDroplet, LiveFirewall, LiveImage, LiveSshKey, LiveVolume, LiveVolumeSnapshot,
    ownership,
};
use crate::plan::change::{Cause, Reason};

/// A project's environment.
pub(super) type Environment<'a> = (&'a str, &'a str);

/// A thing that goes.
pub(super) struct Doomed<'a, T> {
    pub what: &'a T,
    pub project: &'a str,
    pub environment: Option<&'a str>,
    pub expired_at: Option<i64>,
    pub reason: Reason,
}

/// What goes and what stays.
pub(super) struct Verdicts<'a> {
    pub droplets: Vec<Doomed<'a, LiveDroplet>>,
    pub volumes: Vec<Doomed<'a, LiveVolume>>,
    pub firewalls: Vec<Doomed<'a, LiveFirewall>>,
    pub keys: Vec<Doomed<'a, LiveSshKey>>,
    pub images: Vec<Doomed<'a, LiveImage>>,
    pub volume_snapshots: Vec<Doomed<'a, LiveVolumeSnapshot>>,
    /// Tags of environments.
    pub environments: Vec<(&'a str, Environment<'a>)>,
    /// Other tags.
    pub tags: Vec<&'a str>,
    pub left: Vec<LeftAlone>,
}

/// What is known of an environment once its droplets and volumes are judged.
#[derive(Default)]
struct State {
    /// Something of it goes, for its time is over.
    goes: bool,
    /// Something of it stays.
    stays: bool,
    /// Its firewall goes.
    wall_goes: bool,
}

struct Judge<'a> {
    account: &'a AccountWide,
    now: i64,
    /// Tags were made that nothing bears yet, and an expiry in the future is among them: an apply
    /// makes its tags first.
    begins: bool,
    /// Droplets and volumes that go, by id.
    gone: (BTreeSet<u64>, BTreeSet<&'a str>),
    out: Verdicts<'a>,
    states: BTreeMap<Environment<'a>, State>,
}

impl<'a> Verdicts<'a> {
    pub fn of(account: &'a AccountWide, declared: Option<&Declared>, now: i64) -> Self {
        let is_ahead = |tag: &str| expiry_of(tag).is_some_and(|at| at > now);
        let mut judge = Judge {
            account,
            now,
            begins: account
                .borne
                .iter()
                .any(|(tag, &count)| count == 0 && is_ahead(tag)),
            gone: (BTreeSet::new(), BTreeSet::new()),
            out: Verdicts {
                droplets: Vec::new(),
                volumes: Vec::new(),
                firewalls: Vec::new(),
                keys: Vec::new(),
                images: Vec::new(),
                volume_snapshots: Vec::new(),
                environments: Vec::new(),
                tags: Vec::new(),
                left: Vec::new(),
            },
            states: BTreeMap::new(),
        };
        judge.droplets();
        judge.volumes();
        judge.volume_snapshots();
        if let Some(declared) = declared {
            judge.images(declared);
        }
        judge.know_environments();
        judge.firewalls();
        judge.keys();
        judge.tags();
        let mut out = judge.out;
        out.droplets
            .sort_by(|a, b| (&a.what.name, a.what.id).cmp(&(&b.what.name, b.what.id)));
        out.volumes
            .sort_by(|a, b| (&a.what.name, &a.what.id).cmp(&(&b.what.name, &b.what.id)));
        out.left.sort();
        out.left.dedup();
        out
    }
}

fn because(cause: Cause, text: impl Into<String>) -> Reason {
    Reason {
        cause,
        text: text.into(),
    }
}

/// Whether a droplet is the builder of a snapshot of that environment, by its name.
pub(super) fn is_builder(name: &str, project: &str, environment: &str) -> bool {
    let environment = names::environment(project, environment);
    name.strip_prefix(&environment)
        .is_some_and(|rest| rest.starts_with("-builder."))
}

impl<'a> Judge<'a> {
    fn leave(&mut self, kind: FoundKind, name: &str, id: impl ToString, why: impl Into<String>) {
        self.out.left.push(LeftAlone {
            kind,
            name: name.to_owned(),
            id: Some(id.to_string()),
            why: why.into(),
        });
    }

    fn is_over(&self, at: i64) -> bool {
        at <= self.now
    }

    /// Whether something of which the API says when it was made has been there for so long that no
    /// apply can be about to go on from it.
    fn is_old(&self, created_at: i64) -> bool {
        created_at > 0 && self.now.saturating_sub(created_at) > LEFT_AFTER
    }

    /// Says of what nobody provably owns why it stays, if its tags look like dewpoint's.
    fn leave_unproven(&mut self, kind: FoundKind, name: &str, id: impl ToString, tags: &[String]) {
        match claim(tags) {
            Claim::Unclear => self.leave(
                kind,
                name,
                id,
                "its tags do not say without contradiction whose it is",
            ),
            Claim::Nobody if lease(tags) != Lease::None => self.leave(
                kind,
                name,
                id,
                "it bears an expiry, and no tags that say whose it is",
            ),
            _ => {}
        }
    }

    fn droplets(&mut self) {
        for droplet in &self.account.live.droplets {
            let LiveDroplet { name, id, tags, .. } = droplet;
            let Claim::Owned {
                project,
                environment,
            } = claim(tags)
            else {
                self.leave_unproven(FoundKind::Droplet, name, id, tags);
                continue;
            };
            let builder = environment.is_some_and(|env| is_builder(name, project, env));
            let what = if builder {
                "the builder of a snapshot: "
            } else {
                ""
            };
            let ours = environment.is_some() || name.starts_with(&format!("{project}-"));
            let (expired_at, reason) = match lease(tags) {
                Lease::Until(at) if self.is_over(at) && ours => {
                    let lost = if environment.is_none() {
                        "; the tag of its environment was taken from it"
                    } else {
                        ""
                    };
                    let text = format!("{what}its time is over{lost}");
                    (Some(at), because(Cause::Expiry, text))
                }
                Lease::Until(_) => continue,
                Lease::None if builder && self.is_old(droplet.created_at) => {
                    let text = format!("{what}left half-built, older than a day");
                    (None, because(Cause::Leftover, text))
                }
                Lease::None => {
                    self.leave(
                        FoundKind::Droplet,
                        name,
                        id,
                        "nothing says when it expires; the next apply of its environment gives it an expiry",
                    );
                    continue;
                }
                Lease::Unreadable => {
                    self.leave(
                        FoundKind::Droplet,
                        name,
                        id,
                        "its expiry is none that dewpoint writes",
                    );
                    continue;
                }
            };
            self.gone.0.insert(droplet.id);
            self.out.droplets.push(Doomed {
                what: droplet,
                project,
                environment,
                expired_at,
                reason,
            });
        }
    }

    fn goes(&self, droplet: u64) -> bool {
        self.gone.0.contains(&droplet)
    }

    fn volumes(&mut self) {
        // Environments in which something has expired, and those in which something goes on.
        let mut over: BTreeSet<Environment<'a>> = BTreeSet::new();
        let mut on: BTreeSet<Environment<'a>> = BTreeSet::new();
        for gone in &self.out.droplets {
            if let (Some(environment), Some(_)) = (gone.environment, gone.expired_at) {
                over.insert((gone.project, environment));
            }
        }
        for droplet in &self.account.live.droplets {
            if !self.goes(droplet.id) {
                on.extend(droplet.tags.iter().filter_map(|tag| environment_of(tag)));
            }
        }
        for volume in &self.account.live.volumes {
            let Claim::Owned {
                project,
                environment: Some(environment),
            } = claim(&volume.tags)
            else {
                continue;
            };
            match lease(&volume.tags) {
                Lease::Until(at) if self.is_over(at) => over.insert((project, environment)),
                Lease::Until(_) | Lease::Unreadable => on.insert((project, environment)),
                Lease::None => false,
            };
        }
        let holders = holders(self.account);
        for volume in &self.account.live.volumes {
            let LiveVolume { name, id, tags, .. } = volume;
            let Claim::Owned {
                project,
                environment,
            } = claim(tags)
            else {
                self.leave_unproven(FoundKind::Volume, name, id, tags);
                continue;
            };
            // What outlives environments is no sweep's.
            let Some(environment) = environment else {
                continue;
            };
            let of = (project, environment);
            let (expired_at, text) = match lease(tags) {
                Lease::Until(at) if self.is_over(at) => (Some(at), "its time is over"),
                Lease::Until(_) => continue,
                Lease::None if over.contains(&of) && !on.contains(&of) => {
                    (None, "its environment has expired")
                }
                Lease::None if on.contains(&of) => continue,
                Lease::None => {
                    let why = format!(
                        "nothing says when it expires; `dewpoint destroy --env {environment}` of {project} removes it"
                    );
                    self.leave(FoundKind::Volume, name, id, why);
                    continue;
                }
                Lease::Unreadable => {
                    let why = "its expiry is none that dewpoint writes";
                    self.leave(FoundKind::Volume, name, id, why);
                    continue;
                }
            };
            let held_by = holders.get(id.as_str()).into_iter().flatten();
            if let Some(&holder) = held_by.into_iter().find(|id| !self.goes(**id)) {
                let droplets = &self.account.live.droplets;
                let known = droplets.iter().find(|droplet| droplet.id == holder);
                let tag = ownership::environment_tag(project, environment);
                if known.is_some_and(|droplet| droplet.tags.contains(&tag)) {
                    // In use by its own environment.
                    continue;
                }
                let called = known.map_or_else(|| holder.to_string(), |d| d.name.clone());
                let why = format!("it is attached to droplet {called}, which stays");
                self.leave(FoundKind::Volume, name, id, why);
                continue;
            }
            self.gone.1.insert(id);
            self.out.volumes.push(Doomed {
                what: volume,
                project,
                environment: Some(environment),
                expired_at,
                reason: because(Cause::Expiry, text),
            });
        }
    }

    fn images(&mut self, declared: &Declared) {
        for image in &self.account.live.images {
            let LiveImage { name, id, tags, .. } = image;
            let Claim::Owned {
                project,
                environment: None,
            } = claim(tags)
            else {
                continue;
            };
            // Of a project no manifest was given for, nobody knows what it still needs.
            let Some(known) = declared.snapshots.get(project) else {
                continue;
            };
            let Some(snapshot) = names::snapshot_of(project, name) else {
                continue;
            };
            if known.contains(snapshot)
                || declared.images.contains(id)
                || image.status != "available"
            {
                continue;
            }
            if !self.is_old(image.created_at) {
                let why = "no manifest names it, but it is younger than a day";
                self.leave(FoundKind::Snapshot, name, id, why);
                continue;
            }
            let text =
                format!("no manifest of {project} that was given has a snapshot `{snapshot}`");
            self.out.images.push(Doomed {
                what: image,
                project,
                environment: None,
                expired_at: None,
                reason: because(Cause::Leftover, text),
            });
        }
        self.out
            .images
            .sort_by(|a, b| (&a.what.name, a.what.id).cmp(&(&b.what.name, b.what.id)));
    }

    /// Everything of the account that bears tags and is listed: its tags, and whether it goes.
    fn bearers(&self) -> Vec<(&'a [String], bool)> {
        let live = &self.account.live;
        let droplets = live
            .droplets
            .iter()
            .map(|droplet| (droplet.tags.as_slice(), self.goes(droplet.id)));
        let volumes = live.volumes.iter().map(|volume| {
            let goes = self.gone.1.contains(volume.id.as_str());
            (volume.tags.as_slice(), goes)
        });
        let pruned: BTreeSet<u64> = self.out.images.iter().map(|gone| gone.what.id).collect();
        let images = live
            .images
            .iter()
            .map(move |image| (image.tags.as_slice(), pruned.contains(&image.id)));
        let swept: BTreeSet<&str> = self
            .out
            .volume_snapshots
            .iter()
            .map(|gone| gone.what.id.as_str())
            .collect();
        let snapshots = live.volume_snapshots.iter().map(move |snapshot| {
            let goes_along = self.gone.1.contains(snapshot.volume_id.as_str());
            let goes = goes_along || swept.contains(snapshot.id.as_str());
            (snapshot.tags.as_slice(), goes)
        });
        let all = droplets.chain(volumes).chain(images);
        all.chain(snapshots).collect()
    }

    /// Gathers every environment that any tag names, and whether something of it stays.
    fn know_environments(&mut self) {
        let account = self.account;
        let mut listed: BTreeMap<&str, u64> = BTreeMap::new();
        for (tags, goes) in self.bearers() {
            for tag in tags {
                *listed.entry(tag).or_default() += 1;
                if let Some(of) = environment_of(tag) {
                    let state = self.states.entry(of).or_default();
                    state.goes |= goes;
                    state.stays |= !goes;
                }
            }
        }
        for (tag, &count) in &account.borne {
            if let Some(of) = environment_of(tag) {
                let state = self.states.entry(of).or_default();
                // Something that is not listed here bears it.
                let known = listed.get(tag.as_str()).copied().unwrap_or_default();
                state.stays |= count > known;
            }
        }
        for wall in &account.live.firewalls {
            for of in wall.tags.iter().filter_map(|tag| environment_of(tag)) {
                self.states.entry(of).or_default();
            }
        }
        // A droplet that lost its environment's tag may be any's that its name begins like.
        for droplet in &account.live.droplets {
            if self.goes(droplet.id) {
                continue;
            }
            let Claim::Owned {
                project,
                environment: None,
            } = claim(&droplet.tags)
            else {
                continue;
            };
            for ((of, environment), state) in &mut self.states {
                let prefix = format!("{}-", names::environment(of, environment));
                state.stays |= *of == project && droplet.name.starts_with(&prefix);
            }
        }
    }
}

/// Droplets that volumes are attached to: either side may lag behind, so both are believed.
pub(super) fn holders(account: &AccountWide) -> BTreeMap<&str, BTreeSet<u64>> {
    let mut holders: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for volume in &account.live.volumes {
        let droplets = volume.droplet_ids.iter().copied();
        holders.entry(&volume.id).or_default().extend(droplets);
    }
    for droplet in &account.live.droplets {
        for volume in &droplet.volume_ids {
            holders.entry(volume).or_default().insert(droplet.id);
        }
    }
    holders
}
