//! SSH keys of the account.

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Account;
use crate::local::exchange::{Answer, Millis, Refusal, Request};
use crate::local::latency::Wait;
use crate::local::validate;

/// An SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: u64,
    /// Its name; not unique.
    pub name: String,
    /// The line it was given as.
    pub public_key: String,
    /// MD5 of its blob, colon-separated.
    pub fingerprint: String,
    /// From when on droplet creates know it.
    pub usable_at: Millis,
}

impl Key {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "fingerprint": self.fingerprint,
            "public_key": self.public_key,
            "name": self.name,
        })
    }
}

/// Lists of keys within a minute, as DigitalOcean limits them.
const LISTS_PER_MINUTE: usize = 10;

impl Account {
    pub(super) fn list_keys(&mut self, request: &Request, now: Millis) -> Result<Answer, Refusal> {
        if self.config.rate_limits {
            self.key_lists.retain(|at| now - at < 60_000);
            if self.key_lists.len() >= LISTS_PER_MINUTE {
                let oldest = self.key_lists.front().copied().unwrap_or(now);
                let mut refusal = Refusal::too_many("API Rate limit exceeded.");
                refusal.retry_after = u64::try_from((oldest + 60_999 - now) / 1000).ok();
                return Err(refusal);
            }
            self.key_lists.push_back(now);
        }
        Self::page(
            request,
            "ssh_keys",
            self.keys.values().map(Key::json).collect(),
        )
    }

    pub(super) fn create_key(
        &mut self,
        body: &Map<String, Value>,
        now: Millis,
    ) -> Result<Answer, Refusal> {
        let name = validate::required_text(body, "name")?;
        let line = validate::required_text(body, "public_key")?.trim();
        let fingerprint = fingerprint(line).ok_or_else(|| {
            Refusal::unprocessable("Key invalid, key should be of the format `type key [comment]`")
        })?;
        if self.keys.values().any(|key| key.fingerprint == fingerprint) {
            return Err(Refusal::unprocessable(
                "SSH Key is already in use on your account",
            ));
        }
        self.counters.key += 1;
        let key = Key {
            id: self.counters.key,
            name: name.to_owned(),
            public_key: line.to_owned(),
            fingerprint,
            usable_at: now + self.wait(Wait::KeyUsable),
        };
        let answer = Answer::new(201, json!({ "ssh_key": key.json() }));
        self.keys.insert(key.id, key);
        Ok(answer)
    }

    pub(super) fn show_key(&self, key: &str) -> Result<Answer, Refusal> {
        let key = self.find_key(key).ok_or_else(Refusal::not_found)?;
        Ok(Answer::ok(json!({ "ssh_key": key.json() })))
    }

    pub(super) fn rename_key(
        &mut self,
        key: &str,
        body: &Map<String, Value>,
    ) -> Result<Answer, Refusal> {
        let id = self.find_key(key).ok_or_else(Refusal::not_found)?.id;
        let name = validate::required_text(body, "name")?;
        let key = self.keys.get_mut(&id).ok_or_else(Refusal::not_found)?;
        name.clone_into(&mut key.name);
        Ok(Answer::ok(json!({ "ssh_key": key.json() })))
    }

    pub(super) fn delete_key(&mut self, key: &str) -> Result<Answer, Refusal> {
        let id = self.find_key(key).ok_or_else(Refusal::not_found)?.id;
        self.keys.remove(&id);
        Ok(Answer::empty())
    }

    /// The key of that id or fingerprint.
    pub(super) fn find_key(&self, key: &str) -> Option<&Key> {
        match key.parse::<u64>() {
            Ok(id) => self.keys.get(&id),
            Err(_) => self.keys.values().find(|found| found.fingerprint == key),
        }
    }
}

/// MD5 of a key's blob, colon-separated; nothing when the line is no key.
fn fingerprint(line: &str) -> Option<String> {
    let key = russh::keys::PublicKey::from_openssh(line).ok()?;
    let blob = key.to_bytes().ok()?;
    let hex = hex::encode(Md5::digest(blob));
    let pairs: Vec<&str> = (0..16).map(|at| &hex[2 * at..2 * at + 2]).collect();
    Some(pairs.join(":"))
}
