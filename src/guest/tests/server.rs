//! An SSH server that runs commands on this machine, as sshd would without a terminal: each in a
//! process group of its own, the exit status sent when the process ends, the channel closed when
//! its streams do.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use russh::keys::PrivateKey;
use russh::keys::PublicKey;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Session as Conversation,
    VerifiedPublicKey,
};
use russh::{Channel, ChannelId, Sig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use crate::guest::keys::public_line;
use crate::guest::{
    HostKeyPin, Identity, Session, Target, UserKey, derive_host_key, generate_key_file, open_key,
};

/// A server, and the key that it lets in.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) identity: Identity,
    pub(crate) host_key: String,
    /// The home of its user, with `tmp`, where temporary files go, and `state`.
    pub(crate) home: Utf8PathBuf,
    pub(crate) logins: Arc<AtomicUsize>,
    pub(crate) commands: Arc<AtomicUsize>,
    /// What commands get for their PATH; this process's if none.
    pub(crate) path: Arc<Mutex<Option<String>>>,
    /// Cuts every connection there is.
    pub(crate) cut: CancellationToken,
    frozen: CancellationToken,
    listening: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.cancel();
    }
}

impl Server {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        Self::start_refusing(0).await
    }

    /// Starts one that refuses the key for the first so many logins.
    pub(crate) async fn start_refusing(refusals: usize) -> Self {
        Self::start_with(refusals, false).await
    }

    /// Starts one that is a droplet of `shop / main`: it shows the host key that is derived for it.
    pub(crate) async fn start_pinned() -> Self {
        Self::start_with(0, true).await
    }

    async fn start_with(refusals: usize, is_pinned: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8");
        let home = path.join("home");
        for name in ["tmp", "state"] {
            std::fs::create_dir_all(home.join(name)).expect("made");
        }
        let pair = generate_key_file(&path.join("id"), "test").expect("made");
        let identity = open_key(&UserKey::File(pair.private)).await.expect("opens");
        let host = if is_pinned {
            let derived = derive_host_key(&identity, "shop", "main").await;
            let text = derived.expect("derived").private_openssh();
            PrivateKey::from_openssh(text.expose())
        } else {
            let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[3; 32]));
            PrivateKey::new(pair, "")
        };
        let host = host.expect("a key");
        let host_key = public_line(host.public_key());
        let config = Arc::new(Config {
            keys: vec![host],
            auth_rejection_time: Duration::ZERO,
            nodelay: true,
            ..Config::default()
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("bound");
        let server = Self {
            port: listener.local_addr().expect("bound").port(),
            host_key,
            home: home.clone(),
            logins: Arc::default(),
            commands: Arc::default(),
            path: Arc::default(),
            cut: CancellationToken::new(),
            frozen: CancellationToken::new(),
            listening: CancellationToken::new(),
            identity,
            _folder: folder,
        };
        let client = Client {
            key: server.identity.public().clone(),
            refusals,
            home,
            logins: Arc::clone(&server.logins),
            commands: Arc::clone(&server.commands),
            path: Arc::clone(&server.path),
            inputs: HashMap::new(),
        };
        let (cut, listening) = (server.cut.clone(), server.listening.clone());
        let frozen = server.frozen.clone();
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = listening.cancelled() => return,
                    accepted = listener.accept() => accepted.expect("accepts").0,
                };
                let (client, config, cut, listening, frozen) = (
                    client.anew(),
                    Arc::clone(&config),
                    // Who comes after the cut is let be.
                    if cut.is_cancelled() {
                        CancellationToken::new()
                    } else {
                        cut.clone()
                    },
                    listening.clone(),
                    frozen.clone(),
                );
                // The session is a task of its own that outlives its handle: only its stream can
                // be cut.
                let (near, mut far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(async move {
                    if let Ok(session) = russh::server::run_stream(config, near, client).await {
                        let _ = session.await;
                    }
                });
                tokio::spawn(async move {
                    let mut stream = stream;
                    tokio::select! {
                        () = cut.cancelled() => {}
                        () = listening.cancelled() => {}
                        () = frozen.cancelled() => tokio::select! {
                            () = cut.cancelled() => {}
                            () = listening.cancelled() => {}
                        },
                        _ = tokio::io::copy_bidirectional(&mut stream, &mut far) => {}
                    }
                });
            }
        });
        server
    }

    /// From here on nothing comes through a connection, and none is closed.
    pub(crate) fn freeze(&self) {
        self.frozen.cancel();
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: self.port,
            user: "root".to_owned(),
            label: "droplet.runner".to_owned(),
        }
    }

    pub(crate) async fn session(&self) -> Session {
        let pin = HostKeyPin::Pinned(self.host_key.clone());
        Session::connect(
            &self.target(),
            &self.identity,
            &pin,
            Duration::from_secs(20),
        )
        .await
        .expect("connects")
    }

    /// A folder to put things in.
    pub(crate) fn folder(&self, name: &str) -> Utf8PathBuf {
        let path = self.home.join(name);
        std::fs::create_dir_all(&path).expect("made");
        path
    }

    pub(crate) fn left_in_tmp(&self) -> usize {
        std::fs::read_dir(self.home.join("tmp"))
            .expect("there")
            .count()
    }
}

