//! Connections and who may make them.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelOpenFailure, MethodKind, MethodSet};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::session;
use crate::local::seam::GuestExec;

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A new ed25519 host key in OpenSSH's format.
///
/// # Errors
/// When the system has no randomness to give.
pub fn fresh_host_key() -> io::Result<String> {
    use std::io::Read as _;
    let mut seed = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let key = PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), "")
        .map_err(invalid)?;
    Ok(key.to_openssh(LineEnding::LF).map_err(invalid)?.to_string())
}

/// Serves SSH on a listener until `shutdown`. Only root may log in, only with one of the keys.
///
/// # Errors
/// When the listener is not on loopback or a key cannot be read. The future itself does not fail.
pub fn serve(
    listener: TcpListener,
    host_key: &str,
    authorized_keys: &[String],
    guest: Arc<dyn GuestExec>,
    shutdown: CancellationToken,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    if !listener.local_addr()?.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the local cloud listens on loopback only",
        ));
    }
    let host_key = PrivateKey::from_openssh(host_key).map_err(invalid)?;
    let keys = authorized_keys
        .iter()
        .map(|line| PublicKey::from_openssh(line).map_err(invalid))
        .collect::<io::Result<Vec<_>>>()?;
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    let config = Arc::new(Config {
        methods,
        keys: vec![host_key],
        auth_rejection_time: Duration::from_millis(100),
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(30)),
        nodelay: true,
        ..Config::default()
    });
    let keys: Arc<[PublicKey]> = keys.into();
    Ok(async move {
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors: give connections time to end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            // Keystrokes and small answers must not wait for more.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let client = Client {
                keys: Arc::clone(&keys),
                guest: Arc::clone(&guest),
            };
            let config = Arc::clone(&config);
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                let serving = async {
                    match russh::server::run_stream(config, stream, client).await {
                        Ok(session) => {
                            if let Err(error) = session.await {
                                tracing::debug!(%error, "an SSH connection ended early");
                            }
                        }
                        Err(error) => tracing::debug!(%error, "an SSH connection did not start"),
                    }
                };
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = serving => {}
                }
            });
        }
    })
}

struct Client {
    keys: Arc<[PublicKey]>,
    guest: Arc<dyn GuestExec>,
}

impl Client {
    fn verdict(&self, user: &str, key: &PublicKey) -> Auth {
        let known = self
            .keys
            .iter()
            .any(|authorized| authorized.key_data() == key.key_data());
        if user == "root" && known {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.verdict(user, offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.verdict(user, key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(session::run(
            channel,
            session.handle(),
            Arc::clone(&self.guest),
        ));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(port) = u16::try_from(port_to_connect) else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        let guest = Arc::clone(&self.guest);
        let host = host_to_connect.to_owned();
        // Connecting may take long; other channels must not wait for it.
        tokio::spawn(async move {
            match guest.connect_tcp(&host, port).await {
                Ok(mut server) => {
                    reply.accept().await;
                    let mut client = channel.into_stream();
                    // Either side may go away at any time; that ends the forwarding.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
                Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            }
        });
        Ok(())
    }
}
