//! A connection to a droplet: patient while it boots, unforgiving about who answers.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::error::{Cause, GuestError};
use super::host_key::HostKeyPin;
use super::keys::{Identity, public_line};

/// Between tries: short at first, for a local guest is up in milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between tries, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// One TCP connect. A droplet that is booting drops packets, and the kernel's own patience is two
/// minutes.
const TCP_LIMIT: Duration = Duration::from_secs(5);
/// Greeting, key exchange and login. A droplet on its first boot is slow at all of them.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);
/// How long a refused key is tried again: sshd may be up before cloud-init has put the key there.
const LOGIN_GRACE: Duration = Duration::from_secs(30);
/// After this long without a word the other side is asked for one; four unanswered end it.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What this process does at once, however many droplets there are.
struct AtOnce {
    /// TCP connects: most of those to droplets that boot wait in vain, with a file descriptor each.
    knocks: Semaphore,
    /// Handshakes: each takes some milliseconds of arithmetic, and hundreds at once make each other
    /// miss their deadlines.
    handshakes: Semaphore,
}

static AT_ONCE: AtOnce = AtOnce {
    knocks: Semaphore::const_new(512),
    handshakes: Semaphore::const_new(64),
};

/// Lets this process have as many file descriptors as the system allows it: a connection takes one,
/// and the usual 1,024 (256 on macOS) would be reached by as many droplets. Where it cannot be raised those
/// must do.
pub fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // `OPEN_MAX` of macOS, which grants no more and says "unlimited" nevertheless.
    const MOST_ON_MACOS: u64 = 10_240;
    let limit = getrlimit(Resource::Nofile);
    let most = if cfg!(target_os = "macos") {
        let most = limit.maximum.unwrap_or(u64::MAX).min(MOST_ON_MACOS);
        Some(most.max(limit.current.unwrap_or(0)))
    } else {
        limit.maximum
    };
    let raised = Rlimit {
        current: most,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on descriptors stays as it is");
    }
}

/// Which droplet to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its address on the network.
    pub address: IpAddr,
    /// The port of its SSH server.
    pub port: u16,
    /// The user who logs in.
    pub user: String,
    /// Its address in the manifest, such as `droplet.runner`: for messages.
    pub label: String,
}

/// One authenticated connection to a droplet. Clones share it; each command is a channel of its
/// own.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

struct Shared {
    handle: Handle<Guard>,
    label: String,
    host_key: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.0.label)
    }
}

/// Judges the host key before anything else is said.
pub(super) struct Guard {
    pinned: Option<PublicKey>,
    seen: Arc<Mutex<Option<PublicKey>>>,
}

impl client::Handler for Guard {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Keys are exchanged anew now and then; without a pin, the first one seen holds.
        let expected = self.pinned.as_ref().or(seen.as_ref());
        let is_good = expected.is_none_or(|expected| expected.key_data() == key.key_data());
        *seen = Some(key.clone());
        Ok(is_good)
    }
}

/// Why a try came to nothing, where the other side did not say so itself.
#[derive(Debug, thiserror::Error)]
enum Silence {
    /// No packet came back: nobody is there, or a firewall drops what is sent.
    #[error("nothing answered at all")]
    NoAnswer,
    /// The connection was taken, and then came nothing that SSH begins with.
    #[error("the connection was taken, but no SSH server has spoken on it")]
    NoSsh,
}

/// How one try ended.
enum Try {
    /// Worth another.
    Again(Cause),
    /// Logged off before logged on: the key may be put there yet.
    KeyRefused,
    /// Not worth another.
    Never(GuestError),
}

impl Session {
    /// Connects and logs in, trying again until `deadline` has passed while nobody answers, the
    /// connection breaks early or the key is not known yet.
    ///
    /// # Errors
    /// [`GuestError::WrongHostKey`] at once, before anything is sent, if somebody else answers;
    /// [`GuestError::KeyRefused`] if the key stays unknown; [`GuestError::Unreachable`] at the
    /// deadline.
    pub async fn connect(
        target: &Target,
        identity: &Identity,
        host_key: &HostKeyPin,
        deadline: Duration,
    ) -> Result<Self, GuestError> {
        connect_with(target, identity, host_key, deadline, LOGIN_GRACE).await
    }

    /// The droplet's address in the manifest.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// The host key that was shown, as a line.
    #[must_use]
    pub fn host_key(&self) -> &str {
        &self.0.host_key
    }

    /// Whether both are the same connection.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.handle.is_closed()
    }

    /// Ends the connection. Commands that still run over it are lost; one that is gone already is
    /// no error.
    pub async fn close(&self) {
        let farewell = self
            .0
            .handle
            .disconnect(russh::Disconnect::ByApplication, "", "en");
        // Whether the other side hears it does not matter: the socket closes either way.
        let _ = timeout(Duration::from_secs(1), farewell).await;
    }

    pub(super) fn handle(&self) -> &Handle<impl client::Handler + use<>> {
        &self.0.handle
    }
}

