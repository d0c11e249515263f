//! What dewpoint does to a droplet around the runs: waits for its first boot, mounts, remembers,
//! seals.

use std::time::Duration;

use tokio::time::timeout;

use super::connect::Session;
use super::error::GuestError;
use super::exec::{Said, Status};
use super::scripts;
use super::target;
use crate::desired::spec::VolumeUse;
use crate::digest::Digest;
use crate::manifest::schema::Filesystem;

/// After this, a first boot is stuck: DigitalOcean's own packages take a minute or two.
const FIRST_BOOT_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Making a file system of 16 TiB takes minutes, checking a full one longer.
const MOUNT_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Flushing what a run wrote.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Cleaning up, trimming and powering off.
const SEAL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How a first boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstBoot {
    /// Well.
    Done,
    /// With what cloud-init calls recoverable errors; in its own words.
    Degraded(String),
    /// The image has no cloud-init.
    NoCloudInit,
}

/// What mounting a volume took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mounted {
    /// It was blank, and got its file system.
    pub formatted: bool,
    /// Its file system was grown to its size.
    pub grown: bool,
    /// It was mounted there already.
    pub already: bool,
}

/// How long ago a droplet booted: the age of its first process. `None` where that cannot be told.
///
/// # Errors
/// When the connection is lost.
pub async fn time_since_boot(session: &Session) -> Result<Option<Duration>, GuestError> {
    let said = session.exec_capture(&scripts::time_since_boot()).await?;
    let (0, text) = said else { return Ok(None) };
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let [up_seconds, started_ticks, ticks_a_second] = numbers[..] else {
        return Ok(None);
    };
    // Below zero where a container is told another up-time than its processes.
    let age = up_seconds - started_ticks / ticks_a_second;
    Ok(Duration::try_from_secs_f64(age).ok())
}

/// Waits until the first boot is over.
///
/// # Errors
/// When cloud-init says it went wrong, or it does not end.
pub async fn wait_first_boot(session: &Session) -> Result<FirstBoot, GuestError> {
    let doing = "waiting for the first boot";
    let said = ours(session, &scripts::first_boot(), doing, FIRST_BOOT_LIMIT).await?;
    let words = words(&said);
    match said.status {
        Status::Exit(0) => Ok(FirstBoot::Done),
        Status::Exit(scripts::FIRST_BOOT_NONE) => Ok(FirstBoot::NoCloudInit),
        Status::Exit(scripts::FIRST_BOOT_DEGRADED) => Ok(FirstBoot::Degraded(words)),
        Status::Exit(scripts::FIRST_BOOT_FAILED) => Err(GuestError::FirstBoot {
            label: session.label().to_owned(),
            output: words,
        }),
        status => Err(session.failed(doing, &status.to_string(), &words)),
    }
}

/// Mounts an attached volume. One of dewpoint's own gets its file system if it is blank, which grows
/// if it is short; someone's own is mounted as it is.
///
/// # Errors
/// When the volume does not show up, holds something else (nothing is written to it then), or its
/// place is taken.
pub async fn mount_volume(
    session: &Session,
    volume: &str,
    filesystem: Filesystem,
    usage: VolumeUse,
    path: &str,
) -> Result<Mounted, GuestError> {
    check_mount(path)?;
    let script = scripts::as_root(&scripts::mount_volume(volume, filesystem, usage, path));
    let doing = format!("mounting {volume} at {path}");
    let said = ours(session, &script, &doing, MOUNT_LIMIT).await?;
    mounted(session.label(), volume, filesystem, path, &said)
        .unwrap_or_else(|| Err(session.failed(&doing, &said.status.to_string(), &said.err)))
}

/// What a mount's exit code and words mean, if anything in particular.
pub(super) fn mounted(
    label: &str,
    volume: &str,
    filesystem: Filesystem,
    path: &str,
    said: &Said,
) -> Option<Result<Mounted, GuestError>> {
    let output = words(said);
    let (label, volume) = (label.to_owned(), volume.to_owned());
    let Status::Exit(code) = said.status else {
        return None;
    };
    Some(Err(match code {
        0 => {
            let did = |what: &str| output.lines().any(|line| line == what);
            return Some(Ok(Mounted {
                formatted: did("formatted"),
                grown: did("grown"),
                already: did("already"),
            }));
        }
        scripts::NO_DEVICE => GuestError::VolumeMissing {
            label,
            volume,
            waited_seconds: scripts::DEVICE_SECONDS,
        },
        scripts::OTHER_FILESYSTEM => GuestError::WrongFilesystem {
            volume,
            found: output,
            wanted: scripts::filesystem_name(filesystem).to_owned(),
        },
        scripts::UNREADABLE => GuestError::VolumeUnreadable { volume, output },
        scripts::PLACE_TAKEN => GuestError::MountPointTaken {
            label,
            path: path.to_owned(),
            found: output,
        },
        scripts::NO_PROGRAM => GuestError::ProgramMissing {
            label,
            program: output,
        },
        scripts::BUSY => GuestError::Busy {
            label,
            path: path.to_owned(),
            output,
        },
        _ => return None,
    }))
}

