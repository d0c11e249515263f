//! Snapshots that throw-away copies of volumes were made from, and that no copy will be made from any
//! more. The next run that makes one prunes them; where none comes, they cost for ever.

use super::{Doomed, FoundKind, Judge, because};
use crate::live::LiveVolumeSnapshot;
use crate::live::claims::{Claim, claim, copied_from};
use crate::plan::change::Cause;

impl Judge<'_> {
    pub(super) fn volume_snapshots(&mut self) {
        for snapshot in &self.account.live.volume_snapshots {
            let LiveVolumeSnapshot {
                id,
                name,
                tags,
                volume_id,
                created_at,
                ..
            } = snapshot;
            let Claim::Owned {
                project,
                environment,
            } = claim(tags)
            else {
                self.leave_unproven(FoundKind::VolumeSnapshot, name, id, tags);
                continue;
            };
            // One that somebody took of a volume of ours is theirs.
            let Some(mark) = copied_from(project, snapshot) else {
                continue;
            };
            let mut volumes = self.account.live.volumes.iter();
            let text = match volumes.find(|volume| volume.id == *volume_id) {
                // It goes with its volume; and a copy may be made of what its volume still holds.
                Some(volume) if self.gone.1.contains(volume.id.as_str()) => continue,
                Some(volume) if volume.tags.contains(mark) => continue,
                Some(_) => "copies were made from it, and its volume has been written to since",
                None => "copies were made from it, and its volume is gone",
            };
            if !self.is_old(*created_at) {
                let why = format!("{text}, but it is younger than a day");
                self.leave(FoundKind::VolumeSnapshot, name, id, why);
                continue;
            }
            self.out.volume_snapshots.push(Doomed {
                what: snapshot,
                project,
                environment,
                expired_at: None,
                reason: because(Cause::Leftover, text),
            });
        }
        self.out
            .volume_snapshots
            .sort_by(|a, b| (&a.what.name, &a.what.id).cmp(&(&b.what.name, &b.what.id)));
    }
}
