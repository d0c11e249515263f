//! SSH keys of the account: unique by what they are, not by name. They bear no tags.

use serde::Deserialize;
use tokio::time::Instant;

use super::client::{Client, locked};
use super::error::CloudError;
use super::patience::Patience;
use super::request::Call;
use super::volumes::is_in_doubt;
use super::wire;
use crate::live::LiveSshKey;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct SshKey {
    id: u64,
    #[serde(default, deserialize_with = "wire::or_default")]
    name: String,
    #[serde(default, deserialize_with = "wire::or_default")]
    fingerprint: String,
}

impl From<SshKey> for LiveSshKey {
    fn from(key: SshKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            fingerprint: key.fingerprint,
        }
    }
}

impl Client {
    /// Every key of the account. Has a rate limit of its own: prefer [`Client::ssh_key`].
    pub(super) async fn ssh_keys(&self) -> Result<Vec<SshKey>, CloudError> {
        self.list(&Call::SshKeys, "ssh_keys").await
    }

    pub(super) async fn ssh_key(&self, fingerprint: &str) -> Result<Option<SshKey>, CloudError> {
        self.find(
            &Call::SshKey {
                fingerprint: fingerprint.to_owned(),
            },
            "ssh_key",
        )
        .await
    }

    /// Registers a public key. The same key under whatever name is taken for it: it may be the
    /// user's own, so look at the name before deleting it.
    ///
    /// # Errors
    /// When the API refuses the key.
    pub async fn ensure_ssh_key(
        &self,
        name: &str,
        public_key: &str,
        fingerprint: &str,
    ) -> Result<LiveSshKey, CloudError> {
        let call = Call::CreateSshKey {
            name: name.to_owned(),
            public_key: public_key.trim().to_owned(),
        };
        let mut patience = Patience::new(self, self.timing().read_back);
        loop {
            let error = match self.read::<SshKey>(&call, "ssh_key").await {
                Ok(key) => {
                    locked(&self.inner.new_keys).insert(fingerprint.to_owned(), Instant::now());
                    return Ok(key.into());
                }
                Err(error) if error.is_unprocessable() || is_in_doubt(&error) => error,
                Err(error) => return Err(error),
            };
            if let Some(key) = self.ssh_key(fingerprint).await? {
                return Ok(key.into());
            }
            // Keys are unique. "In use" without a key to be found is lag; any other 422 is final.
            let may_pass = is_in_doubt(&error)
                || error
                    .refusal()
                    .is_some_and(|refusal| refusal.message.contains("in use"));
            if !may_pass
                || !patience
                    .pause("POST /v2/account/keys", &error.to_string())
                    .await
            {
                return Err(error);
            }
        }
    }

    /// Removes a key from the account, but only one of exactly that name; says whether it did.
    /// One that is gone already is a success.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn delete_ssh_key(&self, name: &str, fingerprint: &str) -> Result<bool, CloudError> {
        // A key that was just made may be unknown for a while: then a 404 says nothing yet.
        let made = locked(&self.inner.new_keys).get(fingerprint).copied();
        let lag = self.timing().key_lag / 4;
        let left = made.map_or(lag / 4, |made: Instant| lag.saturating_sub(made.elapsed()));
        let mut patience = Patience::new(self, left);
        loop {
            match self.ssh_key(fingerprint).await? {
                Some(key) if key.name != name => return Ok(false),
                Some(key) => match self.call(&Call::DeleteSshKey { id: key.id }).await {
                    Ok(_) => return Ok(true),
                    // Read and delete disagree: the key is new, or another deleted it meanwhile.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                },
                None if made.is_none() => return Ok(false),
                None => {}
            }
            if !patience.wait().await {
                return Ok(false);
            }
        }
    }
}
