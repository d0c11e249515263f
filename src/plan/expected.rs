//! How long steps are expected to take where no past runs tell: on DigitalOcean, on a local cloud.
//!
//! Middle values of what was seen and published (droplets become active in 30 to 60 s, log in 9 to
//! 23 s later, take a minute for each used GB of a snapshot, ...). They serve the estimate in a
//! plan, nothing waits by them.

use super::step::StepKind;

/// A script: nobody knows. Its timeout bounds it.
const SCRIPT: u64 = 60;
/// Until what was started in the background is ready: nobody knows.
const SERVICE: u64 = 5;

/// Files to a droplet or from it.
const FILES: u64 = 3;

/// What is done on a local guest beside scripts.
const LOCAL_IN_GUEST_MS: u64 = 200;
/// A script on a local guest: nobody knows either, but nothing has to come from far.
const LOCAL_SCRIPT_MS: u64 = 5_000;

/// From the request to make a droplet to its first login.
pub(super) const TO_BE_MADE: u64 = 55;

/// How long a step is expected to take, in seconds.
pub(super) fn seconds(kind: &StepKind) -> u64 {
    use crate::desired::spec::ProvisionStep;
    match kind {
        // API calls that answer when they are done: 0.25 to 2 s.
        StepKind::CreateTags { .. }
        | StepKind::DeleteTags { .. }
        | StepKind::UpdateTags { .. }
        | StepKind::CreateFirewall { .. }
        | StepKind::UpdateFirewall { .. }
        | StepKind::DeleteFirewall { .. }
        | StepKind::DeleteSshKey { .. }
        | StepKind::Prune { .. }
        | StepKind::DeleteVolume { .. }
        | StepKind::DeleteVolumeSnapshot { .. }
        | StepKind::TagVolume { .. }
        | StepKind::KeepDroplet { .. }
        | StepKind::TagSnapshot { .. }
        | StepKind::Gather { .. }
        | StepKind::Prepare { .. } => 1,
        StepKind::CreateVolume { .. } | StepKind::CloneVolume { .. } => 2,
        // Usable at once or in 2 to 3 s; the API takes one in ten minutes.
        StepKind::SnapshotVolume { found: None, .. } => 4,
        StepKind::SnapshotVolume { found: Some(_), .. } => 1,
        // A new key is unknown to droplet create for about 9 s.
        StepKind::CreateSshKey { .. } => 9,
        StepKind::ResizeVolume { .. } => 5,
        // Usually 30 to 60 s.
        StepKind::CreateDroplets { .. } => 40,
        // 8.7 to 23.3 s after `active`.
        StepKind::Connect { .. } => 15,
        StepKind::Provision { step, .. } => match &**step {
            ProvisionStep::Run { timeout, .. } => timeout.0.min(SCRIPT),
            ProvisionStep::Copy { .. } => FILES,
        },
        StepKind::Run { run, .. } if run.background.is_some() => run.timeout.0.min(SERVICE),
        StepKind::Run { run, .. } => run.timeout.0.min(SCRIPT),
        StepKind::Sync { .. } | StepKind::Collect { .. } => FILES,
        // In the guest: 11 to 24 s.
        StepKind::PowerOff { .. } => 15,
        // About a minute for each used GB; a plain system has one to two.
        StepKind::TakeSnapshot { .. } => 90,
        // Minutes; more than twenty were seen.
        StepKind::Transfer { .. } => 300,
        StepKind::Attach { .. } => 5,
        StepKind::Detach { .. } => 4,
        StepKind::Mount { .. } | StepKind::Unmount { .. } | StepKind::StopBackground { .. } => 2,
        // 5.4 to 10.8 s.
        StepKind::DestroyDroplet { .. } => 8,
    }
}

/// How long a step is expected to take on a local cloud, in milliseconds: what its guests take, and
/// `factor` times what DigitalOcean's API takes.
pub(super) fn local_ms(kind: &StepKind, factor: f64) -> u64 {
    use crate::desired::spec::ProvisionStep;
    // Milliseconds of DigitalOcean's, and of the guest's own.
    let (cloud, guest): (u32, u64) = match kind {
        StepKind::CreateSshKey { .. } => (9_000, 50),
        StepKind::CreateDroplets { .. } => (42_000, 400),
        StepKind::Connect { .. } => (0, 600),
        StepKind::Provision { step, .. } => match &**step {
            ProvisionStep::Run { timeout, .. } => {
                (0, LOCAL_SCRIPT_MS.min(timeout.0.saturating_mul(1_000)))
            }
            ProvisionStep::Copy { .. } => (0, LOCAL_IN_GUEST_MS),
        },
        StepKind::Run { run, .. } => {
            let limit = run.timeout.0.saturating_mul(1_000);
            let ms = if run.background.is_some() {
                1_000
            } else {
                LOCAL_SCRIPT_MS
            };
            (0, ms.min(limit))
        }
        StepKind::Sync { .. }
        | StepKind::Collect { .. }
        | StepKind::Mount { .. }
        | StepKind::Unmount { .. }
        | StepKind::Prepare { .. }
        | StepKind::StopBackground { .. } => (0, LOCAL_IN_GUEST_MS),
        StepKind::PowerOff { .. } => (0, 1_500),
        StepKind::TakeSnapshot { .. } => (47_000, 500),
        StepKind::Transfer { .. } => (180_000, 100),
        StepKind::Attach { .. } | StepKind::Detach { .. } => (4_500, 100),
        StepKind::DestroyDroplet { .. } => (9_000, 200),
        StepKind::CreateTags { .. }
        | StepKind::DeleteTags { .. }
        | StepKind::UpdateTags { .. }
        | StepKind::CreateFirewall { .. }
        | StepKind::UpdateFirewall { .. }
        | StepKind::DeleteFirewall { .. }
        | StepKind::DeleteSshKey { .. }
        | StepKind::CreateVolume { .. }
        | StepKind::CloneVolume { .. }
        | StepKind::SnapshotVolume { .. }
        | StepKind::DeleteVolumeSnapshot { .. }
        | StepKind::ResizeVolume { .. }
        | StepKind::DeleteVolume { .. }
        | StepKind::Prune { .. }
        | StepKind::KeepDroplet { .. }
        | StepKind::TagSnapshot { .. }
        | StepKind::TagVolume { .. }
        | StepKind::Gather { .. } => (1_000, 20),
    };
    // A factor is at most 10: no more than half an hour.
    guest + (f64::from(cloud) * factor).round() as u64
}
