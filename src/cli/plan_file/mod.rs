//! Plans in files: written by `plan --out`, judged and opened again by `apply FILE`.

mod error;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use error::moved;
pub use error::{Moved, PlanFileError};

use super::args::{Apply, Global};
use super::context::{Context, Loaded};
use super::endpoint;
use super::error::CliError;
use super::inputs;
use super::key;
use super::planning::Planned;
use super::waiting::waiting;
use crate::cloud::{self, Query};
use crate::desired;
use crate::digest::Digest;
use crate::guest::{self, Identity, SourceFiles};
use crate::plan::saved::{self, Place, Saved, SavedManifest, SavedSource};
use crate::plan::{Goal, check};

/// The largest file that is read as a plan.
const MOST_MIB: u64 = 512;
/// The manifest that is meant when none is named.
const DEFAULT_MANIFEST: &str = "dewpoint.yaml";
/// The file in the folder of a run that holds the digest of the saved plan it carried out.
const APPLIED: &str = "saved-plan";

/// A plan that came out of a file.
#[derive(Debug)]
pub struct FromFile {
    /// Its digest.
    pub digest: Digest,
    /// What the folders of its sources must hold.
    pub sources: BTreeMap<String, SourceFiles>,
}

/// Writes a plan to a file, whole or not at all, for its owner alone.
///
/// # Errors
/// When a source cannot be read, the file is something else, or it cannot be written.
pub fn save(context: &Context, planned: &Planned, path: &Utf8Path) -> miette::Result<()> {
    let target = may_write(path)?;
    let loaded = &planned.loaded;
    let manifest = &loaded.manifest;
    let meaning = saved::meaning(manifest);
    let mut sources = BTreeMap::new();
    for source in saved::source_paths(&planned.plan) {
        let files = source_files(loaded, source, &target)?.files;
        sources.insert(source.to_owned(), SavedSource { files });
    }
    let destroys = matches!(planned.plan.goal, Goal::Destroy | Goal::DestroyProject);
    let key = planned.identity.as_ref().filter(|_| !destroys);
    let saved = Saved {
        saved_plan: saved::VERSION,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: Timestamp::now(),
        place: Place {
            cloud: planned.cloud.endpoint.clone(),
            account: planned.live.account.id.clone(),
        },
        manifest: SavedManifest {
            path: context.global.file.to_string(),
            digest: Digest::of(&meaning),
            environment: manifest.environment.clone(),
            variables: loaded.variables.clone(),
            meaning,
        },
        ssh_key: key.map(Identity::md5_fingerprint),
        sources,
        seen: crate::plan::seen::Seen::of(&planned.plan, &planned.live),
        plan: planned.plan.clone(),
        digest: Digest::of_bytes(b""),
    };
    write(&target, &saved.seal())?;
    Ok(())
}

/// The path as it is once links in its folder are followed; refused when something else is there.
///
/// # Errors
/// When something that is no saved plan is there, or there is no such folder.
pub fn may_write(path: &Utf8Path) -> miette::Result<Utf8PathBuf> {
    let target = whole(path)?;
    match std::fs::symlink_metadata(&target) {
        Err(_) => {}
        // A link is replaced, not followed.
        Ok(seen) if seen.is_symlink() => {}
        Ok(seen) if seen.is_file() => {
            let is_plan = seen.len() == 0
                || read_bytes(&target).is_ok_and(|bytes| {
                    serde_json::from_slice::<serde_json::Value>(&bytes)
                        .is_ok_and(|value| value.get("saved_plan").is_some())
                });
            if !is_plan {
                return Err(PlanFileError::NotOverwritten {
                    path: path.to_owned(),
                }
                .into());
            }
        }
        Ok(_) => {
            return Err(PlanFileError::NotOverwritten {
                path: path.to_owned(),
            }
            .into());
        }
    }
    Ok(target)
}

/// A path from the root, with links above its last part followed.
fn whole(path: &Utf8Path) -> Result<Utf8PathBuf, CliError> {
    let fails = |cause| CliError::Write {
        path: path.to_string(),
        cause,
    };
    let name = path
        .file_name()
        .ok_or_else(|| fails(std::io::Error::other("this names no file")))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_str().is_empty() => folder,
        _ => Utf8Path::new("."),
    };
    Ok(folder.canonicalize_utf8().map_err(fails)?.join(name))
}

fn write(target: &Utf8Path, text: &str) -> Result<(), CliError> {
    let fails = |cause| CliError::Write {
        path: target.to_string(),
        cause,
    };
    let folder = target.parent().unwrap_or(Utf8Path::new("/"));
    // For its owner alone from the start; what is at the target is replaced, whatever it is.
    let mut file = tempfile::Builder::new()
        .prefix(".dewpoint-plan-")
        .tempfile_in(folder)
        .map_err(fails)?;
    file.write_all(text.as_bytes()).map_err(fails)?;
    file.as_file().sync_all().map_err(fails)?;
    file.persist(target).map_err(|error| fails(error.error))?;
    Ok(())
}

