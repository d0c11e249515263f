//! The API over HTTP: on loopback only, for whoever has the token.

mod answers;
mod control;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use answers::{injected, refuse, respond};
use control::control;

use super::account::Account;
use super::connection::{Connections, CuttableListener, Scissors};
use super::exchange::{Answer, Millis, Refusal, Request, Verb};
use super::faults::{Fault, Faults, stand_in};
use super::latency::{Latency, Wait};
use super::request_log::{Entry, RequestLog};
use super::work::{Worker, lock, now};
use crate::secret::Secret;

/// The largest body that is read: user data may have 64 KiB, the rest is small.
const LARGEST_BODY: usize = 2 << 20;
/// Requests that an hour has.
const PER_HOUR: usize = 5_000;
/// Requests that a minute has.
const PER_MINUTE: usize = 250;

/// All that requests need.
pub(super) struct Api {
    pub(super) worker: Arc<Worker>,
    /// Requests must bring it.
    pub(super) token: Secret<String>,
    /// Host and port that requests must name, lest a page in a browser reach this by its own name.
    pub(super) port: u16,
    pub(super) latency: Latency,
    pub(super) rate_limits: bool,
    /// What `GET /_local/status` tells besides what the account holds.
    pub(super) about: Value,
    faults: Mutex<Faults>,
    log: Mutex<RequestLog>,
    recent: Mutex<VecDeque<Millis>>,
    /// What the account was before each of the latest writes, while something lags.
    past: Mutex<VecDeque<(Millis, Account)>>,
    open: AtomicUsize,
    connections: Connections,
    last: AtomicI64,
}

impl Api {
    pub(super) fn new(worker: Arc<Worker>, token: Secret<String>, port: u16) -> Self {
        Self {
            worker,
            token,
            port,
            latency: Latency::FAST,
            rate_limits: false,
            about: json!({}),
            faults: Mutex::default(),
            log: Mutex::default(),
            recent: Mutex::default(),
            past: Mutex::default(),
            open: AtomicUsize::new(0),
            connections: Connections::default(),
            last: AtomicI64::new(now()),
        }
    }

    /// Since when no request has been open; `None` while one is.
    pub(super) fn idle_since(&self) -> Option<Millis> {
        (self.open.load(Ordering::SeqCst) == 0).then(|| self.last.load(Ordering::SeqCst))
    }
}

/// Serves until `stop` is done; answers under way are still sent, within a second.
pub(super) async fn serve(
    listener: TcpListener,
    api: Arc<Api>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let connections = api.connections.clone();
    let router = Router::new().fallback(handle).with_state(api);
    let service = router.into_make_service_with_connect_info::<Scissors>();
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(
        CuttableListener {
            listener,
            connections,
        },
        service,
    )
    .with_graceful_shutdown(async {
        stop.await;
        drop(stopping);
    });
    tokio::select! {
        result = async { serving.await } => result,
        () = async {
            let _ = stopped.await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        } => Ok(()),
    }
}