pub(super) async fn connect_with(
    target: &Target,
    identity: &Identity,
    host_key: &HostKeyPin,
    deadline: Duration,
    login_grace: Duration,
) -> Result<Session, GuestError> {
    let pinned = match host_key {
        HostKeyPin::AcceptNew => None,
        HostKeyPin::Pinned(line) => {
            Some(
                PublicKey::from_openssh(line).map_err(|cause| GuestError::BadPin {
                    label: target.label.clone(),
                    cause: cause.into(),
                })?,
            )
        }
    };
    let config = Arc::new(configuration(pinned.as_ref()));
    let began = Instant::now();
    let end = began + deadline;
    let mut refused_since = None;
    let mut pause = FIRST_PAUSE;
    let mut met: Cause = Silence::NoAnswer.into();
    loop {
        let is_taken = AtomicBool::new(false);
        let attempt = attempt(
            target,
            identity,
            pinned.as_ref(),
            Arc::clone(&config),
            &is_taken,
        );
        match tokio::time::timeout_at(end, attempt).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(Try::Never(error))) => return Err(error),
            Ok(Err(Try::Again(cause))) => {
                tracing::debug!(%cause, label = target.label, "SSH is not there yet");
                met = cause;
            }
            Ok(Err(Try::KeyRefused)) => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= login_grace || Instant::now() + pause >= end {
                    return Err(GuestError::KeyRefused {
                        label: target.label.clone(),
                        user: target.user.clone(),
                        key: identity.sha256_fingerprint(),
                    });
                }
                // Servers that count failures punish haste.
                pause = LONGEST_PAUSE;
            }
            // Cut short by the deadline: what an earlier try met may say more.
            Err(_elapsed) if is_taken.load(Ordering::Relaxed) => met = Silence::NoSsh.into(),
            Err(_elapsed) => {}
        }
        if Instant::now() + pause >= end {
            return Err(GuestError::Unreachable {
                label: target.label.clone(),
                at: SocketAddr::new(target.address, target.port).to_string(),
                waited: began.elapsed(),
                cause: met,
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn configuration(pinned: Option<&PublicKey>) -> client::Config {
    let mut preferred = russh::Preferred::DEFAULT;
    if let Some(pinned) = pinned {
        // A server with several host keys must show the pinned one.
        preferred.key = Cow::Owned(vec![match pinned.algorithm() {
            Algorithm::Rsa { .. } => Algorithm::Rsa {
                hash: Some(HashAlg::Sha512),
            },
            other => other,
        }]);
    }
    client::Config {
        preferred,
        nodelay: true,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 4,
        ..client::Config::default()
    }
}

async fn attempt(
    target: &Target,
    identity: &Identity,
    pinned: Option<&PublicKey>,
    config: Arc<client::Config>,
    is_taken: &AtomicBool,
) -> Result<Session, Try> {
    let at = SocketAddr::new(target.address, target.port);
    // Never an error: they are never closed.
    let knocking = AT_ONCE.knocks.acquire().await;
    let stream = timeout(TCP_LIMIT, TcpStream::connect(at))
        .await
        .map_err(|_elapsed| Try::Again(Silence::NoAnswer.into()))?
        .map_err(|cause| Try::Again(cause.into()))?;
    drop(knocking);
    is_taken.store(true, Ordering::Relaxed);
    stream
        .set_nodelay(true)
        .map_err(|cause| Try::Again(cause.into()))?;
    let _shaking = AT_ONCE.handshakes.acquire().await;
    timeout(
        HANDSHAKE_LIMIT,
        log_in(stream, target, identity, pinned, config),
    )
    .await
    .map_err(|_elapsed| Try::Again(Silence::NoSsh.into()))?
}

async fn log_in(
    stream: TcpStream,
    target: &Target,
    identity: &Identity,
    pinned: Option<&PublicKey>,
    config: Arc<client::Config>,
) -> Result<Session, Try> {
    let seen = Arc::new(Mutex::new(None));
    let guard = Guard {
        pinned: pinned.cloned(),
        seen: Arc::clone(&seen),
    };
    let shown = || seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut handle = match client::connect_stream(config, stream, guard).await {
        Ok(handle) => handle,
        Err(cause @ russh::Error::UnknownKey) => {
            return Err(match (pinned, shown()) {
                (Some(pinned), Some(seen)) => Try::Never(GuestError::WrongHostKey {
                    label: target.label.clone(),
                    at: SocketAddr::new(target.address, target.port).to_string(),
                    expected: pinned.fingerprint(HashAlg::Sha256).to_string(),
                    seen: seen.fingerprint(HashAlg::Sha256).to_string(),
                }),
                _ => Try::Again(cause.into()),
            });
        }
        Err(cause @ russh::Error::NoCommonAlgo { .. }) => {
            return Err(Try::Never(GuestError::Protocol {
                label: target.label.clone(),
                cause: cause.into(),
            }));
        }
        Err(cause) => return Err(Try::Again(cause.into())),
    };
    let verdict = match identity.private() {
        Some(key) => handle
            .authenticate_publickey(&target.user, PrivateKeyWithHashAlg::new(key, None))
            .await
            .map_err(|cause| Try::Again(cause.into()))?,
        None => {
            let mut agent = identity.agent().await.map_err(Try::Never)?;
            let public = identity.public().clone();
            match handle
                .authenticate_publickey_with(&target.user, public, None, &mut agent)
                .await
            {
                Ok(verdict) => verdict,
                Err(russh::AgentAuthError::Key(cause)) => {
                    return Err(Try::Never(GuestError::AgentRefused {
                        key: identity.sha256_fingerprint(),
                        cause: cause.into(),
                    }));
                }
                Err(cause) => return Err(Try::Again(cause.into())),
            }
        }
    };
    match verdict {
        AuthResult::Success => {}
        AuthResult::Failure { .. } => return Err(Try::KeyRefused),
    }
    let host_key = shown().as_ref().map(public_line).unwrap_or_default();
    Ok(Session(Arc::new(Shared {
        handle,
        label: target.label.clone(),
        host_key,
    })))
}
