//! Requests and answers as values, so that the account can be driven without HTTP.

use serde_json::{Map, Value, json};

/// Milliseconds since 1970.
pub type Millis = i64;

/// What is done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Creates, or asks for an action.
    Post,
    /// Replaces.
    Put,
    /// Deletes.
    Delete,
    /// Anything else, which nothing here takes.
    Other,
}

/// A request that may touch the account.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is done.
    pub verb: Verb,
    /// The path below `/v2/`, decoded.
    pub path: String,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The JSON body, if there is one.
    pub body: Option<Value>,
    /// Scheme, host and port that links of answers begin with.
    pub origin: String,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON body; absent with 204.
    pub body: Option<Value>,
    /// The job that must have ended before the answer may be sent.
    pub after: Option<u64>,
}

/// A request that is turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The API's word for the kind of error.
    pub id: &'static str,
    /// What people read.
    pub message: String,
    /// Seconds after which to try again, where the API says so.
    pub retry_after: Option<u64>,
}

impl Request {
    /// The first value of a query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as an object.
    ///
    /// # Errors
    /// When there is none.
    pub fn object(&self) -> Result<&Map<String, Value>, Refusal> {
        self.body
            .as_ref()
            .and_then(Value::as_object)
            .ok_or_else(|| Refusal::bad_request("the body must be a JSON object"))
    }
}

impl Answer {
    /// An answer with a body.
    #[must_use]
    pub const fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Some(body),
            after: None,
        }
    }

    /// 200.
    #[must_use]
    pub const fn ok(body: Value) -> Self {
        Self::new(200, body)
    }

    /// 204, without a body.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            status: 204,
            body: None,
            after: None,
        }
    }

    /// Holds the answer back until a job has ended.
    #[must_use]
    pub const fn after(mut self, job: u64) -> Self {
        self.after = Some(job);
        self
    }
}

impl Refusal {
    fn new(status: u16, id: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            id,
            message: message.into(),
            retry_after: None,
        }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad_request", message)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "unauthorized", "Unable to authenticate you")
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "forbidden", message)
    }

    /// 404 for a resource.
    #[must_use]
    pub fn not_found() -> Self {
        Self::missing("The resource you were accessing could not be found.")
    }

    /// 404 in other words.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(404, "not_found", message)
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "method_not_allowed",
            "This method is not allowed on this resource.",
        )
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "conflict", message)
    }

    /// 422.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "unprocessable_entity", message)
    }

    /// 429.
    pub fn too_many(message: impl Into<String>) -> Self {
        Self::new(429, "too_many_requests", message)
    }

    /// 500.
    #[must_use]
    pub fn server_error() -> Self {
        Self::new(
            500,
            "server_error",
            "Server was unable to give you a response.",
        )
    }

    /// The API's body for it.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "id": self.id, "message": self.message })
    }
}

/// RFC 3339, UTC, to the second, as the API writes times.
#[must_use]
pub fn timestamp(at: Millis) -> String {
    jiff::Timestamp::from_second(at.div_euclid(1000))
        .map(|time| time.to_string())
        .unwrap_or_default()
}
