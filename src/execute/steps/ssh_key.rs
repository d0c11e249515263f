//! The environment's SSH key.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use camino::{Utf8Path, Utf8PathBuf};

use super::Steps;
use crate::execute::error::StepError;

impl Steps {
    /// Registers the public key. The same key under another name will do.
    pub(super) async fn create_ssh_key(
        &self,
        name: &str,
        public_key: &str,
        fingerprint: &str,
    ) -> Result<String, StepError> {
        let client = &self.settings.client;
        let key = client.ensure_ssh_key(name, public_key, fingerprint).await?;
        Ok(if key.name == name {
            format!("key {}", key.id)
        } else {
            format!("key {}, known as {}", key.id, key.name)
        })
    }

    /// Removes the key from the account, then the private key of this side if it is to be
    /// forgotten. Neither while a droplet may be left: without it nobody could log in.
    pub(super) async fn delete_ssh_key(
        &self,
        name: &str,
        fingerprint: &str,
        forget_private_key: bool,
    ) -> Result<String, StepError> {
        if forget_private_key && self.droplet_left.load(Ordering::Acquire) {
            return Ok("kept: a droplet that it opens may be left".to_owned());
        }
        let client = &self.settings.client;
        let is_removed = client.delete_ssh_key(name, fingerprint).await?;
        if let (true, Some(path)) = (forget_private_key, &self.settings.generated_key) {
            forget(path)?;
            forget(&Utf8PathBuf::from(format!("{path}.pub")))?;
        }
        Ok(if is_removed {
            String::new()
        } else {
            "was not there".to_owned()
        })
    }
}

fn forget(path: &Utf8Path) -> Result<(), StepError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(StepError::ForgetKey {
            path: path.to_owned(),
            cause,
        }),
        _ => Ok(()),
    }
}
