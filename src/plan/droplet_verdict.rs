//! What becomes of each instance of the manifest's droplets.

use std::collections::{BTreeMap, BTreeSet};

use super::build::{Draft, End, because, described, mount_text};
use super::census::Census;
use super::change::{Action, Cause, FieldChange, Reason};
use super::compare::{self, droplet, snapshot};
use super::error::{Refusal, RefusalKind};
use super::narrow::Narrow;
use super::{Goal, planner::TEST};
use crate::address::Address;
use crate::desired::{Desired, Droplet, Image};
use crate::live::{DropletStatus, Live, LiveDroplet};
use crate::manifest::schema::{AfterRun, AfterRunWord, KeepOnFailure};

/// What becomes of one instance of a droplet.
pub(super) struct DropletVerdict<'a> {
    pub droplet: &'a Droplet,
    /// The one that is used.
    pub live: Option<&'a LiveDroplet>,
    /// Those that go first, and why.
    pub remove: Vec<(&'a LiveDroplet, Vec<Reason>)>,
    pub end: End,
    pub differences: droplet::Differences,
    /// Whether the one that exists is replaced by one that stays.
    pub replaced: bool,
    /// Whether what is there stays as it is, and nothing is made or done.
    pub left_out: bool,
}

/// Judges every instance.
pub(super) fn droplet_verdicts<'a>(
    desired: &'a Desired,
    live: &'a Live,
    census: &Census<'a>,
    snapshots: &[snapshot::Verdict<'a>],
    draft: &Draft<'_>,
    narrow: &Narrow<'_>,
    now: i64,
) -> Vec<DropletVerdict<'a>> {
    let snapshots: BTreeMap<&str, &snapshot::Verdict<'a>> = snapshots
        .iter()
        .map(|verdict| (verdict.snapshot.name.as_str(), verdict))
        .collect();
    let private: BTreeSet<u64> = live.images.iter().map(|image| image.id).collect();
    desired
        .droplets
        .iter()
        .enumerate()
        .map(|(position, wanted)| {
            let end = match (draft.goal, wanted.after_run) {
                (Goal::Test, _) | (_, AfterRun::Word(AfterRunWord::Destroy)) => End::Destroyed,
                (_, AfterRun::Word(AfterRunWord::DestroyOnSuccess)) => {
                    End::DestroyedOnSuccess(None)
                }
                (_, AfterRun::KeepOnFailure(KeepOnFailure { keep })) => {
                    End::DestroyedOnSuccess(Some(keep))
                }
                (_, AfterRun::Word(AfterRunWord::Keep)) => End::Stays,
            };
            let mut verdict = DropletVerdict {
                droplet: wanted,
                live: None,
                remove: Vec::new(),
                end,
                differences: droplet::Differences::default(),
                replaced: false,
                left_out: !narrow.makes(&wanted.address),
            };
            let Some((&first, more)) = census.instances(position).split_first() else {
                return verdict;
            };
            if verdict.left_out && !narrow.removes(&wanted.address) {
                verdict.live = Some(first);
                return verdict;
            }
            for &twin in more {
                let reasons = because(
                    Cause::Leftover,
                    "an earlier run made it although one of its name was there",
                );
                verdict.remove.push((twin, reasons));
            }
            if wanted.after_run == AfterRun::Word(AfterRunWord::Destroy) {
                // Whether the manifest said so already when it was made is not known.
                let reasons = because(
                    Cause::Leftover,
                    "it is still there, and `after_run: destroy` leaves none after its runs",
                );
                verdict.remove.insert(0, (first, reasons));
                return verdict;
            }
            if verdict.left_out && narrow.empties() {
                verdict
                    .remove
                    .insert(0, (first, because(Cause::Command, TEST)));
                return verdict;
            }
            if verdict.left_out {
                verdict.live = Some(first);
                return verdict;
            }
            let name;
            let ids;
            let image = match &wanted.image {
                Image::Slug(slug) => droplet::Wanted::Slug(slug),
                Image::Id(id) => {
                    name = format!("image {id}");
                    ids = [*id];
                    droplet::Wanted::AnyOf(&ids, &name)
                }
                Image::Snapshot(snapshot) => match snapshots.get(snapshot.as_str()) {
                    Some(verdict) if !matches!(verdict.state, snapshot::State::Build) => {
                        let name = &verdict.snapshot.image_name;
                        if verdict.is_renewed {
                            droplet::Wanted::AnyOf(&verdict.same, name)
                        } else {
                            droplet::Wanted::Same(&verdict.same, name)
                        }
                    }
                    Some(verdict) => droplet::Wanted::Built(&verdict.snapshot.image_name, snapshot),
                    None => droplet::Wanted::Built(snapshot, snapshot),
                },
            };
            let mut differences = droplet::compare(
                wanted,
                &desired.scope.region,
                &image,
                first,
                |id| private.contains(&id),
                desired.ttl,
                now,
            );
            if narrow.replaces(&wanted.address) {
                differences.asked_for(first.id);
            }
            if differences.replace {
                verdict
                    .remove
                    .insert(0, (first, differences.reasons.clone()));
                verdict.replaced = end == End::Stays;
            } else {
                verdict.live = Some(first);
            }
            verdict.differences = differences;
            if verdict.end != End::Stays || verdict.live.is_none() {
                // Its tags go with it, or it is made with the right ones.
                verdict.differences.add.clear();
                verdict.differences.remove.clear();
                verdict.differences.renews = false;
                verdict.differences.expired = None;
            }
            verdict
        })
        .collect()
}

