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

/// A list that is longer is taken for one that never ends: 200,000 items are no account.
const MOST_PAGES: u64 = 1_000;

/// So many pages in a row that bring nothing new and still name a next one lead nowhere. More than
/// one, for items move between pages while a list is read.
const MOST_BARREN: u64 = 3;

/// What all pages of a list may come to: of the largest account a small part.
const MOST_LISTED_BYTES: usize = 256 * 1_024 * 1_024;

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
    bytes: usize,
}

/// A list as far as it is read.
struct Reading<T> {
    call: String,
    items: Vec<T>,
    seen: HashSet<String>,
    pages: u64,
    barren: u64,
    bytes: usize,
}

impl<T: DeserializeOwned> Reading<T> {
    fn of(call: String) -> Self {
        Self {
            call,
            items: Vec::new(),
            seen: HashSet::new(),
            pages: 0,
            barren: 0,
            bytes: 0,
        }
    }

    /// Takes the next page; says whether another is to be read after it.
    fn take(&mut self, page: Page) -> Result<bool, CloudError> {
        let before = self.items.len();
        for item in page.items {
            if identity(&item).is_none_or(|id| self.seen.insert(id)) {
                self.items.push(from_value(&self.call, item)?);
            }
        }
        self.pages += 1;
        self.bytes += page.bytes;
        self.barren = if self.items.len() == before {
            self.barren + 1
        } else {
            0
        };
        if self.bytes > MOST_LISTED_BYTES {
            let most = MOST_LISTED_BYTES / 1_024 / 1_024;
            return Err(self.endless(format!("it is larger than {most} MiB")));
        }
        if !page.has_next {
            return Ok(false);
        }
        if self.barren >= MOST_BARREN {
            let why = format!("{} pages in a row held nothing new", self.barren);
            return Err(self.endless(why));
        }
        if self.pages >= MOST_PAGES {
            return Err(self.endless(format!("there is another page after {MOST_PAGES}")));
        }
        Ok(true)
    }

    fn endless(&self, why: String) -> CloudError {
        CloudError::EndlessList {
            call: self.call.clone(),
            why,
        }
    }
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
        let mut reading = Reading::of(request.label());
        let first = self.page(&request, key).await?;
        let total = first.total.unwrap_or_default();
        let pages = total.div_ceil(PER_PAGE);
        if pages > MOST_PAGES {
            return Err(reading.endless(format!("it says that it holds {total} items")));
        }
        let mut has_next = reading.take(first)?;
        let others: Vec<Request> = (2..=pages).map(|number| request.page(number)).collect();
        let mut answers = futures_util::stream::iter(others)
            .map(|page| async move { self.page(&page, key).await })
            .buffered(PAGES_AT_ONCE);
        while let Some(page) = answers.next().await {
            let page = page?;
            let is_end = page.items.is_empty() && !page.has_next;
            has_next = reading.take(page)?;
            // The list has shrunk meanwhile, or the total was not true.
            if is_end {
                break;
            }
        }
        drop(answers);
        // No total, or the list has grown meanwhile: on, one after the other.
        while has_next {
            let next = request.page(reading.pages + 1);
            has_next = reading.take(self.page(&next, key).await?)?;
        }
        Ok(reading.items)
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
            bytes: answer.body.len(),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(items: Vec<Value>, has_next: bool, bytes: usize) -> Page {
        Page {
            items,
            has_next,
            total: None,
            bytes,
        }
    }

    #[test]
    fn a_list_has_a_size_that_no_account_reaches() {
        let mut reading = Reading::<Value>::of("GET /v2/x".to_owned());
        let half = MOST_LISTED_BYTES / 2;
        for n in 0..2 {
            let more = reading.take(page(vec![json!({ "id": n })], true, half));
            assert!(more.expect("as large as it may be"));
        }
        let error = reading.take(page(vec![json!({ "id": 2 })], false, 1));
        let error = error.expect_err("larger");
        insta::assert_snapshot!(error, @"the list of GET /v2/x does not end: it is larger than 256 MiB");
    }

    #[test]
    fn pages_without_anything_new_are_borne_a_few_times() {
        let mut reading = Reading::<Value>::of("GET /v2/x".to_owned());
        let mut take = |id: u64| reading.take(page(vec![json!({ "id": id })], true, 9));
        for id in [1, 1, 1, 2, 2, 2] {
            assert!(take(id).expect("something new came in between"));
        }
        assert!(matches!(take(2), Err(CloudError::EndlessList { .. })));
    }
}
