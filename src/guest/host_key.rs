//! The host key of an environment: derived, so that whoever may log in can compute and pin it.

use hkdf::Hkdf;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey};
use sha2::Sha256;

use super::error::GuestError;
use super::keys::{Identity, public_line};
use crate::secret::Secret;

/// The ed25519 key with which an environment's droplets show who they are.
#[derive(Clone)]
pub struct HostKey(PrivateKey);

/// What a droplet must show before anything is sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeyPin {
    /// This public key, as a line.
    Pinned(String),
    /// Whatever it shows: for images that ignore cloud-init, on the user's explicit word.
    AcceptNew,
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

/// Derives an environment's host key: HKDF-SHA-256 (RFC 5869, no salt) over the user key's
/// deterministic signature over `dewpoint-host-key-v1 PROJECT ENVIRONMENT`, with that text as info.
///
/// The same on every machine that holds the user's key. Changing anything here locks every user
/// out of the droplets that are up.
///
/// # Errors
/// When the agent does not sign.
pub async fn derive_host_key(
    identity: &Identity,
    project: &str,
    environment: &str,
) -> Result<HostKey, GuestError> {
    let text = format!("dewpoint-host-key-v1 {project} {environment}");
    let signature = identity.sign(text.as_bytes()).await?;
    let seed = expand(&signature, text.as_bytes());
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, format!("{project}-{environment}"))
        .expect("an ed25519 pair with an ASCII comment is a key");
    Ok(HostKey(key))
}

fn expand(secret: &[u8], info: &[u8]) -> [u8; 32] {
    let mut seed = [0; 32];
    Hkdf::<Sha256>::new(None, secret)
        .expand(info, &mut seed)
        .expect("HKDF-SHA-256 gives up to 8160 bytes");
    seed
}

impl HostKey {
    /// The private key as OpenSSH's PEM text. The same text each time, so that user data made
    /// from it does not look changed.
    #[must_use]
    pub fn private_openssh(&self) -> Secret<String> {
        let text = self
            .0
            .to_openssh(LineEnding::LF)
            .expect("an unencrypted ed25519 key can be written");
        Secret::new(text.to_string())
    }

    /// The public key as a line: `ssh-ed25519 AAAA... PROJECT-ENVIRONMENT`.
    #[must_use]
    pub fn public_line(&self) -> String {
        public_line(self.0.public_key())
    }

    /// The fingerprint as OpenSSH writes it: `SHA256:...`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The pin for this key.
    #[must_use]
    pub fn pin(&self) -> HostKeyPin {
        HostKeyPin::Pinned(self.public_line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{UserKey, open_key};

    /// RFC 5869, test case 3: SHA-256, no salt. Its output is 42 bytes; ours are the first 32, for
    /// HKDF's output does not depend on how much is asked for.
    #[test]
    fn expansion_matches_the_published_vector() {
        assert_eq!(
            hex::encode(expand(&[0x0b; 22], b"")),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        );
    }

    #[tokio::test]
    async fn the_derivation_never_changes_and_tells_environments_apart() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = camino::Utf8PathBuf::from_path_buf(folder.path().join("id")).expect("UTF-8");
        let user = PrivateKey::new(
            KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32])),
            "user",
        )
        .expect("a key");
        user.write_openssh_file(path.as_std_path(), LineEnding::LF)
            .expect("written");
        let identity = open_key(&UserKey::File(path)).await.expect("opens");

        let main = derive_host_key(&identity, "demo", "main")
            .await
            .expect("derived");
        insta::assert_snapshot!(main.public_line(), @"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQV8v8BpgWyK1XDSGWcxbfkkupI7dz9LgYceoozGyTZ demo-main");
        let again = derive_host_key(&identity, "demo", "main")
            .await
            .expect("derived");
        assert_eq!(main.private_openssh(), again.private_openssh());
        let read = PrivateKey::from_openssh(main.private_openssh().expose()).expect("a key");
        assert_eq!(public_line(read.public_key()), main.public_line());
        let other = derive_host_key(&identity, "demo", "pr-1")
            .await
            .expect("derived");
        assert_ne!(main.fingerprint(), other.fingerprint());
        assert!(!format!("{main:?}").contains("PRIVATE"));
    }
}
