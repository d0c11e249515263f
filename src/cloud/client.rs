//! The client: one per account, cheap to clone. Every request of every kind goes through
//! [`Client::send`], which alone knows of retries, rate limits and parallelism.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::actions::Action;
use super::budget::Budget;
use super::droplets::Droplet;
use super::error::CloudError;
use super::gate::{Gate, Pass};
use super::patience::Patience;
use super::rate_limit::{RateLimit, Told};
use super::request::{Call, Limit, Request};
use super::retry::{Lag, Verdict, come_back, error_of, judge, short, until_reset};
use super::timing::Timing;
use super::transport::{Answer, Carry, Transport};
use super::wait::SharedPoll;
use super::waits::Waits;
use crate::secret::Secret;
use crate::{seemly, times};

/// How to reach an account.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the API, such as `https://api.digitalocean.com`; may have a path.
    pub endpoint: String,
    /// The token.
    pub token: Secret<String>,
    /// How many writes may be under way at once; at least one.
    pub parallelism: usize,
    /// How much of the API's rate limit may be used.
    pub budget: Budget,
}

/// Something the client does that takes time and that a person may want to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientNotice {
    /// A call is tried again.
    Retry {
        /// Method and path.
        call: String,
        /// Which try comes next, from 2.
        attempt: u32,
        /// How long until then.
        wait: Duration,
        /// What the last try met.
        reason: String,
    },
    /// A call is held back by a rate limit.
    RateLimited {
        /// Method and path.
        call: String,
        /// How long.
        wait: Duration,
    },
}

type Observer = Arc<dyn Fn(ClientNotice) + Send + Sync>;

/// A client of the API.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    carrier: Box<dyn Carry>,
    pub timing: Timing,
    pub gate: Arc<Gate>,
    calls: AtomicU64,
    /// Cancelled when the run is interrupted.
    hurried: CancellationToken,
    /// Whether the API has ever answered: one that never has is more likely a wrong address.
    answered: AtomicBool,
    observer: RwLock<Option<Observer>>,
    /// What has to be open for anything to be changed.
    pub fence: RwLock<Option<Arc<dyn super::fence::Fence>>>,
    /// Polls of droplets by tag, shared by everything that waits for one to be ready.
    pub by_tag: Mutex<HashMap<String, Arc<SharedPoll<Vec<Droplet>>>>>,
    /// The poll of all droplets, shared by everything that waits for one to be gone.
    pub all_droplets: SharedPoll<Vec<Droplet>>,
    /// The poll of the account's latest actions.
    pub actions: SharedPoll<Vec<Action>>,
    /// How long things take there.
    pub waits: Mutex<Waits>,
    /// Droplets (tag, name) that this client has asked for: asking again begins with a look.
    pub asked: Mutex<HashSet<(String, String)>>,
    /// When keys (by fingerprint) were made: only a new one may be unknown for a while.
    pub new_keys: Mutex<HashMap<String, Instant>>,
    /// Keys (by fingerprint) that a create was accepted with: all further ones will be.
    pub proven_keys: Mutex<HashSet<String>>,
    /// Whose create finds out whether a new key is known yet: the others wait for it.
    pub key_turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

