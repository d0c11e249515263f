//! A server that answers as a test says, over real HTTP, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::cloud::{Budget, Client, Config, Timing};
use crate::secret::Secret;

pub const TOKEN: &str = "dop_v1_0123456789abcdef0123456789abcdef";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub body: Value,
    pub authorization: Option<String>,
    /// All of it but that header: address, other headers, body.
    pub others: String,
}

impl Seen {
    /// `GET /v2/droplets`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub fn page(&self) -> usize {
        self.query
            .get("page")
            .map_or(1, |page| page.parse().expect("a number"))
    }
}

/// What is answered.
pub enum Reply {
    Json(u16, Value),
    With(u16, Vec<(&'static str, String)>, String),
    Empty(u16),
    /// The connection breaks in the middle of the answer.
    Broken,
    /// A beginning, and then the same piece as long as anybody reads; how much was asked for is
    /// counted.
    Endless(
        u16,
        &'static str,
        &'static str,
        Arc<std::sync::atomic::AtomicUsize>,
    ),
    /// Bytes as they are.
    Bytes(Vec<(&'static str, String)>, Vec<u8>),
}

pub fn ok(value: Value) -> Reply {
    Reply::Json(200, value)
}

pub fn refuse(status: u16, id: &str, message: &str) -> Reply {
    Reply::Json(status, json!({ "id": id, "message": message }))
}

pub fn not_found() -> Reply {
    refuse(
        404,
        "not_found",
        "The resource you were accessing could not be found.",
    )
}

pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let app = axum::Router::new().fallback({
            let seen = Arc::clone(&seen);
            move |request: Request| {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                async move {
                    let request = arrived(request).await;
                    seen.lock()
                        .expect("no test panics here")
                        .push(request.clone());
                    respond(answer(&request))
                }
            }
        });
        let task = tokio::spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("it serves until it is dropped");
        });
        Self { url, seen, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics here").clone()
    }

    /// How many requests of that method and path arrived.
    pub fn count(&self, line: &str) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.line() == line)
            .count()
    }

    pub fn client(&self) -> Client {
        client_of(&self.url, quick())
    }
}

pub fn client_of(url: &str, timing: Timing) -> Client {
    let config = Config {
        endpoint: url.to_owned(),
        token: Secret::new(TOKEN.to_owned()),
        parallelism: 16,
        budget: Budget::Whole,
    };
    Client::with_timing(config, timing).expect("a good configuration")
}

/// Waits a thousandth of the real ones; deadlines long enough for a busy machine.
pub fn quick() -> Timing {
    let millis = Duration::from_millis;
    Timing {
        fault_first: millis(1),
        fault_max: millis(5),
        fault_deadline: millis(2_000),
        reach_deadline: millis(20),
        throttle_first: millis(1),
        rate_minute: millis(60),
        rate_hour: millis(3_600),
        poll_first: millis(1),
        poll_max: millis(5),
        poll_slow: millis(5),
        lookup_window: millis(300),
        key_lag: millis(2_000),
        pending_event: millis(2_000),
        volume_free: millis(2_000),
        droplet_ready: millis(5_000),
        droplet_lag: millis(2_000),
        droplet_gone: millis(5_000),
        leaving: millis(1_000),
        delete_again: millis(1_000),
        action: millis(2_000),
        snapshot: millis(2_000),
        snapshot_listed: millis(2_000),
        read_back: millis(2_000),
        ..Timing::default()
    }
}

async fn arrived(request: Request) -> Seen {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a whole body");
    let query = reqwest::Url::parse(&format!(
        "http://x/?{}",
        head.uri.query().unwrap_or_default()
    ))
    .expect("a query")
    .query_pairs()
    .into_owned()
    .collect();
    let mut others = head.headers.clone();
    others.remove("authorization");
    Seen {
        others: format!("{} {others:?} {}", head.uri, String::from_utf8_lossy(&body)),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        authorization: head
            .headers
            .get("authorization")
            .map(|value| value.to_str().expect("text").to_owned()),
    }
}

