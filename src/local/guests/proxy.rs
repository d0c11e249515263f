//! The way out of a guest: an HTTP proxy on its loopback, for package managers.
//!
//! A guest has a network of its own with nothing in it. The proxy's socket is opened inside and
//! handed out, so that no bridge, address translation or route is needed on the host. What is meant
//! for another guest goes over the network that the guests have among themselves.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::exec::{GuestExec as _, ProcessRequest};
use super::guest::Guest;
use super::network;

/// Where the proxy listens inside: a port nothing else is likely to want.
pub(super) const PORT: u16 = 34_719;

/// The longest request head that is read.
const HEAD_BYTES: usize = 32 * 1024;

/// How long a guest may take to say whether it knows a name.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Environment of a guest's processes that leads them to the proxy.
pub(super) fn environment() -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{PORT}");
    let none = "localhost,127.0.0.1,::1".to_owned();
    [
        ("http_proxy", &proxy),
        ("https_proxy", &proxy),
        ("HTTP_PROXY", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("no_proxy", &none),
        ("NO_PROXY", &none),
    ]
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .to_vec()
}

/// Serves until the guest is gone.
pub(super) async fn serve(listener: TcpListener, guest: Arc<Guest>, gone: CancellationToken) {
    loop {
        tokio::select! {
            () = gone.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let gone = gone.clone();
                    let guest = Arc::clone(&guest);
                    tokio::spawn(async move {
                        tokio::select! {
                            () = gone.cancelled() => {}
                            result = forward(client, &guest) => if let Err(error) = result {
                                tracing::debug!(%error, "a guest's request was not forwarded");
                            },
                        }
                    });
                }
                // Out of descriptors: give connections time to end.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

async fn forward(mut client: TcpStream, guest: &Guest) -> std::io::Result<()> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > HEAD_BYTES {
            return refuse(&mut client, "431 Request Header Fields Too Large").await;
        }
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let first = text.lines().next().unwrap_or_default();
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return refuse(&mut client, "400 Bad Request").await;
    };
    if method == "CONNECT" {
        let Some(mut server) = dial(guest, target, 443).await else {
            return refuse(&mut client, "502 Bad Gateway").await;
        };
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await?;
        server.write_all(&head[end..]).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
    let Some(rest) = target.strip_prefix("http://") else {
        return refuse(&mut client, "400 Bad Request").await;
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(mut server) = dial(guest, authority, 80).await else {
        return refuse(&mut client, "502 Bad Gateway").await;
    };
    // One request a connection: the next one may go elsewhere.
    let mut request = format!("{method} /{path} HTTP/1.1\r\n");
    for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if !["proxy-connection", "connection", "keep-alive"]
            .contains(&name.to_ascii_lowercase().as_str())
        {
            request.push_str(line);
            request.push_str("\r\n");
        }
    }
    request.push_str("Connection: close\r\n\r\n");
    server.write_all(request.as_bytes()).await?;
    server.write_all(&head[end..]).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Connects, but never to the host itself: its services are none of the guest's business.
async fn dial(guest: &Guest, authority: &str, default_port: u16) -> Option<TcpStream> {
    let with_port = authority
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = with_port.unwrap_or((authority, default_port));
    if let Some(address) = known_inside(guest, host).await {
        return guest.connect_tcp(&address.to_string(), port).await.ok();
    }
    let host = host.trim_matches(['[', ']']);
    let addresses = tokio::net::lookup_host((host, port)).await.ok()?;
    for address in addresses.filter(|address| is_elsewhere(address.ip())) {
        let connecting = TcpStream::connect(address);
        if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(20), connecting).await {
            return Some(stream);
        }
    }
    None
}

/// The address of a name that the guest's own /etc/hosts has, or of another guest.
async fn known_inside(guest: &Guest, host: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        let is_ours = network::is_inside(address);
        return is_ours.then_some(address);
    }
    let is_name = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !host.starts_with('-');
    if !is_name {
        return None;
    }
    let request = ProcessRequest {
        command: Some(format!("exec getent -s hosts:files ahostsv4 {host}")),
        env: Vec::new(),
        pty: None,
    };
    let asked = async {
        let process = guest.exec(request).await.ok()?;
        let mut said = Vec::new();
        let mut stdout = tokio::net::unix::pipe::Receiver::from_owned_fd(process.stdout).ok()?;
        drop(process.stdin);
        stdout.read_to_end(&mut said).await.ok()?;
        let said = String::from_utf8_lossy(&said);
        said.split_whitespace().next()?.parse().ok()
    };
    tokio::time::timeout(LOOK_UP, asked).await.ok()?
}

fn is_elsewhere(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

async fn refuse(client: &mut TcpStream, status: &str) -> std::io::Result<()> {
    client
        .write_all(
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_itself_is_out_of_reach() {
        for text in [
            "127.0.0.1",
            "127.9.8.7",
            "::1",
            "0.0.0.0",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
        ] {
            assert!(!is_elsewhere(text.parse().expect(text)), "{text}");
        }
        assert!(is_elsewhere("203.0.113.9".parse().expect("an address")));
    }
}
