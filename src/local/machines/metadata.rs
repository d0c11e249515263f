//! What a machine is told of itself: DigitalOcean's metadata, as cloud-init asks for it.
//!
//! QEMU starts this program for each connection that a machine makes to 169.254.169.254, with the
//! connection as its standard streams. So nothing listens anywhere: what a machine is told, its
//! host key among it, is told to that machine alone.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::local::guests::BootSpec;

/// First argument that makes this program answer one request for metadata.
pub const METADATA: &str = "__machine-metadata";

/// The network between a machine and its QEMU: cloud-init's first address there is any in 169.254.0.0/16.
pub(super) const NETWORK: &str = "169.254.0.0/16";
/// The machine's address there.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 15);
/// Its way out.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 2);
/// Who knows names there.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 3);
/// Where metadata is asked for.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// More than any client asks at once.
const LONGEST_REQUEST: usize = 64 * 1024;

/// The hardware address of a machine: of the range DigitalOcean's own have.
pub(super) fn hardware_address(droplet: u64) -> String {
    let [.., a, b, c, d] = droplet.to_be_bytes();
    format!("04:01:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// What a machine is told of itself.
pub(super) fn document(spec: &BootSpec) -> Value {
    json!({
        "droplet_id": spec.droplet,
        "hostname": spec.hostname,
        "user_data": spec.user_data.as_deref().unwrap_or_default(),
        "vendor_data": "",
        "public_keys": spec.authorized_keys,
        "region": "local",
        "interfaces": {
            "public": [{
                "ipv4": {
                    "ip_address": ADDRESS,
                    "netmask": "255.255.0.0",
                    "gateway": GATEWAY,
                },
                "mac": hardware_address(spec.droplet),
                "type": "public",
            }],
        },
        "dns": { "nameservers": [RESOLVER] },
        "features": {},
        "tags": [],
    })
}

/// Answers one request from the standard streams with what lies in the file of that name.
#[must_use]
pub fn metadata_main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let document = arguments
        .next()
        .and_then(|file| std::fs::read(file).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(document) = document else {
        return ExitCode::FAILURE;
    };
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    let mut input = std::io::stdin().lock();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match input.read(&mut chunk) {
            Ok(count) if count > 0 && request.len() < LONGEST_REQUEST => {
                request.extend_from_slice(&chunk[..count]);
            }
            _ => return ExitCode::FAILURE,
        }
    }
    let answer = answer(&String::from_utf8_lossy(&request), &document);
    let mut output = std::io::stdout().lock();
    match output.write_all(&answer).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The answer to a request, whole.
fn answer(request: &str, document: &Value) -> Vec<u8> {
    let mut words = request.split_whitespace();
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let found = match method {
        Some("GET" | "HEAD") => find(path, document),
        _ => None,
    };
    let (status, kind, body) = match found {
        Some((kind, body)) => ("200 OK", kind, body),
        None => ("404 Not Found", "text/plain", "not found\n".to_owned()),
    };
    let shown = if method == Some("HEAD") { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    )
    .into_bytes()
}

fn find(path: &str, document: &Value) -> Option<(&'static str, String)> {
    if path == "/metadata/v1.json" {
        return Some(("application/json", document.to_string()));
    }
    let rest = path.strip_prefix("/metadata/v1")?;
    let mut at = document;
    for segment in rest.split('/').filter(|segment| !segment.is_empty()) {
        at = match (at, segment) {
            (Value::Object(fields), "id") => fields.get("droplet_id")?,
            (Value::Object(fields), name) => fields.get(&name.replace('-', "_"))?,
            (Value::Array(items), number) => items.get(number.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(("text/plain", text(at)))
}

/// A value as the tree of plain texts shows it: folders as their names, lists a line each.
fn text(value: &Value) -> String {
    let name = |(name, value): (&String, &Value)| {
        let name = match name.as_str() {
            "droplet_id" => "id".to_owned(),
            name => name.replace('_', "-"),
        };
        if holds_more(value) { name + "/" } else { name }
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if holds_more(value) => {
            let names: Vec<String> = (0..items.len()).map(|at| format!("{at}/")).collect();
            names.join("\n")
        }
        Value::Array(items) => {
            let lines: Vec<String> = items.iter().map(text).collect();
            lines.join("\n")
        }
        Value::Object(fields) => {
            let names: Vec<String> = Map::iter(fields).map(name).collect();
            names.join("\n")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn holds_more(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::guests::GuestImage;

    fn told() -> Value {
        document(&BootSpec {
            droplet: 540_000_001,
            hostname: "app-main-runner".to_owned(),
            image: GuestImage::Base {
                slug: "debian-12-x64".to_owned(),
            },
            authorized_keys: vec![
                "ssh-ed25519 AAAA one".to_owned(),
                "ssh-ed25519 BBBB two".to_owned(),
            ],
            user_data: Some("#cloud-config\nruncmd: [ true ]\n".to_owned()),
            address: Ipv4Addr::LOCALHOST,
            private: None,
        })
    }

    fn asked(path: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
        let answer = String::from_utf8(answer(&request, &told())).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let length = format!("Content-Length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        let status = head.lines().next().expect("a status");
        (status.to_owned(), body.to_owned())
    }

    #[test]
    fn cloud_init_finds_all_it_asks_for() {
        let (status, body) = asked("/metadata/v1.json");
        assert_eq!(status, "HTTP/1.1 200 OK");
        let told: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(told["droplet_id"], 540_000_001);
        assert_eq!(told["user_data"], "#cloud-config\nruncmd: [ true ]\n");
        assert_eq!(told["public_keys"][1], "ssh-ed25519 BBBB two");
        assert_eq!(told["interfaces"]["public"][0]["mac"], "04:01:20:2f:bf:01");
        assert_eq!(
            told["interfaces"]["public"][0]["ipv4"]["gateway"],
            "169.254.0.2"
        );
        assert_eq!(told["dns"]["nameservers"][0], "169.254.0.3");
    }

    #[test]
    fn scripts_find_single_values() {
        for (path, expected) in [
            ("/metadata/v1/id", "540000001"),
            ("/metadata/v1/hostname", "app-main-runner"),
            (
                "/metadata/v1/public-keys",
                "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two",
            ),
            (
                "/metadata/v1/user-data",
                "#cloud-config\nruncmd: [ true ]\n",
            ),
            (
                "/metadata/v1/interfaces/public/0/ipv4/ip_address",
                "169.254.1.15",
            ),
            ("/metadata/v1/interfaces/", "public/"),
            ("/metadata/v1/interfaces/public/", "0/"),
            ("/metadata/v1/dns/nameservers", "169.254.0.3"),
        ] {
            let (status, body) = asked(path);
            assert_eq!(
                (status.as_str(), body.as_str()),
                ("HTTP/1.1 200 OK", expected),
                "{path}"
            );
        }
        for path in [
            "/",
            "/latest/meta-data",
            "/metadata/v1/secret",
            "/metadata/v1/id/more",
        ] {
            assert_eq!(asked(path).0, "HTTP/1.1 404 Not Found", "{path}");
        }
    }
}