fn respond(reply: Reply) -> Response {
    let (status, headers, body) = match reply {
        Reply::Json(status, value) => (
            status,
            vec![("content-type", "application/json".to_owned())],
            Body::from(value.to_string()),
        ),
        Reply::With(status, headers, body) => (status, headers, Body::from(body)),
        Reply::Empty(status) => (status, Vec::new(), Body::empty()),
        Reply::Bytes(headers, bytes) => (200, headers, Body::from(bytes)),
        Reply::Endless(status, first, piece, count) => {
            let pieces = std::iter::once(first).chain(std::iter::repeat(piece));
            let pieces = pieces.map(move |piece| {
                count.fetch_add(piece.len(), std::sync::atomic::Ordering::Relaxed);
                Ok::<_, std::io::Error>(bytes::Bytes::from_static(piece.as_bytes()))
            });
            let stream = futures_util::stream::iter(pieces);
            (status, Vec::new(), Body::from_stream(stream))
        }
        Reply::Broken => {
            let cut = futures_util::stream::iter([
                Ok(bytes::Bytes::from_static(b"{\"dropl")),
                Err(std::io::Error::other("cut")),
            ]);
            (202, Vec::new(), Body::from_stream(cut))
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).expect("good headers")
}

/// A page of a list, as the API pages.
pub fn page_of(seen: &Seen, key: &str, items: &[Value]) -> Reply {
    let per_page: usize = seen
        .query
        .get("per_page")
        .map_or(20, |n| n.parse().expect("a number"));
    let page = seen.page();
    let rest: Vec<Value> = items
        .iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .cloned()
        .collect();
    let mut links = json!({});
    if items.len() > page * per_page {
        links["pages"] = json!({ "next": format!("https://elsewhere.example/?page={}", page + 1) });
    }
    ok(json!({ key: rest, "links": links, "meta": { "total": items.len() } }))
}

pub fn droplet(id: u64, name: &str, ready: bool) -> Value {
    let networks = if ready {
        json!({ "v4": [
            { "ip_address": "10.0.0.2", "type": "private", "gateway": "nil" },
            { "ip_address": "127.0.0.9", "type": "public", "gateway": null },
        ], "v6": [] })
    } else {
        json!({})
    };
    json!({
        "id": id, "name": name, "status": if ready { "active" } else { "new" },
        "region": { "slug": "nyc3" }, "size_slug": "s-1vcpu-1gb", "kernel": null,
        "image": { "id": 9, "slug": "ubuntu-24-04-x64" }, "networks": networks,
        "volume_ids": [], "tags": ["dewpoint:p:e"], "created_at": "2026-11-01T10:00:00Z",
    })
}

pub fn volume(id: &str, name: &str, droplets: &[u64]) -> Value {
    json!({
        "id": id, "name": name, "region": { "slug": "nyc3" }, "size_gigabytes": 10,
        "droplet_ids": droplets, "tags": ["dewpoint", "dewpoint:p"],
        "created_at": "2026-11-01T10:00:00Z",
    })
}

pub fn action(id: u64, status: &str) -> Value {
    json!({ "action": { "id": id, "status": status, "type": "any", "resource_id": null } })
}

/// Counts calls of one kind.
#[derive(Default)]
pub struct Count(Mutex<usize>);

impl Count {
    /// How many came before.
    pub fn up(&self) -> usize {
        let mut count = self.0.lock().expect("no panic");
        *count += 1;
        *count - 1
    }
}

pub fn image(status: &str) -> Value {
    json!({
        "id": 99, "name": "p-base-1", "status": status, "regions": ["nyc3"], "min_disk_size": 25,
        "size_gigabytes": 2.34, "tags": [], "created_at": "2026-11-01T10:00:00Z", "slug": null,
    })
}

pub fn conflict(message: &str) -> Reply {
    refuse(409, "conflict", message)
}
