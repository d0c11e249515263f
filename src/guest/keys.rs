//! The user's SSH key: made, opened, asked to sign.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use md5::{Digest as _, Md5};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;

use super::error::GuestError;

/// How long an agent may take: it may be asking its user to confirm.
const AGENT_DEADLINE: Duration = Duration::from_secs(60);

/// Where the user's key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserKey {
    /// A private key in a file. A generated key is one, too.
    File(Utf8PathBuf),
    /// The first ed25519 key of the agent at `SSH_AUTH_SOCK`.
    Agent,
}

/// A key pair that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The private key, readable by its owner alone.
    pub private: Utf8PathBuf,
    /// The public key beside it, with `.pub` at the end.
    pub public: Utf8PathBuf,
    /// The public key as a line.
    pub public_key_line: String,
}

/// Makes an ed25519 pair: `path` (0600, in a folder of mode 0700 if that is made here) and
/// `path.pub`. The private key appears whole or not at all, and never in place of another.
///
/// # Errors
/// When there is a file already, or none can be written.
pub fn generate_key_file(path: &Utf8Path, comment: &str) -> Result<KeyPair, GuestError> {
    let write = |cause| GuestError::KeyWrite {
        path: path.to_owned(),
        cause,
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent,
        _ => Utf8Path::new("."),
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(write)?;
    let mut key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
        .map_err(|error| write(std::io::Error::other(error)))?;
    key.set_comment(comment);
    let text = key
        .to_openssh(LineEnding::LF)
        .map_err(|error| write(std::io::Error::other(error)))?;
    let public_key_line = public_line(key.public_key());
    let public = Utf8PathBuf::from(format!("{path}.pub"));

    let place = |bytes: &[u8], mode: u32, to: &Utf8Path, overwrite: bool| {
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        if overwrite {
            file.persist(to)?;
        } else {
            file.persist_noclobber(to)?;
        }
        std::fs::File::open(folder)?.sync_all()
    };
    place(text.as_bytes(), 0o600, path, false).map_err(|cause| {
        if cause.kind() == std::io::ErrorKind::AlreadyExists {
            GuestError::KeyExists {
                path: path.to_owned(),
            }
        } else {
            write(cause)
        }
    })?;
    // A public key without its private one is a leftover: it may be replaced.
    place(
        format!("{public_key_line}\n").as_bytes(),
        0o644,
        &public,
        true,
    )
    .map_err(write)?;
    Ok(KeyPair {
        private: path.to_owned(),
        public,
        public_key_line,
    })
}

/// A key that can sign and log in.
#[derive(Clone)]
pub struct Identity {
    public: PublicKey,
    signer: Signer,
}

#[derive(Clone)]
enum Signer {
    File(Arc<PrivateKey>),
    Agent,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.sha256_fingerprint())
    }
}

/// Opens the user's key. Nothing is asked of the terminal.
///
/// # Errors
/// When the key is missing, encrypted, readable by others or not ed25519; each error says what to
/// do instead.
pub async fn open_key(key: &UserKey) -> Result<Identity, GuestError> {
    match key {
        UserKey::File(path) => open_file(path),
        UserKey::Agent => open_agent().await,
    }
}

fn open_file(path: &Utf8Path) -> Result<Identity, GuestError> {
    let read = |cause| GuestError::KeyRead {
        path: path.to_owned(),
        cause,
    };
    let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(GuestError::KeyPermissions {
            path: path.to_owned(),
            mode,
        });
    }
    let bytes = std::fs::read(path).map_err(read)?;
    let text = String::from_utf8_lossy(&bytes);
    let first = text.lines().next().unwrap_or_default();
    // Formats older than OpenSSH's name the kind in their first line.
    let old_kind = match first {
        "-----BEGIN RSA PRIVATE KEY-----" => Some("ssh-rsa"),
        "-----BEGIN EC PRIVATE KEY-----" => Some("ecdsa"),
        "-----BEGIN DSA PRIVATE KEY-----" => Some("ssh-dss"),
        _ => None,
    };
    let kind = |kind: &str| GuestError::KeyKind {
        name: path.to_string(),
        kind: kind.to_owned(),
    };
    if let Some(old_kind) = old_kind {
        return Err(kind(old_kind));
    }
    if first == "-----BEGIN ENCRYPTED PRIVATE KEY-----" {
        return Err(GuestError::KeyEncrypted {
            path: path.to_owned(),
        });
    }
    let key = PrivateKey::from_openssh(&bytes).map_err(|cause| GuestError::KeyFormat {
        path: path.to_owned(),
        cause: cause.into(),
    })?;
    // The kind stands in the clear, so it can be judged before the passphrase matters.
    let algorithm = key.public_key().algorithm();
    if algorithm != Algorithm::Ed25519 {
        return Err(kind(algorithm.as_str()));
    }
    if key.is_encrypted() {
        return Err(GuestError::KeyEncrypted {
            path: path.to_owned(),
        });
    }
    Ok(Identity {
        public: key.public_key().clone(),
        signer: Signer::File(Arc::new(key)),
    })
}

