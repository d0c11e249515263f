//! Sends one request and reads one answer. Knows HTTP and the token, and nothing of the API.

use std::sync::Once;

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Url, redirect};

use super::error::CloudError;
use super::request::{Method, Request};
use super::timing::Timing;
use crate::secret::Secret;

/// The one HTTP client. The token stands in its default headers, marked sensitive, and nowhere else.
pub(super) struct Transport {
    http: reqwest::Client,
    /// Without a slash at its end; may have a path.
    base: String,
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

impl Transport {
    pub fn new(
        endpoint: &str,
        token: &Secret<String>,
        timing: &Timing,
    ) -> Result<Self, CloudError> {
        let base = checked_endpoint(endpoint)?;
        // reqwest without a provider of its own panics unless one is there, also for plain HTTP.
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // An error means that one is installed already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization(token)?);
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("dewpoint/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
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
        })
    }

    pub async fn send(&self, request: &Request) -> Result<Answer, Fault> {
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
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response
                .bytes()
                .await
                .map_err(|error| Fault::Broken(error.without_url()))?,
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

/// The header that carries the token, trimmed of blanks and quotes that copying leaves on it.
fn authorization(token: &Secret<String>) -> Result<HeaderValue, CloudError> {
    // Exposed because this is the header that carries it.
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
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| CloudError::BadToken {
            why: "cannot stand in a header",
        })?;
    value.set_sensitive(true);
    Ok(value)
}
