//! The user's SSH key, as the manifest names it: where it lies, and opening it.

use camino::Utf8PathBuf;

use super::context::Loaded;
use super::local_files;
use crate::execute::error::StepError;
use crate::guest::{self, Identity, UserKey};
use crate::manifest::Manifest;

/// Whether the environment's key is one that dewpoint makes.
#[must_use]
pub fn is_generated(manifest: &Manifest) -> bool {
    manifest.ssh.key == "generated"
}

/// Where a generated key lies.
#[must_use]
pub fn generated_key(loaded: &Loaded) -> Utf8PathBuf {
    let Manifest {
        project,
        environment,
        ..
    } = &loaded.manifest;
    loaded
        .looked_at("keys")
        .join(format!("{project}-{environment}"))
}

fn user_key(loaded: &Loaded) -> UserKey {
    match loaded.manifest.ssh.key.as_str() {
        "agent" => UserKey::Agent,
        "generated" => UserKey::File(generated_key(loaded)),
        path => UserKey::File(local_files::key_path(&loaded.base, path)),
    }
}

/// Opens the user's key; a generated one is made when it is not there.
pub async fn open_key(loaded: &Loaded) -> miette::Result<Identity> {
    if is_generated(&loaded.manifest) {
        let path = generated_key(loaded);
        if !path.exists() {
            loaded.folder("keys")?;
            let Manifest {
                project,
                environment,
                ..
            } = &loaded.manifest;
            match guest::generate_key_file(&path, &format!("dewpoint {project} {environment}")) {
                // Another dewpoint was quicker: its key will do.
                Ok(_) | Err(guest::GuestError::KeyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(guest::open_key(&user_key(loaded)).await?)
}

/// Opens the user's key; none is made.
///
/// # Errors
/// [`StepError::NoIdentity`] when a generated one is not there; else when it cannot be opened.
pub async fn present_key(loaded: &Loaded) -> miette::Result<Identity> {
    if is_generated(&loaded.manifest) && !generated_key(loaded).exists() {
        return Err(StepError::NoIdentity.into());
    }
    open_key(loaded).await
}

/// The file of the user's key; none when an agent holds it.
#[must_use]
pub fn key_file(loaded: &Loaded) -> Option<Utf8PathBuf> {
    match user_key(loaded) {
        UserKey::File(path) => Some(path),
        UserKey::Agent => None,
    }
}

/// The user's key if there is one: a destroy works without, only less gently.
pub async fn find_key(loaded: &Loaded) -> Option<Identity> {
    match guest::open_key(&user_key(loaded)).await {
        Ok(identity) => Some(identity),
        Err(error) => {
            tracing::info!(%error, "destroying without the SSH key");
            None
        }
    }
}