/// Counts a request as open for as long as it lives.
struct Open(Arc<Api>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.last.store(now(), Ordering::SeqCst);
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn handle(
    State(api): State<Arc<Api>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: HttpRequest<Body>,
) -> Response {
    api.open.fetch_add(1, Ordering::SeqCst);
    let _open = Open(Arc::clone(&api));
    let (parts, body) = request.into_parts();
    if let Err(refusal) = admit(&api, &parts.headers) {
        return refuse(&refusal);
    }
    let method = parts.method;
    let path = decoded(parts.uri.path());
    let query = match Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
        Ok(Query(query)) => query,
        Err(_) => return refuse(&Refusal::bad_request("the query cannot be read")),
    };
    let bytes = match to_bytes(body, LARGEST_BODY).await {
        Ok(bytes) => bytes,
        Err(_) => {
            return refuse(&Refusal::bad_request("the body is too large or incomplete"));
        }
    };
    // Fields of godo and others that are sent with a GET are none of the API's business.
    let body = match serde_json::from_slice::<Value>(&bytes) {
        Ok(body) => Some(body),
        Err(_) if bytes.is_empty() || method == Method::GET => None,
        Err(_) => return refuse(&Refusal::bad_request("the body is not valid JSON")),
    };
    if let Some(path) = path.strip_prefix("/_local/") {
        return control(&api, &method, path, &query, body);
    }
    let budget = match spend(&api) {
        Ok(budget) => budget,
        Err((budget, refusal)) => return with_budget(refuse(&refusal), budget),
    };
    let Some(below) = path.strip_prefix("/v2/") else {
        return with_budget(refuse(&Refusal::not_found()), budget);
    };
    let request = Request {
        verb: verb(&method),
        path: below.to_owned(),
        query: query.clone(),
        body,
        origin: format!("http://127.0.0.1:{}", api.port),
    };
    let fault = lock(&api.faults).meet(method.as_str(), &path, request.body.as_ref());
    // The work goes on when the client goes away, as it does on DigitalOcean.
    let processing = {
        let (api, request, fault) = (Arc::clone(&api), request.clone(), fault.clone());
        tokio::spawn(async move {
            let _open = {
                api.open.fetch_add(1, Ordering::SeqCst);
                Open(Arc::clone(&api))
            };
            process(&api, &request, fault.as_ref()).await
        })
    };
    let result = match processing.await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a request ended early");
            Err(Refusal::server_error())
        }
    };
    let mut was_cut = matches!(fault, Some(Fault::ResetBefore | Fault::ResetAfter));
    let mut budget = budget;
    let response = match &fault {
        Some(Fault::Status {
            code, retry_after, ..
        }) => {
            if *code == 429 {
                // A client that is told no `retry-after` waits until then: a test has no hour.
                budget = Budget {
                    remaining: 0,
                    reset: now() / 1000 + 1,
                };
            }
            injected(*code, *retry_after)
        }
        _ => match &result {
            Ok(answer) => respond(answer),
            Err(refusal) => refuse(refusal),
        },
    };
    // What has no body is cut in its head.
    was_cut |= fault == Some(Fault::Truncated) && response.status() == StatusCode::NO_CONTENT;
    let status = response.status().as_u16();
    let answer = match (&fault, result) {
        (Some(Fault::Status { .. } | Fault::ResetBefore | Fault::ResetAfter), _) => None,
        (_, Ok(answer)) => answer.body,
        (_, Err(refusal)) => Some(refusal.body()),
    };
    let entry = Entry {
        seq: 0,
        at: now(),
        method: method.to_string(),
        path,
        query,
        status: if was_cut { 0 } else { status },
        request: request.body,
        answer: answer.and_then(|answer| serde_json::value::to_raw_value(&answer).ok()),
    };
    let answer_bytes = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    lock(&api.log).note(entry, answer_bytes);
    if was_cut {
        scissors.cut();
    }
    let response = match fault {
        Some(Fault::Truncated) => in_drops(response, Duration::ZERO, true).await,
        Some(Fault::Slow { ms }) => in_drops(response, Duration::from_millis(ms), false).await,
        _ => response,
    };
    with_budget(response, budget)
}

/// The same answer, its body in drops over a time; only half of them when it ends too early.
async fn in_drops(response: Response, over: Duration, ends_early: bool) -> Response {
    const DROPS: usize = 8;
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let pause = over / DROPS as u32;
    let size = bytes.len().div_ceil(DROPS).max(1);
    let end = if ends_early {
        bytes.len() / 2
    } else {
        bytes.len()
    };
    let drops = futures_util::stream::unfold(0, move |at| {
        let bytes = bytes.clone();
        async move {
            // Each in a packet of its own.
            tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
            if at < end {
                let next = (at + size).min(end);
                return Some((Ok(bytes.slice(at..next)), next));
            }
            (at < bytes.len()).then(|| {
                let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                (Err(error), bytes.len())
            })
        }
    });
    Response::from_parts(parts, Body::from_stream(drops))
}