async fn open_agent() -> Result<Identity, GuestError> {
    let mut agent = connect_agent().await?;
    let no_agent = |cause| GuestError::NoAgent { cause };
    let identities = tokio::time::timeout(AGENT_DEADLINE, agent.request_identities())
        .await
        .map_err(|elapsed| no_agent(elapsed.into()))?
        .map_err(|cause| no_agent(cause.into()))?;
    let mut others = Vec::new();
    for identity in identities {
        match identity {
            AgentIdentity::PublicKey { mut key, comment } => {
                if key.algorithm() == Algorithm::Ed25519 {
                    key.set_comment(comment);
                    return Ok(Identity {
                        public: key,
                        signer: Signer::Agent,
                    });
                }
                others.push(key.algorithm().as_str().to_owned());
            }
            AgentIdentity::Certificate { .. } => others.push("a certificate".to_owned()),
        }
    }
    let held = if others.is_empty() {
        "no key at all".to_owned()
    } else {
        others.join(", ")
    };
    Err(GuestError::AgentEmpty { held })
}

async fn connect_agent() -> Result<AgentClient<UnixStream>, GuestError> {
    AgentClient::connect_env()
        .await
        .map_err(|cause| GuestError::NoAgent {
            cause: cause.into(),
        })
}

impl Identity {
    /// The public key as a line: `ssh-ed25519 AAAA... comment`.
    #[must_use]
    pub fn public_key_line(&self) -> String {
        public_line(&self.public)
    }

    /// The MD5 fingerprint as DigitalOcean writes it: `aa:bb:...`, 16 bytes.
    #[must_use]
    pub fn md5_fingerprint(&self) -> String {
        let blob = self
            .public
            .to_bytes()
            .expect("a public key that was read can be written");
        let bytes: Vec<String> = Md5::digest(blob)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        bytes.join(":")
    }

    /// The SHA-256 fingerprint as OpenSSH writes it: `SHA256:...`.
    #[must_use]
    pub fn sha256_fingerprint(&self) -> String {
        self.public.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Signs a text. The 64 bytes are the same for the same text, each time and everywhere.
    ///
    /// # Errors
    /// When the agent does not sign, or signs differently each time.
    pub async fn sign(&self, text: &[u8]) -> Result<[u8; 64], GuestError> {
        let refused = |cause| GuestError::AgentRefused {
            key: self.sha256_fingerprint(),
            cause,
        };
        let signature = match &self.signer {
            Signer::File(key) => key
                .try_sign(text)
                .map_err(|cause| refused(cause.into()))?
                .as_bytes()
                .to_vec(),
            Signer::Agent => {
                let mut agent = connect_agent().await?;
                let mut once = async || {
                    let asked = agent.sign_request_signature(&self.public, None, text);
                    let signature = tokio::time::timeout(AGENT_DEADLINE, asked)
                        .await
                        .map_err(|elapsed| refused(elapsed.into()))?
                        .map_err(|cause| refused(cause.into()))?;
                    Ok::<_, GuestError>(signature.as_bytes().to_vec())
                };
                let first = once().await?;
                // RFC 8032 makes ed25519 deterministic; a token that adds its own randomness does not.
                if once().await? != first {
                    return Err(GuestError::NotDeterministic {
                        key: self.sha256_fingerprint(),
                    });
                }
                first
            }
        };
        <[u8; 64]>::try_from(signature).map_err(|odd| {
            refused(format!("a signature of {} bytes instead of 64", odd.len()).into())
        })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The private key, when it is in our hands.
    pub(super) fn private(&self) -> Option<Arc<PrivateKey>> {
        match &self.signer {
            Signer::File(key) => Some(Arc::clone(key)),
            Signer::Agent => None,
        }
    }

    pub(super) async fn agent(&self) -> Result<AgentClient<UnixStream>, GuestError> {
        connect_agent().await
    }
}

pub(super) fn public_line(key: &PublicKey) -> String {
    key.to_openssh()
        .expect("a public key that was read can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
        (folder, path)
    }

    fn write_key(path: &Utf8Path, text: &str) {
        std::fs::write(path, text).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("set");
    }

    #[tokio::test]
    async fn a_generated_key_is_private_opens_and_is_never_overwritten() {
        let (_keep, folder) = folder();
        let path = folder.join("keys/id");
        let pair = generate_key_file(&path, "dewpoint demo main").expect("made");
        let mode =
            |path: &Utf8Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder.join("keys")), mode(&path)), (0o700, 0o600));
        let identity = open_key(&UserKey::File(path.clone())).await.expect("opens");
        assert_eq!(identity.public_key_line(), pair.public_key_line);
        assert!(pair.public_key_line.ends_with(" dewpoint demo main"));
        let before = std::fs::read(&path).expect("read");
        let again = generate_key_file(&path, "other").expect_err("refused");
        assert!(matches!(again, GuestError::KeyExists { .. }));
        assert_eq!(std::fs::read(&path).expect("read"), before);
    }

    // Made once with ssh-keygen; the fingerprints are what `ssh-keygen -l` says of it.
    const KNOWN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACCHfnvB/dODUDikpCcGwi7HXwen4abKBxAuqo0gJl+tUwAAAIjvW47871uO
