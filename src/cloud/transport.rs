//! Sends one request and reads one answer. Knows HTTP and the token, and nothing of the API.

use std::sync::Once;

use aho_corasick::AhoCorasick;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Url, redirect};

use super::error::CloudError;
use super::request::{Method, Request};
use super::timing::Timing;
use crate::secret::Secret;

/// How long an idle connection is kept.
const IDLE: std::time::Duration = std::time::Duration::from_secs(20);

/// The most of an answer that is read: sixteen times what a page of 200 droplets comes to. Counted
/// after decompression; what it is read into takes some times as much.
pub(super) const MOST_BYTES: usize = 16 * 1_024 * 1_024;

/// The most of an error that is read: its beginning is shown, the rest is of no use.
const MOST_ERROR_BYTES: usize = 1_024 * 1_024;

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
    /// Finds the token, to strike it out of answers that echo requests.
    echo: AhoCorasick,
    /// The token's length.
    token_bytes: usize,
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
    /// It arrived, and the answer is larger than [`MOST_BYTES`].
    TooLarge,
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
        // Exposed to be looked for.
        let echo = AhoCorasick::new([token.expose()]).map_err(|error| CloudError::Client {
            cause: error.into(),
        })?;
        Ok(Self {
            http,
            base: base.as_str().trim_end_matches('/').to_owned(),
            echo,
            token_bytes: token.expose().len(),
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
        let mut response = builder.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let is_error = status >= 300;
        let most = if is_error {
            MOST_ERROR_BYTES
        } else {
            MOST_BYTES
        };
        let mut body = BytesMut::new();
        let mut is_cut = false;
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| Fault::Broken(error.without_url()))?
        {
            is_cut = body.len() + chunk.len() > most;
            if is_cut && !is_error {
                return Err(Fault::TooLarge);
            }
            body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
            if is_cut {
                break;
            }
        }
        let mut body = without(&self.echo, body.freeze());
        if is_cut {
            // The end may hold the first part of a token.
            body.truncate(body.len().saturating_sub(self.token_bytes));
        }
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

/// An answer's body without the token, should a proxy echo the request.
fn without(echo: &AhoCorasick, body: Bytes) -> Bytes {
    if echo.is_match(&body[..]) {
        echo.replace_all_bytes(&body, &[b"[redacted]"]).into()
    } else {
        body
    }
}