impl<'a> DropletVerdict<'a> {
    /// Says what becomes of the droplet.
    ///
    /// `shared` are the volumes that several droplets have: see [`shared_volumes`].
    pub fn note(&self, desired: &'a Desired, shared: &BTreeSet<&str>, draft: &mut Draft<'a>) {
        let Droplet { address, name, .. } = self.droplet;
        let fields = &self.differences.fields;
        let mut remove = self.remove.iter();
        if self.replaced {
            let (old, reasons) = remove.next().expect("what is replaced is removed");
            draft.change(
                address,
                name,
                Some(old.id.to_string()),
                Action::DestroyThenCreate,
                reasons.clone(),
                fields.clone(),
            );
        }
        for (old, reasons) in remove {
            draft.change(
                address,
                name,
                Some(old.id.to_string()),
                Action::Delete,
                reasons.clone(),
                Vec::new(),
            );
        }
        match self.live {
            None if self.replaced || self.left_out => {}
            Some(live) if self.left_out => {
                let id = Some(live.id.to_string());
                draft.change(address, name, id, Action::Keep, Vec::new(), Vec::new());
            }
            None if self.end == End::Stays => {
                let fields = described(desired, self.droplet);
                draft.change(address, name, None, Action::Create, Vec::new(), fields);
            }
            // Made for its runs and gone after them: an activity.
            None => {}
            Some(live) => {
                let id = Some(live.id.to_string());
                let mut fields = fields.clone();
                let mut reasons = self.differences.reasons.clone();
                self.compare_mounts(shared, live, draft, &mut fields, &mut reasons);
                let gets_volume = fields
                    .iter()
                    .any(|field| field.field == "volume" && field.new.is_some());
                if draft.empties() {
                    let reasons = because(Cause::Command, TEST);
                    draft.change(address, name, id, Action::Delete, reasons, Vec::new());
                } else if fields.is_empty() {
                    draft.change(address, name, id, Action::Keep, Vec::new(), Vec::new());
                } else {
                    draft.change(address, name, id, Action::Update, reasons, fields);
                }
                let expired = self.differences.expired;
                let expired = expired.and_then(|at| jiff::Timestamp::from_second(at).ok());
                if let Some(at) = expired {
                    draft.notices.push(format!(
                        "the environment expired at {at}: `dewpoint sweep --yes` would delete it; apply gives it all of `ttl: {}` again",
                        desired.ttl
                    ));
                } else if self.differences.renews {
                    draft.notices.push(format!(
                        "droplets that expire before half of `ttl: {}` is left are given all of it again",
                        desired.ttl
                    ));
                }
                self.check_running(live, gets_volume, draft);
            }
        }
    }

