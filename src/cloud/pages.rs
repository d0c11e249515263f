//! Lists: the first page tells how many there are, the others are read in parallel.
//!
//! Pages are asked for by number at our own endpoint. The addresses in `links` are read only for
//! whether there is a next page, never followed: the token goes nowhere an answer says.

use std::collections::HashSet;

use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Client, from_value, parse};
use super::error::CloudError;
use super::request::{Call, PER_PAGE, Request};

/// Pages of one list that are read at once: enough to make a large account quick, few enough to
/// leave the minute's budget to others.
const PAGES_AT_ONCE: usize = 8;

/// A list that never ends would be a fault of the API; two million items is no account.
const MOST_PAGES: u64 = 10_000;

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    links: Option<Links>,
    #[serde(default)]
    meta: Option<Meta>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    pages: Option<Pages>,
}

#[derive(Deserialize)]
struct Pages {
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    total: Option<u64>,
}

struct Page {
    items: Vec<Value>,
    has_next: bool,
    total: Option<u64>,
}

impl Client {
    /// Reads a whole list. An item that stands on two pages, because the list changed in between,
    /// is given once.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        call: &Call,
        key: &str,
    ) -> Result<Vec<T>, CloudError> {
        let request = call.request();
        let first = self.page(&request, key).await?;
        let pages = first
            .total
            .map_or(1, |total| total.div_ceil(PER_PAGE))
            .clamp(1, MOST_PAGES);
        let mut has_next = first.has_next;
        let mut items = first.items;
        let others: Vec<Request> = (2..=pages).map(|number| request.page(number)).collect();
        let mut answers = futures_util::stream::iter(others)
            .map(|page| async move { self.page(&page, key).await })
            .buffered(PAGES_AT_ONCE);
        while let Some(page) = answers.next().await {
            let page = page?;
            has_next = page.has_next;
            items.extend(page.items);
        }
        // No total, or the list has grown meanwhile: on, one after the other.
        let mut number = pages;
        while has_next && number < MOST_PAGES {
            number += 1;
            let page = self.page(&request.page(number), key).await?;
            has_next = page.has_next && !page.items.is_empty();
            items.extend(page.items);
        }
        let label = request.label();
        let mut seen = HashSet::new();
        items
            .into_iter()
            .filter(|item| identity(item).is_none_or(|id| seen.insert(id)))
            .map(|item| from_value(&label, item))
            .collect()
    }

    /// Reads the first page only.
    pub(super) async fn first_page<T: DeserializeOwned>(
        &self,
        call: &Call,
        key: &str,
    ) -> Result<Vec<T>, CloudError> {
        let request = call.request();
        let page = self.page(&request, key).await?;
        let label = request.label();
        page.items
            .into_iter()
            .map(|item| from_value(&label, item))
            .collect()
    }

    async fn page(&self, request: &Request, key: &str) -> Result<Page, CloudError> {
        let answer = self.send(request).await?;
        let mut envelope: Envelope = parse(request, &answer)?;
        let items = match envelope.rest.remove(key) {
            Some(Value::Array(items)) => items,
            Some(Value::Null) => Vec::new(),
            // Not `unwrap_or_default`: an answer without the list is no empty account.
            other => from_value(&request.label(), other.unwrap_or_default())?,
        };
        let next = envelope.links.and_then(|links| links.pages?.next);
        Ok(Page {
            items,
            has_next: next.is_some_and(|next| !next.is_empty()),
            total: envelope.meta.and_then(|meta| meta.total),
        })
    }
}

/// What tells an item from others of its list.
fn identity(item: &Value) -> Option<String> {
    ["id", "slug", "name"]
        .iter()
        .find_map(|key| item.get(key).filter(|value| !value.is_null()))
        .map(Value::to_string)
}