fn read_bytes(path: &Utf8Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| {
            file.take(MOST_MIB * 1024 * 1024 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|cause| CliError::Read {
            path: path.to_string(),
            cause,
        })?;
    Ok(bytes)
}

/// Reads a saved plan.
///
/// # Errors
/// When it cannot be read, is none, was cut off or edited, or was made by another version.
pub fn read(path: &Utf8Path) -> miette::Result<Saved> {
    let bytes = read_bytes(path)?;
    if bytes.len() as u64 > MOST_MIB * 1024 * 1024 {
        return Err(PlanFileError::TooLarge {
            path: path.to_owned(),
            most: MOST_MIB,
        }
        .into());
    }
    Ok(Saved::read(path.as_str(), &bytes)?)
}

/// What the command works with: the manifest, the environment and the values of variables that the
/// plan was made from.
///
/// # Errors
/// When an option says otherwise.
pub fn context(
    context: &Context,
    options: &Apply,
    saved: &Saved,
) -> Result<Context, PlanFileError> {
    let given = &context.global;
    let option = [
        (!given.variables.is_empty(), "--var"),
        (!given.variable_files.is_empty(), "--var-file"),
        (!options.approval.unprotect.is_empty(), "--unprotect"),
        (options.keep_builder, "--keep-builder"),
        (!options.narrowing.targets.is_empty(), "--target"),
        (!options.narrowing.replace.is_empty(), "--replace"),
        (options.only_destroy, "--only-destroy"),
    ]
    .into_iter()
    .find_map(|(is_given, option)| is_given.then_some(option));
    if let Some(option) = option {
        return Err(PlanFileError::Option { option });
    }
    let planned = &saved.manifest.environment;
    if let Some(given) = given.environment.as_ref().filter(|given| *given != planned) {
        return Err(PlanFileError::Environment {
            planned: planned.clone(),
            given: given.clone(),
        });
    }
    let file = if given.file == DEFAULT_MANIFEST {
        Utf8PathBuf::from(&saved.manifest.path)
    } else {
        given.file.clone()
    };
    let variables = saved.manifest.variables.clone();
    Ok(Context {
        global: Global {
            file,
            environment: Some(planned.clone()),
            variables: variables.into_iter().collect(),
            ..given.clone()
        },
        terminal: context.terminal,
    })
}

/// Holds what is on this side against the plan: the manifest, the history, the files. Gives what
/// its sources must still hold when they are brought.
///
/// # Errors
/// When something has changed, the plan was applied before, or it is not one of this manifest.
pub fn check_here(
    saved: &Saved,
    loaded: &Loaded,
    file: &Utf8Path,
    now: Timestamp,
) -> miette::Result<FromFile> {
    let made_at = moment(saved.made_at);
    let differences = saved.manifest_moved(&loaded.manifest);
    if !differences.is_empty() {
        return Err(PlanFileError::ManifestMoved {
            name: loaded.name.clone(),
            made_at,
            moved: moved(differences),
        }
        .into());
    }
    let strangers = saved.strangers(&loaded.manifest);
    if !strangers.is_empty() {
        return Err(PlanFileError::Unsafe {
            violations: moved(strangers),
        }
        .into());
    }
    if let Some((run, at)) = applied_before(loaded, &saved.digest) {
        return Err(PlanFileError::Applied { at, run }.into());
    }
    if let Some(since) = saved.lease_ends().filter(|end| *end <= now.as_second()) {
        let since = Timestamp::from_second(since).map_or_else(|_| "long ago".to_owned(), moment);
        return Err(PlanFileError::Expired { made_at, since }.into());
    }
    let mut differences = Vec::new();
    for (path, planned) in saved.copies() {
        if guest::copy_digest(&loaded.base.join(path)).ok().as_ref() != Some(planned) {
            differences.push(format!("{path}, which a recipe copies, is not what it was"));
        }
    }
    let file = whole(file)?;
    let mut sources = BTreeMap::new();
    for (path, planned) in &saved.sources {
        let found = source_files(loaded, path, &file)?;
        let now = SavedSource {
            files: found.files.clone(),
        };
        let lines = planned.moved(&now).into_iter();
        differences.extend(lines.map(|line| format!("in {path}: {line}")));
        sources.insert(path.clone(), found);
    }
    if !differences.is_empty() {
        return Err(PlanFileError::FilesMoved {
            made_at,
            moved: moved(differences),
        }
        .into());
    }
    Ok(FromFile {
        digest: saved.digest.clone(),
        sources,
    })
}

/// The files of a source, but for the plan's own file when it lies among them.
fn source_files(
    loaded: &Loaded,
    source: &str,
    plan: &Utf8Path,
) -> Result<SourceFiles, guest::GuestError> {
    let folder = loaded.base.join(source);
    let but_for = folder
        .canonicalize_utf8()
        .ok()
        .and_then(|folder| Some(plan.strip_prefix(folder).ok()?.to_string()));
    SourceFiles::read(&folder, but_for)
}

/// The run that carried a plan out before, and when it began.
fn applied_before(loaded: &Loaded, digest: &Digest) -> Option<(String, String)> {
    let runs = loaded.looked_at("runs");
    let mut found: Vec<String> = runs
        .read_dir_utf8()
        .ok()?
        .filter_map(Result::ok)
        .filter(|run| {
            std::fs::read_to_string(run.path().join(APPLIED))
                .is_ok_and(|text| text.trim() == digest.as_str())
        })
        .map(|run| run.file_name().to_owned())
        .collect();
    found.sort();
    let run = found.into_iter().next()?;
    let began = ulid::Ulid::from_string(&run)
        .ok()
        .and_then(|id| Timestamp::from_millisecond(i64::try_from(id.timestamp_ms()).ok()?).ok());
    let at = began.map_or_else(|| "some time".to_owned(), moment);
    Some((run, at))
}

/// Notes in the folder of a run which plan it carries out, before anything of it is done.
///
/// # Errors
/// When it cannot be written.
pub fn note_applied(run_folder: &Utf8Path, digest: &Digest) -> Result<(), CliError> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let path = run_folder.join(APPLIED);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run_folder)
        .and_then(|()| {
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
        })
        .and_then(|mut file| file.write_all(format!("{digest}\n").as_bytes()))
        .map_err(|cause| CliError::Write {
            path: path.to_string(),
            cause,
        })
}