/// Does what a request asks for, unless a fault comes before.
async fn process(api: &Api, request: &Request, fault: Option<&Fault>) -> Result<Answer, Refusal> {
    let mut wait = api.latency.of(match request.verb {
        Verb::Get => Wait::Read,
        Verb::Post if request.path == "droplets" => Wait::CreateAnswer,
        _ => Wait::Write,
    });
    match fault {
        Some(
            Fault::ResetBefore
            | Fault::Status {
                processed: false, ..
            },
        ) => return Err(Refusal::server_error()),
        Some(Fault::Delay { ms }) => wait += Millis::try_from(*ms).unwrap_or(0),
        _ => {}
    }
    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0))).await;
    let worker = &api.worker;
    let lags = lock(&api.faults).has_lag();
    let (result, jobs) = {
        let mut account = lock(&worker.account);
        if lags && request.verb != Verb::Get {
            remember(api, &account);
        }
        if let Some(fault @ Fault::Meanwhile { after: false, .. }) = fault {
            meddle(&mut account, fault, request, None);
        }
        let result = match fault {
            // What is written is written.
            Some(Fault::Lag { ms }) if request.verb == Verb::Get => {
                seen_late(api, &mut account, request, *ms)
            }
            _ => account.handle(request, now()),
        };
        if let Some(Fault::Action {
            errored,
            delay_ms,
            never,
        }) = fault
        {
            let delay = Millis::try_from(*delay_ms).unwrap_or(0);
            account.doom_fresh(*errored, delay, *never);
        }
        if let Some(fault @ Fault::Meanwhile { after: true, .. }) = fault {
            meddle(&mut account, fault, request, result.as_ref().ok());
        }
        (result, account.take_fresh())
    };
    let watched = match &result {
        Ok(answer) => answer.after.map(|job| worker.watch(job)),
        Err(_) => None,
    };
    // Kept first, then done: no kill may leave files of what the account does not have.
    if request.verb != Verb::Get {
        worker.store.save().await;
    }
    worker.start(jobs);
    if let Some(watched) = watched
        && !watched.await.unwrap_or(false)
    {
        return Err(Refusal::server_error());
    }
    result
}

/// Keeps what the account is now, before it changes, for reads that lag.
fn remember(api: &Api, account: &Account) {
    const MOST: usize = 200;
    let mut past = lock(&api.past);
    past.push_back((now(), account.clone()));
    while past.len() > MOST {
        past.pop_front();
    }
}

/// The answer of a while ago.
fn seen_late(
    api: &Api,
    account: &mut Account,
    request: &Request,
    ms: u64,
) -> Result<Answer, Refusal> {
    let at = now();
    let then = at - Millis::try_from(ms).unwrap_or(0);
    let mut past = lock(&api.past);
    // What it was before the first write since is what it was then.
    match past.iter_mut().find(|(time, _)| *time > then) {
        Some((_, before)) => before.handle(request, at),
        None => account.handle(request, at),
    }
}

/// Carries out what somebody else asks for meanwhile. That it may be refused is part of it.
fn meddle(account: &mut Account, fault: &Fault, call: &Request, answer: Option<&Answer>) {
    let Fault::Meanwhile {
        method, path, body, ..
    } = fault
    else {
        return;
    };
    let (mut path, mut body) = (path.clone(), body.clone());
    let made = answer.and_then(|answer| made_id(answer.body.as_ref()?));
    if let Some(id) = made {
        stand_in(&mut path, body.as_mut(), "{id}", &id);
    }
    let request = Request {
        verb: verb(&Method::from_bytes(method.as_bytes()).unwrap_or_default()),
        path: path.trim_start_matches("/v2/").to_owned(),
        query: Vec::new(),
        body,
        origin: call.origin.clone(),
    };
    if let Err(refusal) = account.handle(&request, now()) {
        tracing::info!(path, refusal.message, "what others ask for is refused");
    }
}

