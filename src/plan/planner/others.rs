//! What stays as it is although the manifest says something else of it, or nothing.

use std::collections::BTreeSet;

use crate::desired::{Desired, Snapshot, names};
use crate::live::{Live, LiveImage, ownership};
use crate::plan::build::Draft;
use crate::plan::change::Action;
use crate::plan::compare::snapshot;
use crate::plan::cost::Kept;

/// Says of a snapshot that a narrowed plan does not build that the one of an earlier recipe stays.
pub(super) fn stays_outdated(wanted: &Snapshot, newest: Option<&LiveImage>, draft: &mut Draft<'_>) {
    let Some(image) = newest else { return };
    draft.change(
        &wanted.address,
        &image.name,
        Some(image.id.to_string()),
        Action::Keep,
        Vec::new(),
        Vec::new(),
    );
}

/// What the project owns and this manifest does not speak of.
pub(super) fn note_others<'a>(
    desired: &'a Desired,
    live: &'a Live,
    snapshots: &[snapshot::Verdict<'a>],
    draft: &mut Draft<'a>,
    kept: &mut Kept,
) {
    let wanted: BTreeSet<&str> = desired
        .volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    for volume in &live.volumes {
        let is_elsewhere = wanted.contains(volume.name.as_str())
            && draft.owner.in_environment(&volume.tags)
            && volume.region != desired.scope.region;
        if is_elsewhere && !draft.empties() {
            kept.volumes.push(crate::units::Gib(volume.size_gib));
            draft.notices.push(format!(
                "volume `{}` of the environment in {} stays, and costs on: `destroy` and `test` remove it",
                volume.name, volume.region
            ));
        }
        if !draft.owner.in_project_only(&volume.tags) {
            continue;
        }
        if !wanted.contains(volume.name.as_str()) {
            kept.volumes.push(crate::units::Gib(volume.size_gib));
            draft.notices.push(format!(
                "volume `{}` of the project is not in the manifest and stays",
                volume.name
            ));
        }
    }
    for snapshot in &live.volume_snapshots {
        if draft.owner.in_project_only(&snapshot.tags) {
            kept.images_mb.push(snapshot.size_mb);
        }
    }
    let pruned: BTreeSet<u64> = snapshots
        .iter()
        .flat_map(|verdict| verdict.prune.iter().map(|image| image.id))
        .collect();
    for image in &live.images {
        if !draft.owner.in_project(&image.tags) || pruned.contains(&image.id) {
            continue;
        }
        kept.images_mb.push(image.size_mb);
        let called = ownership::called(&image.name, &image.tags);
        let known = names::snapshot_of(&desired.scope.project, called)
            .is_some_and(|name| desired.scope.snapshots.contains(name));
        if !known {
            draft.notices.push(format!(
                "snapshot `{}` of the project is not in the manifest and stays",
                image.name
            ));
        }
    }
    for verdict in snapshots {
        match verdict.state {
            snapshot::State::Keep(_) => {}
            snapshot::State::Complete(image) => kept.images_mb.push(image.size_mb),
            snapshot::State::Build => kept.unknown.push(verdict.snapshot.address.to_string()),
        }
    }
}