/// Looks at the cloud again, and holds the plan against what is there.
///
/// # Errors
/// When it is another cloud or account, the key is another, something has moved, or the plan would
/// do what no plan of dewpoint does.
pub async fn reopen(context: &Context, loaded: Loaded, saved: Saved) -> miette::Result<Planned> {
    let opening = endpoint::open(&context.global);
    let cloud = waiting(context, "the local cloud to start", opening).await?;
    if cloud.endpoint != saved.place.cloud {
        return Err(PlanFileError::Cloud {
            hint: match (saved.place.cloud.as_str(), context.global.is_local()?) {
                ("the local cloud", _) => "add `--local`",
                (_, true) => "leave out `--local` and DEWPOINT_CLOUD",
                (_, false) => "set DIGITALOCEAN_API_URL to what it was, or make the plan anew",
            },
            planned: saved.place.cloud,
            here: cloud.endpoint,
        }
        .into());
    }
    let destroys = matches!(saved.plan.goal, Goal::Destroy | Goal::DestroyProject);
    let identity = if destroys {
        key::find_key(&loaded).await
    } else {
        Some(same_key(&loaded, &saved).await?)
    };
    let query = Query {
        project: loaded.manifest.project.clone(),
        environment: loaded.manifest.environment.clone(),
        ssh_key: saved.ssh_key.clone().filter(|_| !destroys),
        for_destroy: destroys,
        volume_snapshots: desired::has_clones(&loaded.manifest),
    };
    let what = format!("an answer from {}", cloud.endpoint);
    let live = waiting(context, &what, cloud::observe(&cloud.client, &query)).await?;
    if live.account.id != saved.place.account {
        return Err(PlanFileError::Account {
            cloud: cloud.endpoint,
        }
        .into());
    }
    let differences = saved.live_moved(&live);
    if !differences.is_empty() {
        return Err(PlanFileError::LiveMoved {
            made_at: moment(saved.made_at),
            moved: moved(differences),
        }
        .into());
    }
    let mut violations = saved.strange_live(&loaded.manifest, &live);
    if let Err(found) = check::check(&saved.plan, &live) {
        violations.extend(found.iter().map(ToString::to_string));
    }
    if !violations.is_empty() {
        return Err(PlanFileError::Unsafe {
            violations: moved(violations),
        }
        .into());
    }
    let desired = match (&identity, destroys) {
        (Some(identity), false) => inputs::desired_but_for_commits(&loaded, identity).await,
        _ => None,
    };
    Ok(Planned {
        loaded,
        cloud,
        identity,
        live,
        desired,
        plan: saved.plan,
    })
}

/// The key the plan was made with; no other is made.
async fn same_key(loaded: &Loaded, saved: &Saved) -> miette::Result<Identity> {
    let other = |here: String| PlanFileError::SshKey {
        planned: saved.ssh_key.clone().unwrap_or_default(),
        here,
    };
    let generated = key::generated_key(loaded);
    if key::is_generated(&loaded.manifest) && !generated.exists() {
        return Err(other(format!("there is no {generated}")).into());
    }
    let identity = key::open_key(loaded).await?;
    let here = identity.md5_fingerprint();
    if saved.ssh_key.as_ref() != Some(&here) {
        return Err(other(format!("the one here is {here}")).into());
    }
    Ok(identity)
}

/// A moment as people read it.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
