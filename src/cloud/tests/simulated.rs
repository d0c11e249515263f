//! The API in virtual time: the local cloud's account behind a simulated network and the real API's
//! rate limits, counted strictly. Under a paused clock an hour of it takes a second.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cloud::request::{Method, Request};
use crate::cloud::transport::{Answer, Carry, Fault};
use crate::cloud::{Budget, Client, Timing};
use crate::local::account::{Account, Config, Done};
use crate::local::exchange::{Millis, Request as Asked, Verb};
use crate::local::latency::{Latency, Wait};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// 2026-11-01 10:00:00 UTC: when the simulation begins.
const BEGINS: Millis = 1_793_527_200_000;
/// How long a request may take to the API: they overtake each other.
const ON_THE_WAY: u64 = 300;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Since the beginning.
    pub at: Duration,
    /// Method and path.
    pub line: String,
    pub status: u16,
}

#[derive(Clone)]
pub struct Simulated(Arc<Shared>);

struct Shared {
    begun: Instant,
    latency: Latency,
    per_hour: usize,
    per_minute: usize,
    state: Mutex<State>,
}

struct State {
    account: Account,
    /// When requests that count arrived, those of others included.
    counted: VecDeque<Instant>,
    log: Vec<Arrived>,
    requests: u64,
    /// What becomes of creates of droplets.
    creates: Creates,
}

/// What becomes of creates of droplets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creates {
    /// They are answered.
    Answered,
    /// They are lost on the way: a gateway says so.
    Lost,
    /// They are never answered and make nothing.
    Hanging,
}

impl Simulated {
    pub fn new(latency: Latency) -> Self {
        Self::with_limits(latency, 5_000, 250)
    }

    pub fn with_limits(latency: Latency, per_hour: usize, per_minute: usize) -> Self {
        let config = Config {
            latency,
            droplet_limit: 5_000,
            ..Config::default()
        };
        Self(Arc::new(Shared {
            begun: Instant::now(),
            latency,
            per_hour,
            per_minute,
            state: Mutex::new(State {
                account: Account::new("simulated", config),
                counted: VecDeque::new(),
                log: Vec::new(),
                requests: 0,
                creates: Creates::Answered,
            }),
        }))
    }

