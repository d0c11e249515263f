//! Guests as a test reaches them: booted from a spec, driven over SSH.

use std::net::Ipv4Addr;
use std::sync::Arc;

use dewpoint::local::guests::{BootSpec, GuestImage};
use russh::ChannelMsg;
use russh::client;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};

/// A key of a client or a server.
pub struct Login {
    key: Arc<PrivateKey>,
}

impl Login {
    pub fn new(seed: u8) -> Self {
        let pair = Ed25519Keypair::from_seed(&[seed; 32]);
        Self {
            key: Arc::new(PrivateKey::new(KeypairData::Ed25519(pair), "").expect("a key")),
        }
    }

    fn line(&self) -> String {
        self.key.public_key().to_openssh().expect("a line")
    }

    fn pem(&self) -> String {
        self.key
            .to_openssh(LineEnding::LF)
            .expect("a key file")
            .to_string()
    }
}

/// Accepts one host key.
pub struct Pin(PublicKey);

impl client::Handler for Pin {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(
            matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()),
        )
    }
}

/// What a command came to: exit status (or `None` for a signal), output and errors together.
#[derive(Debug, PartialEq, Eq)]
pub struct Came {
    pub status: Option<u32>,
    pub output: String,
}

pub async fn connect(
    address: (Ipv4Addr, u16),
    login: &Login,
    host: &Login,
) -> Result<client::Handle<Pin>, russh::Error> {
    let config = Arc::new(client::Config {
        nodelay: true,
        ..client::Config::default()
    });
    let mut handle = client::connect(config, address, Pin(host.key.public_key().clone())).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&login.key), None);
    match handle.authenticate_publickey("root", key).await? {
        client::AuthResult::Success => Ok(handle),
        client::AuthResult::Failure { .. } => Err(russh::Error::NotAuthenticated),
    }
}

pub async fn run(handle: &client::Handle<Pin>, command: &str) -> Came {
    let mut channel = handle.channel_open_session().await.expect("a channel");
    channel.exec(true, command).await.expect("a command");
    channel.eof().await.expect("an end of input");
    let mut came = Came {
        status: None,
        output: String::new(),
    };
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                came.output.push_str(&String::from_utf8_lossy(&data));
            }
            ChannelMsg::ExitStatus { exit_status } => came.status = Some(exit_status),
            _ => {}
        }
    }
    came
}

pub async fn ok(handle: &client::Handle<Pin>, command: &str) -> String {
    let came = run(handle, command).await;
    assert_eq!(came.status, Some(0), "{command}: {}", came.output);
    came.output.trim().to_owned()
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Where a droplet's SSH server listens.
pub fn address(droplet: u64) -> Ipv4Addr {
    let [.., high, low] = droplet.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// A droplet's address on the network that guests have among themselves.
pub fn private(droplet: u64) -> Ipv4Addr {
    let [.., high, low] = droplet.to_be_bytes();
    Ipv4Addr::new(10, 108, high, low)
}

pub fn spec(droplet: u64, image: GuestImage, login: &Login, host: &Login) -> BootSpec {
    let pem: String = host
        .pem()
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    BootSpec {
        droplet,
        hostname: format!("guest-{droplet}"),
        image,
        authorized_keys: vec![login.line()],
        user_data: Some(format!(
            "#cloud-config\nssh_keys:\n  ed25519_private: |\n{pem}"
        )),
        address: address(droplet),
        private: Some(private(droplet)),
    }
}

pub fn base() -> GuestImage {
    GuestImage::Base {
        slug: "ubuntu-24-04-x64".to_owned(),
    }
}