struct Client {
    key: PublicKey,
    refusals: usize,
    home: Utf8PathBuf,
    logins: Arc<AtomicUsize>,
    commands: Arc<AtomicUsize>,
    path: Arc<Mutex<Option<String>>>,
    inputs: HashMap<ChannelId, ChildStdin>,
}

impl Client {
    fn anew(&self) -> Self {
        Self {
            key: self.key.clone(),
            refusals: self.refusals,
            home: self.home.clone(),
            logins: Arc::clone(&self.logins),
            commands: Arc::clone(&self.commands),
            path: Arc::clone(&self.path),
            inputs: HashMap::new(),
        }
    }
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let number = self.logins.fetch_add(1, Ordering::SeqCst);
        let is_known = user == "root" && key.public_key.key_data() == self.key.key_data();
        Ok(if is_known && number >= self.refusals {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Conversation,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Conversation,
    ) -> Result<(), Self::Error> {
        self.commands.fetch_add(1, Ordering::SeqCst);
        let path = self.path.lock().expect("unpoisoned").clone();
        let mut child = spawn(&String::from_utf8_lossy(data), &self.home, path);
        session.channel_success(channel)?;
        self.inputs
            .extend(child.stdin.take().map(|stdin| (channel, stdin)));
        tokio::spawn(serve(channel, session.handle(), child));
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut Conversation,
    ) -> Result<(), Self::Error> {
        if let Some(input) = self.inputs.get_mut(&channel)
            && input.write_all(data).await.is_err()
        {
            self.inputs.remove(&channel);
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _session: &mut Conversation,
    ) -> Result<(), Self::Error> {
        self.inputs.remove(&channel);
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Conversation,
    ) -> Result<(), Self::Error> {
        self.inputs.remove(&channel);
        Ok(())
    }
}

fn spawn(command: &str, home: &Utf8Path, path: Option<String>) -> tokio::process::Child {
    let path = path.or_else(|| std::env::var("PATH").ok());
    Command::new("sh")
        .args(["-c", command])
        .env_clear()
        .env("PATH", path.unwrap_or_default())
        .env("HOME", home)
        .env("TMPDIR", home.join("tmp"))
        .env("DEWPOINT_STATE_DIR", home.join("state"))
        .current_dir(home)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh runs")
}

async fn serve(channel: ChannelId, handle: Handle, mut child: tokio::process::Child) {
    let mut out = child.stdout.take().expect("piped");
    let mut err = child.stderr.take().expect("piped");
    let out = async {
        let mut bytes = vec![0; 32 * 1024];
        while let Ok(count @ 1..) = out.read(&mut bytes).await {
            let _ = handle.data(channel, bytes[..count].to_vec()).await;
        }
    };
    let err = async {
        let mut bytes = vec![0; 32 * 1024];
        while let Ok(count @ 1..) = err.read(&mut bytes).await {
            let _ = handle
                .extended_data(channel, 1, bytes[..count].to_vec())
                .await;
        }
    };
    let end = async {
        let status = child.wait().await.expect("waited for");
        if let Some(signal) = status.signal() {
            let name = if signal == 9 { Sig::KILL } else { Sig::TERM };
            let _ = handle
                .exit_signal_request(channel, name, false, String::new(), String::new())
                .await;
        } else {
            let code = status.code().expect("it exited").cast_unsigned();
            let _ = handle.exit_status_request(channel, code).await;
        }
    };
    tokio::join!(out, err, end);
    let _ = handle.eof(channel).await;
    let _ = handle.close(channel).await;
}