    /// A client of it.
    pub fn client(&self, budget: Budget) -> Client {
        Client::over(Box::new(self.clone()), 16, budget, Timing::default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Millis {
        BEGINS + Millis::try_from(self.0.begun.elapsed().as_millis()).expect("no eon")
    }

    pub fn log(&self) -> Vec<Arrived> {
        self.state().log.clone()
    }

    /// How many requests came whose line begins so.
    pub fn count(&self, begins: &str) -> usize {
        let log = self.log();
        log.iter().filter(|it| it.line.starts_with(begins)).count()
    }

    /// How many requests were refused for there were too many.
    pub fn refused(&self) -> usize {
        self.log().iter().filter(|it| it.status == 429).count()
    }

    /// The most requests that arrived within any window so long.
    pub fn most_within(&self, window: Duration) -> usize {
        let log = self.log();
        let mut most = 0;
        let mut first = 0;
        for (index, arrived) in log.iter().enumerate() {
            while arrived.at - log[first].at >= window {
                first += 1;
            }
            most = most.max(index + 1 - first);
        }
        most
    }

    /// Droplets there are.
    pub fn droplets(&self) -> usize {
        self.state().account.census().0
    }

    /// From now on this becomes of creates of droplets.
    pub fn set_creates(&self, creates: Creates) {
        self.state().creates = creates;
    }

    /// Somebody else makes a request with the same token.
    pub fn other_request(&self) {
        let now = Instant::now();
        self.state().counted.push_back(now);
    }

    /// Headers of the hour's limit, as they stand.
    fn headers(&self, state: &State) -> HeaderMap {
        let remaining = self.0.per_hour.saturating_sub(state.counted.len());
        let until = |at: Instant| Millis::try_from((at - self.0.begun).as_secs()).expect("no eon");
        let reset = state
            .counted
            .front()
            .map_or(0, |first| until(*first + HOUR));
        let date = jiff::Timestamp::from_millisecond(self.now()).expect("a date");
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-limit", HeaderValue::from(self.0.per_hour));
        headers.insert("ratelimit-remaining", HeaderValue::from(remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(BEGINS / 1_000 + reset));
        headers.insert("date", HeaderValue::from_str(&date).expect("plain"));
        headers
    }

    /// Counts a request that has arrived; refuses it as the API does.
    fn spend(&self, request: &Request) -> Option<Answer> {
        let now = Instant::now();
        let mut state = self.state();
        while state.counted.front().is_some_and(|at| *at + HOUR <= now) {
            state.counted.pop_front();
        }
        let lately = state.counted.iter().rev();
        let lately = lately.take_while(|at| **at + MINUTE > now).count();
        let is_spent = state.counted.len() >= self.0.per_hour;
        let status = if is_spent || lately >= self.0.per_minute {
            429
        } else {
            0
        };
        state.log.push(Arrived {
            at: now - self.0.begun,
            line: request.label(),
            status,
        });
        if status == 0 {
            state.counted.push_back(now);
            return None;
        }
        let mut headers = self.headers(&state);
        if !is_spent {
            headers.insert("retry-after", HeaderValue::from(60));
        }
        let body = br#"{"id":"too_many_requests","message":"API Rate limit exceeded."}"#;
        Some(Answer {
            status,
            headers,
            body: bytes::Bytes::from_static(body),
        })
    }

    /// Works on a job until it may end, and tells whoever waits for that.
    fn work(&self, job: u64) -> watch::Receiver<bool> {
        let (ended, ends) = watch::channel(false);
        let this = self.clone();
        tokio::spawn(async move {
            let due = this.state().account.job(job).map_or(0, |job| job.due);
            let due = Duration::from_millis(u64::try_from(due - BEGINS).expect("later"));
            sleep_until(this.0.begun + due).await;
            let now = this.now();
            this.state().account.finish(job, Some(Done::default()), now);
            let _ = ended.send(true);
        });
        ends
    }
}

#[async_trait]
impl Carry for Simulated {
    async fn send(&self, request: &Request) -> Result<Answer, Fault> {
        let number = {
            let mut state = self.state();
            state.requests += 1;
            state.requests
        };
        // The same each time, and different from request to request.
        let way = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        sleep(Duration::from_millis(way % ON_THE_WAY)).await;
        if let Some(refused) = self.spend(request) {
            return Ok(refused);
        }
        let wait = match (request.method, request.path.as_str()) {
            (Method::Get, _) => Wait::Read,
            (Method::Post, "/v2/droplets") => Wait::CreateAnswer,
            _ => Wait::Write,
        };
        let creates = match wait {
            Wait::CreateAnswer => self.state().creates,
            _ => Creates::Answered,
        };
        let wait = u64::try_from(self.0.latency.of(wait)).expect("no way back");
        sleep(Duration::from_millis(wait)).await;
        match creates {
            Creates::Answered => {}
            Creates::Hanging => std::future::pending().await,
            Creates::Lost => {
                return Ok(Answer {
                    status: 504,
                    headers: self.headers(&self.state()),
                    body: bytes::Bytes::new(),
                });
            }
        }
        let asked = Asked {
            verb: match request.method {
                Method::Get => Verb::Get,
                Method::Post => Verb::Post,
                Method::Put => Verb::Put,
                Method::Delete => Verb::Delete,
            },
            path: request.path.trim_start_matches("/v2/").to_owned(),
            query: request.query.clone(),
            body: request.body.clone(),
            origin: "http://simulated".to_owned(),
        };
        let now = self.now();
        let (answer, jobs) = {
            let mut state = self.state();
            let answer = state.account.handle(&asked, now);
            (answer, state.account.take_fresh())
        };
        let mut after = None;
        for job in jobs {
            let mut ends = self.work(job);
            if answer
                .as_ref()
                .is_ok_and(|answer| answer.after == Some(job))
            {
                after = Some(async move { ends.wait_for(|ended| *ended).await.is_ok() });
            }
        }
        if let Some(after) = after {
            after.await;
        }
        let (status, body) = match answer {
            Ok(answer) => (answer.status, answer.body),
            Err(refusal) => (refusal.status, Some(refusal.body())),
        };
        let state = self.state();
        Ok(Answer {
            status,
            headers: self.headers(&state),
            body: body.map_or_else(bytes::Bytes::new, |body| body.to_string().into()),
        })
    }
}