/// The id of what an answer says was made.
fn made_id(answer: &Value) -> Option<String> {
    let made = |value: &Value| match &value["id"] {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    };
    let mut values = answer.as_object()?.values();
    values.find_map(|value| made(value).or_else(|| value.as_array()?.iter().find_map(made)))
}

fn verb(method: &Method) -> Verb {
    match *method {
        Method::GET => Verb::Get,
        Method::POST => Verb::Post,
        Method::PUT => Verb::Put,
        Method::DELETE => Verb::Delete,
        _ => Verb::Other,
    }
}

/// Lets in who names this very host and brings the token.
fn admit(api: &Api, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let port = api.port;
    if host != format!("127.0.0.1:{port}") && host != format!("localhost:{port}") {
        return Err(Refusal::forbidden(
            "the local cloud only answers as 127.0.0.1 or localhost",
        ));
    }
    let brought = text(header::AUTHORIZATION).and_then(|value| {
        let (kind, token) = value.split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    // Exposed to be compared, by digest so that time tells nothing about it.
    let wanted = crate::digest::Digest::of_bytes(api.token.expose().as_bytes());
    if brought.map(|token| crate::digest::Digest::of_bytes(token.as_bytes())) != Some(wanted) {
        return Err(Refusal::unauthorized());
    }
    Ok(())
}

/// What is left of the hour, and when it grows again.
#[derive(Clone, Copy)]
struct Budget {
    remaining: usize,
    reset: i64,
}

/// Counts a request; refuses it when there were too many and limits are in force.
fn spend(api: &Api) -> Result<Budget, (Budget, Refusal)> {
    const HOUR: Millis = 3_600_000;
    const MINUTE: Millis = 60_000;
    let at = now();
    let mut recent = lock(&api.recent);
    while recent.front().is_some_and(|first| at - first >= HOUR) {
        recent.pop_front();
    }
    let reset = recent.front().map_or(at, |first| first + HOUR) / 1000;
    let lately: Vec<Millis> = recent
        .iter()
        .rev()
        .take_while(|time| at - **time < MINUTE)
        .copied()
        .collect();
    if api.rate_limits {
        let remaining = PER_HOUR.saturating_sub(recent.len());
        if remaining == 0 {
            let refusal = Refusal::too_many("API Rate limit exceeded.");
            return Err((Budget { remaining, reset }, refusal));
        }
        if lately.len() >= PER_MINUTE {
            let oldest = lately.last().copied().unwrap_or(at);
            let mut refusal = Refusal::too_many("API Rate limit exceeded.");
            refusal.retry_after = u64::try_from((oldest + MINUTE + 999 - at) / 1000).ok();
            let budget = Budget {
                remaining: 0,
                reset,
            };
            return Err((budget, refusal));
        }
    }
    recent.push_back(at);
    // Where nothing is limited nobody is to be sparing of what is left.
    let counted = if api.rate_limits { recent.len() } else { 1 };
    let remaining = PER_HOUR.saturating_sub(counted);
    Ok(Budget { remaining, reset })
}

fn with_budget(mut response: Response, budget: Budget) -> Response {
    let headers = response.headers_mut();
    headers.insert("ratelimit-limit", HeaderValue::from(PER_HOUR));
    headers.insert("ratelimit-remaining", HeaderValue::from(budget.remaining));
    headers.insert("ratelimit-reset", HeaderValue::from(budget.reset));
    response
}

/// A path with its `%..` replaced; what is no such thing stays.
fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%')
            .then(|| path.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(hex.unwrap_or(byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn paths_are_decoded_and_odd_ones_kept() {
        assert_eq!(decoded("/v2/tags/a%3Ab"), "/v2/tags/a:b");
        assert_eq!(decoded("/v2/100%/%zz/%"), "/v2/100%/%zz/%");
        assert_eq!(decoded("/%F0%9F%90%8B"), "/\u{1f40b}");
    }
}