    /// Volumes that are to be attached to or detached from a droplet that stays.
    fn compare_mounts(
        &self,
        shared: &BTreeSet<&str>,
        live: &LiveDroplet,
        draft: &Draft<'a>,
        fields: &mut Vec<FieldChange>,
        reasons: &mut Vec<Reason>,
    ) {
        let attached = draft.attached.to(live.id);
        let mut wanted = BTreeSet::new();
        for mount in &self.droplet.mounts {
            let Some(volume) = draft.volumes.get(mount.volume.as_str()) else {
                continue;
            };
            let (name, what) = match &mount.copy {
                None => (volume.volume.name.as_str(), ""),
                Some(copy) => (copy.name.as_str(), "a clone of "),
            };
            wanted.insert(name);
            let is_attached = attached.iter().any(|attached| attached.name == name);
            // What it has only for its turn is part of what every apply does.
            let takes_turns = mount.copy.is_none() && shared.contains(mount.volume.as_str());
            if is_attached && mount.copy.is_none() && draft.renewed.contains(mount.volume.as_str())
            {
                fields.push(compare::made("volume", mount_text(mount)));
                reasons.extend(because(
                    Cause::Upstream,
                    format!("volume.{} is made anew", mount.volume),
                ));
            } else if !is_attached && !takes_turns {
                fields.push(compare::made("volume", mount_text(mount)));
                reasons.extend(because(
                    Cause::Manifest,
                    format!("{what}volume.{} is to be attached", mount.volume),
                ));
            }
        }
        for volume in attached {
            if !wanted.contains(volume.name.as_str()) {
                fields.push(compare::lost("volume", &volume.name));
                reasons.extend(because(
                    Cause::Manifest,
                    format!("volume `{}` is no longer mounted there", volume.name),
                ));
            }
        }
    }

    /// Nothing can be done on a droplet that is off.
    fn check_running(&self, live: &LiveDroplet, gets_volume: bool, draft: &mut Draft<'a>) {
        let word = match &live.status {
            DropletStatus::New | DropletStatus::Active => return,
            DropletStatus::Off => "off",
            DropletStatus::Other(word) => word,
        };
        let address = &self.droplet.address;
        let idle = self.droplet.runs.is_empty() && self.droplet.source.is_none();
        if idle && !gets_volume {
            draft.notices.push(format!("{address} is {word}"));
            return;
        }
        draft.refusals.push(Refusal {
            address: Some(address.clone()),
            kind: RefusalKind::NotRunning,
            reason: if idle {
                format!(
                    "droplet {} is {word}, so no volume can be mounted there",
                    live.id
                )
            } else {
                format!("droplet {} is {word}, so nothing can run on it", live.id)
            },
            help: not_running_help(address),
        });
    }
}

/// What to do about a droplet that does not run.
pub(super) fn not_running_help(address: &Address) -> String {
    format!("power it on, or make it anew: `dewpoint apply --replace {address}`")
}

/// Volumes that several droplets of the manifest mount themselves, by their names there; also when
/// only some of the droplets are worked on.
pub(super) fn shared_volumes(desired: &Desired) -> BTreeSet<&str> {
    let mut droplets: BTreeMap<&str, u32> = BTreeMap::new();
    for droplet in &desired.droplets {
        let mounts = droplet.mounts.iter().filter(|mount| mount.copy.is_none());
        let own: BTreeSet<&str> = mounts.map(|mount| mount.volume.as_str()).collect();
        for volume in own {
            *droplets.entry(volume).or_default() += 1;
        }
    }
    droplets.retain(|_, count| *count > 1);
    droplets.into_keys().collect()
}