/AAAAAtzc2gtZWQyNTUxOQAAACCHfnvB/dODUDikpCcGwi7HXwen4abKBxAuqo0gJl+tUw
AAAEARWk+a9bhRU0AkHp38km0spz1+KA3d6Q9NcC2IjUWpFId+e8H904NQOKSkJwbCLsdf
B6fhpsoHEC6qjSAmX61TAAAABWtub3du
-----END OPENSSH PRIVATE KEY-----
";

    #[tokio::test]
    async fn fingerprints_are_those_of_ssh_keygen() {
        let (_keep, folder) = folder();
        let path = folder.join("id");
        write_key(&path, KNOWN);
        let identity = open_key(&UserKey::File(path)).await.expect("opens");
        assert_eq!(
            identity.md5_fingerprint(),
            "3a:2e:5d:67:43:69:56:c8:4c:1f:c3:a6:94:31:91:c6"
        );
        assert_eq!(
            identity.sha256_fingerprint(),
            "SHA256:5KAvOD9JClU2wBJh07uFb+3vvfok62vAdTHgqlQkahs"
        );
        assert_eq!(
            format!("{identity:?}"),
            "Identity(SHA256:5KAvOD9JClU2wBJh07uFb+3vvfok62vAdTHgqlQkahs)"
        );
        let once = identity.sign(b"text").await.expect("signs");
        assert_eq!(once, identity.sign(b"text").await.expect("signs"));
    }

    #[tokio::test]
    async fn keys_that_will_not_do_are_refused_with_the_way_out() {
        let (_keep, folder) = folder();
        let cases = [
            (
                "rsa",
                include_str!("testdata/rsa"),
                "the SSH key PATH is of kind ssh-rsa, and only ed25519 will do",
            ),
            (
                "ecdsa",
                include_str!("testdata/ecdsa"),
                "the SSH key PATH is of kind ecdsa-sha2-nistp256, and only ed25519 will do",
            ),
            (
                "pem",
                "-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n",
                "the SSH key PATH is of kind ssh-rsa, and only ed25519 will do",
            ),
            (
                "encrypted",
                include_str!("testdata/encrypted"),
                "the SSH key PATH is protected by a passphrase",
            ),
            (
                "noise",
                "hello\n",
                "PATH is not a private key in OpenSSH format",
            ),
        ];
        for (name, text, expected) in cases {
            let path = folder.join(name);
            write_key(&path, text);
            let error = open_key(&UserKey::File(path.clone()))
                .await
                .expect_err(name);
            assert_eq!(
                error.to_string().replace(path.as_str(), "PATH"),
                expected,
                "{name}"
            );
        }
        let path = folder.join("open");
        std::fs::write(&path, KNOWN).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        let error = open_key(&UserKey::File(path))
            .await
            .expect_err("readable by others");
        assert!(matches!(
            error,
            GuestError::KeyPermissions { mode: 0o644, .. }
        ));
    }
}
