//! Answers as HTTP has them.

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::local::exchange::{Answer, Refusal};

pub(super) fn respond(answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match &answer.body {
        None => status.into_response(),
        Some(body) => with_json(status, body),
    }
}

pub(super) fn with_json(status: StatusCode, body: &Value) -> Response {
    let bytes = Bytes::from(body.to_string());
    let mut response = (status, bytes.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    if let Ok(id) = HeaderValue::from_str(&ulid::Ulid::generate().to_string()) {
        headers.insert("x-request-id", id);
    }
    response
}

pub(super) fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_json(status, &refusal.body());
    if let Some(seconds) = refusal.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The answer of a fault. Gateways in front of the API answer in HTML.
pub(super) fn injected(code: u16, retry_after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (id, message) = match code {
        429 => ("too_many_requests", "API Rate limit exceeded."),
        503 => ("service_unavailable", "Service is unavailable."),
        _ => ("server_error", "Server was unable to give you a response."),
    };
    let mut response = if matches!(code, 502 | 504) {
        let page = format!("<html><body><h1>{status}</h1></body></html>");
        (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
    } else {
        with_json(status, &json!({ "id": id, "message": message }))
    };
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