/// A lock whose holders never leave it half changed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Sets up a client. Nothing is sent yet.
    ///
    /// # Errors
    /// When the endpoint or the token cannot be used, or the system has no root certificates.
    pub fn new(config: Config) -> Result<Self, CloudError> {
        Self::with_timing(config, Timing::default())
    }

    /// Like [`Client::new`], with other waits.
    ///
    /// # Errors
    /// As there.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the token is given away, not lent"
    )]
    pub fn with_timing(config: Config, timing: Timing) -> Result<Self, CloudError> {
        let transport = Transport::new(&config.endpoint, &config.token, &timing)?;
        let (parallelism, budget) = (config.parallelism, config.budget);
        Ok(Self::over(Box::new(transport), parallelism, budget, timing))
    }

    /// Sets up a client whose requests something carries to the API.
    pub(super) fn over(
        carrier: Box<dyn Carry>,
        parallelism: usize,
        budget: Budget,
        timing: Timing,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                carrier,
                gate: Gate::new(RateLimit::new(&timing, budget), parallelism),
                timing,
                calls: AtomicU64::new(0),
                hurried: CancellationToken::new(),
                answered: AtomicBool::new(false),
                observer: RwLock::default(),
                fence: RwLock::default(),
                by_tag: Mutex::default(),
                all_droplets: SharedPoll::default(),
                actions: SharedPoll::default(),
                waits: Mutex::default(),
                asked: Mutex::default(),
                new_keys: Mutex::default(),
                proven_keys: Mutex::default(),
                key_turn: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// How many HTTP requests this client has sent, retries included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Ordering::Relaxed)
    }

    /// Who is told of retries and rate limits. Must return at once; replaces any other.
    pub fn set_observer(&self, observer: Observer) {
        *self
            .inner
            .observer
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    pub(super) fn timing(&self) -> &Timing {
        &self.inner.timing
    }

    pub(super) fn tell(&self, notice: ClientNotice) {
        match &notice {
            ClientNotice::Retry {
                call,
                attempt,
                wait,
                reason,
            } => {
                tracing::debug!("{call}: {reason}; try {attempt} in {}", in_words(*wait));
            }
            ClientNotice::RateLimited { call, wait } => {
                tracing::debug!(
                    "{call}: held back by the rate limit for {}",
                    in_words(*wait)
                );
            }
        }
        let observer = self
            .inner
            .observer
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(observer) = observer {
            observer(notice);
        }
    }

    /// Makes a call and does not read the answer's body.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer, CloudError> {
        self.send(&call.request()).await
    }

    /// Makes a call and reads what stands under a key of the answer.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        call: &Call,
        key: &str,
    ) -> Result<T, CloudError> {
        let request = call.request();
        let answer = self.send(&request).await?;
        parse_key(&request, &answer, key)
    }

    /// Like [`Client::read`]; that there is no such thing is an answer, too.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        call: &Call,
        key: &str,
    ) -> Result<Option<T>, CloudError> {
        match self.read(call, key).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a call, again and again while the API says "not yet" in a way that is known to pass.
    pub(super) async fn call_through(&self, call: &Call, lag: Lag) -> Result<Answer, CloudError> {
        let awaited = lag.awaited();
        let expected = awaited.and_then(|awaited| self.expect_wait(awaited, ""));
        let mut patience = Patience::new(self, lag.deadline(self.timing())).expecting(expected);
        loop {
            match self.call(call).await {
                Err(CloudError::Refused(refusal)) if lag.is_told_by(&refusal) => {
                    if !patience.pause(&refusal.call, &refusal.message).await {
                        return Err(CloudError::Refused(refusal));
                    }
                }
                Ok(answer) => {
                    if let (Some(awaited), true) = (awaited, patience.has_waited()) {
                        self.note_wait(awaited, "", patience.elapsed());
                    }
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request until it is answered for good; see [`super::retry`].
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, CloudError> {
        let begun = Instant::now();
        let timing = self.timing();
        let mut faults = timing.faults();
        let mut faults_since = None;
        let mut throttles = super::timing::throttles(timing);
        let mut attempt = 1;
        loop {
            let pass = self.unless_in_vain(request, self.admit(request, begun, attempt));
            let pass = pass.await??;
            // After all waiting: nothing stands between this and the request.
            self.check_fence(request)?;
            let outcome = self.send_once(request).await;
            drop(pass);
            let verdict = judge(request, &outcome);
            let asked = outcome.as_ref().ok().and_then(come_back);
            match verdict {
                Verdict::Done => {
                    if let Ok(answer) = outcome {
                        return Ok(answer);
                    }
                }
                Verdict::Final => return Err(error_of(request, outcome)),
                Verdict::Unknown => {
                    return Err(CloudError::OutcomeUnknown {
                        call: request.label(),
                        cause: Box::new(error_of(request, outcome)),
                    });
                }
                Verdict::Again => {
                    let since = *faults_since.get_or_insert_with(Instant::now);
                    let mut wait = faults.next().unwrap_or(timing.fault_max);
                    if let (Some(asked), Ok(answer)) = (asked, &outcome)
                        && answer.header("retry-after").is_some()
                    {
                        wait = wait.max(asked);
                    }
                    let error = error_of(request, outcome);
                    let deadline = if self.inner.answered.load(Ordering::Relaxed) {
                        timing.fault_deadline
                    } else {
                        timing.reach_deadline
                    };
                    if since.elapsed().saturating_add(wait) > deadline {
                        return Err(error);
                    }
                    attempt += 1;
                    self.tell(ClientNotice::Retry {
                        call: request.label(),
                        attempt,
                        wait,
                        reason: error.to_string(),
                    });
                    self.unless_in_vain(request, self.sleep_unless_hurried(wait))
                        .await?;
                }
                Verdict::Throttled => {
                    let backoff = throttles.next().unwrap_or(timing.fault_max);
                    // "In 0 seconds" is no answer to keep asking by.
                    let wait = asked.filter(|wait| !wait.is_zero()).unwrap_or(backoff);
                    let error = error_of(request, outcome);
                    // Ten minutes are for the caller to spend.
                    let is_told = request.limit == Limit::VolumeSnapshot && error.is_too_soon();
                    let ends = begun.elapsed().saturating_add(wait);
                    if is_told || ends > timing.throttle_deadline {
                        return Err(error);
                    }
                    attempt += 1;
                    // The gate is what makes this request wait, with all others of its limit.
                    self.inner.gate.close(request.limit, Instant::now() + wait);
                }
            }
        }
    }

    /// Waits until a request may be sent: for room among the writes, for the rate limit, and until
    /// no other is more urgent.
    async fn admit(
        &self,
        request: &Request,
        begun: Instant,
        attempt: u32,
    ) -> Result<Pass, CloudError> {
        let gate = &self.inner.gate;
        let deadline = begun + self.timing().throttle_deadline;
        let held = |until: Instant| {
            self.tell(ClientNotice::RateLimited {
                call: request.label(),
                wait: until.saturating_duration_since(Instant::now()),
            });
        };
        let pass = gate.pass(request, attempt == 1, deadline, held).await;
        // Others may take each turn, or the limit may be of one call an hour.
        pass.map_err(|until| CloudError::HeldBack {
            call: request.label(),
            seconds: until.saturating_duration_since(begun).as_secs(),
        })
    }

    /// Whoever interrupted the run may end it soon: from here on deletes go before all other calls,
    /// and no droplet is asked for any more.
    pub fn hurry(&self) {
        self.inner.hurried.cancel();
        self.inner.gate.hurry();
    }

    /// Ends once the run is interrupted.
    pub(super) async fn hurried(&self) {
        self.inner.hurried.cancelled().await;
    }

    /// Whether the run was interrupted.
    pub(super) fn is_hurried(&self) -> bool {
        self.inner.hurried.is_cancelled()
    }

    /// Waits, until the run is interrupted at the longest: what was put off until then is due.
    async fn sleep_unless_hurried(&self, wait: Duration) {
        if self.is_hurried() {
            return sleep(wait).await;
        }
        tokio::select! {
            () = self.inner.hurried.cancelled() => {}
            () = sleep(wait) => {}
        }
    }

    /// Waits for what comes before a request is sent, unless the request makes droplets and the run
    /// is interrupted: then nobody wants them.
    pub(super) async fn unless_in_vain<F: Future>(
        &self,
        request: &Request,
        wait: F,
    ) -> Result<F::Output, CloudError> {
        if !request.makes_droplets() {
            return Ok(wait.await);
        }
        tokio::select! {
            biased;
            () = self.inner.hurried.cancelled() => Err(CloudError::NotSent {
                call: request.label(),
            }),
            waited = wait => Ok(waited),
        }
    }

    async fn send_once(&self, request: &Request) -> Result<Answer, super::transport::Fault> {
        self.inner.calls.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let outcome = self.inner.carrier.send(request).await;
        log(request, &outcome, begun.elapsed());
        if let Ok(answer) = &outcome {
            self.inner.answered.store(true, Ordering::Relaxed);
            // The limits of one operation may stand in the same headers: not learnt from those.
            if request.limit == Limit::Token {
                let number = |name| answer.header(name)?.trim().parse().ok();
                // A 429 of the minute's limit says that nothing is left, whatever is left of the hour.
                let is_refused = answer.status == 429;
                self.inner.gate.learn(Told {
                    limit: number("ratelimit-limit"),
                    remaining: number("ratelimit-remaining").filter(|_| !is_refused),
                    reset: until_reset(answer),
                });
            }
        }
        outcome
    }
}

/// One line a call: method, path, status, time. In detail also the query and the answer's size and
/// id; never a header of the request or a body: they hold the token and user data.
fn log(request: &Request, outcome: &Result<Answer, super::transport::Fault>, took: Duration) {
    let (call, took) = (request.label(), in_words(took));
    match outcome {
        Ok(answer) => {
            tracing::info!("{call} {} {took}", answer.status);
            let query: Vec<String> = request
                .query
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            tracing::debug!(
                "  query [{}], answer {} bytes, request id {}, {} calls left",
                query.join("&"),
                answer.body.len(),
                answer.header("x-request-id").unwrap_or("-"),
                answer.header("ratelimit-remaining").unwrap_or("-"),
            );
        }
        Err(_) => tracing::info!("{call} no answer {took}"),
    }
}

/// As all lengths of time are told.
fn in_words(time: Duration) -> String {
    times::duration(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Reads a whole answer.
pub(super) fn parse<T: DeserializeOwned>(
    request: &Request,
    answer: &Answer,
) -> Result<T, CloudError> {
    let mut deserializer = serde_json::Deserializer::from_slice(&answer.body);
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| unreadable(&request.label(), &error))
}

/// Reads what stands under a key of an answer.
pub(super) fn parse_key<T: DeserializeOwned>(
    request: &Request,
    answer: &Answer,
    key: &str,
) -> Result<T, CloudError> {
    let mut whole: Value = parse(request, answer)?;
    let inner = whole.get_mut(key).map(Value::take).unwrap_or_default();
    from_value(&request.label(), inner)
}

/// Reads a part of an answer.
pub(super) fn from_value<T: DeserializeOwned>(
    call: &str,
    mut value: Value,
) -> Result<T, CloudError> {
    make_seemly(&mut value);
    serde_path_to_error::deserialize(value).map_err(|error| unreadable(call, &error))
}

/// Whoever names a thing on DigitalOcean may name it anything: nothing of it steers the terminal of
/// those who read of it. No name or tag of ours has any of what is replaced.
fn make_seemly(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(seemly) = seemly::name(text) {
                *text = seemly;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_seemly),
        Value::Object(fields) => fields.values_mut().for_each(make_seemly),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The error of an answer of another shape. The reason repeats what stands there, however long.
fn unreadable(call: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> CloudError {
    CloudError::Unreadable {
        call: call.to_owned(),
        cause: short(&error.to_string()).into(),
    }
}
