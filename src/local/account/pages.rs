//! Lists come in pages.

use serde_json::{Map, Value, json};

use super::Account;
use crate::local::exchange::{Answer, Refusal, Request};

impl Account {
    /// The page of a list that a request asks for, with links to the others.
    pub(super) fn page(request: &Request, key: &str, all: Vec<Value>) -> Result<Answer, Refusal> {
        let total = all.len();
        let asked = |name: &str, otherwise: usize| match request.parameter(name) {
            None => Ok(otherwise),
            Some(text) => match text.parse::<usize>() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(Refusal::unprocessable(format!(
                    "{name} must be a positive integer"
                ))),
            },
        };
        let per_page = asked("per_page", 20)?.min(200);
        let page = asked("page", 1)?;
        let last = total.div_ceil(per_page).max(1);
        let items: Vec<Value> = all
            .into_iter()
            .skip((page - 1).saturating_mul(per_page))
            .take(per_page)
            .collect();
        let link = |page: usize| {
            let mut query: Vec<String> = request
                .query
                .iter()
                .filter(|(key, _)| key != "page" && key != "per_page")
                .map(|(key, value)| format!("{key}={}", encoded(value)))
                .collect();
            query.push(format!("page={page}"));
            query.push(format!("per_page={per_page}"));
            format!(
                "{}/v2/{}?{}",
                request.origin,
                request.path.trim_matches('/'),
                query.join("&")
            )
        };
        let mut pages = Map::new();
        if page > 1 {
            pages.insert("first".to_owned(), json!(link(1)));
            pages.insert("prev".to_owned(), json!(link(page - 1)));
        }
        if page < last {
            pages.insert("next".to_owned(), json!(link(page + 1)));
            pages.insert("last".to_owned(), json!(link(last)));
        }
        let links = if pages.is_empty() {
            json!({})
        } else {
            json!({ "pages": pages })
        };
        Ok(Answer::ok(json!({
            key: items,
            "links": links,
            "meta": { "total": total },
        })))
    }
}

/// A value as it may stand in a query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':') {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