/// Flushes and unmounts what is mounted at a path, or from a volume's device
/// (`/dev/disk/by-id/scsi-0DO_Volume_NAME`) wherever that is mounted. Nothing mounted is success.
///
/// # Errors
/// [`GuestError::Busy`], naming the processes that hold on.
pub async fn unmount(session: &Session, path: &str) -> Result<(), GuestError> {
    let is_volume = path
        .strip_prefix(scripts::BY_VOLUME)
        .is_some_and(|name| !name.is_empty() && name.chars().all(is_of_volume_name));
    if !is_volume {
        check_mount(path)?;
    }
    let doing = format!("unmounting {path}");
    let script = scripts::as_root(&scripts::unmount(path));
    let said = ours(session, &script, &doing, UNMOUNT_LIMIT).await?;
    match said.status {
        Status::Exit(0) => Ok(()),
        Status::Exit(scripts::BUSY) => Err(GuestError::Busy {
            label: session.label().to_owned(),
            path: path.to_owned(),
            output: words(&said),
        }),
        status => Err(session.failed(&doing, &status.to_string(), &said.err)),
    }
}

/// Cleans a builder for its snapshot and powers it off. The connection is lost by it; so is the key
/// that let `user` in. Whether the droplet is off is for the caller to see.
///
/// # Errors
/// When it failed before the power went: then nothing says that the droplet is clean.
pub async fn seal(session: &Session, user: &str) -> Result<(), GuestError> {
    if user.is_empty()
        || !user
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        return Err(target::bad(user, "it is no name of a user"));
    }
    let doing = "cleaning up for the snapshot";
    let command = scripts::as_root(&scripts::seal(user));
    let command = format!("exec sh -c {}", super::shell::quote(&command));
    let mut out = Vec::new();
    let mut err = Vec::new();
    let talk = session.converse(&command, doing, tokio::io::empty(), |stream, bytes| {
        let kept = match stream {
            super::output::Stream::Out => &mut out,
            super::output::Stream::Err => &mut err,
        };
        kept.extend_from_slice(&bytes);
        let surplus = kept.len().saturating_sub(16 * 1024);
        kept.drain(..surplus);
        Ok(())
    });
    let ended = timeout(SEAL_LIMIT, talk)
        .await
        .unwrap_or_else(|_elapsed| Err(too_long(session, doing, SEAL_LIMIT)));
    let is_off = String::from_utf8_lossy(&out).contains(scripts::POWERING_OFF);
    match ended {
        Ok(Status::Exit(0)) => Ok(()),
        Ok(Status::Signal(_)) if is_off => Ok(()),
        Err(error) if is_off && error.is_connection_lost() => Ok(()),
        Ok(status) => {
            Err(session.failed(doing, &status.to_string(), &super::exec::printable(&err)))
        }
        Err(error) => Err(error),
    }
}

/// Whether what this digest stands for has succeeded on this droplet before.
///
/// # Errors
/// When the droplet cannot be asked.
pub async fn has_run_once(session: &Session, digest: &Digest) -> Result<bool, GuestError> {
    let doing = "asking what ran before";
    let said = session
        .sh(&scripts::has_run_once(digest), doing, tokio::io::empty())
        .await?;
    match said.status {
        Status::Exit(0) => Ok(true),
        Status::Exit(1) => Ok(false),
        status => Err(session.failed(doing, &status.to_string(), &said.err)),
    }
}

/// Remembers on the droplet that what this digest stands for has succeeded.
///
/// # Errors
/// When the droplet does not take it.
pub async fn mark_run_once(session: &Session, digest: &Digest) -> Result<(), GuestError> {
    let script = scripts::mark_run_once(digest);
    session
        .sh_ok(&script, "remembering a run", tokio::io::empty())
        .await
        .map(drop)
}

/// The alphabet of volumes' names.
const fn is_of_volume_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// A mount's path: it stands unquoted in the kernel's table of mounts.
fn check_mount(path: &str) -> Result<(), GuestError> {
    target::check_folder(path)?;
    if path.chars().any(|c| c.is_whitespace() || c == '\\') {
        return Err(target::bad(
            path,
            "a mount's path has no blanks or backslashes",
        ));
    }
    Ok(())
}

/// Runs a text of ours with a limit.
async fn ours(
    session: &Session,
    script: &str,
    doing: &str,
    limit: Duration,
) -> Result<Said, GuestError> {
    timeout(limit, session.sh(script, doing, tokio::io::empty()))
        .await
        .unwrap_or_else(|_elapsed| Err(too_long(session, doing, limit)))
}

fn too_long(session: &Session, doing: &str, limit: Duration) -> GuestError {
    GuestError::TookTooLong {
        label: session.label().to_owned(),
        doing: doing.to_owned(),
        limit,
    }
}

/// What was said on standard output, fit for a message.
fn words(said: &Said) -> String {
    super::exec::printable(&said.out).trim().to_owned()
}
