//! Sends one request and reads one answer. Knows HTTP and the token, and nothing of the API.

use std::sync::Once;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Url, redirect};

use super::error::CloudError;
use super::request::{Method, Request};
use super::timing::Timing;
use crate::secret::Secret;

/// How long an idle connection is kept.
const IDLE: std::time::Duration = std::time::Duration::from_secs(20);

/// What carries requests to the API: HTTP, but for tests whose hours are virtual.
#[async_trait]
pub(super) trait Carry: Send + Sync {
    /// Sends one request and reads its answer.
    async fn send(&self, request: &Request) -> Result<Answer, Fault>;
}

/// The one HTTP client. The token stands in its default headers, marked sensitive, and nowhere else.
pub(super) struct Transport {
    http: reqwest::Client,
    /// Without a slash at its end; may have a path.
    base: String,
    /// As it is sent; kept to strike it out of error pages that echo requests.
    token: Secret<String>,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no answer.
pub(super) enum Fault {
    /// No connection came about: nothing was sent.
    NeverSent(reqwest::Error),
    /// The request may have arrived.
    Broken(reqwest::Error),
}

/// Installs what TLS computes with: reqwest without a provider of its own panics unless one is there,
/// also for plain HTTP.
pub(crate) fn install_crypto() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

impl Transport {
    pub fn new(
        endpoint: &str,
        token: &Secret<String>,
        timing: &Timing,
    ) -> Result<Self, CloudError> {
        let base = checked_endpoint(endpoint)?;
        install_crypto();
        let token = checked_token(token)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization(&token)?);
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("dewpoint/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // Shorter than servers keep idle connections: a POST on one that was just closed would
            // have an unknown outcome.
            .pool_idle_timeout(IDLE)
            .connect_timeout(timing.connect_timeout)
            .timeout(timing.request_timeout);
        if base.scheme() == "http" {
            // Loading root certificates takes 20 ms and fails where there are none.
            builder = builder.tls_certs_only([]).no_proxy();
        }
        let http = builder.build().map_err(|error| CloudError::Client {
            cause: error.without_url().into(),
        })?;
        Ok(Self {
            http,
            base: base.as_str().trim_end_matches('/').to_owned(),
            token,
        })
    }
}

#[async_trait]
impl Carry for Transport {
    async fn send(&self, request: &Request) -> Result<Answer, Fault> {
        let url = format!("{}{}", self.base, request.path);
        let mut builder = match request.method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url),
            Method::Put => self.http.put(url),
            Method::Delete => self.http.delete(url),
        };
        if !request.query.is_empty() {
            builder = builder.query(&request.query);
        }
        if let Some(body) = &request.body {
            builder = builder.json(body);
        }
        let broken = |error: reqwest::Error| {
            let never_sent = error.is_connect();
            let error = error.without_url();
            if never_sent {
                Fault::NeverSent(error)
            } else {
                Fault::Broken(error)
            }
        };
        let response = builder.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response
            .bytes()
            .await
            .map_err(|error| Fault::Broken(error.without_url()))?;
        // Only errors are ever shown, and the search is not for whole lists.
        let body = if status < 300 {
            body
        } else {
            without(&self.token, body)
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

/// The endpoint as an address, without anything that does not belong in one.
fn checked_endpoint(endpoint: &str) -> Result<Url, CloudError> {
    let bad = |shown: &str, why: &str| CloudError::BadEndpoint {
        endpoint: shown.to_owned(),
        why: why.to_owned(),
    };
    let text = endpoint.trim();
    let url = Url::parse(text).map_err(|error| {
        // What does not parse may still hold a password before an `@`.
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        bad(shown, &error.to_string())
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            url.host_str().unwrap_or_default(),
            "credentials do not belong in it",
        ));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad(
            text,
            "it must begin with http:// or https:// and name a host",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad(text, "it must not have a query or a fragment"));
    }
    Ok(url)
}

/// The token, trimmed of blanks and quotes that copying leaves on it.
fn checked_token(token: &Secret<String>) -> Result<Secret<String>, CloudError> {
    // Exposed to be looked at, and goes nowhere but into another secret.
    let token = token
        .expose()
        .trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
    if token.is_empty() {
        return Err(CloudError::BadToken { why: "is empty" });
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CloudError::BadToken {
            why: "holds a blank, a line break or another character that no token has",
        });
    }
    Ok(Secret::new(token.to_owned()))
}

/// The header that carries the token.
fn authorization(token: &Secret<String>) -> Result<HeaderValue, CloudError> {
    // Exposed because this is the header that carries it.
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        CloudError::BadToken {
            why: "cannot stand in a header",
        }
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// An answer's body without the token, should a proxy's error page echo the request.
fn without(token: &Secret<String>, body: Bytes) -> Bytes {
    // Exposed to be looked for.
    let token = token.expose().as_bytes();
    if !body.windows(token.len()).any(|window| window == token) {
        return body;
    }
    let mut clean = Vec::with_capacity(body.len());
    let mut rest = &body[..];
    while !rest.is_empty() {
        if rest.starts_with(token) {
            clean.extend_from_slice(b"[redacted]");
            rest = &rest[token.len()..];
        } else {
            clean.push(rest[0]);
            rest = &rest[1..];
        }
    }
    clean.into()
}
