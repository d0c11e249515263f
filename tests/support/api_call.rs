//! One call to the API of a local cloud, past the client that is looked at.
#![allow(dead_code, reason = "each binary uses its own part of this file")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

/// The status, and what the body says: nothing where there is none.
///
/// # Panics
/// When the local cloud does not answer, or says what is no JSON.
pub fn call(
    (url, token): (&str, &str),
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let authority = url.strip_prefix("http://").expect("plain HTTP on loopback");
    let mut stream = TcpStream::connect(authority).expect("the local cloud answers");
    let body = body.map(Value::to_string).unwrap_or_default();
    let about_body = match body.len() {
        0 => String::new(),
        bytes => format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n"),
    };
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\
         {about_body}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = match body {
        "" => Value::Null,
        body => serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")),
    };
    (status.expect("a status"), body)
}

/// What a call says that must succeed; of the endpoint, what `endpoint.json` of the local cloud does.
///
/// # Panics
/// As [`call`]; when it is refused.
#[track_caller]
pub fn done(endpoint: &Value, method: &str, path: &str, body: Option<&Value>) -> Value {
    let text = |name: &str| endpoint[name].as_str().expect(name);
    let (status, answer) = call((text("url"), text("token")), method, path, body);
    assert!(status < 300, "{method} {path}: {status} {answer}");
    answer
}
