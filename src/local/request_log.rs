//! What was asked and answered, for tests to look at.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::exchange::Millis;

/// A request and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts requests, from 1.
    pub seq: u64,
    /// When it was answered, in milliseconds since 1970.
    pub at: Millis,
    /// The method.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The status; 0 when the connection ended instead.
    pub status: u16,
    /// The request's body, without user data.
    pub request: Option<Value>,
    /// The answer's body, as text: values take several times as much memory, and few are looked at.
    pub answer: Option<Box<RawValue>>,
}

/// The latest requests.
#[derive(Debug, Default)]
pub struct RequestLog {
    entries: VecDeque<(Entry, usize)>,
    count: u64,
    bytes: usize,
}

/// How much of bodies is kept.
const BYTES: usize = 32 << 20;

impl RequestLog {
    /// Notes a request. `answer_bytes` is how large its answer was.
    pub fn note(&mut self, mut entry: Entry, answer_bytes: usize) {
        self.count += 1;
        entry.seq = self.count;
        if let Some(request) = &mut entry.request {
            redact(request);
        }
        let bytes = answer_bytes + 512;
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
        while self.bytes > BYTES {
            let Some((_, bytes)) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= bytes;
        }
    }

    /// Requests after one, oldest first.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .map(|(entry, _)| entry)
            .filter(move |entry| entry.seq > seq)
    }
}

/// User data holds a private key.
fn redact(request: &mut Value) {
    if let Some(data) = request.get_mut("user_data")
        && !data.is_null()
    {
        *data = Value::String("[redacted]".to_owned());
    }
}
